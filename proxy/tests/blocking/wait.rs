//! WAIT: whether what a client has written is on replicas.

use anyhow::{Result, ensure};
use redis::cmd;
use testbed::{FailoverKind, wait_until};

use crate::stage::{DEADLINE, cluster, slotway};

fn wait(client: &mut redis::Connection, replicas: i64, millis: u64) -> Result<i64> {
    Ok(cmd("WAIT").arg(replicas).arg(millis).query(client)?)
}

#[test]
fn a_replica_that_stands_still_has_nothing_of_what_is_written_now() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    cluster.wait_ok(DEADLINE)?;
    let (first, second) = (cluster.shard(0), cluster.shard(1));
    let keys = [first.key("a")?, second.key("a")?];
    let mut client = proxy.client()?;
    ensure!(wait(&mut client, 0, 100)? >= 1, "nothing was written");
    let mut other = proxy.client()?;
    let replica = first.replica()?;
    for (round, key) in keys.iter().enumerate() {
        let _: () = cmd("SET").arg(key).arg(round).query(&mut client)?;
        ensure!(wait(&mut client, 1, 5000)? == 1, "round {round}");
    }
    cluster.freeze(&replica)?;
    let _: () = cmd("SET").arg(&keys[0]).arg("new").query(&mut client)?;
    let _: () = cmd("SET").arg(&keys[1]).arg("new").query(&mut client)?;
    let _: () = cmd("SET").arg(&keys[1]).arg("other").query(&mut other)?;
    for _ in 0..3 {
        ensure!(wait(&mut client, 1, 300)? == 0, "the replica of one of its shards stands still");
    }
    ensure!(wait(&mut other, 1, 5000)? == 1, "the other client's shard is well");
    cluster.thaw(&replica)?;
    ensure!(wait(&mut client, 1, 20_000)? == 1, "what it had to wait for has come");
    // Nothing is left of what was written for it.
    for (_, node) in [(0, first.primary()?), (1, second.primary()?)] {
        let keys: Vec<String> = node.query(cmd("KEYS").arg("slotway*"))?;
        ensure!(keys.is_empty(), "{keys:?}");
    }
    Ok(())
}

#[test]
fn a_primary_that_was_replaced_since_counts_none_until_something_new_is_written() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("a")?;
    let (mut client, mut other) = (proxy.client()?, proxy.client()?);
    let _: () = cmd("SET").arg(&key).arg(1).query(&mut client)?;
    let (old, new) = (shard.primary()?, shard.replica()?);
    cluster.failover(&new, FailoverKind::Normal)?;
    wait_until("slotway to see it", DEADLINE, || {
        let set: redis::RedisResult<()> = cmd("SET").arg(&key).arg(2).query(&mut other);
        set.is_ok() && new.myself().is_ok_and(|me| me.has_flag("master"))
    })?;
    // The old primary is a replica of the new one, in sync.
    wait_until("the old primary to follow", DEADLINE, || {
        old.info("master_link_status").is_ok_and(|status| status.as_deref() == Some("up"))
    })?;
    wait_until("the loss to be seen", DEADLINE, || {
        wait(&mut client, 1, 100).is_ok_and(|count| count == 0)
    })?;
    ensure!(wait(&mut client, 1, 100)? == 0, "once more");
    wait_until("what is new to be there", DEADLINE, || {
        let set: redis::RedisResult<()> = cmd("SET").arg(&key).arg(3).query(&mut client);
        set.is_ok() && wait(&mut client, 1, 5000).is_ok_and(|count| count == 1)
    })
}

/// Runs `write` (a SET of this key) and WAIT for a second; how many have it.
fn write_and_wait(client: &mut redis::Connection, key: &str, value: u32) -> Result<i64> {
    let _: () = cmd("SET").arg(key).arg(value).query(client)?;
    wait(client, 1, 5000)
}

#[test]
fn what_all_nodes_are_told_is_no_write() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let key = cluster.shard(0).key("a")?;
    let mut client = proxy.client()?;
    ensure!(write_and_wait(&mut client, &key, 1)? == 1);
    for words in [
        &["CONFIG", "SET", "notify-keyspace-events", "KEA"][..],
        &["CONFIG", "RESETSTAT"],
        &["SLOWLOG", "RESET"],
        &["LATENCY", "RESET"],
    ] {
        let _: redis::Value = cmd(words[0]).arg(&words[1..]).query(&mut client)?;
        ensure!(write_and_wait(&mut client, &key, 2)? == 1, "{words:?}");
    }
    Ok(())
}

#[test]
fn who_has_written_to_the_new_primary_waits_for_it() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("a")?;
    // One writes again at once, before the map knows; one when all is well again; one not at all.
    let (mut soon, mut late) = (proxy.client()?, proxy.client()?);
    let mut never = proxy.client()?;
    for client in [&mut soon, &mut late, &mut never] {
        let _: () = cmd("SET").arg(&key).arg(1).query(client)?;
    }
    let (old, new) = (shard.primary()?, shard.replica()?);
    cluster.failover(&new, FailoverKind::Normal)?;
    wait_until("the new primary", DEADLINE, || new.myself().is_ok_and(|me| me.has_flag("master")))?;
    for round in 0..20 {
        let count = write_and_wait(&mut soon, &key, round)?;
        ensure!(count == 1, "round {round}: {count}");
    }
    wait_until("the old primary to follow", DEADLINE, || {
        old.info("master_link_status").is_ok_and(|status| status.as_deref() == Some("up"))
    })?;
    let count = write_and_wait(&mut late, &key, 2)?;
    ensure!(count == 1, "{count}");
    ensure!(wait(&mut never, 1, 1000)? == 0, "it has not written since");
    ensure!(write_and_wait(&mut never, &key, 3)? == 1);
    Ok(())
}
