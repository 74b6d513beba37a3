//! All measurements of a run, and what is read out of them: medians, spreads, paired ratios.

use std::collections::BTreeMap;

use crate::cell::Cell;
use crate::idle::Memory;
use crate::targets::Kind;

/// Everything measured in a run. A measurement that failed is absent here and named in `failures`.
#[derive(Debug, Default)]
pub struct Results {
    /// By load, target and round.
    cells: BTreeMap<(&'static str, Kind), BTreeMap<usize, Cell>>,
    /// By target and round.
    memory: BTreeMap<Kind, BTreeMap<usize, Memory>>,
    /// Microseconds a delivery, by burst and target, and round.
    deliveries: BTreeMap<(usize, Kind), BTreeMap<usize, f64>>,
    /// What went wrong, in words.
    pub failures: Vec<String>,
}

impl Results {
    /// Keeps one measurement under load.
    pub fn add_cell(&mut self, load: &'static str, kind: Kind, round: usize, cell: Cell) {
        self.cells.entry((load, kind)).or_default().insert(round, cell);
    }

    /// Keeps one measurement of memory.
    pub fn add_memory(&mut self, kind: Kind, round: usize, memory: Memory) {
        self.memory.entry(kind).or_default().insert(round, memory);
    }

    /// Keeps what a message to one of many subscribers costs, in microseconds.
    pub fn add_delivery(&mut self, burst: usize, kind: Kind, round: usize, us: f64) {
        self.deliveries.entry((burst, kind)).or_default().insert(round, us);
    }

    /// What a message of such a burst to one of many subscribers costs, in microseconds, by round.
    pub fn deliveries(&self, burst: usize, kind: Kind) -> impl Iterator<Item = (usize, f64)> {
        self.deliveries.get(&(burst, kind)).into_iter().flatten().map(|(round, us)| (*round, *us))
    }

    /// The measurements of one load on one target, by round.
    pub fn cells(&self, load: &str, kind: Kind) -> impl Iterator<Item = (usize, &Cell)> {
        let of_both = self.cells.iter().filter(move |((name, of), _)| *name == load && *of == kind);
        of_both.flat_map(|(_, rounds)| rounds.iter().map(|(round, cell)| (*round, cell)))
    }

    /// The memory of one target, by round.
    pub fn memory(&self, kind: Kind) -> impl Iterator<Item = (usize, &Memory)> {
        self.memory.get(&kind).into_iter().flatten().map(|(round, memory)| (*round, memory))
    }

    /// The spread of one figure over the rounds; none if it was never measured.
    pub fn spread(
        &self,
        load: &str,
        kind: Kind,
        figure: impl Fn(&Cell) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.cells(load, kind).filter_map(|(_, cell)| figure(cell)).collect())
    }

    /// The same for memory.
    pub fn memory_spread(&self, kind: Kind, figure: impl Fn(&Memory) -> f64) -> Option<Spread> {
        Spread::of(self.memory(kind).map(|(_, memory)| figure(memory)).collect())
    }

    /// Joins the figures of two targets round by round, so that what changes on the machine
    /// between rounds falls out; rounds that lack one of them are left out.
    pub fn pairs(
        &self,
        load: &str,
        (ours, theirs): (Kind, Kind),
        figure: impl Fn(&Cell) -> Option<f64>,
        join: impl Fn(f64, f64) -> f64,
    ) -> Vec<f64> {
        self.pairs_of((load, ours), (load, theirs), figure, join)
    }

    /// The same for any two rows, each a load on a target.
    pub fn pairs_of(
        &self,
        ours: (&str, Kind),
        theirs: (&str, Kind),
        figure: impl Fn(&Cell) -> Option<f64>,
        join: impl Fn(f64, f64) -> f64,
    ) -> Vec<f64> {
        let others: BTreeMap<usize, f64> = self
            .cells(theirs.0, theirs.1)
            .filter_map(|(round, cell)| Some((round, figure(cell)?)))
            .collect();
        let joined = self
            .cells(ours.0, ours.1)
            .filter_map(|(round, cell)| Some(join(figure(cell)?, *others.get(&round)?)));
        joined.collect()
    }
}

/// The median of some figures, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there were.
    pub count: usize,
}

impl Spread {
    /// None without figures.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (min, max) = (*figures.first()?, *figures.last()?);
        let count = figures.len();
        let median = (figures[(count - 1) / 2] + figures[count / 2]) / 2.0;
        Some(Spread { median, min, max, count })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// A measurement in which the CPU figures and the rate are what matters.
    pub(crate) fn cell(per_second: u64, proxy_us: f64, p50_us: f64) -> Cell {
        Cell {
            requests: per_second,
            elapsed: Duration::from_secs(1),
            p50_us,
            p99_us: p50_us * 3.0,
            proxy_us: Some(proxy_us),
            proxy_kernel_share: Some(0.8),
            nodes_us: 2.0,
            client_us: 3.0,
            resident_bytes: Some(8 << 20),
            foreign_cores: 0.0,
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(Spread::of(vec![]), None);
        let odd = Spread::of(vec![9.0, 1.0, 4.0]).unwrap();
        assert_eq!(odd, Spread { median: 4.0, min: 1.0, max: 9.0, count: 3 });
        assert_eq!(Spread::of(vec![4.0, 1.0]).unwrap().median, 2.5);
    }

    #[test]
    fn pairs_are_made_within_a_round_only() {
        let mut results = Results::default();
        for (round, ours, theirs) in [(1, Some(2.0), Some(4.0)), (2, Some(9.0), None)] {
            if let Some(us) = ours {
                results.add_cell("c50", Kind::Slotway, round, cell(100, us, 10.0));
            }
            if let Some(us) = theirs {
                results.add_cell("c50", Kind::Nutcracker, round, cell(100, us, 10.0));
            }
        }
        // Another load of the same targets must not be mixed in.
        results.add_cell("c1000", Kind::Nutcracker, 2, cell(100, 1.0, 10.0));
        let pair = (Kind::Slotway, Kind::Nutcracker);
        let ratios = |load| results.pairs(load, pair, |cell| cell.proxy_us, |a, b| a / b);
        assert_eq!(ratios("c50"), [0.5]);
        assert!(ratios("c8").is_empty());
        assert_eq!(results.spread("c50", Kind::Slotway, |cell| cell.proxy_us).unwrap().median, 5.5);
    }
}
