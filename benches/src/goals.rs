//! What slotway is held to, and whether a run met it.

use crate::idle::Memory;
use crate::results::{Results, Spread};
use crate::targets::Kind;

/// So many paired figures a verdict should rest on.
pub const PAIRS_WANTED: usize = 5;

/// One goal: a figure and its bound.
#[derive(Debug)]
pub struct Goal {
    /// What is held to the bound.
    pub measure: Measure,
    /// The bound, met when reached exactly.
    pub bound: Bound,
}

/// The figures that goals are about, as medians over the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// slotway's CPU time per request over nutcracker's.
    Cpu(&'static str),
    /// slotway's requests per second over nutcracker's.
    Rate(&'static str),
    /// CPU time per request of proxy and nodes together, over nutcracker's.
    CpuWithNodes(&'static str),
    /// slotway's median latency minus haproxy's, in microseconds, at one connection.
    LatencyOverHaproxy(&'static str),
    /// CPU time per request of two workers over that of one.
    TwoWorkers(&'static str),
    /// slotway's CPU time per request under the first load over that under the second.
    CpuOverLoad(&'static str, &'static str),
    /// slotway's 99th percentile of latency under the first load over that under the second.
    TailOverLoad(&'static str, &'static str),
    /// slotway's CPU time for a message to one of a thousand subscribers, in microseconds, when so
    /// many are published at once.
    PerDelivery(usize),
    /// Bytes per connection that is open and idle.
    PerIdleConnection,
    /// Bytes per connection that was used once.
    PerUsedConnection,
    /// Bytes resident at start.
    AtStart,
    /// Bytes above the start, 10 s after all connections have gone.
    KeptAfterClosing,
}

/// Which side of a number is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Smaller is better.
    AtMost(f64),
    /// Larger is better.
    AtLeast(f64),
}

/// How a goal came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The median is within the bound.
    Met,
    /// It is not.
    Missed,
    /// Nothing to judge by: a target was left out, or failed.
    NotMeasured,
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// All goals, in the order of the report.
pub static GOALS: [Goal; 26] = {
    use Bound::{AtLeast, AtMost};
    use Measure::{
        AtStart, Cpu, CpuOverLoad, CpuWithNodes, KeptAfterClosing, LatencyOverHaproxy, PerDelivery,
        PerIdleConnection, PerUsedConnection, Rate, TailOverLoad, TwoWorkers,
    };
    [
        Goal { measure: Cpu("c50"), bound: AtMost(0.82) },
        Goal { measure: Cpu("c50-p16"), bound: AtMost(0.36) },
        Goal { measure: Cpu("c8-p64"), bound: AtMost(0.27) },
        Goal { measure: Cpu("c1000"), bound: AtMost(0.94) },
        Goal { measure: Cpu("c50-16k"), bound: AtMost(0.90) },
        Goal { measure: Rate("c50"), bound: AtLeast(1.0) },
        Goal { measure: Rate("c1000"), bound: AtLeast(1.0) },
        Goal { measure: Rate("c50-16k"), bound: AtLeast(1.0) },
        Goal { measure: Rate("c50-p16"), bound: AtLeast(1.3) },
        Goal { measure: Rate("c8-p64"), bound: AtLeast(1.3) },
        Goal { measure: CpuWithNodes("c50"), bound: AtMost(1.05) },
        Goal { measure: CpuWithNodes("c50-p16"), bound: AtMost(1.05) },
        Goal { measure: CpuWithNodes("c8-p64"), bound: AtMost(1.05) },
        Goal { measure: CpuWithNodes("c1000"), bound: AtMost(1.05) },
        Goal { measure: CpuWithNodes("c50-16k"), bound: AtMost(1.05) },
        Goal { measure: LatencyOverHaproxy("single"), bound: AtMost(0.0) },
        Goal { measure: TwoWorkers("c50-p16"), bound: AtMost(1.25) },
        Goal { measure: CpuOverLoad("c8-mget100", "c8-p100"), bound: AtMost(0.6) },
        Goal { measure: TailOverLoad("c8-mget100", "c8-p100"), bound: AtMost(1.3) },
        Goal { measure: CpuOverLoad("c50-multi5", "c50-p5-set-slot"), bound: AtMost(1.3) },
        Goal { measure: PerIdleConnection, bound: AtMost(KIB) },
        Goal { measure: PerUsedConnection, bound: AtMost(1.5 * KIB) },
        Goal { measure: AtStart, bound: AtMost(12.0 * MIB) },
        Goal { measure: KeptAfterClosing, bound: AtMost(4.0 * MIB) },
        Goal { measure: PerDelivery(1), bound: AtMost(1.5) },
        Goal { measure: PerDelivery(16), bound: AtMost(1.5) },
    ]
};

impl Goal {
    /// What was measured, and whether that is enough.
    pub fn judge(&self, results: &Results) -> (Verdict, Option<Spread>) {
        let measured = self.measure.of(results);
        let verdict = match (measured, self.bound) {
            (None, _) => Verdict::NotMeasured,
            (Some(spread), Bound::AtMost(most)) if spread.median <= most => Verdict::Met,
            (Some(spread), Bound::AtLeast(least)) if spread.median >= least => Verdict::Met,
            (Some(_), _) => Verdict::Missed,
        };
        (verdict, measured)
    }
}

impl Measure {
    fn of(self, results: &Results) -> Option<Spread> {
        const PEER: (Kind, Kind) = (Kind::Slotway, Kind::Nutcracker);
        let ratio = |ours: f64, theirs: f64| ours / theirs;
        let memory = |figure: fn(&Memory) -> f64| results.memory_spread(Kind::Slotway, figure);
        match self {
            Measure::Cpu(load) => Spread::of(results.pairs(load, PEER, |c| c.proxy_us, ratio)),
            Measure::Rate(load) => {
                Spread::of(results.pairs(load, PEER, |cell| Some(cell.per_second()), ratio))
            }
            Measure::CpuWithNodes(load) => {
                Spread::of(results.pairs(load, PEER, |c| Some(c.proxy_and_nodes_us()), ratio))
            }
            Measure::LatencyOverHaproxy(load) => {
                let pair = (Kind::Slotway, Kind::Haproxy);
                Spread::of(results.pairs(load, pair, |c| Some(c.p50_us), |ours, its| ours - its))
            }
            Measure::TwoWorkers(load) => {
                let pair = (Kind::SlotwayTwo, Kind::Slotway);
                Spread::of(results.pairs(load, pair, |cell| cell.proxy_us, ratio))
            }
            Measure::CpuOverLoad(load, other) => {
                let (ours, theirs) = ((load, Kind::Slotway), (other, Kind::Slotway));
                Spread::of(results.pairs_of(ours, theirs, |cell| cell.proxy_us, ratio))
            }
            Measure::TailOverLoad(load, other) => {
                let (ours, theirs) = ((load, Kind::Slotway), (other, Kind::Slotway));
                Spread::of(results.pairs_of(ours, theirs, |cell| Some(cell.p99_us), ratio))
            }
            Measure::PerDelivery(burst) => {
                Spread::of(results.deliveries(burst, Kind::Slotway).map(|(_, us)| us).collect())
            }
            Measure::PerIdleConnection => memory(Memory::per_idle_connection),
            Measure::PerUsedConnection => memory(Memory::per_used_connection),
            Measure::AtStart => memory(|memory| memory.start.total_bytes as f64),
            Measure::KeptAfterClosing => memory(Memory::kept_after_closing),
        }
    }

    /// What it is, in words.
    pub fn title(self) -> String {
        match self {
            Measure::Cpu(load) => format!("{load}: proxy CPU per request, slotway / nutcracker"),
            Measure::Rate(load) => format!("{load}: requests per second, slotway / nutcracker"),
            Measure::CpuWithNodes(load) => {
                format!("{load}: proxy + node CPU per request, slotway / nutcracker")
            }
            Measure::LatencyOverHaproxy(load) => {
                format!("{load}: median latency, slotway − haproxy")
            }
            Measure::TwoWorkers(load) => format!("{load}: CPU per request, 2 workers / 1 worker"),
            Measure::CpuOverLoad(load, other) => {
                format!("slotway's CPU per request, {load} / {other}")
            }
            Measure::TailOverLoad(load, other) => format!("slotway's p99, {load} / {other}"),
            Measure::PerDelivery(burst) => {
                format!("CPU for a message to one of 1,000 subscribers, {burst} published at once")
            }
            Measure::PerIdleConnection => "memory per open, idle connection".to_owned(),
            Measure::PerUsedConnection => "memory per connection used once".to_owned(),
            Measure::AtStart => "memory at start".to_owned(),
            Measure::KeptAfterClosing => "memory above start, 10 s after closing".to_owned(),
        }
    }

    /// The load whose profile explains it; none for memory.
    pub fn load(self) -> Option<&'static str> {
        match self {
            Measure::Cpu(load)
            | Measure::Rate(load)
            | Measure::CpuWithNodes(load)
            | Measure::LatencyOverHaproxy(load)
            | Measure::TwoWorkers(load)
            | Measure::CpuOverLoad(load, _)
            | Measure::TailOverLoad(load, _) => Some(load),
            Measure::PerDelivery(_)
            | Measure::PerIdleConnection
            | Measure::PerUsedConnection
            | Measure::AtStart
            | Measure::KeptAfterClosing => None,
        }
    }

    /// One of its figures with its unit.
    pub fn show(self, figure: f64) -> String {
        match self {
            Measure::Cpu(_) | Measure::Rate(_) | Measure::CpuWithNodes(_) => format!("{figure:.2}"),
            Measure::TwoWorkers(_) | Measure::CpuOverLoad(..) | Measure::TailOverLoad(..) => {
                format!("{figure:.2}")
            }
            Measure::LatencyOverHaproxy(_) => format!("{figure:.1} µs"),
            Measure::PerDelivery(_) => format!("{figure:.2} µs"),
            Measure::PerIdleConnection | Measure::PerUsedConnection => format!("{figure:.0} B"),
            Measure::AtStart | Measure::KeptAfterClosing => format!("{:.1} MiB", figure / MIB),
        }
    }
}

impl Bound {
    /// The bound in words, in the unit of what it bounds.
    pub fn show(self, measure: Measure) -> String {
        match self {
            Bound::AtMost(most) => format!("≤ {}", measure.show(most)),
            Bound::AtLeast(least) => format!("≥ {}", measure.show(least)),
        }
    }
}

impl Verdict {
    /// In one word or two.
    pub fn show(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::NotMeasured => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loads::by_name;
    use crate::results::tests::cell;
    use crate::usage::Resident;

    #[test]
    fn every_goal_is_about_a_load_that_exists() {
        let mut loads = GOALS.iter().filter_map(|goal| goal.measure.load());
        assert!(loads.all(|name| by_name(name).is_some()));
    }

    #[test]
    fn a_goal_is_met_at_its_bound_and_missed_beyond_it() {
        for (ours, expected) in [(0.82, Verdict::Met), (0.83, Verdict::Missed)] {
            let mut results = Results::default();
            results.add_cell("c50", Kind::Slotway, 1, cell(100, ours, 10.0));
            results.add_cell("c50", Kind::Nutcracker, 1, cell(100, 1.0, 10.0));
            assert_eq!(GOALS[0].judge(&results).0, expected);
        }
        assert_eq!(GOALS[0].judge(&Results::default()), (Verdict::NotMeasured, None));
    }

    #[test]
    fn more_requests_are_better_and_later_answers_worse() {
        let mut results = Results::default();
        results.add_cell("c50", Kind::Slotway, 1, cell(99, 1.0, 10.0));
        results.add_cell("c50", Kind::Nutcracker, 1, cell(100, 1.0, 10.0));
        results.add_cell("single", Kind::Slotway, 1, cell(100, 1.0, 10.5));
        results.add_cell("single", Kind::Haproxy, 1, cell(100, 1.0, 10.0));
        let judged = |measure| {
            let goal = GOALS.iter().find(|goal| goal.measure == measure).unwrap();
            goal.judge(&results)
        };
        assert_eq!(judged(Measure::Rate("c50")).0, Verdict::Missed);
        let (verdict, spread) = judged(Measure::LatencyOverHaproxy("single"));
        assert_eq!((verdict, spread.unwrap().median), (Verdict::Missed, 0.5));
        // Proxy and node CPU are equal for both, so the sum is.
        assert_eq!(judged(Measure::CpuWithNodes("c50")).0, Verdict::Met);
    }

    #[test]
    fn memory_is_judged_by_what_it_grew() {
        let at = |mib: u64| Resident { total_bytes: mib << 20, anonymous_bytes: 0 };
        let mut results = Results::default();
        let memory = Memory { start: at(12), open: at(20), used: at(26), closed: at(16) };
        results.add_memory(Kind::Slotway, 1, memory);
        let judged: Vec<Verdict> = GOALS.iter().map(|goal| goal.judge(&results).0).collect();
        use Verdict::{Met, Missed};
        // 932 B idle, 1,631 B used, 12 MiB at start, 4 MiB kept.
        assert_eq!(judged[20..24], [Met, Missed, Met, Met]);
    }
}
