//! Many subscriptions, many subscribers, and one that does not read.

use anyhow::{Result, ensure};
use testbed::{Cluster, wait_until};

use crate::client::{Client, DEADLINE, metric, slotway};

#[test]
fn a_hundred_thousand_subscriptions_of_one_client_are_served_and_no_more() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    for batch in 0..100 {
        let names: Vec<String> = (0..1000).map(|n| format!("c{}", batch * 1000 + n)).collect();
        client.send(&format!("SUBSCRIBE {}", names.join(" ")))?;
    }
    for n in 0..100_000 {
        let told = client.words()?;
        ensure!(told == format!("subscribe c{n} :{}", n + 1), "{told}");
    }
    let refused = client.ask("SUBSCRIBE one-too-many")?;
    ensure!(refused.starts_with("-OVERLOADED not executed"), "{refused}");
    ensure!(metric(&proxy, "slotway_subscriptions_refused_total")? == 1);
    ensure!(metric(&proxy, "slotway_subscriptions")? == 100_000);
    let mut publisher = Client::connect(&proxy.addr())?;
    for n in [0, 50_000, 99_999] {
        ensure!(publisher.ask(&format!("PUBLISH c{n} m"))? == ":1");
        ensure!(client.words()? == format!("message c{n} m"));
    }
    drop(client);
    wait_until("the nodes to be rid of them", DEADLINE, || {
        let channels = publisher.ask("PUBSUB CHANNELS");
        channels.is_ok_and(|channels| channels.is_empty())
    })?;
    ensure!(metric(&proxy, "slotway_subscriptions")? == 0);
    Ok(())
}

#[test]
fn one_that_does_not_read_is_closed_and_the_others_get_everything() -> Result<()> {
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let proxy =
        slotway(cluster.seeds()).workers(1).args(["--client-output-max", "1MiB"]).start()?;
    let (mut slow, mut quick) = (Client::connect(&proxy.addr())?, Client::connect(&proxy.addr())?);
    slow.ask("SUBSCRIBE c")?;
    quick.ask("SUBSCRIBE c")?;
    let mut publisher = Client::connect(&proxy.addr())?;
    let text = "x".repeat(100_000);
    let closed = "slotway_clients_closed_total{reason=\"slow\"}";
    for n in 0.. {
        ensure!(n < 1000, "it is never closed");
        publisher.ask(&format!("PUBLISH c {n}:{text}"))?;
        ensure!(quick.words()? == format!("message c {n}:{text}"));
        if metric(&proxy, closed)? == 1 {
            break;
        }
    }
    ensure!(publisher.ask("PUBLISH c m")? == ":1");
    ensure!(quick.words()? == "message c m");
    Ok(())
}

#[test]
fn a_thousand_subscribers_of_four_workers_all_get_it_and_are_counted() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(4).start()?;
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let mut client = Client::connect(&proxy.addr())?;
        client.send("SUBSCRIBE c")?;
        clients.push(client);
    }
    for client in &mut clients {
        ensure!(client.words()? == "subscribe c :1");
    }
    let mut publisher = Client::connect(&proxy.addr())?;
    for n in 0..20 {
        let receivers = publisher.ask(&format!("PUBLISH c {n}"))?;
        ensure!(receivers == ":1000", "{receivers}");
    }
    for client in &mut clients {
        for n in 0..20 {
            ensure!(client.words()? == format!("message c {n}"));
        }
    }
    ensure!(publisher.ask("PUBSUB NUMSUB c")? == "c :1000");
    ensure!(publisher.ask("CLIENT LIST TYPE pubsub")?.matches("flags=P").count() == 1000);
    Ok(())
}
