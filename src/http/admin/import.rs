//! Imports accounts and their keys from CSV or JSON lines. An import is applied whole or not at all, and all errors are reported
//! at once, by line.
//!
//! No message repeats input: there may be a key in the wrong column.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::{Json, http::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use super::operator::Stamped;
use super::problem::{LineError, Problem};
use super::sent::{BodyField, FieldError, first_error};
use super::wire::{BODY_BYTES_MAX, check_imported_tier, check_patch, read};
use super::{Admin, on_disk, times};
use crate::http::caller::decoded;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, UnixTime};
use crate::store::account::FIELDS;
use crate::store::{
    AccountPatch, ChangeError, Changed, Directory, ImportError, ImportOptions, ImportRow, Imported, Key, KeyHash,
    Origin, PlaintextKey,
};

/// The most bytes of an import, which is buffered in memory: enough for an export of the largest possible database, with keys.
pub const IMPORT_BYTES_MAX: usize = 512 << 20;
/// The longest time for reading an import's body.
const IMPORT_TIMEOUT: Span = Span::from_secs(300);
/// The account's name, in CSV and JSON.
const NAME: &str = "name";
/// The account's tier, which a new account needs.
const TIER: &str = "tier";
/// A key in plain text, in CSV and JSON.
const KEY: &str = "key";
/// Keys by their hashes, in JSON only.
const KEY_SHA256: &str = "key_sha256";

/// Columns of a CSV file. The first line names them, in any order.
fn csv_columns() -> impl Iterator<Item = &'static str> {
    let fields = FIELDS.iter().filter(|field| field.in_csv).map(|field| field.name);
    std::iter::once(NAME).chain(fields).chain([KEY])
}

/// Fields of a JSON line: those of an account and its keys, as an export writes them.
fn json_fields() -> String {
    let fields = FIELDS.iter().map(|field| field.name);
    let all = std::iter::once(NAME).chain(fields).chain([KEY, KEY_SHA256]);
    all.collect::<Vec<_>>().join(", ")
}

/// Limits imports to one at a time, so that memory holds a single body.
#[derive(Clone, Debug)]
pub struct ImportLock(Arc<Semaphore>);

impl Default for ImportLock {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// What an import has changed, or would change.
#[derive(Debug, Serialize)]
pub struct Done {
    dry_run: bool,
    added: usize,
    updated: usize,
    unchanged: usize,
    removed: usize,
    keys_added: usize,
    /// Whether `yes=1` is required; only in a dry run.
    needs_yes: bool,
    /// The first of the added, updated and removed accounts.
    changes: Vec<ChangeShown>,
}

/// An added, updated or removed account.
#[derive(Debug, Serialize)]
struct ChangeShown {
    name: String,
    /// `added`, `updated` or `removed`.
    change: &'static str,
    tier: String,
    keys_added: usize,
    /// The changed fields by name: before and after.
    fields: Map<String, Value>,
}

impl Done {
    fn of(imported: Imported, dry_run: bool) -> Self {
        Self {
            dry_run,
            added: imported.added,
            updated: imported.updated,
            unchanged: imported.unchanged,
            removed: imported.removed,
            keys_added: imported.keys_added,
            needs_yes: imported.needs_yes,
            changes: imported.changes.iter().filter_map(ChangeShown::of).collect(),
        }
    }
}

impl ChangeShown {
    fn of(changed: &Changed) -> Option<Self> {
        let (before, after) = (changed.before.as_deref(), changed.after.as_deref());
        let account = after.or(before)?;
        let mut fields = Map::new();
        if let (Some(before), Some(after)) = (before, after) {
            let (before, after) = (before.spec(), after.spec());
            let terms = |spec| serde_json::to_value(spec).unwrap_or_default();
            let (was, is) = (terms(&before), terms(&after));
            let field = |name: &str| (name.to_owned(), Value::from(vec![was[name].clone(), is[name].clone()]));
            fields.extend(before.differences(&after).into_iter().map(field));
        }
        Some(Self {
            name: account.name.to_string(),
            change: match (before, after) {
                (None, _) => "added",
                (_, None) => "removed",
                _ => "updated",
            },
            tier: account.tier.to_string(),
            keys_added: changed.keys_added,
            fields,
        })
    }
}

/// `POST /accounts/import?update=1&dry_run=1&source=NAME&remove_missing=1&yes=1`, as `text/csv` or `application/x-ndjson`.
pub async fn import(
    State(admin): State<Arc<Admin>>,
    Extension(ImportLock(lock)): Extension<ImportLock>,
    RawQuery(query): RawQuery,
    Stamped(stamp): Stamped,
    request: Request,
) -> Result<(StatusCode, Json<Done>), Problem> {
    let is_csv = is_csv(request.headers())?;
    let options = options(query.as_deref().unwrap_or_default())?;
    let lock = lock.acquire().await.expect("the semaphore is never closed");
    let body = read(request, IMPORT_BYTES_MAX, IMPORT_TIMEOUT, admin.gate.clock()).await?;
    let rules = admin.rules();
    let dry_run = options.dry_run;
    // Parsing takes as long as writing, so both run on a blocking thread.
    let imported = on_disk(&admin, move |store| {
        let lines = lines(&body, is_csv, options.update)?;
        let rows = RowParser {
            directory: store.directory(),
            rules: &rules,
            now: stamp.at,
        };
        let rows = lines.map(|(number, line)| (number, line.and_then(|line| rows.row(line))));
        store.import(rows, &options, stamp).map_err(Problem::from)
    });
    let imported = imported.await??;
    drop(lock);
    let status = if dry_run { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(Done::of(imported, dry_run))))
}

fn is_csv(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()) {
        Some(kind) if kind.starts_with(b"text/csv") => Ok(true),
        Some(kind) if kind.starts_with(b"application/x-ndjson") || kind.starts_with(b"application/jsonl") => Ok(false),
        _ => {
            let error = "set the format by Content-Type: text/csv or application/x-ndjson";
            Err(Problem::bad_request(error))
        }
    }
}

/// The import's options from the query.
fn options(query: &str) -> Result<ImportOptions, Problem> {
    let mut options = ImportOptions::default();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let flag = match name {
            "source" => {
                options.source = Some(String::from_utf8_lossy(&decoded(value)).into_owned());
                continue;
            }
            "update" => &mut options.update,
            "dry_run" => &mut options.dry_run,
            "remove_missing" => &mut options.remove_missing,
            "yes" => &mut options.yes,
            _ => {
                let error = "the query may only have `update`, `dry_run`, `source`, `remove_missing` and `yes`";
                return Err(Problem::bad_request(error));
            }
        };
        *flag = match value {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => return Err(Problem::bad_request(format!("`{name}` must be 1 or 0"))),
        };
    }
    if options.remove_missing && !(options.update && options.source.is_some()) {
        let error = "`remove_missing` needs `update=1` and `source=NAME`: it removes only accounts from that source";
        return Err(Problem::bad_request(error));
    }
    Ok(options)
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Whole(error) => error.into(),
            ImportError::Lines { first, count } => {
                let lines = first.into_iter().map(|(line, error)| LineError { line, error });
                Self::lines(lines.collect(), count)
            }
        }
    }
}

/// A parsed line.
#[derive(Debug)]
struct ImportLine {
    name: String,
    terms: AccountPatch,
    key: Option<String>,
    hashes: Vec<HashLine>,
}

/// A key by its hash, as an export writes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum HashLine {
    /// Only the hash: no label, and it never expires.
    Bare(String),
    /// The hash with the other fields.
    Whole(WholeHashLine),
}

/// A key by its hash.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WholeHashLine {
    sha256: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
}

impl HashLine {
    /// That key as an export writes it.
    pub fn of(key: &Key) -> Self {
        Self::Whole(WholeHashLine {
            sha256: key.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            label: key.label.to_string(),
            created: Some(times::written(key.created)),
            expires: key.expires.map(times::written),
        })
    }

    fn key(self, now: UnixTime) -> Result<Key, String> {
        let line = match self {
            Self::Bare(sha256) => WholeHashLine {
                sha256,
                label: String::new(),
                created: None,
                expires: None,
            },
            Self::Whole(line) => line,
        };
        let point = |text: Option<String>, what| {
            let time = text.map(|text| times::point(&text, what)).transpose();
            time.map_err(|problem| problem.error().to_owned())
        };
        let hash = hash_of(&line.sha256).ok_or("its `key_sha256` is not 64 hexadecimal digits")?;
        Ok(Key {
            label: line.label.into(),
            expires: point(line.expires, "expires")?,
            ..Key::plain(hash, point(line.created, "created")?.unwrap_or(now))
        })
    }
}

fn hash_of(text: &str) -> Option<KeyHash> {
    let mut hash = KeyHash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(hash)
}

/// What turns lines into rows.
struct RowParser<'a> {
    directory: &'a Directory,
    rules: &'a Rules,
    now: UnixTime,
}

impl RowParser<'_> {
    fn row(&self, line: ImportLine) -> Result<ImportRow, String> {
        let ImportLine {
            name,
            mut terms,
            key,
            hashes,
        } = line;
        let known = self.directory.by_name(&name);
        let known = known.filter(|known| known.origin == Origin::Stored);
        let tier = match (terms.tier.as_deref(), &known) {
            (Some(tier), _) => tier.to_owned(),
            (None, Some(known)) => known.tier.to_string(),
            (None, None) => return Err(ChangeError::NoTier.to_string()),
        };
        if let Some(known) = &known {
            terms.replace_numbers(&known.spec());
        }
        if let Some(tier) = &terms.tier {
            check_imported_tier(tier, self.rules)?;
        }
        check_patch(&terms, &tier, self.rules).map_err(|problem| problem.error().to_owned())?;
        let key = key.map(PlaintextKey::imported).transpose();
        let key = key.map_err(|error| error.to_string())?;
        let beginnings = key.iter().map(|key| (key.hash(), key.beginning())).collect();
        let key = key.map(|key| Ok(Key::plain(key.hash(), self.now)));
        let hashes = hashes.into_iter().map(|line| line.key(self.now));
        Ok(ImportRow {
            name,
            terms,
            keys: key.into_iter().chain(hashes).collect::<Result<_, _>>()?,
            beginnings,
        })
    }
}

/// A line's number, and its content or its error.
type Read = (usize, Result<ImportLine, String>);

/// The lines of a body. With `updates`, existing accounts need no tier.
fn lines<'b>(body: &'b Bytes, is_csv: bool, updates: bool) -> Result<Box<dyn Iterator<Item = Read> + 'b>, Problem> {
    Ok(match is_csv {
        true => Box::new(csv_lines(body, updates)?),
        false => Box::new(json_lines(body)),
    })
}

fn json_lines(body: &[u8]) -> impl Iterator<Item = Read> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let told = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    told.map(|(number, line)| (number, json_line(line)))
}

/// Parses a JSON line. The JSON crate's own messages would repeat values, so the errors are ours.
fn json_line(line: &[u8]) -> Result<ImportLine, String> {
    // A list of eight million numbers would take thirty times as much memory as the line itself.
    if line.len() > BODY_BYTES_MAX {
        return Err(format!("it is longer than {} KiB", BODY_BYTES_MAX >> 10));
    }
    let object = serde_json::from_slice(line);
    import_line(object.map_err(|_| format!("it is not a JSON object with fields of {}", json_fields()))?)
}

/// Interprets the fields of a line.
fn import_line(mut object: Map<String, Value>) -> Result<ImportLine, String> {
    let mut text = |field: &str| match object.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{field}` is not text")),
    };
    let (key, name) = (text(KEY)?, text(NAME)?);
    let hashes = match object.remove(KEY_SHA256) {
        None => Vec::new(),
        Some(hashes) => serde_json::from_value(hashes).map_err(|_| {
            "its `key_sha256` is not a list of hashes, each as text or as an object with `sha256`, `label`, `created`, `expires`"
        })?,
    };
    let terms = AccountPatch::deserialize(&object).map_err(|_| match first_error::<AccountPatch>(&object) {
        Some(FieldError::Other(BodyField { name, holds, .. })) => {
            format!("its `{name}` must be {holds}")
        }
        _ => format!("it has a field other than {}", json_fields()),
    })?;
    Ok(ImportLine {
        name: name.ok_or("it lacks `name`")?,
        terms,
        key,
        hashes,
    })
}

fn csv_lines(body: &[u8], updates: bool) -> Result<impl Iterator<Item = Read>, Problem> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(body.trim_ascii_start());
    // What was trimmed must still count, so that line numbers stay right.
    let before = body.len() - body.trim_ascii_start().len();
    let before = body[..before].iter().filter(|byte| **byte == b'\n').count();
    let head = reader
        .headers()
        .map_err(|_| Problem::bad_request("the first line is not text"))?;
    let columns = columns(head, updates)?;
    Ok(reader.into_records().map(move |record| {
        let (line, parsed) = match record {
            Ok(record) => (
                record.position().map_or(0, csv::Position::line),
                csv_line(&record, &columns),
            ),
            Err(error) => (
                error.position().map_or(0, csv::Position::line),
                Err("it is not text".to_owned()),
            ),
        };
        (before + usize::try_from(line).unwrap_or(usize::MAX - before), parsed)
    }))
}

/// The columns in their order, out of [`csv_columns`]. `name` is required, and so is `tier` unless accounts are updated.
fn columns(head: &csv::StringRecord, updates: bool) -> Result<Vec<&'static str>, Problem> {
    let named = |name: &str| {
        let name = name.trim_matches('\u{feff}').trim();
        csv_columns().find(|column| name.eq_ignore_ascii_case(column))
    };
    let mut columns = Vec::with_capacity(head.len());
    for (name, number) in head.iter().zip(1..) {
        let column = named(name).ok_or_else(|| {
            let known = csv_columns().collect::<Vec<_>>().join(", ");
            Problem::bad_request(format!(
                "the first line must name the columns; column {number} is none of {known}"
            ))
        })?;
        columns.push(column);
    }
    let is_twice = (1..columns.len()).any(|at| columns[..at].contains(&columns[at]));
    if is_twice || !columns.contains(&NAME) || (!columns.contains(&TIER) && !updates) {
        return Err(Problem::bad_request(
            "the first line must name `name` and `tier`, and no column twice",
        ));
    }
    Ok(columns)
}

/// Parses a CSV line. Empty cells count as absent.
fn csv_line(record: &csv::StringRecord, columns: &[&'static str]) -> Result<ImportLine, String> {
    if record.len() != columns.len() {
        let (has, named) = (record.len(), columns.len());
        return Err(format!("it has {has} columns, but the first line names {named}"));
    }
    let cells = columns.iter().zip(record).map(|(column, cell)| (*column, cell.trim()));
    let told = cells.filter(|(_, cell)| !cell.is_empty());
    let told: Map<String, Value> = told.map(|(column, cell)| (column.to_owned(), cell.into())).collect();
    match told.contains_key(NAME) {
        true => import_line(told),
        false => Err("it has no name".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_are_bounded() {
        let long = format!(
            "{{\"name\": \"a\", \"tier\": \"free\", \"note\": \"{}\"}}",
            "0".repeat(BODY_BYTES_MAX)
        );
        let error = json_line(long.as_bytes()).expect_err("longer than an account");
        assert_eq!(error, "it is longer than 16 KiB");
    }

    #[test]
    fn a_hash_is_64_hexadecimal_digits() {
        assert_eq!(hash_of(&"0a".repeat(32)), Some([10; 32]));
        for wrong in [
            "",
            &"0a".repeat(31),
            &"0g".repeat(32),
            &"é".repeat(32),
            &"+1".repeat(32),
        ] {
            assert_eq!(hash_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn removing_needs_a_source_and_an_update() {
        assert!(options("update=1&source=a&remove_missing=1").is_ok());
        for wrong in [
            "remove_missing=1",
            "remove_missing=1&update=1",
            "remove_missing=1&source=a",
            "update=yes",
            "up=1",
        ] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }
}
