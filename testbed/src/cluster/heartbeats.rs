//! Which slots went from hand to hand before all nodes had heard of it from one another.
//!
//! Redis 7.0 notes of a slot that its owner leaves it out of a heartbeat. The note stays when the
//! slot is given to another node by order, and as long as it is there the slot goes to whoever
//! claims it, be the claim an old one: a slot that is moved there and back at once may return with
//! a late heartbeat of the node that just gave it away, and two nodes then call one another its
//! owner for ever. (Issue: pull requests 12344 and 12564 of redis/redis.) A heartbeat of the owner
//! that claims the slot removes the note.

use super::{Cluster, Node};
use crate::wait::wait_for;
use anyhow::{Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The slots that changed hands since the nodes last heard one another.
#[derive(Debug, Default)]
pub(super) struct Unheard(Mutex<BTreeSet<u16>>);

impl Unheard {
    pub(super) fn insert(&self, slot: u16) {
        self.lock().insert(slot);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Returns when `slot` may be moved again: at once, unless it was moved a moment ago.
    ///
    /// # Errors
    /// Two live nodes do not hear one another in 30 s.
    pub(super) fn wait_heard(&self, slot: u16) -> Result<()> {
        let mut unheard = self.unheard.lock();
        if unheard.contains(&slot) {
            self.wait_heartbeats()?;
            unheard.clear();
        }
        Ok(())
    }

    /// Waits until every two live nodes have exchanged two heartbeats: the first may have been
    /// under way before the call, the second was not.
    fn wait_heartbeats(&self) -> Result<()> {
        let mut heard = Heard { since: now_ms(), pongs: BTreeMap::new() };
        wait_for("the nodes to hear one another", Duration::from_secs(30), || {
            let live = self.live_nodes();
            for node in &live {
                heard.note(node)?;
            }
            heard.check(&live)
        })
    }
}

/// What came since, in ms of the Unix epoch: of each pair of ids the pongs that the one had of the
/// other.
struct Heard {
    since: u64,
    pongs: BTreeMap<(String, String), BTreeSet<u64>>,
}

impl Heard {
    fn note(&mut self, node: &Node) -> Result<()> {
        for seen in node.view()?.nodes {
            // A whole second is what a third node told of it: it says nothing of this one.
            if seen.pong_at > self.since && seen.pong_at % 1000 != 0 {
                let pair = (node.id().to_owned(), seen.id);
                self.pongs.entry(pair).or_default().insert(seen.pong_at);
            }
        }
        Ok(())
    }

    /// A ping says as much as its pong, so it is enough that one of the two asked.
    fn check(&self, live: &[Node]) -> Result<()> {
        let twice = |a: &Node, b: &Node| {
            let pair = (a.id().to_owned(), b.id().to_owned());
            self.pongs.get(&pair).is_some_and(|pongs| pongs.len() >= 2)
        };
        for (index, a) in live.iter().enumerate() {
            for b in &live[index + 1..] {
                ensure!(twice(a, b) || twice(b, a), "{a} and {b} have not heard one another");
            }
        }
        Ok(())
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
