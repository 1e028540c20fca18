//! The operator's page and its files. They hold nothing of this server, so they need no token; all that they show comes from the API.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::Response;
use axum::routing::get;

use super::Admin;
use super::problem::Problem;
use super::session;
use crate::http::status::{asset_response, with_headers};
use crate::web;

/// The path below which its files are.
const ASSETS: &str = "/assets";

/// The page, its files and its session.
pub(super) fn router() -> Router<Arc<Admin>> {
    let mut router = Router::new()
        .route("/", get(page))
        .route("/session", get(session::show).post(session::begin).delete(session::end));
    for asset in web::OPERATOR.all() {
        let path = format!("{ASSETS}/{}", asset.name);
        router = router.route(&path, get(async move || asset_response(asset)));
    }
    router.method_not_allowed_fallback(async || Problem::method_not_allowed())
}

async fn page() -> Response {
    let page = web::fill(web::OPERATOR_HTML, |name| {
        (name == "assets")
            .then(|| ASSETS.to_owned())
            .or_else(|| web::OPERATOR.value(name))
    });
    with_headers(
        Body::from(page),
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, web::CONTENT_SECURITY_POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ],
    )
}

/// `GET /traffic`: the last hour, 3 days and 60 days, as the status page shows them.
pub(super) async fn traffic(State(admin): State<Arc<Admin>>) -> Response {
    let past = admin.status.past().await;
    with_headers(Body::from(past), [(header::CONTENT_TYPE, "application/json")])
}
