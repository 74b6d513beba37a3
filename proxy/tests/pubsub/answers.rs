//! What subscribers are told is what one server tells, byte for byte.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, Standalone, key_slot};

use crate::client::{Client, slotway};

/// What a client does, a line each; its answers are read as they come. `>N`: that many more
/// values are read. `p:` is said by another client.
const STORIES: &[&[&str]] = &[
    &[
        "SUBSCRIBE a b a|>2",
        "GET x",
        "CLIENT LIST",
        "NOSUCH x",
        "GET",
        "PING",
        "PING hi",
        "PING a b",
        "HELLO 3",
        "PUBLISH a m",
        "SSUBSCRIBE s",
        "PSUBSCRIBE a* q|>1",
        "p:PUBLISH a m|>1",
        "p:SPUBLISH s m",
        "UNSUBSCRIBE a zz b|>2",
        "UNSUBSCRIBE zz",
        "PUNSUBSCRIBE q",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "GET x",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE q r",
        "SUNSUBSCRIBE q",
    ],
    &[
        "HELLO 3",
        "SUBSCRIBE a",
        "GET x",
        "PING",
        "p:PUBLISH a m",
        "UNSUBSCRIBE",
        "UNSUBSCRIBE",
        "PSUBSCRIBE a*",
        "p:PUBLISH ab m",
        "HELLO 2",
        "GET x",
        "PING",
        "RESET",
        "PING",
        "GET x",
        "UNSUBSCRIBE",
    ],
    &[
        "SUBSCRIBE",
        "SSUBSCRIBE",
        "PSUBSCRIBE",
        "PUBLISH a",
        "SPUBLISH a",
        "PUBSUB",
        "PUBSUB NOSUCH",
        "PUBSUB NUMPAT x",
        "PUBSUB CHANNELS a b",
        "PUBSUB NUMSUB",
    ],
    &[
        "HELLO 3",
        "SUBSCRIBE a",
        "PSUBSCRIBE p*",
        "SSUBSCRIBE s",
        "PUBSUB CHANNELS",
        "PUBSUB CHANNELS x*",
        "PUBSUB NUMSUB a zz a",
        "PUBSUB NUMPAT",
        "PUBSUB SHARDCHANNELS",
        "PUBSUB SHARDNUMSUB s a",
        "RESET",
        "PUBSUB CHANNELS",
    ],
    &["SUBSCRIBE a", "QUIT"],
];

fn play(story: &[&str], addr: &str) -> Result<Vec<String>> {
    let (mut client, mut other) = (Client::connect(addr)?, Client::connect(addr)?);
    let mut told = Vec::new();
    for step in story {
        let (line, more) = step.split_once("|>").unwrap_or((step, "0"));
        match line.strip_prefix("p:") {
            Some(line) => {
                let answer = other.ask(line)?;
                told.push(format!("{line}: {answer}"));
            }
            None => client.send(line)?,
        }
        for _ in 0..=more.parse::<usize>()? {
            let value = client.value().with_context(|| format!("after {line}"))?;
            told.push(format!("{line}: {}", value.escape_ascii()));
        }
    }
    Ok(told)
}

#[test]
fn a_subscriber_is_told_what_a_server_tells() -> Result<()> {
    let server = Standalone::start()?;
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    for story in STORIES {
        let (expected, got) = (play(story, &server.addr())?, play(story, &proxy.addr())?);
        for (expected, got) in expected.iter().zip(&got) {
            // Who the server is, and its number of the client, is its own business.
            if !expected.starts_with("HELLO") {
                ensure!(expected == got, "expected {expected}\n     got {got}");
            }
        }
    }
    Ok(())
}

/// `CLIENT REPLY` is about replies: what a subscriber is told it is told all the same.
#[test]
fn a_muted_client_gets_its_messages() -> Result<()> {
    let server = Standalone::start()?;
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).start()?;
    for addr in [server.addr(), proxy.addr()] {
        let (mut client, mut other) = (Client::connect(&addr)?, Client::connect(&addr)?);
        client.send("CLIENT REPLY OFF")?;
        ensure!(client.ask("SUBSCRIBE a")? == "subscribe a :1");
        client.send("PING")?;
        other.ask("PUBLISH a m")?;
        ensure!(client.words()? == "message a m");
        ensure!(client.ask("UNSUBSCRIBE a")? == "unsubscribe a :0");
        ensure!(client.ask("CLIENT REPLY ON")? == "+OK");
        client.send("CLIENT REPLY SKIP")?;
        ensure!(client.ask("SUBSCRIBE a")? == "subscribe a :1");
    }
    Ok(())
}

/// How many receive a message is counted by slotway's own reading of patterns: it must be that of
/// the servers, who deliver.
#[test]
fn as_many_get_a_message_as_publish_says() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = Arc::new(slotway(cluster.seeds()).workers(1).start()?);
    let (mut client, mut publisher) =
        (Client::connect(&proxy.addr())?, Client::connect(&proxy.addr())?);
    let patterns =
        "* a* *a ?a a? [ab]* [^a]* [a-c]x [c-a]x \\* a\\* [ [^ [a [a- a\\ ** *?* *a*b* []a [\\]]*";
    let count = patterns.split(' ').count();
    client.send(&format!("PSUBSCRIBE {patterns}"))?;
    for _ in 0..count {
        client.words()?;
    }
    let mut numbers = 0;
    for channel in ["a", "aa", "ab", "ba", "cx", "a*", "[", "]", "]a", "\\", "a\\", "-", "axxb"] {
        let receivers = publisher.ask(&format!("PUBLISH {channel} m"))?;
        let receivers: usize = receivers.trim_start_matches(':').parse()?;
        // Patterns are at other nodes than the channel: the answer to a PING follows them all
        // only if it is asked for once they have come.
        for n in 0..receivers {
            let message = client.words()?;
            ensure!(message.ends_with(&format!(" {channel} m")), "{channel} {n}: {message}");
        }
        numbers += receivers;
    }
    ensure!(client.ask("PING")? == "pong ", "more came than were counted");
    ensure!(numbers > 50, "{numbers}");
    ensure!(key_slot("a") != key_slot("b"));
    Ok(())
}

#[test]
fn one_publisher_is_heard_in_its_order() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (mut client, mut publisher) =
        (Client::connect(&proxy.addr())?, Client::connect(&proxy.addr())?);
    client.ask("SUBSCRIBE c")?;
    for n in 0..5000 {
        publisher.send(&format!("PUBLISH c {n}"))?;
    }
    for n in 0..5000 {
        ensure!(publisher.words()? == ":1");
        ensure!(client.words()? == format!("message c {n}"));
    }
    Ok(())
}

/// As at a server: the message and 1, in either order. The UNSUBSCRIBE does not overtake them.
#[test]
fn who_unsubscribes_behind_its_own_message_gets_it() -> Result<()> {
    let server = Standalone::start()?;
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    for (addr, rounds) in [(server.addr(), 1), (proxy.addr(), 100)] {
        let mut client = Client::connect(&addr)?;
        client.send("HELLO 3")?;
        client.value()?;
        for round in 0..rounds {
            for words in [
                "SUBSCRIBE PUBLISH message UNSUBSCRIBE",
                "SSUBSCRIBE SPUBLISH smessage SUNSUBSCRIBE",
            ] {
                let words: Vec<&str> = words.split(' ').collect();
                let [begin, publish, message, end] = words[..] else { unreachable!("four") };
                let mut all = Vec::new();
                for line in [format!("{begin} c"), format!("{publish} c x"), end.to_owned()] {
                    let line: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
                    slotway::resp::write::command(&mut all, &line);
                }
                client.peer.send(&all)?;
                let mut told = [client.words()?, client.words()?, client.words()?, client.words()?];
                told[1..3].sort();
                let [begin, end] = [begin, end].map(str::to_lowercase);
                let expected = [
                    format!("{begin} c :1"),
                    ":1".into(),
                    format!("{message} c x"),
                    format!("{end} c :0"),
                ];
                ensure!(told == expected, "{addr}, round {round}: {told:?}");
            }
        }
    }
    Ok(())
}
