//! The heart: joins clients, node connections, the parking lots and deadlines. It has no I/O
//! and no clock: it takes bytes, events and the time, and gives back which clients and nodes
//! have bytes to write, whom to dial or close, and when to be woken.
//!
//! What a driver does in one turn:
//! 1. tells what happened: [`Worker::client_bytes`], [`Worker::node_bytes`], [`Worker::tick`] …
//! 2. calls [`Worker::settle_turn`], which lets clients go on that had to wait;
//! 3. writes: [`Worker::take_dirty_node`] and [`Worker::take_dirty_client`] until they are empty,
//!    telling how much the kernel accepted; starts again at 2 if there was anything;
//! 4. sleeps until something happens or [`Worker::next_wake`].
//!
//! After each single call it carries out the actions ([`Worker::take_action`]) before it tells
//! anything else: an index that was closed may be used again at once, and nothing of the old
//! socket may be told under it.

mod blocking;
mod clients;
mod diary;
mod dispatch;
mod doubt;
mod drain;
mod endings;
mod gather;
mod greeting;
mod health;
mod large_replies;
mod large_requests;
mod leaving;
mod lots;
mod modes;
mod nodes;
mod operator;
mod outbox;
mod own_connections;
mod pause;
mod pool;
mod pubsub;
mod questions;
mod random_key;
mod rejections;
mod requests;
mod scan;
mod scripts;
mod settings;
mod settle;
mod stateful;
mod topology;
mod tracking;
mod transactions;
mod wait;
mod watches;

#[cfg(test)]
mod tests;

pub use operator::Operator;
pub use outbox::{Action, WishReason};
pub use settings::{Credentials, Deadlines, Settings};

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use slab::Slab;

use crate::metrics::{NodeCells, WorkerCells};
use crate::node::Connection;
use crate::resp::Span;
use crate::session::Facts;
use crate::slot::Slot;
use crate::time::Moment;
use crate::topology::Topology;
use blocking::{Timers, Unblock};
use diary::Diary;
use doubt::Doubt;
use health::Held;
use leaving::Leaving;
use lots::{Lot, Parking};
use outbox::Outbox;
use pause::Pause;
use pool::Pool;
use pubsub::PubSub;
use questions::Asked;
use requests::LargeReads;
use scripts::SeenScripts;
use settle::Clients;
use tracking::Trackers;

/// "No pool" in a table of pool indices.
const NO_POOL: u16 = u16::MAX;

/// Makes the metric cells of a node, by its `host:port`.
pub type NodeCellsSource = Box<dyn Fn(&str) -> Arc<NodeCells> + Send>;

/// What a worker needs from the process around it.
pub struct Surroundings {
    /// What INFO and HELLO tell.
    pub facts: Box<dyn Fn() -> Facts + Send>,
    /// Makes the metric cells of a node that was not known before, by its `host:port`.
    pub node_cells: NodeCellsSource,
    /// How to log in at the nodes; asked at each dial, so that a changed secret is used.
    pub credentials: Box<dyn Fn() -> Option<Credentials> + Send>,
    /// Who is told what happened, and knows what PROXY shows.
    pub operator: Operator,
    /// A number in 0..1, for jitter.
    pub random: Box<dyn FnMut() -> f64 + Send>,
}

/// One worker: its clients and node connections are its own.
pub struct Worker {
    settings: Settings,
    around: Surroundings,
    cells: Arc<WorkerCells>,
    /// The moment of the event that is being handled.
    now: Moment,
    clients: Clients,
    connections: Slab<Connection>,
    pools: Slab<Pool>,
    /// Slot → base pool of its owner: the topology's primaries with what redirects have taught since.
    routes: Box<[u16; Slot::COUNT]>,
    topology: Arc<Topology>,
    /// Requests (by `arrival`) that were under way when the map gave their slot to another node, or
    /// that a node rejected which had been suspect: the redirect may be older than the map. May name
    /// some that are settled, until the next map comes.
    outdated: HashSet<u64>,
    /// Requests that wait for a slot; those that wait for a node are in its pool.
    lots: HashMap<Slot, Lot>,
    /// Requests that wait for an earlier one of the same client and slot.
    behind: Lot,
    /// Requests that have left their lots and are still to be sent.
    leaving: Leaving,
    parking: Parking,
    /// When the map is wished for next, while requests wait for a node.
    wish_at: Moment,
    /// Errors that a script may have made up, about which their nodes were asked.
    doubts: Vec<Doubt>,
    /// Replies of nodes that were suspect.
    held: Vec<Held>,
    /// Bytes of those.
    held_bytes: usize,
    diary: Diary,
    large_reads: LargeReads,
    /// Connections that are not read for now, because a client does not take its large reply as
    /// fast as it comes. May name some that are read again, or are no more.
    paused: Vec<u32>,
    seen_scripts: SeenScripts,
    asked: Asked,
    timers: Timers,
    unblocks: Vec<Unblock>,
    pubsub: PubSub,
    trackers: Trackers,
    pause: Option<Pause>,
    outbox: Outbox,
    /// Where the arguments of the request at hand lie; kept to keep its memory.
    spans: Vec<Span>,
    /// An inline request as an array; kept to keep its memory.
    inline: Vec<u8>,
    /// A part of the request at hand, or the one reply of all; kept to keep its memory.
    part_frame: Vec<u8>,
    /// The number of the next request: its place in the order of all.
    next_arrival: u64,
    /// The number of the last connection that was opened.
    last_serial: u64,
    draining: bool,
}

impl Worker {
    /// A worker without clients and without a topology: requests wait until
    /// [`Worker::topology_changed`] brings one.
    pub fn new(settings: Settings, around: Surroundings, cells: Arc<WorkerCells>) -> Worker {
        let trackers = Trackers::new(settings.tracking_max_bytes);
        Worker {
            clients: Clients::new(Arc::clone(&cells), &settings),
            settings,
            around,
            cells,
            now: Moment::default(),
            connections: Slab::new(),
            pools: Slab::new(),
            routes: Box::new([NO_POOL; Slot::COUNT]),
            topology: Arc::new(Topology::empty()),
            outdated: HashSet::new(),
            lots: HashMap::new(),
            behind: Lot::default(),
            leaving: Leaving::default(),
            parking: Parking::default(),
            wish_at: Moment::default(),
            doubts: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            diary: Diary::default(),
            large_reads: LargeReads::default(),
            paused: Vec::new(),
            seen_scripts: SeenScripts::default(),
            asked: Asked::default(),
            timers: Timers::new(),
            unblocks: Vec::new(),
            pubsub: PubSub::default(),
            trackers,
            pause: None,
            outbox: Outbox::default(),
            spans: Vec::new(),
            inline: Vec::new(),
            part_frame: Vec::new(),
            next_arrival: 0,
            last_serial: 0,
            draining: false,
        }
    }

    /// How long a request may wait from now on, where nobody chose how long.
    pub fn set_auto_deadline(&mut self, deadline: Duration) {
        self.settings.deadlines.auto = deadline;
    }

    /// The largest argument that a request may have from now on, in bytes: no node may get one
    /// that it answers by closing the connection.
    pub fn set_bulk_bytes_max(&mut self, bytes: u32) {
        self.settings.limits.bulk_bytes_max = bytes;
    }

    /// Whether scripts travel on connections of their own from now on
    /// ([`Settings::scripts_apart`]).
    pub fn set_scripts_apart(&mut self, apart: bool) {
        self.settings.scripts_apart = apart;
    }

    /// The next thing for the driver to do apart from writing.
    pub fn take_action(&mut self) -> Option<Action> {
        self.outbox.actions.pop_front()
    }

    /// A node connection that has something to write; the driver tries all of it and says by
    /// [`Worker::node_wrote`] how much went out.
    pub fn take_dirty_node(&mut self) -> Option<u32> {
        while let Some(index) = self.outbox.dirty_nodes.pop() {
            if let Some(connection) = self.connections.get_mut(index as usize) {
                connection.dirty = false;
                return Some(index);
            }
        }
        None
    }

    /// A client that has something to write, as [`Worker::take_dirty_node`].
    pub fn take_dirty_client(&mut self) -> Option<u32> {
        self.clients.take_dirty()
    }

    /// Whether anything is left to write or to do in this turn.
    pub fn has_work(&self) -> bool {
        !self.outbox.dirty_nodes.is_empty()
            || !self.outbox.actions.is_empty()
            || self.trackers.has_news()
            || self.clients.has_work()
    }

    /// Clients connected to this worker.
    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Lets clients go on that had to wait for something that has happened in this turn.
    pub fn settle_turn(&mut self) {
        if self.trackers.has_news() {
            self.tell_doubts();
        }
        while let Some(index) = self.clients.take_overfull() {
            self.close_slow(index);
        }
        while let Some(client) = self.clients.take_large_done() {
            self.release_large_read(client);
        }
        while let Some(gather) = self.clients.take_gathered() {
            self.finish_gather(gather);
        }
        while let Some(arrival) = self.clients.take_next_up() {
            if let Some(parked) = self.behind.remove(arrival) {
                let (ticket, frame) = self.unpark(parked);
                self.dispatch(ticket, frame);
            }
        }
        while let Some(index) = self.clients.take_resumable() {
            self.resume_client(index);
        }
    }

    /// When [`Worker::tick`] wants to be called, if nothing happens before.
    pub fn next_wake(&self) -> Option<Moment> {
        let waiting = [
            self.next_parking_event(),
            self.next_large_event(),
            self.next_pause_event(),
            self.next_pubsub_event(),
        ];
        waiting.into_iter().flatten().min()
    }

    /// Brings the gauges up to date, gives back memory and ends handshakes that take too long; the
    /// driver calls it about once a second.
    pub fn housekeeping(&mut self, now: Moment) {
        self.now = now;
        self.clients.shrink();
        self.end_slow_handshakes();
        self.close_finished();
        self.watch_health();
        self.watch_upstreams();
        self.repeat_unblocks();
        self.write_diary();
        self.end_overdue_doubts();
        self.close_idle_twins();
        self.tend_watchers();
        self.show_nodes();
    }

    fn show_nodes(&self) {
        let mut in_flight = vec![0; self.pools.capacity()];
        for (_, connection) in &self.connections {
            in_flight[usize::from(self.base_of(connection.pool))] += connection.in_flight();
        }
        let mut circuits: Vec<u16> = Vec::new();
        for (index, node) in &self.pools {
            if usize::from(node.base) == index {
                node.cells.in_flight.set(in_flight[index] as u64);
            }
            if node.circuit_open.is_some() && !circuits.contains(&node.base) {
                circuits.push(node.base);
            }
        }
        for (index, node) in &self.pools {
            let is_open = circuits.contains(&node.base);
            if usize::from(node.base) == index {
                node.cells.circuits_open.set(u64::from(is_open));
            }
        }
        self.cells.circuits_open.set(circuits.len() as u64);
    }

    /// Time has passed: tries again what waited, ends what waited too long.
    pub fn tick(&mut self, now: Moment) {
        self.now = now;
        self.tick_parking();
        self.tick_large();
        self.tick_pause();
        self.tick_pubsub();
    }
}
