//! A queue under everything that moves and kills its nodes: nothing is delivered twice, and nothing
//! is lost but what was told to be unknown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use redis::{RedisError, cmd};
use testbed::{Cluster, FailoverKind, wait_until};

use crate::stage::{DEADLINE, slotway};

fn is_unknown(error: &RedisError) -> bool {
    error.code() == Some("UNKNOWNRESULT")
}

#[derive(Default)]
struct Books {
    pushed: AtomicUsize,
    popped: AtomicUsize,
    ends: AtomicBool,
    pushes_end: AtomicBool,
}

/// What one client was told: of values, and of how many results nothing is known.
type Told = (Vec<String>, usize);

fn push(mut client: redis::Connection, key: String, n: usize, books: Arc<Books>) -> Result<Told> {
    let (mut acked, mut unknown) = (Vec::new(), 0);
    for i in 0.. {
        if books.pushes_end.load(Ordering::Relaxed) {
            break;
        }
        let value = format!("{n}-{i}");
        match cmd("RPUSH").arg(&key).arg(&value).query::<i64>(&mut client) {
            Ok(_) => acked.push(value),
            Err(error) if is_unknown(&error) => unknown += 1,
            Err(error) => bail!("a push: {error}"),
        }
        books.pushed.fetch_add(1, Ordering::Relaxed);
        // The pace of its load.
        thread::sleep(Duration::from_millis(1));
    }
    Ok((acked, unknown))
}

fn pop(mut client: redis::Connection, key: String, books: Arc<Books>) -> Result<Told> {
    let (mut values, mut unknown) = (Vec::new(), 0);
    while !books.ends.load(Ordering::Relaxed) {
        let popped = cmd("BLPOP").arg(&key).arg(1).query::<Option<(String, String)>>(&mut client);
        match popped {
            Ok(Some((_, value))) => {
                values.push(value);
                books.popped.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) => {}
            Err(error) if is_unknown(&error) => unknown += 1,
            Err(error) => bail!("a pop: {error}"),
        }
    }
    Ok((values, unknown))
}

#[test]
fn a_queue_delivers_once_and_loses_only_what_is_unknown() -> Result<()> {
    // What was acknowledged is on disk, so that whatever is missing is missing by our fault.
    let cluster = Cluster::builder()
        .node_timeout(Duration::from_secs(20))
        .config("appendonly", "yes")
        .config("appendfsync", "always")
        .start()?;
    let proxy = slotway(&cluster).workers(2).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("queue")?;
    let slot = testbed::key_slot(&key);
    let books = Arc::<Books>::default();
    let mut pushes = Vec::new();
    let mut pops = Vec::new();
    for n in 0..3 {
        let (client, key, books) = (proxy.client()?, key.clone(), Arc::clone(&books));
        pushes.push(thread::spawn(move || push(client, key, n, books)));
    }
    for _ in 0..8 {
        let (client, key, books) = (proxy.client()?, key.clone(), Arc::clone(&books));
        pops.push(thread::spawn(move || pop(client, key, books)));
    }
    let goes_on = || {
        let (pushed, popped) =
            (books.pushed.load(Ordering::Relaxed), books.popped.load(Ordering::Relaxed));
        wait_until("the queue to go on", DEADLINE, || {
            books.pushed.load(Ordering::Relaxed) > pushed + 200
                && books.popped.load(Ordering::Relaxed) > popped + 200
        })
    };
    goes_on()?;
    for _ in 0..2 {
        cluster.failover(&shard.replica()?, FailoverKind::Normal)?;
        goes_on()?;
        let killed = cluster.primary_of(slot)?;
        cluster.kill(&killed)?;
        cluster.restart(&killed)?;
        goes_on()?;
    }
    let (from, to) = (cluster.primary_of(slot)?, cluster.shard(1).primary()?);
    let migration = cluster.open_migration(slot, &from, &to)?;
    goes_on()?;
    migration.move_all_keys()?;
    migration.finish()?;
    goes_on()?;
    books.pushes_end.store(true, Ordering::Relaxed);
    let mut acked = Vec::new();
    for push in pushes {
        acked.extend(push.join().ok().context("a pusher failed")??.0);
    }
    let mut client = proxy.client()?;
    wait_until("the queue to be empty", DEADLINE, || {
        cmd("LLEN").arg(&key).query::<usize>(&mut client).is_ok_and(|len| len == 0)
    })?;
    books.ends.store(true, Ordering::Relaxed);
    let (mut counts, mut unknown) = (BTreeMap::<String, usize>::new(), 0);
    for pop in pops {
        let (values, not_known) = pop.join().ok().context("a popper failed")??;
        unknown += not_known;
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    ensure!(twice.is_empty(), "delivered twice: {twice:?}");
    let lost = acked.iter().filter(|value| !counts.contains_key(*value)).count();
    eprintln!("{} pushed, {lost} lost, {unknown} pops unknown", acked.len());
    ensure!(lost <= unknown, "{lost} lost, {unknown} pops are unknown");
    Ok(())
}
