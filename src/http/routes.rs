//! Finds the route of a request, metered or not.
//!
//! A path has one canonical spelling, and an unmetered route matches nothing else. A metered route matches every way in which an
//! upstream server may read that spelling (`path::Folded`), and holds what it matches: an unmetered route gets it only if it is
//! strictly narrower than each matching metered route, in every reading. So no spelling of a metered path is routed as unmetered,
//! whatever routes there are and whatever the method: a metered route that does not take the method is a 405.
//!
//! Routes are tried in this order: those that name the request's host before those that name none; then the file's order, but a
//! narrower pattern moves before the first that is wider. Routes of one host and one pattern form a group, in which the method
//! decides.
//!
//! The client chooses the host. An unmetered route without a host would otherwise serve a metered path of `api.example` to anyone
//! who sends `Host: other`; so metered routes of all hosts hold against such a route. Against one that names its host, those of
//! that host and of none hold.

use super::host::Host;
use crate::path::{BadPath, Folded, Pattern, Spelling};
use http::{HeaderValue, Method};
use std::borrow::Cow;

/// `Allow` for a route without a list of methods.
const ANY_METHOD: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A configured route. Its id is its position in the table's list.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// The host, without regard to case, port and trailing dot; `None` for every host.
    pub host: Option<String>,
    /// The path.
    pub pattern: Pattern,
    /// The methods: `GET` includes `HEAD`, and `OPTIONS` is always accepted. `None` for all but `CONNECT` and `TRACE`.
    pub methods: Option<Vec<Method>>,
    /// Whether it needs a slot or a queue place, concurrency and quota.
    pub metered: bool,
}

/// The route of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its id.
    pub route: usize,
    /// The path to forward. Unmetered: the canonical one. Metered: literals as the route spells them, captures as read.
    pub path: Cow<'a, str>,
}

/// Why a request has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute<'a> {
    /// The path is invalid (400).
    BadPath(BadPath),
    /// No route of this host has this path (404).
    NotFound,
    /// The path's route does not accept the method (405).
    MethodNotAllowed {
        /// The accepted methods.
        allow: &'a HeaderValue,
        /// The route, a metered one if one of the path's routes is.
        route: usize,
    },
    /// No route is for this host (421).
    UnknownHost,
}

impl From<BadPath> for NoRoute<'_> {
    fn from(bad: BadPath) -> Self {
        Self::BadPath(bad)
    }
}

/// All routes, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct RouteTable {
    specs: Vec<RouteSpec>,
    metered: Vec<Group>,
    unmetered: Vec<Group>,
    /// By route: the methods of its group.
    allow: Vec<HeaderValue>,
}

/// Routes of one host, one pattern and one kind, distinguished by method.
#[derive(Clone, Debug)]
struct Group {
    host: Option<Host<String>>,
    pattern: Pattern,
    /// In the file's order; never empty.
    routes: Vec<usize>,
    /// For an unmetered group, by metered group: whether it is strictly narrower.
    narrower: Vec<bool>,
}

impl RouteTable {
    /// The table of these routes; a route's id is its position.
    pub fn new(routes: Vec<RouteSpec>) -> Self {
        let metered = group(&routes, true);
        let mut unmetered = group(&routes, false);
        for group in &mut unmetered {
            group.narrower = metered
                .iter()
                .map(|wide| group.pattern.is_narrower_than(&wide.pattern))
                .collect();
        }
        let mut allow = vec![HeaderValue::from_static(ANY_METHOD); routes.len()];
        for group in metered.iter().chain(&unmetered) {
            let value = allow_of(group.routes.iter().map(|&route| routes[route].methods.as_deref()));
            for &route in &group.routes {
                allow[route] = value.clone();
            }
        }
        Self {
            specs: routes,
            metered,
            unmetered,
            allow,
        }
    }

    /// The route's host, if it has one, and path, as tiers.yaml has them.
    pub fn name(&self, route: usize) -> String {
        let spec = &self.specs[route];
        format!("{}{}", spec.host.as_deref().unwrap_or_default(), spec.pattern.as_str())
    }

    /// The route of a request, by its host as received (with port; empty if there is none), the path part of its target as
    /// received, and its method. Path first, then method. `OPTIONS` finds the path's route; the caller answers it with
    /// [`RouteTable::allow`].
    ///
    /// Allocates nothing for a canonical lower-case path without `;` and `%` whose route captures nothing or is in lower case
    /// itself.
    ///
    /// # Errors
    /// See [`NoRoute`]. The host is checked first, then the path.
    pub fn find<'a>(&'a self, host: &str, raw_path: &'a str, method: &Method) -> Result<Found<'a>, NoRoute<'a>> {
        let host = Host::parse(host);
        if !self.is_known(&host) {
            return Err(NoRoute::UnknownHost);
        }
        let spelling = Spelling::of(raw_path)?;
        let folded = Folded::of(&spelling)?;
        let unmetered = self
            .unmetered
            .iter()
            .find(|group| group.is_for(&host) && group.pattern.matches_exactly(&spelling));
        if let Some(group) = unmetered.filter(|group| !self.is_held(group, &host, &folded)) {
            let route = self.choose(group, method)?;
            let path = spelling.into_text();
            return Ok(Found { route, path });
        }
        let (group, reading) = self.metered_group(&host, &folded)?;
        let route = self.choose(group, method)?;
        let pattern = &self.specs[route].pattern;
        let as_spelled = reading == 0 && pattern.matches_exactly(&spelling);
        let path = match folded.readings().nth(reading).filter(|_| !as_spelled) {
            Some(reading) => Some(pattern.forwards(reading).ok_or(BadPath::Ambiguous)?),
            None => None,
        };
        drop(folded);
        let path = path.unwrap_or_else(|| spelling.into_text());
        Ok(Found { route, path })
    }

    /// Whether any route is for this host, as received. If a route names no host, every host is known.
    pub fn knows(&self, host: &str) -> bool {
        self.is_known(&Host::parse(host))
    }

    fn is_known(&self, host: &Host<&str>) -> bool {
        let mut groups = self.metered.iter().chain(&self.unmetered);
        groups.any(|group| group.is_for(host))
    }

    /// The methods of this route's path for `Allow`, including `OPTIONS`.
    ///
    /// # Panics
    /// If the id is not of this table.
    pub fn allow(&self, route: usize) -> &HeaderValue {
        &self.allow[route]
    }

    /// Whether a metered route holds a path against this unmetered group, in any reading.
    fn is_held(&self, unmetered: &Group, host: &Host<&str>, folded: &Folded<'_>) -> bool {
        folded.readings().any(|reading| {
            let mut holding = self.metered.iter().zip(&unmetered.narrower);
            holding.any(|(metered, &narrower)| {
                (metered.is_for(host) || unmetered.host.is_none())
                    && metered.pattern.matches_reading(reading)
                    && !(narrower && unmetered.pattern.matches_reading(reading))
            })
        })
    }

    /// The first metered group that any reading matches, and that reading. Refused if another reading matches another route that
    /// isn't merely wider: otherwise the cheaper of two could be requested and the dearer one reached.
    fn metered_group(&self, host: &Host<&str>, folded: &Folded<'_>) -> Result<(&Group, usize), NoRoute<'_>> {
        let mut meant = self
            .metered
            .iter()
            .filter(|group| group.is_for(host) && group.pattern.matches_folded(folded));
        let group = meant.next().ok_or(NoRoute::NotFound)?;
        let matching = |reading| group.pattern.matches_reading(reading);
        let (at, reading) = folded
            .readings()
            .enumerate()
            .find(|(_, r)| matching(r))
            .ok_or(NoRoute::NotFound)?;
        let differs = |other: &Group| !other.pattern.matches_reading(reading) && !other.pattern.covers(&group.pattern);
        if !folded.is_plain() && meant.any(differs) {
            return Err(BadPath::Ambiguous.into());
        }
        Ok((group, at))
    }

    /// The first route of the group that accepts the method.
    fn choose(&self, group: &Group, method: &Method) -> Result<usize, NoRoute<'_>> {
        let mut routes = group.routes.iter().copied();
        routes
            .find(|&route| takes(self.specs[route].methods.as_deref(), method))
            .ok_or_else(|| {
                let metered = group.routes.iter().find(|&&route| self.specs[route].metered);
                NoRoute::MethodNotAllowed {
                    allow: &self.allow[group.routes[0]],
                    route: *metered.unwrap_or(&group.routes[0]),
                }
            })
    }
}

impl Group {
    fn is_for(&self, host: &Host<&str>) -> bool {
        self.host.as_ref().is_none_or(|own| own.is(host))
    }
}

/// The metered or the unmetered routes in groups, in the order in which they are tried.
fn group(routes: &[RouteSpec], metered: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (id, route) in routes.iter().enumerate().filter(|(_, route)| route.metered == metered) {
        let host = route.host.as_deref().map(|host| Host::parse(host).to_owned());
        let pattern = &route.pattern;
        let same = |other: &Pattern| match metered {
            true => other.covers(pattern) && pattern.covers(other),
            false => other.is_like(pattern),
        };
        if let Some(group) = groups
            .iter_mut()
            .find(|group| group.host == host && same(&group.pattern))
        {
            group.routes.push(id);
            continue;
        }
        let before = |other: &Group| {
            let named_first = host.is_some() && other.host.is_none();
            let alike = host.is_some() == other.host.is_some();
            named_first || (alike && pattern.is_narrower_than(&other.pattern))
        };
        let at = groups.iter().position(before).unwrap_or(groups.len());
        groups.insert(
            at,
            Group {
                host,
                pattern: pattern.clone(),
                routes: vec![id],
                narrower: Vec::new(),
            },
        );
    }
    groups
}

/// Whether a list of methods accepts this one.
fn takes(methods: Option<&[Method]>, method: &Method) -> bool {
    match methods {
        _ if method == Method::OPTIONS => true,
        None => method != Method::CONNECT && method != Method::TRACE,
        Some(methods) => methods.contains(method) || (method == Method::HEAD && methods.contains(&Method::GET)),
    }
}

/// The union of these lists, each method once, in the order of the lists.
fn allow_of<'a>(lists: impl Iterator<Item = Option<&'a [Method]>>) -> HeaderValue {
    let mut names: Vec<&str> = Vec::new();
    for methods in lists {
        match methods {
            None => names.extend(ANY_METHOD.split(", ")),
            Some(methods) => {
                for method in methods {
                    names.push(method.as_str());
                    if method == Method::GET {
                        names.push(Method::HEAD.as_str());
                    }
                }
            }
        }
    }
    names.push(Method::OPTIONS.as_str());
    let mut union: Vec<&str> = Vec::new();
    for name in names {
        if !union.contains(&name) && name != Method::OPTIONS.as_str() {
            union.push(name);
        }
    }
    union.push(Method::OPTIONS.as_str());
    HeaderValue::try_from(union.join(", ")).expect("a method is a token, and tokens are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(line: &str) -> RouteSpec {
        let mut words = line.split(' ');
        let (kind, place) = (words.next().unwrap(), words.next().unwrap());
        let (host, path) = place.split_at(place.find('/').unwrap());
        let methods: Vec<Method> = words.map(|word| word.parse().unwrap()).collect();
        RouteSpec {
            host: (!host.is_empty()).then(|| host.to_owned()),
            pattern: Pattern::parse(path).unwrap(),
            methods: (!methods.is_empty()).then_some(methods),
            metered: kind == "metered",
        }
    }

    fn table(lines: &[&str]) -> RouteTable {
        RouteTable::new(lines.iter().map(|line| route(line)).collect())
    }

    /// The id and the path to forward, or the status and the `Allow` value.
    fn found(table: &RouteTable, host: &str, path: &str, method: &str) -> String {
        match table.find(host, path, &method.parse().unwrap()) {
            Ok(found) => format!("{} {}", found.route, found.path),
            Err(NoRoute::BadPath(bad)) => format!("400 {bad:?}"),
            Err(NoRoute::NotFound) => "404".into(),
            Err(NoRoute::MethodNotAllowed { allow, .. }) => format!("405 {}", allow.to_str().unwrap()),
            Err(NoRoute::UnknownHost) => "421".into(),
        }
    }

    #[test]
    fn hosts_are_compared_in_canonical_form() {
        let table = table(&[
            "metered Api.Example:443/a",
            "unmetered [::1]/a",
            "unmetered b.example/a",
        ]);
        for (host, answer) in [
            ("api.example", "0 /a"),
            ("API.example.:8080", "0 /a"),
            ("api.example:", "0 /a"),
            ("[::1]:80", "1 /a"),
            ("[0:0:0:0:0:0:0:1]", "1 /a"),
            ("::1", "1 /a"),
            ("other.example", "421"),
            ("api.example..", "421"),
            ("api.example:x", "421"),
            ("", "421"),
        ] {
            assert_eq!(found(&table, host, "/a", "GET"), answer, "{host}");
        }
    }

    #[test]
    fn host_then_path_then_method_are_checked() {
        let table = table(&["unmetered a.example/a GET"]);
        assert_eq!(found(&table, "b.example", "/%zz", "GET"), "421");
        assert_eq!(found(&table, "a.example", "/%zz", "PUT"), "400 BrokenEscape");
        assert_eq!(found(&table, "a.example", "/b", "PUT"), "404");
        assert_eq!(found(&table, "a.example", "/a", "PUT"), "405 GET, HEAD, OPTIONS");
    }

    #[test]
    fn routes_go_by_host_then_pattern_then_order() {
        let table = table(&[
            "unmetered /{*rest}",
            "unmetered /a/{id}",
            "unmetered a.example/{*rest}",
            "unmetered /{x}/b",
            "unmetered /a/c",
        ]);
        for (host, path, answer) in [
            ("", "/x/y/z", "0 /x/y/z"),
            ("", "/a/b", "1 /a/b"),
            ("", "/c/b", "3 /c/b"),
            ("", "/a/c", "4 /a/c"),
            ("a.example", "/a/c", "2 /a/c"),
        ] {
            assert_eq!(found(&table, host, path, "GET"), answer, "{host}{path}");
        }
    }

    #[test]
    fn an_unmetered_route_wins_only_if_it_is_strictly_narrower() {
        let table = table(&[
            "metered /{*rest}",
            "unmetered /image/{*rest}",
            "unmetered a.example/{*rest}",
            "metered /image/{id}/raw",
        ]);
        for (host, path, answer) in [
            ("", "/image/1", "1 /image/1"),
            ("", "/image/1;v=2", "1 /image/1;v=2"),
            ("", "/Image/1", "0 /Image/1"),
            ("", "/image/1/raw", "3 /image/1/raw"),
            ("", "/image/1/RAW/", "3 /image/1/raw"),
            ("", "/image/..;/search", "0 /image/..;/search"),
            (
                "",
                "/image/x%252f..%252f..%252fsearch",
                "0 /image/x%252f..%252f..%252fsearch",
            ),
            ("a.example", "/x", "0 /x"),
        ] {
            assert_eq!(found(&table, host, path, "GET"), answer, "{host}{path}");
        }
    }

    #[test]
    fn another_method_does_not_reach_a_metered_path() {
        let table = table(&["unmetered /{*rest}", "metered /search POST", "unmetered /search GET"]);
        assert_eq!(found(&table, "", "/search", "POST"), "1 /search");
        for path in ["/search", "/Search;x/", "/%2573earch"] {
            assert_eq!(found(&table, "", path, "GET"), "405 POST, OPTIONS", "{path}");
        }
        assert_eq!(found(&table, "", "/SEARCH", "OPTIONS"), "1 /search");
        assert_eq!(table.allow(1), "POST, OPTIONS");
    }

    #[test]
    fn one_pattern_is_shared_out_by_method() {
        let table = table(&[
            "unmetered /{a}/x GET",
            "unmetered /{b}/x PUT GET",
            "unmetered /any",
            "metered /S POST",
            "metered /s/ GET",
        ]);
        assert_eq!(found(&table, "", "/1/x", "HEAD"), "0 /1/x");
        assert_eq!(found(&table, "", "/1/x", "PUT"), "1 /1/x");
        assert_eq!(found(&table, "", "/1/x", "DELETE"), "405 GET, HEAD, PUT, OPTIONS");
        assert_eq!(found(&table, "", "/any", "PROPFIND"), "2 /any");
        assert_eq!(found(&table, "", "/any", "TRACE"), format!("405 {ANY_METHOD}"));
        assert_eq!(found(&table, "", "/s", "POST"), "3 /S");
        assert_eq!(found(&table, "", "/s", "GET"), "4 /s/");
        assert_eq!(table.allow(0), table.allow(1));
    }

    /// Regression: with a metered route of one host and an unmetered one of no host, another `Host` gave free access.
    #[test]
    fn another_host_does_not_bypass_metering() {
        let table = table(&[
            "metered api.example/search",
            "unmetered /{*rest}",
            "unmetered www.example/search",
        ]);
        assert_eq!(found(&table, "api.example", "/search", "GET"), "0 /search");
        assert_eq!(found(&table, "other.example", "/search", "GET"), "404");
        assert_eq!(found(&table, "other.example", "/Search;x", "GET"), "404");
        assert_eq!(found(&table, "other.example", "/other", "GET"), "1 /other");
        assert_eq!(found(&table, "www.example", "/search", "GET"), "2 /search");
    }

    /// Regression: the cheaper of two metered routes was charged, and an upstream server that strips parameters served the dearer
    /// one.
    #[test]
    fn a_metered_route_does_not_bypass_another() {
        let table = table(&["metered /cheap/{*rest}", "metered /dear", "metered /{a}"]);
        assert_eq!(found(&table, "", "/cheap/..;/dear", "GET"), "400 Ambiguous");
        assert_eq!(found(&table, "", "/cheap/a;b", "GET"), "0 /cheap/a;b");
        assert_eq!(found(&table, "", "/dear;x", "GET"), "1 /dear");
    }

    #[test]
    fn a_plain_request_allocates_nothing() {
        let table = table(&["metered /search", "metered /search/{id}", "unmetered /image/{*rest}"]);
        for path in ["/search", "/search/abc", "/image/a/b"] {
            let found = table.find("a.example:80", path, &Method::GET).unwrap();
            assert!(matches!(found.path, Cow::Borrowed(_)), "{path}");
        }
    }
}
