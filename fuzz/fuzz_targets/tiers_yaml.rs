//! Any bytes as tiers.yaml give a configuration or errors, and warnings, never a panic, in bounded time and memory.
#![no_main]

use tiergate::config::{Config, Inks, Nothing, check};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let checked = check("tiers.yaml", bytes, &Nothing);
    let diagnostics = &checked.diagnostics;
    assert_eq!(
        checked.config.is_some(),
        diagnostics.errors() == 0,
        "what is refused is refused for a reason"
    );
    let shown = diagnostics.shown(Inks::default()).to_string();
    assert!(shown.len() < 1 << 20, "what is found can be printed, and is no flood");
    match Config::parse("tiers.yaml", bytes) {
        Ok(config) => assert_eq!(checked.config, Some(config), "warnings change nothing"),
        // What the file names is nowhere, which is a warning to the one and an error to the other.
        Err(errors) => assert!(errors.count() >= diagnostics.errors().max(1), "and take no error away"),
    }
});
