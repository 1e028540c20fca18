//! What the request path calls where traces are not built in.

use http::HeaderMap;
use metrics::Recorder;
use tracing::warn;

use super::{Endpoint, variable};
use crate::clock::Clock;
use crate::policy::time::Timestamp;
use crate::telemetry::access_log::{AddressDisplay, Entry};

/// Never there.
#[derive(Clone, Copy, Debug)]
pub enum Traces {}

/// Never there.
#[derive(Clone, Copy, Debug)]
pub enum RequestTrace {}

// A request pays nothing for what is not there.
const _: () = assert!(size_of::<Option<RequestTrace>>() == 0);

impl Traces {
    /// None. An environment that asks for traces is told why there are none.
    pub fn from_environment(_: &impl Recorder, _: Clock) -> Option<Self> {
        if let Some(endpoint) = Endpoint::wanted(&variable) {
            let variable = endpoint.variable;
            warn!("{variable} is set, but this tiergate was built without OTLP; build it with --features otlp");
        }
        None
    }

    #[allow(missing_docs, reason = "as with the feature")]
    pub fn showing(&self, _: AddressDisplay) -> Self {
        match *self {}
    }

    #[allow(missing_docs, reason = "as with the feature")]
    pub fn close(&self) {
        match *self {}
    }
}

#[allow(missing_docs, reason = "as with the feature")]
impl RequestTrace {
    pub fn begin(traces: &Traces, _: &HeaderMap, _: &str, _: Timestamp) -> Self {
        match *traces {}
    }

    pub fn is_recording(&self) -> bool {
        match *self {}
    }

    pub fn identified(&mut self, _: u8) {
        match *self {}
    }

    pub fn waited(&mut self, _: Timestamp) {
        match *self {}
    }

    pub fn dispatched(&mut self, _: Timestamp, _: &mut HeaderMap) {
        match *self {}
    }

    pub fn finish(self, _: &Entry<'_>) {
        match self {}
    }
}
