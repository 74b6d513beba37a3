//! Requests of clients that have something of their own at the servers ([`Stateful`]).
//!
//! [`Stateful`]: crate::session::Stateful

use super::Worker;
use super::requests::Step;
use crate::node::ClientKey;
use crate::resp::Args;
use crate::session::{Special, Stateful};

impl Worker {
    /// What the state of this client makes of its request.
    pub(super) fn stateful_request(&mut self, index: u32, args: &Args<'_>) -> Step {
        if self.stateful(index).is_some_and(|stateful| stateful.transaction.is_some()) {
            return self.in_transaction(index, args);
        }
        if let Some(step) = self.subscriber_request(index, args) {
            return step;
        }
        self.plain_request(index, args)
    }

    /// What this client has of its own, if anything.
    pub(super) fn stateful(&mut self, index: u32) -> Option<&mut Stateful> {
        self.clients.get(index)?.stateful.as_deref_mut()
    }

    /// Gives this client something of its own, in the light of which its requests are looked at.
    pub(super) fn make_stateful(&mut self, index: u32) -> Option<&mut Stateful> {
        let session = self.clients.get(index)?;
        session.special.set(Special::STATEFUL, true);
        Some(session.stateful.get_or_insert_default())
    }

    /// Something of what this client had is over: if that was all, it is a client like most.
    pub(super) fn drop_state_if_over(&mut self, index: u32) {
        if let Some(session) = self.clients.get(index) {
            session.drop_state_if_over();
        }
    }

    /// Ends all that this client has of its own: it has gone, or starts anew.
    pub(super) fn end_stateful(&mut self, index: u32) {
        if let Some(session) = self.clients.get(index)
            && session.stateful.is_some()
        {
            let key = ClientKey { index, generation: session.generation };
            self.end_transaction(index);
            self.end_watch(index);
            self.end_subscriptions(key);
            self.drop_state_if_over(index);
        }
    }
}
