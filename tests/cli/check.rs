//! `tiergate check`, `tiers`, `schema`: their output for people and for programs, and their exit codes.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run};
use crate::support::{Client, seven_tiers, soon};

/// The shortest file without warnings.
const WISE: &str = "\
listen: 127.0.0.1:8080
admin: { listen: 127.0.0.1:9090 }
queue: { length: 8 }
tiers: { free: { priority: 0, concurrency: 1 }, \"$5\": { priority: 2, concurrency: 1 } }
anonymous: free
limits: [ { name: http, per: network, limit: 100, window: 60s } ]
upstreams: { search: { servers: [ { url: \"http://127.0.0.1:8081\", slots: 2 } ] } }
routes: [ { path: /search, upstream: search, metered: true } ]
";

/// The table that trace.moe shows its sponsors.
const TABLE: &str = "\
| Sponsor tiers | daily quota | concurrency | priority    |
| ------------- | ----------- | ----------- | ----------- |
| free          | 100         | 1           | 0 (lowest)  |
| $1            | 100         | 1           | 2           |
| $5            | 500         | 1           | 2           |
| $10           | 1000        | 1           | 5           |
| $20           | 2000        | 2           | 5           |
| $50           | 5000        | 3           | 5           |
| $100          | 10000       | 4           | 6 (highest) |
";

fn unwise() -> String {
    WISE.replace("length: 8", "length: 1")
        .replace("concurrency: 1 } }", "concurrency: 2 } }")
}

fn wrong() -> String {
    unwise().replace("priority: 0", "prioirty: 0")
}

fn folder(yaml: &str) -> Folder {
    let folder = Folder::new();
    std::fs::write(folder.path().join("tiers.yaml"), yaml).expect("a file");
    folder
}

async fn said(yaml: &str, args: &[&str]) -> Said {
    run(folder(yaml).path(), args, "").await
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

#[tokio::test]
async fn the_exit_code_tells_errors_from_warnings() {
    for (yaml, args, code) in [
        (WISE, &["check"][..], 0),
        (WISE, &["check", "--strict"], 0),
        (&unwise(), &["check"], 0),
        (&unwise(), &["check", "--strict"], 2),
        (&unwise(), &["check", "--strict", "--json"], 2),
        (&wrong(), &["check"], 1),
        (&wrong(), &["check", "--strict"], 1),
        (WISE, &["check", "other.yaml"], 1),
        (WISE, &["check", "--colour"], 2),
    ] {
        let said = said(yaml, args).await;
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
    }
}

/// Regression: `serve --log-format json` printed them as text, which breaks programs that parse the log.
#[tokio::test]
async fn serve_reports_errors_as_json_with_json_logs() {
    let said = said(&wrong(), &["serve", "--log-format", "json"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let told: Value = serde_json::from_str(&said.err).unwrap_or_else(|error| panic!("{error}: {}", said.err));
    assert_eq!(said.err.lines().count(), 1);
    assert_eq!((&told["file"], &told["errors"]), (&json!("tiers.yaml"), &json!(1)));
    let problem = &told["problems"][0];
    assert_eq!(problem["message"], "unknown field `prioirty`; did you mean `priority`?");
    assert_eq!((&problem["line"], &problem["severity"]), (&json!(4), &json!("error")));
}

#[tokio::test]
async fn check_writes_problems_to_stderr_and_facts_to_stdout() {
    let fine = said(WISE, &["check"]).await;
    assert_eq!((fine.err.as_str(), fine.code), ("", Some(0)));
    let what = "(tiers: 2, queue length: 8, limits: 1, upstreams: 1, routes: 1, accounts: 0)\n";
    assert_eq!(fine.out, format!("tiers.yaml: fine {what}"));

    let warned = said(&unwise(), &["check"]).await;
    assert!(
        warned.out.starts_with("tiers.yaml: no errors (tiers: 2"),
        "{}",
        warned.out
    );
    let expected = "\
warning: the queue has 1 place, and one caller of tier `$5` may have 2 jobs at once
 --> tiers.yaml:3:18
  |
3 | queue: { length: 1 }
  |                  ^ write 2 or more, or less concurrency: one caller could take every place

tiers.yaml: 1 warning
";
    assert_eq!(warned.err, expected);

    let both = said(&wrong(), &["check"]).await;
    assert_eq!(both.out, "");
    assert!(
        both.err
            .contains("error: unknown field `prioirty`; did you mean `priority`?"),
        "{}",
        both.err
    );
    assert!(both.err.ends_with("\ntiers.yaml: 1 error, 1 warning\n"), "{}", both.err);
}

#[tokio::test]
async fn check_prints_one_json_object() {
    let both = said(&wrong(), &["check", "--json"]).await;
    assert_eq!((both.err.as_str(), both.code), ("", Some(1)));
    let expected = json!({
        "file": "tiers.yaml",
        "errors": 1,
        "warnings": 1,
        "problems": [
            {
                "file": "tiers.yaml",
                "line": 3,
                "column": 18,
                "end_line": 3,
                "end_column": 19,
                "severity": "warning",
                "message": "the queue has 1 place, and one caller of tier `$5` may have 2 jobs at once",
                "advice": "write 2 or more, or less concurrency: one caller could take every place",
            },
            {
                "file": "tiers.yaml",
                "line": 4,
                "column": 18,
                "end_line": 4,
                "end_column": 26,
                "severity": "error",
                "message": "unknown field `prioirty`; did you mean `priority`?",
                "advice": "fields here: priority, concurrency, quota, quotas, max_wait, displacements_per_minute, limits",
            },
        ],
    });
    assert_eq!(json(&both), expected);
    assert_eq!(
        json(&said(WISE, &["check", "--json"]).await),
        json!({ "file": "tiers.yaml", "errors": 0, "warnings": 0, "problems": [] })
    );
    let missing = json(&said(WISE, &["check", "--json", "other.yaml"]).await);
    assert_eq!(missing["problems"][0]["line"], Value::Null);
    assert_eq!(missing["problems"][0]["file"], "other.yaml");
}

#[tokio::test]
async fn unsaved_text_can_be_checked_from_stdin() {
    let said = run(folder(WISE).path(), &["check", "-", "--json"], &unwise()).await;
    assert_eq!((json(&said)["file"].as_str(), said.code), (Some("<stdin>"), Some(0)));
    assert_eq!(json(&said)["warnings"], 1);
}

/// The output with these environment variables, not on a terminal.
async fn coloured(args: &[&str], variables: &[(&str, &str)]) -> bool {
    let folder = folder(&unwise());
    let mut command = Command::new(env!("CARGO_BIN_EXE_tiergate"));
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    let output = command
        .arg("check")
        .args(args)
        .envs(variables.iter().copied())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output();
    let output = soon("it ends", output).await.expect("the program starts");
    let err = String::from_utf8(output.stderr).expect("text");
    assert!(err.contains("one caller of tier `$5` may have 2 jobs at once"), "{err}");
    err.contains("\u{1b}[1;33mwarning\u{1b}[0m")
}

#[tokio::test]
async fn colours_are_for_terminals_or_on_request() {
    assert!(!coloured(&[], &[]).await);
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]).await);
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).await);
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]).await);
    assert!(coloured(&["--color", "always"], &[("NO_COLOR", "1")]).await);
}

#[tokio::test]
async fn check_resolves_secrets_locally_and_never_prints_them() {
    const SECRET: &str = "hunter2_0123456789abcdef";
    let yaml = WISE.replace("9090 }", "9090, token: \"${DOOR_TOKEN}\" }");
    let folder = folder(&format!(
        "{yaml}accounts: [ {{ name: bot, tier: free, key_sha256: \"${{BOT_KEY}}\" }} ]\n"
    ));
    let check = async |args: &[&str], variables: &[(&str, &str)]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tiergate"))
            .arg("check")
            .args(args)
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output();
        let output = soon("it ends", output).await.expect("the program starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    // It may run on another machine: a missing secret is a warning.
    let (code, said) = check(&["--strict"], &[]).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("warning: the variable `DOOR_TOKEN` is not set"), "{said}");
    let hash = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let (code, said) = check(&["--strict"], &[("DOOR_TOKEN", SECRET), ("BOT_KEY", hash)]).await;
    assert_eq!(code, Some(0), "{said}");
    for args in [&[][..], &["--json"]] {
        let (code, said) = check(args, &[("DOOR_TOKEN", "hunter2"), ("BOT_KEY", SECRET)]).await;
        assert_eq!(code, Some(1));
        assert!(said.contains("holds no token") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn the_tiers_table_is_the_reference() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tiers.yaml");
    let markdown = said(WISE, &["tiers", root, "--markdown"]).await;
    assert_eq!((markdown.out.as_str(), markdown.code), (TABLE, Some(0)));
    let text = said(WISE, &["tiers", root]).await;
    assert!(
        text.out
            .starts_with("SPONSOR TIERS  DAILY QUOTA  CONCURRENCY  PRIORITY\nfree           100"),
        "{}",
        text.out
    );
    let programs = json(&said(WISE, &["tiers", root, "--json"]).await);
    assert_eq!(programs["tiers"].as_array().map(Vec::len), Some(7));
    let expected = json!({
        "name": "$100",
        "anonymous": false,
        "priority": 6,
        "concurrency": 4,
        "quotas": [{ "name": "daily", "limit": 10000, "window": "rolling 24h" }],
        "limits": {},
    });
    assert_eq!(programs["tiers"][6], expected);
}

#[tokio::test]
async fn several_quotas_and_own_limits_are_columns() {
    let tiers = "\
tiers:
  free: { priority: 1, concurrency: 1 }
  a|b_c: { priority: 1, concurrency: 2, quotas: { d: { limit: 5, calendar: day }, r: { limit: 9, rolling: 24h } }, limits: { http: 300 } }
";
    let begin = WISE.find("tiers:").expect("they are there");
    let end = WISE.find("anonymous:").expect("it is there");
    let yaml = format!("{}{tiers}{}", &WISE[..begin], &WISE[end..]);
    let expected = "\
| Sponsor tiers | daily quota (day UTC) | daily quota (rolling 24h) | concurrency | priority | http requests in 60s |
| ------------- | --------------------- | ------------------------- | ----------- | -------- | -------------------- |
| free          | unlimited             | unlimited                 | 1           | 1        | 100                  |
| a\\|b\\_c       | 5                     | 9                         | 2           | 1        | 300                  |
";
    assert_eq!(said(&yaml, &["tiers", "--markdown"]).await.out, expected);
    let own = json!({ "http": { "limit": 300, "window": "60s", "lifts_network": false } });
    assert_eq!(
        json(&said(&yaml, &["tiers", "--json"]).await)["tiers"][1]["limits"],
        own
    );
    let broken = said(&wrong(), &["tiers"]).await;
    assert!(
        broken.code == Some(1) && broken.err.contains("tiers.yaml: 1 error\n"),
        "{broken:?}"
    );
}

#[tokio::test]
async fn the_schema_is_printed() {
    let said = said(WISE, &["schema"]).await;
    assert_eq!(said.out, tiergate::config::schema::text());
}

#[tokio::test]
async fn commands_find_the_token_in_the_named_file() {
    const TOKEN: &str = "hunter2_0123456789abcdef";
    let secrets = Folder::new();
    let file = secrets.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let admin = format!("admin: {{ listen: 127.0.0.1:0, token_file: {} }}", file.display());
    let yaml = seven_tiers(8, &[], "").replace("admin: { listen: 127.0.0.1:0 }", &admin);
    let yaml = yaml.replace(
        "servers: [  ]",
        "servers: [ { url: \"http://127.0.0.1:9\", slots: 1 } ]",
    );
    let proxy = Program::start(&yaml).await;
    assert_eq!(proxy.command(&["account", "list"]).await.code, Some(0));
    assert!(!proxy.folder().join("data/admin.token").exists(), "none was made");
    let mut operator = Client::operator(proxy.admin).await;
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(operator.ask("GET", "/queue", &bearer).await.status(), 200);
    std::fs::remove_file(&file).expect("it is ours");
    let said = proxy.command(&["account", "list"]).await;
    assert!(
        said.code == Some(1) && said.err.contains("/token: No such file"),
        "{}",
        said.err
    );
    assert!(!proxy.log().contains(TOKEN));
}

/// Regression: commands waited forever for a writer of the pipe.
#[tokio::test]
async fn a_pipe_in_place_of_the_token_file_blocks_no_command() {
    let folder = folder(&WISE.replace("9090 }", "9090, token_file: ./pipe }"));
    let made = Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.await.expect("mkfifo runs").success());
    let why = "it is a folder, a device or a pipe, and no file";
    for (args, code) in [
        (&["check", "--strict"][..], 2),
        (&["serve"], 1),
        (&["account", "list"], 1),
    ] {
        let said = run(folder.path(), args, "").await;
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        assert!(said.err.contains(why), "{args:?}: {}", said.err);
    }
}

#[tokio::test]
async fn a_proxy_does_not_start_without_referenced_secrets() {
    let yaml = WISE.replace("9090 }", "9090, token: \"${TIERGATE_TEST_OF_NO_SUCH_VARIABLE}\" }");
    let said = said(&yaml, &["serve"]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err
            .contains("the variable `TIERGATE_TEST_OF_NO_SUCH_VARIABLE` is not set\n --> tiers.yaml:2:41"),
        "{}",
        said.err
    );
    // A command that only talks to the proxy needs the token alone.
    let said = self::said(&yaml, &["account", "list"]).await;
    let expected = "error: the operator's token is in TIERGATE_TEST_OF_NO_SUCH_VARIABLE, and that variable is not set; set it, or put the \
                    token into TIERGATE_ADMIN_TOKEN\n";
    assert_eq!((said.code, said.err.as_str()), (Some(1), expected));
}
