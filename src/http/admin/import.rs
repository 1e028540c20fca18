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

use super::problem::{LINES_MAX, Line, Problem};
use super::wire::{BODY_BYTES_MAX, NewLine, read};
use super::{Admin, on_disk};
use crate::policy::rules::Rules;
use crate::store::keys::KEYS_PER_ACCOUNT_MAX;
use crate::store::{ACCOUNTS_MAX, ImportError, ImportRow, Secret};

/// Bytes of an import.
const IMPORT_BYTES_MAX: usize = 16 << 20;
/// Lines of an import: every key that there can be, each on a line of its own. What is in them takes far more memory than they.
const READ_MAX: usize = ACCOUNTS_MAX * KEYS_PER_ACCOUNT_MAX;
/// Columns of a CSV file. The first line names them, in any order.
const COLUMNS: [&str; 4] = ["name", "email", "tier", "key"];
/// Fields of a JSON line beside `key`: those of an account, and those of an export.
const FIELDS: &str = "name, tier, email, concurrency, quotas, limits, until, blocked, max_users, note, key";

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
    let body = read(request, IMPORT_BYTES_MAX, admin.gate.clock()).await?;
    let now = admin.gate.clock().wall();
    let rules = admin.rules();
    // Reading takes as long as writing: both are done beside the runtime's thread.
    let imported = on_disk(&admin, move |store| {
        let lines: Box<dyn Iterator<Item = Read>> = if is_csv {
            Box::new(csv_lines(&body)?)
        } else {
            Box::new(json_lines(&body))
        };
        let row = |(line, read): Read| (line, read.and_then(|asked| row(line, asked, &rules)));
        let (rows, wrong) = gather(lines.map(row))?;
        if wrong.count == 0 {
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

/// The lines that are wrong.
#[derive(Debug, Default)]
struct Wrong {
    /// The first of them, at most [`LINES_MAX`].
    first: Vec<Line>,
    /// How many there are.
    count: usize,
}

impl Wrong {
    fn add(&mut self, line: usize, error: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < LINES_MAX {
            self.first.push(Line { line, error: error() });
        }
    }
}

/// What can be made of the lines, and which can't be. Nothing is kept of a line that is wrong, but for the first of them.
///
/// # Errors
/// There are more than [`READ_MAX`].
fn gather(lines: impl Iterator<Item = (usize, Result<ImportRow, String>)>) -> Result<(Vec<ImportRow>, Wrong), Problem> {
    let (mut rows, mut wrong) = (Vec::new(), Wrong::default());
    for (line, row) in lines {
        if rows.len() + wrong.count == READ_MAX {
            let error = format!("there are more than {READ_MAX} lines; import them in parts");
            return Err(Problem::bad_request(error));
        }
        match row {
            Ok(row) => rows.push(row),
            Err(error) => wrong.add(line, || error),
        }
    }
    Ok((rows, wrong))
}

fn told(wrong: Wrong, error: ImportError) -> Problem {
    match error {
        ImportError::Whole(error) if wrong.count == 0 => error.into(),
        ImportError::Whole(_) => Problem::lines(wrong.first, wrong.count),
        ImportError::Lines(lines) => {
            // Each of the two is in order, so the first of both are among the first of each.
            let mut also = Wrong::default();
            for (line, error) in lines {
                also.add(line, || error.to_string());
            }
            let mut first = wrong.first;
            first.append(&mut also.first);
            first.sort_by_key(|wrong| wrong.line);
            first.truncate(LINES_MAX);
            Problem::lines(first, wrong.count + also.count)
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

/// The number of a line, and what it asks for or what is wrong with it.
type Read = (usize, Result<Asked, String>);

fn json_lines(body: &[u8]) -> impl Iterator<Item = Read> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let told = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    told.map(|(number, line)| (number, json_line(line)))
}

/// The crate's own messages would repeat values, so what is wrong is said in words of ours.
fn json_line(line: &[u8]) -> Result<Asked, String> {
    // A list of eight million numbers would take thirty times as much memory as the line does.
    if line.len() > BODY_BYTES_MAX {
        return Err(format!("it is longer than {} KiB", BODY_BYTES_MAX >> 10));
    }
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

fn csv_lines(body: &[u8]) -> Result<impl Iterator<Item = Read>, Problem> {
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
    Ok(reader.into_records().map(move |record| {
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
        (before + usize::try_from(line).unwrap_or(usize::MAX - before), asked)
    }))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An import of 16 MiB of wrong lines held each of the eight million with a text of its own, 3.4 GB, only to name the first
    /// thousand.
    #[test]
    fn however_many_lines_are_wrong_only_the_first_are_held() {
        let wrong_lines = |count| (1..=count).map(|line| (line, Err("it is wrong".to_owned())));
        let (rows, wrong) = gather(wrong_lines(READ_MAX)).expect("no more than there may be");
        assert!(rows.is_empty());
        assert_eq!((wrong.first.len(), wrong.count), (LINES_MAX, READ_MAX));
        assert_eq!(wrong.first.last().map(|wrong| wrong.line), Some(LINES_MAX));
        let problem = gather(wrong_lines(READ_MAX + 1)).expect_err("one too many");
        assert!(problem.error().contains("more than 1600000 lines"), "{problem:?}");
    }

    #[test]
    fn a_json_line_is_no_longer_than_an_account_may_be() {
        let long = format!(
            "{{\"name\": \"a\", \"tier\": \"free\", \"note\": \"{}\"}}",
            "0".repeat(BODY_BYTES_MAX)
        );
        let error = json_line(long.as_bytes()).expect_err("longer than an account");
        assert_eq!(error, "it is longer than 16 KiB");
    }

    #[test]
    fn of_two_kinds_of_wrong_lines_the_first_of_both_are_named() {
        let mut wrong = Wrong::default();
        (1..=LINES_MAX).for_each(|line| wrong.add(2 * line, || "unread".to_owned()));
        let taken = (1..=LINES_MAX).map(|line| (2 * line - 1, crate::store::ChangeError::NameTaken));
        let problem = told(wrong, ImportError::Lines(taken.collect()));
        assert_eq!(problem.error(), "2000 lines are wrong, so nothing was imported");
        let named: Vec<usize> = problem.named().iter().map(|line| line.line).collect();
        assert_eq!(named, (1..=LINES_MAX).collect::<Vec<_>>());
    }
}
