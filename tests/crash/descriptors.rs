//! The system has no descriptors left, so connections can't be accepted: they wait, are counted, and are served as soon as there
//! are some.

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::load::yaml;
use crate::support::fast::FastServer;
use crate::support::program::Program;
use crate::support::{Client, soon};

/// Clients, more than the program has descriptors left.
const FLOOD: usize = 100;

/// Lets the program have no more open descriptors than it has now; `None`: as many as this process may.
fn limit_descriptors(program: &Program, current: Option<u64>) {
    let id = Pid::from_raw(program.id() as i32).expect("it runs");
    let own = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: current.or(own.current),
        maximum: own.maximum,
    };
    prlimit(Some(id), Resource::Nofile, limit).expect("the process is ours");
}

fn open_descriptors(program: &Program) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{}/fd", program.id())).expect("it runs");
    open.count() as u64
}

/// Connections that a listener could not accept so far.
async fn failures(monitor: &mut Client, listener: &str) -> f64 {
    let page = monitor.ask("GET", "/metrics", "").await.text();
    let series = format!(r#"tiergate_connections_refused_total{{listener="{listener}",reason="accept_failed"}} "#);
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    value.expect("it is always there").parse().expect("a number")
}

#[tokio::test]
async fn connections_wait_for_want_of_descriptors() {
    let server = FastServer::start();
    let program = Program::start(&yaml(server.address, "")).await;
    // Connections that there are stay as they are.
    let mut monitor = Client::operator(program.admin).await;
    let mut client = Client::connect(program.address).await;
    assert_eq!(client.ask("GET", "/image/x", "").await.status(), 200);
    assert_eq!(failures(&mut monitor, "public").await, 0.0);

    limit_descriptors(&program, Some(open_descriptors(&program)));
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        let mut client = Client::connect(program.address).await;
        client.request("GET", "/me", "connection: close\r\n").await;
        flood.push(client);
    }
    let mut operator = Client::operator(program.admin).await;
    soon("both listeners have tried again and again", async {
        while failures(&mut monitor, "public").await < 5.0 || failures(&mut monitor, "admin").await < 5.0 {
            assert_eq!(client.ask("GET", "/image/x", "").await.status(), 200);
        }
    })
    .await;
    for (words, listener) in [
        ("accepting connections fails", "public"),
        ("accepting connections of operators", "admin"),
    ] {
        let log = program.log();
        let told = log.lines().filter(|line| line.contains(words) && line.contains("WARN"));
        assert_eq!(
            told.count(),
            1,
            "of {listener} once a minute, whatever number of threads: {log}"
        );
    }

    limit_descriptors(&program, None);
    for client in &mut flood {
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(operator.ask("GET", "/healthz", "").await.status(), 200);
    let failed = failures(&mut monitor, "public").await;
    assert_eq!(
        Client::connect(program.address)
            .await
            .ask("GET", "/me", "")
            .await
            .status(),
        200
    );
    assert_eq!(failures(&mut monitor, "public").await, failed, "nothing fails any more");
}
