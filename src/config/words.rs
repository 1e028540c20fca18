//! How quotas and lengths of time are called when they are told to people, in warnings and in the table of tiers.
//!
//! Absent on purpose: the names of quotas, which their operator chose and which travel in headers.

use crate::policy::rules::Window;
use crate::policy::time::Span;

const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3_600);
const DAY: Span = Span::from_secs(86_400);
const WEEK: Span = Span::from_secs(7 * 86_400);

/// A quota by its window: `daily quota`, `monthly quota`, `quota in 6h`.
pub fn quota(window: &Window) -> String {
    match window {
        Window::Rolling(HOUR) => "hourly quota".to_owned(),
        Window::Rolling(DAY) => "daily quota".to_owned(),
        Window::Rolling(WEEK) => "weekly quota".to_owned(),
        Window::Rolling(length) => format!("quota in {}", span(*length)),
        Window::Calendar(calendar) if calendar.name.starts_with("day ") => "daily quota".to_owned(),
        Window::Calendar(_) => "monthly quota".to_owned(),
    }
}

/// A window alone: `rolling 24h`, `month America/New_York`.
pub fn window(window: &Window) -> String {
    match window {
        Window::Rolling(length) => format!("rolling {}", span(*length)),
        Window::Calendar(calendar) => calendar.name.to_string(),
    }
}

/// A length of time as tiers.yaml writes it, to the millisecond: `24h`, `1m30s`, `500ms`.
pub fn span(length: Span) -> String {
    const UNITS_MS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = length.as_millis();
    // A day is written 24h, and a minute 60s.
    match length {
        DAY => return "24h".to_owned(),
        MINUTE => return "60s".to_owned(),
        _ => {}
    }
    let fits = |(_, unit): &&(&str, u64)| rest.is_multiple_of(*unit) && rest / unit < 100 && rest > 0;
    if let Some((name, unit)) = UNITS_MS.iter().find(fits) {
        return format!("{}{name}", rest / unit);
    }
    let mut text = String::new();
    for (name, unit) in UNITS_MS {
        if rest >= unit {
            text.push_str(&format!("{}{name}", rest / unit));
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_written_as_they_are_read() {
        let written = [
            (10, "10ms"),
            (500, "500ms"),
            (1_000, "1s"),
            (30_000, "30s"),
            (60_000, "60s"),
            (90_000, "90s"),
            (150_000, "2m30s"),
            (600_000, "10m"),
            (3_600_000, "1h"),
            (21_600_000, "6h"),
            (86_400_000, "24h"),
            (7 * 86_400_000, "7d"),
            (86_461_001, "1d1m1s1ms"),
            (0, "0s"),
        ];
        for (millis, text) in written {
            assert_eq!(span(Span::from_millis(millis)), text);
        }
    }
}
