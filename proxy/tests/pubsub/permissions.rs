//! The user as which slotway logs in at the nodes may not do everything: what it may not, no
//! client of slotway may, and is told so in the servers' words.

use anyhow::{Context, Result, ensure};
use redis::cmd;
use testbed::{Cluster, Node, Proxy, Standalone, wait_until};

use crate::client::{Client, DEADLINE, metric, slotway};

const NEWS: &[&str] = &["resetchannels", "&news:*"];

/// `>N`: that many more values are read. `p:` is said by another client.
const STORIES: &[(&[&str], &[&str])] = &[
    (
        NEWS,
        &[
            "SUBSCRIBE other",
            "GET x",
            "SUBSCRIBE news:1",
            "SUBSCRIBE other",
            "PSUBSCRIBE *",
            "PSUBSCRIBE news:a*",
            "SSUBSCRIBE other",
            // None of them, whichever may be subscribed to.
            "SUBSCRIBE news:2 other",
            "SUBSCRIBE other news:2",
            "p:PUBLISH news:1 m|>1",
            "p:PUBLISH news:2 m",
            "p:PUBLISH other m",
            "p:SPUBLISH other m",
            "PING",
            "GET x",
            "PSUBSCRIBE news:*",
            "SSUBSCRIBE news:1",
            "p:PUBLISH news:2 m|>1",
            "p:SPUBLISH news:1 m|>1",
            "UNSUBSCRIBE other",
            "UNSUBSCRIBE news:1",
            "PUNSUBSCRIBE",
            "SUNSUBSCRIBE",
            "GET x",
        ],
    ),
    (
        NEWS,
        &[
            "HELLO 3",
            "SUBSCRIBE news:1",
            "SUBSCRIBE other",
            "GET x",
            "SSUBSCRIBE news:1",
            "SSUBSCRIBE other",
            "p:PUBLISH news:1 m|>1",
            "p:SPUBLISH news:1 m|>1",
            "RESET",
            "GET x",
        ],
    ),
    (
        &["allchannels", "-@pubsub"],
        &[
            "SUBSCRIBE a",
            "PSUBSCRIBE a",
            "SSUBSCRIBE a",
            "p:PUBLISH a m",
            "p:SPUBLISH a m",
            "p:PUBSUB CHANNELS",
            "p:PUBSUB NUMSUB a",
            "p:PUBSUB NUMPAT",
            "p:PUBSUB SHARDCHANNELS",
            "p:PUBSUB SHARDNUMSUB a",
            "GET x",
        ],
    ),
];

fn rules<'a>(rules: &[&'a str]) -> Vec<&'a str> {
    [&["SETUSER", "app", "on", ">secret", "~*", "+@all"], rules].concat()
}

fn permit(nodes: &[Node], allowed: &[&str]) -> Result<()> {
    nodes.iter().try_for_each(|node| node.query::<()>(cmd("ACL").arg(rules(allowed))))
}

fn as_app(cluster: &Cluster) -> Result<Proxy> {
    let proxy = slotway(cluster.seeds()).workers(1).args(["--node-user", "app"]);
    proxy.env("SLOTWAY_NODE_PASSWORD", "secret").start()
}

fn play(story: &[&str], addr: &str, login: bool) -> Result<Vec<String>> {
    let (mut client, mut other) = (Client::connect(addr)?, Client::connect(addr)?);
    for client in [&mut client, &mut other].into_iter().filter(|_| login) {
        ensure!(client.ask("AUTH app secret")? == "+OK");
    }
    let mut told = Vec::new();
    for step in story {
        let (line, more) = step.split_once("|>").unwrap_or((step, "0"));
        match line.strip_prefix("p:") {
            Some(line) => told.push(format!("{step}: {}", other.ask(line)?)),
            None => {
                client.send(line)?;
                told.push(format!("{step}: {}", client.words()?));
            }
        }
        for _ in 0..more.parse::<usize>()? {
            told.push(client.words().with_context(|| format!("after {step}"))?);
        }
    }
    Ok(told)
}

#[test]
fn what_the_nodes_user_may_not_is_refused_in_the_servers_words() -> Result<()> {
    let server = Standalone::start()?;
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    permit(&cluster.nodes(), NEWS)?;
    for (allowed, story) in STORIES {
        server.query::<()>(cmd("ACL").arg(rules(allowed)))?;
        permit(&cluster.nodes(), allowed)?;
        let proxy = as_app(&cluster)?;
        let (expected, got) =
            (play(story, &server.addr(), true)?, play(story, &proxy.addr(), false)?);
        for (expected, got) in expected.iter().zip(&got) {
            if !expected.starts_with("HELLO") {
                ensure!(expected == got, "expected {expected}\n     got {got}\n{}", proxy.log());
            }
        }
    }
    Ok(())
}

/// A server closes the connections of those whose permission it takes away. Behind slotway a
/// client stays, and hears again when it may.
#[test]
fn a_permission_that_is_taken_away_is_a_gap() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    permit(&cluster.nodes(), &["resetchannels", "&a", "&b"])?;
    let proxy = as_app(&cluster)?;
    let connect = || Client::connect(&proxy.addr());
    let (mut hit, mut spared, mut publisher) = (connect()?, connect()?, connect()?);
    ensure!(hit.ask("SUBSCRIBE a")? == "subscribe a :1");
    ensure!(spared.ask("SUBSCRIBE b")? == "subscribe b :1");

    permit(&cluster.nodes(), &["resetchannels", "&b"])?;
    let gaps = || metric(&proxy, "slotway_pubsub_gaps_total");
    wait_until("the gap", DEADLINE, || gaps().is_ok_and(|gaps| gaps > 0))?;
    wait_until("the log", DEADLINE, || proxy.log().contains("a node refuses a subscription"))?;
    let refused = connect()?.ask("SUBSCRIBE a")?;
    ensure!(refused.starts_with("-NOPERM"), "{refused}");
    // Who was subscribed has not asked again, so that nothing is said to it.
    ensure!(hit.ask("PING")? == "pong ");
    wait_until("b to be heard", DEADLINE, || {
        publisher.ask("PUBLISH b m").is_ok_and(|count| count == ":1")
    })?;
    ensure!(spared.words()? == "message b m");

    permit(&cluster.nodes(), &["resetchannels", "&a", "&b"])?;
    wait_until("a to be heard", DEADLINE, || {
        publisher.ask("PUBLISH a m").is_ok_and(|count| count == ":1")
    })?;
    ensure!(hit.words()? == "message a m");
    Ok(())
}
