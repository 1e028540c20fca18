//! What the configuration says, as the plain structs that other rooms take.
//!
//! Absent on purpose: checks. A configuration can't be wrong.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use crate::config::{self, Config, Origins};
use crate::gate::Limiter;
use crate::http::account::OwnPaths;
use crate::http::address::{ForwardedHeader, TrustedProxies};
use crate::http::caller::KeyPlaces;
use crate::http::cors;
use crate::http::door::{self, Route};
use crate::http::limits::{LimitSpec, Limits};
use crate::http::ratelimit::{Telling, WhenTold};
use crate::http::reply::{Answer, Answers};
use crate::http::routes::RouteSpec;
use crate::policy::refusal::Reason;
use crate::policy::rules::Rules;
use crate::policy::time::Span;
use crate::store::statistics::{Refusals, Statistics};
use crate::store::{Directory, Networks, Pseudonyms};
use crate::upstream::exchange::OnHangup;
use crate::upstream::{ProbeSettings, ServerSettings, Settings, Upstream};

pub(super) fn upstream(config: &config::Upstream) -> Arc<Upstream> {
    let server = |server: &config::Server| ServerSettings {
        host: server.host.clone(),
        port: server.port,
        authority: HeaderValue::from_str(&server.authority()).expect("the configuration lets through only hosts"),
        slots: server.slots,
    };
    Arc::new(Upstream::new(Settings {
        servers: config.servers.iter().map(server).collect(),
        connect_timeout: config.connect_timeout,
        first_byte_timeout: config.first_byte_timeout,
        timeout: config.timeout,
        idle_timeout: config.idle_timeout,
        probe: config.health.as_ref().map(|health| ProbeSettings {
            path: health.path.clone(),
            every: health.every,
        }),
    }))
}

pub(super) fn door_settings(
    config: &Config,
    accounts: Arc<Directory>,
    networks: Arc<Networks>,
    pseudonyms: Pseudonyms,
    statistics: Arc<Statistics>,
    refusals: Arc<Refusals>,
    limits: Arc<Limits>,
) -> door::Settings {
    let cors = config.cors.as_ref().map(|cors| {
        let origins = match &cors.origins {
            Origins::Any => None,
            Origins::List(origins) => Some(origins.clone()),
        };
        cors::layer(origins, cors.max_age)
    });
    let for_all_origins = config.cors.as_ref().is_some_and(|cors| cors.origins == Origins::Any);
    door::Settings {
        routes: config.routes.iter().map(route).collect(),
        keys: KeyPlaces::new(
            config.keys.headers.clone(),
            config.keys.bearer,
            config.keys.query.clone(),
        ),
        trusted_proxies: TrustedProxies::new(config.trusted_proxies.clone(), forwarded_header(config)),
        accounts,
        networks,
        pseudonyms,
        cors,
        own_paths: OwnPaths {
            me: config.paths.me.clone(),
            stats: config.paths.stats.clone(),
        },
        statistics,
        refusals,
        limits,
        telling: telling(config),
        answers: Answers::new(config.answers.iter().map(answer).collect(), for_all_origins),
        unmetered_max: config.connections.unmetered_max,
        head_max: config.connections.head_max,
    }
}

pub(super) fn limits(
    config: &Config,
    rules: &Arc<Rules>,
    limiter: &Arc<Limiter>,
    pseudonyms: Pseudonyms,
) -> Arc<Limits> {
    let spec = |limit: &config::LimitRoute| LimitSpec {
        host: limit.host.clone(),
        pattern: limit.pattern.clone(),
        methods: limit.methods.clone(),
    };
    let specs = config.limits.iter().map(spec).collect();
    Arc::new(Limits::new(Arc::clone(limiter), Arc::clone(rules), pseudonyms, specs))
}

fn forwarded_header(config: &Config) -> ForwardedHeader {
    match config.forwarded_header {
        config::ForwardedHeader::Either => ForwardedHeader::Either,
        config::ForwardedHeader::XForwardedFor => ForwardedHeader::XForwardedFor,
        config::ForwardedHeader::Forwarded => ForwardedHeader::Forwarded,
    }
}

fn answer((reason, config): &(Reason, config::Answer)) -> (Reason, Answer) {
    let status = |status| StatusCode::from_u16(status).expect("the configuration lets through only statuses");
    let answer = Answer {
        status: config.status.map(status),
        headers: config.headers.clone(),
        body: config.body.clone(),
    };
    (*reason, answer)
}

fn telling(config: &Config) -> Telling {
    let when = |limit: &config::LimitRoute| match limit.headers {
        config::LimitHeaders::Always => WhenTold::Always,
        config::LimitHeaders::OnRefusalReset => WhenTold::ResetOnRefusal,
        config::LimitHeaders::OnRefusal => WhenTold::OnRefusal,
        config::LimitHeaders::Off => WhenTold::Never,
    };
    Telling {
        fields: config.ratelimit_fields,
        when: config.limits.iter().map(when).collect(),
    }
}

fn route(config: &config::Route) -> (RouteSpec, Route) {
    let spec = RouteSpec {
        host: config.host.clone(),
        pattern: config.pattern.clone(),
        methods: config.methods.clone(),
        metered: config.metered,
    };
    let route = Route {
        pool: config.upstream,
        metered: config.metered,
        max_body: config.max_body,
        max_wait: config.max_wait.map(Span::from),
        success: config.success.as_slice().into(),
        cost: config.cost,
        on_hangup: match config.on_hangup {
            config::OnHangup::Finish => OnHangup::Finish,
            config::OnHangup::Cancel => OnHangup::Cancel,
        },
    };
    (spec, route)
}
