//! The quotas of tiers, and the windows in which they count. What a calendar's periods are in its time zone is computed here,
//! ahead for good: the policy knows no time zones (semantics §5.7).
//!
//! Absent on purpose: how much anybody has used.

use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::civil::{Date, date};
use jiff::tz::{self, TimeZone};

use super::error::Report;
use super::excerpt::quoted;
use super::read::{Fields, entries, shown};
use super::suggest::did_you_mean;
use super::value::{boolean, duration, integer, name_is_legal, one_of, text};
use super::yaml::{Node, Place};
use crate::policy::rules::{Calendar, Quota, Window, WindowId};
use crate::policy::time::{Span, UnixTime};

/// Quotas of one tier, at most.
pub const QUOTAS_PER_TIER_MAX: usize = 8;
/// Different windows in which quotas count, at most: each is a table of its own.
pub const WINDOWS_MAX: usize = 16;
/// The longest name of a quota, in characters.
pub(super) const QUOTA_NAME_CHARS_MAX: usize = 32;
/// Units in a window.
pub(super) const LIMIT: RangeInclusive<u64> = 0..=1_000_000_000_000;
/// The shortest rolling window, in milliseconds.
const ROLLING_MS_MIN: u128 = 1_000;
/// The years for which calendars are computed. What comes before is one period, and the last one never ends.
const YEARS: std::ops::Range<i16> = 2020..2100;
/// The longest name of a time zone, in bytes.
pub(super) const ZONE_BYTES_MAX: usize = 64;
/// What answers call a caller's concurrency, beside its quotas.
pub(super) const RESERVED: &str = "concurrency";

pub(super) const KNOWN: [&str; 5] = ["limit", "rolling", "calendar", "zone", "enforce"];

/// The windows that were found so far, each once.
#[derive(Debug, Default)]
pub(super) struct Windows {
    found: Vec<Window>,
}

impl Windows {
    /// All of them, by their ids.
    pub(super) fn into_found(self) -> Vec<Window> {
        self.found
    }

    fn id(&mut self, asked: &Asked, place: Place, report: &mut Report) -> Option<WindowId> {
        let known = self.found.iter().position(|found| asked.is(found));
        let at = known.unwrap_or(self.found.len());
        if known.is_none() {
            if at == WINDOWS_MAX {
                let message = format!("quotas count in more than {WINDOWS_MAX} different windows");
                report.add(place, message, "let tiers share their windows");
                return None;
            }
            self.found.push(asked.window());
        }
        u8::try_from(at).ok().map(WindowId)
    }
}

/// A window as it is written.
enum Asked {
    Rolling(Span),
    Calendar { unit: Unit, zone: TimeZone, name: String },
}

#[derive(Clone, Copy)]
enum Unit {
    Day,
    Month,
}

impl Asked {
    fn is(&self, window: &Window) -> bool {
        match (self, window) {
            (Self::Rolling(asked), Window::Rolling(found)) => asked == found,
            (Self::Calendar { name, .. }, Window::Calendar(found)) => **name == *found.name,
            _ => false,
        }
    }

    fn window(&self) -> Window {
        match self {
            Self::Rolling(length) => Window::Rolling(*length),
            Self::Calendar { unit, zone, name } => Window::Calendar(Calendar {
                name: name.as_str().into(),
                starts: starts(*unit, zone),
            }),
        }
    }

    /// What its quota is called if it isn't told.
    fn usual_name(&self) -> String {
        const HOUR: Span = Span::from_secs(3_600);
        let rolling = |hours: u64| Span::from_secs(3_600 * hours);
        match self {
            Self::Calendar { unit: Unit::Day, .. } => "daily".to_owned(),
            Self::Calendar { unit: Unit::Month, .. } => "monthly".to_owned(),
            Self::Rolling(HOUR) => "hourly".to_owned(),
            Self::Rolling(length) if *length == rolling(24) => "daily".to_owned(),
            Self::Rolling(length) if *length == rolling(7 * 24) => "weekly".to_owned(),
            Self::Rolling(length) if *length == rolling(30 * 24) => "monthly".to_owned(),
            Self::Rolling(length) => format!("{}s", length.as_secs_ceil()),
        }
    }
}

/// When the periods of that unit begin there: where a clock shows midnight for the first time, or would if it did not skip it.
fn starts(unit: Unit, zone: &TimeZone) -> Arc<[UnixTime]> {
    let first = |day: Date| day.to_zoned(zone.clone()).ok();
    let of_year = |year: i16| match unit {
        Unit::Month => (1..=12).map(|month| date(year, month, 1)).collect::<Vec<_>>(),
        Unit::Day => date(year, 1, 1)
            .series(jiff::Span::new().days(1))
            .take_while(|day| day.year() == year)
            .collect(),
    };
    let mut starts: Vec<UnixTime> = YEARS
        .flat_map(of_year)
        .filter_map(first)
        .filter_map(|start| u64::try_from(start.timestamp().as_millisecond()).ok())
        .map(UnixTime::from_millis)
        .collect();
    // A zone that has left out a day has two that begin together.
    starts.dedup();
    starts.into()
}

/// `quota: { limit, rolling }` or `{ limit, calendar, zone }`: a tier's only one.
pub(super) fn one(node: &Node, windows: &mut Windows, report: &mut Report) -> Option<Vec<Quota>> {
    quota(node, "`quota`".to_owned(), None, node.place, windows, report).map(|quota| vec![quota])
}

/// `quotas: { name: { … }, … }`, all of which must have room.
pub(super) fn named(node: &Node, windows: &mut Windows, report: &mut Report) -> Option<Vec<Quota>> {
    let entries = entries(node, "quota", QUOTAS_PER_TIER_MAX, report)?;
    let mut quotas = Vec::new();
    for entry in entries {
        let what = format!("quota {}", quoted(entry.name));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !name_is_legal(entry.name, legal) || entry.name.len() > QUOTA_NAME_CHARS_MAX {
            let advice = "use 1 to 32 of a-z, A-Z, 0-9, -, _ and .: the name travels in a header";
            report.add(entry.at, format!("{what} has no legal name"), advice);
        } else if entry.name == RESERVED {
            let message = format!("{what} would be taken for the tier's concurrency");
            report.add(entry.at, message, "give it another name, such as daily");
        }
        quotas.extend(quota(entry.value, what, Some(entry.name), entry.at, windows, report));
    }
    Some(quotas)
}

fn quota(
    node: &Node,
    what: String,
    name: Option<&str>,
    at: Place,
    windows: &mut Windows,
    report: &mut Report,
) -> Option<Quota> {
    let fields = Fields::of(node, what, at, &KNOWN, report)?;
    let advice = "add `limit`: how many successes a caller may have in the window";
    let limit = fields.required("limit", advice, report, |node, report| integer(node, LIMIT, report));
    let zone = fields.maybe("zone", report, zone);
    let enforce = fields.or("enforce", true, report, boolean);
    let asked = match (fields.get("rolling"), fields.get("calendar")) {
        (Some(_), Some(calendar)) => {
            let message = "a quota counts in a rolling window or in a calendar's, not in both";
            report.add(calendar.place, message, "keep one; `quotas` may name several quotas");
            return None;
        }
        (None, None) if fields.is_meant("rolling") || fields.is_meant("calendar") => return None,
        (None, None) => {
            let advice = "add `rolling`: how long it is, such as 24h, or `calendar`: day or month";
            report.add(at, "the quota says no window", advice);
            return None;
        }
        (Some(node), None) => {
            if let Some(zone) = fields.get("zone") {
                report.add(zone.place, "a rolling window knows no time zone", "leave `zone` out");
            }
            Asked::Rolling(rolling(node, report)?)
        }
        (None, Some(node)) => {
            let unit = one_of(node, &[("day", Unit::Day), ("month", Unit::Month)], report);
            let zone = if fields.get("zone").is_some() {
                zone?
            } else {
                TimeZone::UTC
            };
            let unit = unit?;
            let word = match unit {
                Unit::Day => "day",
                Unit::Month => "month",
            };
            let name = format!("{word} {}", zone.iana_name().unwrap_or("UTC"));
            Asked::Calendar { unit, zone, name }
        }
    };
    let name = name.map_or_else(|| asked.usual_name(), str::to_owned);
    Some(Quota {
        name: name.into(),
        limit: limit?,
        window: windows.id(&asked, at, report)?,
        enforce,
    })
}

fn rolling(node: &Node, report: &mut Report) -> Option<Span> {
    let length = duration(node, report)?;
    if length.as_millis() < ROLLING_MS_MIN {
        report.add(
            node.place,
            format!("{} is too short for a quota", shown(node)),
            "write at least 1s",
        );
        return None;
    }
    Some(length.into())
}

fn zone(node: &Node, report: &mut Report) -> Option<TimeZone> {
    let written = text(node, "a time zone", report)?;
    let known = (written.len() <= ZONE_BYTES_MAX)
        .then(|| tz::db().get(written).ok())
        .flatten();
    if known.is_none() {
        let names: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
        let meant = did_you_mean(written, names.iter().map(String::as_str), report);
        let message = format!("{} is no time zone{meant}", shown(node));
        report.add(
            node.place,
            message,
            "write an IANA name such as UTC or America/New_York",
        );
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(unit: Unit, zone: &str) -> Calendar {
        Calendar {
            name: zone.into(),
            starts: starts(unit, &TimeZone::get(zone).expect("a zone that there is")),
        }
    }

    #[test]
    fn days_are_as_long_as_their_zone_makes_them() {
        let hours = |zone: &str, day: &str| {
            let calendar = calendar(Unit::Day, zone);
            let at: jiff::Timestamp = day.parse().expect("a time");
            let at = UnixTime::from_secs(u64::try_from(at.as_second()).expect("after 1970"));
            let begun = calendar.period(at);
            let next = calendar.starts[calendar.starts.partition_point(|start| *start <= at)];
            next.since(begun).as_secs_ceil() / 3_600
        };
        assert_eq!(hours("America/New_York", "2026-03-08T17:00:00Z"), 23);
        assert_eq!(hours("America/New_York", "2026-11-01T17:00:00Z"), 25);
        assert_eq!(hours("Europe/London", "2027-03-28T12:00:00Z"), 23);
        assert_eq!(hours("Europe/London", "2027-10-31T12:00:00Z"), 25);
        assert_eq!(hours("UTC", "2028-02-29T12:00:00Z"), 24);
        // There the clock skips midnight itself.
        assert_eq!(hours("Africa/Cairo", "2026-04-24T12:00:00Z"), 23);
    }

    #[test]
    fn months_begin_on_their_first() {
        let months = calendar(Unit::Month, "UTC");
        let unix = |text: &str| {
            let at: jiff::Timestamp = text.parse().expect("a time");
            UnixTime::from_millis(u64::try_from(at.as_millisecond()).expect("after 1970"))
        };
        assert_eq!(months.starts.len(), 80 * 12);
        assert_eq!(
            months.period(unix("2028-02-29T23:59:59.999Z")),
            unix("2028-02-01T00:00:00Z")
        );
        assert_eq!(
            months.period(unix("2028-03-01T00:00:00Z")),
            unix("2028-03-01T00:00:00Z")
        );
        assert_eq!(months.period(unix("1999-01-01T00:00:00Z")), UnixTime::default());
        assert_eq!(
            months.period(unix("2150-01-01T00:00:00Z")),
            unix("2099-12-01T00:00:00Z")
        );
    }
}
