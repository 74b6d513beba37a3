//! What scripts say before real nodes: a refusal is masked, what they make up is passed on.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Cluster, key_in_slot, wait_until};

use crate::stage::{DEADLINE, metric, shared, slotway};
use crate::wire::{Client, Reply};

const COUNT: &str = "return redis.call('INCR', KEYS[1])";

#[test]
fn a_script_waits_while_the_cluster_is_down_and_is_executed_once() -> Result<()> {
    // With reads allowed a script without a header is let in, and its INCR is refused in it.
    for (reads, header) in [("no", ""), ("yes", "#!lua\n")] {
        let script = format!("{header}{COUNT}");
        let cluster = Cluster::builder()
            .primaries(3)
            .replicas(0)
            .node_timeout(Duration::from_secs(1))
            .config("cluster-allow-reads-when-down", reads)
            .start()?;
        let proxy = slotway(cluster.seeds()).workers(1).start()?;
        let key = cluster.shard(0).key("count")?;
        let mut client = Client::connect(&proxy.addr())?;
        ensure!(client.ask(&["EVAL", &script, "1", &key])? == Reply::Integer(1));
        let alive = cluster.shard(0).primary()?;
        let others = [cluster.shard(1).primary()?, cluster.shard(2).primary()?];
        for other in &others {
            cluster.kill(other)?;
        }
        cluster.wait_until("the quorum to be lost", DEADLINE, |_| {
            alive.sees_cluster_ok().is_ok_and(|ok| !ok)
        })?;
        client.send(&["EVAL", &script, "1", &key])?;
        wait_until("the script to be refused and to wait", DEADLINE, || {
            metric(&proxy, "slotway_parked_requests").is_ok_and(|parked| parked == 1)
        })?;
        for other in &others {
            cluster.restart(other)?;
        }
        let mut reply = client.read()?;
        if reply.error().is_some_and(|text| text.starts_with("CLUSTERDOWN ")) {
            // The node was well again between its refusal and the question: then nobody can tell.
            reply = client.ask(&["EVAL", &script, "1", &key])?;
        }
        ensure!(reply == Reply::Integer(2), "reads when down: {reads}: {reply:?}");
        ensure!(client.ask(&["GET", &key])? == Reply::bulk("2"));
    }
    Ok(())
}

#[test]
fn what_a_script_makes_up_is_passed_on_and_executed_once() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    for (n, text) in [
        "CLUSTERDOWN The cluster is down",
        "CLUSTERDOWN Hash slot not served",
        "CLUSTERDOWN The cluster is down and only accepts read commands",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ]
    .into_iter()
    .enumerate()
    {
        let key = key_in_slot(77, &format!("forged-{n}"));
        let script = format!("{} return redis.error_reply(ARGV[1])", COUNT.replace("return", ""));
        let got = client.ask(&["EVAL", &script, "1", &key, text])?;
        ensure!(got.error() == Some(text), "{got:?}");
        ensure!(client.ask(&["GETDEL", &key])? == Reply::bulk("1"), "{text}");
    }
    Ok(())
}

#[test]
fn a_script_of_several_keys_waits_while_its_slot_is_on_its_way() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let keys = [key_in_slot(77, "a"), key_in_slot(77, "b")];
    for key in &keys {
        ensure!(client.ask(&["SET", key, "1"])? == Reply::ok());
    }
    let migration = cluster.open_migration(77, &from, &to)?;
    migration.move_keys(&keys[..1])?;
    let add = "return redis.call('INCR', KEYS[1]) + redis.call('INCR', KEYS[2])";
    client.send(&["EVAL", add, "2", &keys[0], &keys[1]])?;
    wait_until("the script to be told to try again", DEADLINE, || {
        metric(&proxy, "slotway_redirects_total{kind=\"tryagain\"}").is_ok_and(|n| n >= 3)
    })?;
    migration.move_all_keys()?;
    migration.finish()?;
    ensure!(client.read()? == Reply::Integer(4));
    Ok(())
}
