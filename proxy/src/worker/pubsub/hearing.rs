//! An UNSUBSCRIBE behind requests of its client that are under way, such as a PUBLISH to itself. At a
//! server they are over when it is executed. So it waits until they are answered, and then until
//! all has come that its nodes had said by then. (What another node passes on to the one where a
//! pattern is subscribed may still come too late.)

use super::upstream::Asked;
use crate::node::ClientKey;
use crate::session::Hearing;
use crate::worker::Worker;

impl Worker {
    /// Whether this client's UNSUBSCRIBE has to wait.
    pub(super) fn has_to_hear_out(&mut self, index: u32) -> bool {
        let Some(session) = self.clients.get(index) else { return false };
        let is_behind = session.in_flight() > 0;
        let key = ClientKey { index, generation: session.generation };
        let Some(stateful) = &mut session.stateful else { return false };
        let own = &mut stateful.subscriptions;
        if own.total() == 0 {
            return false;
        }
        let ids: Vec<u32> = match own.hearing {
            _ if is_behind => {
                own.hearing = Hearing::Behind;
                session.blocked = true;
                return true;
            }
            Hearing::Behind => own.all().collect(),
            Hearing::For(0) | Hearing::Nothing => {
                own.hearing = Hearing::Nothing;
                return false;
            }
            Hearing::For(_) => {
                session.blocked = true;
                return true;
            }
        };
        let subjects = ids.iter().filter_map(|&id| self.pubsub.subjects.get(id as usize));
        let mut pools: Vec<u16> =
            subjects.flat_map(|subject| &subject.sources).map(|source| source.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        pools.retain(|&pool| self.say_upstream(pool, &[b"PING"], Asked::Heard(key)));
        let waits = !pools.is_empty();
        if let Some(session) = self.clients.get(index)
            && let Some(stateful) = &mut session.stateful
        {
            stateful.subscriptions.hearing = Hearing::For(pools.len() as u32);
            session.blocked |= waits;
        }
        waits || self.has_to_hear_out(index)
    }

    /// What a node had said until this client asked it was heard, or will never be.
    pub(super) fn heard_out(&mut self, key: ClientKey) {
        let Some(session) = self.clients.find(key) else { return };
        let Some(stateful) = &mut session.stateful else { return };
        if let Hearing::For(left) = &mut stateful.subscriptions.hearing {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.clients.unblock(key.index);
            }
        }
    }
}
