//! What would change at the edge: connections, keys, networks, browsers, the door's own paths.
//!
//! Absent on purpose: the listeners' addresses, which take a restart.

use std::collections::HashSet;
use std::hash::Hash;

use http::HeaderName;
use ipnet::IpNet;

use super::lists::matched;
use super::said::About;
use super::words::{length, listed, or, path, switch, value};
use crate::config::value::show_size;
use crate::config::{Connections, Cors, ForwardedHeader, Keys, Origins, Paths, TokenSource};

/// Where the operator's token lies. The token itself is in no configuration.
pub(super) fn token(old: Option<&TokenSource>, new: Option<&TokenSource>, about: &mut About<'_>) {
    let place = |source: &Option<&TokenSource>| match source {
        Some(TokenSource::Variable(name)) => format!("the variable {name}"),
        Some(TokenSource::File(file)) => path(file),
        None => "admin.token in data_dir".to_owned(),
    };
    about.field("token", &old, &new, place);
}

pub(super) fn connections(old: &Connections, new: &Connections, about: &mut About<'_>) {
    let Connections {
        max,
        head_timeout,
        send_timeout,
        head_max,
        headers_max,
        unmetered_max,
    } = old;
    about.field("max", max, &new.max, usize::to_string);
    about.field("head_timeout", head_timeout, &new.head_timeout, length);
    about.field("send_timeout", send_timeout, &new.send_timeout, length);
    about.field("head_max", head_max, &new.head_max, |bytes| show_size(*bytes as u64));
    about.field("headers_max", headers_max, &new.headers_max, usize::to_string);
    about.field("unmetered_max", unmetered_max, &new.unmetered_max, usize::to_string);
}

pub(super) fn keys(old: &Keys, new: &Keys, about: &mut About<'_>) {
    let Keys { headers, bearer, query } = old;
    about.field(
        "headers",
        headers,
        &new.headers,
        |headers: &Vec<HeaderName>| match headers.as_slice() {
            [] => "none".to_owned(),
            headers => listed(headers),
        },
    );
    about.field("bearer", bearer, &new.bearer, switch);
    about.field("query", query, &new.query, or("none", String::clone));
}

pub(super) fn forwarded_header(old: ForwardedHeader, new: ForwardedHeader, about: &mut About<'_>) {
    about.field("", &old, &new, |header| {
        let word = match header {
            ForwardedHeader::Either => "either",
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        word.to_owned()
    });
}

pub(super) fn networks(old: &[IpNet], new: &[IpNet], about: &mut About<'_>) {
    items(old, new, IpNet::to_string, about);
}

pub(super) fn cors(old: Option<&Cors>, new: Option<&Cors>, about: &mut About<'_>) {
    let sites = |origins: &Origins| match origins {
        Origins::Any => "all sites".to_owned(),
        Origins::List(named) => listed(named.iter().map(value)),
    };
    let (old, new) = match (old, new) {
        (None, None) => return,
        (None, Some(new)) => return about.change(format!("added: {}", sites(&new.origins))),
        (Some(old), None) => return about.change(format!("removed: {}", sites(&old.origins))),
        (Some(old), Some(new)) => (old, new),
    };
    let Cors { origins, max_age } = old;
    match (origins, &new.origins) {
        (Origins::List(old), Origins::List(new)) => {
            items(old, new, |origin| format!("origin {}", value(origin)), about)
        }
        (old, new) => about.field("origins", old, new, sites),
    }
    about.field("max_age", max_age, &new.max_age, length);
}

pub(super) fn paths(old: &Paths, new: &Paths, about: &mut About<'_>) {
    let Paths { me, stats } = old;
    about.field("me", me, &new.me, or("off", String::clone));
    about.field("stats", stats, &new.stats, or("off", String::clone));
}

/// Each item that was added or removed, one by one: such a list may be long.
fn items<T: Eq + Hash>(old: &[T], new: &[T], show: impl Fn(&T) -> String, about: &mut About<'_>) {
    let matched = matched(old, new, |item| item);
    let (before, after): (HashSet<&T>, HashSet<&T>) = (old.iter().collect(), new.iter().collect());
    for (_, item) in matched.now.iter().filter(|(was, _)| was.is_none()) {
        let again = if before.contains(item) { " once more" } else { "" };
        about.change(format!("{} added{again}", show(item)));
    }
    for item in matched.removed {
        let still = if after.contains(item) {
            " once, and listed still"
        } else {
            ""
        };
        about.change(format!("{} removed{still}", show(item)));
    }
    if matched.reordered {
        about.change("their order changed");
    }
}
