//! Requests of several parts, over slots and over shards, while real servers fail and slots move.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use testbed::audit::{Conn, Reply};
use testbed::{Cluster, FailoverKind, Proxy, ProxyBuilder, key_in_slot, redis, wait_for};

/// Longer than anything here takes, short of a hang.
const DEADLINE: Duration = Duration::from_secs(60);

/// A slot of each of three shards.
const SLOTS: [u16; 3] = [100, 8000, 16000];

fn slotway(cluster: &Cluster) -> ProxyBuilder {
    Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway"))
}

/// A key in each of [`SLOTS`].
fn keys(name: &str) -> [String; 3] {
    SLOTS.map(|slot| key_in_slot(slot, name))
}

/// MSET of the same value, and MGET: the keys with the command before them.
fn mset<'a>(keys: &'a [String], value: &'a str) -> Vec<&'a str> {
    ["MSET"].into_iter().chain(keys.iter().flat_map(|key| [key.as_str(), value])).collect()
}

fn with<'a>(command: &'a str, keys: &'a [String]) -> Vec<&'a str> {
    [command].into_iter().chain(keys.iter().map(String::as_str)).collect()
}

fn bulks(value: &str, count: usize) -> Reply {
    Reply::Array(vec![Reply::Bulk(value.to_owned()); count])
}

#[test]
fn a_dead_shard_is_waited_for_and_what_is_not_done_of_a_split_write_is_told() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).full_coverage(false).start()?;
    let proxy = slotway(&cluster).args(["--mask-deadline", "2s"]).start()?;
    let mut client = Conn::connect(&proxy.addr(), DEADLINE)?;
    let all = keys("x");
    ensure!(client.ask(&mset(&all, "1"), DEADLINE)?.is_ok());

    // A part whose reply is lost: the node is busy, has the request, and dies.
    let node = cluster.shard(1).primary()?;
    let mut busy = Conn::connect(&node.addr(), DEADLINE)?;
    busy.send(&testbed::audit::request(&["DEBUG", "SLEEP", "60"]))?;
    wait_for("the node to be busy", DEADLINE, || {
        let reply =
            Conn::connect(&node.addr(), DEADLINE)?.ask(&["PING"], Duration::from_millis(200));
        ensure!(reply.is_err(), "it answers");
        Ok(())
    })?;
    thread::scope(|scope| -> Result<()> {
        let asked = scope.spawn(|| client.ask(&with("DEL", &all), DEADLINE));
        wait_for("the other shards to have done their part", DEADLINE, || {
            let left = [0, 2].map(|number| -> Result<i64> {
                let there = cluster.shard(number).primary()?;
                there.query(redis::cmd("EXISTS").arg(&all[number]))
            });
            for left in left {
                ensure!(left? == 0, "not deleted");
            }
            Ok(())
        })?;
        cluster.kill(&node)?;
        let reply = asked.join().expect("it does not panic")?;
        let expected = "UNKNOWNRESULT partly executed: 2 of 3 slots applied, slots 8000 unknown: \
                        UNKNOWNRESULT sent, reply lost: the node's connection was lost (slot 8000)";
        ensure!(reply.error().is_some_and(|text| text.starts_with(expected)), "{reply:?}");
        Ok(())
    })?;

    // One that could not be sent within the deadline.
    for (words, done) in [(mset(&all, "2"), true), (with("DEL", &all), true)] {
        let began = Instant::now();
        let reply = client.ask(&words, DEADLINE)?;
        let text = reply.error().context("no error")?;
        let begin =
            "UNKNOWNRESULT partly executed: 2 of 3 slots applied, slots 8000 not executed: ";
        ensure!(text.starts_with(begin) && done, "{words:?}: {text}");
        ensure!(text.contains(", gave up after 2.") && text.ends_with("(slot 8000)"), "{text}");
        ensure!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
    // A read has no parts: it is whole or not, and there is no nil for what is away.
    for words in [with("MGET", &all), with("EXISTS", &all), vec!["DBSIZE"], vec!["KEYS", "*"]] {
        let reply = client.ask(&words, DEADLINE)?;
        let text = reply.error().with_context(|| format!("{words:?}: {reply:?}"))?;
        ensure!(text.starts_with("CLUSTERDOWN not executed: "), "{words:?}: {text}");
    }
    // Nobody else waits.
    let rest = [all[0].clone(), all[2].clone()];
    ensure!(client.ask(&mset(&rest, "3"), DEADLINE)?.is_ok());
    ensure!(client.ask(&with("MGET", &rest), DEADLINE)? == bulks("3", 2));
    // It comes back, empty, while a read waits for it.
    thread::scope(|scope| -> Result<()> {
        let mut patient = slotway(&cluster).start().and_then(|patient| {
            let conn = Conn::connect(&patient.addr(), DEADLINE)?;
            Ok((patient, conn))
        })?;
        let asked = scope.spawn(move || patient.1.ask(&with("MGET", &keys("x")), DEADLINE));
        cluster.restart(&node)?;
        let reply = asked.join().expect("it does not panic")?;
        let bulk = || Reply::Bulk("3".to_owned());
        ensure!(reply == Reply::Array(vec![bulk(), Reply::Nil, bulk()]), "{reply:?}");
        Ok(())
    })
}

/// One cluster for all that leaves it as it was.
#[test]
fn splits_and_fan_outs_are_right_while_primaries_change_and_slots_move() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
    let proxy = slotway(&cluster).start()?;
    while_primaries_change(&cluster, &proxy).context("while primaries change")?;
    while_slots_move(&cluster, &proxy).context("while slots move")?;
    a_killed_primary_is_waited_for(&cluster, &proxy).context("a killed primary")
}

fn while_primaries_change(cluster: &Cluster, proxy: &Proxy) -> Result<()> {
    let addr = proxy.addr();
    let mut client = Conn::connect(&addr, DEADLINE)?;
    let fixed = keys("fixed");
    ensure!(client.ask(&mset(&fixed, "f"), DEADLINE)?.is_ok());
    at_work(
        |number| {
            let mut client = Conn::connect(&addr, DEADLINE)?;
            let own = keys(&format!("own{number}"));
            Ok(move |round: usize| -> Result<()> {
                let value = round.to_string();
                ensure!(client.ask(&mset(&own, &value), DEADLINE)?.is_ok());
                ensure!(client.ask(&with("MGET", &own), DEADLINE)? == bulks(&value, 3));
                ensure!(client.ask(&with("EXISTS", &own), DEADLINE)? == Reply::Int(3));
                ensure!(client.ask(&with("UNLINK", &own), DEADLINE)? == Reply::Int(3));
                ensure!(matches!(client.ask(&["DBSIZE"], DEADLINE)?, Reply::Int(3..)));
                // Every shard has the script when its loading was answered.
                let script = format!("return {number} * 1000000 + {round}");
                let sha = client.ask(&["SCRIPT", "LOAD", &script], DEADLINE)?;
                let sha = sha.bulk().with_context(|| format!("{sha:?}"))?;
                for key in &own {
                    let reply = client.ask(&["EVALSHA", sha, "1", key], DEADLINE)?;
                    let lost = reply.error().is_some_and(|text| text.starts_with("NOSCRIPT"));
                    ensure!(lost || reply == Reply::Int((number * 1_000_000 + round) as i64));
                }
                Ok(())
            })
        },
        || {
            for number in 0..3 {
                let replica = cluster.shard(number).replica()?;
                cluster.failover(&replica, FailoverKind::Normal)?;
                cluster.wait_ok(DEADLINE)?;
            }
            Ok(())
        },
    )?;
    ensure!(client.ask(&["DBSIZE"], DEADLINE)? == Reply::Int(3));
    // Nothing outlives a FLUSHALL that was asked for in the middle of a failover.
    let replica = cluster.shard(0).replica()?;
    thread::scope(|scope| -> Result<()> {
        let failover = scope.spawn(|| cluster.failover(&replica, FailoverKind::Normal));
        ensure!(client.ask(&["FLUSHALL"], DEADLINE)?.is_ok());
        failover.join().expect("it does not panic")
    })?;
    cluster.wait_ok(DEADLINE)?;
    ensure!(client.ask(&["DBSIZE"], DEADLINE)? == Reply::Int(0));
    Ok(())
}

fn while_slots_move(cluster: &Cluster, proxy: &Proxy) -> Result<()> {
    let addr = proxy.addr();
    let moving: Vec<u16> = cluster.shard(0).slots()?[..60].to_vec();
    at_work(
        |number| {
            let mut client = Conn::connect(&addr, DEADLINE)?;
            // Two keys in each of twenty slots that move, and one that stays in each shard.
            let slots = moving.iter().step_by(3).flat_map(|&slot| [slot, slot]).chain(SLOTS);
            let own: Vec<String> = slots
                .enumerate()
                .map(|(n, slot)| key_in_slot(slot, &format!("m{number}.{n}")))
                .collect();
            Ok(move |round: usize| -> Result<()> {
                let value = round.to_string();
                let reply = client.ask(&mset(&own, &value), DEADLINE)?;
                ensure!(reply.is_ok(), "MSET: {reply:?}");
                let reply = client.ask(&with("MGET", &own), DEADLINE)?;
                ensure!(reply == bulks(&value, own.len()), "MGET in round {round}: {reply:?}");
                let reply = client.ask(&with("TOUCH", &own), DEADLINE)?;
                ensure!(reply == Reply::Int(own.len() as i64), "TOUCH: {reply:?}");
                let reply = client.ask(&with("DEL", &own), DEADLINE)?;
                ensure!(reply == Reply::Int(own.len() as i64), "DEL: {reply:?}");
                Ok(())
            })
        },
        || {
            let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
            cluster.move_slots(moving.iter().copied(), &from, &to)?;
            cluster.move_slots(moving.iter().copied(), &to, &from)
        },
    )
}

fn a_killed_primary_is_waited_for(cluster: &Cluster, proxy: &Proxy) -> Result<()> {
    let mut client = Conn::connect(&proxy.addr(), DEADLINE)?;
    let all = keys("y");
    ensure!(client.ask(&mset(&all, "1"), DEADLINE)?.is_ok());
    let primary = cluster.shard(1).primary()?;
    let replica = cluster.shard(1).replica()?;
    wait_for("the replica to have the key", DEADLINE, || {
        let size: i64 = replica.query(&redis::cmd("DBSIZE"))?;
        ensure!(size > 0);
        Ok(())
    })?;
    cluster.kill(&primary)?;
    ensure!(client.ask(&with("MGET", &all), DEADLINE)? == bulks("1", 3), "whole, and no nil");
    ensure!(client.ask(&mset(&all, "2"), DEADLINE)?.is_ok());
    ensure!(client.ask(&["DBSIZE"], DEADLINE)? == Reply::Int(3));
    cluster.restart(&primary)?;
    cluster.wait_ok(DEADLINE)
}

/// Two clients repeat their rounds while something happens, and at least twice after it.
fn at_work<R: FnMut(usize) -> Result<()>>(
    client: impl Fn(usize) -> Result<R> + Sync,
    happens: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|number| {
                let (over, client) = (&over, &client);
                scope.spawn(move || -> Result<usize> {
                    let (mut round, mut after) = (client(number)?, 0);
                    for count in 1.. {
                        round(count).with_context(|| format!("client {number}, round {count}"))?;
                        after += usize::from(over.load(Ordering::Relaxed));
                        if after == 2 {
                            return Ok(count);
                        }
                    }
                    Ok(0)
                })
            })
            .collect();
        let happened = happens();
        over.store(true, Ordering::Relaxed);
        for client in clients {
            let rounds = client.join().expect("a client does not panic")?;
            // Two of them are behind it.
            ensure!(rounds > 3, "{rounds} rounds mean nothing");
        }
        happened
    })
}

#[test]
fn a_slow_reader_of_all_keys_takes_little_memory_and_nobodys_time() -> Result<()> {
    const EACH: usize = 100_000;
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    for number in 0..3 {
        // 110 bytes a key (servers cut it at 127): 12 MB at each node.
        let prefix = format!("{number}{}", "x".repeat(102));
        let node = cluster.shard(number).primary()?;
        node.query::<()>(redis::cmd("DEBUG").arg("POPULATE").arg(EACH).arg(prefix).arg(8))?;
    }
    let proxy = slotway(&cluster).args(["--client-output-max", "1MiB"]).start()?;
    let mut other = Conn::connect(&proxy.addr(), DEADLINE)?;
    for key in keys("warm") {
        ensure!(other.ask(&["SET", &key, "1"], DEADLINE)?.is_ok());
    }
    let before = resident(&proxy)?;
    let mut slow = TcpStream::connect(proxy.addr())?;
    slow.set_read_timeout(Some(DEADLINE))?;
    slow.write_all(b"*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n")?;
    // It has begun when its first line is there, and nothing more is read for a while.
    let expected = format!("*{}\r\n", EACH * 3 + 3);
    let mut line = vec![0; expected.len()];
    slow.read_exact(&mut line)?;
    ensure!(line == expected.as_bytes(), "{}", line.escape_ascii());
    for _ in 0..300 {
        for key in keys("warm") {
            let began = Instant::now();
            ensure!(other.ask(&["GET", &key], DEADLINE)? == Reply::Bulk("1".to_owned()));
            ensure!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        }
    }
    let grown = resident(&proxy)?.saturating_sub(before);
    ensure!(grown < 12 << 20, "{grown} bytes for one that does not read 36 MB");
    let mut heads = 0;
    let mut piece = vec![0; 64 * 1024];
    while heads < EACH * 3 + 3 {
        let len = slow.read(&mut piece)?;
        ensure!(len > 0, "closed after {heads} keys");
        heads += piece[..len].iter().filter(|&&byte| byte == b'$').count();
    }
    slow.write_all(b"*1\r\n$4\r\nPING\r\n")?;
    let mut rest = Vec::new();
    while !rest.ends_with(b"+PONG\r\n") {
        let len = slow.read(&mut piece)?;
        ensure!(len > 0, "closed behind the last key");
        rest = piece[..len].to_vec();
    }
    Ok(())
}

/// What MGET says is put together before its first byte goes out.
#[test]
fn an_answer_too_large_to_be_put_together_is_refused_and_costs_a_bounded_amount() -> Result<()> {
    const EACH: usize = 16 << 20;
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let large = keys("large");
    for (number, key) in large.iter().enumerate() {
        let value = [b'a' + number as u8].repeat(EACH);
        let node = cluster.shard(number).primary()?;
        node.query::<()>(redis::cmd("SET").arg(key).arg(value))?;
    }
    let proxy = slotway(&cluster).args(["--client-output-max", "24MiB"]).start()?;
    let mut other = Conn::connect(&proxy.addr(), DEADLINE)?;
    for key in keys("warm") {
        ensure!(other.ask(&["SET", &key, "1"], DEADLINE)?.is_ok());
    }
    let before = resident(&proxy)?;
    let (done, words) = (AtomicBool::new(false), with("MGET", &large));
    let grown = thread::scope(|scope| -> Result<usize> {
        let greedy: Vec<_> = (0..4)
            .map(|_| {
                let mut client = Conn::connect(&proxy.addr(), DEADLINE)?;
                let words = &words;
                Ok(scope.spawn(move || -> Result<()> {
                    for _ in 0..3 {
                        let reply = client.ask(words, DEADLINE)?;
                        let text = reply.error().context("48 MiB were put together")?;
                        ensure!(text.starts_with("OVERLOADED not executed: "), "{text}");
                        ensure!(text.contains("client-output-max"), "{text}");
                    }
                    Ok(())
                }))
            })
            .collect::<Result<_>>()?;
        let watch = scope.spawn(|| -> Result<usize> {
            let mut most = before;
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                for key in keys("warm") {
                    ensure!(other.ask(&["GET", &key], DEADLINE)? == Reply::Bulk("1".to_owned()));
                }
                ensure!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
                most = most.max(resident(&proxy)?);
            }
            Ok(most - before)
        });
        let ended: Result<()> =
            greedy.into_iter().try_for_each(|client| client.join().expect("it does not panic"));
        done.store(true, Ordering::Relaxed);
        let grown = watch.join().expect("it does not panic")?;
        ended.map(|()| grown)
    })?;
    ensure!(grown < (4 * (24 + 16)) << 20, "{grown} bytes for four answers of 48 MiB");
    // What is not too large is answered, in the order of its keys.
    let mut client = Conn::connect(&proxy.addr(), DEADLINE)?;
    let some = [&keys("warm")[0], &large[2], &keys("warm")[1]].map(String::from);
    let Reply::Array(values) = client.ask(&with("MGET", &some), DEADLINE)? else {
        anyhow::bail!("no array")
    };
    let values: Vec<&str> = values.iter().filter_map(Reply::bulk).collect();
    ensure!(values == ["1", &"c".repeat(EACH), "1"], "{} values", values.len());
    Ok(())
}

/// The memory of slotway's process, in bytes.
fn resident(proxy: &Proxy) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no RSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<usize>()? * 1024)
}
