//! What other proxies were measured to get wrong when nodes fail, each sentence of it a test. Those
//! that are proved elsewhere are listed in `tests/faults`.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, FailoverKind, Link, wait_until};

use crate::stage::{DEADLINE, metric, shared, slotway};
use crate::wire::{Client, Reply, request, write};

/// Nobody is elected while a test lasts.
const NO_ELECTION: Duration = Duration::from_secs(60);

/// "Requests left queued at a frozen primary, executed and acknowledged after it was replaced
/// (hundreds of acknowledged writes lost)."
#[test]
fn what_a_frozen_primary_holds_is_not_acknowledged_once_it_was_replaced() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(NO_ELECTION).start()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let shard = cluster.shard(1);
    let (old, heir) = (shard.primary()?, shard.replica()?);
    let key = shard.key("frozen")?;
    let lists: Vec<String> = (0..10).map(|n| format!("{key}:{n}")).collect();
    let pushes = |list, from| -> Vec<_> {
        (from..from + 30).map(|n: u32| request(&["RPUSH", list, &n.to_string()])).collect()
    };
    let mut clients = lists.iter().map(|_| Client::connect(&proxy.addr()));
    let mut clients = clients.by_ref().collect::<Result<Vec<_>>>()?;
    ensure!(clients[0].ask(&["GET", &key])? == Reply::Nil, "the connection is there");
    cluster.freeze(&old)?;
    for (client, list) in clients.iter_mut().zip(&lists) {
        pushes(list, 0).iter().try_for_each(|push| client.send(push))?;
    }
    wait_until("slotway to suspect it", DEADLINE, || {
        metric(&proxy, "slotway_suspects_total").is_ok_and(|suspects| suspects > 0)
    })?;
    for (client, list) in clients.iter_mut().zip(&lists) {
        pushes(list, 30).iter().try_for_each(|push| client.send(push))?;
    }
    cluster.failover(&heir, FailoverKind::Takeover)?;
    // It goes on at once with what its sockets hold, and takes itself for the primary still.
    cluster.thaw(&old)?;
    let mut told = Vec::new();
    for client in &mut clients {
        told.push((0..60).map(|_| client.read()).collect::<Result<Vec<_>>>()?);
    }
    for ((client, list), told) in clients.iter_mut().zip(&lists).zip(told) {
        let Reply::Array(held) = client.ask(&["LRANGE", list, "0", "-1"])? else {
            anyhow::bail!("{list} is no list")
        };
        let acked: Vec<Reply> = told
            .iter()
            .enumerate()
            .filter(|(_, reply)| matches!(reply, Reply::Integer(_)))
            .map(|(n, _)| Reply::bulk(n.to_string()))
            .collect();
        ensure!(acked == held, "{list}: acknowledged {acked:?}, there are {held:?}");
        ensure!(acked.len() >= 30, "{list}: what was sent later is served by the new primary");
        let mut errors = told.iter().filter_map(Reply::error);
        ensure!(errors.all(|text| text.starts_with("UNKNOWNRESULT ")), "{told:?}");
    }
    Ok(())
}

/// "Pipelined writes of one connection executed out of order after a network cut." The network
/// keeps the first ones back and brings them when later ones were answered.
#[test]
fn what_a_cut_network_brings_late_is_not_executed_behind_later_writes() -> Result<()> {
    let cluster = shared()?;
    let links = Link::to_all(&cluster)?;
    let proxy = slotway(cluster.seeds()).args(["--address-map", &Link::map(&links)]).start()?;
    let (primary, key) = (cluster.shard(1).primary()?, cluster.shard(1).key("late")?);
    let link = links.iter().find(|link| link.leads_to(&primary.addr())).context("a link")?;
    let mut client = Client::connect(&proxy.addr())?;
    let mut direct = Client::connect(&primary.addr())?;
    ensure!(client.ask(&["DEL", &key])?.error().is_none());
    for round in 0..5 {
        let element = |n| format!("{round}.{n}");
        link.cut();
        // At once, so that they are handed over together: what is not may be sent again.
        let mut all = Vec::new();
        (0..3).for_each(|n| write(&["RPUSH", &*key, &*element(n)], &mut all));
        client.stream()?.write_all(&all)?;
        wait_until("them to be on their way", DEADLINE, || link.held() >= all.len())?;
        link.strand();
        for n in 0..3 {
            let reply = client.read()?;
            let unknown = reply.error().is_some_and(|text| text.starts_with("UNKNOWNRESULT "));
            ensure!(unknown, "{n}: {reply:?}");
        }
        ensure!(client.ask(&["RPUSH", &key, &element(9)])? == Reply::Integer(round + 1));
        link.deliver();
        wait_until("them to arrive", DEADLINE, || link.held() == 0)?;
        // What has arrived before is executed before this.
        ensure!(direct.ask(&["PING"])? == direct.ask(&["PING"])?);
    }
    let all: Vec<Reply> = (0..5).map(|round| Reply::bulk(format!("{round}.9"))).collect();
    let held = direct.ask(&["LRANGE", &key, "0", "-1"])?;
    ensure!(held == Reply::Array(all), "{held:?}");
    Ok(())
}

/// "Never recovering … after a shard was stuck for 10 s": here it is stuck for longer than anything
/// waits. (12 s of it, with the default deadline, are a fault in `tests/faults`.)
#[test]
fn a_shard_that_was_stuck_beyond_every_deadline_serves_its_old_clients_again() -> Result<()> {
    let cluster = Cluster::builder()
        .primaries(3)
        .replicas(0)
        .node_timeout(NO_ELECTION)
        .full_coverage(false)
        .start()?;
    let proxy = slotway(cluster.seeds()).args(["--mask-deadline", "1s"]).start()?;
    let shard = cluster.shard(1);
    let (stuck, key) = (shard.primary()?, shard.key("stuck")?);
    let mut clients = (0..4).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        ensure!(client.ask(&["SADD", &key, "0"])?.error().is_none());
    }
    cluster.freeze(&stuck)?;
    for _ in 0..3 {
        for client in &mut clients {
            client.send(&["SADD", &key, "0"])?;
        }
        for client in &mut clients {
            let reply = client.read()?;
            let text =
                reply.error().with_context(|| format!("a frozen node answered {reply:?}"))?;
            let honest = ["CLUSTERDOWN not executed: ", "UNKNOWNRESULT "];
            ensure!(honest.iter().any(|start| text.starts_with(start)), "{text}");
        }
    }
    cluster.thaw(&stuck)?;
    wait_until("the first success", Duration::from_secs(5), || {
        clients[0].ask(&["SADD", &key, "0"]).is_ok_and(|reply| reply == Reply::Integer(0))
    })?;
    for client in &mut clients {
        for _ in 0..20 {
            let reply = client.ask(&["SADD", &key, "0"])?;
            ensure!(reply == Reply::Integer(0), "{reply:?}");
        }
    }
    Ok(())
}

/// "A crash when two primaries die at once or all nodes restart."
#[test]
fn two_primaries_that_die_at_once_and_a_restart_of_all_nodes_are_survived() -> Result<()> {
    let cluster = Cluster::builder()
        .primaries(3)
        .replicas(0)
        .node_timeout(Duration::from_secs(1))
        .full_coverage(false)
        .config("appendonly", "yes")
        .config("appendfsync", "no")
        .start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let keys = (0..3).map(|n| cluster.shard(n).key("counted")).collect::<Result<Vec<_>>>()?;
    let nodes = cluster.nodes();
    let mut clients = (0..6).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    ensure!(clients[0].ask(&["INCR", &keys[0]])? == Reply::Integer(1));
    let mut counted = 1;
    for dying in [&nodes[1..], &nodes[..]] {
        for node in dying {
            cluster.kill(node)?;
        }
        // Nothing is under way: none of this can have been executed by those that died.
        for client in &mut clients {
            for key in &keys {
                client.send(&["INCR", key])?;
            }
        }
        wait_until("clients to wait", DEADLINE, || {
            metric(&proxy, "slotway_parked_requests").is_ok_and(|parked| parked >= 12)
        })?;
        for node in dying {
            cluster.restart(node)?;
        }
        for client in &mut clients {
            for _ in &keys {
                let reply = client.read()?;
                ensure!(reply.error().is_none(), "{reply:?}");
            }
        }
        counted += 6;
        let got = keys.iter().map(|key| clients[0].ask(&["GET", key]));
        let got = got.collect::<Result<Vec<_>>>()?;
        let [first, others] = [counted, counted - 1].map(|n| Reply::bulk(n.to_string()));
        ensure!(got == [first, others.clone(), others], "{got:?}");
    }
    ensure!(proxy.exited().is_none() && metric(&proxy, "slotway_unknown_results_total")? == 0);
    Ok(())
}

/// "Waiting for a cut network to heal although the replica was promoted seconds before."
#[test]
fn a_cut_network_is_not_waited_for_once_the_replica_was_promoted() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(NO_ELECTION).start()?;
    let links = Link::to_all(&cluster)?;
    let map = Link::map(&links);
    let args = ["--address-map", &map, "--refresh-period", "300ms"];
    let proxy = slotway(cluster.seeds()).args(args).start()?;
    let shard = cluster.shard(1);
    let (old, heir) = (shard.primary()?, shard.replica()?);
    let key = shard.key("cut")?;
    let link = links.iter().find(|link| link.leads_to(&old.addr())).context("a link")?;
    let mut clients = (0..3).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    ensure!(clients[0].ask(&["SET", &key, "0"])? == Reply::ok());
    link.cut();
    clients[0].send(&["INCR", &key])?;
    clients[1].send(&["GET", &key])?;
    wait_until("them to be under way", DEADLINE, || link.held() > 0)?;
    cluster.failover(&heir, FailoverKind::Normal)?;
    let promoted = Instant::now();
    wait_until("slotway to hear of it", DEADLINE, || proxy.log().contains("is a primary now"))?;
    // Its log is ahead of its workers; a read is sent again until one knows the new primary.
    ensure!(clients[2].ask(&["GET", &key])? == Reply::bulk("0"));
    clients[2].send(&["INCRBY", &key, "10"])?;
    let (incr, get, later) = (clients[0].read()?, clients[1].read()?, clients[2].read()?);
    let took = promoted.elapsed();
    ensure!(later == Reply::Integer(10), "{later:?}");
    ensure!(get == Reply::bulk("0") || get == Reply::bulk("10"), "{get:?}");
    ensure!(incr.error().is_some_and(|text| text.starts_with("UNKNOWNRESULT ")), "{incr:?}");
    ensure!(took < Duration::from_secs(5), "the network was waited for: {took:?}");
    ensure!(link.held() > 0, "it healed too early");
    Ok(())
}

/// "READONLY reaching a client from EVAL", whichever way its primary is demoted.
#[test]
fn eval_during_a_demotion_never_sees_readonly() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(2)).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let shard = cluster.shard(1);
    let key = shard.key("scripted")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|n| {
                let (proxy, stop, counter) = (&proxy, &stop, format!("{key}:{n}"));
                scope.spawn(move || -> Result<u64> {
                    let mut client = Client::connect(&proxy.addr())?;
                    let script = "redis.call('INCR', KEYS[1]) return redis.call('GET', KEYS[1])";
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let reply = client.ask(&["EVAL", script, "1", &counter])?;
                        ensure!(matches!(reply, Reply::Bulk(_)), "EVAL {count}: {reply:?}");
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        let demoted = || {
            for kind in [FailoverKind::Takeover, FailoverKind::Normal, FailoverKind::Takeover] {
                cluster.failover(&shard.replica()?, kind)?;
                cluster.wait_ok(DEADLINE)?;
            }
            Ok(())
        };
        let demoted = demoted();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let count = client.join().expect("it does not panic")?;
            ensure!(count > 100, "only {count} scripts were run");
        }
        demoted
    })?;
    let moved = metric(&proxy, "slotway_redirects_total{kind=\"moved\"}")?;
    ensure!(moved > 0, "no demoted primary was met");
    Ok(())
}
