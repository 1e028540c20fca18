//! The JSON Schema of tiers.yaml, as editors find it.

use std::path::Path;

#[test]
fn the_committed_schema_is_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tiers.schema.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == tiergate::config::schema::text(),
        "docs/tiers.schema.json is stale; renew it: cargo run -- schema > docs/tiers.schema.json"
    );
}

/// The table stands between two marks. To renew it: RENEW=1 cargo test --test schema.
#[test]
fn the_table_of_settings_is_the_programs() {
    const MARKS: [&str; 2] = ["<!-- the settings: begin -->\n", "<!-- the settings: end -->"];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(MARKS[0]).expect("a mark");
    let (committed, after) = rest.split_once(MARKS[1]).expect("a mark");
    let table = tiergate::config::schema::table();
    if std::env::var_os("RENEW").is_some() {
        let page = format!("{before}{}{table}{}{after}", MARKS[0], MARKS[1]);
        std::fs::write(path, page).expect("it can be written");
        return;
    }
    assert!(
        committed == table,
        "the table in docs/configuration.md is stale; renew it: RENEW=1 cargo test --test schema"
    );
}

#[test]
fn the_repositorys_file_points_editors_at_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(root.join("tiers.yaml")).unwrap();
    let first = file.lines().next().unwrap();
    let schema = first.strip_prefix("# yaml-language-server: $schema=").expect(first);
    assert!(root.join(schema).is_file(), "{schema}");
}
