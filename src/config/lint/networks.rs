//! Networks with a large part of all addresses in the list of trusted proxies or of blocked networks, which is hardly intended.

use ipnet::IpNet;

use crate::config::prelude::*;
use crate::policy::caller::{WIDE_BITS_V4, WIDE_BITS_V6};

/// The sections with lists of networks, what one that holds every address does there, what a very wide one does, and what to
/// do instead.
const SECTIONS: [(&str, &str, &str, &str); 2] = [
    (
        "trusted_proxies",
        "lets everybody say which address it has",
        "lets a large part of everybody say which address it has",
        "name the networks of your own proxies: limits by network count for nothing otherwise",
    ),
    (
        "blocked_networks",
        "turns everybody away",
        "turns a large part of everybody away",
        "name the networks that are to be turned away",
    ),
];

pub(super) fn add(root: &Node, report: &mut Report) {
    for (section, everybody, many, advice) in SECTIONS {
        for item in root.value(section).map_or(&[][..], Node::items) {
            let Some((text, network)) = item.text().and_then(|text| Some((text, text.parse::<IpNet>().ok()?))) else {
                continue;
            };
            let does = match network.prefix_len() {
                0 => everybody,
                _ if is_wide(network) => many,
                _ => continue,
            };
            report.warn(item.place, format!("{} in `{section}` {does}", quoted(text)), advice);
        }
    }
}

/// Whether a network has a large part of all public addresses.
fn is_wide(network: IpNet) -> bool {
    // Unique local addresses (RFC 4193) are private.
    const PRIVATE: u128 = 0xfc << 120;
    match network {
        IpNet::V4(v4) => v4.prefix_len() < WIDE_BITS_V4,
        IpNet::V6(v6) if v6.prefix_len() == 7 && v6.network().to_bits() == PRIVATE => false,
        IpNet::V6(v6) => v6.prefix_len() < WIDE_BITS_V6,
    }
}
