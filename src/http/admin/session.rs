//! Sessions of the operator's page. The token is sent once, and a browser then holds a random cookie that scripts can't read.
//!
//! A request is by a session if it has no `Authorization`. Then it must come from this listener's own page: browsers send the cookie
//! along with whatever another page makes them request, if that page is on the same host. So a change needs a header that no
//! foreign form or image can send, and whose value only the own page can read.
//!
//! Sessions are in memory: a restart ends them, and so does another token.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};

use super::Admin;
use super::controls::record;
use super::operator::{Peer, Stamped, X_TIERGATE_OPERATOR};
use super::problem::Problem;
use super::sent::{BodyField, BodyFields, Sent};
use crate::http::caller::bearer;
use crate::http::headers::{SESSION_COOKIE, cookies, session_in};
use crate::policy::time::{Span, Timestamp};
use crate::store::network::network_of;
use crate::store::{AdminToken, SessionSecret};

/// How long a session lasts.
pub const SESSION_LENGTH: Span = Span::from_secs(12 * 60 * 60);
/// Sessions at once; the oldest ends if there is one more.
pub const SESSIONS_MAX: usize = 64;
/// Wrong tokens within [`ATTEMPTS_WITHIN`] from one IPv4 address or IPv6 /64; further attempts are not looked at.
pub const ATTEMPTS_PER_NETWORK_MAX: usize = 5;
/// Wrong tokens within [`ATTEMPTS_WITHIN`] in all.
pub const ATTEMPTS_MAX: usize = 30;
/// The time within which wrong tokens are counted.
pub const ATTEMPTS_WITHIN: Span = Span::from_secs(60);

/// The header that a change by a session needs, with the value that `GET /session` tells.
const X_TIERGATE_CSRF: HeaderName = HeaderName::from_static("x-tiergate-csrf");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The operators' sessions, and recent wrong tokens.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// Oldest first.
    sessions: VecDeque<Session>,
    /// Oldest first, at most [`ATTEMPTS_MAX`].
    wrong: VecDeque<(Timestamp, IpAddr)>,
}

#[derive(Clone, Debug)]
struct Session {
    id: SessionSecret,
    csrf: SessionSecret,
    /// The token with which it began.
    token: Arc<AdminToken>,
    operator: Option<String>,
    until: Timestamp,
}

/// The result of a log-in.
enum Attempt {
    Right,
    /// So many further attempts are possible at once.
    Wrong(usize),
    /// Not looked at: there were too many wrong ones. Possible again after this time.
    Refused(Span),
}

impl Sessions {
    /// Looks at a token, unless there were too many wrong ones.
    fn attempt(&self, from: IpAddr, now: Timestamp, is_right: impl FnOnce() -> bool) -> Attempt {
        let from = network_of(from).addr();
        let wrong = &mut self.0.lock().wrong;
        while wrong.front().is_some_and(|(at, _)| now.since(*at) >= ATTEMPTS_WITHIN) {
            wrong.pop_front();
        }
        let own = || wrong.iter().filter(|(_, of)| *of == from);
        let blocking = match own().count() {
            ATTEMPTS_PER_NETWORK_MAX.. => own().next(),
            _ if wrong.len() >= ATTEMPTS_MAX => wrong.front(),
            _ => None,
        };
        if let Some((at, _)) = blocking {
            return Attempt::Refused(Span::from_nanos(
                ATTEMPTS_WITHIN.as_nanos().saturating_sub(now.since(*at).as_nanos()),
            ));
        }
        if is_right() {
            return Attempt::Right;
        }
        wrong.push_back((now, from));
        let own = wrong.iter().filter(|(_, of)| *of == from).count();
        Attempt::Wrong((ATTEMPTS_PER_NETWORK_MAX - own).min(ATTEMPTS_MAX - wrong.len()))
    }

    fn begin(&self, session: Session) {
        let sessions = &mut self.0.lock().sessions;
        while sessions.len() >= SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back(session);
    }

    /// The session that one of these headers' cookies names. All are compared, in constant time.
    fn find(&self, headers: &HeaderMap, token: &AdminToken, now: Timestamp) -> Option<Session> {
        let sessions = &mut self.0.lock().sessions;
        sessions.retain(|session| session.until > now && session.token.is_same(token));
        let presented: Vec<&[u8]> = presented(headers).take(SESSIONS_MAX).collect();
        let mut found = None;
        for session in sessions.iter() {
            for id in &presented {
                if session.id.is(id) {
                    found = Some(session.clone());
                }
            }
        }
        found
    }

    fn end(&self, ended: &Session) {
        let sessions = &mut self.0.lock().sessions;
        sessions.retain(|session| !session.id.is(ended.id.reveal().as_bytes()));
    }
}

/// The ids of sessions in the request's cookies.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines.flat_map(cookies).filter_map(session_in)
}

impl Admin {
    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let now = self.gate.clock().now();
        self.sessions.find(headers, &self.token.load(), now)
    }

    /// The session of a request without a token, if the request is one that the operator's own page makes.
    fn authorized(&self, method: &Method, headers: &HeaderMap) -> Result<Session, Problem> {
        let session = self.session(headers).ok_or_else(Problem::unauthorized)?;
        if is_foreign(headers) {
            return Err(Problem::foreign());
        }
        if !method.is_safe() {
            let csrf = headers.get(X_TIERGATE_CSRF);
            let is_ours = csrf.is_some_and(|csrf| session.csrf.is(csrf.as_bytes()));
            // A browser that says neither is too old to be trusted with a cookie.
            let says_whence = headers.contains_key(SEC_FETCH_SITE) || headers.contains_key(header::ORIGIN);
            if !is_ours || !says_whence {
                return Err(Problem::foreign());
            }
        }
        Ok(session)
    }
}

/// Whether a browser says that another page made the request. `Origin` names the host, with the port unless it is the scheme's own,
/// just as `Host` does; the scheme isn't known here, as TLS may end before this listener.
fn is_foreign(headers: &HeaderMap) -> bool {
    let site = headers.get_all(SEC_FETCH_SITE).iter();
    let mut foreign_site = site.map(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let origins = headers.get_all(header::ORIGIN).iter();
    let mut foreign_origin = origins.map(|origin| {
        let origin = origin.as_bytes();
        let of = ["http://", "https://"];
        let host_of = of.iter().find_map(|scheme| origin.strip_prefix(scheme.as_bytes()));
        !host_of.is_some_and(|of| of.eq_ignore_ascii_case(host))
    });
    foreign_site.any(|is| is) || foreign_origin.any(|is| is)
}

/// Requires the operator's token, or a session of the operator's page.
pub(super) async fn guard(
    State(admin): State<Arc<Admin>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if let Some(presented) = request.headers().get(header::AUTHORIZATION) {
        let is_right = bearer(presented).is_some_and(|token| admin.token.load().is(token.trim_ascii()));
        return match is_right {
            true => Ok(next.run(request).await),
            false => Err(Problem::unauthorized()),
        };
    }
    let session = admin.authorized(request.method(), request.headers())?;
    let headers = request.headers_mut();
    if let Some(operator) = session.operator.and_then(|name| HeaderValue::from_str(&name).ok()) {
        headers.entry(X_TIERGATE_OPERATOR).or_insert(operator);
    }
    let mut response = next.run(request).await;
    let not_stored = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(not_stored);
    Ok(response)
}

/// The token, sent once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogIn {
    token: String,
}

impl BodyFields for LogIn {
    fn all() -> Vec<BodyField> {
        vec![BodyField::required("token", "text")]
    }
}

/// A session as its page knows it; without one, all is `null`.
#[derive(Debug, Default, Serialize)]
struct SessionLine {
    /// What changes need in `X-Tiergate-CSRF`.
    csrf: Option<String>,
    /// The name that the operator gave.
    operator: Option<String>,
    expires_in_s: Option<u64>,
}

impl SessionLine {
    fn of(session: &Session, now: Timestamp) -> Self {
        Self {
            csrf: Some(session.csrf.reveal().to_owned()),
            operator: session.operator.clone(),
            expires_in_s: Some(session.until.since(now).as_secs_ceil()),
        }
    }
}

/// `POST /session`: begins a session with the token. The operator's name, if there is one, goes into `X-Tiergate-Operator`.
pub(super) async fn begin(
    State(admin): State<Arc<Admin>>,
    Extension(Peer(peer)): Extension<Peer>,
    Stamped(stamp): Stamped,
    headers: HeaderMap,
    Sent(LogIn { token }): Sent<LogIn>,
) -> Result<Response, Problem> {
    if is_foreign(&headers) {
        return Err(Problem::foreign());
    }
    let (now, right) = (admin.gate.clock().now(), admin.token.load_full());
    let is_right = || right.is(token.trim().as_bytes());
    match admin.sessions.attempt(peer, now, is_right) {
        Attempt::Right => {}
        Attempt::Wrong(left) => {
            warn!(by = %stamp.by, "operator log-in with a wrong token");
            return Err(Problem::wrong_token(left));
        }
        Attempt::Refused(retry_after) => return Err(Problem::too_many_attempts(retry_after)),
    }
    let secret = || SessionSecret::new().map_err(|error| Problem::no_session(&error));
    let operator = headers.get(X_TIERGATE_OPERATOR).and_then(|name| name.to_str().ok());
    let session = Session {
        id: secret()?,
        csrf: secret()?,
        token: right,
        operator: operator.map(str::to_owned),
        until: now + SESSION_LENGTH,
    };
    let line = SessionLine::of(&session, now);
    let cookie = set_cookie(
        session.id.reveal(),
        SESSION_LENGTH.as_secs_ceil(),
        is_over_tls(&headers),
    );
    admin.sessions.begin(session);
    info!(by = %stamp.by, "operator logged in");
    record(&admin, stamp, "log_in", String::new(), json!({})).await;
    Ok(with_cookie(Some(cookie), line))
}

/// `GET /session`: the session of this browser, if it has one.
pub(super) async fn show(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Result<Response, Problem> {
    if is_foreign(&headers) {
        return Err(Problem::foreign());
    }
    let now = admin.gate.clock().now();
    let session = admin.session(&headers);
    let line = session.map_or_else(SessionLine::default, |session| SessionLine::of(&session, now));
    Ok(with_cookie(None, line))
}

/// `DELETE /session`: ends the session.
pub(super) async fn end(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Result<Response, Problem> {
    let session = admin.authorized(&Method::DELETE, &headers)?;
    admin.sessions.end(&session);
    let cookie = set_cookie("", 0, is_over_tls(&headers));
    Ok(with_cookie(Some(cookie), SessionLine::default()))
}

/// Whether the page was loaded over TLS, which then ends before this listener. Otherwise that isn't known.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN);
    origin.is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

fn set_cookie(id: &str, age_s: u64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={id}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}")
}

fn with_cookie(cookie: Option<String>, line: SessionLine) -> Response {
    let mut response = ([(header::CACHE_CONTROL, "no-store")], Json(line)).into_response();
    if let Some(cookie) = cookie {
        let cookie = HeaderValue::from_str(&cookie).expect("hexadecimal digits and words are visible ASCII");
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(Span::from_secs(seconds).as_nanos())
    }

    fn session(token: &Arc<AdminToken>, until: Timestamp) -> Session {
        let secret = || SessionSecret::new().expect("there are random bytes");
        Session {
            id: secret(),
            csrf: secret(),
            token: Arc::clone(token),
            operator: None,
            until,
        }
    }

    fn token(text: &str) -> Arc<AdminToken> {
        Arc::new(AdminToken::given(text, "here").expect("it is long enough"))
    }

    fn cookie(session: &Session) -> HeaderMap {
        let value = format!("a=1; {SESSION_COOKIE}={}", session.id.reveal());
        [(header::COOKIE, value.parse().expect("visible ASCII"))]
            .into_iter()
            .collect()
    }

    #[test]
    fn wrong_tokens_are_limited_by_network_and_in_all() {
        let sessions = Sessions::default();
        let from = |third: u8, last: u8| IpAddr::from([198, 51, third, last]);
        let wrong = |from, now| match sessions.attempt(from, at(now), || false) {
            Attempt::Right => panic!("it was wrong"),
            Attempt::Wrong(left) => Ok(left),
            Attempt::Refused(retry_after) => Err(retry_after.as_secs_ceil()),
        };
        let first: Vec<_> = (0..6).map(|second| wrong(from(0, 1), second)).collect();
        assert_eq!(first, [Ok(4), Ok(3), Ok(2), Ok(1), Ok(0), Err(55)]);
        // The right token is not looked at either, or guessing would go on.
        assert!(matches!(
            sessions.attempt(from(0, 1), at(6), || true),
            Attempt::Refused(_)
        ));
        assert!(matches!(sessions.attempt(from(0, 2), at(6), || true), Attempt::Right));
        // An IPv6 client has a /64.
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        let of_one: Vec<_> = (0..6).map(|last| wrong(v6(last), 7).is_ok()).collect();
        assert_eq!(of_one, [true, true, true, true, true, false]);
        let others: Vec<_> = (0..21).map(|last| wrong(from(1, last), 8).is_ok()).collect();
        assert_eq!(others.iter().filter(|looked_at| **looked_at).count(), ATTEMPTS_MAX - 10);
        assert_eq!(sessions.0.lock().wrong.len(), ATTEMPTS_MAX);
        // A minute after the first.
        assert_eq!(wrong(from(0, 1), 60), Ok(0));
        assert_eq!(wrong(from(0, 1), 200), Ok(4));
    }

    #[test]
    fn sessions_end_in_time_with_the_token_and_when_there_are_many() {
        let (sessions, right) = (Sessions::default(), token("0123456789abcdef"));
        let all: Vec<Session> = (0..=SESSIONS_MAX).map(|_| session(&right, at(100))).collect();
        for one in &all {
            sessions.begin(one.clone());
        }
        let knows = |which: usize, now: u64| sessions.find(&cookie(&all[which]), &right, at(now)).is_some();
        assert!(!knows(0, 1) && knows(1, 1) && knows(SESSIONS_MAX, 99));
        assert!(sessions.find(&HeaderMap::new(), &right, at(1)).is_none());
        sessions.end(&all[1]);
        assert!(!knows(1, 1) && knows(2, 1) && !knows(2, 100));
        sessions.begin(all[3].clone());
        assert!(
            sessions
                .find(&cookie(&all[3]), &token("0123456789abcdeg"), at(1))
                .is_none()
        );
        assert!(!knows(3, 1), "another token has ended it");
    }

    #[test]
    fn a_browser_says_whether_the_page_is_our_own() {
        let says = |lines: &[(HeaderName, &'static str)]| {
            let host = (header::HOST, "localhost:9090");
            let lines = lines.iter().cloned().chain([host]);
            is_foreign(
                &lines
                    .map(|(name, value)| (name, HeaderValue::from_static(value)))
                    .collect(),
            )
        };
        assert!(!says(&[]));
        assert!(!says(&[
            (header::ORIGIN, "http://LOCALHOST:9090"),
            (SEC_FETCH_SITE, "same-origin")
        ]));
        assert!(!says(&[(header::ORIGIN, "https://localhost:9090")]));
        assert!(!says(&[(SEC_FETCH_SITE, "none")]));
        for (name, value) in [
            (SEC_FETCH_SITE, "same-site"),
            (SEC_FETCH_SITE, "cross-site"),
            (header::ORIGIN, "http://localhost:8080"),
            (header::ORIGIN, "http://evil.example"),
            (header::ORIGIN, "null"),
            (header::ORIGIN, "http://localhost:9090.evil.example"),
        ] {
            assert!(says(&[(name.clone(), value)]), "{name}: {value}");
            assert!(
                says(&[(SEC_FETCH_SITE, "same-origin"), (name.clone(), value)]),
                "{name}: {value}"
            );
        }
    }
}
