//! `tiergate account import` and `export`.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::accounts::{done, good, json_of, me, program, wrong};
use crate::support::Mirror;
use crate::support::program::Program;

#[tokio::test]
async fn accounts_move_from_one_proxy_to_another() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    let csv = "name,email,tier,key\nacme,bot@acme.example,$20,old-key\nbeta,,$5,\n";
    std::fs::write(proxy.folder().join("old.csv"), csv).expect("a file");
    assert_eq!(
        done(&proxy, &["account", "import", "old.csv"]).await,
        "accounts: 2 added, 0 updated, 0 removed, 0 unchanged; new keys: 1\n"
    );
    assert_eq!(me(&proxy, "old-key").await, "bot@acme.example");
    let export = done(&proxy, &["account", "export"]).await;
    assert_eq!(export.lines().count(), 2);
    let other = program(&mirror).await;
    let said = other.command_with(&["account", "import", "-", "--json"], &export).await;
    let counts: Value = serde_json::from_str(&good(said)).expect("JSON");
    assert_eq!((&counts["added"], &counts["keys_added"]), (&json!(2), &json!(0)));
    assert_eq!(done(&other, &["account", "export"]).await, export);
    let again = wrong(&proxy, &["account", "import", "old.csv"]).await;
    assert_eq!(
        again,
        "2 lines are wrong, so nothing was imported\n  line 2: an account with that name already exists; import with --update \
         (`update=1`) to update existing accounts\n  line 3: an account with that name already exists; import with --update \
         (`update=1`) to update existing accounts\n"
    );
    assert!(
        wrong(&proxy, &["account", "import", "nothing.csv"])
            .await
            .contains("can't read nothing.csv")
    );
}

/// Regression: a nightly sync of sponsors was impossible, because an import could only add accounts.
#[tokio::test]
async fn a_sponsors_file_is_synced() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    let file = |lines: &str| std::fs::write(proxy.folder().join("sponsors.csv"), lines).expect("a file");
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
    let first = done(&proxy, &sync).await;
    let last = "and 10 more\naccounts: 60 added, 0 updated, 0 removed, 0 unchanged; new keys: 2\n";
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
    let would = "accounts (dry run): 0 added, 1 updated, 1 removed, 58 unchanged; new keys: 1\n";
    assert_eq!(done(&proxy, &dry).await, format!("{table}{would}"));
    assert_eq!(me(&proxy, "k2").await, "beta", "nothing was changed");
    let updated = "accounts: 0 added, 1 updated, 1 removed, 58 unchanged; new keys: 1\n";
    assert_eq!(done(&proxy, &sync).await, format!("{table}{updated}"));
    assert_eq!(me(&proxy, "k2").await, "invalid_key");
    assert_eq!(me(&proxy, "k1").await, "bot@acme.example", "keys stay");
    // A truncated file removes no account.
    file("name,tier\nacme,$50\n");
    let refused = wrong(&proxy, &sync).await;
    assert!(
        refused.contains("this would remove 58 of the 59 accounts of the source sponsors"),
        "{refused}"
    );
    let told = done(&proxy, &dry).await;
    assert!(
        told.contains("and 8 more\n") && told.contains("pass --yes to confirm"),
        "{told}"
    );
    let counts = json_of(&proxy, &[&sync[..], &["--yes"]].concat()).await;
    assert_eq!((&counts["removed"], &counts["unchanged"]), (&json!(58), &json!(1)));
    assert_a_sync_needs_a_source(&proxy).await;
}

async fn assert_a_sync_needs_a_source(proxy: &Program) {
    let set = done(proxy, &["account", "set", "acme", "--source", ""]).await;
    assert!(set.contains("  source       -\n"), "{set}");
    let unfit = proxy
        .command(&["account", "import", "sponsors.csv", "--remove-missing"])
        .await;
    assert!(
        unfit.err.contains("--source <NAME>") && unfit.err.contains("--update"),
        "{unfit:?}"
    );
}

#[tokio::test]
async fn an_export_is_readable_by_its_owner_only() {
    let mirror = Mirror::start().await;
    let proxy = program(&mirror).await;
    std::fs::write(proxy.folder().join("a.csv"), "name,tier,key\nacme,$20,k1\n").expect("a file");
    done(&proxy, &["account", "import", "a.csv"]).await;
    let export = ["account", "export", "--keys", "-o", "accounts.jsonl"];
    assert_eq!(done(&proxy, &export).await, "");
    let file = proxy.folder().join("accounts.jsonl");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(text.contains("key_sha256") && text.lines().count() == 1, "{text}");
    std::fs::write(&file, "precious").expect("a file");
    let refused = wrong(&proxy, &export).await;
    assert!(refused.contains("exists; pass --force to overwrite it"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).expect("text"), "precious");
    done(&proxy, &[&export[..], &["--force"]].concat()).await;
    assert_eq!(std::fs::read_to_string(&file).expect("text"), text);
    let left: Vec<_> = std::fs::read_dir(proxy.folder()).expect("a folder").collect();
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
        "accounts: 1 added, 0 updated, 0 removed, 0 unchanged; new keys: 1\n"
    );
    assert_eq!(me(&other, "k1").await, "acme");
}
