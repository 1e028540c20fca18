//! CORS: which browser pages may read the answers (the Fetch standard's protocol, by tower-http).
//!
//! Credentials are never allowed. Keys travel in headers that the page sets itself, so any origin may be allowed without exposing
//! a visitor's cookies.

use std::time::Duration;

use crate::telemetry::request_id::REQUEST_ID;
use http::{HeaderName, HeaderValue, Method, Request, header};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// Tiergate's response headers that a page may read.
const EXPOSED: [HeaderName; 10] = [
    header::RETRY_AFTER,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("preference-applied"),
    header::ALLOW,
    REQUEST_ID,
];

/// The layer for pages of these origins; `None` for all origins.
pub fn layer(origins: Option<Vec<HeaderValue>>, max_age: Duration) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origins.map_or_else(AllowOrigin::any, AllowOrigin::list))
        .allow_methods(AllowMethods::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(max_age)
}

/// Whether this is a preflight request. The layer would take every `OPTIONS`; tiergate answers the others.
pub fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
