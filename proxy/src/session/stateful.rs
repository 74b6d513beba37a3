//! What a client has of its own at the servers while it has it: most never do, so all of it is
//! behind one pointer, and requests of those that have nothing never look here.

use super::{Session, Special};

/// The part of a client's state that is more than its connection.
#[derive(Debug, Default)]
pub struct Stateful {
    /// The node connection that is lent to it.
    pub own_connection: Option<OwnConnection>,
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
        self.own_connection.is_none()
    }
}

impl Session {
    /// Gives back the memory of a state of which nothing is left.
    pub fn drop_state_if_over(&mut self) {
        if self.stateful.as_ref().is_some_and(|stateful| stateful.is_over()) {
            self.stateful = None;
            self.special.set(Special::STATEFUL, false);
        }
    }
}
