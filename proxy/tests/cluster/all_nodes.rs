//! Requests for all nodes just after one of them has died or gone silent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, Node, NodeView};

use crate::stage::slotway;
use crate::wire::{Client, Reply};

/// Whether any node says that this one has failed.
fn is_called_failed(cluster: &Cluster, node: &Node) -> bool {
    let is_failed = |view: &NodeView| view.has_flag("fail");
    let others = cluster.live_nodes().into_iter().filter(|other| other.id() != node.id());
    let mut views = others.filter_map(|other| other.view().ok());
    views.any(|view| view.node(node.id()).is_some_and(is_failed))
}

/// Nobody waits for a replica that is away to hear what it has to tell; what is to be set on all
/// nodes is set on all that there are, as soon as the cluster says which these are.
#[test]
fn questions_to_all_nodes_leave_out_a_node_that_has_just_died_and_writes_one_that_has_failed()
-> Result<()> {
    let cluster = Cluster::builder()
        .primaries(3)
        .replicas(1)
        .node_timeout(Duration::from_secs(8))
        .full_coverage(false)
        .start()?;
    // With connections to all nodes, and without any to replicas.
    let proxies = [(); 2].map(|()| slotway(cluster.seeds()).arg("--mask-deadline=60s").start());
    let [connected, fresh] = proxies;
    let (connected, fresh) = (connected?, fresh?);
    let mut clients = [Client::connect(&connected.addr())?, Client::connect(&fresh.addr())?];
    ensure!(matches!(clients[0].ask(&["SLOWLOG", "LEN"])?, Reply::Integer(_)));

    let (silent, dead) = (cluster.shard(0).replica()?, cluster.shard(1).replica()?);
    let questions = |clients: &mut [Client]| -> Result<()> {
        for client in clients {
            let none = Reply::Array(vec![Reply::bulk("a"), Reply::Integer(0)]);
            let reply = client.ask(&["PUBSUB", "NUMSUB", "a"])?;
            ensure!(reply == none, "{reply:?}");
            let reply = client.ask(&["SLOWLOG", "LEN"])?;
            ensure!(matches!(reply, Reply::Integer(_)), "{reply:?}");
            let reply = client.ask(&["LATENCY", "LATEST"])?;
            ensure!(matches!(reply, Reply::Array(_)), "{reply:?}");
        }
        Ok(())
    };
    cluster.kill(&dead)?;
    questions(&mut clients).context("dead")?;
    ensure!(!is_called_failed(&cluster, &dead), "that was to be shown before");
    for client in &mut clients {
        client.send(&["CONFIG", "SET", "hz", "11"])?;
    }
    for client in &mut clients {
        let reply = client.read()?;
        ensure!(reply == Reply::ok(), "{reply:?}");
        ensure!(is_called_failed(&cluster, &dead), "it waits until that is known");
    }
    questions(&mut clients).context("dead and failed")?;

    cluster.freeze(&silent)?;
    questions(&mut clients[..1]).context("silent")?;
    ensure!(!is_called_failed(&cluster, &silent), "that was to be shown before");
    cluster.thaw(&silent)?;
    let reply = clients[0].ask(&["CONFIG", "SET", "hz", "12"])?;
    ensure!(reply == Reply::ok(), "{reply:?}");
    let mut hz: Vec<String> = Vec::new();
    for node in cluster.live_nodes() {
        let (_, value): (String, String) = node.query(redis::cmd("CONFIG").arg("GET").arg("hz"))?;
        hz.push(value);
    }
    ensure!(hz == ["12"; 5], "{hz:?}");
    Ok(())
}
