//! What a refusal costs in allocations. A flood is the normal case: a refusal must cost next to nothing.
//!
//! From the matching of the limits to the answer with its headers, as the proxy makes it; not the request and the connection.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use http::{HeaderMap, Method, StatusCode};
use tiergate::clock::Clock;
use tiergate::config::presets::Preset;
use tiergate::gate::Limiter;
use tiergate::http::limits::{LimitSpec, Limits, Sender};
use tiergate::http::ratelimit::{HeaderPolicy, LimitHeadersWhen};
use tiergate::http::reply::{Answers, CustomAnswer, Form};
use tiergate::policy::time::UnixTime;
use tiergate::store::Pseudonyms;
use tiergate::telemetry::request_id::RequestId;

/// Refusals that are measured together.
const REFUSALS: u64 = 1_000;
const ADDRESS: &str = "192.0.2.7";

/// The parts of the proxy that answer a flood.
struct Edge {
    limits: Limits,
    answers: Answers,
    header_policy: HeaderPolicy,
    address: IpAddr,
}

impl Edge {
    /// A preset's.
    fn of(preset: &str) -> Self {
        let preset = Preset::named(preset).expect("a preset that there is");
        let config = preset.config().unwrap_or_else(|errors| panic!("{errors}"));
        let answers = config.answers.into_iter().map(|(reason, answer)| {
            let answer = CustomAnswer {
                status: answer.status.and_then(|status| StatusCode::from_u16(status).ok()),
                headers: answer.headers,
                body: answer.body,
            };
            (reason, answer)
        });
        let answers = Answers::new(answers.collect(), true);
        let header_policy = HeaderPolicy {
            fields: config.ratelimit_fields,
            when: vec![LimitHeadersWhen::Always; config.limits.len()],
        };
        let specs = config.limits.into_iter().map(|limit| LimitSpec {
            host: limit.host,
            pattern: limit.pattern,
            methods: limit.methods,
        });
        let rules = Arc::new(config.rules);
        let limiter = Limiter::new(Arc::clone(&rules), Clock::start());
        Self {
            limits: Limits::new(limiter, rules, Pseudonyms::new([7; 16]), specs.collect()),
            answers,
            header_policy,
            address: ADDRESS.parse().expect("an address"),
        }
    }

    /// Answers a request if it is refused, and says whether it was.
    fn answer(&self, path: &str) -> bool {
        let matching = self.limits.matching("api.example", path, &Method::POST);
        let sender = Sender {
            address: self.address,
            known_by: self.limits.known_by(self.address),
            network: None,
            standing: None,
        };
        let charged = self.limits.charge(matching, &sender, UnixTime::default());
        let (met, charged) = charged.expect("nobody reloads");
        let Err(refusal) = charged else { return false };
        let form = Form::wanted(&HeaderMap::new());
        let mut response = self.answers.reply(&refusal, None, form, &RequestId::new());
        self.header_policy
            .set_headers(response.headers_mut(), self.limits.rules(), met.as_ref(), None);
        black_box(response);
        true
    }

    /// So many refusals, after as many requests as there may be.
    fn measured(&self, path: &str) -> AllocationInfo {
        while !self.answer(path) {}
        measure(|| {
            for _ in 0..REFUSALS {
                assert!(self.answer(path));
            }
        })
    }
}

/// The bounds are a little above what was measured in a build without optimisation.
#[track_caller]
fn check(preset: &str, path: &str, allocations_max: u64, bytes_max: u64) {
    let info = Edge::of(preset).measured(path);
    let (allocations, bytes) = (info.count_total / REFUSALS, info.bytes_total / REFUSALS);
    println!("{preset} {path}: {allocations} allocations, {bytes} bytes a refusal");
    assert!(
        allocations <= allocations_max,
        "{preset} {path}: {allocations} allocations"
    );
    assert!(bytes <= bytes_max, "{preset} {path}: {bytes} bytes");
    assert_eq!(info.count_current, 0, "{preset} {path}: nothing stays");
}

#[test]
fn a_refusal_with_a_body_of_the_operators_own() {
    check("bags", "/ping", 14, 1_300);
    check("amvstrm", "/", 14, 1_300);
}

#[test]
fn a_refusal_by_an_undisclosed_limit() {
    check("bags", "/api/v1/token-launch/create", 8, 1_200);
}

#[test]
fn a_refusal_in_the_usual_words_with_all_fields() {
    check("trace-moe", "/search", 22, 3_600);
}
