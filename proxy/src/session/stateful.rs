//! What a client has of its own at the servers while it has it: most never do, so all of it is
//! behind one pointer, and requests of those that have nothing never look here.

use smallvec::SmallVec;

use super::{Session, Special, Subscriptions, Tracking, Transaction, Watch};
use crate::command::Timeout;
use crate::time::Moment;

/// The part of a client's state that is more than its connection.
#[derive(Debug, Default)]
pub struct Stateful {
    /// The node connections that are lent to it: several only if it waits for several shards.
    pub own_connections: SmallVec<[OwnConnection; 1]>,
    /// Its request that blocks, wherever that is.
    pub blocking: Option<Blocking>,
    /// What it has said since MULTI.
    pub transaction: Option<Transaction>,
    /// What it watches.
    pub watch: Option<Watch>,
    /// What it is subscribed to.
    pub subscriptions: Subscriptions,
    /// What it is told of, because it caches.
    pub tracking: Option<Tracking>,
}

/// A request that blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// When it was read.
    pub since: Moment,
    /// Its timeout, if that can be read.
    pub timeout: Option<Timeout>,
    /// When that is over, if ever.
    pub until: Option<Moment>,
}

/// A node connection that is one client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnConnection {
    /// Its place in the worker's table.
    pub index: u32,
    /// Tells it from those that had the place before.
    pub serial: u64,
}

impl Stateful {
    /// Nothing is left of it: the client is one like most.
    pub fn is_over(&self) -> bool {
        self.own_connections.is_empty()
            && self.blocking.is_none()
            && self.transaction.is_none()
            && self.watch.is_none()
            && self.subscriptions.is_over()
            && self.tracking.is_none()
    }
}

impl Session {
    /// A request that blocks is under way, at a node or here.
    pub fn is_blocking(&self) -> bool {
        self.stateful.as_ref().is_some_and(|stateful| stateful.blocking.is_some())
    }

    /// What blocked is over. Returns whether something did.
    pub fn end_blocking(&mut self) -> bool {
        let Some(stateful) = &mut self.stateful else { return false };
        let blocked = stateful.blocking.take().is_some();
        self.drop_state_if_over();
        blocked
    }

    /// Bytes that its transaction has taken of the budget for large requests.
    pub fn taken_by_transaction(&self) -> usize {
        let transaction = self.stateful.as_ref().and_then(|s| s.transaction.as_ref());
        transaction.map_or(0, |transaction| transaction.taken)
    }

    /// Gives back the memory of a state of which nothing is left.
    pub fn drop_state_if_over(&mut self) {
        if self.stateful.as_ref().is_some_and(|stateful| stateful.is_over()) {
            self.stateful = None;
            self.special.set(Special::STATEFUL, false);
        }
    }
}
