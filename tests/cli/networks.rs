//! `tiergate network`, `tiergate block` and `tiergate unblock`; and numbers for request limits, of accounts too.

use std::sync::Arc;

use serde_json::{Value, json};
use tiergate::policy::time::UnixTime;

use crate::support::folder::Folder;
use crate::support::program::{Program, Said, run};
use crate::support::{Mirror, Proxy, limited, seven_tiers};

/// 2027-01-15T08:00:00Z.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A proxy with request limits and a blocked network, and its tiers.yaml beside its data.
async fn limited_proxy(mirror: &Mirror) -> Proxy {
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let (proxy, _) = Proxy::start_changed(NOW, &yaml, limited);
    let file = proxy.folder().join("tiers.yaml");
    std::fs::write(file, format!("{yaml}\ndata_dir: .\n")).expect("a file");
    proxy
}

/// Runs a command against it.
async fn command(proxy: &Proxy, args: &[&str]) -> Said {
    let admin = proxy.admin.to_string();
    let mut all = args.to_vec();
    all.extend(["--admin", &admin]);
    run(proxy.folder(), &all, "").await
}

#[track_caller]
fn good(said: Said) -> String {
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

async fn json_of(proxy: &Proxy, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let out = good(command(proxy, &all).await);
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("not JSON: {out}"))
}

/// The error of a command that must fail, without `error: `.
#[track_caller]
fn wrong(said: Said) -> String {
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    said.err.strip_prefix("error: ").unwrap_or(&said.err).to_owned()
}

/// A table's lines, with single spaces.
fn lines(table: &str) -> Vec<String> {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    table.lines().map(line).collect()
}

#[tokio::test]
async fn a_networks_own_limit_is_set_and_removed() {
    let mirror = Mirror::start().await;
    let proxy = limited_proxy(&mirror).await;
    let set = [
        "network",
        "set",
        "192.0.2.7",
        "--limit",
        "http=300",
        "--limit",
        "hourly=0",
    ];
    let said = good(command(&proxy, &[&set[..], &["--note", "a school"]].concat()).await);
    assert!(
        said.starts_with(
            "changed:\n  network      192.0.2.7/32\n  limits       hourly=0 http=300\n  note         a school\n"
        ),
        "{said}"
    );
    assert!(said.contains("\n  blocked      no\n"), "{said}");
    let shown = json_of(&proxy, &["network", "show", "192.0.2.7"]).await;
    assert_eq!(shown["limits"], json!({ "http": 300, "hourly": 0 }));
    let shown = good(command(&proxy, &["network", "show", "::ffff:192.0.2.7"]).await);
    assert!(shown.starts_with("  network      192.0.2.7/32\n"), "{shown}");
    let changed = json_of(
        &proxy,
        &["network", "set", "192.0.2.7", "--limit", "hourly=", "--note", ""],
    )
    .await;
    assert_eq!(
        (&changed["limits"], &changed["note"]),
        (&json!({ "http": 300 }), &Value::Null)
    );
    good(command(&proxy, &["network", "set", "2001:db8::/32", "--note", "two\nlines"]).await);
    let list = good(command(&proxy, &["network", "list"]).await);
    let expected = [
        "NETWORK LIMITS STATE UNTIL NOTE",
        "192.0.2.7/32 http=300 - - -",
        "203.0.113.0/24 - blocked in tiers.yaml - -",
        "2001:db8::/32 - - - two lines",
    ];
    assert_eq!(lines(&list), expected);
    let list = json_of(&proxy, &["network", "list"]).await;
    assert_eq!(list["networks"].as_array().map(Vec::len), Some(3));
    let removed = good(command(&proxy, &["network", "remove", "192.0.2.7"]).await);
    assert!(
        removed.starts_with("removed:\n  network      192.0.2.7/32\n"),
        "{removed}"
    );
    assert_eq!(
        wrong(command(&proxy, &["network", "show", "192.0.2.7"]).await),
        "there is no entry for that network\n"
    );
}

#[tokio::test]
async fn a_network_is_blocked_listed_and_unblocked() {
    let mirror = Mirror::start().await;
    let proxy = limited_proxy(&mirror).await;
    let said = good(command(&proxy, &["block", "192.0.2.0/24", "--for", "1d", "--why", "scrapes"]).await);
    assert!(said.starts_with("blocked:\n  network      192.0.2.0/24\n"), "{said}");
    assert!(said.contains("\n  blocked      yes\n"), "{said}");
    assert!(
        said.ends_with("  why          scrapes\n  by rule      -\n  blocked by   192.0.2.0/24 (stored)\n"),
        "{said}"
    );
    good(command(&proxy, &["block", "192.0.2.7", "--until", "2027-02-01"]).await);
    let forever = json_of(&proxy, &["block", "2001:db8::1"]).await;
    assert_eq!(
        (&forever["network"], &forever["block"]["until"]),
        (&json!("2001:db8::/64"), &Value::Null)
    );
    let blocks = json_of(&proxy, &["block", "list"]).await;
    let fields = |block: &Value| ["network", "until", "why", "origin"].map(|field| block[field].clone());
    let blocks: Vec<_> = blocks["blocks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(fields)
        .collect();
    let day = &blocks[0][1];
    assert!(
        day.as_str().is_some_and(|day| day.starts_with("2027-01-16T08:00:")),
        "{day}"
    );
    let expected = [
        [json!("192.0.2.0/24"), day.clone(), json!("scrapes"), json!("stored")],
        [
            json!("192.0.2.7/32"),
            json!("2027-02-01T00:00:00Z"),
            Value::Null,
            json!("stored"),
        ],
        [json!("203.0.113.0/24"), Value::Null, Value::Null, json!("listed")],
        [json!("2001:db8::/64"), Value::Null, Value::Null, json!("stored")],
    ];
    assert_eq!(blocks, expected);
    let table = lines(&good(command(&proxy, &["block", "list"]).await));
    assert_eq!(table[0], "NETWORK SINCE UNTIL ORIGIN WHY");
    assert_eq!(table[3], "203.0.113.0/24 - - listed -");
    assert_unblocking_names_what_still_blocks(&proxy).await;
}

/// After the blocks of the test above.
async fn assert_unblocking_names_what_still_blocks(proxy: &Proxy) {
    // A network within a wider block stays blocked, and the command fails.
    let still = wrong(command(proxy, &["unblock", "192.0.2.7"]).await);
    assert!(
        still.contains("192.0.2.7/32 is still blocked, as part of 192.0.2.0/24 (stored)"),
        "{still}"
    );
    let said = good(command(proxy, &["unblock", "192.0.2.0/24"]).await);
    assert!(said.starts_with("unblocked:\n  network      192.0.2.0/24\n"), "{said}");
    let table = lines(&good(command(proxy, &["block", "list"]).await));
    assert_eq!(table.len(), 3, "both are unblocked: {table:?}");

    let listed = wrong(command(proxy, &["unblock", "203.0.113.0/24"]).await);
    assert!(listed.contains("take it out of `blocked_networks`"), "{listed}");
    let inside = command(proxy, &["unblock", "203.0.113.9", "--json"]).await;
    let inside: Value = serde_json::from_str(&wrong(inside)).expect("JSON");
    assert_eq!(inside["reason"], "still_blocked");
    let error = inside["error"].as_str().expect("words");
    assert!(
        error.contains("203.0.113.0/24 (listed)") && error.contains("tiers.yaml"),
        "{error}"
    );
    // A listed network may be blocked by command, too; that block outlives the one in tiers.yaml.
    good(command(proxy, &["block", "203.0.113.0/24"]).await);
    let table = lines(&good(command(proxy, &["block", "list"]).await));
    let origins = table.iter().filter(|line| line.starts_with("203.0.113.0/24"));
    assert_eq!(origins.count(), 2, "{table:?}");
}

#[tokio::test]
async fn network_errors_say_what_to_write() {
    let mirror = Mirror::start().await;
    let proxy = limited_proxy(&mirror).await;
    for args in [
        &["network", "set", "example.com", "--note", "x"][..],
        &["network", "show", "10/8"],
        &["network", "remove", ""],
        &["block", "192.0.2.0/33"],
        &["unblock", "everybody"],
    ] {
        let said = wrong(command(&proxy, args).await);
        assert!(said.contains("write an address such as 192.0.2.7"), "{args:?}: {said}");
    }
    for (args, words) in [
        (&["network", "set", "192.0.2.1"][..], "nothing to change"),
        (
            &["network", "set", "192.0.2.1", "--limit", "htpp=1"],
            "only http, hourly",
        ),
        (
            &["network", "set", "192.0.2.1", "--limit", "total=1"],
            "counts everybody together",
        ),
        (
            &["network", "remove", "203.0.113.0/24"],
            "take it out of `blocked_networks`",
        ),
        (&["block", "192.0.2.1", "--for", "soon"], "such as 90d"),
        (&["block", "192.0.2.1", "--for", "1x"], "such as 90d, 12h or 30m"),
        (&["block", "192.0.2.1", "--until", "2020-01-01"], "in the past"),
        (&["block", "--why", "x", "list"], "`block list` takes no address"),
        (
            &["account", "add", "--name", "a", "--tier", "$5", "--limit", "htpp=1"],
            "only http, hourly",
        ),
    ] {
        let said = wrong(command(&proxy, args).await);
        assert!(said.contains(words), "{args:?}: {said}");
    }
    assert_arguments_are_checked_before_sending(&proxy).await;
    let none = command(&proxy, &["network", "list", "--json"]).await;
    let none: Value = serde_json::from_str(&good(none)).expect("JSON");
    assert_eq!(
        none["networks"].as_array().map(Vec::len),
        Some(1),
        "nothing was changed: {none}"
    );
}

/// These never reach the proxy.
async fn assert_arguments_are_checked_before_sending(proxy: &Proxy) {
    for (args, words) in [
        (&["block"][..], "<ADDRESS>"),
        (
            &["block", "192.0.2.1", "--for", "1d", "--until", "2028-01-01"],
            "cannot be used with",
        ),
        (
            &["network", "set", "192.0.2.1", "--limit", "http=1,lifts=network"],
            "write NAME=N",
        ),
        (
            &["account", "set", "a20", "--limit", "http=many"],
            "NAME=N,lifts=network",
        ),
    ] {
        let said = command(proxy, args).await;
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(words), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn an_account_gets_request_limits_of_its_own() {
    let mirror = Mirror::start().await;
    let proxy = limited_proxy(&mirror).await;
    let add = [
        "account", "add", "--name", "acme", "--tier", "$20", "--limit", "http=300",
    ];
    let said = good(command(&proxy, &[&add[..], &["--limit", "hourly=5000,lifts=network"]].concat()).await);
    assert!(
        said.contains("\n  limits       hourly=5000,lifts=network http=300\n"),
        "{said}"
    );
    let list = lines(&good(command(&proxy, &["account", "list"]).await));
    assert!(list[0].contains("QUOTAS LIMITS USERS"), "{list:?}");
    let line = "acme $20 0 - 0 - - - - hourly=5000,lifts=network http=300 - -";
    assert!(list.iter().any(|other| other == line), "{list:?}");
    let set = ["account", "set", "acme", "--limit", "http=", "--limit", "hourly=6000"];
    let changed = json_of(&proxy, &set).await;
    assert_eq!(changed["limits"], json!({ "hourly": 6000 }));
    let none = ["account", "add", "--name", "beta", "--tier", "$20", "--limit", "http="];
    assert_eq!(
        json_of(&proxy, &none).await["limits"],
        json!({}),
        "there is nothing to take away"
    );
}

/// A proxy in a process of its own, which is killed: what it acknowledged is there when it starts again.
#[tokio::test]
async fn acknowledged_changes_survive_a_crash() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let folder = Arc::new(Folder::new());
    let proxy = Program::start_in(&folder, &yaml).await;
    good(proxy.command(&["block", "192.0.2.7", "--why", "scrapes"]).await);
    good(
        proxy
            .command(&["network", "set", "2001:db8::/32", "--note", "a school"])
            .await,
    );
    let list = good(proxy.command(&["network", "list"]).await);
    let unknown = wrong(
        proxy
            .command(&["network", "set", "192.0.2.7", "--limit", "http=1"])
            .await,
    );
    assert!(unknown.contains("tiers.yaml has no request limits"), "{unknown}");
    proxy.kill().await;
    let proxy = Program::start_in(&folder, &yaml).await;
    assert_eq!(good(proxy.command(&["network", "list"]).await), list);
    assert_eq!(lines(&list).len(), 3, "{list}");
    good(proxy.command(&["unblock", "192.0.2.7"]).await);
    good(proxy.command(&["network", "remove", "2001:db8::1/32"]).await);
    let list = lines(&good(proxy.command(&["network", "list"]).await));
    assert_eq!(list, ["NETWORK LIMITS STATE UNTIL NOTE"]);
}

/// Regression: `block 0.0.0.0/0` locked all callers out without asking for confirmation.
#[tokio::test]
async fn a_very_wide_block_needs_confirmation() {
    let mirror = Mirror::start().await;
    let proxy = limited_proxy(&mirror).await;
    let said = wrong(command(&proxy, &["block", "0.0.0.0/0"]).await);
    assert_eq!(
        said,
        "0.0.0.0/0 is wider than /8 (IPv4) or /16 (IPv6): this locks out a large part of all clients, perhaps including you; \
         pass --yes if that is meant\n"
    );
    let said = command(&proxy, &["block", "2000::/3", "--json"]).await;
    let said: Value = serde_json::from_str(&wrong(said)).expect("JSON");
    assert_eq!(said["reason"], "wide_network");
    let said = good(command(&proxy, &["block", "0.0.0.0/0", "--for", "1h", "--yes"]).await);
    assert!(said.starts_with("blocked:\n  network      0.0.0.0/0\n"), "{said}");
    good(command(&proxy, &["block", "10.0.0.0/8"]).await);
    // A limit of 0 refuses all callers, too.
    let set = ["network", "set", "::/0", "--limit", "http=0"];
    assert!(wrong(command(&proxy, &set).await).contains("pass --yes if that is meant"));
    good(command(&proxy, &[&set[..], &["--yes"]].concat()).await);
    good(command(&proxy, &["network", "set", "::/0", "--limit", "http=300"]).await);
}
