//! Where numbers are told: `/metrics`, the admin API, the commands, the database, the log's files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::model::Counts;
use super::witness::Line;
use crate::support::program::run;
use crate::support::{Client, get};

/// A page of `/metrics`.
pub struct Metrics(Vec<(String, BTreeMap<String, String>, f64)>);

impl Metrics {
    pub async fn read(admin: SocketAddr) -> Self {
        let page = get(admin, "/metrics").await.text();
        Self(
            page.lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(sample)
                .collect(),
        )
    }

    /// The values by those labels, in their order with a space between, of series that have the others.
    pub fn by(&self, name: &str, labels: &[&str], others: &[(&str, &str)]) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for (_, all, value) in self.series(name, others) {
            let key: Vec<&str> = labels.iter().map(|label| all[*label].as_str()).collect();
            *sums.entry(key.join(" ")).or_default() += value;
        }
        sums
    }

    /// The same as counts, without those that are 0.
    pub fn counts(&self, name: &str, labels: &[&str], others: &[(&str, &str)]) -> Counts {
        let whole = |(key, value): (String, f64)| (value != 0.0).then_some((key, value as u64));
        self.by(name, labels, others).into_iter().filter_map(whole).collect()
    }

    /// The sum of the series that have these labels.
    pub fn sum(&self, name: &str, others: &[(&str, &str)]) -> f64 {
        self.series(name, others).map(|(_, _, value)| value).sum()
    }

    fn series<'a>(
        &'a self,
        name: &str,
        others: &[(&str, &str)],
    ) -> impl Iterator<Item = &'a (String, BTreeMap<String, String>, f64)> {
        let has = |all: &BTreeMap<String, String>| {
            let mut others = others.iter();
            others.all(|(label, value)| all.get(*label).is_some_and(|known| known == value))
        };
        let found: Vec<_> = self.0.iter().filter(|(of, all, _)| of == name && has(all)).collect();
        assert!(!found.is_empty(), "there is no {name} {others:?}");
        found.into_iter()
    }
}

/// No value here has a comma or a quote in it.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a series has a value");
    let value = value.parse().expect("a number");
    let Some((name, labels)) = series.split_once('{') else {
        return (series.to_owned(), BTreeMap::new(), value);
    };
    let labels = labels.trim_end_matches('}').split(',').map(|label| {
        let (key, value) = label.split_once('=').expect("a label has a value");
        (key.to_owned(), value.trim_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}

/// An operator's answer from the admin API.
pub async fn operator(admin: SocketAddr, folder: &Path, method: &str, path: &str) -> (u16, Value) {
    let token = std::fs::read_to_string(folder.join("data/admin.token")).expect("a token");
    let headers = format!("authorization: Bearer {}\r\nconnection: close\r\n", token.trim());
    let answer = Client::operator(admin).await.ask(method, path, &headers).await;
    (answer.status(), answer.json())
}

/// What a command that reads the data folder says in JSON.
pub async fn command(folder: &Path, args: &[&str]) -> Value {
    let said = run(folder, &[args, &["--json"]].concat(), "").await;
    assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("not JSON: {}", said.out))
}

/// The rows of a query by their first column, which is text; the second one is a number.
pub fn rows(folder: &Path, query: &str) -> Counts {
    let file = folder.join("data/tiergate.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it is there");
    let mut statement = database
        .prepare(query)
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?));
    let rows = statement.query_map([], row).expect("it is SQL");
    rows.map(|row| row.map(|(key, number)| (key, u64::try_from(number).expect("it is not negative"))))
        .collect::<Result<_, _>>()
        .expect("text and a number")
}

/// The access log's files, each read once: as logrotate does, one is renamed while it is written.
pub struct LogFiles {
    path: PathBuf,
    open: Vec<(File, String)>,
    renamed: u32,
}

impl LogFiles {
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: Vec::new(),
            renamed: 0,
        }
    }

    /// Renames the file. The one of that name will be another.
    pub fn rename(&mut self) {
        self.renamed += 1;
        let to = self.path.with_extension(format!("log.{}", self.renamed));
        std::fs::rename(&self.path, &to).expect("it is there");
        // Only what has been read to its end is closed.
        self.open = vec![self.open.pop().expect("it was read")];
        std::fs::remove_file(to).expect("it is ours");
    }

    /// The lines that were written since the last call.
    pub fn read(&mut self) -> Vec<Line> {
        use std::os::unix::fs::MetadataExt;
        let identity = |file: &File| file.metadata().expect("it is open").ino();
        if let Ok(file) = File::open(&self.path)
            && self.open.iter().all(|(open, _)| identity(open) != identity(&file))
        {
            self.open.push((file, String::new()));
        }
        let mut lines = Vec::new();
        for (file, rest) in &mut self.open {
            file.read_to_string(rest).expect("lines are text");
            let whole = rest.rfind('\n').map_or(0, |end| end + 1);
            lines.extend(rest[..whole].lines().map(Line::read));
            rest.drain(..whole);
        }
        lines
    }
}
