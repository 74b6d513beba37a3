//! Nodes die, change roles, give slots away; subscribers see nothing but, at worst, a gap.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, FailoverKind, key_in_slot, wait_for, wait_until};

use crate::client::{Client, DEADLINE, Publisher, follow, metric, slotway};

fn cluster() -> Result<Cluster> {
    let builder = Cluster::builder().primaries(3).replicas(1).full_coverage(false);
    builder.node_timeout(Duration::from_millis(1000)).start()
}

const GAPS: &str = "slotway_pubsub_gaps_total";

/// A subscriber of each protocol to a channel of shard 0, one to a channel of shard 1.
#[test]
fn subscribers_live_through_a_killed_node_and_a_failover() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (hit, spared) = (cluster.shard(0).key("c")?, cluster.shard(1).key("c")?);
    let mut subscribers = Vec::new();
    for (channel, resp3) in [(&hit, false), (&hit, true), (&spared, false)] {
        let mut client = Client::connect(&proxy.addr())?;
        if resp3 {
            client.ask("HELLO 3")?;
        }
        ensure!(client.ask(&format!("SUBSCRIBE {channel}"))? == format!("subscribe {channel} :1"));
        subscribers.push((client, 0));
    }
    let publishers = [&hit, &spared].map(|channel| Publisher::start(&proxy, "PUBLISH", channel));
    let [to_hit, to_spared] = publishers;
    let (to_hit, to_spared) = (to_hit?, to_spared?);
    for (client, from) in &mut subscribers {
        ensure!(follow(client, from, |number| number > 100)? == 0, "lost before anything failed");
    }
    cluster.kill(&cluster.shard(0).primary()?)?;
    // PUBLISH goes on once the replica is primary, and what it sends arrives.
    let before = to_hit.sent.load(Ordering::Relaxed);
    let mut missing = [0; 3];
    for (at, (client, from)) in subscribers.iter_mut().enumerate() {
        let until = if at == 2 { 0 } else { before };
        missing[at] = follow(client, from, |number| number > until + 500)?;
    }
    ensure!(missing[2] == 0, "{} lost at a shard that was not touched", missing[2]);
    // One connection of each worker that has subscribers: the two may share one.
    let lost = metric(&proxy, GAPS)?;
    ensure!((1..=2).contains(&lost), "{lost} gaps");

    // The other shard changes its primary in good order.
    let replica = cluster.shard(1).replica()?;
    cluster.failover(&replica, FailoverKind::Normal)?;
    let (client, from) = &mut subscribers[2];
    let before = to_spared.sent.load(Ordering::Relaxed);
    follow(client, from, |number| number > before + 500)?;
    let last = [to_hit.stop()?, to_spared.stop()?];
    for (at, (client, from)) in subscribers.iter_mut().enumerate() {
        follow(client, from, |number| number >= last[at / 2])?;
    }
    Ok(())
}

#[test]
fn a_subscriber_is_moved_off_a_frozen_node() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let channel = cluster.shard(0).key("c")?;
    let mut client = Client::connect(&proxy.addr())?;
    client.ask(&format!("SUBSCRIBE {channel}"))?;
    let frozen = cluster.shard(0).primary()?;
    cluster.freeze(&frozen)?;
    wait_until("the gap to be counted", DEADLINE, || metric(&proxy, GAPS).is_ok_and(|n| n > 0))?;
    let mut publisher = Client::connect(&proxy.addr())?;
    // The frozen node may have been handed the first: nobody knows what becomes of that.
    let mut number = 0;
    while !publisher.ask(&format!("PUBLISH {channel} {number}"))?.starts_with(':') {
        number += 1;
    }
    while client.words()? != format!("message {channel} {number}") {}
    cluster.thaw(&frozen)?;
    Ok(())
}

#[test]
fn a_shard_channel_moves_with_its_slot_under_load() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    let slot = *cluster.shard(0).slots()?.first().context("it has slots")?;
    let channel = key_in_slot(slot, "c");
    let mut client = Client::connect(&proxy.addr())?;
    ensure!(client.ask(&format!("SSUBSCRIBE {channel}"))? == format!("ssubscribe {channel} :1"));
    let publisher = Publisher::start(&proxy, "SPUBLISH", &channel)?;
    let mut number = 0;
    ensure!(follow(&mut client, &mut number, |number| number > 100)? == 0);
    for (from, to) in [(&from, &to), (&to, &from)] {
        wait_for("the slot to be moved", DEADLINE, || cluster.move_slots([slot], from, to))?;
        let before = publisher.sent.load(Ordering::Relaxed);
        follow(&mut client, &mut number, |number| number > before + 300)?;
    }
    let last = publisher.stop()?;
    ensure!(follow(&mut client, &mut number, |number| number >= last)? == 0);
    // It is still subscribed, and can end that.
    ensure!(client.ask("SUNSUBSCRIBE")? == format!("sunsubscribe {channel} :0"));
    Ok(())
}
