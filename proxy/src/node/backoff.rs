//! How long to wait between attempts at something that fails: short at first, then steadily.

use std::time::Duration;

/// The steps of a wait. Full jitter is applied by [`Backoff::delay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u8,
}

/// Milliseconds; the last one repeats. Short steps first, because most waits are a slot on its
/// way or a node that restarts; the cap keeps the first success close to the moment the node is
/// back (failure-masking contract, §4).
const STEPS_MS: [u64; 6] = [5, 10, 20, 50, 100, 200];

impl Backoff {
    /// The wait before the next attempt; each call is one failure more. Between half of the
    /// step and all of it, so that many waiters do not come at once. `random` is uniform in 0..1.
    pub fn delay(&mut self, random: f64) -> Duration {
        let step = STEPS_MS[usize::from(self.failures).min(STEPS_MS.len() - 1)];
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(step).mul_f64(0.5 + random / 2.0)
    }

    /// The next wait is the shortest again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u8 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.delay(0.999_999).as_millis()).collect();
        assert_eq!(waits, [4, 9, 19, 49, 99, 199, 199, 199]);
        backoff.reset();
        assert!(backoff.delay(0.0) <= Duration::from_millis(5));
        for _ in 0..1000 {
            backoff.delay(0.0);
        }
        assert_eq!(backoff.delay(0.0), Duration::from_millis(100), "half of the cap at least");
    }
}
