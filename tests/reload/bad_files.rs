//! A faulty file changes nothing, and the error reaches everyone who could correct it.

use serde_json::Value;

use crate::support::program::Program;
use crate::support::yaml::with_token_file;
use crate::support::{Client, Mirror, Proxy, get, hash, seven_tiers, soon};

/// A valid file, and the same with a mistake in its tiers.
fn files(mirror: &Mirror) -> (String, String) {
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let wrong = yaml.replace(
        "free: { priority: 0, concurrency: 1",
        "free: { priority: 0, concurency: 1",
    );
    assert_ne!(yaml, wrong);
    (yaml, wrong)
}

async fn search(proxy: std::net::SocketAddr, key: &str) -> u16 {
    let mut client = Client::connect(proxy).await;
    client.search(key).await;
    client.answer().await.status()
}

/// Writes the file that the program follows, by renaming another one over it.
pub fn save(program: &Program, yaml: &str) {
    let (file, new) = (program.folder().join("tiers.yaml"), program.folder().join("new"));
    let data = program.folder().join("data");
    std::fs::write(&new, format!("{yaml}\ndata_dir: {}\n", data.display())).expect("a folder to write to");
    std::fs::rename(&new, &file).expect("a folder to write to");
}

/// Waits until the program's metrics have this line.
pub async fn metric(program: &Program, line: &str) {
    soon(line, async {
        while !get(program.admin, "/metrics").await.text().lines().any(|is| is == line) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The line of the program's log that contains this text, once it is there.
pub async fn logged(program: &Program, text: &str) -> String {
    soon(text, async {
        loop {
            if let Some(line) = program.log().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn status(program: &Program) -> (Option<i32>, Value) {
    let said = program.command(&["status", "--json"]).await;
    (
        said.code,
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}")),
    )
}

#[tokio::test]
async fn a_broken_file_is_reported_and_the_old_one_stays_in_force() {
    let mirror = Mirror::start().await;
    let (yaml, wrong) = files(&mirror);
    let program = Program::start(&yaml).await;
    let began = program.command(&["status"]).await;
    assert_eq!(began.code, Some(0), "{began:?}");
    assert!(began.out.contains("last read      started"), "{}", began.out);
    metric(&program, "tiergate_config_last_reload_successful 1").await;
    let succeeded = async || {
        let page = get(program.admin, "/metrics").await.text();
        let name = "tiergate_config_last_success_timestamp_seconds ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the metric").parse::<f64>().expect("a number")
    };
    let at_start = succeeded().await;

    save(&program, &wrong);
    metric(&program, "tiergate_config_last_reload_successful 0").await;
    metric(&program, r#"tiergate_config_reloads_total{result="failed"} 1"#).await;
    assert_eq!(search(program.address, "key-10").await, 200);
    assert!((succeeded().await - at_start).abs() < f64::EPSILON);
    assert_mistake_shown(&program, &wrong).await;

    save(&program, &yaml.replace("length: 8", "length: 9"));
    metric(&program, "tiergate_config_last_reload_successful 1").await;
    metric(&program, r#"tiergate_config_reloads_total{result="applied"} 1"#).await;
    assert!(succeeded().await > at_start);
    let (code, told) = status(&program).await;
    assert_eq!((code, &told["queue"]["seats"]), (Some(0), &9.into()));
    assert!(told["config"]["last"]["wrong"].is_null(), "{told}");
}

/// Checks that `status`, the log and `reload` show what is wrong with this file, and where.
async fn assert_mistake_shown(program: &Program, wrong: &str) {
    let line = 1 + wrong
        .lines()
        .position(|line| line.contains("concurency"))
        .expect("the mistake");
    let message = "unknown field `concurency`; did you mean `concurrency`?";
    let said = program.command(&["status"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains(message), "{}", said.out);
    // Regression: `status` and `reload` gave a line and a column, but neither the file nor the text there.
    let place = format!("/tiers.yaml:{line}:");
    let excerpt = wrong
        .lines()
        .nth(line - 1)
        .expect("the line")
        .split("concurency")
        .next();
    let excerpt = format!("{line} | {}concurency", excerpt.expect("what stands before"));
    for part in [&place, &excerpt] {
        assert!(said.out.contains(part.as_str()), "{part}: {}", said.out);
    }
    let (code, told) = status(program).await;
    assert_eq!(code, Some(1));
    assert_eq!(told["config"]["last"]["result"], "failed");
    assert_eq!(told["config"]["last"]["wrong"]["problems"][0]["line"], line, "{told}");
    let logged = logged(program, "concurency").await;
    assert!(logged.contains(r#""level":"ERROR""#), "{logged}");
    assert!(logged.contains(&format!("tiers.yaml:{line}:")), "{logged}");
    // `reload` reports the same.
    let said = program.command(&["reload"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for part in [message, &place, &excerpt] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
}

#[tokio::test]
async fn a_missing_file_is_reported_and_may_come_back() {
    let mirror = Mirror::start().await;
    let (yaml, _) = files(&mirror);
    let program = Program::start(&yaml).await;
    std::fs::remove_file(program.folder().join("tiers.yaml")).expect("it is there");
    metric(&program, "tiergate_config_last_reload_successful 0").await;
    assert_eq!(search(program.address, "key-10").await, 200);
    logged(&program, "the file can't be read").await;
    save(&program, &yaml);
    metric(&program, "tiergate_config_last_reload_successful 1").await;
    metric(&program, r#"tiergate_config_reloads_total{result="unchanged"} 1"#).await;
}

async fn refused(proxy: &Proxy, yaml: &str) -> Value {
    proxy.save(yaml);
    let answer = proxy.operator("POST", "/reload", "").await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    let shown = proxy.operator("GET", "/config", "").await.json();
    assert_eq!(shown["last"]["result"], "failed");
    answer.json()
}

/// The list of accounts is compared with the stored ones only after the file itself has been found valid.
#[tokio::test]
async fn a_list_that_collides_with_a_stored_account_changes_nothing() {
    let mirror = Mirror::start().await;
    let (yaml, _) = files(&mirror);
    let proxy = Proxy::start_live(&yaml);
    let added = proxy
        .operator("POST", "/accounts", r#"{ "name": "acme", "tier": "$20" }"#)
        .await;
    assert_eq!(added.status(), 201);
    let minted = proxy.operator("POST", "/accounts/acme/keys", "{}").await.json();
    let key = minted["key"].as_str().expect("a key");
    let edited = yaml.replace("length: 8", "length: 9");
    let by_name = edited.replace("name: a100,", "name: acme,");
    let told = refused(&proxy, &by_name).await.to_string();
    assert!(told.contains("acme"), "{told}");
    let by_key = edited.replace(&hash("key-100"), &hash(key));
    let told = refused(&proxy, &by_key).await.to_string();
    assert!(!told.contains(key) && !told.contains(&hash(key)), "{told}");
    // No part of the edit was applied: neither the queue length nor the other accounts.
    assert_eq!(proxy.queue().await["seats"], 8);
    for (key, status) in [(key, 200), ("key-100", 200), ("key-10", 200)] {
        assert_eq!(search(proxy.address, key).await, status);
    }
    proxy.save(&edited);
    assert_eq!(proxy.operator("POST", "/reload", "").await.status(), 200);
    assert_eq!(proxy.queue().await["seats"], 9);
}

#[tokio::test]
async fn a_missing_or_short_token_changes_nothing() {
    let mirror = Mirror::start().await;
    let (yaml, _) = files(&mirror);
    let proxy = Proxy::start_live(&yaml);
    let file = proxy.folder().join("other.token");
    let named = with_token_file(&yaml, &file).replace("length: 8", "length: 9");
    for token in [None, Some("short")] {
        if let Some(token) = token {
            std::fs::write(&file, token).expect("a folder to write to");
        }
        let told = refused(&proxy, &named).await.to_string();
        assert!(!told.contains("short\""), "{told}");
        assert_eq!(proxy.queue().await["seats"], 8);
    }
}

#[tokio::test]
async fn secrets_are_never_shown() {
    const SECRET: &str = "a-secret-token-of-more-than-32-characters";
    let mirror = Mirror::start().await;
    let (yaml, _) = files(&mirror);
    let program = Program::start(&yaml).await;
    std::fs::write(program.folder().join("secret"), SECRET).expect("a folder to write to");
    let named = with_token_file(&yaml, &program.folder().join("secret"));
    std::fs::write(program.folder().join("named.yaml"), &named).expect("a folder to write to");
    // A key in the place of its hash, and a token in the place of its file, are mistakes that must not be repeated.
    let spilt = named
        .replace(&hash("key-100"), SECRET)
        .replace("token_file: /", &format!("token: {SECRET}, token_file: /"));
    std::fs::write(program.folder().join("spilt.yaml"), &spilt).expect("a folder to write to");
    let mut told = Vec::new();
    for file in ["named.yaml", "spilt.yaml"] {
        let args = ["diff", "--running", file, "--config", "tiers.yaml"];
        told.push(program.command(&args).await);
    }
    assert_eq!([told[0].code, told[1].code], [Some(0), Some(2)], "{told:?}");
    save(&program, &spilt);
    metric(&program, "tiergate_config_last_reload_successful 0").await;
    save(&program, &named);
    metric(&program, "tiergate_config_last_reload_successful 1").await;
    for args in [&["status"][..], &["status", "--json"]] {
        told.push(program.command(args).await);
    }
    let mut client = Client::operator(program.admin).await;
    let headers = format!("authorization: Bearer {SECRET}\r\n");
    let config = client.ask("GET", "/config", &headers).await;
    assert_eq!(config.status(), 200);
    let text = config.text();
    assert!(!text.contains(SECRET) && !text.contains(&hash("key-100")), "{text}");
    for said in &told {
        assert!(!format!("{said:?}").contains(SECRET), "{said:?}");
    }
    let log = program.log();
    assert!(!log.contains(SECRET) && !log.contains(&hash("key-100")), "{log}");
}
