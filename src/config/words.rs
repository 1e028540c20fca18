//! Wording of quotas and durations for people, in warnings and in the table of tiers.

use std::time::Duration;

use crate::policy::rules::Window;
use crate::policy::time::Span;

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

/// A duration as in tiers.yaml, in the largest unit that divides it, such as `500ms`, `90s`, `5m`, `24h` or `7d`. One minute is
/// `60s` and one day `24h`, as limits and quotas are usually written. No two durations read alike.
pub fn length(length: Duration) -> String {
    const UNITS_NS: [(&str, u128, u128); 6] = [
        ("d", 86_400_000_000_000, 2),
        ("h", 3_600_000_000_000, 1),
        ("m", 60_000_000_000, 2),
        ("s", 1_000_000_000, 1),
        ("ms", 1_000_000, 1),
        ("ns", 1, 0),
    ];
    let nanos = length.as_nanos();
    let fits = |(_, unit, least): &&(&str, u128, u128)| nanos.is_multiple_of(*unit) && nanos / unit >= *least;
    let (name, unit, _) = UNITS_NS.iter().find(fits).unwrap_or(&UNITS_NS[5]);
    format!("{}{name}", nanos / unit)
}

/// The same for the policy's spans.
pub fn span(length: Span) -> String {
    self::length(length.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
        let written = [
            (10, "10ms"),
            (500, "500ms"),
            (1_000, "1s"),
            (30_000, "30s"),
            (60_000, "60s"),
            (90_000, "90s"),
            (150_000, "150s"),
            (600_000, "10m"),
            (3_600_000, "1h"),
            (21_600_000, "6h"),
            (86_400_000, "24h"),
            (7 * 86_400_000, "7d"),
            (86_461_001, "86461001ms"),
            (0, "0ns"),
        ];
        for (millis, text) in written {
            assert_eq!(span(Span::from_millis(millis)), text);
        }
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        let ms = |ms| length(Duration::from_millis(ms));
        assert_eq!(
            [ms(500), ms(1_500), ms(30_000), ms(60_000)],
            ["500ms", "1500ms", "30s", "60s"]
        );
        assert_eq!([ms(90_000), ms(300_000), ms(3_600_000)], ["90s", "5m", "1h"]);
        assert_eq!([ms(5_400_000), ms(86_400_000), ms(604_800_000)], ["90m", "24h", "7d"]);
        assert_eq!(length(Duration::from_nanos(1)), "1ns");
        assert_eq!(length(Duration::ZERO), "0ns");
    }

    proptest! {
        #[test]
        fn lengths_that_differ_never_read_alike(a in 0_u64..200_000_000, b in 0_u64..200_000_000, unit in 1_u64..100_000) {
            let (a, b) = (Duration::from_millis(a * unit), Duration::from_millis(b / unit));
            prop_assert_eq!(a == b, length(a) == length(b));
        }
    }
}
