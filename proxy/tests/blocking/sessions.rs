//! What is shown of sessions with state, what is counted of them, and how they end.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use redis::cmd;
use testbed::{Cluster, Peer, Proxy, wait_until};

use crate::stage::{DEADLINE, blocks_at, slotway};

fn metric(proxy: &Proxy, name: &str) -> Result<u64> {
    let (_, page) = proxy.http_get("/metrics")?;
    let values = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(values.filter_map(|value| value.parse::<u64>().ok()).sum())
}

#[test]
fn who_is_blocked_is_counted_until_it_leaves() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = slotway(&cluster).start()?;
    let shard = cluster.shard(0);
    let (key, node) = (shard.key("queue")?, shard.primary()?);
    let mut client = proxy.peer()?;
    client.send_command(&["BLPOP", &key, "0"])?;
    blocks_at(&node, 1)?;
    ensure!(metric(&proxy, "slotway_blocked_clients")? == 1);
    drop(client);
    blocks_at(&node, 0)?;
    let blocked = || metric(&proxy, "slotway_blocked_clients");
    wait_until("nobody to be blocked", DEADLINE, || blocked().is_ok_and(|n| n == 0))?;
    ensure!(metric(&proxy, "slotway_blocked_answers_late_total")? == 0, "nothing was taken");
    Ok(())
}

/// What `CLIENT LIST` says of the client called `shown`: those of these fields that the server has.
fn shown(asker: &mut redis::Connection, fields: &[String]) -> Result<Vec<String>> {
    let list: String = cmd("CLIENT").arg("LIST").query(asker)?;
    let line = list.lines().find(|line| line.contains(" name=shown ")).unwrap_or_default();
    let is_wanted =
        |field: &&str| fields.iter().any(|name| field.split('=').next() == Some(name.as_str()));
    Ok(line.split(' ').filter(is_wanted).map(str::to_owned).collect())
}

#[test]
fn what_a_session_does_is_shown_as_by_a_server() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = slotway(&cluster).workers(2).start()?;
    let shard = cluster.shard(0);
    let (key, node) = (shard.key("k")?, shard.primary()?);
    let mut here = proxy.client()?;
    let mut there = redis::Client::open(format!("redis://{}/", node.addr()))?.get_connection()?;
    let own: String = cmd("CLIENT").arg("INFO").query(&mut there)?;
    let fields = ["flags", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "resp"];
    let is_there = |field: &&str| own.contains(&format!(" {field}="));
    let fields: Vec<String> = fields.into_iter().filter(is_there).map(str::to_owned).collect();
    ensure!(fields.len() >= 7, "{fields:?}");
    for commands in [
        &["PING"][..],
        &["MULTI"],
        &["MULTI", "INCR K", "INCR K"],
        &["MULTI", "NOSUCH"],
        &["GET"],
        &["PING", "EXEC"],
        &["SINTER a b"],
        &["CONFIG NOSUCH"],
        &["MULTI", "INCR K", "DISCARD"],
        &["MULTI", "INCR K", "EXEC"],
        &["WATCH K"],
        &["WATCH K K2", "MULTI"],
        &["SUBSCRIBE a b", "PSUBSCRIBE p*"],
        &["SUBSCRIBE a", "UNSUBSCRIBE"],
        &["SSUBSCRIBE K"],
        &["HELLO 3", "SUBSCRIBE a", "MULTI"],
        &["HELLO 3", "CLIENT TRACKING ON"],
        &["HELLO 3", "CLIENT TRACKING ON BCAST", "MULTI"],
        &["HELLO 3", "CLIENT TRACKING ON OPTIN", "SUBSCRIBE a"],
        &["HELLO 3", "CLIENT TRACKING ON", "BLPOP K 0"],
        &["HELLO 3", "SUBSCRIBE a", "BLPOP K 0"],
        &["BLPOP K 0"],
        &["BZPOPMIN K 0"],
        &["XREAD BLOCK 0 STREAMS K $"],
        &["SET K2 v", "WAIT 9 0"],
        &["CLIENT NO-EVICT ON"],
        &["CLIENT NO-EVICT ON", "CLIENT NO-EVICT OFF"],
        &["CLIENT REPLY OFF", "PING"],
    ] {
        let mut clients = [proxy.peer()?, Peer::connect(&node.addr())?];
        for client in &mut clients {
            client.send_command(&["CLIENT", "SETNAME", "shown"])?;
            client.expect("+OK\r\n")?;
            for command in commands {
                let words = command.split(' ').map(|word| match word {
                    "K" => key.clone(),
                    "K2" => format!("{key}2"),
                    _ => word.to_owned(),
                });
                client.send_command(&words.collect::<Vec<_>>())?;
            }
        }
        // What is sent is taken some time after.
        let both = |here: &mut _, there: &mut _| -> Result<(Vec<String>, Vec<String>)> {
            Ok((shown(here, &fields)?, shown(there, &fields)?))
        };
        let mut last = Default::default();
        let agree = wait_until("both to show the same", DEADLINE / 8, || {
            last = both(&mut here, &mut there).unwrap_or_default();
            last.0 == last.1 && !last.0.is_empty()
        });
        let (ours, theirs) = last;
        ensure!(agree.is_ok(), "{commands:?}: {ours:?}, a server: {theirs:?}");
        drop(clients);
        wait_until("their end", DEADLINE, || {
            both(&mut here, &mut there).is_ok_and(|(a, b)| a.is_empty() && b.is_empty())
        })?;
        node.query::<()>(cmd("DEL").arg(&key))?;
    }
    Ok(())
}

#[test]
fn blocked_clients_of_all_workers_are_counted() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = slotway(&cluster).workers(2).start()?;
    let mut asker = proxy.client()?;
    let mut says = |count: usize| {
        let line = format!("blocked_clients:{count}\r\n");
        wait_until(&line, DEADLINE, || {
            let info = cmd("INFO").arg("clients").query::<String>(&mut asker);
            info.is_ok_and(|info| info.contains(&line))
        })
    };
    says(0)?;
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut client = proxy.peer()?;
        client.send_command(&["BLPOP", &cluster.shard(n % 3).key("queue")?, "0"])?;
        clients.push(client);
    }
    says(5)?;
    let mut pusher = proxy.peer()?;
    pusher.send_command(&["RPUSH", &cluster.shard(2).key("queue")?, "v"])?;
    pusher.expect(":1\r\n")?;
    says(4)?;
    clients.clear();
    says(0)
}

#[test]
fn at_its_end_transactions_are_finished_and_nothing_is_taken_for_who_is_closed() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = slotway(&cluster).workers(2).start()?;
    let shard = cluster.shard(0);
    let (key, node) = (shard.key("queue")?, shard.primary()?);
    let mut blocked = Vec::new();
    for time in ["60", "0"] {
        let mut client = proxy.peer()?;
        client.send_command(&["BLPOP", &key, time])?;
        blocked.push(client);
    }
    blocks_at(&node, 2)?;
    let mut transaction = proxy.peer()?;
    let list = format!("{key}:list");
    for (command, reply) in [(vec!["MULTI"], "+OK\r\n"), (vec!["RPUSH", &list, "a"], "+QUEUED\r\n")]
    {
        transaction.send_command(&command)?;
        transaction.expect(reply)?;
    }
    proxy.signal(Signal::SIGTERM)?;
    blocked[0].expect("*-1\r\n")?;
    for client in &mut blocked {
        client.expect_end()?;
    }
    blocks_at(&node, 0)?;
    node.query::<i64>(cmd("RPUSH").arg(&[&key, "v"]))?;
    ensure!(node.query::<i64>(cmd("LLEN").arg(&key))? == 1, "nobody takes it");
    ensure!(proxy.exited().is_none());
    transaction.send_command(&["RPUSH", &list, "b"])?;
    transaction.send_command(&["EXEC"])?;
    transaction.expect("+QUEUED\r\n*2\r\n:1\r\n:2\r\n")?;
    transaction.expect_end()?;
    ensure!(proxy.wait(DEADLINE)? == 0);
    Ok(())
}
