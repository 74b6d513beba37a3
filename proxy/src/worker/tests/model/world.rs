//! A worker between clients and a cluster in memory, with a driver that obeys it to the letter:
//! sockets that take a part, break at any byte, and wake nobody who was told not to read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;

use super::cluster::{Cluster, Kind, op_of};
use super::faults::{Ghost, Look};
use crate::node::{Phase, Replies, Stream};
use crate::time::Moment;
use crate::worker::tests::bench::{Bench, take_requests};
use crate::worker::{Action, Settings};

/// One connection to a node.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) port: u16,
    pub(super) open: bool,
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
    /// Requests that the node has not answered, or whose answer has not been read.
    pub(super) unread: VecDeque<(Option<usize>, bool, usize)>,
    /// Replies on their way.
    pub(super) output: Vec<u8>,
    delivered: usize,
    produced: usize,
    pub(super) asking: bool,
    write_blocked: bool,
    /// Something came while it was not to be read: nobody looks before the worker says so.
    unheard: bool,
}

#[derive(Default)]
pub(super) struct Client {
    pub(super) index: Option<u32>,
    /// Its requests, in order.
    pub(super) ops: VecDeque<usize>,
    pub(super) to_send: Vec<u8>,
    received: Vec<u8>,
    write_blocked: bool,
    unheard: bool,
    /// It has shut down its side.
    pub(super) ended: bool,
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
    /// Clients that were closed for being slow.
    slow: u64,
    next_id: u64,
    pub(super) mask_deadline: Duration,
    /// Discovery was asked for news.
    pub(super) wished: bool,
}

impl World {
    pub(super) fn new(settings: Settings, seed: u64) -> World {
        let mask_deadline = settings.mask_deadline;
        let strict = settings.strict_order;
        let bench = Bench::without_topology(settings);
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
            slow: 0,
            next_id: 1,
            mask_deadline,
            wished: false,
        };
        (world.cluster.strict, world.cluster.calm) = (strict, seed.is_multiple_of(4));
        world.next_heartbeat = world.bench.now;
        world.publish(true);
        world
    }

    /// A part of this many, often all.
    fn part(&mut self, of: usize) -> usize {
        if self.healed || self.rng.u8(..) < 160 { of } else { self.rng.usize(0..=of) }
    }

    // ---- clients ----

    pub(super) fn connect_client(&mut self) -> usize {
        let index = self.bench.worker.client_connected(self.next_id, self.bench.now);
        self.next_id += 1;
        self.clients.push(Client { index: Some(index), ..Client::default() });
        self.act();
        self.clients.len() - 1
    }

    /// Bytes of a client arrive; returns whether there were any that may be read.
    pub(super) fn client_sends(&mut self, n: usize) -> bool {
        let client = &self.clients[n];
        let Some(index) = client.index else { return false };
        if client.to_send.is_empty() || client.unheard {
            return false;
        }
        if !self.bench.worker.reads_client(index) {
            self.clients[n].unheard = true;
            return false;
        }
        let len = self.part(self.clients[n].to_send.len().min(64 * 1024));
        let bytes: Vec<u8> = self.clients[n].to_send.drain(..len).collect();
        if len > 0 {
            self.bench.worker.client_bytes(index, &bytes, self.bench.now);
            self.act();
        }
        len > 0
    }

    /// The client shuts down its side, or its connection breaks.
    pub(super) fn client_leaves(&mut self, n: usize, breaks: bool) {
        let Some(index) = self.clients[n].index else { return };
        if breaks {
            self.bench.worker.client_lost(index, self.bench.now);
            self.act();
            assert_eq!(self.clients[n].index, None, "a lost client is closed");
        } else if self.clients[n].to_send.is_empty() && self.bench.worker.reads_client(index) {
            self.clients[n].ended = true;
            self.bench.worker.client_ended(index, self.bench.now);
            self.act();
        }
    }

    fn write_client(&mut self, n: usize) -> bool {
        let Some(index) = self.clients[n].index else { return false };
        let output = self.bench.worker.client_output(index).to_vec();
        if output.is_empty() {
            self.clients[n].write_blocked = false;
            return false;
        }
        let len = self.part(output.len());
        self.clients[n].write_blocked = len < output.len();
        self.clients[n].received.extend_from_slice(&output[..len]);
        self.read_answers(n);
        self.bench.worker.client_wrote(index, len, self.bench.now);
        self.act();
        len > 0
    }

    /// The client understands what it has received.
    fn read_answers(&mut self, n: usize) {
        while let Some(len) = reply_len(&self.clients[n].received) {
            let bytes: Vec<u8> = self.clients[n].received.drain(..len).collect();
            let op = self.clients[n].ops.pop_front().expect("a reply to a request");
            let mut text = String::from_utf8(bytes).unwrap();
            text.truncate(100);
            self.check_answer(op, &text);
            if text.starts_with("-UNKNOWN") {
                let now = self.cluster.tick();
                self.cluster.ops[op].setback.get_or_insert(now);
            }
            self.cluster.ops[op].answer = Some(text);
        }
    }

    fn check_answer(&self, op: usize, text: &str) {
        let asked = &self.cluster.ops[op];
        let body = text.trim_start_matches(|c: char| c != 't' && c != '\n').trim_start();
        let own = |text: &str| op_of(text.trim_end()) == Some(op);
        let right = match text.as_bytes()[0] {
            b'$' => own(body),
            b'+' => own(&text[1..]),
            b'-' if asked.failed && op_of(text.split(' ').nth(1).unwrap_or_default()).is_some() => {
                own(text.split_once(' ').map_or("", |(_, rest)| rest))
            }
            b'-' if text.starts_with("-CROSSSLOT") => asked.kind == Kind::CrossSlot,
            b'-' if text.starts_with("-UNKNOWNRESULT sent") => {
                matches!(asked.kind, Kind::Write | Kind::Script) && asked.handed
            }
            b'-' if text.starts_with("-CLUSTERDOWN not executed: ") => {
                let waited = self.bench.now.since(asked.asked);
                waited >= self.mask_deadline
            }
            // A script can say so too, so it is the script's word.
            b'-' if asked.kind == Kind::Script && text.starts_with("-LOADING ") => true,
            b'-' if asked.kind == Kind::Script && text.starts_with("-CLUSTERDOWN The ") => true,
            b'-' if asked.kind == Kind::Script && text.starts_with("-CLUSTERDOWN Hash ") => true,
            b'-' => text.starts_with("-OVERLOADED not executed: "),
            _ => false,
        };
        let lost = asked.doomed && matches!(asked.kind, Kind::Write | Kind::Script);
        assert!(!lost || !text.starts_with('+'), "t{op} is lost and was acknowledged: {asked:?}");
        assert!(right, "request t{op} {asked:?} was answered {text:?}");
        assert!(
            !(self.healed_from.is_some_and(|from| op >= from) && text.starts_with("-CLUSTERDOWN")),
            "t{op} waited for nothing: {text}"
        );
    }

    // ---- nodes ----

    /// A dial comes to its end.
    pub(super) fn end_dial(&mut self, index: u32) {
        let Some(wire) = self.wires.get_mut(&index) else { return };
        if wire.open {
            return;
        }
        if self.cluster.nodes[&wire.port].down {
            self.wires.remove(&index);
            self.bench.worker.node_lost(index, self.bench.now);
        } else {
            wire.open = true;
            let node = self.cluster.nodes.get_mut(&wire.port).unwrap();
            node.accepted += 1;
            wire.id = node.accepted;
            self.bench.worker.node_connected(index, self.bench.now);
        }
        self.act();
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
        for request in take_requests(&mut wire.input) {
            let op = request.split(' ').find_map(op_of);
            if let Some(op) = op {
                let op = &mut self.cluster.ops[op];
                let queued = op.queued.take().filter(|(at, _)| *at == index);
                op.sent = queued.map_or(now, |(_, since)| since);
                op.handed = true;
                if ready {
                    wire.owes.get_or_insert(self.bench.now);
                }
            }
            wire.requests.push_back(short(&request));
        }
        self.bench.worker.node_wrote(index, len);
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
            if let Some(id) = request.strip_prefix("CLIENT KILL ID ") {
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
            let (op, reply) = self.cluster.serve(port, id, asking, &request, &mut self.rng);
            wire.output.extend_from_slice(reply.as_bytes());
            wire.produced += reply.len();
            let rejected = reply.starts_with('-') && !reply.starts_with("-WRONGTYPE");
            wire.unread.push_back((op, rejected, wire.produced));
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
        for op in self.unsent(index) {
            self.cluster.ops[op].queued.get_or_insert((index, now));
        }
        let now = self.cluster.tick();
        let Some(wire) = self.wires.get_mut(&index) else { return false };
        wire.owes = None;
        let bytes: Vec<u8> = wire.output.drain(..len).collect();
        wire.delivered += len;
        while let Some(&(op, rejected, end)) = wire.unread.front()
            && end <= wire.delivered
        {
            if let (Some(op), true) = (op, rejected) {
                self.cluster.ops[op].setback.get_or_insert(now);
            }
            wire.unread.pop_front();
        }
        if len > 0 {
            self.bench.worker.node_bytes(index, &bytes, self.bench.now);
            self.act();
        }
        len > 0
    }

    /// The requests on a connection that the kernel has not taken whole.
    fn unsent(&self, index: u32) -> Vec<usize> {
        let connection = &self.bench.worker.connections[index as usize];
        let mut rest = match connection.phase {
            Phase::Ready => self.wires[&index].input.clone(),
            _ => Vec::new(), // a part of the greeting
        };
        rest.extend_from_slice(connection.unsent());
        let requests = take_requests(&mut rest);
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
        self.lose(index);
    }

    /// A connection breaks as it is.
    pub(super) fn lose(&mut self, index: u32) {
        if self.wires.get(&index).is_none_or(|wire| !wire.open) {
            return;
        }
        let connection = &self.bench.worker.connections[index as usize];
        if connection.stream == Stream::Flowing && connection.head_client().is_some() {
            self.broken_replies += 1;
        }
        let (now, unsent) = (self.cluster.tick(), self.unsent(index));
        for op in unsent {
            self.cluster.ops[op].setback.get_or_insert(now);
        }
        self.haunt(index);
        self.bench.worker.node_lost(index, self.bench.now);
        self.act();
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
            match action {
                Action::Dial { connection, endpoint } => {
                    let wire = Wire { port: endpoint.port, ..Wire::default() };
                    let before = self.wires.insert(connection, wire);
                    assert!(before.is_none(), "connection {connection} dialed twice");
                }
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

    fn closed(&mut self, index: u32) {
        let client = self.clients.iter_mut().find(|c| c.index == Some(index));
        let client = client.expect("a client that is there is closed");
        let slow = self.bench.cells.clients_closed_slow.get();
        if std::mem::replace(&mut self.slow, slow) < slow {
            assert!(!client.ops.is_empty(), "closed for being slow with nothing to do");
        }
        client.index = None;
        client.write_blocked = false;
    }
}

/// A request without the padding of its large values.
fn short(request: &str) -> String {
    let words = request.split(' ').map(|word| word.split(":x").next().unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

/// The length of the reply at the front, if it is whole.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = memchr::memchr(b'\n', bytes)? + 1;
    let len = match bytes[0] {
        b'$' => {
            let digits = str::from_utf8(&bytes[1..line - 2]).unwrap();
            line + digits.parse::<usize>().unwrap() + 2
        }
        _ => line,
    };
    (bytes.len() >= len).then_some(len)
}
