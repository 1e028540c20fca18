//! `tiergate jobs`: finished jobs, from the data folder.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use clap::builder::PossibleValuesParser;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

use super::data::{self, DataTarget};
use super::{CliError, ignore_broken_pipe, table};
use crate::policy::End;
use crate::policy::time::UnixTime;
use crate::store::View;
use crate::store::jobs::{FinishedJob, JobQuery};

/// Poll interval of --follow.
const POLL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 250_000_000,
};
/// Jobs per read with --follow.
const PAGE: u32 = 1_000;
/// The outcome of jobs whose answers were aborted while being sent.
const WITHDRAWN: &str = "withdrawn";

/// Show finished jobs, newest last.
///
/// Reads the database directly, whether a server runs or not. Times are UTC. With --json, prints one object per line.
#[derive(Debug, Args)]
#[command(after_help = "Example: tiergate jobs --account acme --outcome failed --since 2h")]
pub struct JobsArgs {
    /// Show only jobs of this account, including those of its users, or of an address such as 192.0.2.7
    #[arg(long, value_name = "ACCOUNT|ADDRESS")]
    account: Option<String>,
    /// Show only jobs of this user of the account, by the name that the account gives it
    #[arg(long, value_name = "NAME", requires = "account")]
    user: Option<String>,
    /// Show only jobs of this tier
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Show only jobs with this outcome
    #[arg(long, value_parser = outcomes())]
    outcome: Option<String>,
    /// Show only jobs that ended since then: an age such as 2h or 7d, a day (UTC), or a time such as 2026-11-22T06:00:00Z
    #[arg(long, value_name = "TIME", value_parser = data::time)]
    since: Option<UnixTime>,
    /// Show at most the last N jobs
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Keep printing new jobs as they finish, until Ctrl-C
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    target: DataTarget,
}

fn outcomes() -> PossibleValuesParser {
    End::ALL.iter().map(|(_, name)| *name).chain([WITHDRAWN]).into()
}

impl JobsArgs {
    /// Whether the output, errors included, is JSON.
    pub fn wants_json(&self) -> bool {
        self.target.json
    }
}

/// Reads the jobs, and writes them to `out`.
///
/// # Errors
/// The database can't be read, the caller is unknown, or the database was replaced while following it.
pub fn run(jobs: &JobsArgs, out: &mut (impl Write + AsFd)) -> Result<(), CliError> {
    let (mut view, folder) = jobs.target.view()?;
    let whose = match &jobs.account {
        Some(name) => Some(data::caller(&mut view, &folder, name, jobs.user.as_deref())?),
        None => None,
    };
    let query = JobQuery {
        whose,
        tier: jobs.tier.clone(),
        outcome: jobs.outcome.clone(),
        since: jobs.since,
        after: 0,
    };
    let reader = out.as_fd().try_clone_to_owned()?;
    let mut printer = Printer {
        // Otherwise each line costs a system call.
        out: BufWriter::new(out),
        is_json: jobs.target.json,
        widths: Vec::new(),
    };
    ignore_broken_pipe(show(jobs, &mut view, query, &mut printer, reader.as_fd()))
}

fn show(
    jobs: &JobsArgs,
    view: &mut View,
    query: JobQuery,
    printer: &mut Printer<impl Write>,
    reader: BorrowedFd<'_>,
) -> Result<(), CliError> {
    // Read first: jobs that end meanwhile are left to `follow`.
    let last = view.last_number()?;
    let found = view.last_jobs(&query, jobs.limit)?;
    let after = found.last().map_or(last, |job| job.number.max(last));
    printer.print(&found)?;
    let newer = JobQuery {
        after,
        since: None,
        ..query
    };
    match jobs.follow {
        true => follow(view, newer, printer, reader),
        false => Ok(()),
    }
}

/// Prints jobs as they finish, until the reader closes its end.
fn follow(
    view: &mut View,
    mut query: JobQuery,
    printer: &mut Printer<impl Write>,
    reader: BorrowedFd<'_>,
) -> Result<(), CliError> {
    let opened = inode(view.file());
    loop {
        let (found, seen) = view.next_jobs(&query, PAGE)?;
        query.after = seen;
        if !found.is_empty() {
            printer.print(&found)?;
            continue;
        }
        if inode(view.file()) != opened {
            let error = format!(
                "{} was replaced by another database; run the command again",
                view.file().display()
            );
            return Err(CliError::Unfit(error));
        }
        if is_gone(reader, POLL) {
            return Ok(());
        }
    }
}

/// Waits for `longest`, or until the reader closes its end. Returns whether it has.
fn is_gone(reader: BorrowedFd<'_>, longest: Timespec) -> bool {
    // poll(2) reports POLLHUP and POLLERR without being asked for.
    let mut look = [PollFd::from_borrowed_fd(reader, PollFlags::empty())];
    poll(&mut look, Some(&longest)).is_ok_and(|closed| closed > 0)
}

fn inode(file: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(file).ok()?;
    Some((found.dev(), found.ino()))
}

/// Writes jobs, batch by batch.
struct Printer<W: Write> {
    out: BufWriter<W>,
    is_json: bool,
    /// Column widths so far; empty before the header.
    widths: Vec<usize>,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, jobs: &[FinishedJob]) -> Result<(), CliError> {
        match self.is_json {
            true => jobs.iter().try_for_each(|job| writeln!(self.out, "{}", in_json(job)))?,
            false => self.print_table(jobs)?,
        }
        Ok(self.out.flush()?)
    }

    /// Columns never get narrower; the header comes before the first batch.
    fn print_table(&mut self, jobs: &[FinishedJob]) -> std::io::Result<()> {
        let mut rows: Vec<[String; 11]> = jobs.iter().map(row).collect();
        if self.widths.is_empty() {
            let heads = [
                "NUMBER", "ENDED", "CALLER", "TIER", "UPSTREAM", "PRIORITY", "OUTCOME", "STATUS", "UNITS", "WAIT",
                "SERVICE",
            ];
            rows.insert(0, heads.map(str::to_owned));
        }
        let rows: Vec<&[String]> = rows.iter().map(<[String; 11]>::as_slice).collect();
        let needed = table::widths(&rows);
        self.widths.resize(needed.len().max(self.widths.len()), 0);
        for (width, needed) in self.widths.iter_mut().zip(needed) {
            *width = needed.max(*width);
        }
        rows.into_iter()
            .try_for_each(|row| writeln!(self.out, "{}", table::aligned(row, &self.widths, "  ").trim_end()))
    }
}

fn row(job: &FinishedJob) -> [String; 11] {
    [
        job.number.to_string(),
        data::readable(job.ended),
        job.caller.to_string(),
        job.tier.clone(),
        job.upstream.clone(),
        job.priority.to_string(),
        job.outcome.clone(),
        match job.status {
            0 => "-".to_owned(),
            status => status.to_string(),
        },
        job.units.to_string(),
        data::millis_readable(job.wait.as_millis()),
        data::millis_readable(job.service.as_millis()),
    ]
}

fn in_json(job: &FinishedJob) -> serde_json::Value {
    json!({
        "number": job.number,
        "admitted": data::rfc3339(job.admitted),
        "ended": data::rfc3339(job.ended),
        "caller": data::caller_json(&job.caller),
        "tier": job.tier,
        "upstream": job.upstream,
        "priority": job.priority,
        "outcome": job.outcome,
        "status": Some(job.status).filter(|status| *status != 0),
        "cost": job.cost,
        "units": job.units,
        "wait_ms": job.wait.as_millis(),
        "service_ms": job.service.as_millis(),
    })
}
