//! Requests of clients that have something of their own at the servers ([`Stateful`]).
//!
//! [`Stateful`]: crate::session::Stateful

use super::Worker;
use super::requests::Step;
use crate::resp::Args;

impl Worker {
    /// What the state of this client makes of its request.
    #[cold]
    pub(super) fn stateful_request(&mut self, index: u32, args: &Args<'_>) -> Step {
        self.plain_request(index, args)
    }
}
