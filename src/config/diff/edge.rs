//! What would change at the edge: connections, keys, networks, browsers, the door's own paths.
//!
//! Absent on purpose: the listeners' addresses, which take a restart.

use std::collections::HashSet;
use std::hash::Hash;

use http::HeaderName;
use ipnet::IpNet;

use super::lists::matched;
use super::said::{About, fields};
use super::words::{length, listed, or, path, switch, value, word};
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
    fields!(
        about,
        old,
        new,
        Connections {
            max: usize::to_string,
            head_timeout: length,
            send_timeout: length,
            head_max: |bytes| show_size(*bytes as u64),
            headers_max: usize::to_string,
            unmetered_max: usize::to_string,
        }
    );
}

pub(super) fn keys(old: &Keys, new: &Keys, about: &mut About<'_>) {
    let listed = |headers: &Vec<HeaderName>| match headers.as_slice() {
        [] => "none".to_owned(),
        headers => listed(headers),
    };
    fields!(
        about,
        old,
        new,
        Keys {
            headers: listed,
            bearer: switch,
            query: or("none", String::clone),
        }
    );
}

pub(super) fn forwarded_header(old: ForwardedHeader, new: ForwardedHeader, about: &mut About<'_>) {
    about.field("", &old, &new, word);
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
    fields!(
        about,
        old,
        new,
        Paths {
            me: or("off", String::clone),
            stats: or("off", String::clone),
        }
    );
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
