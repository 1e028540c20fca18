//! `tiergate account` and `tiergate key`.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run};
use crate::support::{Client, Mirror, seven_tiers};

async fn program(mirror: &Mirror) -> Program {
    Program::start(&seven_tiers(8, &[(mirror.address, 2)], "")).await
}

/// What a command that should succeed wrote.
pub async fn done(program: &Program, args: &[&str]) -> String {
    good(program.command(args).await)
}

#[track_caller]
fn good(said: Said) -> String {
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

pub async fn json_of(program: &Program, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let out = done(program, &all).await;
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"))
}

/// What a command that should fail says, without its first word.
pub async fn wrong(program: &Program, args: &[&str]) -> String {
    let said = program.command(args).await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    said.err.strip_prefix("error: ").unwrap_or(&said.err).to_owned()
}

/// As whom the door takes a key, or why as nobody.
async fn me(program: &Program, key: &str) -> String {
    let mut client = Client::connect(program.address).await;
    let answer = client.ask("GET", "/me", &format!("x-api-key: {key}\r\n")).await.json();
    answer["id"]
        .as_str()
        .or(answer["reason"].as_str())
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn an_account_from_its_first_day_to_its_last() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    let added = done(
        &door,
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
    let set = [
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
    let account = json_of(&door, &set).await;
    let expected = json!({
        "id": account["id"], "name": "acme-bot", "email": "bot@acme.example", "tier": "$50", "concurrency": 6,
        "quotas": { "daily": 5000 }, "limits": {}, "until": "2027-01-01T00:00:00Z", "blocked": true, "max_users": 10000,
        "note": "asked twice", "source": null, "keys": 0, "created": account["created"], "origin": "stored", "blocked_by_rule": [],
    });
    assert_eq!(account, expected);
    let shown = json_of(&door, &["account", "show", "acme-bot"]).await;
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(shown[field], *value, "{field}");
    }
    let list = done(&door, &["account", "list"]).await;
    let line = |name: &str| {
        let line = list
            .lines()
            .find(|line| line.split_whitespace().next() == Some(name))
            .expect("it is listed");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line("acme-bot"),
        "acme-bot $50 0 blocked 0 - 2027-01-01T00:00:00Z 6 daily=5000 - 10000 bot@acme.example"
    );
    assert_eq!(line("a20"), "a20 $20 1 in tiers.yaml 0 - - - - - - -");
    let unset = [
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
    let account = json_of(&door, &unset).await;
    for field in ["email", "concurrency", "until", "max_users", "note"] {
        assert_eq!(account[field], Value::Null, "{field}");
    }
    assert_eq!((&account["quotas"], &account["blocked"]), (&json!({}), &json!(false)));
    assert!(
        wrong(&door, &["account", "remove", "acme-bot"])
            .await
            .contains("say --yes")
    );
    assert!(
        done(&door, &["account", "remove", "acme-bot", "--yes"])
            .await
            .starts_with("removed:\n")
    );
    assert_eq!(
        wrong(&door, &["account", "show", "acme-bot"]).await,
        "there is no such account\n"
    );
}

#[tokio::test]
async fn a_key_rotates_and_is_revoked() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    done(&door, &["account", "add", "--name", "acme-bot", "--tier", "$20"]).await;
    let said = door
        .command(&["key", "add", "acme-bot", "--label", "bot", "--expires", "90d"])
        .await;
    let key = said.out.trim().to_owned();
    assert!(
        key.starts_with("tg_") && said.err.contains("shown this once"),
        "{said:?}"
    );
    assert_eq!(me(&door, &key).await, "acme-bot");
    let keys = json_of(&door, &["key", "list", "acme-bot"]).await;
    let id = keys["keys"][0]["id"].as_str().expect("an id").to_owned();
    // By itself, and by its id: a full key does not leave the command.
    let rotated = json_of(&door, &["key", "rotate", &key, "--overlap", "7d"]).await;
    assert_eq!(rotated["old"]["id"], json!(id));
    let fresh = rotated["key"].as_str().expect("a key").to_owned();
    assert_eq!(
        [me(&door, &key).await, me(&door, &fresh).await],
        ["acme-bot", "acme-bot"]
    );
    let table = done(&door, &["key", "list", "acme-bot"]).await;
    assert_eq!(table.lines().count(), 3, "{table}");
    assert_eq!(
        done(&door, &["key", "revoke", &id]).await,
        format!("revoked {id} (bot)\n")
    );
    assert_eq!(
        [me(&door, &key).await, me(&door, &fresh).await],
        ["invalid_key", "acme-bot"]
    );
    let said = door.command_with(&["key", "revoke", "-"], &format!("{fresh}\n")).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(me(&door, &fresh).await, "invalid_key");
    assert_eq!(wrong(&door, &["key", "revoke", &fresh]).await, "there is no such key\n");
}

#[tokio::test]
async fn a_change_takes_effect_at_once() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    done(&door, &["account", "add", "--name", "acme", "--tier", "$20"]).await;
    let key = done(&door, &["key", "add", "acme"]).await.trim().to_owned();
    let search = async |more: &str| {
        let mut client = Client::connect(door.address).await;
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
        done(&door, &args).await;
        assert_eq!(search("").await, then, "{change:?}");
    }
    done(&door, &["account", "set", "acme", "--delegate", "--max-users", "2"]).await;
    assert_eq!(
        search("x-tiergate-user: ann\r\n").await,
        "free",
        "a user has the anonymous tier's terms"
    );
    done(&door, &["account", "set", "acme", "--no-delegate"]).await;
    assert_eq!(search("x-tiergate-user: ann\r\n").await, "$50");
}

#[tokio::test]
async fn accounts_move_from_one_door_to_another() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    let csv = "name,email,tier,key\nacme,bot@acme.example,$20,old-key\nbeta,,$5,\n";
    std::fs::write(door.folder().join("old.csv"), csv).expect("a file");
    assert_eq!(
        done(&door, &["account", "import", "old.csv"]).await,
        "added 2 accounts with 1 new keys; updated 0, removed 0; 0 unchanged\n"
    );
    assert_eq!(me(&door, "old-key").await, "bot@acme.example");
    let export = done(&door, &["account", "export"]).await;
    assert_eq!(export.lines().count(), 2);
    let other = program(&mirror).await;
    let said = other.command_with(&["account", "import", "-", "--json"], &export).await;
    let counts: Value = serde_json::from_str(&good(said)).expect("JSON");
    assert_eq!((&counts["added"], &counts["keys_added"]), (&json!(2), &json!(0)));
    assert_eq!(done(&other, &["account", "export"]).await, export);
    let again = wrong(&door, &["account", "import", "old.csv"]).await;
    assert_eq!(
        again,
        "2 lines are wrong, so nothing was imported\n  line 2: an account of that name exists already\n  line 3: an account of that \
         name exists already\n"
    );
    assert!(
        wrong(&door, &["account", "import", "nothing.csv"])
            .await
            .contains("can't read nothing.csv")
    );
}

/// A nightly sync of sponsors was impossible: an import could make accounts and nothing else.
#[tokio::test]
async fn a_file_of_sponsors_is_synced() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    let file = |lines: &str| std::fs::write(door.folder().join("sponsors.csv"), lines).expect("a file");
    let many: String = (0..58).map(|number| format!("s{number:02},$5,\n")).collect();
    file(&format!("name,tier,key\nacme,$20,k1\nbeta,$5,k2\n{many}"));
    let sync = [
        "account",
        "import",
        "sponsors.csv",
        "--update",
        "--source",
        "sponsors",
        "--remove-missing",
    ];
    let first = done(&door, &sync).await;
    let last = "and 10 more\nadded 60 accounts with 2 new keys; updated 0, removed 0; 0 unchanged\n";
    assert!(
        first.starts_with("CHANGE  NAME  TIER  NEW KEYS  FIELDS\nadded   acme  $20   1         -\n"),
        "{first}"
    );
    assert!(first.ends_with(last) && first.lines().count() == 53, "{first}");
    file(&format!(
        "name,tier,key,email\nacme,$50,k3,bot@acme.example\n{}",
        many.replace(",\n", ",,\n")
    ));
    let table = "CHANGE   NAME  TIER  NEW KEYS  FIELDS\n\
                 updated  acme  $50   1         email: - → bot@acme.example, tier: $20 → $50\n\
                 removed  beta  $5    0         -\n";
    let mut dry = sync.to_vec();
    dry.push("--dry-run");
    let would = "would add 0 accounts with 1 new keys; would update 1, would remove 1; 58 unchanged\n";
    assert_eq!(done(&door, &dry).await, format!("{table}{would}"));
    assert_eq!(me(&door, "k2").await, "beta", "nothing was changed");
    let updated = "added 0 accounts with 1 new keys; updated 1, removed 1; 58 unchanged\n";
    assert_eq!(done(&door, &sync).await, format!("{table}{updated}"));
    assert_eq!(me(&door, "k2").await, "invalid_key");
    assert_eq!(me(&door, "k1").await, "bot@acme.example", "keys stay");
    // A file that was cut short removes nobody.
    file("name,tier\nacme,$50\n");
    let refused = wrong(&door, &sync).await;
    assert!(
        refused.contains("this would remove 58 of the 59 accounts of the source sponsors"),
        "{refused}"
    );
    let told = done(&door, &dry).await;
    assert!(
        told.contains("and 8 more\n") && told.contains("that takes --yes"),
        "{told}"
    );
    let counts = json_of(&door, &[&sync[..], &["--yes"]].concat()).await;
    assert_eq!((&counts["removed"], &counts["unchanged"]), (&json!(58), &json!(1)));
    let set = done(&door, &["account", "set", "acme", "--source", ""]).await;
    assert!(set.contains("  source       -\n"), "{set}");
    let unfit = door
        .command(&["account", "import", "sponsors.csv", "--remove-missing"])
        .await;
    assert!(
        unfit.err.contains("--source <NAME>") && unfit.err.contains("--update"),
        "{unfit:?}"
    );
}

#[tokio::test]
async fn an_export_is_a_file_that_nobody_else_reads() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    std::fs::write(door.folder().join("a.csv"), "name,tier,key\nacme,$20,k1\n").expect("a file");
    done(&door, &["account", "import", "a.csv"]).await;
    let export = ["account", "export", "--keys", "-o", "accounts.jsonl"];
    assert_eq!(done(&door, &export).await, "");
    let file = door.folder().join("accounts.jsonl");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(text.contains("key_sha256") && text.lines().count() == 1, "{text}");
    std::fs::write(&file, "precious").expect("a file");
    let refused = wrong(&door, &export).await;
    assert!(
        refused.contains("is there already; say --force to overwrite it"),
        "{refused}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("text"), "precious");
    done(&door, &[&export[..], &["--force"]].concat()).await;
    assert_eq!(std::fs::read_to_string(&file).expect("text"), text);
    let left: Vec<_> = std::fs::read_dir(door.folder()).expect("a folder").collect();
    let is_beside = |entry: &std::io::Result<std::fs::DirEntry>| {
        entry
            .as_ref()
            .is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".new."))
    };
    assert!(!left.iter().any(is_beside), "{left:?}");
    let other = program(&mirror).await;
    let said = other.command_with(&["account", "import", "-"], &text).await;
    assert_eq!(
        good(said),
        "added 1 accounts with 1 new keys; updated 0, removed 0; 0 unchanged\n"
    );
    assert_eq!(me(&other, "k1").await, "acme");
}

#[tokio::test]
async fn a_command_says_what_to_do() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    let add = |more: &[&'static str]| {
        let mut args = vec!["account", "add", "--name", "acme", "--tier"];
        args.extend(more);
        args
    };
    assert!(
        wrong(&door, &add(&["$2"]))
            .await
            .contains("there are free, $1, $5, $10, $20, $50, $100")
    );
    assert!(
        wrong(&door, &add(&["$20", "--quota", "hourly=1"]))
            .await
            .contains("it has daily")
    );
    assert!(
        wrong(&door, &add(&["$20", "--until", "soon"]))
            .await
            .contains("2027-01-01")
    );
    assert!(
        wrong(&door, &["account", "set", "a20", "--block"])
            .await
            .contains("change it there")
    );
    assert!(
        wrong(&door, &["account", "set", "a20"])
            .await
            .contains("nothing to change")
    );
    // Without a door, without its file, with another door's token, before its first start.
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
    assert!(error.contains("no door is running at 127.0.0.1:9 ("), "{error}");
    assert!(
        list(&["--admin", &door.admin.to_string()])
            .await
            .contains("has another token")
    );
    assert!(
        list(&["--admin", &door.address.to_string()])
            .await
            .contains("is it the admin listener?")
    );
}

/// With `--json`, what went wrong was still told in words alone, which programs had to guess from.
#[tokio::test]
async fn programs_are_told_in_json_what_went_wrong() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    let told = |said: Said| -> Value {
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
        serde_json::from_str(&said.err).unwrap_or_else(|_| panic!("not JSON: {said:?}"))
    };
    let unknown = told(door.command(&["account", "show", "acme", "--json"]).await);
    assert_eq!(
        unknown,
        json!({ "error": "there is no such account", "reason": "unknown_account" })
    );
    let lines = "name,tier\nacme,$2\nbot,$20\n,$20\n";
    let import = told(door.command_with(&["account", "import", "-", "--json"], lines).await);
    assert_eq!(import["reason"], "bad_lines");
    assert_eq!(import["lines"][0]["line"], 2);
    assert_eq!(import["lines"][1], json!({ "line": 4, "error": "it has no name" }));
    let unfit = told(door.command(&["account", "remove", "acme", "--json"]).await);
    assert_eq!(unfit["reason"], "unfit");
    let folder = Folder::new();
    let nowhere = told(run(folder.path(), &["key", "list", "acme", "--json"], "").await);
    assert_eq!(nowhere["reason"], "bad_config");
    let nothing = told(run(folder.path(), &["jobs", "--data-dir", "none", "--json"], "").await);
    assert_eq!(nothing["reason"], "no_database");
}

/// `tiergate account list | head` ended with an error once `head` had seen enough.
#[tokio::test]
async fn who_has_seen_enough_may_go_but_not_before_a_new_key_is_shown() {
    let mirror = Mirror::start().await;
    let door = program(&mirror).await;
    done(&door, &["account", "add", "--name", "acme", "--tier", "$20"]).await;
    let unread = async |args: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_tiergate"))
            .args(args)
            .args(["--admin", &door.admin.to_string()])
            .current_dir(door.folder())
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

/// A folder that was there before the door may be open to others, and so may a token that somebody put there.
#[tokio::test]
async fn what_others_may_read_is_told_at_the_start() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let folder = Arc::new(Folder::new());
    let data = folder.path().join("data");
    let warnings = |log: &str| {
        let of_others = log.lines().filter(|line| line.contains("others may"));
        of_others.map(str::to_owned).collect::<Vec<_>>()
    };
    let door = Program::start_in(&folder, &yaml).await;
    assert_eq!(
        warnings(&door.kill().await),
        [""; 0],
        "what the door makes is its owner's"
    );

    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    mode(&data, 0o755);
    mode(&data.join("admin.token"), 0o640);
    let door = Program::start_in(&folder, &yaml).await;
    let told = warnings(&door.kill().await);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("the data folder (mode 755): chmod 700"), "{told:?}");
    assert!(
        told[1].contains("the operator's token (mode 640): chmod 600"),
        "{told:?}"
    );
}
