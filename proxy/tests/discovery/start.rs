//! The first map: dead seeds, late seeds, no seeds.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use redis::cmd;
use slotway::discovery::{DiscoveryError, Handle, Settings, run};
use testbed::{Answer, Cluster, Port, ScriptedNode, Standalone};
use tokio_util::sync::CancellationToken;

use super::{DEADLINE, Discovery, is_primary, settings};

#[test]
fn a_living_seed_is_enough_and_no_dead_one_delays_it() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
    let black_hole = ScriptedNode::start(|_| Answer::Silence)?;
    let refusing = Port::free()?;
    let alive = cluster.nodes()[4].addr();
    let mut settings =
        settings([refusing.addr(), black_hole.addr(), "no-such-host.invalid:1".into(), alive]);
    // Whoever waits for the dead ones cannot be done before this.
    settings.connect_timeout = DEADLINE;
    settings.reply_timeout = DEADLINE;
    let begun = Instant::now();
    let discovery = Discovery::start(settings)?;
    let map = discovery.wait_whole()?;
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());

    assert_eq!((map.shards().len(), map.nodes().len()), (3, 6));
    for (_, shard) in map.shards() {
        assert_eq!(shard.replicas.len(), 1);
        assert!(shard.config_epoch > 0);
    }
    for node in cluster.nodes() {
        let found = map.node_by_endpoint("127.0.0.1", node.port()).map(|n| map.node(n));
        let found = found.with_context(|| format!("{node} is not in the map"))?;
        assert_eq!((found.id.as_str(), found.endpoint.port), (node.id(), node.port()));
    }
    for number in [0, 5461, 10923, 16383] {
        is_primary(&map, number, &cluster.primary_of(number)?)?;
    }
    Ok(())
}

#[test]
fn facts_are_those_of_all_nodes() -> Result<()> {
    let cluster =
        Cluster::builder().primaries(3).replicas(0).node_timeout(Duration::from_secs(3)).start()?;
    let set = |node: usize, name: &str, value: &str| -> Result<()> {
        cluster.nodes()[node].query(cmd("CONFIG").arg("SET").arg(name).arg(value))
    };
    set(2, "proto-max-bulk-len", "16777216")?;
    set(1, "cluster-node-timeout", "4000")?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    let facts = discovery.handle.facts();
    assert_eq!(facts.bulk_bytes_max, Some(16_777_216), "the smallest");
    assert_eq!(facts.node_timeout, Some(Duration::from_secs(4)), "the largest");
    let version = facts.server_version.clone().context("no version")?;
    assert_eq!(facts.server_names, [version.name]);
    let info = cluster.nodes()[0].info("redis_version")?;
    assert_eq!(Some(version.redis_version), info);
    Ok(())
}

#[test]
fn with_all_seeds_dead_it_waits_for_the_first_that_comes_up() -> Result<()> {
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let node = cluster.nodes()[0].clone();
    cluster.kill(&node)?;
    let discovery = Discovery::start(settings([node.addr()]))?;
    discovery.wait_missing(&format!("{} cannot be reached: connection refused", node.addr()))?;
    cluster.restart(&node)?;
    let map = discovery.wait_whole()?;
    assert_eq!(map.nodes().len(), 1);
    assert_eq!(discovery.handle.missing(), None);
    Ok(())
}

#[test]
fn the_startup_timeout_ends_the_waiting_with_the_reason() -> Result<()> {
    let standalone = Standalone::start()?;
    let startup_timeout = Some(Duration::from_millis(300));
    let settings = Settings { startup_timeout, ..settings([standalone.addr()]) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(settings, Handle::new(), CancellationToken::new()));
    let Err(DiscoveryError::NoAnswer { why, waited }) = ended else {
        anyhow::bail!("ended with {ended:?}")
    };
    assert!(waited >= Duration::from_millis(300));
    let sentence = "is not a cluster node; slotway needs cluster mode";
    assert_eq!(why, format!("{} {sentence}", standalone.addr()));
    let none = run(Settings::default(), Handle::new(), CancellationToken::new());
    assert_eq!(runtime.block_on(none), Err(DiscoveryError::NoSeeds));
    Ok(())
}
