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
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        let tracks = session.tracking().is_some();
        let number = session.flow.as_ref().map(|flow| flow.next_number());
        let stateful = session.stateful.as_ref();
        let transaction = stateful.and_then(|stateful| stateful.transaction.as_ref());
        let in_transaction = transaction.is_some();
        let ends = args.name().eq_ignore_ascii_case(b"exec");
        let queued = transaction.filter(|_| tracks && ends).map(|t| t.queued().to_vec());
        let step = if in_transaction {
            self.in_transaction(index, args)
        } else if let Some(step) = self.subscriber_request(index, args) {
            step
        } else {
            self.plain_request(index, args)
        };
        if self.draining && step == Step::Taken {
            self.ends_with_transaction(index);
        }
        if tracks
            && step == Step::Taken
            && let Some(number) = number
        {
            match queued {
                Some(queued) => self.tracked_block(index, &queued, number),
                None if in_transaction => self.tracked_block(index, &[], number),
                None => self.tracked(index, args, number),
            }
        }
        step
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
            self.end_tracking(index);
            self.drop_state_if_over(index);
        }
    }
}
