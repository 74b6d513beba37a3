//! Scripts by their SHA1, on nodes that have never seen them.

use std::thread;

use anyhow::{Result, ensure};
use testbed::{Cluster, key_in_slot, wait_until};

use crate::stage::{DEADLINE, metric, shared, slotway};
use crate::wire::{Client, Reply, request};

const COUNT: &str = "return redis.call('INCR', KEYS[1])";
const LOADED: &str = "slotway_replays_total{reason=\"noscript\"}";
/// Scripts that run for longer than this do not keep a node from answering `BUSY`.
const BUSY_AFTER: (&str, &str) = ("lua-time-limit", "100");

/// SCRIPT LOAD is not replicated, so the replica that is promoted has never heard of the script;
/// nor has the node that joins later, nor one that was restarted.
#[test]
fn a_script_is_known_after_a_failover_on_a_new_node_and_after_a_restart() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let sha = load(&mut client, COUNT)?;
    let in_transaction = load(&mut client, "return redis.call('INCR', KEYS[1]) -- too")?;
    let key = cluster.shard(0).key("count")?;
    let slot = cluster.shard(0).slots()?[0];
    let moving = key_in_slot(slot, "moving");
    let (plain, counter) = (key_in_slot(slot, "plain"), key_in_slot(slot, "counter"));
    for key in [&key, &moving] {
        ensure!(client.ask(&["EVALSHA", &sha, "1", key])? == Reply::Integer(1));
    }

    let killed = cluster.shard(0).primary()?;
    cluster.kill(&killed)?;
    let got = transaction(&mut client, &in_transaction, &plain, &counter)?;
    ensure!(got == done(1), "in a transaction after the failover: {got:?}");
    // Several at once, on connections of both workers: the script is missing for all of them.
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (addr, sha, slot) = (proxy.addr(), sha.clone(), slot);
            thread::spawn(move || -> Result<Reply> {
                let key = key_in_slot(slot, &format!("own-{n}"));
                Client::connect(&addr)?.ask(&["EVALSHA", &sha, "1", &key])
            })
        })
        .collect();
    let got = client.ask(&["EVALSHA", &sha, "1", &key])?;
    ensure!(got == Reply::Integer(2), "after the failover: {got:?}");
    for client in clients {
        let got = client.join().expect("it does not panic")?;
        ensure!(got == Reply::Integer(1), "after the failover: {got:?}");
    }
    ensure!(metric(&proxy, LOADED)? > 0);

    let promoted = cluster.shard(0).primary()?;
    let added = cluster.add_node()?;
    // A node that joins behind a failover takes a moment to see the cluster well.
    wait_until("the new node to see the cluster", DEADLINE, || {
        added.sees_cluster_ok().unwrap_or_default()
    })?;
    cluster.move_slots([slot], &promoted, &added)?;
    let got = client.ask(&["EVALSHA", &sha, "1", &moving])?;
    ensure!(got == Reply::Integer(2), "on a new node: {got:?}");
    let got = transaction(&mut client, &in_transaction, &plain, &counter)?;
    ensure!(got == done(2), "in a transaction on a new node: {got:?}");

    cluster.kill(&added)?;
    cluster.restart(&added)?;
    let got = client.ask(&["EVALSHA", &sha, "1", &moving])?;
    ensure!(matches!(got, Reply::Integer(_)), "after a restart: {got:?}");

    // What clients have flushed stays unknown.
    ensure!(client.ask(&["SCRIPT", "FLUSH"])? == Reply::ok());
    let got = client.ask(&["EVALSHA", &sha, "1", &key])?;
    ensure!(got.error().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{got:?}");
    Ok(())
}

#[test]
fn a_script_that_says_that_it_is_unknown_is_executed_once() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    for (n, text) in
        ["NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT No matching script."]
            .into_iter()
            .enumerate()
    {
        let key = key_in_slot(77, &format!("unknown-{n}"));
        let script =
            format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{text}') -- {n}");
        let got = client.ask(&["EVAL", &script, "1", &key])?;
        ensure!(got.error() == Some(text), "{got:?}");
        let node = cluster.primary_of(77)?;
        let sha: String = node.query(redis::cmd("SCRIPT").arg("LOAD").arg(&script))?;
        // Known to the node; then unknown, so that it is loaded and runs.
        for runs in [2, 3] {
            let got = client.ask(&["EVALSHA", &sha, "1", &key])?;
            ensure!(got.error() == Some(text), "{got:?}");
            ensure!(client.ask(&["GET", &key])? == Reply::bulk(runs.to_string()), "{text}");
            node.query::<()>(redis::cmd("SCRIPT").arg("FLUSH"))?;
        }
        wait_until("it to be loaded", DEADLINE, || {
            metric(&proxy, LOADED).is_ok_and(|loaded| loaded == n as u64 + 1)
        })?;
    }
    Ok(())
}

/// The scripts of a transaction are there before it is executed: afterwards half of it is done.
#[test]
fn a_transaction_brings_its_scripts_with_it() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let sha = load(&mut client, "return redis.call('INCRBY', KEYS[1], 10) -- in a transaction")?;
    let slot = 78;
    let (key, counter) = (key_in_slot(slot, "plain"), key_in_slot(slot, "counted"));
    let node = cluster.primary_of(slot)?;
    for (watched, expected) in [(false, 10), (true, 20), (false, 30)] {
        for node in cluster.live_nodes() {
            node.query::<()>(redis::cmd("SCRIPT").arg("FLUSH"))?;
        }
        if watched {
            ensure!(client.ask(&["WATCH", &key])? == Reply::ok());
        }
        let got = transaction(&mut client, &sha, &key, &counter)?;
        ensure!(got == done(expected), "watched: {watched}: {got:?}");
    }
    // Where it may not be loaded, the transaction is the server's all the same.
    node.query::<()>(redis::cmd("ACL").arg(&["SETUSER", "default", "-script|load"]))?;
    let got = transaction(&mut client, &sha, &key, &counter);
    node.query::<()>(redis::cmd("SCRIPT").arg("FLUSH"))?;
    let missing = transaction(&mut client, &sha, &key, &counter);
    node.query::<()>(redis::cmd("ACL").arg(&["SETUSER", "default", "+@all"]))?;
    ensure!(got? == done(40));
    let Reply::Array(missing) = missing? else { anyhow::bail!("no transaction") };
    ensure!(missing[0] == Reply::ok());
    ensure!(missing[1].error().is_some_and(|text| text.starts_with("NOSCRIPT ")), "{missing:?}");
    Ok(())
}

/// Where its slot is on its way to another node, the scripts go in front of the `ASKING`.
#[test]
fn a_transaction_brings_its_scripts_to_the_node_that_takes_its_slot() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let sha = load(&mut client, COUNT)?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    let slot = cluster.shard(0).slots()?[0];
    // One key: with two of which one is there, the nodes have them wait.
    let key = key_in_slot(slot, "counted");
    let migration = cluster.open_migration(slot, &from, &to)?;
    for _ in 0..2 {
        to.query::<()>(redis::cmd("SCRIPT").arg("FLUSH"))?;
        let got = transaction(&mut client, &sha, &key, &key)?;
        ensure!(got == done(6), "{got:?}");
    }
    ensure!(metric(&proxy, "slotway_redirects_total{kind=\"ask\"}")? > 0);
    migration.finish()?;
    to.query::<()>(redis::cmd("SCRIPT").arg("FLUSH"))?;
    ensure!(transaction(&mut client, &sha, &key, &key)? == done(6));
    Ok(())
}

#[test]
fn a_kill_says_what_the_shard_that_runs_something_says() -> Result<()> {
    let (time, limit) = BUSY_AFTER;
    let cluster = Cluster::builder().primaries(3).replicas(0).config(time, limit).start()?;
    for workers in [1, 2] {
        let proxy = slotway(cluster.seeds()).workers(workers).start()?;
        let mut client = Client::connect(&proxy.addr())?;
        let idle = client.ask(&["SCRIPT", "KILL"])?;
        ensure!(idle.error().is_some_and(|text| text.starts_with("NOTBUSY ")), "{idle:?}");
        // The first shard is the first to be asked, and the last the last.
        for shard in [0, 2] {
            let key = cluster.shard(shard).key("spinning")?;
            let spin = ["EVAL", "while true do end", "1", &key];
            let mut busy = spin_at(&proxy.addr(), &cluster.shard(shard).primary()?, &spin)?;
            let killed = client.ask(&["SCRIPT", "KILL"])?;
            ensure!(killed == Reply::ok(), "{killed:?}");
            let ended = busy.read()?;
            ensure!(ended.error().is_some_and(|text| text.contains("killed by user")), "{ended:?}");
        }
    }
    for shard in [0, 2] {
        let proxy = slotway(cluster.seeds()).workers(1).start()?;
        let mut client = Client::connect(&proxy.addr())?;
        let key = cluster.shard(shard).key("spinning")?;
        let script = "redis.call('SET', KEYS[1], 1) while true do end";
        let node = cluster.shard(shard).primary()?;
        let _busy = spin_at(&proxy.addr(), &node, &["EVAL", script, "1", &key])?;
        let refused = client.ask(&["SCRIPT", "KILL"])?;
        let is_it = refused.error().is_some_and(|text| text.starts_with("UNKILLABLE "));
        ensure!(is_it, "shard {shard}: {refused:?}");
        cluster.kill(&node)?;
        cluster.restart(&node)?;
    }
    Ok(())
}

#[test]
fn function_stats_tell_of_the_function_that_runs_on_any_shard() -> Result<()> {
    if !testbed::ServerVersion::of_default_server()?.at_least(7, 0) {
        eprintln!("skipped: functions are not known before 7.0");
        return Ok(());
    }
    let (time, limit) = BUSY_AFTER;
    let cluster = Cluster::builder().primaries(3).replicas(0).config(time, limit).start()?;
    let proxy = slotway(cluster.seeds()).workers(1).start()?;
    let mut client = Client::connect(&proxy.addr())?;
    let library =
        "#!lua name=spinning\nredis.register_function('spin', function() while true do end end)";
    client.ask(&["FUNCTION", "LOAD", library])?;
    for shard in 0..3 {
        let idle = client.ask(&["FUNCTION", "STATS"])?;
        let Reply::Array(idle) = idle else { anyhow::bail!("{idle:?}") };
        ensure!(idle[..2] == [Reply::bulk("running_script"), Reply::Nil], "{idle:?}");
        let key = cluster.shard(shard).key("spinning")?;
        let node = cluster.shard(shard).primary()?;
        let mut busy = spin_at(&proxy.addr(), &node, &["FCALL", "spin", "1", &key])?;
        for _ in 0..3 {
            let running = client.ask(&["FUNCTION", "STATS"])?;
            let Reply::Array(running) = running else { anyhow::bail!("{running:?}") };
            let Reply::Array(script) = &running[1] else { anyhow::bail!("{running:?}") };
            ensure!(script[..2] == [Reply::bulk("name"), Reply::bulk("spin")], "{running:?}");
        }
        let mut resp3 = proxy.peer()?;
        resp3.send("HELLO 3\r\nFUNCTION STATS\r\n")?;
        while !resp3.read_line()?.starts_with(b"$14") {}
        resp3.expect("running_script\r\n%3\r\n$4\r\nname\r\n$4\r\nspin\r\n")?;
        ensure!(client.ask(&["FUNCTION", "KILL"])? == Reply::ok());
        let ended = busy.read()?;
        ensure!(ended.error().is_some_and(|text| text.contains("killed by user")), "{ended:?}");
    }
    Ok(())
}

/// A client of slotway whose request keeps this node busy from now on.
fn spin_at(addr: &str, node: &testbed::Node, request: &[&str]) -> Result<Client> {
    let mut client = Client::connect(addr)?;
    client.send(request)?;
    wait_until("its node to be busy", DEADLINE, || {
        let answer = node.query::<()>(&redis::cmd("PING"));
        answer.is_err_and(|error| format!("{error:?}").contains("busy running a script"))
    })?;
    Ok(client)
}

fn load(client: &mut Client, body: &str) -> Result<String> {
    let Reply::Bulk(sha) = client.ask(&["SCRIPT", "LOAD", body])? else {
        anyhow::bail!("SCRIPT LOAD gives no name");
    };
    Ok(String::from_utf8(sha)?)
}

/// A transaction of a SET and a script; what EXEC is answered with.
fn transaction(client: &mut Client, sha: &str, key: &str, counter: &str) -> Result<Reply> {
    let words: [&[&str]; 4] =
        [&["MULTI"], &["SET", key, "5"], &["EVALSHA", sha, "1", counter], &["EXEC"]];
    let mut replies = client.pipeline(&words.map(request))?;
    ensure!(replies.len() == 4, "{replies:?}");
    Ok(replies.remove(3))
}

fn done(count: i64) -> Reply {
    Reply::Array(vec![Reply::ok(), Reply::Integer(count)])
}
