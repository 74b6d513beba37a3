//! PROXY EVENTS and the metrics tell the story of a failover.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use testbed::{Cluster, Proxy, wait_until};

use crate::stage::{DEADLINE, slotway};
use crate::wire::{Client, Reply};

/// The lines of an array of bulk strings.
fn lines(reply: Reply) -> Result<Vec<String>> {
    let Reply::Array(lines) = reply else { bail!("no array: {reply:?}") };
    let text = |line| match line {
        Reply::Bulk(text) => Ok(String::from_utf8(text)?),
        other => bail!("no text: {other:?}"),
    };
    lines.into_iter().map(text).collect()
}

/// The place of the first line with all of these parts, and its time.
fn find(lines: &[String], parts: &[&str]) -> Result<(usize, SystemTime)> {
    let found = lines.iter().position(|line| parts.iter().all(|part| line.contains(part)));
    let at = found.with_context(|| format!("no {parts:?} in {lines:#?}"))?;
    let time = lines[at].split(' ').next().unwrap_or_default();
    Ok((at, humantime::parse_rfc3339(time)?))
}

/// The sum of the series that begin so.
fn number(proxy: &Proxy, series: &str) -> Result<f64> {
    let (_, page) = proxy.http_get("/metrics")?;
    let lines = page.lines().filter(|line| line.starts_with(series));
    lines.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
}

#[test]
fn a_failover_is_told_in_order_with_its_times() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(2)).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let shard = cluster.shard(1);
    let (killed, heir) = (shard.primary()?, shard.replica()?);
    let key = shard.key("told")?;
    // One for each worker, so that each tells the same.
    let mut clients = (0..2).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        ensure!(client.ask(&["INCR", &key])?.error().is_none());
    }
    let before = SystemTime::now();
    cluster.kill(&killed)?;
    for client in &mut clients {
        client.send(&["INCR", &key])?;
    }
    wait_until("the age of the oldest request to be shown", DEADLINE, || {
        number(&proxy, "slotway_parked_oldest_seconds ").is_ok_and(|age| age > 0.0)
    })?;
    for client in &mut clients {
        let reply = client.read()?;
        ensure!(matches!(reply, Reply::Integer(_)), "{reply:?}");
    }
    let mut operator = Client::connect(&proxy.addr())?;
    let done = "nobody waits for ";
    wait_until("the last of it to be told", DEADLINE, || {
        operator.ask(&["PROXY", "EVENTS"]).and_then(lines).is_ok_and(|lines| {
            lines.iter().any(|line| line.contains(done) && line.contains("2 requests did"))
        })
    })?;
    let told = lines(operator.ask(&["PROXY", "EVENTS", "1000"])?)?;
    let (killed, heir) = (killed.addr(), heir.addr());
    let lost = find(&told, &[&format!("connection to {killed} lost")])?;
    let parked = find(&told, &[&format!("requests wait for {killed}: its node")])?;
    let failover =
        find(&told, &["failover of slots ", &format!("from {killed} to {heir} (config")])?;
    let success = format!("first success for the slots of {killed} ");
    let success = find(&told, &[&success, " after its loss, from", &heir])?;
    ensure!(lost.0 < parked.0 && parked.0 < failover.0 && failover.0 < success.0, "{told:#?}");
    // The replica stands for election when it has missed its primary for the node timeout.
    let away = success.1.duration_since(lost.1)?;
    ensure!((Duration::from_secs(1)..DEADLINE).contains(&away), "{away:?}: {told:#?}");
    ensure!(failover.1.duration_since(lost.1)? > Duration::from_secs(1), "{told:#?}");
    ensure!(lost.1 + Duration::from_millis(1) >= before && success.1 <= SystemTime::now());
    let once = told.iter().filter(|line| line.contains(&format!("connection to {killed} lost")));
    ensure!(once.count() == 1, "told by two workers and once: {told:#?}");
    let last = lines(operator.ask(&["PROXY", "EVENTS", "1"])?)?;
    ensure!(last[..] == told[told.len() - 1..], "{last:?}");

    // The metrics agree.
    let node = format!("{{node=\"{heir}\"}}");
    let name = "slotway_node_recovery_duration_seconds";
    let count = number(&proxy, &format!("{name}_count{node}"))?;
    let sum = number(&proxy, &format!("{name}_sum{node}"))?;
    ensure!(count == 2.0, "{count} workers saw it");
    ensure!((sum / count - away.as_secs_f64()).abs() < 1.0, "{sum} s in {count}, {away:?}");
    wait_until("nobody to be waiting", DEADLINE, || {
        number(&proxy, "slotway_parked_oldest_seconds ").is_ok_and(|age| age == 0.0)
    })?;
    ensure!(number(&proxy, "slotway_node_circuits_open")? == 0.0);

    // So does the admin port.
    let (status, page) = proxy.http_get("/events")?;
    let page: Vec<serde_json::Value> = serde_json::from_str(&page)?;
    let line = |event: &serde_json::Value| {
        format!("{} {}", event["at"].as_str().unwrap_or(""), event["text"].as_str().unwrap_or(""))
    };
    ensure!(status == 200 && page.iter().map(line).any(|line| line == told[failover.0]));
    Ok(())
}

#[test]
fn slots_that_move_are_told_as_numbers() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    let slots: Vec<u16> = cluster.shard(0).slots()?[..3].to_vec();
    let keys: Vec<String> = slots.iter().map(|&slot| testbed::key_in_slot(slot, "moved")).collect();
    cluster.move_slots(slots, &from, &to)?;
    let mut client = Client::connect(&proxy.addr())?;
    for key in &keys {
        ensure!(client.ask(&["SET", key, "x"])? == Reply::ok());
    }
    let moved = format!("slots moved from {} to {}", from.addr(), to.addr());
    wait_until("the move to be told", DEADLINE, || {
        let told = client.ask(&["PROXY", "EVENTS", "-1"]).and_then(lines);
        told.is_ok_and(|told| told.iter().any(|line| line.contains(&moved)))
    })?;
    let topology = lines(client.ask(&["PROXY", "TOPOLOGY"])?)?;
    ensure!(topology.iter().any(|line| line.contains(&format!("primary {} (", to.addr()))));
    let explained = lines(client.ask(&["PROXY", "EXPLAIN", "GET", &keys[0]])?)?;
    let node = format!("node: {}, by the map; it would be sent at once", to.addr());
    ensure!(explained.contains(&node), "{explained:#?}");
    Ok(())
}
