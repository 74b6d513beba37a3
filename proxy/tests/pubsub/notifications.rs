//! Keyspace notifications of all shards, as if they were one server's.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Cluster, FailoverKind, wait_until};

use crate::client::{Client, DEADLINE, slotway};

/// The events of these keys, each once, in any order.
fn gather(client: &mut Client, keys: &[String]) -> Result<()> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in keys {
        let message = client.words()?;
        *seen.entry(message.rsplit(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    ensure!(keys.iter().all(|key| seen.get(key) == Some(&1)), "{seen:?}");
    Ok(())
}

#[test]
fn notifications_of_all_shards_come_once_and_go_on_after_failovers() -> Result<()> {
    let builder = Cluster::builder().primaries(3).replicas(1).full_coverage(false);
    let cluster = builder
        .node_timeout(Duration::from_millis(1000))
        .config("notify-keyspace-events", "KEA")
        .start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let keys = (0..3).map(|shard| cluster.shard(shard).key("k")).collect::<Result<Vec<_>>>()?;
    let (mut exact, mut pattern) =
        (Client::connect(&proxy.addr())?, Client::connect(&proxy.addr())?);
    exact.ask("SUBSCRIBE __keyevent@0__:set")?;
    pattern.ask("PSUBSCRIBE __keyevent@*__:set")?;
    let mut writer = Client::connect(&proxy.addr())?;
    let mut set_all = || -> Result<()> {
        for key in &keys {
            ensure!(writer.ask(&format!("SET {key} v"))? == "+OK");
        }
        Ok(())
    };
    set_all()?;
    gather(&mut exact, &keys)?;
    gather(&mut pattern, &keys)?;
    // By hand: it comes from all nodes, and once.
    let mut publisher = Client::connect(&proxy.addr())?;
    publisher.ask("PUBLISH __keyevent@0__:set by-hand")?;
    gather(&mut exact, &["by-hand".into()])?;

    let replica = cluster.shard(0).replica()?;
    cluster.failover(&replica, FailoverKind::Normal)?;
    cluster.kill(&cluster.shard(1).primary()?)?;
    // A write that waits for the failover is executed as soon as there is a primary; whether its
    // event is heard is a matter of who is first there. From then on all are.
    set_all()?;
    exact.peer.set_deadline(Duration::from_secs(2));
    let mut round = 0;
    wait_until("all events of a round to come once", DEADLINE, || {
        round += 1;
        round_is_heard(&cluster, &mut exact, &mut publisher, &keys, round).unwrap_or(false)
    })
}

/// Sets the keys and then a mark in each shard, whose events come behind theirs, and publishes one.
/// Whether each key's event has come once when all marks have.
fn round_is_heard(
    cluster: &Cluster,
    subscriber: &mut Client,
    writer: &mut Client,
    keys: &[String],
    round: usize,
) -> Result<bool> {
    let published = format!("round-{round}");
    let mut marks = vec![published.clone()];
    for shard in 0..3 {
        marks.push(cluster.shard(shard).key(&published)?);
    }
    for key in keys.iter().chain(&marks[1..]) {
        ensure!(writer.ask(&format!("SET {key} v"))? == "+OK");
    }
    writer.ask(&format!("PUBLISH __keyevent@0__:set {published}"))?;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    while !marks.iter().all(|mark| seen.contains_key(mark)) {
        let message = subscriber.words()?;
        *seen.entry(message.rsplit(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    Ok(keys.iter().all(|key| seen.get(key) == Some(&1)))
}
