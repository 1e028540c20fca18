//! Times as operators write and read them. A bare date is its beginning in UTC.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::policy::time::UnixTime;

/// The time in RFC 3339. Times beyond the calendar are shown as its last.
pub fn written(time: UnixTime) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// Parses `2027-01-01` or `2027-01-01T12:00:00+01:00`. `None`: it is neither, or before 1970.
pub fn point(text: &str) -> Option<UnixTime> {
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let date: Date = text.parse().ok().filter(|_| text.len() == "2027-01-01".len())?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    let millis = u64::try_from(time?.as_millisecond()).ok()?;
    Some(UnixTime::from_millis(millis))
}
