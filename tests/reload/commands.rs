//! A saved file, and the commands that operators use around it, on the program itself.

use std::sync::Arc;

use serde_json::Value;
use tiergate::clock::Clock;
use tiergate::policy::time::UnixTime;
use tiergate::store::{DATABASE_FILE, audit, open_read_only};

use crate::bad_files::{logged, metric, save};
use crate::support::folder::Folder;
use crate::support::program::{Program, run};
use crate::support::yaml::with_admin;
use crate::support::{Mirror, seven_tiers, soon};

async fn start() -> (Program, String, Mirror) {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    (Program::start(&yaml).await, yaml, mirror)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

/// `tests/watch.rs` covers every way in which editors save.
#[tokio::test]
async fn a_saved_file_is_reloaded_automatically() {
    let (program, yaml, _mirror) = start().await;
    let clock = Clock::start();
    for length in 9..=12 {
        let saved = clock.now();
        save(&program, &yaml.replace("length: 8", &format!("length: {length}")));
        metric(&program, &format!("tiergate_queue_capacity {length}")).await;
        println!("saved and in force after {}", clock.now().since(saved));
    }
    logged(&program, "11 → 12").await;
}

#[tokio::test]
async fn a_reload_that_changes_something_is_in_the_audit_log() {
    let (program, yaml, _mirror) = start().await;
    program.signal("HUP").await;
    metric(&program, r#"tiergate_config_reloads_total{result="unchanged"} 1"#).await;
    save(&program, &yaml.replace("length: 8", "length: 9"));
    program.signal("HUP").await;
    metric(&program, r#"tiergate_config_reloads_total{result="applied"} 1"#).await;
    let database = program.folder().join("data").join(DATABASE_FILE);
    let connection = open_read_only(&database).expect("a database");
    let log = audit::read(&connection, UnixTime::from_millis(0), 9).expect("its log");
    let reloads: Vec<_> = log.iter().filter(|row| row.action == "reload").collect();
    let [reload] = reloads.as_slice() else {
        panic!("{log:?}")
    };
    assert_eq!(reload.who, "tiers.yaml");
    assert!(reload.subject.ends_with("/tiers.yaml"), "{reload:?}");
    assert!(reload.detail["changes"].to_string().contains("8 → 9"), "{reload:?}");
}

/// Regression: a program that had just started did not handle SIGHUP yet, and was ended by it.
#[tokio::test]
async fn sighup_only_rereads_the_file() {
    let (program, yaml, _mirror) = start().await;
    program.signal("HUP").await;
    metric(&program, r#"tiergate_config_reloads_total{result="unchanged"} 1"#).await;
    save(&program, &yaml.replace("length: 8", "length: 9"));
    program.signal("HUP").await;
    metric(&program, "tiergate_queue_capacity 9").await;
    metric(&program, r#"tiergate_config_reloads_total{result="applied"} 1"#).await;
}

/// Regression: before its configuration was read and its sockets were bound, the program did not handle SIGHUP either.
/// Reading a pipe blocks until something is written to it, so the program waits there as long as the test needs.
#[tokio::test]
async fn sighup_during_startup_does_not_end_the_program() {
    let mirror = Mirror::start().await;
    let folder = Arc::new(Folder::new());
    let pipe = folder.path().join("tiers.pipe");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status().await;
    assert!(made.expect("there is a mkfifo").success());
    let args = ["--config", "tiers.pipe", "--data-dir", "data"];
    let starting = Program::begin_with(Arc::clone(&folder), &args, "info");
    // This succeeds once the program has the pipe open.
    let opened = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(pipe));
    let mut writer = soon("the program reads", opened)
        .await
        .expect("no panic")
        .expect("a pipe");
    starting.signal("HUP").await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    std::io::Write::write_all(&mut writer, yaml.as_bytes()).expect("the program reads");
    drop(writer);
    let program = starting
        .opened()
        .await
        .unwrap_or_else(|said| panic!("it has ended: {said:?}"));
    logged(&program, "ignoring SIGHUP: no configuration file to reload").await;
}

#[tokio::test]
async fn reload_shows_the_changes_and_status_the_state() {
    let (program, yaml, _mirror) = start().await;
    let said = program.command(&["reload"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "nothing has changed\n"));
    save(
        &program,
        &yaml.replace(
            "\"$5\": { priority: 2, concurrency: 1, quota: { limit: 500",
            "\"$5\": { priority: 2, concurrency: 1, quota: { limit: 800",
        ),
    );
    // Either it has noticed the file by itself meanwhile, or it does so now.
    let said = program.command(&["reload", "--json"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let answer = json(&said.out);
    assert!(
        ["applied", "unchanged"].contains(&answer["result"].as_str().expect("text")),
        "{answer}"
    );
    assert!(answer["wrong"].is_null() && answer["changes"].is_array(), "{answer}");
    logged(&program, "tier `$5` (1 account): daily quota 500 → 800").await;
    let said = program.command(&["status"]).await;
    assert_eq!(said.code, Some(0));
    for part in [
        "configuration  ",
        "tiers.yaml, in force since ",
        "0 of 8 places taken",
        "0 of 2 busy",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let answer = json(&program.command(&["status", "--json"]).await.out);
    assert_eq!(answer["upstreams"][0]["slots"], 2, "{answer}");
    assert_eq!(answer["config"]["restart"], serde_json::json!([]));
    save(&program, "nothing: of the kind");
    let said = program.command(&["reload", "--json", "--config", "good.yaml"]).await;
    assert_ne!(said.code, Some(0), "there is no such file: {said:?}");
}

#[tokio::test]
async fn diff_running_ignores_the_command_line() {
    let (program, yaml, _mirror) = start().await;
    let added = program
        .command(&["account", "add", "--name", "acme", "--tier", "$5"])
        .await;
    assert_eq!(added.code, Some(0), "{added:?}");
    let write = |name: &str, yaml: &str| {
        let data = program.folder().join("data");
        let text = format!("{yaml}\ndata_dir: {}\n", data.display());
        std::fs::write(program.folder().join(name), text).expect("a folder to write to");
    };
    write("same.yaml", &yaml);
    let said = program.command(&["diff", "--running", "same.yaml"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), "nothing would change\n"),
        "{said:?}"
    );
    write(
        "new.yaml",
        &yaml
            .replace("limit: 500,", "limit: 800,")
            .replace("cores: 2", "cores: 1"),
    );
    let said = program.command(&["diff", "--running", "new.yaml", "--exit-code"]).await;
    // The listed one and the stored one.
    let words = "tier `$5` (2 accounts): daily quota 500 → 800";
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains(words), "{}", said.out);
    assert!(said.out.contains("needs a restart: cores 2 → 1"), "{}", said.out);
    write("wrong.yaml", &yaml.replace("queue:", "queu:"));
    let said = program.command(&["diff", "--running", "wrong.yaml"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("unknown field `queu`"), "{}", said.err);
    // None of this was applied.
    assert_eq!(program.command(&["reload"]).await.out, "nothing has changed\n");
}

/// The commands find the server through the file that is to be corrected.
#[tokio::test]
async fn commands_find_the_server_despite_a_broken_file() {
    let (program, yaml, _mirror) = start().await;
    let file = program.folder().join("tiers.yaml");
    save(
        &program,
        &with_admin(
            &yaml.replace("queue:", "queu:"),
            format_args!("listen: {}", program.admin),
        ),
    );
    metric(&program, "tiergate_config_last_reload_successful 0").await;
    let config = file.to_str().expect("text");
    let alone = async |args: &[&str]| run(program.folder(), args, "").await;
    let said = alone(&["status", "--config", config]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("unknown field `queu`"), "{}", said.out);
    let said = alone(&["reload", "--config", config]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("unknown field `queu`"), "{}", said.err);
    let said = alone(&["account", "list", "--config", config]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// Regression: commands looked for the server at the address that the file names for its next start, and reported that
/// no server was running.
#[tokio::test]
async fn commands_find_the_server_until_its_new_address_applies() {
    let (mut program, yaml, _mirror) = start().await;
    let alone = async |folder: &std::path::Path, args: &[&str]| run(folder, args, "").await;
    let moved = with_admin(&yaml, "listen: 127.0.0.1:9");
    save(&program, &moved);
    let said = alone(program.folder(), &["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = alone(program.folder(), &["status"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let line = "needs a restart: admin listen 127.0.0.1:0 → 127.0.0.1:9";
    assert!(said.out.contains(line), "{}", said.out);
    let said = alone(program.folder(), &["diff", "--running", "tiers.yaml"]).await;
    assert_eq!((said.code, said.out.trim()), (Some(0), line), "{said:?}");

    // A new data folder can be told only with the old one at hand.
    let data = program.folder().join("data");
    let elsewhere = moved.replace("listen: 127.0.0.1:9 }", "listen: 127.0.0.1:9 }\ndata_dir: ./elsewhere");
    std::fs::write(program.folder().join("tiers.yaml"), &elsewhere).expect("a file");
    for args in [&["status"][..], &["diff", "--running", "tiers.yaml"]] {
        let said = alone(program.folder(), args).await;
        assert!(said.code != Some(0) && said.err.contains("--data-dir DIR"), "{said:?}");
        let args: Vec<&str> = args.iter().copied().chain(["--data-dir", "data"]).collect();
        let said = alone(program.folder(), &args).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains(line), "{}", said.out);
    }

    // No command looks for a server that has shut down.
    program.signal("TERM").await;
    assert_eq!(program.exit_code().await, Some(0));
    assert!(!data.join("admin.address").exists());
    let said = alone(program.folder(), &["status", "--data-dir", "data"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("no server is running on the data folder data"),
        "{}",
        said.err
    );
}

/// A killed server leaves its address file behind, and another process may have that address by then.
#[tokio::test]
async fn a_killed_servers_address_file_does_not_mislead() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let folder = Arc::new(Folder::new());
    Program::start_in(&folder, &yaml).await.kill().await;
    let left = std::fs::read_to_string(folder.path().join("data/admin.address")).expect("it is left");
    let said = run(folder.path(), &["status"], "").await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err
            .contains(&format!("no server is running at {} or 127.0.0.1:0", left.trim())),
        "{}",
        said.err
    );
    let program = Program::start_in(&folder, &yaml).await;
    assert_ne!(program.admin.to_string(), left.trim());
    let said = run(folder.path(), &["status"], "").await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// A newcomer whose file was no YAML was not told how else the commands find the server, and `diff` called the file "what was sent".
#[tokio::test]
async fn commands_say_what_to_do_while_the_file_is_no_yaml() {
    let (program, yaml, _mirror) = start().await;
    let alone = async |args: &[&str]| run(program.folder(), args, "").await;
    std::fs::write(program.folder().join("tiers.yaml"), "listen: [").expect("a folder to write to");
    let said = alone(&["account", "list"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in [
        "The running server can't be found",
        "--data-dir DIR",
        "TIERGATE_ADMIN_TOKEN",
    ] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    let said = alone(&["account", "list", "--data-dir", "data"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let wrong = yaml.replace("queue:", "queu:");
    std::fs::write(program.folder().join("wrong.yaml"), wrong).expect("a folder to write to");
    let said = alone(&["diff", "--running", "wrong.yaml", "--data-dir", "data"]).await;
    assert!(said.code == Some(2) && said.err.contains("wrong.yaml:"), "{said:?}");
    assert!(!said.err.contains("what was sent"), "{}", said.err);
}

/// Such an account had the anonymous tier's terms, and no command said why.
#[tokio::test]
async fn an_account_whose_tier_was_removed_is_shown_as_such() {
    let (program, yaml, _mirror) = start().await;
    let add = async |tier: &str| {
        program
            .command(&["account", "add", "--name", "acme", "--tier", tier])
            .await
    };
    let said = add("gold\n").await;
    assert!(
        said.err.contains("there is no tier `gold\\n`; there are free, "),
        "{said:?}"
    );
    assert_eq!(add("$5").await.code, Some(0));
    let show = async |args: &[&str]| program.command(args).await.out;
    assert!(show(&["account", "show", "acme"]).await.contains("tier         $5\n"));

    save(&program, &yaml.replace("\"$5\"", "\"$6\""));
    let said = program.command(&["reload"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let shown = show(&["account", "show", "acme"]).await;
    let line = "tier         $5 (not in tiers.yaml: the anonymous tier applies)\n";
    assert!(shown.contains(line), "{shown}");
    let listed = show(&["account", "list"]).await;
    let row = listed
        .lines()
        .find(|line| line.starts_with("acme"))
        .expect("it is listed");
    assert!(row.contains("no such tier"), "{listed}");
    let shown = json(&show(&["account", "show", "acme", "--json"]).await);
    assert_eq!(shown["tier_exists"], false, "{shown}");

    // A key in the wrong column of an import is not repeated.
    std::fs::write(program.folder().join("new.csv"), "name,tier\nbeta,tg_secret\n").expect("a folder to write to");
    let said = program.command(&["account", "import", "new.csv"]).await;
    assert!(said.err.contains("there is no such tier; there are free, "), "{said:?}");
    assert!(!said.err.contains("tg_secret"), "{said:?}");
}
