//! A hundred and more broken files, each with a mistake that somebody makes: all that is wrong is said, on its line.
//!
//! `tests/broken/errors.txt` was written by the program that read sections by hand, before each had a struct; since then a line of
//! it was changed only where a message got better. To renew it after such a change: RENEW=1 cargo test --test broken.

use std::fs;
use std::path::Path;

use tiergate::config::{Nothing, Severity, check};

/// Each error as `FILE:LINE: MESSAGE`, in the order of the files.
fn told() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let files = fs::read_dir(folder)
        .expect("the files")
        .map(|file| file.expect("a file").path());
    let mut files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 100, "{}", files.len());
    let mut told = String::new();
    for file in files {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let checked = check(&name, &fs::read(&file).expect("it can be read"), &Nothing);
        let errors = checked
            .diagnostics
            .problems()
            .iter()
            .filter(|problem| problem.severity == Severity::Error);
        let before = told.len();
        for error in errors {
            let span = error.span.as_ref().expect("it has a place");
            let text = fs::read_to_string(&file).expect("text");
            assert!(
                span.line as usize <= text.lines().count() + 1,
                "{name}: {}",
                error.message
            );
            told.push_str(&format!("{name}:{}: {}\n", span.line, error.message));
        }
        assert!(told.len() > before, "{name} has no error");
    }
    told
}

#[test]
fn every_error_is_told_on_its_line() {
    let (file, told) = (
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken/errors.txt"),
        told(),
    );
    if std::env::var_os("RENEW").is_some() {
        fs::write(&file, &told).expect("it can be written");
    }
    let expected = fs::read_to_string(file).expect("the errors");
    let missing: Vec<&str> = expected
        .lines()
        .filter(|line| !told.lines().any(|told| told == *line))
        .collect();
    let more: Vec<&str> = told
        .lines()
        .filter(|line| !expected.lines().any(|told| told == *line))
        .collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "not told: {missing:#?}\nmore: {more:#?}"
    );
}

/// What is said of one of the files.
fn shown(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken").join(name);
    let checked = check(name, &fs::read(file).expect("it can be read"), &Nothing);
    checked.diagnostics.shown(tiergate::config::Inks::default()).to_string()
}

/// The fault: these had no advice, and beside the first stood a warning that compared the tier as if it had no quota.
#[test]
fn what_other_programs_take_has_advice() {
    let underscores = shown("numbers_with_underscores.yaml");
    assert!(underscores.contains("write digits only: 100"), "{underscores}");
    assert!(!underscores.contains("warning"), "{underscores}");
    assert!(shown("per_ip.yaml").contains("did you mean `network`?"));
    assert!(shown("per_user.yaml").contains("did you mean `account`?"));
    assert!(shown("unlimited.yaml").contains("there is no word for it"));
    assert!(shown("route_unquoted_wildcard.yaml").contains("is put in quotes: path: \"/image/{*rest}\""));
}
