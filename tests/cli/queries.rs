//! docs/database.md: its queries run as written there, and it explains every table.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::data::{Site, data, roll_up, said};

fn document() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/database.md");
    fs::read_to_string(file).expect("it is in the repository")
}

/// The document's blocks of SQL.
fn queries() -> Vec<String> {
    let text = document();
    let blocks = text.split("```sql\n").skip(1);
    blocks
        .map(|block| block.split("```").next().expect("it ends").to_owned())
        .collect()
}

#[tokio::test]
async fn each_query_of_the_document_runs_and_finds_rows() {
    let site = Site::start().await;
    let folder = site.folder.path().to_owned();
    site.search("acme", "/search", 3).await;
    site.search("", "/thumbnail", 2).await;
    let admin = site.program.admin.to_string();
    let idle = ["account", "add", "--name", "idle", "--tier", "gold", "--admin", &admin];
    said(&folder, &idle).await;
    let kept = site.stop().await;
    let file = data(&folder).join("tiergate.db");
    let open = Connection::open(&file).expect("it is ours");
    let rows =
        "INSERT INTO refusal VALUES (1, 1, unixepoch('now') / 60 * 60000, 0, 0, 0, 'free', 'queue_full', 503, 2);
                INSERT INTO audit (at, who, action, subject, detail)
                    VALUES (unixepoch('now') * 1000, '127.0.0.1', 'account_add', 'idle', '{}');
                INSERT INTO api_key (hash, account, label, created)
                    SELECT zeroblob(32), id, 'forgotten', 0 FROM account WHERE name = 'idle';";
    open.execute_batch(rows).expect("it is SQL");
    drop(open);
    roll_up(&folder).await;
    let site = kept.start().await;
    site.search("acme", "/search", 1).await;

    let open = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it is there");
    let queries = queries();
    assert!(queries.len() >= 8, "{queries:?}");
    for query in &queries {
        let mut select = open.prepare(query).unwrap_or_else(|error| panic!("{error}: {query}"));
        let found = select.query_map([], |row| row.get::<_, rusqlite::types::Value>(0));
        let found = found.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>);
        let found = found.unwrap_or_else(|error| panic!("{error}: {query}"));
        assert!(!found.is_empty(), "no rows: {query}");
    }
    // What was rolled up, and the job since.
    let month = open.query_row(&queries[0], [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(month, Ok((4, 8)));
}

#[test]
fn the_document_explains_every_table() {
    let read = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store").join(name);
        fs::read_to_string(file).expect("it is in the repository")
    };
    let schema = ["schema.sql", "drained.sql", "key_uses.sql"].map(read).concat();
    let document = document();
    let tables = schema.lines().filter_map(|line| {
        let table = line
            .strip_prefix("CREATE TABLE ")
            .or(line.strip_prefix("CREATE VIEW "))?;
        table.split_whitespace().next()
    });
    let missing: Vec<&str> = tables
        .filter(|table| !document.contains(&format!("`{table}`")))
        .collect();
    assert!(missing.is_empty(), "not explained: {missing:?}");
}
