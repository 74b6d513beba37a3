//! What changes afterwards: slots, roles, nodes, the state of the cluster.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use slotway::discovery::Reason;
use slotway::topology::{Endpoint, Health, Role};
use testbed::{Cluster, FailoverKind, wait_for};

use super::{DEADLINE, Discovery, is_primary, settings, slot};

#[test]
fn moved_slots_are_seen_when_asked_for_and_not_before() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    let before = discovery.wait_whole()?;
    discovery.wait_settled()?;
    let refreshes = discovery.handle.counts().refreshes;

    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    cluster.move_slots(0..3, from, to)?;
    let migration = cluster.open_migration(100, from, to)?;
    assert_eq!(discovery.handle.counts().refreshes, refreshes, "nobody asked");
    assert_eq!(discovery.map().revision, before.revision);

    let endpoint: Endpoint = to.addr().parse()?;
    discovery.handle.request_refresh_from(Reason::Moved, &endpoint);
    let map = discovery.wait_map("the moved slots", |map| {
        (0..3).try_for_each(|number| is_primary(map, number, to))
    })?;
    is_primary(&map, 3, from)?;
    is_primary(&map, 100, from)?;
    assert!(map.epoch_of(slot(0)) > before.epoch_of(slot(0)));
    assert_eq!(discovery.handle.subscribe().borrow().to_owned(), map.revision);
    migration.cancel()
}

#[test]
fn an_importing_node_without_slots_is_known() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    discovery.wait_whole()?;
    let fresh = cluster.add_node()?;
    discovery.handle.request_refresh(Reason::UnknownNode);
    let map = discovery.wait_map("the new node", |map| {
        let index = map.node_by_endpoint("127.0.0.1", fresh.port()).context("not there")?;
        ensure!(map.node(index).shard.is_none() && map.node(index).role == Role::Primary);
        Ok(())
    })?;
    assert_eq!((map.shards().len(), map.nodes().len()), (2, 3));
    cluster.remove_node(&fresh)?;
    wait_for("the node to be forgotten", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        ensure!(discovery.map().nodes().len() == 2);
        Ok(())
    })
}

#[test]
fn a_failover_is_seen_on_demand_and_demand_is_paced() -> Result<()> {
    let timeout = Duration::from_millis(1500);
    let cluster = Cluster::builder().primaries(3).replicas(1).node_timeout(timeout).start()?;
    let discovery = Discovery::start(settings(cluster.seeds()))?;
    let before = discovery.wait_whole()?;
    let (dead, heir) = (cluster.shard(0).primary()?, cluster.shard(0).replica()?);
    let begun = Instant::now();
    let refreshes = discovery.handle.counts().refreshes;
    cluster.kill(&dead)?;
    let map = discovery.wait_map("the replica to take over", |map| {
        // As often as requests fail.
        (0..50).for_each(|_| discovery.handle.request_refresh(Reason::ConnectionFailed));
        is_primary(map, 0, &heir)
    })?;
    assert!(map.epoch_of(slot(0)) > before.epoch_of(slot(0)));
    let done = discovery.handle.counts().refreshes - refreshes;
    let most = 2 + begun.elapsed().as_millis() / 250;
    assert!(u128::from(done) <= most, "{done} refreshes in {:?}", begun.elapsed());
    let gone = map.node_by_endpoint("127.0.0.1", dead.port()).context("the dead node is listed")?;
    assert_eq!(map.node(gone).health, Health::Failed);

    cluster.restart(&dead)?;
    cluster.wait_ok(DEADLINE)?;
    wait_for("the demoted node", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        let map = discovery.map();
        let node = map.node(map.node_by_endpoint("127.0.0.1", dead.port()).context("gone")?);
        ensure!(node.role == Role::Replica && node.health == Health::Online, "{node:?}");
        Ok(())
    })?;
    cluster.failover(&dead, FailoverKind::Normal)?;
    discovery.handle.request_refresh(Reason::ReadOnly);
    discovery.wait_map("the old primary again", |map| {
        discovery.handle.request_refresh(Reason::ReadOnly);
        is_primary(map, 0, &dead)
    })?;
    Ok(())
}

/// Replies that are held until the role of their node is confirmed wait for a map: it must not
/// itself wait because one was just looked up.
#[test]
fn a_map_that_answers_wait_for_is_asked_for_at_once() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let discovery = Discovery::start(settings(cluster.seeds()))?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    let refreshed_in = |reason| {
        let (before, begun) = (discovery.handle.counts().refreshes, Instant::now());
        discovery.handle.request_refresh(reason);
        wait_for("a refresh", DEADLINE, || {
            ensure!(discovery.handle.counts().refreshes > before, "none yet");
            Ok(())
        })?;
        anyhow::Ok(begun.elapsed())
    };
    let mut fastest = Duration::MAX;
    for _ in 0..6 {
        refreshed_in(Reason::Operator)?;
        fastest = fastest.min(refreshed_in(Reason::Unconfirmed)?);
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    Ok(())
}

#[test]
fn a_cluster_that_is_down_is_said_to_be_and_comes_back() -> Result<()> {
    let timeout = Duration::from_millis(1500);
    let cluster = Cluster::builder().primaries(3).replicas(0).node_timeout(timeout).start()?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    let dead = cluster.nodes()[2].clone();
    cluster.kill(&dead)?;
    wait_for("the cluster to be down", DEADLINE, || {
        discovery.handle.request_refresh(Reason::ClusterDown);
        let missing = discovery.handle.missing();
        ensure!(missing.as_deref() == Some("the cluster says that it is down"), "{missing:?}");
        Ok(())
    })?;
    is_primary(&discovery.map(), 16383, &dead)?;
    cluster.restart(&dead)?;
    // Nobody asks: while something is wrong it looks by itself.
    discovery.wait_whole()?;
    Ok(())
}

#[test]
fn a_frozen_node_does_not_delay_a_refresh() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).node_timeout(DEADLINE).start()?;
    let mut settings = settings(cluster.seeds());
    settings.reply_timeout = DEADLINE;
    let discovery = Discovery::start(settings)?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    cluster.freeze(&cluster.nodes()[2])?;
    // Two of three are asked each time, so the frozen one is soon among them.
    let begun = Instant::now();
    let first = discovery.handle.counts().refreshes;
    wait_for("ten refreshes", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        ensure!(discovery.handle.counts().refreshes >= first + 10);
        Ok(())
    })?;
    assert!(begun.elapsed() < DEADLINE / 3, "took {:?}", begun.elapsed());
    assert_eq!(discovery.handle.counts().failed, 0);
    cluster.thaw(&cluster.nodes()[2])
}
