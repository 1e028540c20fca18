//! Networks that hold every address: a list of trusted proxies or of blocked networks with one says more than anybody means.

use crate::config::error::Report;
use crate::config::excerpt::quoted;
use crate::config::yaml::Node;

/// The sections with lists of networks, what one that holds every address does there, and what to do instead.
const SECTIONS: [(&str, &str, &str); 2] = [
    (
        "trusted_proxies",
        "lets everybody say which address it has",
        "name the networks of your own proxies: limits by network count for nothing otherwise",
    ),
    (
        "blocked_networks",
        "turns everybody away",
        "name the networks that are to be turned away",
    ),
];

pub(super) fn add(root: &Node, report: &mut Report) {
    for (section, does, advice) in SECTIONS {
        for item in root.value(section).map_or(&[][..], Node::items) {
            let Some(network) = item.text().filter(|text| text.ends_with("/0")) else {
                continue;
            };
            let message = format!("{} in `{section}` {does}", quoted(network));
            report.warn(item.place, message, advice);
        }
    }
}
