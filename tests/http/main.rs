//! The proxy over real sockets: a real listener, real upstream servers, real clients.

#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod accounting;
mod admin_accounts;
mod admin_import;
mod admin_networks;
mod admission_table;
mod answers;
mod browsers;
mod connections;
mod controls;
mod glance;
mod hangups;
mod headers;
mod hostile_peers;
mod job_lifecycle;
mod keys;
mod limit_answers;
mod limit_blocks;
mod limits;
mod load;
mod metrics;
mod metrics_page;
mod operator_page;
mod operators;
mod overspend;
mod quota_answers;
mod quota_settlement;
mod quotas;
mod ratelimit;
mod refusals;
mod relocation;
mod routing;
mod shutdown;
mod spoofing;
mod statistics;
mod status;
mod streaming;
#[cfg(not(feature = "otlp"))]
mod traces;
mod unenforced;
mod uploads;
mod upstream_health;
mod upstream_servers;
mod users;
mod without_queue;
