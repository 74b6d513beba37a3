//! What holds at every moment: nothing grows past its bound, nothing is tried too often.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::cluster::{Cluster, NOBODY};
use super::faults::Trouble;
use super::wide::MODES;
use super::world::World;
use crate::node::{Phase, Stream};
use crate::time::Moment;

const WINDOW: Duration = Duration::from_secs(1);

/// Dials to a node that is away, in one second: five while the wait grows, then one each 150 ms,
/// and as many for the probe.
const DIALS_MAX: usize = 24;

/// Requests to a node that is known not to serve, in one second: seven while the wait grows, each
/// after half of its step, then ten; and what was on its way.
const TRIALS_MAX: usize = 20;

/// How often what was tried.
#[derive(Default)]
pub(super) struct Bounds {
    dials: BTreeMap<u16, VecDeque<Moment>>,
    /// Nodes of which a refusal was read, and what was sent to them since.
    trials: BTreeMap<u16, (Trouble, VecDeque<Moment>)>,
}

impl Bounds {
    pub(super) fn dialed(&mut self, port: u16, now: Moment, cluster: &Cluster, wide: bool) {
        // Each mode has connections of its own.
        let most = DIALS_MAX * if wide { MODES } else { 1 };
        if port == NOBODY || !cluster.nodes[&port].down {
            self.dials.remove(&port);
        } else {
            let dials = self.dials.entry(port).or_default();
            let tried = count(dials, now);
            assert!(tried <= most, "{tried} dials in a second to {port}, which is away");
        }
    }

    /// The node has refused a request.
    pub(super) fn rejected(&mut self, port: u16, cluster: &Cluster) {
        let trouble = cluster.nodes[&port].trouble;
        let known = self.trials.entry(port).or_default();
        if known.0 != trouble {
            *known = (trouble, VecDeque::new());
        }
    }

    /// A request goes to the node.
    pub(super) fn handed(&mut self, port: u16, now: Moment, wide: bool) {
        if let Some((trouble, trials)) = self.trials.get_mut(&port)
            && matches!(trouble, Trouble::Loading | Trouble::ClusterDown | Trouble::MasterDown)
        {
            let tried = count(trials, now);
            let most = TRIALS_MAX * if wide { MODES } else { 1 };
            assert!(tried <= most, "{tried} requests in a second to {port}: {trouble:?}");
        }
    }

    /// The node is not what it was.
    pub(super) fn forget(&mut self, port: u16) {
        self.trials.remove(&port);
        self.dials.remove(&port);
    }
}

fn count(times: &mut VecDeque<Moment>, now: Moment) -> usize {
    times.push_back(now);
    while times.front().is_some_and(|&first| first + WINDOW <= now) {
        times.pop_front();
    }
    times.len()
}

impl World {
    /// Looked at after each turn.
    pub(super) fn check_bounds(&mut self) {
        let (worker, cells, settings) = (&mut self.bench.worker, &self.bench.cells, &self.settings);
        let parked = (cells.parked_requests.get() as usize, cells.parked_bytes.get() as usize);
        assert!(parked.0 <= settings.park_max_requests, "{parked:?}");
        assert!(parked.1 <= settings.park_max_bytes, "{parked:?}");
        self.circuits_opened |= worker.pools.iter().any(|(_, pool)| pool.circuit_open.is_some());

        // What waits is counted once more: all that left the straight way and is at no node.
        let (mut away, mut at_nodes) = (0, worker.held.len() + worker.doubts.len());
        for client in self.clients.iter().filter_map(|client| client.index) {
            away += worker.clients.get(client).map_or(0, |session| session.unsettled.len());
        }
        for (_, connection) in &mut worker.connections {
            for ticket in connection.tickets_mut().filter(|ticket| ticket.diverted) {
                at_nodes += usize::from(worker.clients.find(ticket.client).is_some());
            }
        }
        assert!(away <= parked.0 + at_nodes, "{away} are away, {at_nodes} at nodes: {parked:?}");

        for (index, pool) in &worker.pools {
            let of_pool = worker.connections.iter().filter(|(_, c)| usize::from(c.pool) == index);
            let used = of_pool.filter(|(_, c)| !c.retiring).count();
            // The shared one, those of large requests, a probe.
            assert!(used <= settings.dedicated_max + 2, "{used} connections to {}", pool.endpoint);
        }
        for (_, connection) in &worker.connections {
            // (One that is being opened is closed at the next look, or when it is open.)
            let ready = matches!(connection.phase, Phase::Ready);
            let idle = ready && connection.is_idle() && connection.stream == Stream::Whole;
            assert!(!(connection.retiring && idle), "finished and not closed: {connection:?}");
            let unsent = connection.unsent_bytes();
            assert!(unsent <= settings.park_max_bytes + 100_000, "{unsent} bytes are queued");
        }
        for client in self.clients.iter().filter_map(|client| client.index) {
            let Some(session) = worker.clients.get(client) else { continue };
            let output = session.flow.as_ref().map_or(0, |flow| flow.reply_bytes());
            assert!(output <= settings.output_max + 400_000, "{output} bytes for one client");
            assert!(session.in_flight_bytes <= settings.request_bytes_max + 100_000);
        }
    }
}
