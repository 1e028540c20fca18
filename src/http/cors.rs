//! Which browsers' pages may read the door's answers (the Fetch standard's CORS protocol, by tower-http).
//!
//! Absent on purpose: credentials. Keys travel in headers that the page sets itself, so any origin may be allowed without
//! lending anybody's cookies.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, header};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// Headers of the door's own that a page may read.
const EXPOSED: [HeaderName; 9] = [
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("preference-applied"),
    header::ALLOW,
];

/// The layer for pages of these origins; `None` for pages of all.
pub fn layer(origins: Option<Vec<HeaderValue>>, max_age: Duration) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.map_or_else(AllowOrigin::any, AllowOrigin::list))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(max_age)
}

/// Whether a browser asks if it may ask. The layer takes every `OPTIONS` for that; those that are none are the door's.
pub fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
