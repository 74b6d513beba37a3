//! All cells of the process, for whoever reads them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::render;
use super::{Cell, ClusterCells, NodeCells, ProcessCells, WorkerCells};

/// How many nodes that are gone keep their counters under their own name. A cluster whose nodes
/// come back under new addresses (pods) would otherwise grow the page for ever.
const DEPARTED_NODES_MAX: usize = 256;

/// The name under which older departed nodes are counted together.
const DEPARTED_LABEL: &str = "departed";

/// Knows the cells of every worker and node connection.
///
/// Owners just drop their `Arc`: cells that nobody else holds are folded into a retained sum the
/// next time somebody looks, so no counter ever goes back and nobody has to sign off.
#[derive(Debug)]
pub struct Registry {
    /// Written by the task that keeps the topology fresh.
    pub cluster: ClusterCells,
    /// Written by the thread that runs `main`.
    pub process: ProcessCells,
    /// Held only to copy the lists, never while rendering: a worker registers its nodes.
    groups: Mutex<Groups>,
}

#[derive(Debug)]
struct Groups {
    workers: Vec<Arc<WorkerCells>>,
    /// What workers that have ended counted.
    ended_workers: Arc<WorkerCells>,
    nodes: Vec<(Arc<str>, Arc<NodeCells>)>,
    /// What was counted about nodes that are gone, the longest gone first; each name once.
    departed_nodes: VecDeque<(Arc<str>, Arc<NodeCells>)>,
    /// What fell out of `departed_nodes`.
    departed_others: Arc<NodeCells>,
}

impl Registry {
    /// A registry for a command table of this many rows.
    pub fn new(commands: usize) -> Arc<Registry> {
        Arc::new(Registry {
            cluster: ClusterCells::default(),
            process: ProcessCells::default(),
            groups: Mutex::new(Groups {
                workers: Vec::new(),
                ended_workers: Arc::new(WorkerCells::new(commands)),
                nodes: Vec::new(),
                departed_nodes: VecDeque::new(),
                departed_others: Arc::default(),
            }),
        })
    }

    /// Adds a worker; its counters stay when the worker drops the cells.
    pub fn register_worker(&self, cells: Arc<WorkerCells>) {
        self.groups().workers.push(cells);
    }

    /// Adds a worker's view of a node under the name `host:port`. Several may share a name and
    /// are added up; the counters stay when the worker drops the cells. The name is as good as
    /// its source: it must be bounded in length by whoever read it from the network.
    pub fn register_node(&self, label: &str, cells: Arc<NodeCells>) {
        self.groups().nodes.push((label.into(), cells));
    }

    /// All metrics in Prometheus' text form, version 0.0.4. `command_name` names the rows of the
    /// command table; those that were never used are left out. Takes about a millisecond, on the
    /// caller's thread.
    pub fn render(&self, command_name: &dyn Fn(usize) -> &'static str) -> String {
        render::text(self, &self.snapshot(), command_name)
    }

    /// The few numbers that a person wants to see.
    pub fn summary(&self) -> Summary {
        let seen = self.snapshot();
        let mut nodes = BTreeMap::new();
        for (label, cells) in &seen.nodes {
            let node: &mut NodeSummary = nodes.entry(label.to_string()).or_default();
            node.connections += cells.connections.get();
            node.in_flight += cells.in_flight.get();
            node.circuits_open += cells.circuits_open.get();
            node.requests_total += cells.requests_total.get();
        }
        let sum = |cell: fn(&WorkerCells) -> &Cell| -> u64 {
            seen.all_workers().map(|worker| cell(worker).get()).sum()
        };
        Summary {
            workers: seen.workers.len(),
            clients: seen.workers.iter().map(|worker| worker.clients.get()).sum(),
            blocked_clients: sum(|worker| &worker.blocked_clients),
            clients_total: sum(|worker| &worker.clients_total),
            client_bytes_in: sum(|worker| &worker.client_bytes_in),
            client_bytes_out: sum(|worker| &worker.client_bytes_out),
            requests_total: seen.all_workers().map(|worker| worker.requests()).sum(),
            parked_requests: sum(|worker| &worker.parked_requests),
            parked_bytes: sum(|worker| &worker.parked_bytes),
            parked_oldest: seen.parked_oldest(),
            unknown_results: sum(|worker| &worker.unknown_results),
            nodes,
        }
    }

    /// How many turns each worker has made, in the order of their registration.
    pub fn turns(&self) -> Vec<u64> {
        self.snapshot().workers.iter().map(|worker| worker.turns.get()).collect()
    }

    /// Everything there is to read. While it is held nothing in it is folded, so each count is
    /// seen once.
    fn snapshot(&self) -> Snapshot {
        let groups = self.groups();
        let others = (Arc::from(DEPARTED_LABEL), groups.departed_others.clone());
        Snapshot {
            workers: groups.workers.clone(),
            ended_workers: groups.ended_workers.clone(),
            nodes: groups.nodes.clone(),
            departed_nodes: groups.departed_nodes.iter().cloned().chain([others]).collect(),
        }
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.fold();
        groups
    }
}

/// What [`Registry::summary`] returns.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Workers that run.
    pub workers: usize,
    /// Client connections that are open.
    pub clients: u64,
    /// Those of them that wait in a request that blocks.
    pub blocked_clients: u64,
    /// Clients that ever connected.
    pub clients_total: u64,
    /// Bytes read from clients.
    pub client_bytes_in: u64,
    /// Bytes written to clients.
    pub client_bytes_out: u64,
    /// Requests that got their answer since the process began.
    pub requests_total: u64,
    /// Requests that wait for a shard to come back.
    pub parked_requests: u64,
    /// Their bytes.
    pub parked_bytes: u64,
    /// How long the oldest of them has been waiting; zero if none does.
    pub parked_oldest: Duration,
    /// Requests that may or may not have been executed.
    pub unknown_results: u64,
    /// The nodes that have connections or are dialled, by `host:port`.
    pub nodes: BTreeMap<String, NodeSummary>,
}

/// One node of a [`Summary`].
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct NodeSummary {
    /// Connections to it that are open.
    pub connections: u64,
    /// Requests that were sent and are not answered yet.
    pub in_flight: u64,
    /// Requests that were sent to it.
    pub requests_total: u64,
    /// Workers whose circuit for it is open.
    pub circuits_open: u64,
}

/// The cells at one moment.
pub(super) struct Snapshot {
    pub(super) workers: Vec<Arc<WorkerCells>>,
    ended_workers: Arc<WorkerCells>,
    pub(super) nodes: Vec<(Arc<str>, Arc<NodeCells>)>,
    /// Only their counters mean anything.
    pub(super) departed_nodes: Vec<(Arc<str>, Arc<NodeCells>)>,
}

impl Snapshot {
    /// The workers, and what ended ones left.
    pub(super) fn all_workers(&self) -> impl Iterator<Item = &WorkerCells> {
        self.workers.iter().chain([&self.ended_workers]).map(|cells| &**cells)
    }

    /// How long the oldest request that waits has been waiting, over all workers.
    pub(super) fn parked_oldest(&self) -> Duration {
        let oldest_us = self.workers.iter().map(|worker| worker.parked_oldest_us()).max();
        Duration::from_micros(oldest_us.unwrap_or(0))
    }
}

impl Groups {
    /// Moves what its owner has dropped to the retained sums. `Arc::get_mut` is the proof that
    /// nobody else holds it, and makes the owner's last writes visible.
    fn fold(&mut self) {
        let Groups { workers, ended_workers, nodes, .. } = self;
        workers.retain_mut(|cells| match Arc::get_mut(cells) {
            Some(ended) => {
                ended_workers.absorb_ended(ended);
                false
            }
            None => true,
        });
        let gone: Vec<_> =
            nodes.extract_if(.., |(_, cells)| Arc::get_mut(cells).is_some()).collect();
        for (label, cells) in gone {
            self.depart(label, &cells);
        }
    }

    fn depart(&mut self, label: Arc<str>, cells: &NodeCells) {
        let known = self.departed_nodes.iter().position(|(name, _)| *name == label);
        let kept = known
            .and_then(|i| self.departed_nodes.remove(i))
            .map_or_else(Arc::<NodeCells>::default, |(_, kept)| kept);
        kept.absorb_departed(cells);
        self.departed_nodes.push_back((label, kept));
        if self.departed_nodes.len() > DEPARTED_NODES_MAX
            && let Some((_, oldest)) = self.departed_nodes.pop_front()
        {
            self.departed_others.absorb_departed(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Outcome;

    fn node(registry: &Registry, label: &str, requests: u64) -> Arc<NodeCells> {
        let cells = Arc::new(NodeCells::default());
        registry.register_node(label, cells.clone());
        cells.requests_total.add(requests);
        cells.connections.set(1);
        cells
    }

    fn value(registry: &Registry, series: &str) -> Option<u64> {
        let page = registry.render(&|_| "get");
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    const REQUESTS: &str = "slotway_node_requests_total{node=\"a:1\"}";
    const CONNECTIONS: &str = "slotway_node_connections{node=\"a:1\"}";

    #[test]
    fn a_node_that_is_gone_keeps_its_counters_and_loses_its_gauges() {
        let registry = Registry::new(1);
        let (first, second) = (node(&registry, "a:1", 3), node(&registry, "a:1", 4));
        assert_eq!(value(&registry, REQUESTS), Some(7), "two workers are added up");
        drop(first);
        assert_eq!(value(&registry, REQUESTS), Some(7));
        assert_eq!(value(&registry, CONNECTIONS), Some(1));
        drop(second);
        assert_eq!(value(&registry, REQUESTS), Some(7));
        assert_eq!(value(&registry, CONNECTIONS), None);
        let _back = node(&registry, "a:1", 1);
        assert_eq!(value(&registry, REQUESTS), Some(8));
    }

    #[test]
    fn a_worker_that_has_ended_keeps_its_counters() {
        let registry = Registry::new(1);
        let cells = Arc::new(WorkerCells::new(1));
        registry.register_worker(cells.clone());
        cells.request_done(0, Outcome::Ok, 70);
        cells.clients.set(2);
        let seen = |what| value(&registry, what);
        let requests = "slotway_requests_total{command=\"get\",outcome=\"ok\"}";
        let count = "slotway_request_duration_seconds_count";
        assert_eq!((seen(requests), seen(count)), (Some(1), Some(1)));
        assert_eq!((seen("slotway_workers"), seen("slotway_clients")), (Some(1), Some(2)));
        drop(cells);
        assert_eq!((seen(requests), seen(count)), (Some(1), Some(1)));
        assert_eq!((seen("slotway_workers"), seen("slotway_clients")), (Some(0), Some(0)));
    }

    #[test]
    fn departed_nodes_are_bounded_and_their_sum_is_kept() {
        let registry = Registry::new(1);
        let nodes = DEPARTED_NODES_MAX + 10;
        for i in 0..nodes {
            drop(node(&registry, &format!("pod-{i}:1"), 1));
        }
        let page = registry.render(&|_| "get");
        let series: Vec<u64> = page
            .lines()
            .filter(|line| line.starts_with("slotway_node_requests_total{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(series.len(), DEPARTED_NODES_MAX + 1);
        assert_eq!(series.iter().sum::<u64>(), nodes as u64);
        assert_eq!(value(&registry, "slotway_node_requests_total{node=\"departed\"}"), Some(10));
    }

    /// Folding must wait for a reader that still holds the cells, or they would count twice.
    #[test]
    fn what_a_reader_holds_is_not_folded() {
        let registry = Registry::new(1);
        let cells = node(&registry, "a:1", 5);
        let reader = registry.snapshot();
        drop(cells);
        assert_eq!(value(&registry, REQUESTS), Some(5));
        assert_eq!(registry.groups().departed_nodes.len(), 0);
        drop(reader);
        assert_eq!(value(&registry, REQUESTS), Some(5));
        assert_eq!(registry.groups().departed_nodes.len(), 1);
    }

    #[test]
    fn the_summary_adds_up_workers_and_pools() {
        let registry = Registry::new(1);
        let workers = [Arc::new(WorkerCells::new(1)), Arc::new(WorkerCells::new(1))];
        for (turns, worker) in (1..).zip(&workers) {
            registry.register_worker(worker.clone());
            worker.clients.set(3);
            worker.turns.add(turns);
            worker.request_done(9, Outcome::Refused, 1);
        }
        let _nodes = [node(&registry, "a:1", 1), node(&registry, "a:1", 2)];
        let of_a = NodeSummary { connections: 2, requests_total: 3, ..NodeSummary::default() };
        let nodes = BTreeMap::from([("a:1".to_owned(), of_a)]);
        workers[0].set_parked_oldest(Duration::from_millis(5));
        workers[1].set_parked_oldest(Duration::from_millis(7));
        workers[1].parked_requests.set(2);
        let summary = registry.summary();
        assert_eq!((summary.workers, summary.clients, summary.requests_total), (2, 6, 2));
        assert_eq!((summary.parked_requests, summary.parked_oldest.as_millis()), (2, 7));
        assert_eq!(summary.nodes, nodes);
        assert_eq!(registry.turns(), [1, 2]);
    }
}
