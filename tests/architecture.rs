//! What Cargo can't enforce: which module may know which, which dependency enters which module, and that decisions are pure.
//! Read off the sources, so an arrow can't creep in unseen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a room may know of the crate: those that stand left of it in lib.rs's map.
fn may_know(room: &str) -> &'static [&'static str] {
    match room {
        "path" | "template" | "sync" | "small_file" | "web" => &[],
        "clock" => &["policy"],
        "telemetry" => &["policy", "clock"],
        "store" => &["policy", "clock", "telemetry", "sync", "small_file"],
        "gate" => &["policy", "store", "clock", "telemetry", "sync"],
        "upload" => &["policy", "clock"],
        "upstream" => &["policy", "store", "gate", "upload", "clock", "telemetry"],
        "http" => &[
            "policy",
            "store",
            "gate",
            "upload",
            "upstream",
            "path",
            "template",
            "web",
            "clock",
            "telemetry",
        ],
        "config" => &["policy", "path", "template", "small_file"],
        "server" => &[
            "policy",
            "store",
            "gate",
            "upload",
            "upstream",
            "http",
            "config",
            "clock",
            "telemetry",
        ],
        "cli" => &["policy", "config", "store", "clock"],
        "main" => &["config", "server", "store", "cli", "clock", "telemetry"],
        other => panic!("the room `{other}` is on no map: give it a line here and in lib.rs"),
    }
}

/// Dependencies that only these rooms may know.
const KEPT_TO: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("tower", &["http"]),
    ("tower_http", &["http"]),
    ("hyper", &["http", "upstream", "cli", "telemetry"]),
    ("hyper_util", &["http", "upstream", "cli", "telemetry"]),
    ("socket2", &["http", "server"]),
    ("serde", &["config", "http", "store"]),
    ("serde_json", &["http", "cli", "config", "store"]),
    ("sha2", &["store"]),
    ("siphasher", &["store"]),
    ("smallvec", &["gate", "http"]),
    ("jiff", &["config", "http", "cli", "store", "telemetry"]),
    ("getrandom", &["store"]),
    ("rusqlite", &["store"]),
    ("crc32fast", &["store"]),
    ("subtle", &["store"]),
    ("csv", &["http"]),
    ("granit_parser", &["config"]),
    ("proxy_header", &["http"]),
    ("ipnet", &["config", "http", "store"]),
    ("metrics", &["telemetry"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_http", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_proto", &[]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("prost", &[]),
    ("clap", &["cli", "main"]),
    ("anstream", &["cli"]),
    ("indicatif", &["cli"]),
    ("ratatui", &["cli"]),
    ("schemars", &["config"]),
    ("strsim", &["config"]),
    ("tempfile", &["upload"]),
];

/// What the policy, the HTTP/1.1 engine and the pure rooms may not know at all, though the standard library has it.
const IMPURE: [&str; 12] = [
    "tokio",
    "async ",
    ".await",
    "Mutex",
    "std::io",
    "std::fs",
    "std::net::Tcp",
    "Instant",
    "SystemTime",
    "tracing",
    "serde",
    "rand",
];

#[test]
fn every_room_knows_only_those_it_may() {
    let mut wrong = Vec::new();
    for (room, file, line, code) in code_lines() {
        for known in names_after("crate::", &code).chain(names_after("tiergate::", &code)) {
            if known != room && !may_know(&room).contains(&known.as_str()) {
                wrong.push(format!("{file}:{line}: {room} knows {known}: {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that aren't on the map:\n{}", wrong.join("\n"));
}

#[test]
fn every_dependency_stays_in_its_rooms() {
    let mut wrong = Vec::new();
    for (room, file, line, code) in code_lines() {
        for (dependency, rooms) in KEPT_TO {
            let uses = code.contains(&format!("{dependency}::")) && names_before(dependency, &code);
            if uses && !rooms.contains(&room.as_str()) {
                wrong.push(format!("{file}:{line}: {room} knows {dependency}: {code}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "dependencies out of their rooms:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_pure_rooms_are_pure() {
    let pure = |room: &String| ["path", "template"].contains(&room.as_str());
    let rooms = code_lines().filter(|(room, ..)| pure(room));
    let crates = sources_in("crates/policy/src")
        .into_iter()
        .chain(sources_in("crates/http1/src"));
    let crates = crates.flat_map(|path| code_of(&path));
    let lines = rooms.map(|(_, file, line, code)| (file, line, code)).chain(crates);
    let impure = lines.flat_map(|(file, line, code)| {
        let words = IMPURE.iter().filter(move |word| code.contains(**word));
        words.map(move |word| format!("{file}:{line}: {word}"))
    });
    let wrong: Vec<_> = impure.collect();
    assert!(wrong.is_empty(), "impure:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let crates = ["crates/policy/src", "crates/http1/src"]
        .into_iter()
        .flat_map(sources_in);
    for path in sources().into_iter().chain(crates) {
        let text = fs::read_to_string(&path).expect("sources can be read");
        assert!(
            text.starts_with("//!"),
            "{} doesn't open with what it is for",
            path.display()
        );
    }
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(source_folder().join("lib.rs")).expect("lib.rs can be read");
    let rooms: BTreeSet<String> = sources().iter().map(|path| room(path)).collect();
    let named = rooms
        .iter()
        .filter(|room| !["main", "lib", "sync"].contains(&room.as_str()));
    for room in named {
        assert!(map.contains(&format!("[`{room}`]")), "lib.rs's map doesn't name {room}");
    }
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<PathBuf> {
    sources_in("src")
}

/// The sources in that folder of the repository.
fn sources_in(folder: &str) -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the sources are here") {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "these are not all sources");
    files.sort();
    files
}

/// The first part of a source's path below `src`.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(source_folder()).expect("sources lie in src");
    let first = below.iter().next().expect("a source has a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Every line of code of `src` but those of `lib.rs`, with its room, file and number.
fn code_lines() -> impl Iterator<Item = (String, String, usize, String)> {
    let sources = sources().into_iter().filter(|path| room(path) != "lib");
    sources.flat_map(|path| {
        let room = room(&path);
        code_of(&path).map(move |(file, line, code)| (room.clone(), file, line, code))
    })
}

/// Every line of code of a source, without comments, with its file and number. Unit tests are left out: they may use what they
/// like.
fn code_of(path: &Path) -> impl Iterator<Item = (String, usize, String)> + use<> {
    let text = fs::read_to_string(path).expect("sources can be read");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let bare = |line: &str| line.split("//").next().unwrap_or_default().trim().to_owned();
    let numbered = (1..).zip(code.lines().map(bare));
    let lines: Vec<_> = numbered.filter(|(_, line)| !line.is_empty()).collect();
    let file = path.display().to_string();
    lines
        .into_iter()
        .map(move |(number, line)| (file.clone(), number, line))
}

/// The names that directly follow `prefix` in a line.
fn names_after<'a>(prefix: &'a str, code: &'a str) -> impl Iterator<Item = String> + 'a {
    code.match_indices(prefix).map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        rest.chars()
            .take_while(|character| character.is_alphanumeric() || *character == '_')
            .collect()
    })
}

/// Whether the dependency is named as itself and not as the end of a longer name or a module of ours.
fn names_before(dependency: &str, code: &str) -> bool {
    code.match_indices(&format!("{dependency}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|character| !(character.is_alphanumeric() || character == '_' || character == ':'))
    })
}
