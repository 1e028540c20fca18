//! Converts a valid configuration to the plain structs of other modules.

use std::sync::Arc;

use http::StatusCode;

use super::Services;
use super::access_logs::addresses;
use super::upstreams::Upstreams;
use crate::config::{self, Config, Origins, ReadyzUpstreams};
use crate::gate::Generation;
use crate::http::account::OwnPaths;
use crate::http::address::{ForwardedHeader, TrustedProxies};
use crate::http::bodies::BodySettings;
use crate::http::caller::KeyPlaces;
use crate::http::cors;
use crate::http::limits::{LimitSpec, Limits};
use crate::http::listener::ListenerBounds;
use crate::http::proxy_protocol::ProxyProtocol;
use crate::http::ratelimit::{HeaderPolicy, LimitHeadersWhen};
use crate::http::reply::{Answers, CustomAnswer};
use crate::http::routes::RouteSpec;
use crate::http::site::{self, Route, Site};
use crate::http::status::Shown;
use crate::policy::refusal::Reason;
use crate::policy::rules::{Rules, UpstreamId};
use crate::policy::time::Span;
use crate::telemetry::requests::RequestMeters;
use crate::upload::{BodyBounds, BodyPace};
use crate::upstream::exchange::OnHangup;

/// The site of that configuration, with that generation's rules.
pub(super) fn site(config: &Config, services: &Services, upstreams: &Upstreams, generation: &Arc<Generation>) -> Site {
    let cors = config.cors.as_ref().map(|cors| {
        let origins = match &cors.origins {
            Origins::Any => None,
            Origins::List(origins) => Some(origins.clone()),
        };
        cors::layer(origins, cors.max_age)
    });
    let for_all_origins = config.cors.as_ref().is_some_and(|cors| cors.origins == Origins::Any);
    let keys = KeyPlaces::new(
        config.keys.headers.clone(),
        config.keys.bearer,
        config.keys.query.clone(),
    );
    let paths = config.paths.clone();
    let own_paths = OwnPaths::new(paths.me, paths.stats, paths.status);
    services.status.show(shown(config, upstreams, &own_paths, &keys));
    let request_meters = request_meters(config, &own_paths, services);
    let settings = site::SiteSettings {
        routes: config.routes.iter().map(|config| route(config, upstreams)).collect(),
        keys,
        trusted_proxies: TrustedProxies::new(config.trusted_proxies.clone(), forwarded_header(config)),
        networks: Arc::clone(services.store.networks()),
        pseudonyms: services.pseudonyms.clone(),
        cors,
        own_paths,
        pages: Arc::clone(&services.pages),
        status: Arc::clone(&services.status),
        refusals: Arc::clone(&services.refusals),
        recent: Arc::clone(&services.recent),
        limits: limits(config, &generation.rules, services),
        header_policy: header_policy(config),
        answers: Answers::new(config.answers.iter().map(answer).collect(), for_all_origins),
        unmetered: Arc::clone(&services.unmetered),
        unmetered_max: config.connections.unmetered_max,
        bodies: BodySettings {
            budget: Arc::clone(&services.uploads),
            dir: services.spool.clone(),
            pace: BodyPace {
                timeout: config.bodies.timeout,
                rate_min: config.bodies.rate_min,
                upload_max: config.bodies.upload_max,
            },
        },
        bounds: ListenerBounds {
            connections: Arc::clone(&services.connections),
            head_timeout: config.connections.head_timeout,
            send_timeout: config.connections.send_timeout.into(),
            head_max: config.connections.head_max,
            headers_max: config.connections.headers_max,
            proxy_protocol: ProxyProtocol::new(config.proxy_protocol.clone()),
            meters: Arc::clone(&services.connection_meters.public),
        },
        request_meters,
        access_log: services.access_logs.of(config),
        traces: (services.traces.as_ref()).map(|traces| traces.showing(addresses(config))),
        upstreams: upstreams.in_file().cloned().collect(),
        admin_hosts: config.admin.hosts.clone(),
        ready_needs_upstream: config.readyz.upstreams == ReadyzUpstreams::Any,
    };
    Site::new(Arc::clone(&services.gate), Arc::clone(generation), settings)
}

fn request_meters(config: &Config, own: &OwnPaths, services: &Services) -> RequestMeters {
    let name = |route: &config::RouteSection| match &route.host {
        Some(host) => format!("{host}{}", route.pattern.as_str()),
        None => route.pattern.as_str().to_owned(),
    };
    let recorder = services.exposition.recorder();
    RequestMeters::register(config.routes.iter().map(name), own.metered(), recorder)
}

/// What the status page shows: slots by the routes that lead to them, each path once.
fn shown(config: &Config, upstreams: &Upstreams, own: &OwnPaths, keys: &KeyPlaces) -> Shown {
    let mut shown: Vec<(UpstreamId, Vec<String>)> = Vec::new();
    for route in config.routes.iter().filter(|route| route.metered) {
        let (id, path) = (upstreams.at(route.upstream).id(), route.pattern.as_str().to_owned());
        match shown.iter_mut().find(|(known, _)| *known == id) {
            Some((_, paths)) if paths.contains(&path) => {}
            Some((_, paths)) => paths.push(path),
            None => shown.push((id, vec![path])),
        }
    }
    Shown {
        paths: own.status.clone(),
        me: own.me.clone(),
        key: keys.first(),
        upstreams: shown,
    }
}

fn limits(config: &Config, rules: &Arc<Rules>, services: &Services) -> Arc<Limits> {
    let spec = |limit: &config::LimitRoute| LimitSpec {
        host: limit.host.clone(),
        pattern: limit.pattern.clone(),
        methods: limit.methods.clone(),
    };
    let specs = config.limits.iter().map(spec).collect();
    let (limiter, pseudonyms) = (Arc::clone(&services.limiter), services.pseudonyms.clone());
    Arc::new(Limits::new(limiter, Arc::clone(rules), pseudonyms, specs))
}

fn forwarded_header(config: &Config) -> ForwardedHeader {
    match config.forwarded_header {
        config::ForwardedHeaderSetting::Either => ForwardedHeader::Either,
        config::ForwardedHeaderSetting::XForwardedFor => ForwardedHeader::XForwardedFor,
        config::ForwardedHeaderSetting::Forwarded => ForwardedHeader::Forwarded,
    }
}

fn answer((reason, config): &(Reason, config::Answer)) -> (Reason, CustomAnswer) {
    let status = |status| StatusCode::from_u16(status).expect("a validated configuration has only valid statuses");
    let answer = CustomAnswer {
        status: config.status.map(status),
        headers: config.headers.clone(),
        body: config.body.clone(),
    };
    (*reason, answer)
}

fn header_policy(config: &Config) -> HeaderPolicy {
    let when = |limit: &config::LimitRoute| match limit.headers {
        config::LimitHeaders::Always => LimitHeadersWhen::Always,
        config::LimitHeaders::OnRefusalReset => LimitHeadersWhen::ResetOnRefusal,
        config::LimitHeaders::OnRefusal => LimitHeadersWhen::OnRefusal,
        config::LimitHeaders::Off => LimitHeadersWhen::Never,
    };
    HeaderPolicy {
        fields: config.ratelimit_fields,
        when: config.limits.iter().map(when).collect(),
    }
}

fn route(config: &config::RouteSection, upstreams: &Upstreams) -> (RouteSpec, Route) {
    let spec = RouteSpec {
        host: config.host.clone(),
        pattern: config.pattern.clone(),
        methods: config.methods.clone(),
        metered: config.metered,
    };
    let route = Route {
        upstream: Arc::clone(upstreams.at(config.upstream)),
        metered: config.metered,
        max_body: config.max_body,
        max_wait: config.max_wait.map(Span::from),
        success: config.success.as_slice().into(),
        cost: config.cost,
        on_hangup: match config.on_hangup {
            config::OnHangupSetting::Finish => OnHangup::Finish,
            config::OnHangupSetting::Cancel => OnHangup::Cancel,
        },
    };
    (spec, route)
}

/// The room for bodies of metered requests.
pub(super) fn body_bounds(config: &Config) -> BodyBounds {
    BodyBounds {
        memory: config.bodies.memory,
        memory_each: config.bodies.memory_each,
        spool: config.bodies.spool,
    }
}
