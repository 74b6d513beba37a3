//! A worker between clients and a cluster in memory, with a driver that obeys it to the letter:
//! sockets that take a part, break at any byte, and wake nobody who was told not to read.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;

use super::blocks::{self, take_whole};
use super::bounds::Bounds;
use super::clients::Client;
use super::cluster::Cluster;
use super::faults::{Ghost, KILL, Look, Trouble};
use super::history::{Reply, op_of};
use super::wide::{is_wide, mode_after};
use crate::node::{Phase, Replies};
use crate::session::Manners;
use crate::time::Moment;
use crate::worker::tests::bench::Bench;
use crate::worker::{Action, Settings};

/// One connection to a node.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) port: u16,
    pub(super) open: bool,
    pub(super) dialed: Moment,
    /// What its process calls it.
    pub(super) id: u32,
    /// Since when it owes the oldest reply, as slotway can see it.
    pub(super) owes: Option<Moment>,
    /// Its kernel takes nothing more.
    pub(super) stuck: bool,
    /// What the kernel took that is no whole request yet.
    pub(super) input: Vec<u8>,
    /// Whole requests that the node has not looked at.
    pub(super) requests: VecDeque<String>,
    /// Replies of which not all has been read.
    pub(super) unread: VecDeque<Unread>,
    /// Replies on their way.
    pub(super) output: Vec<u8>,
    delivered: usize,
    produced: usize,
    pub(super) asking: bool,
    /// What was written on it last is `ASKING`.
    asks: bool,
    /// The node wants a password on it.
    pub(super) locked: bool,
    write_blocked: bool,
    /// What its greeting chose: the protocol in the lowest bit, above it the database.
    mode: u8,
    /// Something came while it was not to be read: nobody looks before the worker says so.
    unheard: bool,
}

/// A reply on its way.
pub(super) struct Unread {
    pub(super) op: Option<usize>,
    rejected: bool,
    /// It says `ASK`.
    asks: bool,
    /// How much was produced on the connection with it.
    end: usize,
}

pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) cluster: Cluster,
    pub(super) rng: Rng,
    pub(super) wires: BTreeMap<u32, Wire>,
    pub(super) clients: Vec<Client>,
    /// What processes hold of connections that are no more.
    pub(super) ghosts: Vec<Ghost>,
    /// Nodes that were asked for their view, when, and what they said.
    pub(super) looks: Vec<Look>,
    pub(super) next_heartbeat: Moment,
    /// From now on all sockets take everything and nothing fails.
    pub(super) healed: bool,
    /// The first request that was made when all was well again.
    pub(super) healed_from: Option<usize>,
    /// Large replies of which a part was passed on when their connection broke.
    pub(super) broken_replies: u64,
    /// Clients that were closed for being slow, and because slotway ends.
    pub(super) closed_slow: u64,
    pub(super) closed_drained: u64,
    pub(super) next_id: u64,
    /// It has what only half of the worlds have.
    pub(super) wide: bool,
    /// Its clients have transactions.
    pub(super) blocks: bool,
    pub(super) settings: Settings,
    pub(super) manners: Manners,
    pub(super) mixed: bool,
    pub(super) bounds: Bounds,
    /// Things that went wrong so far.
    pub(super) faults: usize,
    /// When a node was frozen last.
    pub(super) last_frozen: Moment,
    /// A shard was away for a whole deadline at some time.
    pub(super) circuits_opened: bool,
    /// slotway was told to end.
    pub(super) draining: bool,
    /// Discovery was asked for news.
    pub(super) wished: bool,
}

impl World {
    pub(super) fn new(settings: Settings, manners: Manners, seed: u64) -> World {
        let bench = Bench::without_topology(settings.clone());
        let mut world = World {
            bench,
            cluster: Cluster::new(),
            rng: Rng::with_seed(seed),
            wires: BTreeMap::new(),
            clients: Vec::new(),
            ghosts: Vec::new(),
            looks: Vec::new(),
            next_heartbeat: Moment::default(),
            healed: false,
            healed_from: None,
            broken_replies: 0,
            closed_slow: 0,
            closed_drained: 0,
            next_id: 1,
            wide: is_wide(seed),
            blocks: seed >= blocks::FROM,
            settings,
            manners,
            // In some runs every other client has a deadline of its own.
            mixed: seed % 12 == 8,
            bounds: Bounds::default(),
            faults: 0,
            last_frozen: Moment::default(),
            circuits_opened: false,
            draining: false,
            wished: false,
        };
        (world.cluster.strict, world.cluster.calm) = (manners.strict_order, seed.is_multiple_of(4));
        world.next_heartbeat = world.bench.now;
        world.publish(true);
        world
    }

    /// What happens, if SLOTWAY_TRACE is set.
    pub(super) fn say(&self, what: impl Fn() -> String) {
        if self.cluster.traced {
            eprintln!(
                "{:>10} {:>6} {}",
                self.bench.now.micros_since(Moment::default()),
                self.cluster.clock,
                what()
            );
        }
    }

    /// A part of this many, often all.
    pub(super) fn part(&mut self, of: usize) -> usize {
        if self.healed || self.rng.u8(..) < 160 { of } else { self.rng.usize(0..=of) }
    }

    // ---- nodes ----

    /// A dial comes to its end.
    pub(super) fn end_dial(&mut self, index: u32) {
        let Some(wire) = self.wires.get_mut(&index) else { return };
        if wire.open {
            return;
        }
        let port = wire.port;
        self.say(|| format!("wire {index} to {port}: dialed"));
        let Some(wire) = self.wires.get_mut(&index) else { return };
        let node = self.cluster.node(port);
        if node.down {
            self.wires.remove(&index);
            let flowing = self.flowing();
            self.bench.worker.node_lost(index, self.bench.now);
            self.act();
            // A probe that fails ends what a silent node was in the middle of.
            self.broken_replies += flowing.saturating_sub(self.flowing());
            return;
        }
        wire.open = true;
        node.accepted += 1;
        wire.id = node.accepted;
        let full = node.trouble == Trouble::Full && !node.frozen;
        self.bench.worker.node_connected(index, self.bench.now);
        self.act();
        if full {
            // Said unasked, and closed.
            let bytes = b"-ERR max number of clients reached\r\n";
            self.bench.worker.node_bytes(index, bytes, self.bench.now);
            self.act();
            if self.wires.remove(&index).is_some() {
                self.bench.worker.node_lost(index, self.bench.now);
                self.act();
            }
        }
    }

    fn write_node(&mut self, index: u32) -> bool {
        let output = self.bench.worker.node_output(index).to_vec();
        let mut len = self.part(output.len());
        let now = self.cluster.tick();
        let Some(wire) = self.wires.get_mut(&index) else { return false };
        if wire.stuck {
            len = 0;
        }
        let ready = matches!(self.bench.worker.connections[index as usize].phase, Phase::Ready);
        wire.write_blocked = len < output.len();
        wire.input.extend_from_slice(&output[..len]);
        let mut said = Vec::new();
        for request in take_whole(&mut wire.input) {
            let op = request.split(' ').find_map(op_of);
            wire.mode = mode_after(&request, wire.mode);
            if let Some(op) = op {
                let op = &mut self.cluster.ops[op];
                assert_eq!(wire.mode, op.mode, "in another mode: {op:?}");
                assert!(
                    !wire.asks || op.told_to_ask,
                    "wire {index} to {}: ASKING before {op:?}, behind {said:?}",
                    wire.port
                );
                let queued = op.queued.take().filter(|(at, _)| *at == index);
                op.sent = queued.map_or(now, |(_, since)| since);
                (op.handed, op.at_large) = (true, op.at_large + 1);
                (op.sent_to, op.sent_on) = (wire.port, index);
                self.bounds.handed(wire.port, self.bench.now, self.wide);
                if ready {
                    wire.owes.get_or_insert(self.bench.now);
                }
            }
            wire.asks = request == "ASKING";
            said.push(short(&request));
            wire.requests.push_back(short(&request));
        }
        let port = wire.port;
        self.say(|| format!("wire {index} to {port}: {said:?}"));
        self.bench.worker.node_wrote(index, len);
        self.note_unsent(index, now);
        len > 0
    }

    /// The node serves some of what it has received.
    pub(super) fn node_serves(&mut self, index: u32) -> bool {
        let Some(wire) = self.wires.get_mut(&index) else { return false };
        let node = &self.cluster.nodes[&wire.port];
        if node.down || node.frozen || wire.requests.is_empty() {
            return false;
        }
        let len = wire.requests.len();
        let some = if self.healed { len } else { self.rng.usize(1..=len) };
        for _ in 0..some {
            let Some(wire) = self.wires.get_mut(&index) else { break };
            let Some(request) = wire.requests.pop_front() else { break };
            let port = wire.port;
            if let Some(id) = request.strip_prefix(KILL)
                && !wire.locked
            {
                let id = id.parse::<u32>().unwrap();
                let alive = self.wires.iter().find(|(_, w)| w.open && (w.port, w.id) == (port, id));
                if let Some((&killed, _)) = alive {
                    let connection = &self.bench.worker.connections[killed as usize];
                    assert!(
                        connection.suspect || connection.replies == Replies::Hold,
                        "one in use was killed"
                    );
                    self.lose(killed);
                }
                self.ghosts.retain(|ghost| (ghost.port, ghost.id) != (port, id));
            }
            let Some(wire) = self.wires.get_mut(&index) else { break };
            let (asking, id) = (&mut wire.asking, wire.id);
            let reply = if wire.locked {
                Reply::locked(&request, &mut self.cluster.ops)
            } else {
                self.cluster.serve(port, id, asking, &request, &mut self.rng)
            };
            wire.output.extend_from_slice(reply.text.as_bytes());
            wire.produced += reply.text.len();
            let Reply { op, rejected, text } = reply;
            let (asks, end) = (rejected && text.contains("-ASK "), wire.produced);
            wire.unread.push_back(Unread { op, rejected, asks, end });
        }
        true
    }

    /// Replies of a node are read; returns whether there were any that may be read.
    pub(super) fn node_answers(&mut self, index: u32) -> bool {
        let Some(wire) = self.wires.get_mut(&index) else { return false };
        if wire.output.is_empty() || wire.unheard {
            return false;
        }
        if !self.bench.worker.reads_node(index) {
            wire.unheard = true;
            return false;
        }
        let available = wire.output.len().min(64 * 1024);
        let len = self.part(available);
        let now = self.cluster.tick();
        self.note_unsent(index, now);
        let now = self.cluster.tick();
        let Some(wire) = self.wires.get_mut(&index) else { return false };
        wire.owes = None;
        let bytes: Vec<u8> = wire.output.drain(..len).collect();
        wire.delivered += len;
        while let Some(&Unread { op, rejected, asks, end }) = wire.unread.front()
            && end <= wire.delivered
        {
            if let (Some(op), true) = (op, rejected) {
                let op = &mut self.cluster.ops[op];
                op.at_large -= 1;
                op.set_back(now, self.bench.now);
                if op.sent_on == index {
                    op.told_to_ask = asks;
                }
                self.bounds.rejected(wire.port, &self.cluster);
            }
            wire.unread.pop_front();
        }
        if len > 0 {
            let port = self.wires[&index].port;
            self.say(|| {
                format!("wire {index} of {port} says {:.200}", String::from_utf8_lossy(&bytes))
            });
            self.bench.worker.node_bytes(index, &bytes, self.bench.now);
            self.act();
        }
        len > 0
    }

    /// What the kernel has in part stays there, whatever is learned later, and was until now in the
    /// hands of the node.
    pub(super) fn note_unsent(&mut self, index: u32, now: u64) {
        let ready = matches!(self.bench.worker.connections[index as usize].phase, Phase::Ready);
        let in_part = ready && !self.wires[&index].input.is_empty();
        if in_part && let Some(&op) = self.unsent(index).first() {
            let op = &mut self.cluster.ops[op];
            if op.queued.is_none_or(|(at, _)| at != index) {
                op.queued = Some((index, now));
            }
            op.back = self.bench.now;
        }
    }

    /// The requests on a connection that the kernel has not taken whole.
    fn unsent(&self, index: u32) -> Vec<usize> {
        let connection = &self.bench.worker.connections[index as usize];
        let mut rest = match connection.phase {
            Phase::Ready => self.wires[&index].input.clone(),
            _ => Vec::new(), // a part of the greeting
        };
        rest.extend_from_slice(connection.unsent());
        let requests = take_whole(&mut rest);
        requests.iter().filter_map(|request| request.split(' ').find_map(op_of)).collect()
    }

    /// A connection breaks: the node may have executed some of what it was sent, and the worker
    /// may read some of what it answered.
    pub(super) fn break_wire(&mut self, index: u32, garbage: bool) {
        if self.rng.bool() {
            self.node_serves(index);
        }
        if self.rng.bool() {
            self.node_answers(index);
        }
        if self.wires.get(&index).is_none_or(|wire| !wire.open) {
            return;
        }
        let connection = &self.bench.worker.connections[index as usize];
        let ready = matches!(connection.phase, Phase::Ready);
        if garbage && ready && connection.is_idle() {
            let bytes = b"+surprise\r\n*2\r\n";
            self.bench.worker.node_bytes(index, bytes, self.bench.now);
            return self.act();
        }
        self.faults += 1;
        self.lose(index);
    }

    /// A connection breaks as it is.
    pub(super) fn lose(&mut self, index: u32) {
        if self.wires.get(&index).is_none_or(|wire| !wire.open) {
            return;
        }
        let flowing = self.flowing();
        let (now, unsent) = (self.cluster.tick(), self.unsent(index));
        for op in unsent {
            self.cluster.ops[op].set_back(now, self.bench.now);
        }
        self.say(|| format!("wire {index} is lost"));
        self.haunt(index);
        self.bench.worker.node_lost(index, self.bench.now);
        self.act();
        // Its own, and if it was a probe, what a silent node was in the middle of.
        self.broken_replies += flowing.saturating_sub(self.flowing());
    }

    // ---- the driver ----

    /// The end of a turn: each node and each client is written.
    pub(super) fn flush(&mut self) {
        self.bench.worker.settle_turn();
        self.act();
        let mut rounds = 0;
        while self.bench.worker.has_work() {
            rounds += 1;
            assert!(rounds < 10_000, "the turn does not end");
            while let Some(index) = self.bench.worker.take_dirty_node() {
                if self.wires.get(&index).is_some_and(|wire| wire.open) {
                    self.write_node(index);
                }
            }
            while let Some(index) = self.bench.worker.take_dirty_client() {
                if let Some(n) = self.clients.iter().position(|c| c.index == Some(index)) {
                    self.write_client(n);
                }
            }
            self.bench.worker.settle_turn();
            self.act();
        }
        assert!(self.bench.cells.clients_closed_error.get() <= self.broken_replies, "misplaced");
        self.check_bounds();
        self.note_open();
    }

    /// Sockets that were full take more; returns whether any did.
    pub(super) fn writable(&mut self) -> bool {
        let mut any = false;
        for index in self.wires.keys().copied().collect::<Vec<_>>() {
            if self.wires.get(&index).is_some_and(|wire| wire.write_blocked) {
                any |= self.write_node(index);
            }
        }
        for n in 0..self.clients.len() {
            if self.clients[n].write_blocked {
                any |= self.write_client(n);
            }
        }
        any
    }

    pub(super) fn act(&mut self) {
        while let Some(action) = self.bench.worker.take_action() {
            self.say(|| format!("{action:?}"));
            match action {
                Action::Dial { connection, endpoint } => {
                    let port = self.cluster.at(endpoint.port);
                    self.bounds.dialed(port, self.bench.now, &self.cluster, self.wide);
                    let dialed = self.bench.now;
                    let wire = Wire { port, dialed, ..Wire::default() };
                    let before = self.wires.insert(connection, wire);
                    assert!(before.is_none(), "connection {connection} dialed twice");
                }
                Action::HearOut { .. } => {}
                Action::CloseNode { connection } => {
                    assert!(self.haunt(connection), "an open connection is closed");
                }
                Action::CloseClient { client } => self.closed(client),
                Action::ReadNode { connection } => {
                    if let Some(wire) = self.wires.get_mut(&connection) {
                        wire.unheard = false;
                    }
                }
                Action::ReadClient { client } => {
                    for other in self.clients.iter_mut().filter(|c| c.index == Some(client)) {
                        other.unheard = false;
                    }
                }
                Action::Refresh(_) => self.wished = true,
                Action::Ask { .. } => unreachable!("no client of this world asks anything"),
            }
        }
    }
}

/// A request without the padding of its large values.
fn short(request: &str) -> String {
    let words = request.split(' ').map(|word| word.split(":x").next().unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}
