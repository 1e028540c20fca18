//! For which hosts the admin listener's API and pages answer: loopback names, the address that the client connected to, and those in
//! `admin.hosts`. So a web page can't reach them under a name of its own that resolves to this address (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::Admin;
use super::problem::Problem;
use crate::http::host::Host;
use crate::http::target;

/// The address of this end of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalAddress(pub IpAddr);

/// Answers 421 for any other host.
pub(super) async fn check(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Result<Response, Problem> {
    let LocalAddress(local) = request
        .extensions()
        .get()
        .copied()
        .expect("the listener inserts it into every request");
    let (head, body) = request.into_parts();
    let host = target::host(&head).map_err(|_| Problem::bad_request("the Host header is missing or malformed"))?;
    if is_ours(&host, local, &admin.site.load().admin_hosts) {
        Ok(next.run(Request::from_parts(head, body)).await)
    } else {
        Err(Problem::unknown_host())
    }
}

/// Whether it is one of them, with any port.
fn is_ours(host: &str, local: IpAddr, added: &[String]) -> bool {
    let host = Host::parse(host);
    let address = match &host {
        Host::Name(name) if name.eq_ignore_ascii_case("localhost") => return true,
        Host::Name(name) => name.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        Host::V6(address) => Some(IpAddr::from(*address).to_canonical()),
    };
    address.is_some_and(|address| address.is_loopback() || address == local.to_canonical())
        || added.iter().any(|added| Host::parse(added).to_owned().is(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_the_own_address_are_ours() {
        let local: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        let added = ["tiergate.lan".to_owned(), "[2001:db8::7]".to_owned()];
        for ours in [
            "localhost",
            "LocalHost:9090",
            "127.0.0.1:9090",
            "127.8.9.1",
            "[::1]:9090",
            "192.0.2.1",
            "192.0.2.1:80",
            "[::ffff:192.0.2.1]",
            "Tiergate.LAN:9090",
            "tiergate.lan.",
            "[2001:db8::7]:9090",
        ] {
            assert!(is_ours(ours, local, &added), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.2",
            "[2001:db8::8]",
            "tiergate.lan.evil.example",
            "0.0.0.0",
        ] {
            assert!(!is_ours(other, local, &added), "{other}");
        }
    }
}
