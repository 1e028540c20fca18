//! A path is spelled as the slow one spells it, and no upstream finds a metered path in what is forwarded unmetered.
#![no_main]

#[path = "../../tests/path/oracle.rs"]
mod oracle;

use http::Method;
use libfuzzer_sys::fuzz_target;
use oracle::Lenience;
use std::sync::LazyLock;
use tiergate::http::routes::{RouteSpec, RouteTable};
use tiergate::path::{BadPath, Pattern, Spelling};

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let routes = [
        ("/{*rest}", false),
        ("/{a}", false),
        ("/x/{*rest}", false),
        ("/search", true),
    ];
    let spec = |(path, metered)| RouteSpec {
        host: None,
        pattern: Pattern::parse(path).expect("these are patterns"),
        methods: None,
        metered,
    };
    RouteTable::new(routes.map(spec).into())
});

fuzz_target!(|raw: &str| {
    match Spelling::of(raw) {
        Err(BadPath::TooLong) => return,
        fast => {
            let slow = oracle::spell(raw).map(|slow| oracle::print(&slow));
            assert_eq!(fast.ok().map(|spelling| spelling.into_text().into_owned()), slow);
        }
    }
    let Ok(found) = TABLE.find("", raw, &Method::GET) else {
        return;
    };
    assert!(Spelling::of(&found.path).is_ok_and(|spelling| spelling.is_borrowed()));
    if found.route == 3 {
        assert_eq!(found.path, "/search");
        return;
    }
    for lenience in Lenience::all() {
        let read = oracle::read_leniently(&found.path, lenience);
        assert_ne!(read, ["search"], "{raw} -> {found:?} to {lenience:?}");
    }
});
