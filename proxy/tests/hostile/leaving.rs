//! Clients that do not read, and clients that leave in the middle.

use std::time::Duration;

use testbed::{Proxy, wait_until};

use super::innocents::Innocents;
use super::measure::{MIB, PATIENCE, descriptors, metric, resident};
use super::stage::{Stage, array};

const VALUE_BYTES: usize = 100_000;

fn with_value(stage: &Stage) -> String {
    let key = stage.key(0, "long");
    let set = array(&["SET", &key, &"x".repeat(VALUE_BYTES)]);
    assert_eq!(stage.until_answered(&set), b"+OK\r\n");
    key
}

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount_and_delays_nobody() {
    let stage = Stage::new(|proxy| proxy);
    let key = with_value(&stage);
    let innocents = Innocents::start(&stage);
    innocents.next_hundred("the start");
    let before = resident(&stage.proxy);
    let gets = array(&["GET", &key]).repeat(5000);
    let mut stuck = stage.proxy.peer().unwrap();
    stuck.send(&gets).unwrap();
    let paused = || metric(&stage.proxy, "slotway_client_paused_total", "") > 0.0;
    wait_until("it to be paused", PATIENCE, paused).unwrap();
    for _ in 0..10 {
        innocents.next_hundred("a client that does not read");
    }
    let grown = resident(&stage.proxy).saturating_sub(before);
    assert!(grown < 24 * MIB, "{grown} bytes for 500 MB of replies");
    // It was only slow: all of it comes, in order.
    stuck.set_deadline(PATIENCE);
    let header = format!("${VALUE_BYTES}\r\n");
    for _ in 0..300 {
        stuck.expect(&header).unwrap();
        let value = stuck.read_exact(VALUE_BYTES).unwrap();
        assert!(value.iter().all(|byte| *byte == b'x'));
        stuck.expect("\r\n").unwrap();
    }
    assert!(innocents.end() < Duration::from_secs(2));

    // At the bound it is closed, and counted.
    let bound = |proxy: testbed::ProxyBuilder| proxy.args(["--client-output-max", "1MiB"]);
    let proxy = Proxy::builder(stage.cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway"));
    let stage = Stage { proxy: bound(proxy).start().unwrap(), cluster: stage.cluster };
    let innocents = Innocents::start(&stage);
    let mut stuck = stage.proxy.peer().unwrap();
    let _ = stuck.send(&gets);
    let closed = || metric(&stage.proxy, "slotway_clients_closed_total", "\"slow\"") == 1.0;
    wait_until("the client to be closed", PATIENCE, closed).unwrap();
    innocents.next_hundred("a client was closed");
    innocents.end();
}

#[test]
fn clients_that_leave_in_the_middle_leave_nothing_behind() {
    let stage = Stage::new(|proxy| proxy);
    let key = with_value(&stage);
    let innocents = Innocents::start(&stage);
    innocents.next_hundred("the start");
    let files = descriptors(&stage.proxy);
    // What is kept for the next clients, and what the allocator makes of it, is there after some
    // rounds; what leaks grows in each.
    let grown = |_| {
        let before = resident(&stage.proxy);
        come_and_go(&stage, &key, 2000);
        settled(&stage, 3.0);
        resident(&stage.proxy).saturating_sub(before)
    };
    let rounds: Vec<usize> = (0..6).map(grown).take_while(|grown| *grown >= 2 * MIB).collect();
    assert!(rounds.len() < 6, "bytes that 2,000 clients left behind, each time: {rounds:?}");
    innocents.next_hundred("thousands of clients have gone");
    innocents.end();
    settled(&stage, 0.0);
    let idle = || metric(&stage.proxy, "slotway_node_in_flight_requests", "") == 0.0;
    wait_until("nothing to be in flight", PATIENCE, idle).unwrap();
    // Those of the innocents are gone too.
    let closed = || descriptors(&stage.proxy) <= files - 3;
    wait_until("the sockets to be closed", PATIENCE, closed).unwrap();
}

fn settled(stage: &Stage, clients: f64) {
    let gone = || metric(&stage.proxy, "slotway_clients", "") == clients;
    wait_until("the clients to be gone", PATIENCE, gone).unwrap();
}

fn come_and_go(stage: &Stage, key: &str, count: usize) {
    let mut here = Vec::new();
    for n in 0..count {
        let mut peer = stage.proxy.peer().unwrap();
        let sent = match n % 8 {
            0 => b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nhalf".to_vec(),
            1 => array(&["GET", key]).repeat(20),
            2 => array(&["INCR", "left"]).repeat(1000),
            3 => array(&["GET", key]),
            4 => b"SET half".to_vec(),
            5 => b"*1\r\n$-1\r\n".to_vec(),
            6 => array(&["SET", "k", &"y".repeat(1_200_000)])[..600_000].to_vec(),
            _ => Vec::new(),
        };
        let _ = peer.send(&sent);
        if n % 8 == 3 {
            let _ = peer.read_exact(1000); // and no more of it
        }
        here.push(peer);
        if here.len() == 100 {
            here.clear();
        }
    }
}
