//! `tiergate pause`, `resume`, `admission`, `server` and `job`.

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::program::{Program, Said, run};
use crate::support::yaml::with_admin;
use crate::support::{Client, Mirror, UpstreamServer, seven_tiers, soon};

async fn start(servers: &[(SocketAddr, u32)]) -> Program {
    Program::start(&seven_tiers(8, servers, "")).await
}

#[track_caller]
fn good(said: Said) -> String {
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    said.out
}

async fn told(program: &Program, args: &[&str]) -> String {
    good(program.command(args).await)
}

#[tokio::test]
async fn dispatch_is_paused_and_admission_stopped_by_command() {
    let mirror = Mirror::start().await;
    let program = start(&[(mirror.address, 1)]).await;
    for (args, said) in [
        (
            &["pause"][..],
            "dispatch is paused: no queued search gets a slot until `tiergate resume`\n",
        ),
        (&["pause"], "dispatch was paused already\n"),
        (&["resume"], "dispatch goes on\n"),
        (&["resume"], "dispatch was not paused\n"),
        (
            &["admission", "stop"],
            "admission is stopped: new searches are refused until `tiergate admission start`\n",
        ),
        (&["admission", "start"], "new searches are taken again\n"),
        (&["admission", "start"], "admission was not stopped\n"),
    ] {
        assert_eq!(told(&program, args).await, said, "{args:?}");
    }
    let json: Value = serde_json::from_str(&told(&program, &["pause", "--json"]).await).expect("JSON");
    assert_eq!((&json["paused"], &json["recorded"]), (&true.into(), &true.into()));
    let log = good(run(program.folder(), &["audit"], "").await);
    for action in ["dispatch_pause", "dispatch_resume", "admission_stop", "admission_start"] {
        assert!(log.contains(action), "{action}: {log}");
    }
}

#[tokio::test]
async fn servers_are_listed_drained_and_taken_back() {
    let mirror = Mirror::start().await;
    let program = start(&[(mirror.address, 2)]).await;
    let server = mirror.address.to_string();
    let list = told(&program, &["server", "list"]).await;
    let cells: Vec<&str> = list.lines().nth(1).expect("a server").split_whitespace().collect();
    assert_eq!(cells, ["search", &server, "0", "of", "2", "-", "up"], "{list}");
    let drained = told(&program, &["server", "drain", &server]).await;
    assert_eq!(
        drained,
        format!("{server} of search is drained: 0 searches still run there, and no more will begin\n")
    );
    let again = told(&program, &["server", "drain", &server, "--upstream", "search"]).await;
    assert_eq!(again, format!("{server} of search was drained already\n"));
    let list: Value = serde_json::from_str(&told(&program, &["server", "list", "--json"]).await).expect("JSON");
    assert_eq!(list["servers"][0]["drained"], true);
    let back = told(&program, &["server", "undrain", &server]).await;
    assert_eq!(back, format!("{server} of search is taken back\n"));
    let unknown = program.command(&["server", "drain", "192.0.2.1:1"]).await;
    assert_eq!(
        (unknown.code, unknown.err),
        (
            Some(1),
            format!("error: there is no upstream server 192.0.2.1:1; there are {server}\n")
        )
    );
}

#[tokio::test]
async fn a_waiting_job_is_cancelled_by_command() {
    let server = UpstreamServer::start().await;
    let program = start(&[(server.address, 1)]).await;
    told(&program, &["pause"]).await;
    let mut waiting = Client::connect(program.address).await;
    waiting.search("key-5").await;
    let jobs = soon("a job waits", async {
        loop {
            let jobs = told(&program, &["job", "list"]).await;
            if jobs.lines().count() > 1 {
                return jobs;
            }
        }
    })
    .await;
    let cells: Vec<&str> = jobs.lines().nth(1).expect("a job").split_whitespace().collect();
    assert_eq!(cells[..6], ["0-0", "waiting", "a5", "$5", "2", "search"], "{jobs}");
    let cancelled = told(&program, &["job", "cancel", "0-0"]).await;
    assert!(
        cancelled.starts_with("cancelled 0-0: a5 (tier $5), after "),
        "{cancelled}"
    );
    waiting.answer().await.assert_refused(503, "cancelled_by_operator");
    let gone = program.command(&["job", "cancel", "0-0", "--json"]).await;
    let json: Value = serde_json::from_str(&gone.err).expect("JSON");
    assert_eq!((gone.code, &json["reason"]), (Some(1), &"unknown_job".into()));
    // It is written within a second.
    soon("the record is written", async {
        let jobs = ["jobs", "--outcome", "cancelled_by_operator"];
        while !good(run(program.folder(), &jobs, "").await).contains("a5") {}
    })
    .await;
}

/// Commands may connect to an address under which the admin API doesn't answer web pages; and that listener is warned of.
#[tokio::test]
async fn commands_reach_a_server_at_any_address() {
    let mirror = Mirror::start().await;
    let yaml = with_admin(&seven_tiers(8, &[(mirror.address, 1)], ""), "listen: 0.0.0.0:0");
    let program = Program::start(&yaml).await;
    assert_eq!(program.admin.ip().to_string(), "0.0.0.0");
    assert!(told(&program, &["server", "list"]).await.contains("search"));
    let warning = "admin listener is not on a loopback address";
    soon("the log warns of it", async {
        while !program.log().contains(warning) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
