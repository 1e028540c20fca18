//! Lengths of time, sizes, addresses, names: what a single value may look like, wherever it stands.
//!
//! Absent on purpose: what is between brackets and braces.

use std::time::Duration;

use schemars::JsonSchema;

use crate::config::{NAME_CHARS_MAX, words};

/// A default, as it is written.
pub(super) fn written(length: Duration) -> String {
    words::span(length.into())
}

/// A length of time: a number and its unit, such as 500ms, 30s, 5m, 24h, 7d or 1h30m.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(super) struct Length(#[schemars(regex(pattern = r"^([0-9]+(d|h|m|s|ms))+$"))] String);

/// A size: a number and its unit, such as 512B, 64KiB, 25MiB, 1GiB or 10MB.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(super) struct Size(#[schemars(regex(pattern = r"^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB|TiB)$"))] String);

/// An IP address and a port.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(super) struct Address(#[schemars(regex(pattern = r"^(\[[0-9A-Fa-f:.]+\]|[0-9.]+):[0-9]{1,5}$"))] String);

/// An IP address, or a network such as 10.0.0.0/8.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(super) struct Network(#[schemars(regex(pattern = r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"))] String);

/// A name that the file gives; one of digits alone needs no quotes.
#[derive(JsonSchema)]
#[schemars(inline, untagged)]
pub(super) enum Name {
    Text(#[schemars(length(min = 1, max = NAME_CHARS_MAX))] String),
    Digits(u64),
}

/// A method, such as GET or POST.
#[derive(JsonSchema)]
#[schemars(inline)]
pub(super) struct Method(#[schemars(regex(pattern = "^[^a-z ]{1,32}$"))] String);

/// Switched off.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "snake_case")]
pub(super) enum Off {
    Off,
}
