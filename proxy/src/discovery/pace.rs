//! When the next refresh may begin, and when it must.

use std::time::{Duration, Instant};

/// Least time between the beginnings of two refreshes: each whole map costs its node about as much
/// as a hundred GETs, more with every node. Promotions are found sooner, by asking for roles.
const ON_DEMAND: Duration = Duration::from_millis(250);
/// How many may begin before that because answers wait for them, and how long after another one.
const RUSHED_IN_A_ROW: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(10);
/// Refreshes that nobody asks for, while something is missing or not known yet.
const UNSETTLED: Duration = Duration::from_secs(1);

/// How things stand after a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is no map, or one with gaps, or the cluster says that it is down, or nobody
    /// answered.
    Failing,
    /// The map is whole; some nodes are loading, or were never asked about themselves.
    Settling,
    /// The map is whole and so is what is known.
    Settled,
}

/// The rhythm of refreshes.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    begun: Instant,
    /// When those that could not wait will be paid for.
    paid: Instant,
    standing: Standing,
    /// 0.8 to 1.2, drawn anew for each period, so that many proxies do not ask in step.
    jitter: f64,
}

impl Pace {
    pub(super) fn new(period: Duration, now: Instant) -> Pace {
        Pace { period, begun: now, paid: now, standing: Standing::Failing, jitter: 1.0 }
    }

    /// A refresh begins. `random` is any number from 0 to 1.
    pub(super) fn begin(&mut self, now: Instant, random: f64) {
        self.begun = now;
        self.jitter = 0.8 + 0.4 * random.clamp(0.0, 1.0);
    }

    /// A refresh begins at once because answers wait for it.
    pub(super) fn rush(&mut self, now: Instant) {
        self.paid = self.paid.max(now) + ON_DEMAND;
    }

    /// A refresh is over.
    pub(super) fn end(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// When the next one begins if somebody asks for it.
    pub(super) fn on_demand(&self) -> Instant {
        self.begun + ON_DEMAND
    }

    /// When the next one begins if answers that have come wait for it: at once, but in the long run
    /// as rarely as others. While requests wait for a silent node the map is asked for again and
    /// again; without this its first answers would wait for the rest of such an interval. They are
    /// several: what the node had read before, then the greetings of new connections.
    pub(super) fn urgent(&self, now: Instant) -> Instant {
        let free = ON_DEMAND * RUSHED_IN_A_ROW.saturating_sub(1);
        now.max(self.begun + BETWEEN).max(self.paid.checked_sub(free).unwrap_or(now))
    }

    /// When the next one begins if nobody does.
    pub(super) fn periodic(&self) -> Instant {
        let period = match self.standing {
            Standing::Settled => self.period,
            Standing::Failing | Standing::Settling => self.period.min(UNSETTLED),
        };
        self.begun + period.mul_f64(self.jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_missing_is_asked_for_each_second_and_demand_is_met_sooner() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(10), start);
        for (standing, periodic) in
            [(Standing::Settled, 10_000), (Standing::Settling, 1_000), (Standing::Failing, 1_000)]
        {
            pace.begin(start, 0.5);
            pace.end(standing);
            assert_eq!(pace.on_demand() - start, Duration::from_millis(250), "{standing:?}");
            assert_eq!(pace.periodic() - start, Duration::from_millis(periodic), "{standing:?}");
        }
    }

    #[test]
    fn what_answers_wait_for_begins_at_once_but_no_oftener_than_others() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(10), start);
        let mut now = start + Duration::from_secs(5);
        let first = now;
        for _ in 0..8 {
            assert_eq!(pace.urgent(now), now);
            pace.rush(now);
            pace.begin(now, 0.5);
            assert!(pace.urgent(now) >= now + Duration::from_millis(10));
            now += Duration::from_millis(10);
        }
        for further in 1..5 {
            now = first + Duration::from_millis(250) * further;
            assert_eq!(pace.urgent(first), now, "{further}");
            pace.rush(now);
            pace.begin(now, 0.5);
        }
    }

    #[test]
    fn periods_are_jittered_by_a_fifth_and_never_longer_than_set() {
        let start = Instant::now();
        let mut pace = Pace::new(Duration::from_millis(500), start);
        for (random, standing, expected) in [
            (0.0, Standing::Settled, 400),
            (1.0, Standing::Settled, 600),
            (0.5, Standing::Failing, 500),
            (7.0, Standing::Settled, 600),
        ] {
            pace.begin(start, random);
            pace.end(standing);
            assert_eq!(pace.periodic() - start, Duration::from_millis(expected));
        }
    }
}
