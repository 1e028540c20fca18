//! No key in plain text anywhere: in the data folder, logs, pages, errors.

use std::path::Path;

use crate::support::program::Program;
use crate::support::{Client, Mirror, get, seven_tiers};

/// The bytes of all files below that folder.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            bytes.extend(bytes_below(&path));
        } else {
            bytes.extend(std::fs::read(path).expect("a file"));
        }
    }
    bytes
}

/// What clients with these keys are answered, wherever they send them.
async fn answers_to_clients(proxy: &Program, keys: [&String; 4]) -> String {
    let mut seen = String::new();
    for key in keys {
        let mut client = Client::connect(proxy.address).await;
        for (path, header) in [
            ("/me".to_owned(), format!("x-api-key: {key}\r\n")),
            (format!("/search?key={key}"), String::new()),
            (format!("/nothing?key={key}"), String::new()),
            (
                "/search".to_owned(),
                format!("authorization: Bearer {key}\r\nx-api-key: other\r\n"),
            ),
        ] {
            let answer = client.ask("GET", &path, &header).await;
            seen.push_str(&answer.text());
        }
    }
    seen
}

/// What the operator is answered, also with a key where its id belongs.
async fn answers_to_the_operator(proxy: &Program, token: &str, key: &str) -> String {
    let mut seen = String::new();
    let mut operator = Client::operator(proxy.admin).await;
    let shown = format!("authorization: Bearer {token}\r\n");
    for path in ["/queue", "/accounts", "/accounts/acme/keys"] {
        seen.push_str(&operator.ask("GET", path, &shown).await.text());
    }
    seen.push_str(&operator.ask("DELETE", &format!("/keys/{key}"), &shown).await.text());
    seen
}

/// No key is in what was answered and logged, or in the data folder.
fn assert_nowhere(keys: [&String; 5], seen: &str, data: &[u8]) {
    assert!(
        data.windows(4).any(|four| four == b"acme"),
        "this is where accounts lie"
    );
    for key in keys {
        // Half a key would be too much, too.
        let part = &key[key.len() / 2..];
        assert!(!seen.contains(part), "{part} in {seen}");
        assert!(
            !data.windows(part.len()).any(|window| window == part.as_bytes()),
            "{part} in the data folder"
        );
    }
}

#[tokio::test]
async fn keys_appear_only_where_they_were_issued() {
    let mirror = Mirror::start().await;
    let proxy = Program::start_showing(&seven_tiers(8, &[(mirror.address, 2)], ""), "trace").await;
    let mut said = String::new();
    let mut run = async |args: &[&str], input: &str| {
        let answer = proxy.command_with(args, input).await;
        said.push_str(&answer.err);
        said.push_str(&answer.out);
        answer
    };
    run(&["account", "add", "--name", "acme", "--tier", "$20"], "").await;
    // The output that issues a key shows it once; all other output is collected.
    let made = proxy
        .command(&["key", "add", "acme", "--label", "bot"])
        .await
        .out
        .trim()
        .to_owned();
    let rotated = proxy.command(&["key", "rotate", &made]).await.out.trim().to_owned();
    let imported = "a-key-from-elsewhere-0815".to_owned();
    let taken = "another-key-from-elsewhere-4711".to_owned();
    let csv = format!("name,tier,key\nbeta,$5,{imported}\n");
    run(&["account", "import", "-"], &csv).await;
    let wrong = format!("name,tier,key\ngamma,$5,{imported}\n{taken},$5,x\ndelta,{taken},y\n,$5,{taken}\n{taken}\n");
    assert_eq!(run(&["account", "import", "-"], &wrong).await.code, Some(1));
    let wrong = format!("{{\"name\":\"gamma\",\"tier\":\"$5\",\"{taken}\":1}}\n{{\"name\":\"{taken}\n");
    assert_eq!(run(&["account", "import", "-"], &wrong).await.code, Some(1));
    assert_eq!(
        run(&["account", "set", "acme", "--note", &rotated], "").await.code,
        Some(1)
    );
    let label = ["key", "add", "acme", "--label", rotated.as_str()];
    assert_eq!(run(&label, "").await.code, Some(1));
    for args in [
        &["account", "list", "--json"][..],
        &["account", "show", "acme"],
        &["account", "export"],
        &["key", "list", "acme"],
        &["key", "list", "beta", "--json"],
    ] {
        assert_eq!(run(args, "").await.code, Some(0), "{args:?}");
    }
    let mut slip = made.clone().into_bytes();
    slip.swap(10, 20);
    let slip = String::from_utf8(slip).expect("still text");
    let keys = [&made, &rotated, &imported, &slip];
    let mut seen = said;
    seen.push_str(&answers_to_clients(&proxy, keys).await);
    let token = std::fs::read_to_string(proxy.folder().join("data/admin.token")).expect("a token");
    seen.push_str(&answers_to_the_operator(&proxy, token.trim(), &rotated).await);
    seen.push_str(&get(proxy.admin, "/metrics").await.text());
    seen.push_str(&proxy.log());
    assert!(proxy.log().contains("\"level\":\"DEBUG\""), "the log shows what it can");
    assert_nowhere(
        [&made, &rotated, &imported, &taken, &slip],
        &seen,
        &bytes_below(&proxy.folder().join("data")),
    );
    let token = token.trim();
    assert!(
        !seen.contains(token) && !proxy.log().contains(token),
        "nor is the token"
    );
}
