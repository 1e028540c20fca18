//! The client of the admin API: finds the server's admin address and the operator's token, and sends one request at a time.
//!
//! It never retries: a change may have been made although its answer was lost.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{CliError, ServerTarget};
use crate::config::{Config, TokenSource};
use crate::store::audit::is_operator;
use crate::store::{AdminToken, TOKEN_FILE, TOKEN_VARIABLE, left_address};

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for an answer.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest wait for an import or export of the largest number of accounts.
const LONG_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest answer held in memory, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Header with the operator's name for the audit log.
const X_TIERGATE_OPERATOR: &str = "x-tiergate-operator";

/// A server to talk to.
#[derive(Debug)]
pub struct AdminClient {
    /// Possible addresses, likeliest first.
    addresses: Vec<String>,
    /// The one that accepted a connection.
    reached: OnceCell<String>,
    token: AdminToken,
}

/// Where to find a server, from the command line and its tiers.yaml.
struct ServerSource {
    /// Its data folder.
    folder: PathBuf,
    /// The admin listener and the token's source, as in tiers.yaml.
    listen: Option<SocketAddr>,
    source: Option<TokenSource>,
}

impl AdminClient {
    /// The target server. Its tiers.yaml is read only if needed.
    ///
    /// # Errors
    /// The file is invalid, there is no token, or the server's address is unknown.
    pub fn of(target: &ServerTarget) -> Result<Self, CliError> {
        // An empty variable counts as unset.
        let given = std::env::var(TOKEN_VARIABLE).ok().filter(|text| !text.is_empty());
        let given = given.map(|text| AdminToken::given(&text, TOKEN_VARIABLE)).transpose()?;
        if let (Some(address), Some(token)) = (&target.admin, &given) {
            return Ok(Self::at(vec![address.clone()], token.clone()));
        }
        let server = ServerSource::of(target)?;
        let token = match given {
            Some(token) => token,
            None => match &server.source {
                Some(TokenSource::Variable(name)) => AdminToken::in_variable(name)?,
                Some(TokenSource::File(file)) => AdminToken::read(file)?,
                None => AdminToken::read(&server.folder.join(TOKEN_FILE))?,
            },
        };
        let addresses = match &target.admin {
            Some(address) => vec![address.clone()],
            None => server.addresses(),
        };
        match addresses.is_empty() {
            true => Err(CliError::NoAddress(server.folder)),
            false => Ok(Self::at(addresses, token)),
        }
    }

    fn at(addresses: Vec<String>, token: AdminToken) -> Self {
        Self {
            addresses,
            reached: OnceCell::new(),
            token,
        }
    }

    /// Sends a request, and returns the JSON of the answer.
    ///
    /// # Errors
    /// No server answers, or it refuses.
    pub fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let answer = self.run(self.exchange(method, path, "application/json", bytes, ANSWER_TIMEOUT))?;
        serde_json::from_slice(&answer).map_err(|_| self.no_answer("it is not JSON"))
    }

    /// Gets the JSON at that path, if the answer takes no longer.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn get_within(&self, path: &str, longest: Duration) -> Result<Value, CliError> {
        let answer = self.run(self.exchange(&Method::GET, path, "application/json", Bytes::new(), longest))?;
        serde_json::from_slice(&answer).map_err(|_| self.no_answer("it is not JSON"))
    }

    /// Sends bytes of that type, and returns the answer's body. Waits up to ten minutes.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn send(&self, method: &Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes, CliError> {
        self.run(self.exchange(method, path, kind, body, LONG_TIMEOUT))
    }

    /// Streams the server's answer for that path to `out`, of any length.
    ///
    /// # Errors
    /// As [`Self::ask`], or `out` can't be written.
    pub fn copy(&self, path: &str, out: &mut impl Write) -> Result<(), CliError> {
        let request = self.request(&Method::GET, path, "application/json", Bytes::new())?;
        let copied = async {
            let (status, mut body, _driver) = self.begin(request).await?;
            if !status.is_success() {
                return Err(self.refused(status, &self.whole(body).await?));
            }
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.no_answer(&error.to_string()))?;
                if let Some(some) = frame.data_ref() {
                    out.write_all(some)?;
                }
            }
            Ok(())
        };
        self.run(async {
            let copied = timeout(LONG_TIMEOUT, copied).await;
            copied.map_err(|_| self.no_answer("it took too long"))?
        })
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, CliError> {
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        Ok(body.map_err(|error| self.no_answer(&error.to_string()))?.to_bytes())
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.no_answer(&error.to_string()))?;
        runtime.block_on(work)
    }

    /// The error for an answer that is not a tiergate server's.
    pub fn no_answer(&self, what: &str) -> CliError {
        CliError::NoAnswer(self.name(), what.to_owned())
    }

    /// The server's address, or its possible addresses, for messages.
    pub fn name(&self) -> String {
        self.reached
            .get()
            .cloned()
            .unwrap_or_else(|| self.addresses.join(" or "))
    }

    /// Connects to the first address that accepts. A killed server leaves its address behind, and the next may listen elsewhere.
    async fn connect(&self) -> Result<(TcpStream, &str), CliError> {
        let mut last = io::ErrorKind::NotFound.into();
        for address in &self.addresses {
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
            match connected.map_err(io::Error::from).flatten() {
                Ok(stream) => return Ok((stream, self.reached.get_or_init(|| address.clone()))),
                Err(error) => last = error,
            }
        }
        Err(CliError::NotRunning(self.name(), last))
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        kind: &str,
        body: Bytes,
        longest: Duration,
    ) -> Result<Bytes, CliError> {
        let request = self.request(method, path, kind, body)?;
        let exchanged = timeout(longest, async {
            let (status, body, _driver) = self.begin(request).await?;
            Ok::<_, CliError>((status, self.whole(body).await?))
        });
        let (status, body) = exchanged.await.map_err(|_| self.no_answer("it took too long"))??;
        match status.is_success() {
            true => Ok(body),
            false => Err(self.refused(status, &body)),
        }
    }

    /// Builds a request, without the Host header.
    fn request(&self, method: &Method, path: &str, kind: &str, body: Bytes) -> Result<Request<Full<Bytes>>, CliError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token.reveal()))
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONNECTION, "close");
        if let Some(operator) = operator() {
            request = request.header(X_TIERGATE_OPERATOR, operator);
        }
        let request = request.body(Full::new(body));
        request.map_err(|error| CliError::Unfit(error.to_string()))
    }

    /// Sends a request, and returns the status and the unread body.
    async fn begin(&self, mut request: Request<Full<Bytes>>) -> Result<(StatusCode, Incoming, Driver), CliError> {
        let (stream, address) = self.connect().await?;
        // The address itself: the server need not know the name by which it was found.
        let host = stream
            .peer_addr()
            .map_or_else(|_| address.to_owned(), |peer| peer.to_string());
        let host = HeaderValue::from_str(&host).map_err(|error| CliError::Unfit(error.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        let no_answer = |error: hyper::Error| self.no_answer(&error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
        let driver = Driver(tokio::spawn(async {
            // Errors surface in the answer's body.
            let _ = connection.await;
        }));
        let (head, body) = sender.send_request(request).await.map_err(no_answer)?.into_parts();
        Ok((head.status, body, driver))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CliError {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(message) = file_errors(&answer) {
            return CliError::Refused { message, body: answer };
        }
        let Some(error) = answer["error"].as_str() else {
            return self.no_answer(&format!("status {status}"));
        };
        if answer["reason"] == "not_found" {
            return self.no_answer("it has no such path");
        }
        if status == StatusCode::UNAUTHORIZED {
            let what = format!("the server at {} does not accept this token", self.name());
            let advice = "is it the server of this tiers.yaml? A server reads a changed token at SIGHUP. See";
            let message = format!("{what}; {advice} {TOKEN_VARIABLE}");
            return CliError::Refused { message, body: answer };
        }
        let mut text = error.to_owned();
        for line in answer["lines"].as_array().into_iter().flatten() {
            let (number, error) = (&line["line"], line["error"].as_str().unwrap_or_default());
            text.push_str(&format!("\n  line {number}: {error}"));
        }
        CliError::Refused {
            message: text,
            body: answer,
        }
    }
}

/// Drives a connection until dropped.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The operator's name: `SUDO_USER`, or else `USER`.
pub(super) fn operator() -> Option<String> {
    let variables = ["SUDO_USER", "USER"].into_iter();
    variables
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| is_operator(name))
}

impl ServerSource {
    /// From the given folder, or else from the file, which must then be valid.
    fn of(target: &ServerTarget) -> Result<Self, CliError> {
        let read = Config::operators(&target.config);
        match (&target.data_dir, read) {
            (Some(folder), read) => Ok(Self {
                folder: folder.clone(),
                listen: None,
                source: read.ok().and_then(|server| server.admin.token),
            }),
            (None, Ok(server)) => Ok(Self {
                folder: server.data_dir,
                listen: Some(server.admin.listen),
                source: server.admin.token,
            }),
            (None, Err(errors)) => {
                let advice = format!(
                    "The running server can't be found: {} doesn't say where its data folder and admin listener are. Pass its data \
                     folder with --data-dir DIR, the file that it runs with by --config FILE, or its address with --admin HOST:PORT \
                     and its token in {TOKEN_VARIABLE}",
                    target.config.display()
                );
                Err(CliError::Config(errors, advice))
            }
        }
    }

    /// The address that the server has recorded, then the one in its file.
    fn addresses(&self) -> Vec<String> {
        let mut addresses: Vec<SocketAddr> = left_address(&self.folder).into_iter().chain(self.listen).collect();
        addresses.iter_mut().for_each(|address| *address = reachable(*address));
        addresses.dedup();
        addresses.iter().map(ToString::to_string).collect()
    }
}

/// The errors that the server found in a tiers.yaml: `{ "errors": [ { "line", "column", "message", "advice" }, … ] }`, or
/// `problems` as in `tiergate check --json`. The first comes without its `error: ` prefix. `None`: the answer is something else.
/// If the answer has `shown`, with the lines of the file, that is quoted.
pub fn file_errors(answer: &Value) -> Option<String> {
    if let Some(shown) = answer["shown"].as_str() {
        return Some(shown.strip_prefix("error: ").unwrap_or(shown).to_owned());
    }
    let errors = answer["errors"].as_array().or(answer["problems"].as_array());
    let errors = errors.filter(|errors| !errors.is_empty())?;
    let told = |error: &Value| {
        let mut told = error["message"].as_str()?.to_owned();
        if let (Some(line), Some(column)) = (error["line"].as_u64(), error["column"].as_u64()) {
            told.push_str(&format!("\n --> line {line}, column {column}"));
        }
        if let Some(advice) = error["advice"].as_str().filter(|advice| !advice.is_empty()) {
            told.push_str(&format!("\n  = {advice}"));
        }
        Some(told)
    };
    let told: Vec<String> = errors.iter().map(told).collect::<Option<_>>()?;
    Some(told.join("\n\nerror: "))
}

/// The address to connect to for a listener on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A name as a segment of a path. Its first byte is always escaped, so no name is taken for one of the server's own paths, such
/// as `export`, or for `..`.
pub fn escaped(name: &str) -> String {
    let mut bytes = name.bytes();
    let first = bytes.next().map(|byte| format!("%{byte:02X}")).unwrap_or_default();
    bytes.fold(first, |mut path, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_a_server_finds_in_a_file_are_complete() {
        let answer = serde_json::json!({ "errors": [
            { "line": 3, "column": 7, "message": "unknown field `concurency`", "advice": "did you mean `concurrency`?" },
            { "line": null, "column": null, "message": "the file is empty", "advice": "" },
        ] });
        let message = "unknown field `concurency`\n --> line 3, column 7\n  = did you mean `concurrency`?\n\nerror: the file is empty";
        assert_eq!(file_errors(&answer).as_deref(), Some(message));
        let checked = serde_json::json!({ "errors": 2, "problems": answer["errors"] });
        assert_eq!(file_errors(&checked).as_deref(), Some(message));
        let shown = serde_json::json!({ "errors": 1, "problems": [], "shown": "error: this\n --> tiers.yaml:1:2" });
        assert_eq!(file_errors(&shown).as_deref(), Some("this\n --> tiers.yaml:1:2"));
        for other in ["{}", r#"{"errors":[]}"#, r#"{"errors":[{}]}"#, r#"{"error":"no"}"#] {
            assert_eq!(
                file_errors(&serde_json::from_str(other).expect("JSON")),
                None,
                "{other}"
            );
        }
    }

    #[test]
    fn a_name_is_escaped_as_one_path_segment() {
        assert_eq!(escaped("export"), "%65xport");
        assert_eq!(escaped(".."), "%2E%2E");
        assert_eq!(escaped("a/b?c"), "%61%2Fb%3Fc");
        assert_eq!(escaped(""), "");
    }
}
