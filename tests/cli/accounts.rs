//! `tiergate account` and `tiergate key`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run};
use crate::support::{Client, Mirror, seven_tiers};

pub async fn program(mirror: &Mirror) -> Program {
    Program::start(&seven_tiers(8, &[(mirror.address, 2)], "")).await
}

/// The output of a command that must succeed.
pub async fn done(program: &Program, args: &[&str]) -> String {
    good(program.command(args).await)
}

#[track_caller]
pub fn good(said: Said) -> String {
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

pub async fn json_of(program: &Program, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let out = done(program, &all).await;
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"))
}

/// The error of a command that must fail, without `error: `.
pub async fn wrong(program: &Program, args: &[&str]) -> String {
    let said = program.command(args).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    said.err.strip_prefix("error: ").unwrap_or(&said.err).to_owned()
}

/// The id of the account that the proxy finds for a key, or the reason of the refusal.
pub async fn me(program: &Program, key: &str) -> String {
    let mut client = Client::connect(program.address).await;
    let answer = client.ask("GET", "/me", &format!("x-api-key: {key}\r\n")).await.json();
    answer["id"]
        .as_str()
        .or(answer["reason"].as_str())
        .unwrap_or_default()
        .to_owned()
}

/// The account's line of a list, with single spaces.
fn line_of(list: &str, name: &str) -> String {
    let line = list
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name))
        .expect("it is listed");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Changes every setting of an account.
const SET: [&str; 15] = [
    "account",
    "set",
    "acme-bot",
    "--tier",
    "$50",
    "--quota",
    "daily=5000",
    "--concurrency",
    "6",
    "--until",
    "2027-01-01",
    "--block",
    "--note",
    "asked twice",
    "--delegate",
];

/// Takes them back.
const UNSET: [&str; 15] = [
    "account",
    "set",
    "acme-bot",
    "--quota",
    "daily=tier",
    "--concurrency",
    "tier",
    "--until",
    "never",
    "--unblock",
    "--note",
    "",
    "--no-delegate",
    "--email",
    "",
];

#[tokio::test]
async fn an_account_is_added_changed_and_removed() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    let added = done(
        &proxy,
        &[
            "account",
            "add",
            "--name",
            "acme-bot",
            "--email",
            "bot@acme.example",
            "--tier",
            "$20",
        ],
    )
    .await;
    assert!(
        added.starts_with("added:\n  name         acme-bot\n  tier         $20\n"),
        "{added}"
    );
    let account = json_of(&proxy, &SET).await;
    let expected = json!({
        "id": account["id"], "name": "acme-bot", "email": "bot@acme.example", "tier": "$50", "concurrency": 6,
        "quotas": { "daily": 5000 }, "limits": {}, "until": "2027-01-01T00:00:00Z", "blocked": true, "max_users": 10000,
        "note": "asked twice", "source": null, "keys": 0, "created": account["created"], "origin": "stored", "blocked_by_rule": [],
    });
    assert_eq!(account, expected);
    let shown = json_of(&proxy, &["account", "show", "acme-bot"]).await;
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(shown[field], *value, "{field}");
    }
    let list = done(&proxy, &["account", "list"]).await;
    assert_eq!(
        line_of(&list, "acme-bot"),
        "acme-bot $50 0 blocked 0 - 2027-01-01T00:00:00Z 6 daily=5000 - 10000 bot@acme.example"
    );
    assert_eq!(line_of(&list, "a20"), "a20 $20 1 in tiers.yaml 0 - - - - - - -");
    let account = json_of(&proxy, &UNSET).await;
    for field in ["email", "concurrency", "until", "max_users", "note"] {
        assert_eq!(account[field], Value::Null, "{field}");
    }
    assert_eq!((&account["quotas"], &account["blocked"]), (&json!({}), &json!(false)));
    assert!(
        wrong(&proxy, &["account", "remove", "acme-bot"])
            .await
            .contains("pass --yes")
    );
    assert!(
        done(&proxy, &["account", "remove", "acme-bot", "--yes"])
            .await
            .starts_with("removed:\n")
    );
    assert_eq!(
        wrong(&proxy, &["account", "show", "acme-bot"]).await,
        "there is no such account\n"
    );
}

#[tokio::test]
async fn a_key_rotates_and_is_revoked() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    done(&proxy, &["account", "add", "--name", "acme-bot", "--tier", "$20"]).await;
    let said = proxy
        .command(&["key", "add", "acme-bot", "--label", "bot", "--expires", "90d"])
        .await;
    let key = said.out.trim().to_owned();
    assert!(
        key.starts_with("tg_") && said.err.contains("shown only once"),
        "{said:?}"
    );
    assert_eq!(me(&proxy, &key).await, "acme-bot");
    let keys = json_of(&proxy, &["key", "list", "acme-bot"]).await;
    let id = keys["keys"][0]["id"].as_str().expect("an id").to_owned();
    // By the key, and by its id: a full key is not sent.
    let rotated = json_of(&proxy, &["key", "rotate", &key, "--overlap", "7d"]).await;
    assert_eq!(rotated["old"]["id"], json!(id));
    let fresh = rotated["key"].as_str().expect("a key").to_owned();
    assert_eq!(
        [me(&proxy, &key).await, me(&proxy, &fresh).await],
        ["acme-bot", "acme-bot"]
    );
    let table = done(&proxy, &["key", "list", "acme-bot"]).await;
    assert_eq!(table.lines().count(), 3, "{table}");
    assert_eq!(
        done(&proxy, &["key", "revoke", &id]).await,
        format!("revoked {id} (bot)\n")
    );
    assert_eq!(
        [me(&proxy, &key).await, me(&proxy, &fresh).await],
        ["invalid_key", "acme-bot"]
    );
    let said = proxy.command_with(&["key", "revoke", "-"], &format!("{fresh}\n")).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(me(&proxy, &fresh).await, "invalid_key");
    assert_eq!(
        wrong(&proxy, &["key", "revoke", &fresh]).await,
        "there is no such key\n"
    );
}

#[tokio::test]
async fn a_change_takes_effect_at_once() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    done(&proxy, &["account", "add", "--name", "acme", "--tier", "$20"]).await;
    let key = done(&proxy, &["key", "add", "acme"]).await.trim().to_owned();
    let search = async |more: &str| {
        let mut client = Client::connect(proxy.address).await;
        let answer = client
            .ask("GET", "/search", &format!("x-api-key: {key}\r\n{more}"))
            .await;
        if answer.status() == 200 {
            let seen = answer.mirrored().await;
            seen.get("x-tiergate-tier").unwrap_or_default().to_owned()
        } else {
            format!("{} {}", answer.status(), answer.reason())
        }
    };
    assert_eq!(search("").await, "$20");
    for (change, then) in [
        (&["--block"][..], "403 blocked"),
        (&["--unblock"], "$20"),
        (&["--until", "2020-01-01"], "free"),
        (&["--until", "never"], "$20"),
        (&["--tier", "$50"], "$50"),
        (&["--quota", "daily=0"], "402 quota_depleted"),
        (&["--quota", "daily=tier"], "$50"),
    ] {
        let mut args = vec!["account", "set", "acme"];
        args.extend(change);
        done(&proxy, &args).await;
        assert_eq!(search("").await, then, "{change:?}");
    }
    done(&proxy, &["account", "set", "acme", "--delegate", "--max-users", "2"]).await;
    assert_eq!(
        search("x-tiergate-user: ann\r\n").await,
        "free",
        "a user has the anonymous tier's terms"
    );
    done(&proxy, &["account", "set", "acme", "--no-delegate"]).await;
    assert_eq!(search("x-tiergate-user: ann\r\n").await, "$50");
}

#[tokio::test]
async fn account_errors_say_what_to_do() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    let add = |more: &[&'static str]| {
        let mut args = vec!["account", "add", "--name", "acme", "--tier"];
        args.extend(more);
        args
    };
    assert!(
        wrong(&proxy, &add(&["$2"]))
            .await
            .contains("there are free, $1, $5, $10, $20, $50, $100")
    );
    assert!(
        wrong(&proxy, &add(&["$20", "--quota", "hourly=1"]))
            .await
            .contains("it has daily")
    );
    assert!(
        wrong(&proxy, &add(&["$20", "--until", "soon"]))
            .await
            .contains("2027-01-01")
    );
    assert!(
        wrong(&proxy, &["account", "set", "a20", "--block"])
            .await
            .contains("change it there")
    );
    assert!(
        wrong(&proxy, &["account", "set", "a20"])
            .await
            .contains("nothing to change")
    );
    assert_unreachable_servers_are_explained(&proxy, &mirror).await;
}

/// Without a running server, without its file, with another server's token, before its first start.
async fn assert_unreachable_servers_are_explained(proxy: &Program, mirror: &Mirror) {
    let folder = Folder::new();
    let path = folder.path();
    let list = async |more: &[&str]| {
        let mut args = vec!["account", "list"];
        args.extend(more);
        let said = run(path, &args, "").await;
        assert_eq!(said.code, Some(1), "{said:?}");
        said.err
    };
    assert!(list(&[]).await.contains("--config FILE"));
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "")
        .replace("admin: { listen: 127.0.0.1:0 }", "admin: { listen: 127.0.0.1:9 }");
    std::fs::write(path.join("tiers.yaml"), yaml).expect("a file");
    assert!(list(&[]).await.contains("start it with `tiergate serve`"));
    std::fs::create_dir(path.join("data")).expect("a folder");
    std::fs::write(path.join("data/admin.token"), "0123456789abcdef\n").expect("a file");
    let error = list(&[]).await;
    assert!(error.contains("no server is running at 127.0.0.1:9 ("), "{error}");
    assert!(
        list(&["--admin", &proxy.admin.to_string()])
            .await
            .contains("does not accept this token")
    );
    assert!(
        list(&["--admin", &proxy.address.to_string()])
            .await
            .contains("is it the admin listener?")
    );
}

/// Regression: with `--json`, errors were still plain text.
#[tokio::test]
async fn errors_are_json_with_the_json_flag() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    let told = |said: Said| -> Value {
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        serde_json::from_str(&said.err).unwrap_or_else(|_| panic!("not JSON: {said:?}"))
    };
    let unknown = told(proxy.command(&["account", "show", "acme", "--json"]).await);
    assert_eq!(
        unknown,
        json!({ "error": "there is no such account", "reason": "unknown_account" })
    );
    let lines = "name,tier\nacme,$2\nbot,$20\n,$20\n";
    let import = told(proxy.command_with(&["account", "import", "-", "--json"], lines).await);
    assert_eq!(import["reason"], "bad_lines");
    assert_eq!(import["lines"][0]["line"], 2);
    assert_eq!(import["lines"][1], json!({ "line": 4, "error": "it has no name" }));
    let unfit = told(proxy.command(&["account", "remove", "acme", "--json"]).await);
    assert_eq!(unfit["reason"], "unfit");
    let folder = Folder::new();
    let nowhere = told(run(folder.path(), &["key", "list", "acme", "--json"], "").await);
    assert_eq!(nowhere["reason"], "bad_config");
    let nothing = told(run(folder.path(), &["jobs", "--data-dir", "none", "--json"], "").await);
    assert_eq!(nothing["reason"], "no_database");
}

/// Regression: `tiergate account list | head` ended with an error once `head` had exited.
#[tokio::test]
async fn a_closed_pipe_is_no_error_unless_a_new_key_is_lost() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    done(&proxy, &["account", "add", "--name", "acme", "--tier", "$20"]).await;
    let unread = async |args: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tiergate"))
            .args(args)
            .args(["--admin", &proxy.admin.to_string()])
            .current_dir(proxy.folder())
            .env_remove("TIERGATE_ADMIN_TOKEN")
            .stdout(writer)
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let output = child.wait_with_output();
        let output = crate::support::soon("the command ends", output).await.expect("a child");
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("errors are text"),
        )
    };
    for seen in [
        &["account", "list"][..],
        &["account", "list", "--json"],
        &["account", "show", "acme"],
        &["account", "export"],
        &["key", "list", "acme"],
    ] {
        assert_eq!(unread(seen).await, (Some(0), String::new()), "{seen:?}");
    }
    let (code, error) = unread(&["key", "add", "acme"]).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("can't write the answer"), "{error}");
}

/// A folder that existed before the proxy may be readable by others, and so may a token in it.
#[tokio::test]
async fn files_readable_by_others_are_warned_about_at_start() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let folder = Arc::new(Folder::new());
    let data = folder.path().join("data");
    let warnings = |log: &str| {
        let of_others = log.lines().filter(|line| line.contains("other users"));
        of_others.map(str::to_owned).collect::<Vec<_>>()
    };
    let proxy = Program::start_in(&folder, &yaml).await;
    assert_eq!(
        warnings(&proxy.kill().await),
        [""; 0],
        "what the proxy makes is its owner's"
    );

    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    mode(&data, 0o755);
    mode(&data.join("admin.token"), 0o640);
    let proxy = Program::start_in(&folder, &yaml).await;
    let told = warnings(&proxy.kill().await);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("the data folder is accessible to other users (mode 755): chmod 700"),
        "{told:?}"
    );
    assert!(
        told[1].contains("the operator's token is readable by other users (mode 640): chmod 600"),
        "{told:?}"
    );
}
