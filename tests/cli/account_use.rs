//! `tiergate account show` and `account list`: what accounts have used.

use serde_json::{Value, json};

use crate::accounts::{done, json_of, wrong};
use crate::support::program::Program;
use crate::support::{Arrived, Client, UpstreamServer, seven_tiers, soon};

/// Regression: an account's usage could not be looked up.
#[tokio::test]
async fn account_show_and_list_include_usage_and_jobs() {
    let server = UpstreamServer::start().await;
    let proxy = Program::start(&seven_tiers(8, &[(server.address, 1)], "")).await;
    let unused = json_of(&proxy, &["account", "show", "a100"]).await;
    assert_eq!((&unused["last_used"], &unused["jobs"]), (&Value::Null, &json!([])));
    let search = async |key: &str| {
        let mut client = Client::connect(proxy.address).await;
        client.search(key).await;
        client
    };
    // So that each search has a connection of its own.
    let answer = async |mut held: Arrived| held.answer_with("200 OK", "connection: close\r\n", "found").await;
    let mut first = search("key-100").await;
    answer(server.request().await).await;
    assert_eq!(first.answer().await.status(), 200);
    let mut running = search("key-100").await;
    let held = server.request().await;
    let mut waiting = search("key-100").await;
    let shown = soon("one waits", async {
        loop {
            let shown = json_of(&proxy, &["account", "show", "a100"]).await;
            if shown["jobs"].as_array().is_some_and(|jobs| jobs.len() == 2) {
                return shown;
            }
        }
    })
    .await;
    let usage = &shown["usage"][0];
    assert_eq!(
        ["used", "held", "limit", "remaining"].map(|name| usage[name].as_u64()),
        [Some(1), Some(2), Some(10_000), Some(9_997)]
    );
    assert!(
        usage["next_free"].is_string() && shown["last_used"].is_string(),
        "{shown}"
    );
    let states = [0, 1].map(|place| shown["jobs"][place]["state"].clone());
    assert!(
        states.contains(&json!("running")) && states.contains(&json!("waiting")),
        "{shown}"
    );
    let text = done(&proxy, &["account", "show", "a100"]).await;
    assert!(
        text.contains("\nQuotas:\nQUOTA") && text.contains("\nJobs:\nSTATE"),
        "{text}"
    );

    answer(held).await;
    answer(server.request().await).await;
    assert_eq!(
        (running.answer().await.status(), waiting.answer().await.status()),
        (200, 200)
    );
    let mut other = search("key-20").await;
    answer(server.request().await).await;
    assert_eq!(other.answer().await.status(), 200);
    assert_the_list_is_sorted_and_filtered(&proxy).await;
}

/// After three searches of `a100` and one of `a20`.
async fn assert_the_list_is_sorted_and_filtered(proxy: &Program) {
    let names = async |args: &[&str]| -> Vec<(String, u64)> {
        let list = json_of(proxy, &[&["account", "list"], args].concat()).await;
        let line = |line: &Value| {
            let name = line["name"].as_str().expect("a name").to_owned();
            (name, line["used_30d"].as_u64().expect("a number"))
        };
        list["accounts"].as_array().expect("a list").iter().map(line).collect()
    };
    let named = |all: &[(&str, u64)]| -> Vec<(String, u64)> {
        all.iter().map(|(name, used)| ((*name).to_owned(), *used)).collect()
    };
    assert_eq!(
        names(&["--sort", "used", "--limit", "2"]).await,
        named(&[("a100", 3), ("a20", 1)])
    );
    assert_eq!(names(&["--tier", "$20"]).await, named(&[("a20", 1)]));
    assert_eq!(names(&["--search", "A10"]).await, named(&[("a10", 0), ("a100", 3)]));
    assert_eq!(names(&["--search", "A10", "--limit", "1"]).await, named(&[("a10", 0)]));
    assert_eq!(names(&["--search", "nobody"]).await, []);
    let said = wrong(proxy, &["account", "list", "--sort", "used", "--limit", "0"]).await;
    assert!(said.contains("1 to 1000"), "{said}");
}
