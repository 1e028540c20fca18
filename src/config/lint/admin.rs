//! An admin listener on an address that isn't loopback, which other machines may reach.

use std::net::SocketAddr;

use crate::config::prelude::*;

pub(super) fn add(root: &Node, report: &mut Report) {
    let listen = root.value("admin").and_then(|admin| admin.value("listen"));
    let Some((node, text)) = listen.and_then(|node| Some((node, node.text()?))) else {
        return;
    };
    if text.parse::<SocketAddr>().is_ok_and(|address| !is_loopback(address)) {
        let message = format!("other machines may reach the admin listener at {}", quoted(text));
        let advice = "write 127.0.0.1, or see that a firewall or a private network keeps others away from it";
        report.warn(node.place, message, advice);
    }
}

/// Whether only this machine can reach that address.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_only_this_machine_reaches_is_loopback() {
        let loopback = |text: &str| is_loopback(text.parse().expect("an address"));
        for text in [
            "127.0.0.1:9090",
            "127.3.2.1:9090",
            "[::1]:9090",
            "[::ffff:127.0.0.1]:9090",
        ] {
            assert!(loopback(text), "{text}");
        }
        for text in ["0.0.0.0:9090", "[::]:9090", "192.168.0.1:9090", "[fe80::1]:9090"] {
            assert!(!loopback(text), "{text}");
        }
    }
}
