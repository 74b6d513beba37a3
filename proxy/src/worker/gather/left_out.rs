//! Nodes that are left out of a request for all nodes, because they are away: it is answered as if
//! they were not there. Who only asks (PUBSUB, SLOWLOG, LATENCY) waits for a node that cannot be
//! reached no longer than a moment: what it would say is of no use while it is away. A write
//! (CONFIG SET) waits until the cluster says that the node has failed or left.

use super::{Gather, How};
use crate::node::{Ticket, WHOLE};
use crate::topology::Health;
use crate::worker::{NO_POOL, Worker};

impl Gather {
    /// The parts of nodes that are away are forgotten, if there are others.
    pub(super) fn drop_left_out(&mut self) {
        if self.parts.iter().any(|part| !part.left_out) {
            self.parts.retain(|part| !part.left_out);
        }
    }
}

impl Worker {
    /// A part that is given up. Returns whether its request is answered without it.
    pub(in crate::worker) fn leaves_out(&mut self, ticket: &Ticket) -> bool {
        let leaves_out =
            self.is_for_all_nodes(ticket) && (ticket.reads_only || self.is_gone(ticket.pinned));
        if leaves_out
            && let Some(gather) = self.clients.gather_of(ticket)
            && let Some(part) = gather.parts.get_mut(usize::from(ticket.part))
        {
            part.left_out = true;
        }
        leaves_out
    }

    /// Whether it is a part of a request for all nodes that changes nothing.
    pub(in crate::worker) fn is_question(&self, ticket: &Ticket) -> bool {
        ticket.reads_only && self.is_for_all_nodes(ticket)
    }

    /// Whether it is a part of a request for all nodes.
    pub(in crate::worker) fn is_for_all_nodes(&self, ticket: &Ticket) -> bool {
        if ticket.pinned == NO_POOL || ticket.part == WHOLE {
            return false;
        }
        let gather = self.clients.gathers.get(ticket.sequence as usize);
        let gather = gather.filter(|gather| gather.whole.client == ticket.client);
        gather.is_some_and(|gather| matches!(gather.how, How::Nodes | How::Count(_)))
    }

    /// Whether the node of this base pool has left the cluster, or failed as the others say.
    pub(in crate::worker) fn is_gone(&self, base: u16) -> bool {
        let Some(pool) = self.pools.get(usize::from(base)).filter(|pool| pool.listed) else {
            return true;
        };
        let node = self.topology.node_by_id(&pool.id).map(|node| self.topology.node(node));
        node.is_none_or(|node| node.health == Health::Failed)
    }

    /// The node of this pool has turned out to be away: questions that wait for it do so no longer
    /// than those that come now.
    pub(in crate::worker) fn hurry_questions(&mut self, pool: u16) {
        let questions: Vec<u64> = match self.pools.get(usize::from(pool)) {
            Some(node) => {
                node.lot.tickets().filter(|t| self.is_question(t)).map(|t| t.arrival).collect()
            }
            None => return,
        };
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        for arrival in questions {
            if let Some(mut parked) = node.lot.remove(arrival) {
                self.settings.deadlines.hurry(&mut parked.ticket);
                node.lot.insert(parked);
            }
        }
    }
}
