//! `tiergate audit`: the audit log in the data folder.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::data::{self, DataTarget};
use super::{CliError, ignore_broken_pipe, table};
use crate::policy::time::UnixTime;
use crate::store::audit::AuditEntry;

/// Show the audit log: what operators changed, when, and from where; newest last.
///
/// Reads the database directly, whether a server runs or not. Times are UTC.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate audit --since 24h")]
pub struct Audit {
    /// Show changes since then: an age such as 24h or 7d, a day (UTC), or a time such as 2026-11-22T06:00:00Z
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = data::time)]
    since: UnixTime,
    /// Show at most the last N changes
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    #[command(flatten)]
    target: DataTarget,
}

impl Audit {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Reads the log and writes it to `out`.
///
/// # Errors
/// The database can't be read.
pub fn run(audit: &Audit, out: &mut impl Write) -> Result<(), CliError> {
    let (view, _) = audit.target.view()?;
    let mut entries = view.audit(audit.since, audit.limit)?;
    entries.reverse();
    let written = match audit.target.json {
        true => table::json(
            out,
            &json!({ "changes": entries.iter().map(in_json).collect::<Vec<_>>() }),
        ),
        false => {
            let rows: Vec<_> = entries.iter().map(row).collect();
            table::write(out, ["TIME", "WHO", "ACTION", "SUBJECT", "DETAIL"], &rows)
        }
    };
    ignore_broken_pipe(written.map_err(CliError::Output))
}

fn in_json(entry: &AuditEntry) -> Value {
    json!({
        "id": entry.id,
        "at": data::rfc3339(entry.at),
        "who": entry.who,
        "action": entry.action,
        "subject": entry.subject,
        "detail": entry.detail,
    })
}

fn row(entry: &AuditEntry) -> [String; 5] {
    let detail = match &entry.detail {
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        detail => detail.to_string(),
    };
    let text = |text: &str| table::cell(&text.into());
    [
        data::readable(entry.at),
        text(&entry.who),
        text(&entry.action),
        text(&entry.subject),
        detail,
    ]
}
