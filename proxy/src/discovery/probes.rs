//! Finding promotions: while requests wait for a primary, its replicas are asked for their role.
//!
//! ROLE costs a node next to nothing, so it can be asked often, which a whole map cannot. The one
//! that was promoted knows it first: when it says so, its map is taken at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::ask::{Target, connect};
use super::connection::{AskError, Connection};
use super::gather::Finished;
use super::handle::Handle;
use super::settings::Settings;
use crate::topology::{NodeId, State, Topology};

/// Least and most time between an answer of a replica and the next question, drawn anew each
/// time.
const EVERY: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(40)];
/// How long a replica is left alone that could not be asked, or whose map was taken.
const REST: Duration = Duration::from_millis(250);
/// How often is looked whether anybody still waits.
const REVIEW: Duration = Duration::from_millis(100);
/// Most replicas asked in turn, when many primaries are away at once.
const PROBES_MAX: usize = 256;

/// Asks the replicas of the primaries that the handle says are waited for, each over a connection
/// of its own, and passes on the maps of those that are primaries themselves.
pub(super) async fn probe_replicas(
    settings: Arc<Settings>,
    handle: Handle,
    promoted: mpsc::Sender<Finished>,
) -> Infallible {
    let mut revision = handle.subscribe();
    let mut running = JoinSet::new();
    let mut probes: HashMap<Target, AbortHandle> = HashMap::new();
    loop {
        let wanted = replicas_of(&handle.topology().load(), &handle.waited_for());
        probes.retain(|replica, probe| {
            let keep = wanted.contains(replica);
            if !keep {
                probe.abort();
            }
            keep
        });
        for replica in wanted {
            probes.entry(replica).or_insert_with_key(|replica| {
                running.spawn(probe(replica.clone(), settings.clone(), promoted.clone()))
            });
        }
        while running.try_join_next().is_some() {}
        tokio::select! {
            () = handle.somebody_waits() => {}
            _ = revision.changed() => {}
            () = sleep(REVIEW), if !probes.is_empty() => {}
        }
    }
}

/// The replicas of these nodes, of those that are primaries.
fn replicas_of(topology: &Topology, waited_for: &[NodeId]) -> HashSet<Target> {
    let shards = waited_for.iter().filter_map(|id| {
        let index = topology.node_by_id(id)?;
        let shard = topology.shard(topology.node(index).shard?);
        (shard.primary == index).then_some(shard)
    });
    let replicas = shards.flat_map(|shard| &shard.replicas).take(PROBES_MAX);
    let target = |node: &crate::topology::Node| Target {
        endpoint: node.endpoint.clone(),
        seed: false,
        expected: Some(node.id),
    };
    replicas.map(|&replica| target(topology.node(replica))).collect()
}

/// Asks one replica again and again.
async fn probe(replica: Target, settings: Arc<Settings>, promoted: mpsc::Sender<Finished>) {
    let mut open = None;
    let mut pause = EVERY[0];
    loop {
        sleep(pause + (EVERY[1] - EVERY[0]).mul_f64(fastrand::f64())).await;
        pause = REST;
        let Ok((mut connection, is_primary)) = role(&replica, open.take(), &settings).await else {
            continue;
        };
        if !is_primary {
            pause = EVERY[0];
        } else {
            let asked_at = Instant::now();
            let Ok(told) = connection.ask(replica.seed, settings.reply_timeout).await else {
                continue;
            };
            // Alone it must not make anybody believe that the cluster is down.
            if told.view.state != State::Fail {
                let target = replica.clone();
                let _ = promoted.send(Finished { target, asked_at, result: Ok(told) }).await;
            }
        }
        open = Some(connection);
    }
}

/// Asks whether it is a primary, over the connection that is open or a new one.
async fn role(
    replica: &Target,
    open: Option<Connection>,
    settings: &Settings,
) -> Result<(Connection, bool), AskError> {
    let mut connection = match open {
        Some(connection) => connection,
        None => connect(&replica.endpoint, settings).await?,
    };
    let is_primary = connection.is_primary(settings.reply_timeout).await?;
    Ok((connection, is_primary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::topology::samples::{draft, id};

    #[test]
    fn the_replicas_of_primaries_are_asked_and_nobody_else() {
        let mut draft =
            draft(&[('a', 1, None), ('b', 2, None), ('c', 3, Some('a')), ('d', 4, Some('b'))]);
        let slot = |number| Slot::new(number).unwrap();
        draft.own(slot(0), slot(9), id('a'), 1);
        draft.own(slot(10), slot(16383), id('b'), 2);
        let topology = draft.finish();
        for (waited_for, expected) in
            [("a", vec![3]), ("ab", vec![3, 4]), ("c", vec![]), ("e", vec![]), ("", vec![])]
        {
            let ids: Vec<NodeId> = waited_for.chars().map(id).collect();
            let replicas = replicas_of(&topology, &ids);
            let mut ports: Vec<u16> = replicas.iter().map(|r| r.endpoint.port).collect();
            ports.sort_unstable();
            assert_eq!(ports, expected, "{waited_for}");
        }
    }
}
