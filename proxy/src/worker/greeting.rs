//! The greeting on a new node connection, until requests may go out on it.

use super::pool::Gate;
use super::{WishReason, Worker};
use crate::events::Event;
use crate::node::{Fenced, HandshakeStep, Kind as Use, Phase};
use crate::resp::reply::Kind;

impl Worker {
    pub(super) fn handshake_reply(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if kind == Kind::Push {
            return;
        }
        match connection.greeted(reply) {
            None => {}
            Some(HandshakeStep::More) if connection.output().is_empty() => {}
            Some(HandshakeStep::More) => self.touch(index),
            // Whatever a probe is answered, it is an answer.
            Some(HandshakeStep::Ready | HandshakeStep::Refused(_))
                if connection.kind == Use::Probe =>
            {
                self.probe_answered(index);
            }
            Some(HandshakeStep::Ready) if connection.kind == Use::Watcher => {
                self.watcher_greeted(index);
            }
            Some(HandshakeStep::Ready) => self.handshake_done(index),
            Some(HandshakeStep::Refused(error)) => {
                let pool = usize::from(connection.pool);
                if let Some(node) = self.pools.get_mut(pool)
                    && !std::mem::replace(&mut node.refusal_logged, true)
                {
                    tracing::warn!(node = %node.endpoint, %error, "the node does not let us in");
                }
                self.drop_connection(index, true);
            }
        }
    }

    fn handshake_done(&mut self, index: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let pool = connection.pool;
        let Phase::Handshaking(handshake) = &mut connection.phase else { return };
        if let Some(node) = self.pools.get_mut(usize::from(pool)) {
            // Others may have been lost since this one was opened.
            let is_new = |lost: &&Fenced| !handshake.fenced.contains(lost);
            let more: Vec<Fenced> = node.left_behind.iter().filter(is_new).cloned().collect();
            if !more.is_empty() && connection.fence_too(more) {
                return self.touch(index);
            }
        }
        let Phase::Handshaking(handshake) = &mut connection.phase else { return };
        let identity = std::mem::take(&mut handshake.identity);
        let fence = handshake.fence;
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        if identity.node_id.as_deref().is_some_and(|id| id != node.id.as_str()) {
            tracing::warn!(
                node = %node.endpoint, expected = %node.id, found = ?identity.node_id,
                "another node answers at this address"
            );
            return self.drop_connection(index, true);
        }
        if !node.left_behind.is_empty() {
            // Killed, or of a process that is no more; one that may not be killed is not asked
            // for again.
            let connections = node.left_behind.len() as u64;
            node.left_behind.clear();
            let counter =
                if fence.refused { &self.cells.fences_refused } else { &self.cells.fences_done };
            counter.add(1);
            let (node_name, refused) = (node.endpoint.clone(), fence.refused);
            let event = Event::Fence { node: node_name, connections, refused };
            (self.around.operator.tell)(now, event);
            if fence.refused && !std::mem::replace(&mut node.fence_logged, true) {
                tracing::warn!(
                    node = %node.endpoint,
                    "the node does not permit CLIENT KILL: requests of a lost connection may still \
                     be executed there, behind later ones"
                );
            }
        }
        if connection.kind == Use::Subscriber {
            connection.identity = identity;
            return self.upstream_ready(index);
        }
        if node.unconfirmed && self.topology.nodes().len() > 1 {
            connection.identity = identity;
            connection.phase = Phase::Confirming { since: now };
            return self.outbox.wish(WishReason::Unconfirmed);
        }
        node.unconfirmed = false;
        let run_id = identity.run_id.clone();
        connection.identity = identity;
        self.note_process(pool, run_id);
        self.begin_use(index);
    }

    /// A node that has started anew may not have what was written to it before.
    fn note_process(&mut self, pool: u16, run_id: Option<Box<str>>) {
        let base = self.base_of(pool);
        if let Some(node) = self.pools.get_mut(usize::from(base))
            && run_id.is_some()
            && node.run_id != run_id
            && std::mem::replace(&mut node.run_id, run_id).is_some()
        {
            self.lose_writes(base, &[base]);
        }
    }

    /// Requests may go out on this connection: those that wait for it follow.
    pub(super) fn begin_use(&mut self, index: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let pool = connection.pool;
        connection.ready(now);
        self.touch(index); // what is to be killed may have been queued while it was confirmed
        self.note_ready(index);
        let Some(connection) = self.connections.get(index as usize) else { return };
        if connection.kind == Use::Dedicated {
            return self.after_extra(index);
        }
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        if node.is_open() {
            let lot = std::mem::take(&mut node.lot);
            self.release(lot);
        } else {
            node.gate = Gate::Closed { next_try: now, trying: false };
            self.try_node(pool);
        }
    }

    /// Closes connections whose node accepted and then did not answer the greeting.
    pub(super) fn end_slow_handshakes(&mut self) {
        let (now, timeout) = (self.now, self.settings.handshake_timeout);
        let slow: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c.phase, Phase::Handshaking(_) | Phase::Confirming { .. }))
            .filter(|(_, c)| c.connected_since + timeout <= now)
            .map(|(index, _)| index as u32)
            .collect();
        for index in slow {
            self.drop_connection(index, true);
        }
    }
}
