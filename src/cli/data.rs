//! Shared by the commands that read the data folder directly: finding the folder, resolving callers, times.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::CliError;
use crate::clock::Clock;
use crate::config::{Config, length_of_time};
use crate::policy::caller::Caller;
use crate::policy::time::{Span, UnixTime};
use crate::store::{CallerName, View, network_caller, user_caller};

/// The data folder, and the output format.
#[derive(Debug, Args)]
pub struct DataTarget {
    /// Path to the server's tiers.yaml, which names the data folder
    #[arg(long, global = true, value_name = "FILE", default_value = "tiers.yaml")]
    config: PathBuf,
    /// Data folder, if not the one that tiers.yaml names
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl DataTarget {
    /// The data folder.
    ///
    /// # Errors
    /// tiers.yaml is needed, but invalid or missing.
    pub fn folder(&self) -> Result<PathBuf, CliError> {
        if let Some(folder) = &self.data_dir {
            return Ok(folder.clone());
        }
        let advice = "The data folder can't be found through this file: pass it with --data-dir DIR, or the server's file with --config FILE";
        let server = Config::operators(&self.config);
        server
            .map(|server| server.data_dir)
            .map_err(|errors| CliError::Config(errors, advice.to_owned()))
    }

    /// Opens the database read-only.
    ///
    /// # Errors
    /// As [`Self::folder`], or the database can't be read.
    pub fn view(&self) -> Result<(View, PathBuf), CliError> {
        let folder = self.folder()?;
        let view = View::open(&folder)?;
        Ok((view, folder))
    }
}

/// The caller with that account name or address. `user` names a user of the account.
///
/// # Errors
/// No account ever had the name, and it is not an address; or the key in the data folder is needed and can't be read.
pub fn caller(view: &mut View, folder: &std::path::Path, name: &str, user: Option<&str>) -> Result<Caller, CliError> {
    match (view.account(name)?, user, name.parse::<IpAddr>()) {
        (Some(account), None, _) => Ok(Caller::Account(account)),
        (Some(account), Some(user), _) => Ok(user_caller(folder, account, user)?),
        (None, None, Ok(address)) => Ok(network_caller(folder, address)?),
        (None, Some(_), Ok(_)) => Err(CliError::Unfit(format!(
            "{name} is an address: only an account has users"
        ))),
        (None, _, Err(_)) => Err(CliError::Unfit(format!(
            "no account is or was named {name}, and it is not an address; `tiergate account list` shows all accounts"
        ))),
    }
}

/// The caller as JSON.
pub fn caller_json(caller: &CallerName) -> Value {
    match caller {
        CallerName::Account { name, removed } => json!({ "account": name, "removed": removed }),
        CallerName::User { account, user } => json!({ "account": account, "user": format!("{:016x}", user.0) }),
        CallerName::Network(network) => json!({ "network": format!("{:016x}", network.0) }),
        CallerName::Others => Value::Null,
    }
}

/// Parses a duration such as `24h`.
///
/// # Errors
/// What to write instead.
pub fn length(text: &str) -> Result<Span, String> {
    length_of_time(text).map(Span::from)
}

/// Parses a time, a day (UTC), which stands for its beginning, or an age.
///
/// # Errors
/// What to write instead.
pub fn time(text: &str) -> Result<UnixTime, String> {
    let millis = |time: Timestamp| UnixTime::from_millis(u64::try_from(time.as_millisecond()).unwrap_or(0));
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(millis(time));
    }
    let day = text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-22".len());
    if let Some(beginning) = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok()) {
        return Ok(millis(beginning.timestamp()));
    }
    let ago = length(text)
        .map_err(|_| "write how long ago, such as 2h or 7d, a day (UTC) such as 2026-11-22, or a time such as 2026-11-22T06:00:00Z")?;
    Ok(before(now(), ago))
}

/// The current time.
pub fn now() -> UnixTime {
    Clock::start().wall()
}

/// The time `span` before `now`.
pub const fn before(now: UnixTime, span: Span) -> UnixTime {
    UnixTime::from_millis(now.as_millis().saturating_sub(span.as_millis()))
}

/// A time for programs: RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(time: UnixTime) -> String {
    match timestamp(time) {
        Some(time) => format!("{time:.3}"),
        // After the year 9999, by a broken clock.
        None => format!("{}ms", time.as_millis()),
    }
}

/// A time for people, in UTC, to the second.
pub fn readable(time: UnixTime) -> String {
    match timestamp(time) {
        Some(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => rfc3339(time),
    }
}

fn timestamp(time: UnixTime) -> Option<Timestamp> {
    let millis = i64::try_from(time.as_millis()).ok()?;
    Timestamp::from_millisecond(millis).ok()
}

/// The mean, for people: in milliseconds below a second.
pub fn mean(sum: Span, count: u64) -> String {
    match sum.as_millis().checked_div(count) {
        None => "-".to_owned(),
        Some(millis) => millis_readable(millis),
    }
}

/// Milliseconds for people.
pub fn millis_readable(millis: u64) -> String {
    match millis {
        ..1_000 => format!("{millis}ms"),
        _ => format!("{}.{}s", millis / 1_000, millis % 1_000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_days_or_durations_ago() {
        let point = UnixTime::from_secs(1_795_327_200);
        assert_eq!(time("2026-11-22T06:00:00Z"), Ok(point));
        assert_eq!(time("2026-11-22T07:00:00+01:00"), Ok(point));
        assert_eq!(rfc3339(point), "2026-11-22T06:00:00.000Z");
        assert_eq!(readable(point), "2026-11-22 06:00:00");
        assert_eq!(
            time("2026-11-22").map(rfc3339).as_deref(),
            Ok("2026-11-22T00:00:00.000Z")
        );
        let ago = now().since(time("2h").expect("it is one"));
        assert!((7_199_000..=7_201_000).contains(&ago.as_millis()), "{ago}");
        for wrong in ["", "yesterday", "12", "2026-13-22", "2026-11-22T06", "0s"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_readable() {
        for (millis, text) in [(0, "0ms"), (999, "999ms"), (1_000, "1.0s"), (61_250, "61.2s")] {
            assert_eq!(millis_readable(millis), text);
        }
        assert_eq!(mean(Span::from_millis(10), 4), "2ms");
        assert_eq!(mean(Span::ZERO, 0), "-");
    }
}
