//! When masking comes to its end: each bound has its stated answer (failure-masking contract, §6).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use testbed::{Cluster, Proxy, wait_until};

use crate::stage::{DEADLINE, metric, slotway};
use crate::wire::{Client, Reply};

/// A cluster whose first shard has no living node.
struct Away {
    cluster: Cluster,
    /// A key of that shard.
    key: String,
}

impl Away {
    fn start() -> Result<Away> {
        let cluster = Cluster::builder()
            .primaries(3)
            .replicas(0)
            .node_timeout(Duration::from_secs(60))
            .full_coverage(false)
            .start()?;
        let key = cluster.shard(0).key("away")?;
        Ok(Away { cluster, key })
    }

    /// A slotway that knows the whole cluster.
    fn proxy(&self, args: &[&str]) -> Result<Proxy> {
        slotway(self.cluster.seeds()).args(args.iter().copied()).start()
    }

    /// So many clients, each with an INCR that waits.
    fn parked(&self, proxy: &Proxy, count: u64) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let mut client = Client::connect(&proxy.addr())?;
            client.send(&["INCR", &self.key])?;
            clients.push(client);
        }
        wait_until("all to wait", DEADLINE, || parked(proxy).is_ok_and(|parked| parked == count))?;
        Ok(clients)
    }
}

fn parked(proxy: &Proxy) -> Result<u64> {
    metric(proxy, "slotway_parked_requests")
}

/// One death and one return for all: each has a slotway of its own.
#[test]
fn where_masking_ends_clients_are_told_and_nothing_of_it_is_executed() -> Result<()> {
    let away = Away::start()?;
    let full = away.proxy(&["--park-max-requests", "3"])?;
    let late = away.proxy(&["--mask-deadline", "500ms"])?;
    let left = away.proxy(&[])?;
    let [draining, cut_off] =
        [away.proxy(&["--drain-timeout", "1h"])?, away.proxy(&["--drain-timeout", "500ms"])?];
    let first = away.cluster.shard(0).primary()?;
    away.cluster.kill(&first)?;

    let mut waiting = when_the_parking_is_full_the_newest_is_refused(&away, &full)?;
    at_its_deadline_a_request_is_given_up(&away, &late)?;
    clients_that_leave_wait_no_longer(&away, &left)?;
    waiting.extend(a_drain_waits_for_what_is_parked(&away, &draining)?);
    at_the_drain_timeout_what_is_parked_is_cut_off(&away, &cut_off)?;

    away.cluster.restart(&first)?;
    let mut counts = Vec::new();
    for client in &mut waiting {
        counts.push(client.read()?);
    }
    ensure!((1..=waiting.len() as i64).all(|n| counts.contains(&Reply::Integer(n))), "{counts:?}");
    // Whoever was refused, left, or was cut off has not counted.
    let mut client = Client::connect(&full.addr())?;
    ensure!(client.ask(&["INCR", &away.key])? == Reply::Integer(counts.len() as i64 + 1));
    ensure!(draining.wait(DEADLINE)? == 0, "it ends once it has answered");
    Ok(())
}

fn when_the_parking_is_full_the_newest_is_refused(
    away: &Away,
    proxy: &Proxy,
) -> Result<Vec<Client>> {
    let waiting = away.parked(proxy, 3)?;
    let mut newest = Client::connect(&proxy.addr())?;
    let reply = newest.ask(&["INCR", &away.key])?;
    let refused = reply.error().is_some_and(|text| text.starts_with("OVERLOADED not executed: "));
    ensure!(refused, "{reply:?}");
    ensure!(newest.ask(&["SET", &away.cluster.shard(1).key("near")?, "1"])? == Reply::ok());
    Ok(waiting)
}

fn at_its_deadline_a_request_is_given_up(away: &Away, proxy: &Proxy) -> Result<()> {
    let mut client = Client::connect(&proxy.addr())?;
    for request in [["INCR", &away.key], ["GET", &away.key]] {
        let began = Instant::now();
        let reply = client.ask(&request)?;
        let text = reply.error().unwrap_or_default();
        let slot = testbed::key_slot(away.key.as_bytes());
        let whole = text.starts_with("CLUSTERDOWN not executed: ")
            && text.contains(", gave up after 0.5 s")
            && text.ends_with(&format!(" (slot {slot})"));
        ensure!(whole, "{reply:?}");
        ensure!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    }
    Ok(())
}

fn clients_that_leave_wait_no_longer(away: &Away, proxy: &Proxy) -> Result<()> {
    drop(away.parked(proxy, 20)?);
    wait_until("nothing to wait for them", DEADLINE, || {
        let bytes = metric(proxy, "slotway_parked_bytes");
        parked(proxy).is_ok_and(|parked| parked == 0) && bytes.is_ok_and(|bytes| bytes == 0)
    })?;
    ensure!(metric(proxy, "slotway_clients")? == 0);
    Ok(())
}

fn a_drain_waits_for_what_is_parked(away: &Away, proxy: &Proxy) -> Result<Vec<Client>> {
    let waiting = away.parked(proxy, 3)?;
    proxy.signal(Signal::SIGTERM)?;
    wait_until("it to drain", DEADLINE, || {
        metric(proxy, "slotway_draining").is_ok_and(|draining| draining == 1)
    })?;
    ensure!(parked(proxy)? == 3 && proxy.exited().is_none());
    Ok(waiting)
}

fn at_the_drain_timeout_what_is_parked_is_cut_off(away: &Away, proxy: &Proxy) -> Result<()> {
    let waiting = away.parked(proxy, 3)?;
    proxy.signal(Signal::SIGTERM)?;
    ensure!(proxy.wait(DEADLINE)? == 0);
    for mut client in waiting {
        let reply = client.read()?;
        let told = reply.error().is_some_and(|text| {
            text.starts_with("CLUSTERDOWN not executed: slotway ends, gave up after ")
        });
        ensure!(told && client.at_end(), "{reply:?}");
    }
    ensure!(proxy.log().contains("3 clients are cut off"), "{}", proxy.log());
    Ok(())
}

#[test]
#[ignore = "soak: a circuit opens after a whole automatic deadline, 20 s at least"]
fn the_circuit_of_a_shard_opens_after_a_whole_deadline_and_closes_with_a_success() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).full_coverage(false).start()?;
    let key = cluster.shard(0).key("away")?;
    let proxy = slotway(cluster.seeds()).start()?;
    let first = cluster.shard(0).primary()?;
    cluster.kill(&first)?;
    let mut client = Client::connect(&proxy.addr())?;
    let mut told = |after: &str| -> Result<()> {
        let reply = client.ask(&["INCR", &key])?;
        let text = reply.error().unwrap_or_default();
        let given_up = text.starts_with("CLUSTERDOWN not executed: ") && text.contains(after);
        ensure!(given_up, "{after}: {reply:?}");
        Ok(())
    };
    told(", gave up after 20.0 s")?;
    told(", gave up after 1.0 s")?;
    told(", gave up after 1.0 s")?;
    cluster.restart(&first)?;
    wait_until("the first success", DEADLINE, || {
        client.ask(&["INCR", &key]).is_ok_and(|reply| reply == Reply::Integer(1))
    })?;
    // Closed again: a request waits for more than a moment.
    cluster.kill(&first)?;
    let mut peer = proxy.peer()?;
    peer.send_command(&["INCR", &key])?;
    peer.expect_silence(Duration::from_secs(3))
}
