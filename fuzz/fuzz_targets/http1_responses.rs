//! A server's bytes: the HTTP/1.1 engine frames what it accepts as hyper does, and finds the next message at the same place.
//!
//! The first byte says how the others arrive, and whether they answer GET or HEAD.

#![no_main]

#[expect(dead_code, reason = "requests are compared by the other target")]
#[path = "../../crates/http1/tests/differential/compare.rs"]
mod compare;
#[path = "../../crates/http1/tests/differential/conversation.rs"]
mod conversation;
#[expect(dead_code, reason = "requests are read by the other target")]
#[path = "../../crates/http1/tests/differential/engine.rs"]
mod engine;
#[expect(dead_code, reason = "requests are read by the other target")]
#[path = "../../crates/http1/tests/differential/hyper.rs"]
mod hyper;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, input)) = bytes.split_first() else {
        return;
    };
    let method = if first & 1 == 0 { "GET" } else { "HEAD" };
    let ours = engine::Engine::default().response(input, usize::from(first / 2), method);
    let hypers = hyper::Hyper::default().response(input, method);
    if let Err(difference) = compare::response(input, &ours, &hypers) {
        panic!("{difference}");
    }
});
