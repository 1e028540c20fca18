//! Requests for admission, for tests. What a test doesn't name has a plain default.
//!
//! Only this file writes them field by field. It depends on the policy alone: benches and fuzz targets include it by its path.

#![allow(dead_code, reason = "each test program uses its part")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller, Network, UserId};
use tiergate_policy::rules::{TierId, UpstreamId};
use tiergate_policy::time::Span;
use tiergate_policy::{AccountOverrides, Delegate, RequestBody, WaitLimits};

/// What a request asks of the policy.
pub use tiergate_policy::AdmissionRequest;

/// A request of one unit for a slot of the first upstream, whose body has arrived and that names no longest wait.
pub fn request(caller: Caller, tier: TierId) -> AdmissionRequest {
    AdmissionRequest {
        caller,
        from: Network::V4(Ipv4Addr::LOCALHOST),
        tier,
        own: None,
        delegate: None,
        cost: 1,
        pool: UpstreamId(0),
        body: RequestBody::Complete,
        waits: WaitLimits::default(),
    }
}

/// Changes to a request.
pub trait RequestExt {
    /// Units of quota.
    fn cost(self, units: u32) -> Self;
    /// The upstream whose slot it needs.
    fn to(self, upstream: UpstreamId) -> Self;
    /// How much of its body has arrived.
    fn body(self, body: RequestBody) -> Self;
    /// Its body still arrives.
    fn uploading(self) -> Self;
    /// The longest waits that come with it.
    fn waits(self, waits: WaitLimits) -> Self;
    /// The route's longest wait.
    fn max_wait(self, max_wait: impl Into<Option<Span>>) -> Self;
    /// The client's longest wait.
    fn prefer_wait(self, prefer_wait: impl Into<Option<Span>>) -> Self;
    /// What the caller has of its own.
    fn own(self, own: impl Into<Option<Arc<AccountOverrides>>>) -> Self;
    /// The account that asks for one of its users.
    fn delegate(self, delegate: impl Into<Option<Box<Delegate>>>) -> Self;
    /// It is asked for this user by that account, which is of the request's tier and may have so many users.
    fn by_user(self, of: AccountId, user: u64, users_max: u32) -> Self;
}

impl RequestExt for AdmissionRequest {
    fn cost(mut self, units: u32) -> Self {
        self.cost = units;
        self
    }

    fn to(mut self, upstream: UpstreamId) -> Self {
        self.pool = upstream;
        self
    }

    fn body(mut self, body: RequestBody) -> Self {
        self.body = body;
        self
    }

    fn uploading(self) -> Self {
        self.body(RequestBody::Arriving)
    }

    fn waits(mut self, waits: WaitLimits) -> Self {
        self.waits = waits;
        self
    }

    fn max_wait(mut self, max_wait: impl Into<Option<Span>>) -> Self {
        self.waits.route = max_wait.into();
        self
    }

    fn prefer_wait(mut self, prefer_wait: impl Into<Option<Span>>) -> Self {
        self.waits.client = prefer_wait.into();
        self
    }

    fn own(mut self, own: impl Into<Option<Arc<AccountOverrides>>>) -> Self {
        self.own = own.into();
        self
    }

    fn delegate(mut self, delegate: impl Into<Option<Box<Delegate>>>) -> Self {
        self.delegate = delegate.into();
        self
    }

    fn by_user(mut self, of: AccountId, user: u64, users_max: u32) -> Self {
        self.caller = Caller::User { of, user: UserId(user) };
        let tier = self.tier;
        self.delegate(Box::new(Delegate {
            account: of,
            tier,
            own: None,
            users_max,
        }))
    }
}
