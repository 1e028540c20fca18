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

#[test]
fn the_repositorys_file_points_editors_at_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(root.join("tiers.yaml")).unwrap();
    let first = file.lines().next().unwrap();
    let schema = first.strip_prefix("# yaml-language-server: $schema=").expect(first);
    assert!(root.join(schema).is_file(), "{schema}");
}
