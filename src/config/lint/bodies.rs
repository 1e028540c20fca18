//! Tiers whose callers may upload more at once than one network may keep.

use super::LintInput;
use crate::config::bodies::NETWORK_SHARE;
use crate::config::prelude::*;
use crate::config::value::show_size;

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    let metered = read.routes.iter().filter(|(route, _)| route.metered);
    let Some(largest) = metered.map(|(route, _)| route.max_body).max() else {
        return;
    };
    let share = read.bodies.spool / NETWORK_SHARE;
    // The tier with the most is told; the advice is for all.
    let Some(tier) = read.tiers.iter().max_by_key(|tier| tier.concurrency) else {
        return;
    };
    let at_once = u64::from(tier.concurrency).saturating_mul(largest);
    if at_once <= share {
        return;
    }
    let message = format!(
        "a caller of tier {} may upload {} times {} at once, and one network has {} for its uploads, an eighth of `spool`",
        quoted(&tier.name),
        tier.concurrency,
        show_size(largest),
        show_size(share),
    );
    let advice = format!(
        "write `bodies: {{ spool: {} }}` or more, or a smaller `max_body`",
        show_size(at_once.saturating_mul(NETWORK_SHARE).next_multiple_of(1 << 20))
    );
    report.warn(read.tier_place(tier, "concurrency"), message, advice);
}
