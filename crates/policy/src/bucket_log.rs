//! Units used, by time bucket, for rolling windows. Kept small: there is one for each of up to a million networks. The owner
//! defines a bucket's width and when it expires.

use smallvec::SmallVec;

/// One caller's usage by bucket, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct BucketLog<const INLINE: usize> {
    used: u64,
    /// The bucket that offsets are relative to: that of the first entry, or an earlier one.
    base: u64,
    entries: SmallVec<[Bucket; INLINE]>,
}

/// The units of a bucket. More than 2^32 - 1 are split over several entries.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    offset: u16,
    low: u16,
    high: u16,
}

impl Bucket {
    fn new(offset: u16, units: u32) -> Self {
        Self {
            offset,
            low: (units & 0xffff) as u16,
            high: (units >> 16) as u16,
        }
    }

    fn units(self) -> u32 {
        u32::from(self.high) << 16 | u32::from(self.low)
    }
}

impl<const INLINE: usize> BucketLog<INLINE> {
    /// Units in all buckets.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Non-empty buckets with their units; a bucket may come several times in a row.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.entries
            .iter()
            .map(|entry| (self.base + u64::from(entry.offset), u64::from(entry.units())))
    }

    /// Drops the buckets before `first`.
    pub(super) fn forget_before(&mut self, first: u64) {
        let gone = self
            .entries
            .partition_point(|entry| self.base + u64::from(entry.offset) < first);
        if gone > 0 {
            self.used -= self.entries[..gone]
                .iter()
                .map(|entry| u64::from(entry.units()))
                .sum::<u64>();
            self.entries.drain(..gone);
            if self.entries.spilled() && self.entries.len() <= self.entries.capacity() / 4 {
                self.entries.shrink_to_fit();
            }
        }
    }

    /// Adds units to a bucket. A bucket `reach` or more before the newest has expired, and adding a newer one expires the
    /// others in the same way. `reach` is less than 2^15 and constant.
    pub(super) fn add(&mut self, bucket: u64, units: u64, reach: u64) {
        let newest = self.buckets().last().map_or(bucket, |(newest, _)| newest.max(bucket));
        if units == 0 || bucket + reach <= newest {
            return;
        }
        self.forget_before(newest.saturating_sub(reach - 1));
        self.used += units;
        let offset = self.offset(bucket);
        let mut left = units;
        // A debit may be older than the last one: jobs don't end in the order in which they were admitted.
        let mut at = self.entries.partition_point(|entry| entry.offset <= offset);
        if let Some(last) = at.checked_sub(1).map(|at| &mut self.entries[at])
            && last.offset == offset
        {
            let more = left.min(u64::from(u32::MAX - last.units()));
            *last = Bucket::new(
                offset,
                last.units() + u32::try_from(more).expect("at most the difference to u32::MAX"),
            );
            left -= more;
        }
        while left > 0 {
            let units = u32::try_from(left).unwrap_or(u32::MAX);
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact((self.entries.len() / 8).max(4));
            }
            self.entries.insert(at, Bucket::new(offset, units));
            at += 1; // only the last entry of a bucket can take more
            left -= u64::from(units);
        }
    }

    /// The bucket's offset; moves the base if needed. Entries are less than `reach` apart.
    fn offset(&mut self, bucket: u64) -> u16 {
        let first = self.buckets().next().map_or(bucket, |(first, _)| first);
        if self.entries.is_empty() || bucket < self.base || bucket - self.base > u64::from(u16::MAX) {
            let base = first.min(bucket);
            for entry in &mut self.entries {
                entry.offset = offset(self.base + u64::from(entry.offset), base);
            }
            self.base = base;
        }
        offset(bucket, self.base)
    }
}

fn offset(bucket: u64, base: u64) -> u16 {
    u16::try_from(bucket - base).expect("entries are less than 2 · reach from the base")
}
