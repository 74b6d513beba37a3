//! What blocks, and WAIT, against real clusters that fail, move and heal under it.
//! The server is `redis-server` on PATH, or the program in `SLOTWAY_TEST_SERVER`.

mod crowd;
mod queues;
mod sessions;
mod stage;
mod wait;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::{FailoverKind, Peer};

use stage::{DEADLINE, blocked_at, blocks_at, cluster, slotway};

fn popped(key: &str, value: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
}

#[test]
fn what_blocks_goes_on_through_a_failover_of_each_kind() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let kinds = [FailoverKind::Normal, FailoverKind::Force, FailoverKind::Takeover];
    for (shard, kind) in kinds.into_iter().enumerate() {
        let shard = cluster.shard(shard);
        let key = shard.key("queue")?;
        let old = shard.primary()?;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = proxy.peer()?;
            client.send_command(&["BLPOP", &key, "60"])?;
            clients.push(client);
        }
        blocks_at(&old, 5)?;
        cluster.failover(&shard.replica()?, kind)?;
        // All of them are at the new primary before anything is pushed, or get it from here.
        let mut pusher = proxy.peer()?;
        for n in 0..5 {
            pusher.send_command(&["RPUSH", &key, &format!("v{n}")])?;
            let reply = pusher.read_line()?;
            ensure!(reply.starts_with(b":"), "{}", String::from_utf8_lossy(&reply));
        }
        let mut seen = Vec::new();
        for client in &mut clients {
            client.set_deadline(DEADLINE);
            for _ in 0..4 {
                let line = String::from_utf8(client.read_line()?)?;
                ensure!(!line.starts_with('-'), "{kind:?}: {line}");
            }
            seen.push(String::from_utf8(client.read_line()?)?.trim_end().to_owned());
        }
        seen.sort();
        ensure!(seen == ["v0", "v1", "v2", "v3", "v4"], "{kind:?}: each once: {seen:?}");
    }
    Ok(())
}

#[test]
fn a_killed_node_leaves_the_unknown_at_once_and_the_next_pop_is_served_by_the_new_one() -> Result<()>
{
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let shard = cluster.shard(1);
    let (key, primary) = (shard.key("queue")?, shard.primary()?);
    let mut pops = proxy.peer()?;
    let mut reads = proxy.peer()?;
    pops.send_command(&["BLPOP", &key, "0"])?;
    reads.send_command(&["XREAD", "BLOCK", "60000", "STREAMS", &shard.key("stream")?, "0"])?;
    blocks_at(&primary, 2)?;
    let began = Instant::now();
    cluster.kill(&primary)?;
    let line = String::from_utf8(pops.read_line()?)?;
    ensure!(line.starts_with("-UNKNOWNRESULT sent, reply lost: "), "{line}");
    ensure!(began.elapsed() < Duration::from_secs(2), "at once, not after {:?}", began.elapsed());
    // Sent while the shard is away, it blocks at the new primary, as what only reads does.
    pops.send_command(&["BLPOP", &key, "60"])?;
    cluster.wait_ok(DEADLINE)?;
    blocks_at(&shard.primary()?, 2)?;
    let mut other = proxy.peer()?;
    other.send_command(&["RPUSH", &key, "v"])?;
    other.expect(":1\r\n")?;
    pops.expect(popped(&key, "v"))?;
    other.send_command(&["XADD", &shard.key("stream")?, "*", "f", "v"])?;
    let line = String::from_utf8(reads.read_line()?)?;
    ensure!(line.starts_with('*'), "{line}");
    Ok(())
}

#[test]
fn what_blocks_follows_its_slot() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(2).primary()?);
    let key = cluster.shard(0).key("queue")?;
    let slot = testbed::key_slot(&key);
    let (mut before, mut during, mut pusher) = (proxy.peer()?, proxy.peer()?, proxy.peer()?);
    before.set_deadline(DEADLINE);
    before.send_command(&["BLMPOP", "60", "1", &key, "LEFT"])?;
    blocks_at(&from, 1)?;
    let migration = cluster.open_migration(slot, &from, &to)?;
    during.send_command(&["BLPOP", &key, "60"])?;
    blocks_at(&to, 1)?;
    pusher.send_command(&["RPUSH", &key, "asked"])?;
    pusher.expect(":1\r\n")?;
    during.expect(popped(&key, "asked"))?;
    migration.move_all_keys()?;
    migration.finish()?;
    pusher.send_command(&["RPUSH", &key, "moved"])?;
    pusher.expect(":1\r\n")?;
    before.expect(format!("*2\r\n${}\r\n{key}\r\n*1\r\n$5\r\nmoved\r\n", key.len()))?;
    pusher.send_command(&["LLEN", &key])?;
    pusher.expect(":0\r\n")?;
    Ok(())
}

#[test]
fn a_client_that_leaves_is_not_blocked_at_the_node_any_more() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("queue")?;
    for half_closed in [false, true] {
        let mut client = proxy.peer()?;
        client.send_command(&["BLPOP", &key, "0"])?;
        client.send_command(&["PING"])?;
        blocks_at(&shard.primary()?, 1)?;
        if half_closed {
            client.shut_write()?;
            client.expect_end()?;
        } else {
            drop(client);
        }
        blocks_at(&shard.primary()?, 0)?;
    }
    let mut pusher = proxy.peer()?;
    pusher.send_command(&["RPUSH", &key, "v"])?;
    pusher.expect(":1\r\n")?;
    pusher.send_command(&["LPOP", &key])?;
    pusher.expect("$1\r\nv\r\n")?;
    Ok(())
}

#[test]
fn a_blocked_client_is_shown_and_can_be_unblocked() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).workers(2).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("queue")?;
    let mut asker = proxy.client()?;
    for (reason, protocol, reply) in [
        (None, "2", "*-1\r\n"),
        (Some("TIMEOUT"), "3", "_\r\n"),
        (Some("ERROR"), "2", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ] {
        let mut client = proxy.peer()?;
        client.send_command(&["HELLO", protocol, "SETNAME", "blocked"])?;
        skip_hello(&mut client)?;
        let id = id_of(&mut asker, "name=blocked")?;
        client.send_command(&["BLPOP", &key, "0"])?;
        blocks_at(&shard.primary()?, 1)?;
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut asker)?;
        let line = list.lines().find(|line| line.contains("name=blocked")).unwrap_or_default();
        ensure!(line.contains(" flags=b ") && line.contains(" cmd=blpop "), "{line}");
        let ended: i64 =
            redis::cmd("CLIENT").arg("UNBLOCK").arg(&id).arg(reason).query(&mut asker)?;
        ensure!(ended == 1);
        client.expect(reply)?;
        let again: i64 = redis::cmd("CLIENT").arg("UNBLOCK").arg(&id).query(&mut asker)?;
        ensure!(again == 0, "it is not blocked");
        client.send_command(&["CLIENT", "SETNAME", "done"])?;
        client.expect("+OK\r\n")?;
        ensure!(blocked_at(&shard.primary()?)? == 0);
    }
    Ok(())
}

fn id_of(asker: &mut redis::Connection, with: &str) -> Result<String> {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(asker)?;
    let line = list.lines().find(|line| line.contains(with)).unwrap_or_default();
    Ok(line.trim_start_matches("id=").split(' ').next().unwrap_or_default().to_owned())
}

/// Reads what HELLO says, to the end of its last field.
fn skip_hello(client: &mut Peer) -> Result<()> {
    loop {
        if client.read_line()?.starts_with(b"modules") {
            client.read_line()?;
            return Ok(());
        }
    }
}

#[test]
fn mistakes_and_times_are_as_at_a_server() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).start()?;
    let (mut here, mut there) =
        (proxy.peer()?, Peer::connect(&cluster.shard(0).primary()?.addr())?);
    let key = cluster.shard(0).key("k")?;
    for request in [
        "BLPOP",
        "BLPOP K",
        "BLPOP K x",
        "BLPOP K -1",
        "BLPOP K nan",
        "BLPOP K 0.05",
        "BLPOP K 0x0.1",
        "BRPOPLPUSH K K 0.05",
        "BLMOVE K K LEFT UP 0",
        "BLMOVE K K LEFT LEFT 0.05",
        "BLMPOP 0.05 1 K LEFT",
        "BLMPOP 0 0 K LEFT",
        "BZMPOP 0.05 1 K MIN",
        "BZPOPMIN K 0.05",
        "BZPOPMAX K 0.05",
        "XREAD BLOCK 50 STREAMS K $",
        "XREAD BLOCK x STREAMS K $",
        "XREAD BLOCK -1 STREAMS K $",
        "XREADGROUP GROUP g c BLOCK 0 STREAMS K >",
        "WAIT x 0",
        "WAIT 0 x",
        "WAIT 0 -1",
    ] {
        let words: Vec<&str> =
            request.split(' ').map(|word| if word == "K" { &key } else { word }).collect();
        here.send_command(&words)?;
        there.send_command(&words)?;
        let (ours, theirs) = (here.read_line()?, there.read_line()?);
        ensure!(ours == theirs, "{request}: {ours:?} instead of {theirs:?}");
    }
    here.send_command(&["BLPOP", "a", "b", "0"])?;
    here.expect("-CROSSSLOT Keys in request don't hash to the same slot\r\n")?;
    here.send_command(&["BLPOP", &key, "2"])?;
    here.expect("*-1\r\n")?;
    let (_, page) = proxy.http_get("/metrics")?;
    let series = "slotway_command_duration_seconds_sum{command=\"blpop\"} ";
    let sum = page.lines().find_map(|line| line.strip_prefix(series)).context("no BLPOP")?;
    ensure!(sum.parse::<f64>()? < 1.5, "{sum} s: that they blocked is no latency");
    Ok(())
}
