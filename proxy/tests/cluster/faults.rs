//! Nodes that end under load: an audit of what clients were told against what the cluster holds.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::Cluster;

use crate::load::{Load, Rule};
use crate::stage::{DEADLINE, metric, slotway};

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
