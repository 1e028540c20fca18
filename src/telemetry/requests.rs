//! Metrics of every request of the public listener, by route: metered or not, answered or refused.

use std::sync::Arc;

use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};

use crate::policy::time::Span;

const REQUESTS: &str = "tiergate_http_requests_total";
const DURATION: &str = "tiergate_http_request_duration_seconds";
/// Classes of statuses; the last one is of requests whose client was gone before there was a status.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

/// The handles of one route.
#[derive(Debug)]
pub struct RouteMeters {
    /// The route's name in metrics and in the access log.
    pub name: Arc<str>,
    requests: [Counter; CLASSES.len()],
    duration: Histogram,
}

impl RouteMeters {
    /// Registers the metrics of a route.
    pub fn register(name: &str, recorder: &impl Recorder) -> Arc<Self> {
        let route = || Label::new("route", name.to_owned());
        let requests = CLASSES.map(|class| {
            let labels = vec![route(), Label::new("code_class", class)];
            recorder.register_counter(&Key::from_parts(REQUESTS, labels), &METADATA)
        });
        Arc::new(Self {
            name: name.into(),
            requests,
            duration: recorder.register_histogram(&Key::from_parts(DURATION, vec![route()]), &METADATA),
        })
    }

    /// Counts a finished request; `None`: it had no status.
    pub fn finished(&self, status: Option<u16>, took: Span) {
        let class = status.map_or(CLASSES.len() - 1, |status| usize::from(status / 100).clamp(1, 5) - 1);
        self.requests[class].increment(1);
        self.duration.record(took.as_secs_f64());
    }
}

/// The handles of one configuration.
#[derive(Debug)]
pub struct RequestMeters {
    /// By route, in the file's order.
    pub routes: Vec<Arc<RouteMeters>>,
    /// Requests for which there is no route.
    pub none: Arc<RouteMeters>,
    /// The proxy's own pages, by path.
    own: Vec<(String, Arc<RouteMeters>)>,
}

impl RequestMeters {
    /// Registers the metrics of those routes and own pages.
    pub fn register<'a>(
        routes: impl Iterator<Item = String>,
        own: impl Iterator<Item = &'a str>,
        recorder: &impl Recorder,
    ) -> Self {
        let about =
            "Requests of the public listener, refused and unmetered ones included, by route and class of status.";
        recorder.describe_counter(KeyName::from_const_str(REQUESTS), None, about.into());
        let about = "From a request's head to the end of its answer, in seconds.";
        recorder.describe_histogram(KeyName::from_const_str(DURATION), Some(Unit::Seconds), about.into());
        let page = |path: &str| (path.to_owned(), RouteMeters::register(&format!("own:{path}"), recorder));
        Self {
            routes: routes.map(|name| RouteMeters::register(&name, recorder)).collect(),
            none: RouteMeters::register("none", recorder),
            own: own.map(page).collect(),
        }
    }

    /// The handles of an own page.
    pub fn own(&self, path: &str) -> &Arc<RouteMeters> {
        let page = self.own.iter().find(|(own, _)| own == path);
        page.map_or(&self.none, |(_, meters)| meters)
    }
}
