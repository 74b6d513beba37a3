//! Messages that come twice. A subscription moves from one node to another, and the new one tells
//! what the old one has told: nodes hear of a message over their bus, one sooner than another. And
//! a keyspace notification that somebody publishes by hand comes from every primary. So the same
//! text from another node within a second is an echo. An event that truly happens at two nodes
//! within it (a key that is written on both sides of a slot's move) is delivered once: a message
//! is delivered once or not at all.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::time::Moment;

/// How long after it a message from another node is its echo.
pub(super) const ECHO: Duration = Duration::from_secs(1);

/// Messages remembered; of more than these the oldest is forgotten.
const REMEMBERED_MAX: usize = 16 * 1024;

/// What was delivered of late, and from which node (its pool).
#[derive(Debug, Default)]
pub(super) struct Echoes {
    heard: HashMap<u64, Heard>,
    order: VecDeque<(Moment, u64)>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    pool: u16,
    /// The last time.
    at: Moment,
    times: u32,
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
        let before = self.heard.get(&hash).filter(|heard| heard.pool == pool);
        let times = before.map_or(1, |heard| heard.times.saturating_add(1));
        self.heard.insert(hash, Heard { pool, at: now, times });
        self.order.push_back((now, hash));
    }

    /// Whether a message is the echo of one that came from another node. `once`: as often as
    /// that told it, and no more.
    pub(super) fn is_echo(
        &mut self,
        subject: u32,
        message: &[u8],
        pool: u16,
        now: Moment,
        once: bool,
    ) -> bool {
        let hash = self.hasher.hash_one((subject, message));
        let Some(heard) = self.heard.get_mut(&hash) else { return false };
        let is_echo = heard.pool != pool && now < heard.at + ECHO;
        if is_echo && once {
            heard.times -= 1;
            if heard.times == 0 {
                self.heard.remove(&hash);
            }
        }
        is_echo
    }
}
