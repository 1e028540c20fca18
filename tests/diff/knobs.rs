//! A tiers.yaml with every setting, and other values for each of them.

mod caller_knobs;
mod proxy_knobs;
mod route_knobs;

use std::sync::LazyLock;

use super::document::Document;
use caller_knobs::CALLER_KNOBS;
use proxy_knobs::PROXY_KNOBS;
use route_knobs::ROUTE_KNOBS;

/// A setting in the document.
#[derive(Debug)]
pub struct Knob {
    pub at: &'static str,
    /// JSON values of the setting (empty: none), with what a difference says of each. The first is that of the base.
    pub choices: &'static [(&'static str, &'static str)],
    /// The subject of the difference.
    pub subject: &'static str,
    /// How many differences a change makes.
    pub lines: usize,
    /// Whether they need a restart.
    pub restart: bool,
}

/// Sections are in no particular order; tiers, limits and so on are in alphabetical order.
pub fn base() -> Document {
    Document::of(include_str!("base.json"))
}

/// Lists and mappings whose order matters, and what is reported if it changes.
pub const ORDERS: &[(&str, &str)] = &[
    ("/tiers", "tiers: their order changed"),
    ("/tiers/$5/quotas", "tier `$5`: the order of its quotas changed"),
    ("/tiers/$5/limits", "tier `$5`: the order of its limits changed"),
    ("/admin/hosts", "admin: the order of its hosts changed"),
    ("/trusted_proxies", "trusted_proxies: their order changed"),
    ("/proxy_protocol", "proxy_protocol: their order changed"),
    ("/blocked_networks", "blocked_networks: their order changed"),
    (
        "/keys/headers",
        "keys: headers x-api-key, x-trace-key → x-trace-key, x-api-key",
    ),
    ("/limits", "limits: their order changed"),
    (
        "/limits/0/match/methods",
        "limit `http`: match.methods GET, POST → POST, GET",
    ),
    ("/answers", "answers: their order changed"),
    (
        "/answers/blocked/headers",
        "answer `blocked`: the order of its headers changed",
    ),
    ("/cors/origins", "cors: the order of its origins changed"),
    ("/upstreams", "upstreams: their order changed"),
    (
        "/upstreams/search/servers",
        "upstream `search`: the order of its servers changed",
    ),
    ("/routes", "routes: their order changed"),
    (
        "/routes/0/methods",
        "route `POST, GET example.org/search`: methods GET, POST → POST, GET",
    ),
    (
        "/routes/0/success",
        "route `GET, POST example.org/search`: success 200, 206 → 206, 200",
    ),
    ("/accounts", "accounts: their order changed"),
    (
        "/accounts/1/key_sha256",
        "account `beta`: the order of its keys changed",
    ),
];

const fn knob(at: &'static str, subject: &'static str, choices: &'static [(&'static str, &'static str)]) -> Knob {
    Knob {
        at,
        choices,
        subject,
        lines: 1,
        restart: false,
    }
}

/// A knob whose change makes so many differences.
const fn lines(lines: usize, knob: Knob) -> Knob {
    Knob { lines, ..knob }
}

const fn restart(knob: Knob) -> Knob {
    Knob { restart: true, ..knob }
}
/// All knobs.
pub static KNOBS: LazyLock<Vec<&'static Knob>> =
    LazyLock::new(|| [PROXY_KNOBS, CALLER_KNOBS, ROUTE_KNOBS].into_iter().flatten().collect());
