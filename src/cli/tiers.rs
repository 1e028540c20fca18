//! `tiergate tiers`: the table of sponsor tiers, for a service's page about sponsoring.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{CliError, ignore_broken_pipe, table};
use crate::config::{Config, words};
use crate::policy::rules::{LimitId, Rules, Tier, Window, WindowId};

/// Print the table of sponsor tiers: quotas, concurrency, priority and request limits.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate tiers --markdown > TIERS.md")]
pub struct Tiers {
    /// Path to tiers.yaml
    #[arg(default_value = "tiers.yaml")]
    file: PathBuf,
    /// Print Markdown, for a page about sponsoring
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Tiers {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.json
    }
}

/// Writes the table.
///
/// # Errors
/// The file is invalid, or the table can't be written.
pub fn run(command: &Tiers, out: &mut impl Write) -> Result<(), CliError> {
    let config = Config::peek(&command.file).map_err(|errors| {
        let advice = "`tiergate check` shows these errors, and warnings too";
        CliError::Config(errors, advice.to_owned())
    })?;
    let rules = &config.rules;
    let written = if command.json {
        table::json(out, &to_json(rules))
    } else if command.markdown {
        markdown(out, rules)
    } else {
        text(out, rules)
    };
    ignore_broken_pipe(written.map_err(CliError::from))
}

/// The columns: the windows of all quotas, and the limits for which a tier has its own number.
struct Columns {
    windows: Vec<WindowId>,
    limits: Vec<LimitId>,
}

impl Columns {
    fn of(rules: &Rules) -> Self {
        let windows = rules.windows.ids();
        let mut limits: Vec<LimitId> = rules
            .tiers
            .iter()
            .flat_map(|tier| &tier.limits)
            .map(|(id, _)| *id)
            .collect();
        limits.sort();
        limits.dedup();
        Self {
            windows: windows.collect(),
            limits,
        }
    }

    fn heads(&self, rules: &Rules) -> Vec<String> {
        let mut heads = vec!["Sponsor tiers".to_owned()];
        heads.extend(self.windows.iter().map(|id| head(rules, *id)));
        heads.extend(["concurrency".to_owned(), "priority".to_owned()]);
        heads.extend(self.limits.iter().map(|id| {
            let limit = &rules.limits[id.index()];
            format!("{} requests in {}", limit.name, words::span(limit.window))
        }));
        heads
    }

    fn row(&self, rules: &Rules, tier: &Tier) -> Vec<String> {
        let unlimited = || "unlimited".to_owned();
        let mut row = vec![tier.name.to_string()];
        let quota = |id: &WindowId| quota(tier, *id).map_or_else(unlimited, |limit| limit.to_string());
        row.extend(self.windows.iter().map(quota));
        row.push(tier.concurrency.to_string());
        row.push(priority(rules, tier));
        row.extend(self.limits.iter().map(|id| requests(rules, tier, *id).to_string()));
        row
    }
}

/// The header of a window's column, made unique if several windows share a name.
fn head(rules: &Rules, id: WindowId) -> String {
    let of = |window: &Window| words::quota(window);
    let window = &rules.windows[id];
    let called = of(window);
    let alike = rules.windows.iter().filter(|other| of(other) == called).count();
    match alike {
        1 => called,
        _ => format!("{called} ({})", words::window(window)),
    }
}

/// The quota of a caller of the tier in that window; `None`: unlimited.
fn quota(tier: &Tier, window: WindowId) -> Option<u64> {
    let of_window = tier.quotas.iter().filter(|quota| quota.window == window);
    of_window.map(|quota| quota.limit).min()
}

/// The priority, marked if it is the lowest or highest of several.
fn priority(rules: &Rules, tier: &Tier) -> String {
    let all = || rules.tiers.iter().map(|tier| tier.priority);
    let number = tier.priority.get();
    match (all().min(), all().max()) {
        (lowest, highest) if lowest == highest => number.to_string(),
        (lowest, _) if lowest == Some(tier.priority) => format!("{number} (lowest)"),
        (_, highest) if highest == Some(tier.priority) => format!("{number} (highest)"),
        _ => number.to_string(),
    }
}

/// The tier's own number for that limit, or the limit's.
fn requests(rules: &Rules, tier: &Tier, id: LimitId) -> u32 {
    let own = tier.limits.iter().find(|(limit, _)| *limit == id);
    own.map_or(rules.limits[id.index()].number, |(_, raise)| raise.number)
}

fn rows(rules: &Rules) -> Vec<Vec<String>> {
    let columns = Columns::of(rules);
    let tiers = rules.tiers.iter().map(|tier| columns.row(rules, tier));
    std::iter::once(columns.heads(rules)).chain(tiers).collect()
}

fn text(out: &mut impl Write, rules: &Rules) -> io::Result<()> {
    let mut rows = rows(rules);
    rows[0].iter_mut().for_each(|head| *head = head.to_uppercase());
    let rows: Vec<&[String]> = rows.iter().map(Vec::as_slice).collect();
    let widths = table::widths(&rows);
    for row in rows {
        writeln!(out, "{}", table::aligned(row, &widths, "  ").trim_end())?;
    }
    Ok(())
}

fn markdown(out: &mut impl Write, rules: &Rules) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows(rules)
        .iter()
        .map(|row| row.iter().map(|cell| escaped(cell)).collect())
        .collect();
    let rows: Vec<&[String]> = rows.iter().map(Vec::as_slice).collect();
    let widths = table::widths(&rows);
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let (heads, tiers) = rows.split_at(1);
    for row in heads
        .iter()
        .copied()
        .chain([rule.as_slice()])
        .chain(tiers.iter().copied())
    {
        writeln!(out, "| {} |", table::aligned(row, &widths, " | "))?;
    }
    Ok(())
}

/// The cell with Markdown's special characters escaped.
fn escaped(cell: &str) -> String {
    let mut escaped = String::new();
    for c in cell.chars() {
        if matches!(c, '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '~' | '&') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// `{ "tiers": [ { "name", "anonymous", "priority", "concurrency", "quotas": [ { "name", "limit", "window" } ], "limits": { NAME:
/// { "limit", "window", "lifts_network" } } } ] }`, where `limits` has only the tier's own.
fn to_json(rules: &Rules) -> Value {
    let tier = |(id, tier): (usize, &Tier)| {
        let quotas = tier.quotas.iter().map(|quota| {
            let window = words::window(&rules.windows[quota.window]);
            json!({ "name": &*quota.name, "limit": quota.limit, "window": window })
        });
        let own = tier.limits.iter().map(|(id, raise)| {
            let limit = &rules.limits[id.index()];
            let window = words::span(limit.window);
            let own = json!({ "limit": raise.number, "window": window, "lifts_network": raise.lifts_network });
            (limit.name.to_string(), own)
        });
        json!({
            "name": &*tier.name,
            "anonymous": id == rules.anonymous.index(),
            "priority": tier.priority.get(),
            "concurrency": tier.concurrency,
            "quotas": quotas.collect::<Vec<_>>(),
            "limits": own.collect::<Map<_, _>>(),
        })
    };
    json!({ "tiers": rules.tiers.iter().enumerate().map(tier).collect::<Vec<_>>() })
}
