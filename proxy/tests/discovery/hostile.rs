//! Nodes that break the protocol, and another cluster in the place of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use slotway::discovery::Reason;
use slotway::topology::Topology;
use testbed::{Answer, ScriptedNode, wait_for};

use super::{DEADLINE, Discovery, primary, settings};

#[test]
fn a_reply_that_nobody_asked_for_ends_the_connection() -> Result<()> {
    let node = ScriptedNode::start(|request| match request[0].as_slice() {
        b"CLIENT" => Answer::Bytes(b"+OK\r\n+OK\r\n".to_vec()),
        _ => Answer::Default,
    })?;
    let discovery = Discovery::start(settings([node.addr()]))?;
    discovery.wait_missing("broke the protocol: it answered what nobody asked")?;
    assert!(discovery.map().is_empty());
    Ok(())
}

#[test]
fn hostile_replies_are_refused_with_the_reason() -> Result<()> {
    let nodes = |answer: String| {
        ScriptedNode::start(move |request| match request.get(1).map(Vec::as_slice) {
            Some(b"NODES") => Answer::Bytes(answer.clone().into()),
            _ => Answer::Default,
        })
    };
    let cases = [
        (nodes("*1\r\n".repeat(1_000_000))?, "nested deeper than 8 levels"),
        (nodes("$999999999\r\n".into())?, "longer than 16777216 bytes"),
        (nodes("*9999999\r\n".into())?, "more than 2097152 elements"),
        (nodes("%1\r\n".into())?, "the reply is not RESP2"),
        (nodes(":1\r\n".into())?, "malformed answer to CLUSTER NODES: no text"),
        (
            nodes("$2\r\nab\r\n".into())?,
            "malformed answer to CLUSTER NODES: a line with too few words",
        ),
    ];
    for (node, words) in cases {
        let discovery = Discovery::start(settings([node.addr()]))?;
        discovery.wait_missing(words)?;
    }
    Ok(())
}

#[test]
fn seeds_that_all_show_new_nodes_mean_a_new_cluster() -> Result<()> {
    let replaced = Arc::new(AtomicBool::new(false));
    let new = replaced.clone();
    let node = ScriptedNode::start(move |request| {
        let id = if new.load(Ordering::SeqCst) { "b" } else { "a" }.repeat(40);
        let bulk = |text: String| Answer::Bytes(format!("${}\r\n{text}\r\n", text.len()).into());
        match request.get(1).map(Vec::as_slice) {
            Some(b"MYID") => bulk(id),
            // With its address left out it is the one that was asked.
            Some(b"NODES") => {
                bulk(format!("{id} :7000@17000 myself,master - 0 0 1 connected 0-16383\n"))
            }
            Some(b"SLOTS" | b"SHARDS") => Answer::Bytes(b"-ERR no\r\n".to_vec()),
            _ => Answer::Default,
        }
    })?;
    let discovery = Discovery::start(settings([node.addr()]))?;
    let map = discovery.wait_whole()?;
    let owner = |map: &Topology| primary(map, 0).map(|node| node.id.short().to_owned());
    assert_eq!(owner(&map).as_deref(), Some("aaaaaaaa"));
    replaced.store(true, Ordering::SeqCst);
    wait_for("the new cluster", DEADLINE, || {
        discovery.handle.request_refresh(Reason::ConnectionFailed);
        ensure!(owner(&discovery.map()).as_deref() == Some("bbbbbbbb"));
        Ok(())
    })?;
    assert_eq!(discovery.map().nodes().len(), 1);
    Ok(())
}
