//! The origin of an admin request: its address, and the name that the operator gives.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderName;
use http::request::Parts;

use super::Admin;
use super::problem::Problem;
use crate::store::audit::{Actor, OPERATOR_CHARS, Stamp, is_operator};

/// The operator's name. It isn't verified: a token holder may claim any name.
pub const X_TIERGATE_OPERATOR: HeaderName = HeaderName::from_static("x-tiergate-operator");

/// The peer address of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// When a change was requested, and by whom.
#[derive(Debug)]
pub(super) struct Stamped(pub Stamp);

impl FromRequestParts<Arc<Admin>> for Stamped {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let said = parts.headers.get(X_TIERGATE_OPERATOR);
        let name = said.map(|said| said.to_str().ok().filter(|name| is_operator(name)));
        if name == Some(None) {
            let (least, most) = (OPERATOR_CHARS.start(), OPERATOR_CHARS.end());
            let error =
                format!("X-Tiergate-Operator must be {least} to {most} visible ASCII characters without spaces");
            return Err(Problem::bad_request(error));
        }
        let Peer(address) = parts
            .extensions
            .get()
            .copied()
            .expect("the listener inserts it into every request");
        let by = Actor::peer(address, name.flatten());
        Ok(Self(Stamp::new(admin.gate.clock().wall(), by)))
    }
}
