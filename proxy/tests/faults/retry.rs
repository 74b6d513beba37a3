//! `retry-unknown` before a real node: it executes a write whose reply is lost on the way.

use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::Link;
use testbed::{Cluster, Peer, Proxy, wait_until};

/// Sends `write` through a slotway with this option, loses its reply once the node has executed
/// it, and returns what the client is told.
fn lose_the_reply(
    cluster: &Cluster,
    retry: &str,
    write: &[&str],
    executed: &str,
) -> Result<String> {
    let node = &cluster.nodes()[0];
    let link = Link::start(&node.addr())?;
    let map = Link::map(std::slice::from_ref(&link));
    let proxy = Proxy::builder(cluster.seeds())
        .binary(env!("CARGO_BIN_EXE_slotway"))
        .args(["--address-map", &map, "--retry-unknown", retry])
        .start()?;
    let mut client = proxy.peer()?;
    client.send_command(&["DEL", write[1]])?;
    client.read_line()?;
    link.mute();
    client.send_command(write)?;
    let mut direct = Peer::connect(&node.addr())?;
    wait_until("the node to execute it", Duration::from_secs(20), || {
        let value = direct.send_command(&["GETRANGE", write[1], "0", "-1"]);
        let value = value.and_then(|()| {
            direct.read_line()?;
            direct.read_line()
        });
        value.is_ok_and(|value| value == executed.as_bytes())
    })?;
    link.reset();
    Ok(String::from_utf8_lossy(&client.read_line()?).into_owned())
}

#[test]
fn a_write_whose_reply_was_lost_is_masked_where_the_operator_wants_it() -> Result<()> {
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let set = ["SET", "k", "v"];
    let masked = lose_the_reply(&cluster, "idempotent", &set, "v")?;
    ensure!(masked == "+OK", "{masked}");
    let cases: [(&str, &[&str], &str); 3] =
        [("off", &set, "v"), ("blocking", &set, "v"), ("idempotent", &["INCR", "k"], "1")];
    for (retry, write, executed) in cases {
        let got = lose_the_reply(&cluster, retry, write, executed)?;
        ensure!(got.starts_with("-UNKNOWNRESULT "), "{retry}: {write:?} got {got}");
    }
    Ok(())
}
