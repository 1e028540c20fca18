//! The demo's page at `/`: drop a picture, see what is found, and the queue beside it.
//!
//! It comes from the search service, as any service's pages would, and uses tiergate as any client does: `/search` with a key or
//! without, and the events of tiergate's status page.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderName, StatusCode, header};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::index::{self, Index};
use crate::proxy::{KEY_HEADER, Sponsor};
use crate::samples::{self, Sample};

/// What the page may load: its own files, and nothing else. A picture that is dropped becomes a `blob:`.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// The queue is drawn as on tiergate's own pages, with their files.
const HTML: &str = include_str!("page/page.html");
const ICONS: &str = include_str!("../../src/web/icons.svg");
const ICON: &str = include_str!("../../src/web/icon.svg");
const CSS: &str = concat!(
    include_str!("../../src/web/tokens.css"),
    include_str!("../../src/web/parts.css"),
    include_str!("page/page.css")
);
const JS: &str = concat!(
    include_str!("../../src/web/base.js"),
    include_str!("../../src/web/queue.js"),
    include_str!("page/page.js")
);

/// Thumbnails in one strip, at most.
const STRIP_MAX: usize = 16;

/// Who may search on the page, other than strangers.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// The anonymous tier's name.
    pub anonymous: String,
    /// One of each other tier, whose key the page gives away.
    pub guests: Vec<Sponsor>,
    /// The path of tiergate's status page, if it is on.
    pub status: Option<String>,
}

/// What the page shows.
#[derive(Clone)]
pub struct Page {
    index: Arc<Index>,
    samples: Arc<[Sample]>,
    html: Arc<str>,
}

impl Page {
    /// A page for searching that index.
    pub fn new(index: Arc<Index>, callers: &Callers) -> Self {
        let samples: Arc<[Sample]> = Sample::all(&index).into();
        let guest =
            |sponsor: &Sponsor| json!({ "tier": sponsor.tier, "priority": sponsor.priority, "key": sponsor.key });
        let sample = |sample: &Sample| json!({ "original": sample.original, "change": sample.change() });
        let config = json!({
            "header": KEY_HEADER,
            "anonymous": callers.anonymous,
            "guests": callers.guests.iter().map(guest).collect::<Vec<_>>(),
            "status": callers.status,
            "samples": samples.iter().map(sample).collect::<Vec<_>>(),
            // Another run may have other pictures at the same address.
            "run": std::process::id(),
        });
        // No `<` ends the script element, or begins a comment in it.
        let config = config.to_string().replace('<', "\\u003c");
        let pictures = index.pictures().len().to_string();
        let status = callers.status.as_deref().unwrap_or("#queue");
        let html = HTML
            .replace("{{icons}}", ICONS)
            .replace("{{pictures}}", &pictures)
            .replace("{{status}}", status)
            .replace("{{config}}", &config);
        Self {
            index,
            samples,
            html: html.into(),
        }
    }

    /// The index that it searches.
    pub fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index)
    }
}

/// The page and what it loads.
pub fn router(page: Page) -> Router {
    Router::new()
        .route("/", get(html))
        .route("/demo/page.css", get(async || file("text/css; charset=utf-8", CSS)))
        .route(
            "/demo/page.js",
            get(async || file("text/javascript; charset=utf-8", JS)),
        )
        .route("/demo/icon.svg", get(async || file("image/svg+xml", ICON)))
        .route("/demo/samples.jpg", get(samples))
        .route("/demo/strip/{places}", get(strip))
        .route("/demo/sample/{number}", get(sample))
        .with_state(page)
}

const NOSNIFF: (HeaderName, &str) = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");

async fn html(State(page): State<Page>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"), // it has keys
        NOSNIFF,
    ];
    (headers, page.html.to_string()).into_response()
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        NOSNIFF,
    ];
    (headers, text).into_response()
}

/// Thumbnails below one another: `/demo/strip/3,141,59`. One request, since requests are limited.
async fn strip(State(page): State<Page>, Path(places): Path<String>) -> Response {
    let places: Vec<usize> = places
        .split(',')
        .take(STRIP_MAX)
        .filter_map(|place| place.parse().ok())
        .collect();
    image(move || Some(index::strip(&page.index, &places))).await
}

/// What the samples look like, as a strip.
async fn samples(State(page): State<Page>) -> Response {
    image(move || Some(samples::strip(&page.samples, &page.index))).await
}

/// A sample as a file.
async fn sample(State(page): State<Page>, Path(number): Path<usize>) -> Response {
    image(move || page.samples.get(number)?.file(&page.index)).await
}

async fn image(make: impl FnOnce() -> Option<Vec<u8>> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, "max-age=3600"),
        NOSNIFF,
    ];
    match spawn_blocking(make).await {
        Ok(Some(bytes)) => (headers, bytes).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
