//! One spelling for a path, and no spelling of a metered one that is found unmetered: against a slow oracle.

#[path = "path/oracle.rs"]
mod oracle;

use http::Method;
use oracle::Lenience;
use proptest::prelude::*;
use std::sync::LazyLock;
use tiergate::http::routes::{NoRoute, RouteSpec, RouteTable};
use tiergate::path::{Folded, PATH_BYTES_MAX, Pattern, Spelling};

/// Ways to write `/search` that one upstream or another takes for it.
const SPELLINGS: &[&str] = &[
    "/search",
    "/Search",
    "/SEARCH",
    "//search",
    "///search//",
    "/search/",
    "/%73earch",
    "/%53earch",
    "/sea%72c%68",
    "/x/../search",
    "/x/%2e%2e/search",
    "/x/%2E./search",
    "/../search",
    "/./search",
    "/search/.",
    "/search/x/..",
    "/search;x",
    "/search;x=1;y=2",
    "/search;a/",
    "/SEARCH;jsessionid=1/",
    "/;x/search",
    "/search%3bx",
    "/search%253Bx",
    "/%2573earch",
    "/%252573earch",
    "/%25252573earch",
    "/%2525252573earch",
    "/x/..;/search",
    "/x/..;a=b/search",
    "/x/.;/..;/search",
    "/x/..%3b/search",
    "/x/..%253b/search",
    "/x/%252e%252e/search",
    "/x%2f..%2fsearch",
    "/x%252f..%252fsearch",
    "/x%255c..%255csearch",
    "/search%2f",
    "/search%252f",
    "/%2fsearch",
    "/%252fsearch",
    "\\search",
    "/\\search",
    "/search\\",
    "/search%5c",
    "/%5csearch",
    "/x\\..\\search",
    "/search.",
    "/search..",
    "/search%20",
    "/search .",
    "/search%2520",
    "/.../search",
    "/search/...",
    "/x/..%20/search",
    "/search/%20%252f..",
    "/search/%20/..;",
    "/search/..;x/..;y",
    "/%C5%BFearch",
    "/%c5%bfearch",
    "/%25c5%25bfearch",
    "/ſearch",
    "/%c1%b3earch",
    "/%25c1%25b3earch",
    "/%e0%81%b3earch",
    "/x%c0%af%c0%ae%c0%ae%c0%afsearch",
    "/search%3F",
    "/search%3Fx=1",
    "/search%253Fx",
    "/search%23",
    "/search%00",
    "/search%2500",
    "/search%09",
];

/// Unmetered routes that might serve them.
const AROUND: &[(Option<&str>, &str)] = &[
    (None, "/{*rest}"),
    (None, "/{a}"),
    (None, "/Search"),
    (None, "/search/"),
    (None, "/{a}/{b}"),
    (None, "/{a}/{*rest}"),
    (None, "/x/{*rest}"),
    (Some("tiergate.example"), "/{*rest}"),
    (Some("tiergate.example"), "/search"),
    (Some("other.example"), "/{*rest}"),
];

const HOSTS: &[&str] = &[
    "",
    "tiergate.example",
    "TIERGATE.example.:443",
    "other.example",
    "third.example",
    "[::1]",
];

fn route(host: Option<&str>, path: &str, metered: bool) -> RouteSpec {
    let pattern = Pattern::parse(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    RouteSpec {
        host: host.map(str::to_owned),
        pattern,
        methods: metered.then(|| vec![Method::POST]),
        metered,
    }
}

/// One metered `/search` amid the unmetered routes whose bits are set; before them if `first`.
fn search_amid(set: usize, first: bool, host: Option<&str>) -> RouteTable {
    let chosen = AROUND.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
    let mut routes: Vec<RouteSpec> = chosen.map(|(_, (host, path))| route(*host, path, false)).collect();
    routes.insert(if first { 0 } else { routes.len() }, route(host, "/search", true));
    RouteTable::new(routes)
}

/// Whether an upstream of some lenience takes the path for `/search`.
fn is_search_to_some(forwarded: &str) -> Option<Lenience> {
    Lenience::all()
        .into_iter()
        .find(|lenience| oracle::read_leniently(forwarded, *lenience) == ["search"])
}

#[test]
fn every_listed_spelling_is_metered_or_refused() {
    for set in 0..1_usize << AROUND.len() {
        for first in [true, false] {
            let table = search_amid(set, first, None);
            let metered = if first { 0 } else { set.count_ones() as usize };
            for path in SPELLINGS {
                let host = HOSTS[(set + path.len()) % HOSTS.len()];
                for method in [Method::POST, Method::GET, Method::OPTIONS] {
                    match table.find(host, path, &method) {
                        Ok(found) => assert_eq!(
                            (found.route, &*found.path),
                            (metered, "/search"),
                            "{host} {path} {set:b}"
                        ),
                        Err(NoRoute::MethodNotAllowed { allow, .. }) => assert_eq!(allow, "POST, OPTIONS", "{path}"),
                        Err(NoRoute::BadPath(_)) => {}
                        Err(other) => panic!("{host} {path} {set:b}: {other:?}"),
                    }
                }
            }
        }
    }
}

#[test]
fn few_of_the_listed_spellings_are_refused() {
    let table = search_amid(1, true, None);
    let refused: Vec<&str> = SPELLINGS
        .iter()
        .copied()
        .filter(|path| table.find("", path, &Method::POST).is_err())
        .collect();
    assert_eq!(
        refused,
        ["/%2525252573earch", "/search%00", "/search%2500", "/search%09"]
    );
}

#[test]
fn a_pattern_that_is_a_trick_itself_is_refused() {
    for path in [
        "/search;x",
        "/search.",
        "/search%20",
        "/%2573earch",
        "//search",
        "/search%2F",
        "/search%3Fx",
    ] {
        assert!(Pattern::parse(path).is_err(), "{path}");
    }
}

/// A path of what tricks are made of.
fn tangled() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["/", "search", "Search", "x", "..", ".", ";", "a"]),
        2 => prop::sample::select(vec!["%2f", "%5C", "\\", "%2e", "%2E%2e", "%3b", "%3F", "%23", "%20", "%73"]),
        2 => prop::sample::select(vec!["%252f", "%255c", "%252e", "%253b", "%253f", "%2573", "%25252e", "%25"]),
        1 => prop::sample::select(vec!["ü", "ſ", "%c5%bf", "%FF", "%c0%af", "%00", "%zz", "%2", " ", "{", "K"]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// `/search`, disguised: each character written in one of its ways, and detours put before, within and behind.
fn disguised() -> impl Strategy<Value = String> {
    let letter = |c: char| {
        let (up, code) = (c.to_ascii_uppercase(), c as u32);
        let mut ways = vec![
            c.to_string(),
            up.to_string(),
            format!("%{code:02x}"),
            format!("%{:02X}", up as u32),
        ];
        ways.extend([
            format!("%25{code:02x}"),
            format!("%2525{code:02x}"),
            format!("%25%{:02x}{:02x}", b'3', code % 16),
        ]);
        if c == 's' {
            ways.extend(["ſ".to_owned(), "%C5%BF".to_owned(), "%25c5%25bf".to_owned()]);
        }
        prop::sample::select(ways)
    };
    let slash = || {
        prop::sample::select(vec![
            "/", "/", "//", "\\", "%2f", "%5c", "/./", "%252f", "/;a/", "/.;/", "/%2e/",
        ])
    };
    let detour = || {
        prop::sample::select(vec![
            "",
            "",
            "",
            "/x/..",
            "/x/..;a",
            "/x%252f..",
            "/x/%252e%252e",
            "/x/%2e.",
            "/..",
            "/x/.. ",
        ])
    };
    let tail = || {
        prop::sample::select(vec![
            "", "", "/", ";x", ";a=b/", ".", "%20", "%3F", "%2523", "/.", "/x/..", "%2f", "%253b;",
        ])
    };
    let word: Vec<_> = "search".chars().map(letter).collect();
    (detour(), slash(), word, tail(), tail())
        .prop_map(|(detour, slash, word, tail, more)| format!("{detour}{slash}{}{tail}{more}", word.concat()))
}

/// Table for each set of unmetered routes; the metered one hostless and last, which is the hardest place.
static TABLES: LazyLock<Vec<RouteTable>> = LazyLock::new(|| {
    (0..1 << AROUND.len())
        .map(|set| search_amid(set, false, None))
        .collect()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_path_is_spelled_as_the_slow_one_spells_it(raw in prop_oneof![tangled(), disguised(), "[ -~]{0,20}", "/\\PC{0,20}"]) {
        let slow = oracle::spell(&raw).map(|slow| oracle::print(&slow));
        let fast = Spelling::of(&raw).ok().map(|spelling| spelling.into_text().into_owned());
        prop_assert_eq!(&fast, &slow);
        if let Some(text) = &fast {
            let again = Spelling::of(text).unwrap();
            prop_assert!(again.is_borrowed());
            prop_assert_eq!(again.as_str(), text);
        }
    }

    #[test]
    fn a_canonical_path_is_borrowed_and_any_other_is_not(raw in prop_oneof![tangled(), "(/[a-z.%;25F]{0,4}){1,4}"]) {
        if let Ok(spelling) = Spelling::of(&raw) {
            prop_assert_eq!(spelling.is_borrowed(), spelling.as_str() == raw);
        }
    }

    #[test]
    fn a_disguise_of_the_metered_path_is_metered_or_refused(
        path in disguised(), set in 0..1_usize << AROUND.len(), host in prop::sample::select(HOSTS.to_vec()),
    ) {
        let table = &TABLES[set];
        if let Ok(found) = table.find(host, &path, &Method::OPTIONS) {
            let metered = set.count_ones() as usize;
            prop_assert!(
                found.route == metered || is_search_to_some(&found.path).is_none(), "{} -> {:?}", path, found
            );
        }
    }

    #[test]
    fn unmetered_forwarding_never_reaches_a_metered_path(
        path in tangled(), set in 0..1_usize << AROUND.len(), host in prop::sample::select(HOSTS.to_vec()),
        named in any::<bool>(),
    ) {
        let own;
        // With the metered route on one host alone, only routes that name another may serve its path.
        let set = if named { set & 0b00_0111_1111 } else { set };
        let table = if named { own = search_amid(set, false, Some("tiergate.example")); &own } else { &TABLES[set] };
        if let Ok(found) = table.find(host, &path, &Method::GET) {
            prop_assert_ne!(found.route, set.count_ones() as usize, "the metered route takes POST alone");
            if let Some(lenience) = is_search_to_some(&found.path) {
                prop_assert!(false, "{} -> {:?} is metered to {:?}", path, found, lenience);
            }
        }
    }

    /// Captures and rests: the metered pattern is wider than one path, and stands above or below the unmetered one.
    #[test]
    fn unmetered_paths_hide_no_metered_subtree(path in tangled()) {
        let metered = route(None, "/search/{*rest}", true);
        let table = RouteTable::new(vec![route(None, "/{*rest}", false), route(None, "/search", false), metered]);
        if let Ok(found) = table.find("", &path, &Method::OPTIONS) && found.route != 2 {
            for lenience in Lenience::all() {
                let read = oracle::read_leniently(&found.path, lenience);
                prop_assert!(read.len() < 2 || read[0] != "search", "{} -> {:?} to {:?}", path, found, lenience);
            }
        }
    }

    #[test]
    fn what_is_forwarded_is_canonical_and_means_the_same_route(path in prop_oneof![tangled(), disguised()]) {
        let specs = [("/search", true), ("/{a}/search/{b}", true), ("/x/{*rest}", true), ("/a/{*rest}", false), ("/{a}", false)];
        let table = RouteTable::new(specs.iter().map(|(path, metered)| route(None, path, *metered)).collect());
        if let Ok(found) = table.find("", &path, &Method::OPTIONS) {
            prop_assert!(Spelling::of(&found.path).unwrap().is_borrowed());
            let again = table.find("", &found.path, &Method::OPTIONS);
            let means_another = matches!(&again, Ok(again) if again.route != found.route);
            prop_assert!(!means_another, "{} -> {:?} -> {:?}", path, found, again);
        }
    }

    #[test]
    fn the_readings_are_bounded_and_the_spelling_is_the_first(path in tangled()) {
        if let Ok(spelling) = Spelling::of(&path) && let Ok(folded) = Folded::of(&spelling) {
            prop_assert!(folded.readings().count() <= tiergate::path::READINGS_MAX);
            prop_assert_eq!(folded.readings().next().unwrap().as_str(), spelling.as_str());
            prop_assert!(folded.readings().all(|reading| reading.as_str().len() <= PATH_BYTES_MAX));
        }
    }
}
