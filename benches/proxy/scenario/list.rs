//! The scenarios, in the table's order.

use super::{Kind, Metric, Row, Scenario, Show};
use crate::contestant::Contestant::{self, HaProxy, HaProxyHeaders, HyperRelay, Nginx, Relaxed, Strict, Unmetered};
use crate::setup::{EVERYTHING_ON, Limit, Setup};

const PROXIES: &[Contestant] = &[HaProxy, HaProxyHeaders, Nginx, HyperRelay, Unmetered, Relaxed, Strict];
const ALL: &[Contestant] = &Contestant::ALL;
/// Those with a queue.
const QUEUES: &[Contestant] = &[HaProxy, HaProxyHeaders, Relaxed, Strict];
const OVERLOADED: &[Contestant] = &[HaProxy, Relaxed, Strict];
/// Refusals wait for no disk, so durability makes no difference.
const LIMITS: &[Contestant] = &[HaProxy, HaProxyHeaders, Nginx, Strict];
const QUOTAS: &[Contestant] = &[HaProxy, HaProxyHeaders, Strict];
const BODIES: &[Contestant] = &[HaProxy, Nginx, HyperRelay, Unmetered, Strict];
const SIZES: &[Contestant] = &[HaProxy, Relaxed, Strict];

const MB: usize = 1_000_000;

const DEPLETED_LIMIT: Setup = Setup {
    limit: Limit::One,
    ..EVERYTHING_ON
};
const DEPLETED_QUOTA: Setup = Setup {
    quota: 1,
    addresses: 10_000,
    ..EVERYTHING_ON
};

const fn with_accounts(accounts: u32) -> Setup {
    Setup {
        accounts,
        ..EVERYTHING_ON
    }
}

const fn with_addresses(addresses: u32) -> Setup {
    Setup {
        addresses,
        ..EVERYTHING_ON
    }
}

const fn with_slots(slots: u32, places: u32) -> Setup {
    Setup {
        slots,
        places,
        ..EVERYTHING_ON
    }
}

const fn per_request(title: &'static str, goal: &'static str) -> Row {
    Row {
        title,
        metric: Metric::PerRequest,
        show: Show::Ratio,
        goal,
    }
}

const fn resident(title: &'static str, goal: &'static str) -> Row {
    Row {
        title,
        metric: Metric::Resident,
        show: Show::Plain,
        goal,
    }
}

const fn per_megabyte(title: &'static str, goal: &'static str) -> Row {
    Row {
        title,
        metric: Metric::PerMegabyte,
        show: Show::Ratio,
        goal,
    }
}

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "proxied",
        setup: EVERYTHING_ON,
        contestants: PROXIES,
        kind: Kind::Closed(64),
        rows: &[
            per_request("processor per proxied request", "relaxed ≤ 0.80, strict ≤ 1.0"),
            resident("resident: 10,000 accounts, 64 connections", "≤ 18 MB"),
        ],
    },
    Scenario {
        name: "wrk",
        setup: EVERYTHING_ON,
        contestants: &[HaProxy, HaProxyHeaders, Nginx, Relaxed, Strict],
        kind: Kind::Wrk(64),
        rows: &[per_request("processor per proxied request, with wrk as the load", "")],
    },
    Scenario {
        name: "queueing",
        setup: with_slots(4, 60),
        contestants: QUEUES,
        kind: Kind::Queueing,
        rows: &[per_request(
            "processor per queued request: 4 slots, 60 waiting",
            "relaxed ≤ 0.95, strict ≤ 1.1",
        )],
    },
    Scenario {
        name: "refused-429-kept",
        setup: DEPLETED_LIMIT,
        contestants: LIMITS,
        kind: Kind::Refused {
            status: 429,
            new_connections: false,
        },
        rows: &[per_request("processor per 429, kept connection", "≤ 1.0")],
    },
    Scenario {
        name: "refused-402-kept",
        setup: DEPLETED_QUOTA,
        contestants: QUOTAS,
        kind: Kind::Refused {
            status: 402,
            new_connections: false,
        },
        rows: &[per_request("processor per 402, kept connection", "≤ 0.95")],
    },
    Scenario {
        name: "refused-429-new",
        setup: DEPLETED_LIMIT,
        contestants: LIMITS,
        kind: Kind::Refused {
            status: 429,
            new_connections: true,
        },
        rows: &[per_request("processor per 429, a new connection each", "≤ 1.0")],
    },
    Scenario {
        name: "refused-402-new",
        setup: DEPLETED_QUOTA,
        contestants: QUOTAS,
        kind: Kind::Refused {
            status: 402,
            new_connections: true,
        },
        rows: &[per_request("processor per 402, a new connection each", "≤ 1.0")],
    },
    Scenario {
        name: "one-core",
        setup: EVERYTHING_ON,
        contestants: ALL,
        kind: Kind::OneCore,
        rows: &[Row {
            title: "added latency, one connection, everything on one core, p50",
            metric: Metric::LatencyHalf,
            show: Show::Added,
            goal: "relaxed ≤ +17 µs",
        }],
    },
    Scenario {
        name: "open-loop",
        setup: EVERYTHING_ON,
        contestants: PROXIES,
        kind: Kind::Open(10_000),
        rows: &[
            Row {
                title: "latency at 10,000 requests a second, p50",
                metric: Metric::LatencyHalf,
                show: Show::Ratio,
                goal: "",
            },
            Row {
                title: "latency at 10,000 requests a second, p99",
                metric: Metric::LatencyMost,
                show: Show::Ratio,
                goal: "",
            },
        ],
    },
    Scenario {
        name: "upload-1mb",
        setup: EVERYTHING_ON,
        contestants: BODIES,
        kind: Kind::Upload(MB),
        rows: &[per_megabyte("processor per MB: 1 MB up", "≤ 0.8")],
    },
    Scenario {
        name: "upload-25mb",
        setup: EVERYTHING_ON,
        contestants: BODIES,
        kind: Kind::Upload(25 * MB),
        rows: &[per_megabyte("processor per MB: 25 MB up", "≤ 1.2")],
    },
    Scenario {
        name: "download-1mb",
        setup: EVERYTHING_ON,
        contestants: BODIES,
        kind: Kind::Download(MB),
        rows: &[per_megabyte("processor per MB: 1 MB down", "≤ 1.0")],
    },
    Scenario {
        name: "download-25mb",
        setup: EVERYTHING_ON,
        contestants: BODIES,
        kind: Kind::Download(25 * MB),
        rows: &[per_megabyte("processor per MB: 25 MB down", "≤ 1.0")],
    },
    Scenario {
        name: "handover",
        setup: with_slots(2, 64),
        contestants: QUEUES,
        kind: Kind::Handover,
        rows: &[Row {
            title: "idle time of a slot between two queued jobs, p50",
            metric: Metric::SlotIdleHalf,
            show: Show::Ratio,
            goal: "≤ 1.0",
        }],
    },
    Scenario {
        name: "overload",
        setup: with_slots(2, 8),
        contestants: OVERLOADED,
        kind: Kind::Overload,
        rows: &[
            Row {
                title: "goodput at 10 × overload",
                metric: Metric::Goodput,
                show: Show::Plain,
                goal: "≥ 98 %",
            },
            Row {
                title: "slots busy at 10 × overload",
                metric: Metric::SlotsBusy,
                show: Show::Plain,
                goal: "≥ 99.8 %",
            },
        ],
    },
    Scenario {
        name: "idle",
        setup: Setup {
            connections: 12_000,
            ..EVERYTHING_ON
        },
        contestants: &[HaProxy, Nginx, HyperRelay, Strict],
        kind: Kind::Idle(10_000),
        rows: &[resident("resident: 10,000 idle connections", "≤ 80 MB")],
    },
    Scenario {
        name: "accounts-10",
        setup: with_accounts(10),
        contestants: SIZES,
        kind: Kind::Closed(64),
        rows: &[per_request("processor per proxied request: 10 accounts", "")],
    },
    Scenario {
        name: "accounts-100000",
        setup: with_accounts(100_000),
        contestants: SIZES,
        kind: Kind::Closed(64),
        rows: &[
            per_request("processor per proxied request: 100,000 accounts", ""),
            resident("resident: 100,000 accounts", "≤ 60 MB"),
        ],
    },
    Scenario {
        name: "addresses-1",
        setup: with_addresses(1),
        contestants: SIZES,
        kind: Kind::Closed(64),
        rows: &[per_request("processor per proxied request: 1 address", "")],
    },
    Scenario {
        name: "addresses-200000",
        setup: with_addresses(200_000),
        contestants: SIZES,
        kind: Kind::Closed(64),
        rows: &[per_request("processor per proxied request: 200,000 addresses", "")],
    },
    Scenario {
        name: "places-8",
        setup: with_slots(4, 8),
        contestants: SIZES,
        kind: Kind::Queueing,
        rows: &[per_request("processor per queued request: 8 places", "")],
    },
    Scenario {
        name: "places-4096",
        setup: with_slots(4, 4_096),
        contestants: SIZES,
        kind: Kind::Queueing,
        rows: &[
            per_request("processor per queued request: 4,096 places", ""),
            resident("resident: 4,100 busy connections", ""),
        ],
    },
];
