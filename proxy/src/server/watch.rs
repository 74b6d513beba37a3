//! Passes on to the workers what the discovery finds out, and counts it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::limits::Limits;
use crate::discovery::{Handle, Look};
use crate::driver::{Mail, Sender};
use crate::events::{Events, map_events};
use crate::metrics::Registry;
use crate::time::Moment;
use crate::topology::{Health, NodeId, Role, Topology};

/// How often counters and facts are looked at when the topology does not change.
const INTERVAL: Duration = Duration::from_millis(500);

/// Seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// The time since 1970.
pub(super) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Runs until it is cancelled.
pub(super) async fn topology(
    limits: Limits,
    handle: Handle,
    registry: Arc<Registry>,
    events: Arc<Events>,
    workers: Vec<Sender>,
    epoch: Instant,
    over: CancellationToken,
) -> anyhow::Result<()> {
    let mut revisions = handle.subscribe();
    let mut looks = handle.looks();
    let mut told = None;
    let mut sent: Arc<Topology> = Arc::new(Topology::empty());
    loop {
        let facts = handle.facts();
        let scripts_apart = Limits::scripts_apart(&facts);
        let now = (Limits::auto_deadline(&facts), limits.bulk_bytes_max(&facts), scripts_apart);
        if told != Some(now) {
            told = Some(now);
            let (auto_deadline, bulk_bytes_max, scripts_apart) = now;
            tell(&workers, || Mail::Limits { auto_deadline, bulk_bytes_max, scripts_apart });
        }
        // Taken before the map and told after it: what these views showed is in the map.
        let seen: Arc<[Look]> = Arc::clone(&looks.borrow_and_update());
        let topology = handle.topology().load_full();
        if !topology.is_empty() && sent.revision != topology.revision {
            let now = Moment::default() + epoch.elapsed();
            for event in map_events(&sent, &topology) {
                events.record(now, now, event);
            }
            sent = Arc::clone(&topology);
            tell(&workers, || Mail::Topology(Arc::clone(&topology)));
        }
        if !seen.is_empty() {
            tell(&workers, || Mail::Looks(seen.iter().map(|look| moment(look, epoch)).collect()));
        }
        show(&topology, &handle, &registry);
        tokio::select! {
            () = over.cancelled() => return Ok(()),
            _ = revisions.changed() => {}
            _ = looks.changed() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

fn moment(look: &Look, epoch: Instant) -> (NodeId, Moment) {
    let micros = look.asked_at.saturating_duration_since(epoch).as_micros();
    (look.node, Moment::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

fn tell(workers: &[Sender], mail: impl Fn() -> Mail) {
    for worker in workers {
        // A worker that has ended is noticed elsewhere.
        let _ = worker.send(mail());
    }
}

fn show(topology: &Topology, handle: &Handle, registry: &Registry) {
    let cells = &registry.cluster;
    let count = |role: Role, online: bool| {
        let nodes = topology.nodes().filter(|(_, node)| node.role == role);
        nodes.filter(|(_, node)| (node.health == Health::Online) == online).count() as u64
    };
    cells.primaries_up.set(count(Role::Primary, true));
    cells.primaries_down.set(count(Role::Primary, false));
    cells.replicas_up.set(count(Role::Replica, true));
    cells.replicas_down.set(count(Role::Replica, false));
    cells.shards.set(topology.shards().len() as u64);
    cells.slots_covered.set(topology.slots_covered() as u64);
    let counts = handle.counts();
    if cells.revision.get() != topology.revision
        || counts.refreshes - counts.failed > cells.refreshes.get() - cells.refresh_failures.get()
    {
        cells.confirmed_timestamp_seconds.set(unix_seconds());
    }
    cells.revision.set(topology.revision);
    cells.refreshes.set(counts.refreshes);
    cells.refresh_failures.set(counts.failed);
}
