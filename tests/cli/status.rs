//! `tiergate status` and `tiergate top`: the server at a glance, and the exit code when something is wrong.

use std::net::SocketAddr;

use serde_json::Value;
use tiergate::policy::time::{Span, UnixTime};

use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run, run_in_environment};
use crate::support::{Arrived, Client, Mirror, Proxy, UpstreamServer, seven_tiers, soon};

/// 2027-01-15T08:00:00Z.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A proxy in this process, and its tiers.yaml beside its data.
fn proxy(server: SocketAddr) -> Proxy {
    let yaml = seven_tiers(8, &[(server, 2)], "");
    let (proxy, _) = Proxy::start_at(NOW, &yaml);
    let file = proxy.folder().join("tiers.yaml");
    std::fs::write(file, format!("{yaml}\ndata_dir: .\n")).expect("a file");
    proxy
}

async fn command(proxy: &Proxy, args: &[&str]) -> Said {
    let admin = proxy.admin.to_string();
    let all = [args, &["--admin", &admin]].concat();
    run(proxy.folder(), &all, "").await
}

/// The status in both forms, which must agree on the exit code.
async fn status(proxy: &Proxy, code: i32) -> (String, Value) {
    let text = command(proxy, &["status"]).await;
    let json = command(proxy, &["status", "--json"]).await;
    assert_eq!((text.code, json.code), (Some(code), Some(code)), "{text:?} {json:?}");
    (text.out, serde_json::from_str(&json.out).expect("JSON"))
}

/// The reasons of all problems.
fn reasons(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().expect("a list");
    problems
        .iter()
        .filter_map(|problem| problem["reason"].as_str())
        .collect()
}

/// A search that arrived with that key, and its client, who waits.
async fn search(address: SocketAddr, key: &str) -> Client {
    let mut client = Client::connect(address).await;
    client.search(key).await;
    client
}

async fn answer(mut held: Arrived) {
    held.answer_with("200 OK", "connection: close\r\n", "found").await;
}

#[tokio::test]
async fn status_shows_a_healthy_server_at_a_glance() {
    let server = UpstreamServer::start().await;
    let program = Program::start(&seven_tiers(8, &[(server.address, 1)], "")).await;
    let _running = search(program.address, "key-5").await;
    let _held = server.request().await;
    let _waiting = search(program.address, "key-100").await;
    let said = soon("one waits", async {
        loop {
            let said = program.command(&["status"]).await;
            if said.out.contains("[6]") {
                return said;
            }
        }
    })
    .await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let address = server.address;
    for part in [
        &format!("tiergate {}, up ", env!("CARGO_PKG_VERSION")),
        ": all is well\n",
        "queue          [6][ ][ ][ ][ ][ ][ ][ ]\n               1 of 8 places taken, the oldest for ",
        &format!("search    {address}  up     ■      1 of 1 busy\n"),
        "\n$100  6         1        0        0\n",
        "\n$5    2         0        1        0\n",
        "database       can be written\n",
        "/tiers.yaml, in force since ",
        "last read      started at ",
    ] {
        assert!(said.out.contains(part), "{part:?} is not in {}", said.out);
    }
    assert!(!said.out.contains('\x1b'), "no colours beside a terminal: {}", said.out);
    let answer = program.command(&["status", "--json"]).await;
    let answer: Value = serde_json::from_str(&answer.out).expect("JSON");
    assert_eq!(answer["queue"]["by_priority"][6], 1, "{answer}");
    assert_eq!(answer["upstreams"][0]["servers"][0]["running"], 1, "{answer}");
    assert_eq!(answer["problems"], serde_json::json!([]));
}

#[tokio::test]
async fn status_exits_1_while_a_server_is_down() {
    let gone = UpstreamServer::start().await.address;
    let proxy = proxy(gone);
    assert_eq!(reasons(&status(&proxy, 0).await.1), Vec::<&str>::new());
    assert_eq!(search(proxy.address, "key-100").await.answer().await.status(), 502);
    let (text, json) = status(&proxy, 1).await;
    assert_eq!(reasons(&json), ["server_down", "no_server"], "{json}");
    for part in [
        ": 2 problems\n",
        &format!("  ! server {gone} of upstream search is down: "),
        &format!("search    {gone}  down   ╳╳     0 of 2 busy\n"),
        "REFUSED IN THE LAST MINUTE\n",
        "\n$100  6         0        0        1\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // Someone listens there again.
    let _server = UpstreamServer::at(gone).await;
    soon("it is up", async {
        while command(&proxy, &["status"]).await.code != Some(0) {}
    })
    .await;
}

#[tokio::test]
async fn status_exits_1_while_an_operator_holds_traffic_back() {
    let mirror = Mirror::start().await;
    let proxy = proxy(mirror.address);
    for (begin, end, reason, words) in [
        ("/dispatch/pause", "/dispatch/resume", "paused", "dispatch is paused"),
        (
            "/admission/stop",
            "/admission/start",
            "admission_stopped",
            "admission is stopped",
        ),
    ] {
        proxy.told(200, format!("POST {begin}"), "").await;
        let (text, json) = status(&proxy, 1).await;
        assert_eq!(reasons(&json), [reason]);
        assert!(text.contains(": 1 problem\n") && text.contains(words), "{text}");
        proxy.told(200, format!("POST {end}"), "").await;
        let (text, json) = status(&proxy, 0).await;
        assert!(reasons(&json).is_empty() && text.contains(": all is well\n"), "{text}");
    }
}

#[tokio::test]
async fn status_exits_1_after_an_invalid_edit() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let program = Program::start(&yaml).await;
    let save = |yaml: &str| {
        let data = program.folder().join("data");
        let file = program.folder().join("tiers.yaml");
        std::fs::write(file, format!("{yaml}\ndata_dir: {}\n", data.display())).expect("a file");
    };
    save(&yaml.replace("queue:", "queu:"));
    let state = ["--data-dir", "data"];
    let reload = program.command(&[&["reload"][..], &state].concat()).await;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    let said = program.command(&[&["status"][..], &state].concat()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in [
        "  ! the configuration file last read is invalid",
        "last read      failed at ",
        "The file is invalid; the previous configuration stays in force:",
        "unknown field `queu`",
    ] {
        assert!(said.out.contains(part), "{part:?} is not in {}", said.out);
    }
    save(&yaml);
    let reload = program.command(&["reload"]).await;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert_eq!(program.command(&["status"]).await.code, Some(0));
}

/// The database is gone: no search could be debited.
#[tokio::test]
async fn status_exits_1_while_the_database_fails() {
    let mirror = Mirror::start().await;
    let program = Program::start(&seven_tiers(8, &[(mirror.address, 2)], "")).await;
    let file = program.folder().join("data").join(tiergate::store::DATABASE_FILE);
    std::fs::rename(&file, file.with_extension("away")).expect("it is there");
    let said = soon("it is noticed", async {
        loop {
            let said = program.command(&["status"]).await;
            if said.code != Some(0) {
                return said;
            }
        }
    })
    .await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("  ! the database can't be written"), "{}", said.out);
    assert!(said.out.contains("database       can't be written\n"), "{}", said.out);
}

#[tokio::test]
async fn colours_add_nothing_to_the_text_and_can_be_forced() {
    let mirror = Mirror::start().await;
    let proxy = proxy(mirror.address);
    proxy.told(200, "POST /dispatch/pause", "").await;
    let _waiting = search(proxy.address, "key-100").await;
    proxy.jobs_until(1, 0).await;
    let admin = proxy.admin.to_string();
    let args = ["status", "--admin", &admin];
    let variable = |name: &str| vec![(name.to_owned(), "1".to_owned())];
    let forced = run_in_environment(proxy.folder(), &args, "", &variable("CLICOLOR_FORCE")).await;
    assert!(forced.out.contains("\x1b[48;5;53;38;5;231m[6]\x1b[0m"), "{forced:?}");
    let plain = run_in_environment(proxy.folder(), &args, "", &variable("NO_COLOR")).await;
    assert!(!plain.out.contains('\x1b') && plain.out.contains("[6][ ]"), "{plain:?}");
    let mut bare = forced.out.clone();
    while let Some(start) = bare.find('\x1b') {
        let end = bare[start..].find('m').expect("the end of a sequence") + start;
        bare.replace_range(start..=end, "");
    }
    // The two uptimes and ages differ.
    let is_length = |word: &&str| word.trim_end_matches(':').ends_with('s');
    let words = |text: &str| -> Vec<String> {
        let words = text.split_whitespace().filter(|word| !is_length(word));
        words.map(str::to_owned).collect()
    };
    assert_eq!(words(&bare), words(&plain.out));
}

#[tokio::test]
async fn top_needs_a_terminal_and_says_so() {
    let said = run(Folder::new().path(), &["top"], "").await;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    let expected = "error: `tiergate top` needs a terminal: standard output is not a terminal; for a snapshot use `tiergate \
                    status` or `tiergate top --json`\n";
    assert_eq!(said.err, expected);
}

#[tokio::test]
async fn top_json_is_the_status_and_the_callers() {
    let server = UpstreamServer::start().await;
    let yaml = seven_tiers(8, &[(server.address, 1)], "");
    let program = Program::start(&yaml).await;
    let mut first = search(program.address, "key-100").await;
    answer(server.request().await).await;
    assert_eq!(first.answer().await.status(), 200);
    let _running = search(program.address, "key-100").await;
    let _held = server.request().await;
    let _stranger = search(program.address, "").await;
    let top = soon("one waits", async {
        loop {
            let said = program.command(&["top", "--json"]).await;
            assert_eq!(said.code, Some(0), "{said:?}");
            let top: Value = serde_json::from_str(&said.out).expect("JSON");
            if top["queue"]["waiting"] == 1 {
                return top;
            }
        }
    })
    .await;
    let facts = |line: &Value| {
        ["caller", "tier", "waiting", "running", "units", "jobs", "refused"]
            .map(|name| line[name].to_string())
            .join(" ")
    };
    let callers = top["callers"]["callers"].as_array().expect("a list");
    let callers: Vec<String> = callers.iter().map(facts).collect();
    assert_eq!(
        callers,
        [r#""a100" "$100" 0 1 1 1 0"#, r#""127.0.0.1" "free" 1 0 0 0 0"#],
        "{top}"
    );
    assert_eq!(top["callers"]["callers_total"], 1);
    assert_eq!(top["problems"], serde_json::json!([]));
}

/// However many operators watch, use is read from the database once in 5 seconds. Jobs in flight are not that old.
#[tokio::test]
async fn the_use_of_callers_is_read_every_5_seconds() {
    let server = UpstreamServer::start().await;
    let (proxy, hands) = Proxy::start_at(NOW, &seven_tiers(8, &[(server.address, 1)], ""));
    let list = async || proxy.told(200, "GET /callers", "").await;
    assert_eq!(list().await["callers"], serde_json::json!([]));
    let mut client = search(proxy.address, "key-5").await;
    let held = server.request().await;
    assert_eq!(list().await["callers"][0]["running"], 1);
    answer(held).await;
    assert_eq!(client.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
    assert_eq!(
        list().await["callers"],
        serde_json::json!([]),
        "the report is not 5 seconds old"
    );
    hands.advance(Span::from_secs(5));
    let after = list().await;
    assert_eq!(
        (&after["callers"][0]["caller"], &after["callers"][0]["units"]),
        (&"a5".into(), &1.into()),
        "{after}"
    );
}
