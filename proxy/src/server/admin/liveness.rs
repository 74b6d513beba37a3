//! Whether the workers still make turns.

/// Looks in a row without a turn after which a worker counts as stuck: ten seconds, as looks are
/// made once a second. Looks are counted, not time, so that a process that was stopped and goes on
/// is not found stuck for the time it was away.
const LOOKS: u32 = 10;

/// Compares the workers' turns from look to look.
#[derive(Default, Debug)]
pub(super) struct Liveness {
    workers: Vec<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    turns: u64,
    /// Looks since the turns changed.
    unchanged: u32,
}

impl Liveness {
    /// Takes note of how many turns each worker has made. When one ends, those behind it move up;
    /// at worst such a worker gets its looks again.
    pub(super) fn look(&mut self, turns: &[u64]) {
        let before = std::mem::take(&mut self.workers);
        let mut before = before.into_iter();
        self.workers = turns.iter().map(|&turns| Seen::next(before.next(), turns)).collect();
    }

    /// Which workers are stuck, by their place in the list.
    pub(super) fn stuck(&self) -> Vec<usize> {
        let numbered = self.workers.iter().enumerate();
        numbered.filter(|(_, seen)| seen.unchanged >= LOOKS).map(|(i, _)| i).collect()
    }
}

impl Seen {
    fn next(before: Option<Seen>, turns: u64) -> Seen {
        match before {
            Some(seen) if seen.turns == turns => {
                Seen { turns, unchanged: seen.unchanged.saturating_add(1) }
            }
            _ => Seen { turns, unchanged: 0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_turns_is_stuck_after_ten_looks_and_no_sooner() {
        let mut liveness = Liveness::default();
        liveness.look(&[1, 1]);
        for look in 1..=LOOKS {
            assert_eq!(liveness.stuck(), [0; 0], "before look {look}");
            liveness.look(&[1 + u64::from(look), 1]);
        }
        assert_eq!(liveness.stuck(), [1]);
    }

    #[test]
    fn one_turn_heals() {
        let mut liveness = Liveness::default();
        (0..50).for_each(|_| liveness.look(&[7]));
        assert_eq!(liveness.stuck(), [0]);
        liveness.look(&[8]);
        assert_eq!(liveness.stuck(), [0; 0]);
    }

    #[test]
    fn workers_come_and_go() {
        let mut liveness = Liveness::default();
        (0..=LOOKS).for_each(|_| liveness.look(&[3]));
        liveness.look(&[3, 0]);
        assert_eq!(liveness.stuck(), [0]);
        liveness.look(&[0]);
        assert_eq!(liveness.stuck(), [0; 0], "the stuck one ended, the other moved up");
        liveness.look(&[]);
        assert_eq!(liveness.stuck(), [0; 0]);
    }
}
