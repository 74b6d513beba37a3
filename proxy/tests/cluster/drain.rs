//! Ending in order: what was promised is answered, nothing new is taken, and it does end.

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use redis::cmd;
use testbed::{Cluster, Proxy, wait_until};

use crate::stage::{DEADLINE, metric, metric_sum, slotway};
use crate::wire::{Client, Reply, Request, request};

/// One cluster for all: the first pauses it.
#[test]
fn sigterm_ends_it_in_order() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    what_is_in_flight_is_answered_and_nothing_new_is_taken(&cluster)?;
    under_load_every_reply_is_whole_and_in_its_place(&cluster)?;
    idle_clients_do_not_hold_it_up(&cluster)?;
    a_stuck_client_holds_it_up_for_the_drain_timeout_and_no_longer(&cluster)?;
    who_still_waits_then_is_told_what_became_of_it(&cluster)
}

fn what_is_in_flight_is_answered_and_nothing_new_is_taken(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    for node in cluster.nodes() {
        node.query::<()>(cmd("CLIENT").arg(&["PAUSE", "60000", "WRITE"]))?;
    }
    let mut clients: Vec<Client> =
        (0..8).map(|_| Client::connect(&proxy.addr())).collect::<Result<_>>()?;
    for (number, client) in clients.iter_mut().enumerate() {
        for time in 0..10 {
            client.send(&["INCR", &format!("drain:{number}:{time}")])?;
        }
        client.send(&["ECHO", "last"])?;
    }
    // All have been read: nothing else was promised.
    let in_flight = "slotway_node_in_flight_requests";
    wait_until("80 requests in flight", DEADLINE, || {
        metric_sum(&proxy, in_flight).is_ok_and(|count| count == 80)
    })?;
    proxy.signal(Signal::SIGTERM)?;
    wait_until("it to say that it drains", DEADLINE, || {
        proxy.http_get("/readyz").is_ok_and(|(status, why)| status == 503 && why == "draining\n")
    })?;
    wait_until("new clients to be refused", DEADLINE, || {
        TcpStream::connect(proxy.addr()).is_err()
    })?;
    ensure!(metric(&proxy, "slotway_draining")? == 1);
    ensure!(proxy.exited().is_none(), "it ended before its clients were answered");
    for node in cluster.nodes() {
        node.query::<()>(cmd("CLIENT").arg("UNPAUSE"))?;
    }
    for client in &mut clients {
        for _ in 0..10 {
            let reply = client.read()?;
            ensure!(reply == Reply::Integer(1), "{reply:?}");
        }
        ensure!(client.read()? == Reply::bulk("last"));
        ensure!(client.at_end(), "more than was promised");
    }
    ends_well(&proxy)
}

fn under_load_every_reply_is_whole_and_in_its_place(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let rounds = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (addr, rounds) = (proxy.addr(), &rounds);
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(&addr)?;
                    for round in 0.. {
                        if !pipeline_until_the_end(&mut client, number, round)? {
                            break;
                        }
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        wait_until("load", DEADLINE, || rounds.load(Ordering::Relaxed) > 200)?;
        proxy.signal(Signal::SIGTERM)?;
        clients.into_iter().try_for_each(|client| client.join().expect("it does not panic"))
    })?;
    ends_well(&proxy)
}

/// True if all was answered; false if the connection ended, which must be between two replies.
fn pipeline_until_the_end(client: &mut Client, number: usize, round: usize) -> Result<bool> {
    let tokens: Vec<String> = (0..20).map(|n| format!("{number}-{round}-{n}")).collect();
    let requests = tokens.iter().enumerate().map(|(n, token)| match n % 2 {
        0 => request(&["SET", &format!("drain:{number}:{n}"), token]),
        _ => request(&["ECHO", token]),
    });
    let requests: Vec<Request> = requests.collect();
    if requests.iter().any(|request| client.send(request).is_err()) {
        return Ok(false);
    }
    for (n, token) in tokens.iter().enumerate() {
        if client.at_end() {
            return Ok(false);
        }
        let (reply, expected) = match n % 2 {
            0 => (client.read()?, Reply::ok()),
            _ => (client.read()?, Reply::bulk(token)),
        };
        ensure!(reply == expected, "{reply:?}, not {expected:?}");
    }
    Ok(true)
}

fn idle_clients_do_not_hold_it_up(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).args(["--drain-timeout", "1h"]).start()?;
    let mut used = Client::connect(&proxy.addr())?;
    ensure!(used.ask(&["SET", "drain:used", "1"])? == Reply::ok());
    let mut fresh = Client::connect(&proxy.addr())?;
    wait_until("both", DEADLINE, || metric(&proxy, "slotway_clients").is_ok_and(|n| n == 2))?;
    proxy.signal(Signal::SIGTERM)?;
    ensure!(used.at_end() && fresh.at_end());
    ends_well(&proxy)
}

fn a_stuck_client_holds_it_up_for_the_drain_timeout_and_no_longer(cluster: &Cluster) -> Result<()> {
    let timeout = Duration::from_millis(800);
    let proxy = slotway(cluster.seeds()).args(["--drain-timeout", "800ms"]).start()?;
    let mut stuck = Client::connect(&proxy.addr())?;
    let value = vec![b'x'; 32 * 1024 * 1024];
    ensure!(stuck.ask(&[b"SET".as_slice(), b"drain:stuck", &value])? == Reply::ok());
    stuck.send(&["GET", "drain:stuck"])?;
    wait_until("its reply to begin", DEADLINE, || {
        metric(&proxy, "slotway_large_replies_total").is_ok_and(|count| count == 1)
    })?;
    let told = Instant::now();
    proxy.signal(Signal::SIGTERM)?;
    ends_well(&proxy)?;
    ensure!(told.elapsed() >= timeout, "cut off after {:?}", told.elapsed());
    ensure!(proxy.log().contains("drain timeout"), "{}", proxy.log());
    Ok(())
}

fn who_still_waits_then_is_told_what_became_of_it(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).args(["--drain-timeout", "300ms"]).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    ensure!(client.ask(&["SET", "drain:waits", "1"])? == Reply::ok());
    let each_node = |command: &[&str]| -> Result<()> {
        for seed in cluster.seeds() {
            ensure!(Client::connect(&seed)?.ask(command)? == Reply::ok());
        }
        Ok(())
    };
    each_node(&["CLIENT", "PAUSE", "60000", "WRITE"])?;
    client.send(&["INCR", "drain:waits"])?;
    wait_until("it to be sent", DEADLINE, || {
        let page = proxy.http_get("/metrics").map(|(_, page)| page).unwrap_or_default();
        let busy = |line: &str| line.starts_with("slotway_node_in_flight") && line.ends_with(" 1");
        page.lines().any(busy)
    })?;
    proxy.signal(Signal::SIGTERM)?;
    let told = client.read();
    each_node(&["CLIENT", "UNPAUSE"])?;
    let told = format!("{:?}", told?);
    ensure!(told.contains("UNKNOWNRESULT sent, reply lost: slotway ends"), "{told}");
    ensure!(client.at_end());
    ends_well(&proxy)
}

fn ends_well(proxy: &Proxy) -> Result<()> {
    let code = proxy.wait(Duration::from_secs(20))?;
    ensure!(code == 0, "exit code {code}");
    Ok(())
}
