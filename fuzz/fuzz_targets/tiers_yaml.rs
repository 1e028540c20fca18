//! Any bytes as tiers.yaml give a configuration or errors, never a panic, in bounded time and memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Err(errors) = tiergate::config::Config::parse("tiers.yaml", bytes) {
        assert!(errors.count() > 0, "what is refused is refused for a reason");
        assert!(!errors.to_string().is_empty(), "and the reason can be printed");
    }
});
