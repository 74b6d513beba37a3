//! Starting: with seeds that are dead, that are names, or that come later.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::{Cluster, Port, wait_until};

use crate::stage::{DEADLINE, shared, slotway};
use crate::wire::{Client, Reply};

/// The first seed is dead, and others give up at that.
#[test]
fn one_seed_that_answers_is_enough() -> Result<()> {
    let cluster = shared()?;
    let dead = Port::free()?;
    let seeds = [dead.addr(), "no-such-host.invalid:7000".into(), cluster.nodes()[2].addr()];
    let proxy = slotway(seeds).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    for n in 0..50 {
        let reply = client.ask(&["SET", &format!("startup:{n}"), "1"])?;
        ensure!(reply == Reply::ok(), "{reply:?}");
    }
    Ok(())
}

#[test]
fn a_seed_may_be_a_name() -> Result<()> {
    let cluster = shared()?;
    // Where localhost is ::1 first, nobody answers there: the next address is tried.
    let proxy = slotway([format!("localhost:{}", cluster.nodes()[1].port())]).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    ensure!(client.ask(&["SET", "startup:name", "1"])? == Reply::ok());
    Ok(())
}

#[test]
fn a_client_that_came_before_the_cluster_gets_its_answer() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let nodes = cluster.nodes();
    for node in &nodes {
        cluster.kill(node)?;
    }
    let proxy = slotway(cluster.seeds()).launch()?;
    wait_until("its sockets", DEADLINE, || proxy.peer().is_ok() && proxy.http_get("/").is_ok())?;
    let mut client = Client::connect(&proxy.addr())?;
    ensure!(client.ask(&["PING"])? == Reply::Simple("PONG".into()), "what needs no node");
    let keys: Vec<String> = (0..20).map(|n| format!("early:{n}")).collect();
    for key in &keys {
        client.send(&["SET", key, "1"])?;
    }
    let (status, why) = proxy.http_get("/readyz")?;
    ensure!(status == 503 && why.contains(&nodes[0].addr()), "{status}: {why}");
    let (status, _) = proxy.http_get("/livez")?;
    ensure!(status == 200, "it lives while it waits");
    let waits = || proxy.log().matches("waiting for the cluster").count();
    wait_until("it to say again that it waits", DEADLINE, || waits() >= 2)?;
    ensure!(proxy.log().contains(&nodes[0].addr()), "it says for whom: {}", proxy.log());
    for node in &nodes {
        cluster.restart(node)?;
    }
    for key in &keys {
        let reply = client.read()?;
        ensure!(reply == Reply::ok(), "{key}: {reply:?}");
    }
    proxy.wait_ready(DEADLINE)
}

#[test]
fn the_startup_timeout_ends_it_with_a_sentence() -> Result<()> {
    let dead = Port::free()?;
    let proxy = slotway([dead.addr()]).args(["--startup-timeout", "300ms"]).launch()?;
    ensure!(proxy.wait(Duration::from_secs(20))? == 1);
    let log = proxy.log();
    let last = log.lines().last().unwrap_or_default();
    ensure!(last.contains("ERROR") && last.contains(&dead.addr()), "{log}");
    Ok(())
}

/// A crowd of clients must not keep slotway from reaching its nodes.
#[test]
fn where_few_files_may_be_open_fewer_clients_are_served() -> Result<()> {
    let cluster = shared()?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("slotway");
    let lines =
        format!("#!/bin/sh\nulimit -n 200\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_slotway"));
    std::fs::write(&script, lines)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let proxy = slotway(cluster.seeds()).binary(&script).start()?;
    let said = "at most 150 clients are served, not the 10000 of clients-max";
    ensure!(proxy.log().contains(said), "{}", proxy.log());
    let mut crowd = (0..150).map(|_| proxy.peer()).collect::<Result<Vec<_>>>()?;
    for peer in &mut crowd {
        peer.send("PING\r\n")?;
        peer.expect("+PONG\r\n")?;
    }
    let mut refused = proxy.peer()?;
    refused.expect("-ERR max number of clients reached\r\n")?;
    for (number, peer) in crowd.iter_mut().enumerate() {
        peer.send_command(&["SET", &format!("few:{number}"), "1"])?;
        peer.expect("+OK\r\n")?;
    }
    Ok(())
}
