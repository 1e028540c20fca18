//! Every requirement of RFC 9112 that concerns a proxy and can be met without a socket, by its sections. Every input is parsed whole
//! and byte by byte (`kit.rs`), and must give the same.

mod chunked;
mod connection;
mod fields;
#[path = "../support/forward.rs"]
mod forward;
mod framing_of_requests;
mod framing_of_responses;
mod host;
mod incomplete;
mod kit;
mod message;
mod request_line;
mod smuggling;
mod status_line;
mod target;
mod trailers;
mod writing;
