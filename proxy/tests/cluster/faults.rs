//! Nodes that end under load: an audit of what clients were told against what the cluster holds.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Cluster, wait_until};

use crate::load::{Load, Rule};
use crate::stage::{DEADLINE, metric, slotway};
use crate::wire::{Client, Reply};

/// Some slots of each shard.
const SLOTS: [u16; 18] = [
    0, 700, 1900, 2300, 4100, 5400, 5600, 6700, 7800, 8900, 9900, 10_900, 11_000, 12_100, 13_200,
    14_300, 15_400, 16_383,
];

#[test]
fn a_primary_that_restarts_under_load_costs_unknown_results_at_most() -> Result<()> {
    // What was acknowledged is on disk, so that whatever is missing is missing by our fault.
    let cluster = Cluster::builder()
        .primaries(3)
        .replicas(0)
        .config("appendonly", "yes")
        .config("appendfsync", "always")
        .start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let load = Load::start(&proxy.addr(), Rule::Unknowns, &SLOTS, 4)?;
    load.wait_rounds(3)?;
    cluster.restart(&cluster.shard(0).primary()?)?;
    load.wait_rounds(3)?;
    let killed = cluster.shard(2).primary()?;
    cluster.kill(&killed)?;
    cluster.restart(&killed)?;
    load.wait_rounds(3)?;
    let unknown = load.finish(None)?;
    // Each of 4 writers has at most 42 requests under way at once, and two nodes ended.
    ensure!(unknown <= 2 * 4 * 42, "{unknown} unknown results");
    let counted = metric(&proxy, "slotway_unknown_results_total")?;
    ensure!(counted == unknown, "{counted} counted of {unknown} unknown results");
    Ok(())
}

/// Others never recover when a primary stays dead.
#[test]
fn a_primary_killed_for_good_is_replaced_under_load() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(2)).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let load = Load::start(&proxy.addr(), Rule::Losses, &SLOTS, 4)?;
    load.wait_rounds(3)?;
    cluster.kill(&cluster.shard(1).primary()?)?;
    let dead_since = load.rounds();
    load.wait_rounds(3)?;
    cluster.wait_ok(DEADLINE)?;
    load.wait_rounds(3)?;
    load.finish(Some(&dead_since))?;
    Ok(())
}

#[test]
fn a_frozen_primary_is_replaced_and_holds_nobody_for_ever() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(2)).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let shard = cluster.shard(1);
    let frozen = shard.primary()?;
    let names = ["read", "write", "later"];
    let keys = names.iter().map(|name| shard.key(name)).collect::<Result<Vec<_>>>()?;
    let mut clients = (0..3).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    ensure!(clients[0].ask(&["SET", &keys[0], "before"])? == Reply::ok());
    cluster.freeze(&frozen)?;
    clients[0].send(&["GET", &keys[0]])?;
    clients[1].send(&["INCR", &keys[1]])?;
    // The read is answered by the new primary, and so is what comes later.
    ensure!(clients[0].read()? == Reply::bulk("before"));
    ensure!(clients[2].ask(&["INCR", &keys[2]])? == Reply::Integer(1));
    let unknown = clients[1].read()?;
    ensure!(
        unknown.error().is_some_and(|text| text.starts_with("UNKNOWNRESULT ")),
        "the write may have been executed by the old primary: {unknown:?}"
    );
    cluster.thaw(&frozen)?;
    cluster.wait_ok(DEADLINE)?;
    for client in &mut clients {
        ensure!(client.ask(&["INCR", &keys[2]])?.error().is_none());
    }
    ensure!(clients[0].ask(&["GET", &keys[2]])? == Reply::bulk("4"));
    Ok(())
}

#[test]
fn a_pause_of_three_seconds_is_masked_entirely() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(15)).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let shard = cluster.shard(0);
    let frozen = shard.primary()?;
    let key = shard.key("paused")?;
    let mut clients = (0..4).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    // The connection is there, so that what comes is handed over and not only queued.
    ensure!(clients[0].ask(&["SET", &key, "0"])? == Reply::ok());
    cluster.freeze(&frozen)?;
    clients[0].send(&["INCR", &key])?;
    wait_until("slotway to suspect the node", DEADLINE, || {
        metric(&proxy, "slotway_suspects_total").is_ok_and(|suspects| suspects > 0)
    })?;
    for client in &mut clients[1..] {
        client.send(&["INCR", &key])?;
    }
    cluster.thaw(&frozen)?;
    let mut seen = Vec::new();
    for client in &mut clients {
        seen.push(client.read()?);
    }
    ensure!(seen[0] == Reply::Integer(1), "{seen:?}");
    ensure!((2..=4).all(|n| seen.contains(&Reply::Integer(n))), "{seen:?}");
    Ok(())
}
