//! Values that the file names and holds elsewhere: environment variables and other files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tiergate::config::{Config, Environment, Nothing, TokenSource, check};

use crate::sections::HASHES;
use crate::{file, shown, snapshot};

/// A secret that no output may contain.
const SECRET: &str = "hunter2_0123456789abcdef";

/// An environment of the test's own.
#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, String>,
    files: BTreeMap<PathBuf, String>,
}

impl Given {
    fn variable(name: &'static str, held: impl Into<String>) -> Self {
        let variables = BTreeMap::from([(name, held.into())]);
        Self {
            variables,
            ..Self::default()
        }
    }

    fn file(path: &str, held: impl Into<String>) -> Self {
        let files = BTreeMap::from([(PathBuf::from(path), held.into())]);
        Self {
            files,
            ..Self::default()
        }
    }
}

impl Environment for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[test]
fn the_operator_token_is_referenced_and_not_kept() {
    let token = "admin: { listen: 127.0.0.1:9090, token: \"${PROXY_TOKEN}\" }";
    let text = file(&[token]);
    let given = Given::variable("PROXY_TOKEN", format!(" {SECRET}\n"));
    let config = Config::parse_in("tiers.yaml", text.as_bytes(), &given).unwrap();
    assert_eq!(
        config.admin.token,
        Some(TokenSource::Variable("PROXY_TOKEN".to_owned()))
    );
    assert!(!format!("{config:?}").contains(SECRET));

    let text = file(&["admin: { listen: 127.0.0.1:9090, token_file: /run/secrets/tiergate }"]);
    let given = Given::file("/run/secrets/tiergate", format!("{SECRET}\n"));
    let config = Config::parse_in("tiers.yaml", text.as_bytes(), &given).unwrap();
    assert_eq!(
        config.admin.token,
        Some(TokenSource::File("/run/secrets/tiergate".into()))
    );
    assert!(!format!("{config:?}").contains(SECRET));
    assert_eq!(
        Config::parse("tiers.yaml", file(&[]).as_bytes()).unwrap().admin.token,
        None
    );
}

/// Regression: both started at the working directory.
#[test]
fn relative_paths_start_at_the_files_folder() {
    let text = file(&[
        "admin: { listen: 127.0.0.1:9090, token_file: ./secret }",
        "data_dir: ./data",
    ]);
    for (path, folder) in [
        ("etc/tiers.yaml", "etc/"),
        ("/etc/tiers.yaml", "/etc/"),
        ("tiers.yaml", "./"),
    ] {
        let secret = format!("{folder}secret");
        let given = Given::file(&secret, SECRET);
        let config = Config::parse_for(Path::new(path), "what was sent", text.as_bytes(), &given).unwrap();
        assert_eq!(config.data_dir, PathBuf::from(format!("{folder}data")));
        assert_eq!(config.admin.token, Some(TokenSource::File(secret.into())));
        let errors = Config::parse_for(Path::new(path), "what was sent", text.as_bytes(), &Given::default());
        assert!(
            errors
                .unwrap_err()
                .to_string()
                .starts_with("error: the file that is named")
        );
    }
    let left_out = Config::parse_for(
        Path::new("etc/tiers.yaml"),
        "tiers.yaml",
        file(&[]).as_bytes(),
        &Nothing,
    );
    assert_eq!(left_out.unwrap().data_dir, PathBuf::from("etc/data"));
}

#[test]
fn a_variable_holds_one_hash_or_several() {
    let [a, b] = HASHES;
    let account = |keys: &str| format!("accounts: [ {{ name: bot, tier: free, key_sha256: {keys} }} ]");
    for (keys, held, count) in [
        ("\"${BOT_KEYS}\"", a.to_owned(), 1),
        ("'${BOT_KEYS}'", format!("{a} {b}\n"), 2),
        ("[\"${BOT_KEYS}\"]", format!(",{a},\n\t{b}, "), 2),
        (&format!("[\"${{BOT_KEYS}}\", {b}]"), a.to_uppercase(), 2),
    ] {
        let given = Given::variable("BOT_KEYS", held);
        let text = file(&[&account(keys)]);
        let config = Config::parse_in("tiers.yaml", text.as_bytes(), &given).unwrap();
        assert_eq!(config.accounts[0].key_sha256.len(), count, "{keys}");
    }
}

/// The errors at a start, and those of `check`, which may be run elsewhere.
fn named(lines: &[&str], given: &Given) -> String {
    let text = file(lines);
    let errors = Config::parse_in("tiers.yaml", text.as_bytes(), given).unwrap_err();
    let checked = check("tiers.yaml", text.as_bytes(), given);
    for said in [
        errors.to_string(),
        format!("{errors:?}"),
        shown(&checked),
        format!("{checked:?}"),
    ] {
        assert!(!said.contains("hunter2"), "{said}");
    }
    let as_well = match shown(&checked) {
        same if same == errors.to_string() => "the same".to_owned(),
        other => other,
    };
    format!("{errors}\n\ncheck: {as_well}\n\n")
}

#[test]
fn unusable_references_are_reported_without_their_value() {
    let admin = |fields: &str| format!("admin: {{ listen: 127.0.0.1:9090, {fields} }}");
    let accounts = |keys: &str| format!("accounts: [ {{ name: bot, tier: free, key_sha256: {keys} }} ]");
    let none = Given::default();
    let short = || Given::variable("A", "hunter2");
    let said = [
        named(&[&admin("token: \"${A}\"")], &none),
        named(&[&admin("token: \"${A}\"")], &short()),
        named(&[&admin("token: \"${A}\"")], &Given::variable("A", SECRET.repeat(200))),
        named(&[&admin("token_file: /run/secrets/tiergate")], &none),
        named(
            &[&admin("token_file: /a")],
            &Given::file("/a", "hunter2 with spaces in it"),
        ),
        named(&[&admin(&format!("token: {SECRET}"))], &none),
        named(&[&admin(&format!("token: \"${{{SECRET}}}\""))], &none),
        named(&[&admin(&format!("token: [ {SECRET} ]"))], &none),
        named(&[&admin(&format!("token_file: {SECRET}"))], &none),
        named(
            &[&admin("token: \"${A}\", token_file: /a")],
            &Given::variable("A", SECRET),
        ),
        named(&[&admin("token_file: \"\"")], &none),
        named(&[&accounts("\"${A}\"")], &none),
        named(&[&accounts("\"${A}\"")], &short()),
        named(&[&accounts("\"${A}\"")], &Given::variable("A", " ")),
        named(
            &[&accounts("\"${A}\"")],
            &Given::variable("A", format!("{} {}", HASHES[0], HASHES[0])),
        ),
        named(
            &[&accounts("\"${A}\"")],
            &Given::variable(
                "A",
                (10..27)
                    .map(|n| format!("{n}{}", &HASHES[0][2..]))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
        ),
        named(&[&accounts(&format!("\"x${{A}}{SECRET}\""))], &short()),
    ];
    snapshot("check_what_is_named", said.concat());
}

#[test]
fn a_file_can_be_read_without_its_secrets() {
    let folder = std::env::temp_dir().join(format!("tiergate-peek-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("tiers.yaml");
    let token = "admin: { listen: 127.0.0.1:9090, token_file: /no/such/file }";
    let account = "accounts: [ { name: bot, tier: free, key_sha256: \"${TIERGATE_TEST_OF_NO_SUCH_VARIABLE}\" } ]";
    std::fs::write(&path, file(&[token, account])).unwrap();
    let config = Config::peek(&path).unwrap();
    assert_eq!(config.admin.token, Some(TokenSource::File("/no/such/file".into())));
    assert_eq!(config.accounts[0].key_sha256.len(), 0);
    assert_eq!(Config::load(&path).unwrap_err().count(), 2);
    std::fs::remove_dir_all(&folder).unwrap();
}
