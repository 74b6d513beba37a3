//! One node of the cluster as the clients of one mode know it: its connections, whether requests
//! may go to it now, and those that wait for it.

use std::sync::Arc;
use std::time::Duration;

use super::diary::Story;
use super::lots::Lot;
use crate::metrics::NodeCells;
use crate::node::{Backoff, Fenced, Mode};
use crate::time::Moment;
use crate::topology::{Endpoint, NodeId};

/// Whether requests may go to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// They may.
    Open,
    /// It is away or does not serve: one request (or a dial) tries, the others wait.
    Closed {
        /// When the next one may try.
        next_try: Moment,
        /// One is trying now.
        trying: bool,
    },
}

/// One node, for clients in one mode.
pub(super) struct Pool {
    /// Its identity in the cluster.
    pub(super) id: NodeId,
    /// The mode of its connections.
    pub(super) mode: Mode,
    /// The pool of the same node for clients in the base mode: itself, or the one it is a twin of.
    pub(super) base: u16,
    /// Of a base pool: the pools of the same node in other modes. They go before it does.
    pub(super) twins: Vec<(Mode, u16)>,
    /// Where to dial it.
    pub(super) endpoint: Endpoint,
    /// It is in the current topology.
    pub(super) listed: bool,
    /// The connection that all clients share, once opened.
    pub(super) shared: Option<u32>,
    /// Its other open connections: dedicated ones and those that only finish what they have.
    pub(super) extra: Vec<u32>,
    /// Dedicated connections that have nothing to do, with the moment since when.
    pub(super) idle: Vec<(u32, Moment)>,
    /// Requests that wait for a connection of their own and are over soon.
    pub(super) brief_queue: Lot,
    /// Those that wait for one to be lent to their client.
    pub(super) lent_queue: Lot,
    /// Of a base pool: connections lent to clients, over all pools of the node.
    pub(super) lent: usize,
    /// Whether requests may go to it.
    pub(super) gate: Gate,
    /// How long to wait between attempts.
    pub(super) backoff: Backoff,
    /// Requests that wait for it.
    pub(super) lot: Lot,
    /// Of a base pool: the process that last let us in.
    pub(super) run_id: Option<Box<str>>,
    /// It was suspect, and no other node has said since that it is still the primary.
    pub(super) unconfirmed: bool,
    /// The connection on which its worker is subscribed.
    pub(super) upstream: Option<u32>,
    /// The connection that hears of every change of a key, once opened; of a base pool only.
    pub(super) watcher: Option<u32>,
    /// Since it does, the number of that watch; 0: it does not.
    pub(super) watch: u32,
    /// The connection that finds out whether it answers at all.
    pub(super) probe: Option<u32>,
    /// Since when its shard has been away for longer than a whole deadline: who comes later waits
    /// only for a moment. `None`: the circuit is closed.
    pub(super) circuit_open: Option<Moment>,
    /// Lost connections of which its process may still hold requests: killed before the next
    /// connection is used (the fence).
    pub(super) left_behind: Vec<Fenced>,
    /// That it did not permit that was logged.
    pub(super) fence_logged: bool,
    /// That it does not let us in was logged: once is enough until it does.
    pub(super) refusal_logged: bool,
    /// What is counted about it.
    pub(super) cells: Arc<NodeCells>,
    /// What the operator was told about it.
    pub(super) story: Story,
    /// Why it was last found away or not serving, in words.
    pub(super) trouble: &'static str,
}

/// Lost connections remembered for one node; of more than these the oldest is forgotten. One a
/// dial is lost at most, and each successful dial clears them.
const LEFT_BEHIND_MAX: usize = 64;

impl Pool {
    /// The base pool of a node; `base` is its own index.
    pub(super) fn new(id: NodeId, endpoint: Endpoint, cells: Arc<NodeCells>, base: u16) -> Pool {
        Pool {
            id,
            mode: Mode::BASE,
            base,
            twins: Vec::new(),
            endpoint,
            listed: true,
            shared: None,
            extra: Vec::new(),
            idle: Vec::new(),
            brief_queue: Lot::default(),
            lent_queue: Lot::default(),
            lent: 0,
            run_id: None,
            gate: Gate::Open,
            backoff: Backoff::default(),
            lot: Lot::default(),
            circuit_open: None,
            unconfirmed: false,
            upstream: None,
            watcher: None,
            watch: 0,
            probe: None,
            left_behind: Vec::new(),
            fence_logged: false,
            refusal_logged: false,
            cells,
            story: Story::default(),
            trouble: "",
        }
    }

    /// Another pool of the same node. Of what is known of the node it gets what it must mind.
    pub(super) fn twin_of(node: &Pool, mode: Mode) -> Pool {
        Pool {
            mode,
            listed: node.listed,
            unconfirmed: node.unconfirmed,
            left_behind: node.left_behind.clone(),
            ..Pool::new(node.id, node.endpoint.clone(), Arc::clone(&node.cells), node.base)
        }
    }

    /// All in which requests wait for it, or for a connection to it.
    pub(super) fn lots(&mut self) -> [&mut Lot; 3] {
        [&mut self.lot, &mut self.brief_queue, &mut self.lent_queue]
    }

    /// The pool of the same node in this mode, if this is the base pool.
    #[inline]
    pub(super) fn twin(&self, mode: Mode) -> Option<u16> {
        self.twins.iter().find(|(other, _)| *other == mode).map(|&(_, twin)| twin)
    }

    /// Requests may go to it without asking further.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    /// Somebody finds out whether it serves again.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.gate, Gate::Closed { trying: true, .. })
    }

    /// It is away or does not serve: others wait from now on. The next attempt is not before
    /// `delay` has passed, unless the gate was closed already.
    pub(super) fn close_gate(&mut self, trouble: &'static str, now: Moment, delay: Duration) {
        self.trouble = trouble;
        self.gate = Gate::Closed { next_try: now + delay, trying: false };
    }

    /// A connection was lost with requests that its process may still hold.
    pub(super) fn leave_behind(&mut self, fenced: Fenced) {
        if self.left_behind.len() == LEFT_BEHIND_MAX {
            self.left_behind.remove(0);
        }
        self.left_behind.push(fenced);
    }

    /// It may serve again: the next one tries at once.
    pub(super) fn try_soon(&mut self, now: Moment) {
        if let Gate::Closed { next_try, trying: false } = &mut self.gate {
            *next_try = now;
        }
    }

    /// Nothing holds it any more: no connection, nobody waits, the topology does not list it.
    pub(super) fn is_dead(&self) -> bool {
        !self.listed && self.shared.is_none() && self.is_unused_but_shared()
    }

    /// It has no connection but the shared one, no twins, and nobody waits.
    pub(super) fn is_unused_but_shared(&self) -> bool {
        self.extra.is_empty()
            && self.upstream.is_none()
            && self.probe.is_none()
            && self.watcher.is_none()
            && self.lot.is_empty()
            && self.brief_queue.is_empty()
            && self.lent_queue.is_empty()
            && self.twins.is_empty()
    }
}
