//! Scripts by their SHA1, on nodes that have never seen them.

use std::thread;

use anyhow::{Result, ensure};
use testbed::{Cluster, key_in_slot, wait_until};

use crate::stage::{DEADLINE, metric, shared, slotway};
use crate::wire::{Client, Reply};

const COUNT: &str = "return redis.call('INCR', KEYS[1])";
const LOADED: &str = "slotway_replays_total{reason=\"noscript\"}";

/// SCRIPT LOAD is not replicated, so the replica that is promoted has never heard of the script;
/// nor has the node that joins later, nor one that was restarted.
#[test]
fn a_script_is_known_after_a_failover_on_a_new_node_and_after_a_restart() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let Reply::Bulk(sha) = client.ask(&["SCRIPT", "LOAD", COUNT])? else {
        anyhow::bail!("SCRIPT LOAD gives no name");
    };
    let sha = String::from_utf8(sha)?;
    let key = cluster.shard(0).key("count")?;
    let slot = cluster.shard(0).slots()?[0];
    let moving = key_in_slot(slot, "moving");
    for key in [&key, &moving] {
        ensure!(client.ask(&["EVALSHA", &sha, "1", key])? == Reply::Integer(1));
    }

    let killed = cluster.shard(0).primary()?;
    cluster.kill(&killed)?;
    // Several at once, on connections of both workers: the script is missing for all of them.
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (addr, sha, slot) = (proxy.addr(), sha.clone(), slot);
            thread::spawn(move || -> Result<Reply> {
                let key = key_in_slot(slot, &format!("own-{n}"));
                Client::connect(&addr)?.ask(&["EVALSHA", &sha, "1", &key])
            })
        })
        .collect();
    let got = client.ask(&["EVALSHA", &sha, "1", &key])?;
    ensure!(got == Reply::Integer(2), "after the failover: {got:?}");
    for client in clients {
        let got = client.join().expect("it does not panic")?;
        ensure!(got == Reply::Integer(1), "after the failover: {got:?}");
    }
    ensure!(metric(&proxy, LOADED)? > 0);

    let promoted = cluster.shard(0).primary()?;
    let added = cluster.add_node()?;
    // A node that joins behind a failover takes a moment to see the cluster well.
    wait_until("the new node to see the cluster", DEADLINE, || {
        added.sees_cluster_ok().unwrap_or_default()
    })?;
    cluster.move_slots([slot], &promoted, &added)?;
    let got = client.ask(&["EVALSHA", &sha, "1", &moving])?;
    ensure!(got == Reply::Integer(2), "on a new node: {got:?}");

    cluster.kill(&added)?;
    cluster.restart(&added)?;
    let got = client.ask(&["EVALSHA", &sha, "1", &moving])?;
    ensure!(matches!(got, Reply::Integer(_)), "after a restart: {got:?}");

    // What clients have flushed stays unknown.
    ensure!(client.ask(&["SCRIPT", "FLUSH"])? == Reply::ok());
    let got = client.ask(&["EVALSHA", &sha, "1", &key])?;
    ensure!(got.error().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{got:?}");
    Ok(())
}

#[test]
fn a_script_that_says_that_it_is_unknown_is_executed_once() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    for (n, text) in
        ["NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT No matching script."]
            .into_iter()
            .enumerate()
    {
        let key = key_in_slot(77, &format!("unknown-{n}"));
        let script =
            format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{text}') -- {n}");
        let got = client.ask(&["EVAL", &script, "1", &key])?;
        ensure!(got.error() == Some(text), "{got:?}");
        let node = cluster.primary_of(77)?;
        let sha: String = node.query(redis::cmd("SCRIPT").arg("LOAD").arg(&script))?;
        // Known to the node; then unknown, so that it is loaded and runs.
        for runs in [2, 3] {
            let got = client.ask(&["EVALSHA", &sha, "1", &key])?;
            ensure!(got.error() == Some(text), "{got:?}");
            ensure!(client.ask(&["GET", &key])? == Reply::bulk(runs.to_string()), "{text}");
            node.query::<()>(redis::cmd("SCRIPT").arg("FLUSH"))?;
        }
        wait_until("it to be loaded", DEADLINE, || {
            metric(&proxy, LOADED).is_ok_and(|loaded| loaded == n as u64 + 1)
        })?;
    }
    Ok(())
}
