//! Accounts from elsewhere, with the keys that they have: CSV or JSON lines. All of them or none, and everything that is wrong at
//! once, by line.
//!
//! Absent on purpose: what was sent in any message. A key may stand in the wrong column.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::problem::{Line, Problem};
use super::wire::{NewLine, read};
use super::{Admin, on_disk};
use crate::policy::rules::Rules;
use crate::store::{ImportError, ImportRow, Secret};

/// Bytes of an import.
const IMPORT_BYTES_MAX: usize = 16 << 20;
/// Columns of a CSV file. The first line names them, in any order.
const COLUMNS: [&str; 4] = ["name", "email", "tier", "key"];
/// Fields of a JSON line beside `key`: those of an account, and those of an export.
const FIELDS: &str = "name, tier, email, concurrency, quotas, until, blocked, max_users, note, key";

/// What an import has made.
#[derive(Debug, Serialize)]
pub struct Done {
    accounts: usize,
    keys: usize,
}

/// `POST /accounts/import`, as `text/csv` or `application/x-ndjson`.
pub async fn import(State(admin): State<Arc<Admin>>, request: Request) -> Result<(StatusCode, Json<Done>), Problem> {
    let is_csv = match request
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|value| value.as_bytes())
    {
        Some(kind) if kind.starts_with(b"text/csv") => true,
        Some(kind) if kind.starts_with(b"application/x-ndjson") || kind.starts_with(b"application/jsonl") => false,
        _ => {
            let error = "say what it is: Content-Type: text/csv or application/x-ndjson";
            return Err(Problem::bad_request(error));
        }
    };
    let body = read(request, IMPORT_BYTES_MAX).await?;
    let now = admin.gate.clock().wall();
    let rules = Arc::clone(&admin.rules);
    // Reading takes as long as writing: both are done beside the runtime's thread.
    let imported = on_disk(&admin, move |store| {
        let lines = if is_csv { csv_lines(&body)? } else { json_lines(&body) };
        let mut wrong = Vec::new();
        let mut rows = Vec::new();
        for (line, read) in lines {
            match read.and_then(|asked| row(line, asked, &rules)) {
                Ok(row) => rows.push(row),
                Err(error) => wrong.push(Line { line, error }),
            }
        }
        if wrong.is_empty() {
            store.import(rows, now).map_err(|error| told(wrong, error))
        } else {
            // What else is wrong is to be said as well.
            let also = store.check_import(rows, now).err();
            Err(told(wrong, also.unwrap_or(ImportError::Lines(Vec::new()))))
        }
    });
    let imported = imported.await??;
    let done = Done {
        accounts: imported.accounts,
        keys: imported.keys,
    };
    Ok((StatusCode::CREATED, Json(done)))
}

fn told(mut wrong: Vec<Line>, error: ImportError) -> Problem {
    match error {
        ImportError::Whole(error) if wrong.is_empty() => error.into(),
        ImportError::Whole(_) => Problem::lines(wrong),
        ImportError::Lines(lines) => {
            wrong.extend(lines.into_iter().map(|(line, error)| Line {
                line,
                error: error.to_string(),
            }));
            wrong.sort_by_key(|wrong| wrong.line);
            Problem::lines(wrong)
        }
    }
}

/// An account that a line asks for, and its key.
type Asked = (NewLine, Option<String>);

fn row(line: usize, (asked, key): Asked, rules: &Rules) -> Result<ImportRow, String> {
    let account = asked.account(rules).map_err(|problem| problem.error().to_owned())?;
    let key = key
        .map(Secret::imported)
        .transpose()
        .map_err(|error| error.to_string())?;
    Ok(ImportRow { line, account, key })
}

type Lines = Vec<(usize, Result<Asked, String>)>;

fn json_lines(body: &[u8]) -> Lines {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let told = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    told.map(|(number, line)| (number, json_line(line))).collect()
}

/// The crate's own messages would repeat values, so what is wrong is said in words of ours.
fn json_line(line: &[u8]) -> Result<Asked, String> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| format!("it is not a JSON object with fields of {FIELDS}"))?;
    let key = match object.remove("key") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(key),
        Some(_) => return Err("its `key` is not text".to_owned()),
    };
    let asked = serde_json::from_value(Value::Object(object)).map_err(|_| {
        format!("it lacks `name` or `tier`, has a field that is none of {FIELDS}, or one that is not of its kind")
    })?;
    Ok((asked, key))
}

fn csv_lines(body: &[u8]) -> Result<Lines, Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(body.trim_ascii_start());
    // What was trimmed away, so that lines keep their numbers.
    let before = body.len() - body.trim_ascii_start().len();
    let before = body[..before].iter().filter(|byte| **byte == b'\n').count();
    let head = reader
        .headers()
        .map_err(|_| Problem::bad_request("the first line is not text"))?;
    let columns = columns(head)?;
    let mut lines = Vec::new();
    for record in reader.records() {
        let (line, asked) = match record {
            Ok(record) => (
                record.position().map_or(0, csv::Position::line),
                csv_line(&record, columns),
            ),
            Err(error) => (
                error.position().map_or(0, csv::Position::line),
                Err("it is not text".to_owned()),
            ),
        };
        lines.push((before + usize::try_from(line).unwrap_or(usize::MAX - before), asked));
    }
    Ok(lines)
}

/// Where each of [`COLUMNS`] stands. `name` and `tier` must be there.
fn columns(head: &csv::StringRecord) -> Result<[Option<usize>; COLUMNS.len()], Problem> {
    let is = |name: &str, column: &str| name.trim_matches('\u{feff}').trim().eq_ignore_ascii_case(column);
    let strange = head
        .iter()
        .position(|name| !COLUMNS.iter().any(|column| is(name, column)));
    if let Some(strange) = strange {
        let columns = COLUMNS.join(", ");
        let error = format!(
            "the first line must name the columns; column {} is none of {columns}",
            strange + 1
        );
        return Err(Problem::bad_request(error));
    }
    let found = COLUMNS.map(|column| head.iter().position(|name| is(name, column)));
    let twice = head.len() > found.iter().flatten().count();
    if twice || found[0].is_none() || found[2].is_none() {
        return Err(Problem::bad_request(
            "the first line must name `name` and `tier`, and no column twice",
        ));
    }
    Ok(found)
}

fn csv_line(record: &csv::StringRecord, [name, email, tier, key]: [Option<usize>; 4]) -> Result<Asked, String> {
    let text = |column: Option<usize>| {
        let text = column.and_then(|column| record.get(column)).map(str::trim);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let columns = [name, email, tier, key].into_iter().flatten().count();
    if record.len() != columns {
        return Err(format!(
            "it has {} columns, and the first line names {columns}",
            record.len()
        ));
    }
    let name = text(name).ok_or("it has no name")?;
    let tier = text(tier).ok_or("it has no tier")?;
    Ok((NewLine::bare(name, text(email), tier), text(key)))
}
