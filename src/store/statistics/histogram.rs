//! A histogram of service times, in space that doesn't grow with their number.
//!
//! Each doubling has sixteen buckets, so a bucket's middle is at most 1/32 (3.2 %) off. Below 32 ms every millisecond has its
//! own bucket. The shortest and the longest time are exact.
//!
//! There is no mean: service times have a long tail, which a mean hides.

/// The reported percentiles, in order.
pub const PERCENTILES: [u8; 7] = [0, 10, 25, 50, 75, 90, 100];

/// Buckets per doubling, as a power of two.
const FINENESS_BITS: u32 = 4;
const FINENESS: u32 = 1 << FINENESS_BITS;

/// The bucket of `u32::MAX` milliseconds, the last one: a histogram has at most that many buckets plus one.
const BUCKET_MAX: u16 = 463;

/// Times in milliseconds, by bucket. Empty buckets take no space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    /// Buckets with their counts, at least 1, in order.
    buckets: Vec<(u16, u32)>,
    /// The shortest time; 0 if empty.
    min_ms: u32,
    /// The longest time; 0 if empty.
    max_ms: u32,
}

impl Histogram {
    /// Adds one time.
    pub fn add(&mut self, ms: u32) {
        self.widen(ms, ms);
        self.put(bucket(ms), 1);
    }

    /// Adds `count` times of that bucket, with their minimum and maximum.
    pub fn add_bucket(&mut self, bucket: u16, count: u32, (min_ms, max_ms): (u32, u32)) {
        self.widen(min_ms, max_ms);
        self.put(bucket, count);
    }

    /// Adds the times of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add_bucket(*bucket, *count, (other.min_ms, other.max_ms));
        }
    }

    /// The [`PERCENTILES`] in milliseconds, by nearest rank; `None` if empty. The first and the last are exact, the others at
    /// most 1/32 off.
    pub fn percentiles_ms(&self) -> Option<[u32; PERCENTILES.len()]> {
        let total: u64 = self.buckets.iter().map(|(_, count)| u64::from(*count)).sum();
        (total > 0).then(|| {
            PERCENTILES.map(|percent| match percent {
                0 => self.min_ms,
                100 => self.max_ms,
                _ => self.ranked(total.saturating_mul(percent.into()).div_ceil(100)),
            })
        })
    }

    /// The approximate time of that rank, from 1.
    fn ranked(&self, rank: u64) -> u32 {
        let mut below = 0_u64;
        for (bucket, count) in &self.buckets {
            below += u64::from(*count);
            if below >= rank {
                return middle_ms(*bucket).clamp(self.min_ms, self.max_ms);
            }
        }
        self.max_ms
    }

    fn widen(&mut self, min_ms: u32, max_ms: u32) {
        let empty = self.buckets.is_empty();
        self.min_ms = if empty { min_ms } else { self.min_ms.min(min_ms) };
        self.max_ms = self.max_ms.max(max_ms);
    }

    fn put(&mut self, bucket: u16, count: u32) {
        match self.place(bucket) {
            Ok(place) => self.buckets[place].1 = self.buckets[place].1.saturating_add(count),
            Err(place) => self.buckets.insert(place, (bucket, count)),
        }
    }

    fn place(&self, bucket: u16) -> Result<usize, usize> {
        self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket)
    }
}

pub(in crate::store) fn bucket(ms: u32) -> u16 {
    let doublings = (ms | 1).ilog2().saturating_sub(FINENESS_BITS);
    let bucket = doublings * FINENESS + (ms >> doublings);
    u16::try_from(bucket).unwrap_or(BUCKET_MAX)
}

const fn middle_ms(bucket: u16) -> u32 {
    let bucket = bucket as u32;
    if bucket < FINENESS {
        return bucket;
    }
    let doublings = bucket / FINENESS - 1;
    let low = (bucket % FINENESS + FINENESS) << doublings;
    low + ((1 << doublings) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buckets_middle_is_close_to_all_its_values() {
        let mut last = 0;
        let mut ms = 0_u32;
        while ms < 7_200_000 {
            let bucket = bucket(ms);
            assert!(bucket == last || bucket == last + 1, "no gap at {ms}");
            let off = middle_ms(bucket).abs_diff(ms);
            assert!(off * 32 <= ms, "{ms} ms reads as {} ms", middle_ms(bucket));
            (last, ms) = (bucket, ms + 1 + ms / 1_000);
        }
        assert_eq!(super::bucket(u32::MAX), BUCKET_MAX);
        assert_eq!(super::bucket(0), 0);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentiles_ms(), None);
        (1..=20).for_each(|ms| histogram.add(ms));
        assert_eq!(histogram.percentiles_ms(), Some([1, 2, 5, 10, 15, 18, 20]));
        let mut one = Histogram::default();
        one.merge(&Histogram::default());
        one.add(1_234_567);
        assert_eq!(one.percentiles_ms(), Some([1_234_567; 7]));
    }
    #[test]
    fn merged_times_are_those_of_both() {
        let (mut both, mut one, mut other) = (Histogram::default(), Histogram::default(), Histogram::default());
        for ms in (1..=900).step_by(7) {
            both.add(ms);
            if ms % 2 == 0 { &mut one } else { &mut other }.add(ms);
        }
        one.merge(&other);
        assert_eq!(one, both);
    }
}
