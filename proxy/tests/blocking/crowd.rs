//! Thousands of blocked clients: what the bound does, and what one costs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use crate::stage::{DEADLINE, blocks_at, cluster, slotway};

const CROWD: usize = 2000;

fn crowd(addr: &str, key: &str) -> Result<Vec<TcpStream>> {
    let request = format!("*3\r\n$5\r\nBLPOP\r\n${}\r\n{key}\r\n$2\r\n60\r\n", key.len());
    let mut clients = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut client = TcpStream::connect(addr)?;
        client.set_read_timeout(Some(DEADLINE))?;
        client.write_all(request.as_bytes())?;
        clients.push(client);
    }
    Ok(clients)
}

/// Each pops one element, and no element is popped twice.
fn serve_all(addr: &str, key: &str, clients: &mut [TcpStream]) -> Result<()> {
    let mut pusher = testbed::Peer::connect(addr)?;
    let values: Vec<String> = (0..clients.len()).map(|n| format!("{n:04}")).collect();
    let mut words = vec!["RPUSH", key];
    words.extend(values.iter().map(String::as_str));
    pusher.send_command(&words)?;
    pusher.expect(format!(":{}\r\n", clients.len()))?;
    let mut seen = Vec::new();
    let head = format!("*2\r\n${}\r\n{key}\r\n$4\r\n", key.len());
    for client in clients.iter_mut() {
        let mut reply = vec![0; head.len() + 6];
        client.read_exact(&mut reply).context("a client got nothing")?;
        let reply = String::from_utf8(reply)?;
        let value = reply.strip_prefix(&head).with_context(|| reply.clone())?;
        seen.push(value.trim_end().to_owned());
    }
    seen.sort();
    ensure!(seen == values, "each element once");
    Ok(())
}

#[test]
fn two_thousand_wait_at_the_bound_in_order_and_all_are_served() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).args(["--node-connections-max", "202"]).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("queue")?;
    let mut clients = crowd(&proxy.addr(), &key)?;
    // 200 beside the shared one and the discovery's; an eighth of them is never lent.
    blocks_at(&shard.primary()?, 175)?;
    serve_all(&proxy.addr(), &key, &mut clients)
}

fn resident_kib(pid: u32) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok(size)
}

#[test]
fn a_blocked_client_costs_little() -> Result<()> {
    let cluster = cluster()?;
    let proxy = slotway(&cluster).args(["--node-connections-max", "4000"]).start()?;
    let shard = cluster.shard(0);
    let key = shard.key("queue")?;
    let before = resident_kib(proxy.pid())?;
    let mut clients = crowd(&proxy.addr(), &key)?;
    blocks_at(&shard.primary()?, CROWD)?;
    let each = (resident_kib(proxy.pid())? - before) as f64 / CROWD as f64;
    eprintln!("{each:.1} KiB a blocked client");
    ensure!(each < 8.0, "{each:.1} KiB a blocked client");
    serve_all(&proxy.addr(), &key, &mut clients)
}
