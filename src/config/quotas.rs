//! Quotas of tiers, and their windows. Calendar periods in time zones are computed here, far ahead: the policy knows no time
//! zones (rules §5.7).

use std::sync::Arc;

use jiff::civil::{Date, date};
use jiff::tz::{self, TimeZone};

use super::prelude::*;
use crate::policy::rules::{self, Calendar, Window, WindowId};
use crate::policy::time::{Span, UnixTime};

/// The most quotas of one tier.
pub const QUOTAS_PER_TIER_MAX: usize = 8;
/// The most different windows of quotas: each is a table of its own.
pub const WINDOWS_MAX: usize = 16;
/// The longest name of a quota or limit, in characters.
const QUOTA_NAME_CHARS_MAX: usize = 32;
/// The years for which calendars are computed. Earlier time is one period, and the last period never ends.
const YEARS: std::ops::Range<i16> = 2020..2100;
/// The longest name of a time zone, in bytes.
const ZONE_BYTES_MAX: usize = 64;
/// The name of a caller's concurrency in answers, beside its quotas.
const RESERVED: &str = "concurrency";

/// A quota: successful jobs in a window.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Quota")]
#[schemars(extend(
    "oneOf" = [{ "required": ["rolling"] }, { "required": ["calendar"] }],
    "dependencies" = { "zone": ["calendar"] }
))]
pub(super) struct QuotaSection {
    /// Successes that a caller may have in the window.
    #[serde(with = "As::<Whole<u64, 0, 1_000_000_000_000>>")]
    #[schemars(extend("x-add" = "add `limit`: how many successes a caller may have in the window"))]
    limit: u64,
    /// Any interval of this length, such as 24h; at least 1s.
    #[serde(default, with = "Maybe::<LengthIn<1_000, YEAR_MS>>")]
    rolling: Option<Duration>,
    /// From the start of each day or month.
    #[serde(default)]
    calendar: Option<Unit>,
    /// Time zone of the calendar, such as UTC or America/New_York.
    #[serde(default = "utc", with = "As::<Zone>")]
    zone: TimeZone,
    /// Whether it refuses requests; if false, it is counted, and only operators see what it would refuse.
    #[serde(default = "yes")]
    enforce: bool,
}

const YEAR_MS: u64 = 366 * 86_400_000;

impl Item for QuotaSection {
    const NOUN: &'static str = "quota";
}

/// A calendar's periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum Unit {
    /// From midnight to midnight.
    Day,
    /// From the 1st.
    Month,
}

fn utc() -> TimeZone {
    TimeZone::UTC
}

/// The distinct windows found so far.
#[derive(Debug, Default)]
pub(super) struct Windows {
    found: Vec<Window>,
}

impl Windows {
    /// All windows, by id.
    pub(super) fn into_found(self) -> Vec<Window> {
        self.found
    }

    fn id(&mut self, spec: &WindowSpec, place: Location, report: &mut Report) -> Option<WindowId> {
        let known = self.found.iter().position(|found| spec.matches(found));
        let at = known.unwrap_or(self.found.len());
        if known.is_none() {
            if at == WINDOWS_MAX {
                let message = format!("quotas count in more than {WINDOWS_MAX} different windows");
                report.add(place, message, "let tiers share their windows");
                return None;
            }
            self.found.push(spec.window());
        }
        u16::try_from(at).ok().map(WindowId)
    }
}

/// A window in the file.
enum WindowSpec {
    Rolling(Span),
    Calendar { unit: Unit, zone: TimeZone, name: String },
}

impl WindowSpec {
    fn matches(&self, window: &Window) -> bool {
        match (self, window) {
            (Self::Rolling(length), Window::Rolling(found)) => length == found,
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

    /// The default name of its quota.
    fn default_name(&self) -> String {
        let hours = |length: &Span| {
            Some(length.as_secs_ceil() / 3_600).filter(|hours| Span::from_secs(hours * 3_600) == *length)
        };
        match self {
            Self::Calendar { unit: Unit::Day, .. } => "daily".to_owned(),
            Self::Calendar { unit: Unit::Month, .. } => "monthly".to_owned(),
            Self::Rolling(length) => match hours(length) {
                Some(1) => "hourly".to_owned(),
                Some(24) => "daily".to_owned(),
                Some(168) => "weekly".to_owned(),
                Some(720) => "monthly".to_owned(),
                _ => format!("{}s", length.as_secs_ceil()),
            },
        }
    }
}

/// When periods of that unit start in the zone: at the first midnight on the clock, or where it would be if the clock skips it.
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
    // In a zone that skipped a day, two periods start together.
    starts.dedup();
    starts.into()
}

impl QuotaSection {
    /// The policy's quota; `name` is the given name, if any, and `at` is for reports.
    pub(super) fn checked(
        &self,
        name: Option<&str>,
        at: Location,
        node: &Node,
        windows: &mut Windows,
        report: &mut Report,
    ) -> Option<rules::Quota> {
        let spec = self.window(at, Part::new(node, report))?;
        let is_right = Part::new(node, report).right(&["limit"]);
        let name = name.map_or_else(|| spec.default_name(), str::to_owned);
        let window = windows.id(&spec, at, report)?;
        is_right.then(|| rules::Quota {
            name: name.into(),
            limit: self.limit,
            window,
            enforce: self.enforce,
        })
    }

    fn window(&self, at: Location, mut part: Part<'_>) -> Option<WindowSpec> {
        match (part.value("rolling"), part.value("calendar")) {
            (Some(_), Some(_)) => {
                let message = "a quota counts in a rolling window or in a calendar's, not in both";
                part.add("calendar", message, "keep one; `quotas` may name several quotas");
                None
            }
            (None, None) if part.is_meant("rolling") || part.is_meant("calendar") => None,
            (None, None) => {
                let advice = "add `rolling`: how long it is, such as 24h, or `calendar`: day or month";
                part.add_at(at, "the quota says no window", advice);
                None
            }
            (Some(_), None) => {
                if part.value("zone").is_some() {
                    part.add("zone", "a rolling window knows no time zone", "leave `zone` out");
                }
                self.rolling.map(|length| WindowSpec::Rolling(length.into()))
            }
            (None, Some(_)) if !part.sound(&["calendar", "zone"]) => None,
            (None, Some(_)) => {
                let (unit, zone) = (self.calendar?, self.zone.clone());
                let word = match unit {
                    Unit::Day => "day",
                    Unit::Month => "month",
                };
                let name = format!("{word} {}", zone.iana_name().unwrap_or("UTC"));
                Some(WindowSpec::Calendar { unit, zone, name })
            }
        }
    }
}

/// Reports the name of a quota or limit, if it can't be sent in a header or would be taken for another.
pub(super) fn check_name(what: &str, name: &str, taken_for: &str, example: &str, at: Location, report: &mut Report) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name_is_legal(name, legal) || name.len() > QUOTA_NAME_CHARS_MAX {
        let advice = "use 1 to 32 of a-z, A-Z, 0-9, -, _ and .: the name travels in a header";
        report.add(at, format!("{what} has no legal name"), advice);
    } else if name == RESERVED {
        let message = format!("{what} would be taken for {taken_for} concurrency");
        report.add(at, message, format!("give it another name, such as {example}"));
    }
}

/// A time zone by its IANA name.
pub(super) struct Zone;

impl Scalar for Zone {
    type Value = TimeZone;

    fn read(node: &Node, report: &mut Report) -> Option<TimeZone> {
        let written = text(node, "a time zone", report)?;
        let is_short = written.len() <= ZONE_BYTES_MAX;
        let known = is_short.then(|| tz::db().get(written).ok()).flatten();
        if known.is_none() {
            let names: Vec<String> = tz::db().available().map(|name| name.to_string()).collect();
            let meant = did_you_mean(written, names.iter().map(String::as_str), report);
            let message = format!("{} is not a time zone{meant}", shown(node));
            let advice = "write an IANA name such as UTC or America/New_York";
            report.add(node.place, message, advice);
        }
        known
    }

    fn stand_in() -> TimeZone {
        TimeZone::UTC
    }

    fn written(value: &TimeZone) -> Value {
        value.iana_name().unwrap_or("UTC").into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "minLength": 1, "maxLength": ZONE_BYTES_MAX })
    }
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
    fn days_are_as_long_as_in_their_zone() {
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
    fn months_start_on_their_first_day() {
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
