//! Large values, and that they are nobody else's burden.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use redis::cmd;
use testbed::{Cluster, Node, key_in_slot, wait_until};

use crate::stage::{DEADLINE, slotway};
use crate::wire::{Client, Reply, request};

const MIB: usize = 1024 * 1024;

/// One cluster for all: the others want nodes that hold large values.
#[test]
fn large_values_pass_whole_beside_small_ones_and_within_the_bound_of_connections() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    large_values_pass_whole(&cluster).context("whole")?;
    connections_stay_within_their_bound(&cluster).context("connections")?;
    a_stuck_reader_holds_up_nobody(&cluster).context("stuck reader")?;
    merged_replies_come_one_behind_the_other(&cluster).context("merged")
}

/// Each is 40 MB, and a client that reads gets three or four that it has asked for at once, as many
/// as that are above `client-output-max`; one of 80 MB alone is above the bound for one.
fn merged_replies_come_one_behind_the_other(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let value = |number: usize| content(number, 1_000_000);
    let keys: Vec<String> = (0..80).map(|number| format!("merged:{number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        let reply = client.ask(&[b"SET", key.as_bytes(), &value(number)])?;
        ensure!(reply == Reply::ok(), "{reply:?}");
    }
    let mget = |keys: &[String]| request(&[&["MGET".to_owned()], keys].concat());
    let expected = Reply::Array((0..40).map(|number| Reply::Bulk(value(number))).collect());
    for (knows, count) in [(false, 4), (true, 3)] {
        let mut client = Client::connect(&proxy.addr())?;
        for _ in 0..if knows { 100 } else { 0 } {
            let reply = client.ask(&["MGET", "none:1", "none:2"])?;
            ensure!(reply == Reply::Array(vec![Reply::Nil, Reply::Nil]), "{reply:?}");
        }
        let requests: Vec<_> = (0..count).map(|_| mget(&keys[..40])).collect();
        for (number, reply) in client.pipeline(&requests)?.into_iter().enumerate() {
            ensure!(reply == expected, "{number} of {count}: {:?}", reply.error());
        }
    }
    let reply = client.ask(&mget(&keys))?;
    let too_large = "OVERLOADED not executed: the replies of its parts come to more than \
                     client-output-max";
    ensure!(reply.error() == Some(too_large), "{:?}", reply.error());
    ensure!(client.ask(&["PING"])? == Reply::Simple("PONG".into()));
    Ok(())
}

fn large_values_pass_whole(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (addr, done) = (proxy.addr(), AtomicBool::new(false));
    let (small_ones, began) = (AtomicUsize::new(4), Instant::now());
    thread::scope(|scope| {
        let (small_ones, began) = (&small_ones, &began);
        let large: Vec<_> = [3, 40, 3, 40, 3, 3]
            .into_iter()
            .enumerate()
            .map(|(number, mib)| {
                let addr = &addr;
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(addr)?;
                    // All in the slots of two nodes, so that they meet.
                    let key = key_in_slot([100, 9000][number % 2], &format!("large:{number}"));
                    let least = if mib == 3 { 8 } else { 2 };
                    for time in 0.. {
                        // And as long as small ones have not shown that they get on beside them.
                        let is_over = began.elapsed() > DEADLINE;
                        if time >= least && (small_ones.load(Ordering::Relaxed) == 0 || is_over) {
                            break;
                        }
                        let value = content(number * 1000 + time, mib * MIB);
                        let reply = client.ask(&[b"SET", key.as_bytes(), &value])?;
                        ensure!(reply == Reply::ok(), "SET of {mib} MiB: {:?}", reply.error());
                        // A small one behind a large one and before the next.
                        client.send(&["STRLEN", &key])?;
                        client.send(&["GET", &key])?;
                        client.send(&["ECHO", &key])?;
                        ensure!(client.read()? == Reply::Integer((mib * MIB) as i64));
                        ensure!(client.read()? == Reply::Bulk(value), "other bytes of {mib} MiB");
                        ensure!(client.read()? == Reply::bulk(&key));
                    }
                    Ok(())
                })
            })
            .collect();
        let small: Vec<_> = (0..4)
            .map(|number| {
                let (addr, done) = (&addr, &done);
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(addr)?;
                    let key = key_in_slot([100, 9000][number % 2], &format!("small:{number}"));
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        count += 1;
                        let reply = client.ask(&["INCR", &key])?;
                        ensure!(reply == Reply::Integer(count), "{reply:?} at {count}");
                        if count == 101 {
                            small_ones.fetch_sub(1, Ordering::Relaxed);
                        }
                    }
                    ensure!(count > 100, "only {count} small ones");
                    Ok(())
                })
            })
            .collect();
        let large: Result<()> = large.into_iter().try_for_each(|t| t.join().expect("no panic"));
        done.store(true, Ordering::Relaxed);
        large.and_then(|()| small.into_iter().try_for_each(|t| t.join().expect("no panic")))
    })
}

/// The proxy has a user of its own, by which a node tells its connections from others.
fn connections_stay_within_their_bound(cluster: &Cluster) -> Result<()> {
    const MAX: usize = 7;
    let mut user = cmd("ACL");
    user.arg(&["SETUSER", "counted", "on", ">pw", "~*", "&*", "+@all"]);
    for node in cluster.nodes() {
        node.query::<()>(&user)?;
    }
    let proxy = slotway(cluster.seeds())
        .workers(2)
        .args(["--node-user", "counted", "--node-connections-max", &MAX.to_string()])
        .env("SLOTWAY_NODE_PASSWORD", "pw")
        .start()?;
    let (running, most) = (AtomicUsize::new(40), AtomicUsize::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..running.load(Ordering::Relaxed))
            .map(|number| {
                let (addr, running) = (proxy.addr(), &running);
                scope.spawn(move || {
                    let result = small_and_large(&addr, number);
                    running.fetch_sub(1, Ordering::Relaxed);
                    result
                })
            })
            .collect();
        let watched = (|| {
            while running.load(Ordering::Relaxed) > 0 {
                for node in cluster.nodes() {
                    let count = connections(&node)?;
                    ensure!(count <= MAX, "{node} has {count} connections of the proxy");
                    most.fetch_max(count, Ordering::Relaxed);
                }
            }
            Ok(())
        })();
        let results = clients.into_iter().map(|client| client.join().expect("it does not panic"));
        results.collect::<Result<()>>().and(watched)
    })?;
    let most = most.into_inner();
    // Two workers have a shared one each, the discovery has one; the rest shows that the bound was
    // put to the test.
    ensure!(most > 4, "there were never more than {most} connections");
    Ok(())
}

fn small_and_large(addr: &str, number: usize) -> Result<()> {
    let mut client = Client::connect(addr)?;
    let key = key_in_slot([100, 9000, 15_000][number % 3], &format!("bound:{number}"));
    for time in 0..3 {
        let value = content(number + time, 3 * MIB / 2);
        let set = client.ask(&[b"SET", key.as_bytes(), &value])?;
        ensure!(set == Reply::ok(), "{:?}", set.error());
        ensure!(client.ask(&["GET", &key])? == Reply::Bulk(value), "other bytes");
        ensure!(client.ask(&["APPEND", &key, "x"])? == Reply::Integer(3 * MIB as i64 / 2 + 1));
    }
    ensure!(client.ask(&["DEL", &key])? == Reply::Integer(1));
    Ok(())
}

fn connections(node: &Node) -> Result<usize> {
    let list: String = node.query(cmd("CLIENT").arg("LIST"))?;
    Ok(list.lines().filter(|line| line.contains(" user=counted ")).count())
}

fn a_stuck_reader_holds_up_nobody(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).start()?;
    let (large, small) = (key_in_slot(100, "stuck:large"), key_in_slot(100, "stuck:small"));
    let value = content(7, 40 * MIB);
    let mut client = Client::connect(&proxy.addr())?;
    ensure!(client.ask(&[b"SET", large.as_bytes(), &value])? == Reply::ok());
    let mut stuck = Client::connect(&proxy.addr())?;
    stuck.send(&["GET", &large])?;
    stuck.send(&["STRLEN", &large])?;
    let begun = "slotway_large_replies_total";
    wait_until("its reply to begin", DEADLINE, || {
        crate::stage::metric(&proxy, begun).is_ok_and(|count| count == 1)
    })?;
    // The same node serves others meanwhile, small ones and large ones.
    for count in 1..=2000 {
        ensure!(client.ask(&["INCR", &small])? == Reply::Integer(count));
    }
    for _ in 0..2 {
        ensure!(client.ask(&["GET", &large])? == Reply::Bulk(value.clone()), "other bytes");
    }
    // It was held, not cut off: now it reads all of it.
    ensure!(stuck.read()? == Reply::Bulk(value), "other bytes");
    ensure!(stuck.read()? == Reply::Integer(40 * MIB as i64));
    Ok(())
}

/// Bytes of any value that differ from place to place and from seed to seed.
fn content(seed: usize, length: usize) -> Vec<u8> {
    let words = (0..length.div_ceil(8) as u64)
        .map(|at| (at ^ ((seed as u64) << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(length);
    bytes
}
