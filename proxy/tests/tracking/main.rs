//! CLIENT TRACKING against real servers: the words of one server, messages from every shard, and
//! caches that are never stale, whatever happens to the nodes.

mod model;
mod stale;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use model::{Line, invalid};
use redis::cmd;
use testbed::{Cluster, Proxy};

fn proxy(cluster: &Cluster) -> Result<Proxy> {
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway"));
    proxy.workers(2).start()
}

/// Waits until a message says that this key is no longer good.
fn told(line: &mut Line, key: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let message = match line.pushes.pop_front() {
            Some(message) => Some(message),
            None => line.next(end.saturating_duration_since(Instant::now()))?,
        };
        let message = message.with_context(|| format!("nothing was told of {key}"))?;
        if invalid(&message)?.is_none_or(|keys| keys.iter().any(|other| other == key)) {
            return Ok(());
        }
    }
}

#[test]
fn every_word_about_tracking_is_a_servers() -> Result<()> {
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let proxy = proxy(&cluster)?;
    let node = cluster.shard(0).primary()?.addr();
    let stories: &[&[&str]] = &[
        &["ON", "ON OPTIN", "?", "=", "YES", "NO", "?", "YES", "?", "!", "?", "ON OPTOUT", "ON"],
        &["ON", "?", "ON BCAST", "OFF", "?", "=", "YES", "NO", "maybe"],
        &["ON OPTOUT", "YES", "NO", "?", "maybe", "ON OPTIN", "ON OPTIN OPTOUT", "ON", "ON OPTIN"],
        &["ON BCAST", "ON", "ON BCAST PREFIX a", "?", "ON BCAST NOLOOP", "?", "YES"],
        &["ON BCAST OPTIN", "ON OPTOUT BCAST", "ON BCAST OPTIN OPTOUT", "?"],
        &["ON BCAST PREFIX foo PREFIX bar", "ON BCAST PREFIX fo", "ON BCAST PREFIX food", "?"],
        &[
            "ON BCAST PREFIX b PREFIX a",
            "ON BCAST PREFIX zap",
            "ON BCAST",
            "?",
            "ON BCAST PREFIX x",
        ],
        &["ON BCAST PREFIX b PREFIX bc", "ON BCAST PREFIX a PREFIX b PREFIX a", "?"],
        &["ON PREFIX a", "ON BCAST PREFIX", "OFF PREFIX a", "OFF OPTIN OPTOUT", "OFF BCAST", "?"],
        &["ON REDIRECT", "ON REDIRECT x", "ON REDIRECT 99999", "ON REDIRECT 0", "ON REDIRECT -1"],
        &["ON REDIRECT 99999 nonsense", "ON nonsense REDIRECT 99999", "OFF REDIRECT 99999", "="],
        &["ON nonsense", "nonsense", "OFF nonsense", "", "ON NOLOOP", "?", "ON", "?"],
        &["ON NOLOOP OPTIN", "YES", "?", "GET k", "?", "RESET", "?", "="],
    ];
    for protocol in ["HELLO 2", "HELLO 3"] {
        for story in stories {
            let (mut there, mut here) = (Line::connect(&node)?, Line::connect(&proxy.addr())?);
            there.ask(protocol)?;
            here.ask(protocol)?;
            for word in *story {
                let line = match *word {
                    "?" => "CLIENT TRACKINGINFO".to_owned(),
                    "=" => "CLIENT GETREDIR".to_owned(),
                    "!" => "PING".to_owned(),
                    "YES" | "NO" | "maybe" => format!("CLIENT CACHING {word}"),
                    "GET k" | "RESET" => (*word).to_owned(),
                    "" => "CLIENT TRACKING".to_owned(),
                    words => format!("CLIENT TRACKING {words}"),
                };
                let (there, here) = (there.ask(&line)?, here.ask(&line)?);
                ensure!(there == here, "{protocol}, {story:?}: {line}: {here}, a server: {there}");
            }
        }
    }
    Ok(())
}

#[test]
fn whatever_changes_a_key_is_told_from_every_shard() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = proxy(&cluster)?;
    let mut writer = Line::connect(&proxy.addr())?;
    for tracking in ["ON", "ON OPTOUT", "ON BCAST"] {
        let mut reader = Line::connect(&proxy.addr())?;
        reader.ask("HELLO 3")?;
        ensure!(reader.ask(&format!("CLIENT TRACKING {tracking}"))? == "+OK\r\n");
        for shard in 0..3 {
            let key = cluster.shard(shard).key("tracked")?;
            for change in ["SET {} v", "APPEND {} v", "PEXPIRE {} 1", "SET {} v", "DEL {}"] {
                reader.ask(&format!("GET {key}"))?;
                writer.ask(&change.replace("{}", &key))?;
                told(&mut reader, &key).with_context(|| format!("{tracking}: {change}"))?;
            }
            // Past slotway, as another application would.
            reader.ask(&format!("STRLEN {key}"))?;
            cluster.shard(shard).primary()?.query::<()>(cmd("SET").arg(&key).arg("past"))?;
            told(&mut reader, &key)?;
            reader.ask(&format!("GET {key}"))?;
            writer.ask("FLUSHALL")?;
            told(&mut reader, &key)?;
            reader.pushes.clear();
        }
    }
    Ok(())
}

#[test]
fn what_a_client_writes_itself_is_told_right_behind_the_reply() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = proxy(&cluster)?;
    for tracking in ["ON", "ON BCAST"] {
        let mut client = Line::connect(&proxy.addr())?;
        client.ask("HELLO 3")?;
        client.ask(&format!("CLIENT TRACKING {tracking}"))?;
        for n in 0..200 {
            client.ask(&format!("GET key{n}"))?;
            client.send(&format!("SET key{n} v"))?;
            let mut next = || client.next(Duration::from_secs(5))?.context("nothing comes");
            let mut reply = next()?;
            while reply.starts_with(b">") {
                reply = next()?; // of the key before
            }
            ensure!(reply == b"+OK\r\n", "{}", reply.escape_ascii());
            let push = next()?;
            ensure!(invalid(&push)? == Some(vec![format!("key{n}")]), "{}", push.escape_ascii());
        }
    }
    Ok(())
}

/// Two workers: the target is of the same one or of the other.
#[test]
fn another_connection_is_told_wherever_it_is_and_missed_when_it_has_gone() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = proxy(&cluster)?;
    let mut writer = Line::connect(&proxy.addr())?;
    let mut targets = Vec::new();
    for _ in 0..4 {
        let mut target = Line::connect(&proxy.addr())?;
        target.ask("HELLO 3")?;
        targets.push(target);
    }
    let mut reader = Line::connect(&proxy.addr())?;
    reader.ask("HELLO 3")?;
    for target in &mut targets {
        let id = target.ask("CLIENT ID")?.trim_start_matches(':').trim_end().to_owned();
        ensure!(reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}"))? == "+OK\r\n");
        for shard in 0..3 {
            let key = cluster.shard(shard).key("k")?;
            reader.ask(&format!("GET {key}"))?;
            writer.ask(&format!("SET {key} v"))?;
            told(target, &key)?;
        }
        ensure!(reader.next(Duration::ZERO)?.is_none() && reader.pushes.is_empty());
    }
    let list = reader.ask("CLIENT LIST")?;
    ensure!(list.contains(" flags=t ") && !list.contains(" redir=0 "), "{list}");
    drop(targets);
    let end = Instant::now() + Duration::from_secs(10);
    let broken = loop {
        reader.ask("GET k")?;
        writer.ask("SET k v")?;
        if let Some(push) = reader.next(Duration::from_millis(100))? {
            break push;
        }
        ensure!(Instant::now() < end, "nobody says that the target has gone");
    };
    ensure!(broken.starts_with(b">2\r\n$21\r\ntracking-redir-broken\r\n:"));
    ensure!(reader.ask("CLIENT TRACKINGINFO")?.contains("broken_redirect"));
    Ok(())
}
