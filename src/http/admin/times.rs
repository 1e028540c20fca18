//! Times and durations as operators write and read them. A bare date is one of UTC.

use jiff::{SignedDuration, SpanRelativeTo, Timestamp};

use super::problem::Problem;
use crate::policy::time::{Span, UnixTime};
use crate::store::calendar;
pub use crate::store::calendar::written;

/// The longest duration that can be written: a hundred years.
const SPAN_MAX: Span = Span::from_secs(100 * 366 * 24 * 60 * 60);

/// The date (UTC) of that time.
pub fn day(time: UnixTime) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%d").to_string()
}

/// `2027-01-01` (the beginning of that day, UTC) or `2027-01-01T12:00:00+01:00`.
///
/// # Errors
/// It is neither, or before 1970.
pub fn point(text: &str, what: &str) -> Result<UnixTime, Problem> {
    calendar::point(text).ok_or_else(|| {
        Problem::bad_request(format!(
            "`{what}` is not a time: write a date (UTC) such as 2027-01-01, or a time such as 2027-01-01T12:00:00Z"
        ))
    })
}

/// `90d`, `12h`, `1d12h`. A day has 24 hours.
fn length(text: &str) -> Option<Span> {
    let span: jiff::Span = text.parse().ok()?;
    let length: SignedDuration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let length = Span::from(std::time::Duration::try_from(length).ok()?);
    (length <= SPAN_MAX).then_some(length)
}

/// A duration.
///
/// # Errors
/// It is none, or longer than a hundred years.
pub fn span(text: &str, what: &str) -> Result<Span, Problem> {
    length(text).ok_or_else(|| {
        Problem::bad_request(format!(
            "`{what}` is not a length of time: write a number and its unit, such as 90d, 12h or 30m"
        ))
    })
}

/// A duration from now.
///
/// # Errors
/// It is none, or zero.
pub fn after(text: &str, what: &str, now: UnixTime) -> Result<UnixTime, Problem> {
    match span(text, what)? {
        Span::ZERO => Err(Problem::bad_request(format!("`{what}` must be longer than zero"))),
        length => Ok(now + length),
    }
}

/// A time in the future.
///
/// # Errors
/// It is none, or in the past.
pub fn later(text: &str, what: &str, now: UnixTime) -> Result<UnixTime, Problem> {
    match point(text, what)? {
        time if time > now => Ok(time),
        _ => Err(Problem::bad_request(format!("`{what}` is in the past"))),
    }
}

/// A duration from now, or a time in the future.
///
/// # Errors
/// It is neither, or in the past.
pub fn ahead(text: &str, what: &str, now: UnixTime) -> Result<UnixTime, Problem> {
    if length(text).is_some() {
        after(text, what, now)
    } else if point(text, what).is_ok() {
        later(text, what, now)
    } else {
        Err(Problem::bad_request(format!(
            "`{what}` is neither a length of time such as 90d nor a date such as 2027-01-01"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_durations() {
        let point = |text| point(text, "until").ok().map(UnixTime::as_secs);
        assert_eq!(point("2027-01-01"), Some(1_798_761_600));
        assert_eq!(point("2027-01-01T01:00:00+01:00"), Some(1_798_761_600));
        assert_eq!(point("2027-01-01T00:00:00Z"), Some(1_798_761_600));
        for wrong in [
            "",
            "tomorrow",
            "2027-13-01",
            "1969-12-31",
            "90d",
            "2027-01-01T00:00:00",
            "1",
        ] {
            assert_eq!(point(wrong), None, "{wrong}");
        }
        assert_eq!(written(UnixTime::from_secs(1_798_761_600)), "2027-01-01T00:00:00Z");
        let span = |text| span(text, "overlap").ok().map(Span::as_secs_ceil);
        assert_eq!(span("7d"), Some(604_800));
        assert_eq!(span("1d12h"), Some(129_600));
        assert_eq!(span("0s"), Some(0));
        for wrong in ["", "7", "-7d", "1 month", "2027-01-01", "40000d"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
        let now = UnixTime::from_secs(1_798_761_600);
        let ahead = |text| {
            ahead(text, "expires", now)
                .ok()
                .map(|time| time.since(now).as_secs_ceil())
        };
        assert_eq!(ahead("90d"), Some(7_776_000));
        assert_eq!(ahead("2027-01-02"), Some(86_400));
        for over in ["0s", "2027-01-01", "soon"] {
            assert_eq!(ahead(over), None, "{over}");
        }
    }
}
