//! The testbed against real servers: what it starts, breaks and moves is really so.

use anyhow::{Context, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;
use testbed::{Cluster, FailoverKind, Role, SLOTS, Standalone, key_in_slot, key_slot, redis};

const SOON: Duration = Duration::from_secs(30);

/// Short, so that a failover takes about a second.
fn quick() -> testbed::ClusterBuilder {
    Cluster::builder().node_timeout(Duration::from_millis(600))
}

#[test]
fn three_shards_with_replicas_serve_every_slot() -> Result<()> {
    let cluster = Cluster::start()?;
    assert_eq!(cluster.nodes().len(), 6);
    let mut slots = 0;
    for number in 0..3 {
        let shard = cluster.shard(number);
        assert_eq!(shard.nodes().len(), 2);
        let (primary, replica) = (shard.primary()?, shard.replica()?);
        assert_eq!(primary, cluster.nodes()[number], "the first nodes are the primaries");
        assert_eq!(replica.myself()?.role, Role::Replica(primary.id().to_owned()));
        let key = shard.key("x")?;
        assert_eq!(cluster.primary_of(key_slot(&key))?, primary);
        let mut client = cluster.client(&primary)?;
        redis::cmd("SET").arg(&key).arg(number).exec(&mut client)?;
        let acknowledged: u32 = redis::cmd("WAIT").arg(1).arg(5000).query(&mut client)?;
        assert_eq!(acknowledged, 1);
        slots += shard.slots()?.len();
    }
    assert_eq!(slots, usize::from(SLOTS));
    Ok(())
}

#[test]
fn a_replica_takes_over_from_a_killed_primary_which_comes_back_as_replica() -> Result<()> {
    let cluster = quick().start()?;
    let shard = cluster.shard(1);
    let (old, heir) = (shard.primary()?, shard.replica()?);
    cluster.kill(&old)?;
    assert!(!old.is_live() && cluster.kill(&old).is_err());
    assert!(cluster.client(&old).is_err());
    cluster.wait_ok(SOON)?;
    assert_eq!(shard.primary()?, heir);
    cluster.restart(&old)?;
    let follows = Role::Replica(heir.id().to_owned());
    cluster.wait_until("the old primary to follow", SOON, |_| {
        old.myself().is_ok_and(|myself| myself.role == follows)
    })?;
    cluster.wait_ok(SOON)
}

#[test]
fn a_frozen_primary_is_replaced_and_follows_when_it_continues() -> Result<()> {
    let cluster = quick().start()?;
    let shard = cluster.shard(0);
    let (old, heir) = (shard.primary()?, shard.replica()?);
    let mut client = cluster.client(&old)?;
    client.set_read_timeout(Some(Duration::from_millis(50)))?;
    cluster.freeze(&old)?;
    let silence = redis::cmd("PING").exec(&mut client).unwrap_err();
    assert!(silence.is_timeout(), "{silence}");
    cluster.wait_ok(SOON)?;
    assert_eq!(shard.primary()?, heir);
    cluster.thaw(&old)?;
    let follows = Role::Replica(heir.id().to_owned());
    cluster.wait_until("the old primary to follow", SOON, |_| {
        old.myself().is_ok_and(|myself| myself.role == follows)
    })?;
    cluster.wait_ok(SOON)
}

#[test]
fn every_kind_of_failover_makes_the_replica_primary() -> Result<()> {
    let cluster = quick().start()?;
    let kinds = [FailoverKind::Normal, FailoverKind::Force, FailoverKind::Takeover];
    for (number, kind) in kinds.into_iter().enumerate() {
        let shard = cluster.shard(number);
        let (old, heir) = (shard.primary()?, shard.replica()?);
        cluster.failover(&heir, kind)?;
        assert_eq!(shard.primary()?, heir, "{kind:?}");
        assert!(cluster.failover(&heir, kind).is_err(), "it is the primary already");
        cluster.wait_ok(SOON)?;
        assert_eq!(shard.replicas(), [old], "{kind:?}");
    }
    Ok(())
}

#[test]
fn slots_move_with_their_keys_and_nodes_come_and_go() -> Result<()> {
    let cluster = quick().primaries(2).replicas(0).start()?;
    let (from, new) = (cluster.shard(0).primary()?, cluster.add_node()?);
    assert_eq!(new.shard(), 2);
    let slots: Vec<u16> = cluster.shard(0).slots()?.into_iter().take(50).collect();
    let keys: Vec<_> = (0..500).map(|n| key_in_slot(slots[n % 50], &n.to_string())).collect();
    let mut client = cluster.client(&from)?;
    for key in &keys {
        redis::cmd("SET").arg(key).arg(key).exec(&mut client)?;
    }
    cluster.move_slots(slots.iter().copied(), &from, &new)?;
    cluster.wait_ok(SOON)?;
    assert_eq!(cluster.shard(2).slots()?, slots);
    let mut client = cluster.client(&new)?;
    for key in &keys {
        assert_eq!(&redis::cmd("GET").arg(key).query::<String>(&mut client)?, key);
    }
    assert_eq!(redis::cmd("DBSIZE").query::<usize>(&mut client)?, keys.len());

    let refused = cluster.remove_node(&new).unwrap_err().to_string();
    assert!(refused.contains("owns 50 slots"), "{refused}");
    cluster.move_slots(slots, &new, &from)?;
    let replica = cluster.add_replica(&new)?;
    assert_eq!(cluster.shard(2).replica()?, replica);
    cluster.wait_ok(SOON)?;
    assert!(cluster.remove_node(&new).is_err(), "it has a replica");
    cluster.remove_node(&replica)?;
    cluster.remove_node(&new)?;
    cluster.wait_ok(SOON)?;
    for node in cluster.nodes() {
        assert_eq!(node.view()?.nodes.len(), 2, "{node} has forgotten those that left");
    }
    Ok(())
}

/// Without a pause between, Redis 7.0 loses one within two rounds: see `cluster/heartbeats.rs`.
#[test]
fn slots_that_move_there_and_back_at_once_stay() -> Result<()> {
    let cluster = quick().primaries(2).replicas(0).start()?;
    let (home, away) = (cluster.shard(0).primary()?, cluster.add_node()?);
    let all = cluster.shard(0).slots()?;
    let slots: Vec<u16> = all.iter().take(50).copied().collect();
    for round in 0..4 {
        cluster.move_slots(slots.iter().copied(), &home, &away)?;
        cluster.move_slots(slots.iter().copied(), &away, &home)?;
        cluster.wait_ok(SOON).with_context(|| format!("in round {round}"))?;
        assert_eq!(cluster.shard(0).slots()?, all, "round {round}");
    }
    Ok(())
}

#[test]
fn an_open_slot_asks_and_tells_to_try_again() -> Result<()> {
    let cluster = quick().primaries(2).replicas(0).password("a b\"c\\").start()?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    let [a, b, c] = ["a", "b", "c"].map(|name| key_in_slot(7, name));
    let mut client = cluster.client(&from)?;
    redis::cmd("MSET").arg(&[&a, "1", &b, "2"]).exec(&mut client)?;

    let migration = cluster.open_migration(7, &from, &to)?;
    assert_eq!(from.myself()?.migrating, [(7, to.id().to_owned())]);
    assert_eq!(to.myself()?.importing, [(7, from.id().to_owned())]);
    migration.move_keys(&[&a, &c])?;
    let answer = |client: &mut redis::Connection, keys: &[&String]| {
        let error = redis::cmd("MGET").arg(keys).exec(client).unwrap_err();
        error.code().unwrap_or_default().to_owned()
    };
    assert_eq!(answer(&mut client, &[&a]), "ASK");
    assert_eq!(answer(&mut client, &[&a, &b]), "TRYAGAIN");
    migration.move_all_keys()?;
    migration.finish()?;
    assert_eq!(answer(&mut client, &[&a]), "MOVED");

    let back = cluster.open_migration(7, &to, &from)?;
    back.cancel()?;
    assert!(to.myself()?.migrating.is_empty() && from.myself()?.importing.is_empty());
    assert_eq!(cluster.primary_of(7)?, to);
    Ok(())
}

#[test]
fn a_shard_that_dies_without_replica_leaves_the_others_if_coverage_is_not_required() -> Result<()> {
    let cluster = quick().replicas(0).full_coverage(false).start()?;
    let (dead, other) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    assert!(cluster.terminate(&dead)?.success());
    cluster.wait_until("the death to be known", SOON, |_| {
        let view = other.view().unwrap();
        view.node(dead.id()).is_some_and(|seen| seen.has_flag("fail"))
    })?;
    assert!(other.sees_cluster_ok()?);
    let error = format!("{:#}", cluster.wait_ok(Duration::from_millis(50)).unwrap_err());
    assert!(error.contains("slots are owned by live nodes"), "{error}");
    assert!(cluster.shard(0).primary().is_err() && cluster.primary_of(0).is_err());
    Ok(())
}

#[test]
fn data_outlive_a_restart_of_all_if_they_are_persisted() -> Result<()> {
    let cluster = quick().primaries(1).replicas(0).config("appendonly", "yes").start()?;
    let node = &cluster.nodes()[0];
    redis::cmd("SET").arg("a").arg("1").exec(&mut cluster.client(node)?)?;
    let (pid, id) = (node.pid(), node.id().to_owned());
    cluster.restart_all()?;
    assert_ne!(node.pid(), pid);
    cluster.wait_ok(SOON)?;
    assert_eq!(node.myself()?.id, id);
    assert_eq!(node.query::<String>(redis::cmd("GET").arg("a"))?, "1");
    Ok(())
}

#[test]
fn clusters_start_side_by_side() -> Result<()> {
    let start = || quick().replicas(0).start();
    let clusters: Vec<Result<Cluster>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut ports = Vec::new();
    for cluster in clusters {
        let cluster = cluster?;
        cluster.wait_ok(SOON)?;
        let nodes = cluster.nodes();
        ports.extend(nodes.iter().map(|node| node.port()));
        assert_eq!(nodes[0].view()?.nodes.len(), 3, "no stranger has joined");
    }
    let count = ports.len();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), count);
    Ok(())
}

#[test]
fn a_panic_leaves_neither_process_nor_folder() -> Result<()> {
    let mut kept = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let cluster = quick().primaries(1).replicas(0).start().unwrap();
        let node = cluster.nodes()[0].clone();
        cluster.freeze(&node).unwrap();
        kept = Some((node, folder_of(&cluster).unwrap()));
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let (node, folder) = kept.context("the cluster came up")?;
    assert!(
        !PathBuf::from(format!("/proc/{}", node.pid())).exists(),
        "although we hold its handle"
    );
    assert!(!folder.exists(), "{}", folder.display());
    Ok(())
}

#[test]
fn a_single_server_can_be_had() -> Result<()> {
    let server = Standalone::builder().config("maxmemory", "50mb").password("x").start()?;
    let mut client = server.client()?;
    redis::cmd("SET").arg("a").arg(1).exec(&mut client)?;
    let limit: Vec<String> = server.query(redis::cmd("CONFIG").arg(&["GET", "maxmemory"]))?;
    assert_eq!(limit[1], (50 << 20).to_string());
    let pid = server.pid();
    server.freeze()?;
    server.thaw()?;
    server.restart()?;
    assert_ne!(server.pid(), pid);
    server.kill();
    assert!(server.client().is_err());
    Ok(())
}

/// Where the first node keeps its files.
fn folder_of(cluster: &Cluster) -> Result<PathBuf> {
    let node = &cluster.nodes()[0];
    // It may be frozen, and then the kernel still knows.
    Ok(std::fs::read_link(format!("/proc/{}/cwd", node.pid()))?)
}
