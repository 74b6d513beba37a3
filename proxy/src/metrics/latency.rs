//! How long requests took: counts in fixed buckets, found without a branch.

use super::Cell;

/// The upper bounds of the buckets in microseconds, inclusive; one more bucket takes the rest.
/// Fine where a healthy hop lies (50 µs to 1 ms), coarse where a failover is waited out.
pub const BOUNDS_US: [u64; 23] = [
    50, 100, 150, 200, 300, 500, 750, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000,
    200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000, 60_000_000,
];

/// Counts of requests by how long they took.
#[derive(Default, Debug)]
pub(super) struct Latency {
    buckets: [Cell; BOUNDS_US.len() + 1],
}

impl Latency {
    /// Counts one request that took this long.
    #[inline]
    pub(super) fn record(&self, latency_us: u64) {
        self.buckets[bucket(latency_us)].add(1);
    }

    /// How many requests each bucket holds (not cumulated), the one without a bound last.
    pub(super) fn counts(&self) -> [u64; BOUNDS_US.len() + 1] {
        std::array::from_fn(|i| self.buckets[i].get())
    }

    /// Adds the other's counts.
    pub(super) fn absorb(&self, other: &Latency) {
        for (mine, theirs) in self.buckets.iter().zip(&other.buckets) {
            mine.add(theirs.get());
        }
    }
}

/// The bucket of a latency: how many bounds are below it.
///
/// The number of its bits says how many bounds are certainly below; at most two bounds have as
/// many bits as it has, and those are compared.
#[inline]
fn bucket(latency_us: u64) -> usize {
    let start = usize::from(STARTS[(u64::BITS - latency_us.leading_zeros()) as usize]);
    start + usize::from(latency_us > PADDED[start]) + usize::from(latency_us > PADDED[start + 1])
}

/// `STARTS[bits]` is how many bounds have fewer bits than that.
static STARTS: [u8; u64::BITS as usize + 1] = starts();

/// The bounds, followed by two that nothing is above, so that looking two further is in range.
static PADDED: [u64; BOUNDS_US.len() + 2] = padded();

const fn starts() -> [u8; u64::BITS as usize + 1] {
    let mut starts = [0; u64::BITS as usize + 1];
    let mut bits = 0;
    while bits < starts.len() {
        let mut fewer = 0;
        let mut equal = 0;
        let mut i = 0;
        while i < BOUNDS_US.len() {
            let bound_bits = (u64::BITS - BOUNDS_US[i].leading_zeros()) as usize;
            if bound_bits < bits {
                fewer += 1;
            } else if bound_bits == bits {
                equal += 1;
            }
            i += 1;
        }
        assert!(equal <= 2, "bucket() compares with two bounds only");
        starts[bits] = fewer;
        bits += 1;
    }
    starts
}

const fn padded() -> [u64; BOUNDS_US.len() + 2] {
    let mut padded = [u64::MAX; BOUNDS_US.len() + 2];
    let mut i = 0;
    while i < BOUNDS_US.len() {
        padded[i] = BOUNDS_US[i];
        i += 1;
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(latency_us: u64) -> usize {
        BOUNDS_US.iter().filter(|&&bound| bound < latency_us).count()
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        for (i, bound) in BOUNDS_US.into_iter().enumerate() {
            assert_eq!(bucket(bound), i);
            assert_eq!(bucket(bound + 1), i + 1);
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BOUNDS_US.len());
    }

    #[test]
    fn every_power_of_two_is_where_counting_puts_it() {
        for bits in 0..u64::BITS {
            for latency in [1u64 << bits, (1u64 << bits) - 1, (1u64 << bits) + 1] {
                assert_eq!(bucket(latency), naive(latency), "{latency} us");
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_counting_the_bounds(latency in 0u64..100_000_000) {
            prop_assert_eq!(bucket(latency), naive(latency));
        }
    }
}
