//! A client's bytes: the HTTP/1.1 engine frames what it accepts as hyper does, and what it sends on is understood alike.
//!
//! The first byte says how the others arrive.

#![no_main]

#[path = "../../crates/http1/tests/differential/compare.rs"]
mod compare;
#[path = "../../crates/http1/tests/differential/conversation.rs"]
mod conversation;
#[path = "../../crates/http1/tests/differential/engine.rs"]
mod engine;
#[path = "../../crates/http1/tests/support/forward.rs"]
mod forward;
#[path = "../../crates/http1/tests/differential/hyper.rs"]
mod hyper;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((step, input)) = bytes.split_first() else {
        return;
    };
    let (oracle, mut engine) = (hyper::Hyper::default(), engine::Engine::default());
    let ours = engine.requests(input, usize::from(*step));
    if let Err(difference) = compare::requests(input, &ours, &oracle.requests(input)) {
        panic!("{difference}");
    }
    let (sent, _) = forward::forward_by(input, usize::from(*step).max(1));
    let seen = engine.requests(&sent, sent.len());
    let both = compare::requests(&sent, &seen, &oracle.requests(&sent)).map(|_| ());
    if let Err(difference) = both.and_then(|()| compare::sent_on(input, &ours, &seen)) {
        panic!("{difference}");
    }
});
