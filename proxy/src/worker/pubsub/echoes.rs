//! Messages that come twice. A subscription moves from one node to another, and the new one tells
//! what the old one has told: nodes hear of a message over their bus, one sooner than another. And
//! a keyspace notification that somebody publishes by hand comes from every primary.
//!
//! Messages have no number, so what is told twice is known by its text alone, and publishers repeat
//! themselves: wake-ups are all the same. While both nodes are heard it is counted how often each
//! has told a text. Where that cannot be counted, because one of them tells it no more, a text is an
//! echo only if it was told once of late: one that comes again and again is told on, since a lost
//! wake-up is worse than one too many.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use smallvec::SmallVec;

use crate::time::Moment;

/// How long what was told is remembered.
pub(super) const ECHO: Duration = Duration::from_secs(1);

/// How long nodes need to tell one another, at most.
pub(super) const LAG: Duration = Duration::from_millis(250);

/// Messages remembered; of more than these the oldest is forgotten.
const REMEMBERED_MAX: usize = 16 * 1024;

/// Times remembered of one message; of more than these the oldest is forgotten.
const TIMES_MAX: usize = 1024;

/// What was delivered of late, and from which node (its pool).
#[derive(Debug, Default)]
pub(super) struct Echoes {
    heard: HashMap<u64, Heard>,
    order: VecDeque<(Moment, u64)>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Heard {
    pool: u16,
    /// When, the oldest first, those left out whose echo has come.
    told: SmallVec<[Moment; 2]>,
    /// The last time.
    at: Moment,
}

/// When a message of another node is an echo. Only what was told since then counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// As often as the other has told it.
    Counted(Moment),
    /// If the other has told it once, and not before either.
    Once(Moment),
    /// The same, and there may be more echoes of it.
    OfMany(Moment),
}

impl Echoes {
    /// This message came from a node and is delivered.
    pub(super) fn note(&mut self, subject: u32, message: &[u8], pool: u16, now: Moment) {
        let hash = self.hasher.hash_one((subject, message));
        while let Some(&(at, oldest)) = self.order.front()
            && (at + ECHO <= now || self.order.len() >= REMEMBERED_MAX)
        {
            self.order.pop_front();
            if self.heard.get(&oldest).is_some_and(|heard| heard.at == at) {
                self.heard.remove(&oldest);
            }
        }
        let heard =
            self.heard.entry(hash).or_insert(Heard { pool, told: SmallVec::new(), at: now });
        if heard.pool != pool {
            heard.told.clear();
        } else if heard.told.len() >= TIMES_MAX {
            heard.told.drain(..TIMES_MAX / 2);
        } else if heard.told.len() == heard.told.capacity() {
            // One of the old ones stays: it says that this is not the first time.
            let old = heard.told.partition_point(|told| *told + ECHO <= now);
            heard.told.drain(..old.saturating_sub(1));
        }
        (heard.pool, heard.at) = (pool, now);
        heard.told.push(now);
        self.order.push_back((now, hash));
    }

    /// Whether a message is the echo of one that came from another node.
    pub(super) fn is_echo(&mut self, subject: u32, message: &[u8], pool: u16, echo: Echo) -> bool {
        let hash = self.hasher.hash_one((subject, message));
        let Some(heard) = self.heard.get_mut(&hash).filter(|heard| heard.pool != pool) else {
            return false;
        };
        let (Echo::Counted(since) | Echo::Once(since) | Echo::OfMany(since)) = echo;
        let old = heard.told.partition_point(|told| *told < since);
        let is_repeated = heard.told.len() > 1 && !matches!(echo, Echo::Counted(_));
        let is_echo = old < heard.told.len() && !is_repeated;
        if is_echo && !matches!(echo, Echo::OfMany(_)) {
            heard.told.drain(..=old);
        }
        is_echo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_text_that_is_said_for_long_a_second_is_remembered_and_that_it_is_not_new() {
        let mut echoes = Echoes::default();
        let mut now = Moment::default();
        for _ in 0..2_000 {
            now = now + Duration::from_millis(100);
            echoes.note(1, b"tick", 1, now);
        }
        let told: usize = echoes.heard.values().map(|heard| heard.told.capacity()).sum();
        assert!(told <= 64, "{told}");
        assert!(!echoes.is_echo(1, b"tick", 2, Echo::Once(now.before(ECHO))));
        assert!(echoes.is_echo(1, b"tick", 2, Echo::Counted(now.before(LAG))));
    }
}
