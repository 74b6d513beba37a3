//! What can happen to the cluster, and what slotway's discovery hears of it; time passes here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::cluster::{PORTS, partner};
use super::history::op_of;
use super::world::{Wire, World};
use crate::node::{Phase, Stream};
use crate::time::Moment;
use crate::worker::tests::bench::node_id;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

const HEARTBEAT: Duration = Duration::from_millis(500);

/// After this time slotway must have found out that a node is silent: it looks twice a second,
/// and waits a second for each of two connections.
const NOTICED: Duration = Duration::from_millis(3500);

/// What a node says instead of serving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trouble {
    #[default]
    None,
    Loading,
    ClusterDown,
    MasterDown,
    /// It lets nobody in, for there are too many.
    Full,
    /// It wants a password that nobody has.
    Locked,
}

/// Whole requests that a process holds of a connection that is no more: it may still execute
/// them.
pub(super) struct Ghost {
    pub(super) port: u16,
    pub(super) id: u32,
    requests: VecDeque<String>,
}

/// What a connection says in front of its first request: end what is left of another.
pub(super) const KILL: &str = "CLIENT KILL ID ";

/// A node was asked for its view, and the answer is on its way.
pub(super) struct Look {
    by: u16,
    at: Moment,
    view: BTreeMap<u16, (u16, u64)>,
}

impl World {
    // ---- discovery ----

    /// Discovery tells what it knows: all of it, or what one view has brought that lacks slots.
    pub(super) fn publish(&mut self, all: bool) {
        let mut view = self.cluster.view();
        if !all {
            view.retain(|_, _| self.rng.bool());
        }
        self.tell(&view);
    }

    fn tell(&mut self, view: &BTreeMap<u16, (u16, u64)>) {
        let now = self.cluster.tick();
        for index in self.wires.keys().copied().collect::<Vec<_>>() {
            self.note_unsent(index, now);
        }
        if self.cluster.hear(view) {
            self.say(|| format!("the map: {:?}", self.cluster.believed));
            let topology = self.cluster.topology();
            self.bench.worker.topology_changed(topology, self.bench.now);
            self.act();
            self.bench.worker.connect_to_primaries(self.bench.now);
            self.act();
        }
    }

    /// A node that knows everything is asked for its view.
    pub(super) fn ask_view(&mut self) {
        let by = PORTS[self.rng.usize(..PORTS.len())];
        let node = &self.cluster.nodes[&by];
        if !node.down && !node.frozen && !node.isolated && node.stale.is_empty() {
            let (at, view) = (self.bench.now, self.cluster.view());
            self.looks.push(Look { by, at, view });
        }
    }

    /// What it said arrives.
    pub(super) fn view_arrives(&mut self) {
        if !self.looks.is_empty() {
            let n = self.rng.usize(..self.looks.len());
            let Look { by, at, view } = self.looks.swap_remove(n);
            self.tell(&view);
            self.bench.worker.views_given(&[(node_id(by), at)], self.bench.now);
            self.act();
        }
    }

    // ---- nodes ----

    pub(super) fn freeze(&mut self, port: u16) {
        self.say(|| format!("freeze {port}"));
        let node = self.cluster.node(port);
        if node.down || node.frozen {
            return;
        }
        (node.frozen, node.noticed) = (true, false);
        self.last_frozen = self.bench.now;
        self.faults += 1;
        let now = self.bench.now;
        for wire in self.wires.values_mut().filter(|wire| wire.port == port) {
            wire.owes = wire.owes.map(|_| now);
            wire.stuck = self.rng.bool();
        }
    }

    pub(super) fn thaw(&mut self, port: u16) {
        self.say(|| format!("thaw {port}"));
        self.cluster.node(port).frozen = false;
        for wire in self.wires.values_mut().filter(|wire| wire.port == port) {
            wire.stuck = false;
        }
    }

    /// This node is well, and has answered what it was asked.
    pub(super) fn cure(&mut self, port: u16) {
        self.thaw(port);
        let node = self.cluster.node(port);
        (node.down, node.trouble) = (false, Trouble::None);
        self.bounds.forget(port);
        for wire in self.wires.values_mut().filter(|wire| wire.port == port) {
            wire.locked = false;
        }
        for _ in 0..3 {
            self.round(Some(port));
            self.flush();
        }
    }

    /// The nodes, or this one, do what there is to do; returns whether there was anything.
    pub(super) fn round(&mut self, port: Option<u16>) -> bool {
        let mut any = false;
        for index in self.wires.keys().copied().collect::<Vec<_>>() {
            let Some(wire) = self.wires.get(&index) else { continue };
            if port.is_some_and(|port| port != wire.port) {
                continue;
            }
            if !wire.open {
                self.end_dial(index);
                any = true;
            }
            any |= self.node_serves(index) | self.node_answers(index);
        }
        any
    }

    /// The process ends; whatever it held is gone, and another one comes when it is up again.
    pub(super) fn kill(&mut self, port: u16) {
        self.say(|| format!("kill {port}"));
        self.thaw(port);
        let node = self.cluster.node(port);
        (node.down, node.accepted, node.noticed) = (true, 0, false);
        node.process += 1;
        let wires = self.wires.iter().filter(|(_, wire)| wire.port == port);
        for wire in wires.map(|(&index, _)| index).collect::<Vec<_>>() {
            self.break_wire(wire, false);
        }
        self.ghosts.retain(|ghost| ghost.port != port);
        self.cluster.forget(port, &mut self.rng);
        self.cluster.forget_stale(port);
        self.faults += 1;
    }

    /// A node refuses in one of the many ways.
    pub(super) fn trouble(&mut self, port: u16, trouble: Trouble) {
        self.faults += usize::from(trouble != Trouble::None);
        self.say(|| format!("{port}: {trouble:?}"));
        self.cluster.node(port).trouble = trouble;
        self.bounds.forget(port);
        for wire in self.wires.values_mut().filter(|wire| wire.port == port && wire.open) {
            wire.locked = trouble == Trouble::Locked;
        }
    }

    /// The old one can be reached as well as the new one, and hears nothing of it.
    pub(super) fn split(&mut self, port: u16) {
        self.say(|| format!("split {port}"));
        let heir = &self.cluster.nodes[&partner(port)];
        if self.cluster.nodes[&port].frozen || heir.isolated || heir.frozen {
            return;
        }
        self.faults += 1;
        for slot in self.cluster.owned(port) {
            self.lay(slot, Some(port));
        }
        self.cluster.node(port).isolated = true;
        self.cluster.fail_over(port);
    }

    /// A node is started anew at another address, or two of them change places.
    pub(super) fn relocate(&mut self, port: u16, other: u16) {
        let free = self.cluster.nodes[&port].address + 10;
        self.kill(port);
        if self.rng.bool() || port == other {
            self.cluster.node(port).address = free;
        } else {
            self.kill(other);
            let address = self.cluster.nodes[&other].address;
            let mine = std::mem::replace(&mut self.cluster.node(port).address, address);
            self.cluster.node(other).address = mine;
        }
    }

    /// The socket of this connection is gone; its process may still hold what it was sent.
    pub(super) fn haunt(&mut self, index: u32) -> bool {
        let Some(wire) = self.wires.remove(&index) else { return false };
        let now = self.cluster.tick();
        let unread = wire.unread.iter().filter_map(|unread| unread.op);
        let unserved = wire.requests.iter().filter_map(|r| r.split(' ').find_map(op_of));
        for op in unread.chain(unserved) {
            self.cluster.ops[op].queued = None;
            self.cluster.ops[op].set_back(now, self.bench.now);
        }
        let node = &self.cluster.nodes[&wire.port];
        if wire.open && !node.down && !wire.asking && (node.frozen || self.rng.u8(..4) > 0) {
            let does = |r: &String| r.starts_with(KILL) || r.split(' ').any(is_op);
            let requests = wire.requests.into_iter().filter(does);
            let requests: VecDeque<String> = requests.collect();
            self.ghosts.push(Ghost { port: wire.port, id: wire.id, requests });
        }
        true
    }

    /// A process goes on with what it holds of lost connections.
    pub(super) fn ghosts_act(&mut self, all: bool) {
        for n in (0..self.ghosts.len()).rev() {
            let port = self.ghosts[n].port;
            if self.cluster.nodes[&port].frozen || !(all || self.rng.bool()) {
                continue;
            }
            while let Some(request) = self.ghosts[n].requests.pop_front() {
                if let Some(id) = request.strip_prefix(KILL) {
                    let id = id.parse().expect("a number");
                    let killed = self.ghosts.iter_mut().filter(|g| (g.port, g.id) == (port, id));
                    killed.for_each(|ghost| ghost.requests.clear());
                } else if self.cluster.nodes[&port].trouble == Trouble::None {
                    self.cluster.serve(port, 0, &mut false, &request, &mut self.rng);
                }
                if !all && self.rng.bool() {
                    break;
                }
            }
            if self.ghosts[n].requests.is_empty() {
                self.ghosts.remove(n);
            }
        }
    }

    /// A slot gets another owner: what nodes hold for it was refused by those that did not have it,
    /// and will be by the one that loses it, unless that does not hear of it.
    pub(super) fn lay(&mut self, slot: u16, deaf: Option<u16>) {
        for ghost in self.ghosts.iter_mut().filter(|ghost| Some(ghost.port) != deaf) {
            let op = |request: &String| request.split(' ').find_map(op_of);
            let ops = &self.cluster.ops;
            ghost.requests.retain(|r| op(r).and_then(|op| ops[op].slot) != Some(slot));
        }
    }

    // ---- time ----

    /// Time passes, with a look at everything twice a second.
    pub(super) fn wait(&mut self, by: Duration) {
        let until = self.bench.now + by;
        let mut still = 0;
        loop {
            let before = self.bench.now;
            let wake = self.bench.worker.next_wake().unwrap_or(until);
            let dials = self.wires.values().filter(|wire| !wire.open);
            let dial = dials.map(|wire| self.dial_ends(wire)).min().unwrap_or(until);
            let next = until.min(self.next_heartbeat).min(wake).min(dial).max(self.bench.now);
            still = if next == before { still + 1 } else { 0 };
            assert!(still < 1000, "it wants to be woken for nothing");
            self.bench.now = next;
            if self.cluster.nodes.values().any(|node| node.frozen) {
                self.last_frozen = next;
            }
            self.notice();
            self.end_old_dials();
            if wake <= next {
                self.bench.worker.tick(next);
                self.act();
            }
            if self.next_heartbeat <= next {
                self.next_heartbeat = next + HEARTBEAT;
                let flowing = self.flowing();
                self.bench.worker.housekeeping(next);
                self.act();
                self.broken_replies += flowing.saturating_sub(self.flowing());
            }
            if next == until {
                return;
            }
            self.flush();
        }
    }

    /// When at last: a process that is not there refuses at once.
    fn dial_ends(&self, wire: &Wire) -> Moment {
        let refused = self.cluster.nodes[&wire.port].down;
        wire.dialed + if refused { Duration::from_millis(1) } else { CONNECT_TIMEOUT }
    }

    /// A dial takes only so long.
    fn end_old_dials(&mut self) {
        let now = self.bench.now;
        let over = |w: &Wire| !w.open && self.dial_ends(w) <= now;
        let old = self.wires.iter().filter(|(_, wire)| over(wire));
        for index in old.map(|(&index, _)| index).collect::<Vec<_>>() {
            self.end_dial(index);
        }
    }

    /// Large replies that are passed on in part.
    pub(super) fn flowing(&self) -> u64 {
        let connections = self.bench.worker.connections.iter();
        connections.filter(|(_, c)| c.stream == Stream::Flowing).count() as u64
    }

    /// Nodes that are frozen for so long while they owe a reply that slotway must know.
    fn notice(&mut self) {
        for (&index, wire) in &self.wires {
            let node = self.cluster.node(wire.port);
            let connection = &self.bench.worker.connections[index as usize];
            let ready = matches!(connection.phase, Phase::Ready) && !connection.read_paused;
            if node.frozen
                && ready
                && connection.stream == Stream::Whole
                && connection.partial.is_empty()
                && wire.output.is_empty()
                && wire.owes.is_some_and(|since| since + NOTICED <= self.bench.now)
            {
                node.noticed = true;
            }
        }
    }
}

fn is_op(word: &str) -> bool {
    op_of(word).is_some()
}
