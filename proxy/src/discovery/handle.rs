//! What the rest of the process holds of discovery: the map, and a way to ask for a newer one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::{Notify, watch};

use super::ClusterFacts;
use crate::slot::Slot;
use crate::topology::{Endpoint, NodeId, State, Topology};

/// The published map and the wish for a newer one. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    topology: Arc<ArcSwap<Topology>>,
    facts: ArcSwap<ClusterFacts>,
    revision: watch::Sender<u64>,
    looks: watch::Sender<Arc<[Look]>>,
    /// Holds one permit: any number of wishes before the next refresh are one.
    wish: Notify,
    /// One permit too: answers that have come wait for the next refresh.
    urgent: Notify,
    /// Nodes that are likely to know more, at most [`HINTS_MAX`].
    hints: Mutex<Vec<Endpoint>>,
    /// Nodes that requests wait for, each with the moment at which that was last said.
    waited_for: Mutex<HashMap<NodeId, Instant>>,
    /// Another one is waited for.
    somebody_waits: Notify,
    /// Why there is no map yet, in words; empty once there is one.
    problem: ArcSwap<String>,
    requested: AtomicU64,
    refreshes: AtomicU64,
    failed: AtomicU64,
}

/// Most hints kept between two refreshes; more are dropped, the refresh happens all the same.
const HINTS_MAX: usize = 4;

/// How long it counts that requests wait for a node; who waits says so twice as often.
const WAITS_FOR: Duration = Duration::from_secs(1);

/// Why somebody wants a newer map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A node answered MOVED.
    Moved,
    /// A redirect names a node that no view lists.
    UnknownNode,
    /// A connection to a node was lost or could not be made.
    ConnectionFailed,
    /// A node answered CLUSTERDOWN.
    ClusterDown,
    /// A node answered READONLY: it is no primary any more.
    ReadOnly,
    /// A node that was silent speaks again; what it says waits until another one has confirmed its
    /// role.
    Unconfirmed,
    /// Somebody asked by hand.
    Operator,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Moved => "a slot has moved",
            Reason::UnknownNode => "a redirect names an unknown node",
            Reason::ConnectionFailed => "a connection failed",
            Reason::ClusterDown => "a node says that the cluster is down",
            Reason::ReadOnly => "a node is no primary any more",
            Reason::Unconfirmed => "a node that was silent speaks again",
            Reason::Operator => "the operator asks",
        })
    }
}

/// How often things happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Refreshes that were asked for, coalesced ones included.
    pub requested: u64,
    /// Refreshes done, periodic ones included.
    pub refreshes: u64,
    /// Refreshes that no node answered.
    pub failed: u64,
}

/// One node's view of the cluster, as far as its age matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whose view.
    pub node: NodeId,
    /// It was given after this moment.
    pub asked_at: Instant,
}

impl Default for Handle {
    fn default() -> Handle {
        Handle::new()
    }
}

impl Handle {
    /// A handle with the empty map. [`run`](super::run) fills it.
    pub fn new() -> Handle {
        Handle {
            shared: Arc::new(Shared {
                topology: Arc::new(ArcSwap::from_pointee(Topology::empty())),
                facts: ArcSwap::default(),
                revision: watch::Sender::new(0),
                looks: watch::Sender::new(Arc::default()),
                wish: Notify::new(),
                urgent: Notify::new(),
                hints: Mutex::new(Vec::new()),
                waited_for: Mutex::default(),
                somebody_waits: Notify::new(),
                problem: ArcSwap::from_pointee("no seed was asked yet".to_owned()),
                requested: AtomicU64::new(0),
                refreshes: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            }),
        }
    }

    /// The map, always the newest: for an `arc_swap::Cache`.
    pub fn topology(&self) -> Arc<ArcSwap<Topology>> {
        self.shared.topology.clone()
    }

    /// Whom the last refresh has heard: what they said is in the map already.
    pub fn looks(&self) -> watch::Receiver<Arc<[Look]>> {
        self.shared.looks.subscribe()
    }

    pub(super) fn publish_looks(&self, looks: Vec<Look>) {
        self.shared.looks.send_replace(looks.into());
    }

    /// What is known of the servers.
    pub fn facts(&self) -> Arc<ClusterFacts> {
        self.shared.facts.load_full()
    }

    /// The revision of the map, which wakes its holder when it changes. By the time the new
    /// number is seen the new map is in [`Handle::topology`].
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Asks for a newer map and returns at once. Wishes are coalesced, at most one refresh is
    /// under way, and one begins at most every 250 ms. [`Reason::Unconfirmed`] does not wait for
    /// that, but for another one of its kind.
    pub fn request_refresh(&self, reason: Reason) {
        self.shared.requested.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(%reason, "a fresh map is wanted");
        if reason == Reason::Unconfirmed {
            self.shared.urgent.notify_one();
        }
        self.shared.wish.notify_one();
    }

    /// The same, beginning with the node that is likely to know most: the one a MOVED pointed
    /// to. It is asked only if the map lists it, so that nobody can have an address of their
    /// choice dialled.
    pub fn request_refresh_from(&self, reason: Reason, node: &Endpoint) {
        let mut hints = self.shared.hints.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() < HINTS_MAX && !hints.contains(node) {
            hints.push(node.clone());
        }
        drop(hints);
        self.request_refresh(reason);
    }

    /// Says that requests wait for these nodes. For a second, unless it is said again, the replicas
    /// of those that are primaries are asked for their role every 20 to 40 ms, however often and by
    /// however many it is said; the map of one that was promoted is taken at once.
    pub fn waits_for(&self, nodes: &[NodeId]) {
        let now = Instant::now();
        let mut waited_for = self.lock_waited_for();
        let mut say = |node| waited_for.insert(node, now);
        let is_new = |said: Option<Instant>| said.is_none_or(|said| now - said >= WAITS_FOR);
        if nodes.iter().filter(|&&node| is_new(say(node))).count() > 0 {
            self.shared.somebody_waits.notify_one();
        }
    }

    /// What keeps the map from serving every slot, in words; `None` when nothing does.
    pub fn missing(&self) -> Option<String> {
        let topology = self.shared.topology.load();
        if topology.is_empty() {
            return Some(format!("there is no cluster map yet: {}", self.shared.problem.load()));
        }
        let unowned = Slot::COUNT - topology.slots_covered();
        if unowned > 0 {
            return Some(format!("{unowned} of {} slots have no owner", Slot::COUNT));
        }
        (topology.state == State::Fail).then(|| "the cluster says that it is down".to_owned())
    }

    /// How often things happened.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            requested: get(&self.shared.requested),
            refreshes: get(&self.shared.refreshes),
            failed: get(&self.shared.failed),
        }
    }

    pub(super) async fn wished(&self) {
        self.shared.wish.notified().await;
    }

    pub(super) async fn wished_at_once(&self) {
        self.shared.urgent.notified().await;
    }

    /// The nodes that requests wait for.
    pub(super) fn waited_for(&self) -> Vec<NodeId> {
        let mut waited_for = self.lock_waited_for();
        waited_for.retain(|_, said| said.elapsed() < WAITS_FOR);
        waited_for.keys().copied().collect()
    }

    /// Ends when there is another node that requests wait for.
    pub(super) async fn somebody_waits(&self) {
        self.shared.somebody_waits.notified().await;
    }

    fn lock_waited_for(&self) -> MutexGuard<'_, HashMap<NodeId, Instant>> {
        self.shared.waited_for.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take_hints(&self) -> Vec<Endpoint> {
        let mut hints = self.shared.hints.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *hints)
    }

    pub(super) fn publish(&self, topology: Topology) {
        let revision = topology.revision;
        self.shared.topology.store(Arc::new(topology));
        self.shared.revision.send_replace(revision);
    }

    pub(super) fn publish_facts(&self, facts: ClusterFacts) {
        if **self.shared.facts.load() != facts {
            self.shared.facts.store(Arc::new(facts));
        }
    }

    pub(super) fn set_problem(&self, problem: String) {
        self.shared.problem.store(Arc::new(problem));
    }

    pub(super) fn count_refresh(&self, answered: bool) {
        self.shared.refreshes.fetch_add(1, Ordering::Relaxed);
        if !answered {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
