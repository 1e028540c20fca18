//! `tiergate journal`: whether the journal is whole, what is in it, how much of what. It reads the files, also while a door
//! writes them, and changes nothing.
//!
//! Absent on purpose: names of accounts, which only the door knows; callers are shown by their numbers and hashes.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{CliError, table, unless_enough};
use crate::clock::Clock;
use crate::config::Config;
use crate::policy::End;
use crate::policy::caller::{AccountId, Caller, NetworkId, UserId};
use crate::policy::time::UnixTime;
use crate::store::Entry;
use crate::store::journal::FOLDER;
use crate::store::journal::disk::SystemDisk;
use crate::store::journal::inspect::{self, Filter, Report, Stats, Unread};

/// The journal of finished jobs: verify, cat, stats. Works while the door runs, and while it doesn't.
#[derive(Debug, Args)]
pub struct Journal {
    /// The door's tiers.yaml: it says where the data folder is
    #[arg(long, global = true, value_name = "FILE", default_value = "tiers.yaml")]
    config: PathBuf,
    /// The data folder, if not the one that tiers.yaml names
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Answer in JSON, for programs; `cat` writes one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

impl Journal {
    /// Whether programs are to read the answer, or why there is none.
    pub fn is_for_programs(&self) -> bool {
        self.json
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether everything in it can be read. Exit code 1 if something was lost
    Verify,
    /// Show its entries, in the order in which they were written
    Cat {
        #[command(flatten)]
        filters: Filters,
        /// Show so many at most
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Count jobs by tier and outcome, and refusals by status
    Stats {
        #[command(flatten)]
        filters: Filters,
    },
}

#[derive(Debug, Args)]
struct Filters {
    /// Only what was let in at that time or later: 2026-11-22T06:00:00Z, 2026-11-22 (from its beginning, UTC), or how long
    /// ago: 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixTime>,
    /// Only what was let in before that time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixTime>,
    /// Only that caller's: account:7, network:00c0ffee00c0ffee, user:7/00c0ffee00c0ffee
    #[arg(long, value_name = "CALLER", value_parser = caller)]
    caller: Option<Caller>,
    /// Only jobs that ended so: succeeded, failed, cancelled, displaced, waited_out, hung_up, shut_down
    #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
    outcome: Option<End>,
}

impl Filters {
    fn filter(&self) -> Filter {
        Filter {
            since: self.since,
            until: self.until,
            caller: self.caller,
            outcome: self.outcome,
        }
    }
}

/// Does what is asked.
///
/// # Errors
/// The journal can't be read, or something in it was lost.
pub fn run(command: Journal, out: &mut impl Write) -> Result<(), CliError> {
    let folder = match command.data_dir {
        Some(folder) => folder,
        None => {
            let advice = "The command needs to know which journal: name the door's file with --config FILE, or its folder with --data-dir DIR";
            let door = Config::operators(&command.config);
            door.map_err(|errors| CliError::Config(errors, advice.to_owned()))?
                .data_dir
        }
    };
    if !folder.join(FOLDER).exists() {
        return Err(CliError::NoJournal(folder));
    }
    let unreadable = |error| CliError::Input(format!("the journal in {}", folder.display()), error);
    // One line at a time to a terminal or a pipe would cost a call to the system each.
    let mut out = BufWriter::new(out);
    let done = match command.command {
        Command::Verify => {
            let report = inspect::verify(&SystemDisk, &folder).map_err(unreadable)?;
            unless_enough(show_report(&mut out, &report, command.json).map_err(CliError::Output))?;
            match report.is_damaged() {
                true => Err(CliError::Damaged(folder)),
                false => Ok(()),
            }
        }
        Command::Cat { filters, limit } => {
            let mut left = limit.unwrap_or(u64::MAX);
            let mut written = Ok(());
            let each = |sequence, entry: &Entry| {
                if left > 0 && written.is_ok() {
                    left -= 1;
                    written = show_entry(&mut out, sequence, entry, command.json);
                }
                left > 0 && written.is_ok()
            };
            match limit {
                Some(0) => {}
                _ => warn(inspect::entries(&SystemDisk, &folder, &filters.filter(), each).map_err(unreadable)?),
            }
            written.map_err(CliError::Output)
        }
        Command::Stats { filters } => {
            let stats = inspect::stats(&SystemDisk, &folder, &filters.filter()).map_err(unreadable)?;
            warn(stats.unread);
            show_stats(&mut out, &stats, command.json).map_err(CliError::Output)
        }
    };
    let flushed = out.flush().map_err(CliError::Output);
    unless_enough(flushed).and(unless_enough(done))
}

/// Says what is not in the answer, where it does not get between what programs read.
fn warn(unread: Unread) {
    let Unread { records, headers } = unread;
    if unread != Unread::default() {
        eprintln!("left out what can't be read: {records} records, {headers} headers of segments");
    }
}

fn show_report(out: &mut impl Write, report: &Report, as_json: bool) -> io::Result<()> {
    if as_json {
        let segment = |segment: &inspect::SegmentReport| {
            json!({
                "segment": segment.number,
                "made": rfc3339(segment.made),
                "bytes": segment.bytes,
                "entries": segment.entries,
                "first": segment.sequences.map(|(first, _)| first),
                "last": segment.sequences.map(|(_, last)| last),
                "damaged": segment.damaged,
                "torn": segment.torn,
            })
        };
        let segments: Vec<Value> = report.segments.iter().map(segment).collect();
        let newer = report
            .newer
            .map(|(number, version)| json!({ "segment": number, "version": version }));
        return table::json(
            out,
            &json!({ "damaged": report.is_damaged(), "segments": segments, "newer": newer, "sums_unreadable": report.sums_unreadable }),
        );
    }
    let rows: Vec<[String; 7]> = report
        .segments
        .iter()
        .map(|segment| {
            let sequences = segment.sequences;
            [
                segment.number.to_string(),
                rfc3339(segment.made),
                segment.bytes.to_string(),
                segment.entries.to_string(),
                sequences.map_or("-".to_owned(), |(first, last)| format!("{first}-{last}")),
                segment.damaged.to_string(),
                segment.torn.to_string(),
            ]
        })
        .collect();
    let heads = ["SEGMENT", "MADE", "BYTES", "ENTRIES", "POSITION", "DAMAGED", "TORN"];
    table::write(out, heads, &rows)?;
    if report.sums_unreadable {
        writeln!(
            out,
            "the sums of calendar periods can't be read: they are damaged, or of a newer tiergate"
        )?;
    }
    match report.newer {
        Some((number, version)) => writeln!(
            out,
            "segment {number} was written by a newer tiergate (version {version})"
        ),
        None => Ok(()),
    }
}

fn show_entry(out: &mut impl Write, sequence: u64, entry: &Entry, as_json: bool) -> io::Result<()> {
    match entry {
        Entry::Job(record) if as_json => {
            let job = json!({
                "sequence": sequence,
                "admitted": rfc3339(record.admitted),
                "caller": shown(&record.caller),
                "tier": &*record.tier,
                "priority": record.priority.get(),
                "outcome": record.end.name(),
                "status": record.status,
                "cost": record.cost,
                "debit": record.debit(),
                "waited_ms": record.waited.as_nanos() / 1_000_000,
                "searched_ms": record.searched.as_nanos() / 1_000_000,
            });
            writeln!(out, "{job}")
        }
        Entry::Job(record) => writeln!(
            out,
            "{} {} tier={} priority={} {} status={} cost={} waited={} searched={}",
            rfc3339(record.admitted),
            shown(&record.caller),
            record.tier,
            record.priority.get(),
            record.end.name(),
            record.status,
            record.cost,
            record.waited,
            record.searched,
        ),
        Entry::Refused(refused) if as_json => {
            let line = json!({
                "sequence": sequence,
                "minute": rfc3339(refused.minute),
                "caller": refused.caller.as_ref().map(shown),
                "refused": refused.count,
                "status": refused.status,
            });
            writeln!(out, "{line}")
        }
        Entry::Refused(refused) => writeln!(
            out,
            "{} {} refused={} status={}",
            rfc3339(refused.minute),
            refused.caller.as_ref().map_or("everybody".to_owned(), shown),
            refused.count,
            refused.status,
        ),
    }
}

fn show_stats(out: &mut impl Write, stats: &Stats, as_json: bool) -> io::Result<()> {
    let (first, last) = (stats.times.map(|(first, _)| first), stats.times.map(|(_, last)| last));
    if as_json {
        let job = |((tier, outcome), jobs): (&(String, &str), &u64)| json!({ "tier": tier, "outcome": outcome, "jobs": jobs });
        let jobs: Vec<Value> = stats.jobs.iter().map(job).collect();
        let refused = |(status, count): (&u16, &u64)| json!({ "status": status, "refusals": count });
        let refusals: Vec<Value> = stats.refusals.iter().map(refused).collect();
        let all = json!({
            "first": first.map(rfc3339),
            "last": last.map(rfc3339),
            "debited": stats.debited,
            "jobs": jobs,
            "refusals": refusals,
        });
        return table::json(out, &all);
    }
    let jobs: Vec<[String; 3]> = stats
        .jobs
        .iter()
        .map(|((tier, outcome), jobs)| [tier.clone(), (*outcome).to_owned(), jobs.to_string()])
        .collect();
    table::write(out, ["TIER", "OUTCOME", "JOBS"], &jobs)?;
    for (status, count) in &stats.refusals {
        writeln!(out, "refused with {status}: {count}")?;
    }
    if let (Some(first), Some(last)) = (first, last) {
        writeln!(out, "from {} to {}", rfc3339(first), rfc3339(last))?;
    }
    writeln!(out, "debited: {}", stats.debited)
}

/// A caller as it is written here, and as `--caller` takes it.
fn shown(caller: &Caller) -> String {
    match caller {
        Caller::Account(AccountId(account)) => format!("account:{account}"),
        Caller::Network(NetworkId(network)) => format!("network:{network:016x}"),
        Caller::User {
            of: AccountId(of),
            user: UserId(user),
        } => format!("user:{of}/{user:016x}"),
    }
}

fn caller(text: &str) -> Result<Caller, String> {
    let account = |text: &str| text.parse().ok().map(AccountId);
    let hash = |text: &str| u64::from_str_radix(text, 16).ok();
    let found = match text.split_once(':') {
        Some(("account", id)) => account(id).map(Caller::Account),
        Some(("network", id)) => hash(id).map(NetworkId).map(Caller::Network),
        Some(("user", id)) => id.split_once('/').and_then(|(of, user)| {
            Some(Caller::User {
                of: account(of)?,
                user: UserId(hash(user)?),
            })
        }),
        _ => None,
    };
    found.ok_or_else(|| "a caller is account:7, network:HEX or user:7/HEX".to_owned())
}

fn outcome(text: &str) -> Result<End, String> {
    let names: Vec<&str> = End::ALL.iter().map(|(_, name)| *name).collect();
    let found = End::ALL.iter().find(|(_, name)| *name == text);
    found
        .map(|(end, _)| *end)
        .ok_or_else(|| format!("an outcome is one of {}", names.join(", ")))
}

/// A point of time, a day (UTC), which stands for its beginning, or how long ago.
fn time(text: &str) -> Result<UnixTime, String> {
    let millis = |time: Timestamp| u64::try_from(time.as_millisecond()).unwrap_or(0);
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(UnixTime::from_millis(millis(time)));
    }
    let wrong = || "a time is 2026-11-22T06:00:00Z, a day such as 2026-11-22 (UTC), or how long ago: 2h, 7d".to_owned();
    if text.len() == "2026-11-22".len()
        && let Ok(day) = text.parse::<Date>()
    {
        let beginning = day.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
        return Ok(UnixTime::from_millis(millis(beginning.timestamp())));
    }
    let ago: jiff::Span = text.parse().map_err(|_| wrong())?;
    let now = i64::try_from(Clock::start().wall().as_millis()).map_err(|_| wrong())?;
    let now = Timestamp::from_millisecond(now).map_err(|_| wrong())?;
    let then = now
        .to_zoned(TimeZone::UTC)
        .checked_sub(ago.abs())
        .map_err(|_| wrong())?;
    Ok(UnixTime::from_millis(millis(then.timestamp())))
}

/// A time as RFC 3339 has it, in UTC to the millisecond.
fn rfc3339(time: UnixTime) -> String {
    let millis = i64::try_from(time.as_millis()).ok();
    match millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()) {
        Some(time) => format!("{time:.3}"),
        // Later than the year 9999: only a damaged clock says so.
        None => format!("{}ms", time.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_taken_as_they_are_shown() {
        let all = [
            Caller::Account(AccountId(7)),
            Caller::Network(NetworkId(0x00c0_ffee)),
            Caller::User {
                of: AccountId(7),
                user: UserId(u64::MAX),
            },
        ];
        for one in all {
            assert_eq!(caller(&shown(&one)), Ok(one));
        }
        for wrong in ["", "7", "account:", "account:-1", "network:xyz", "user:7", "key:1"] {
            assert!(caller(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_points_or_how_long_ago() {
        let point = UnixTime::from_secs(1_795_327_200);
        assert_eq!(time("2026-11-22T06:00:00Z"), Ok(point));
        assert_eq!(time("2026-11-22T07:00:00+01:00"), Ok(point));
        assert_eq!(rfc3339(point), "2026-11-22T06:00:00.000Z");
        // An end of an account could be written so, and the beginning of a look into the journal not.
        assert_eq!(
            time("2026-11-22").map(rfc3339).as_deref(),
            Ok("2026-11-22T00:00:00.000Z")
        );
        let now = Clock::start().wall();
        let ago = now.since(time("2h").expect("it is one"));
        assert!((7_190_000..=7_200_000).contains(&(ago.as_nanos() / 1_000_000)), "{ago}");
        assert!(time("7d").expect("it is one") < time("2h").expect("it is one"));
        for wrong in ["", "yesterday", "12", "2026-13-22", "2026-11-22T06"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
