//! Clients in other modes: RESP3, other databases.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, encode, key_of, node_id, settings, topology};
use crate::slot::Slot;
use crate::topology::{Draft, Endpoint, Node, Role};
use crate::worker::Settings;

const RESP3: &[&str] = &["HELLO 3"];

/// A client that speaks RESP3.
fn resp3(bench: &mut Bench) -> u32 {
    let client = bench.client();
    bench.send(client, "HELLO 3");
    assert!(bench.got(client).starts_with("%7\r\n"));
    client
}

fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

#[test]
fn each_protocol_has_connections_of_its_own() {
    let mut bench = Bench::new();
    let (two, three) = (bench.client(), resp3(&mut bench));
    let key = key_of(1, 0);
    assert_eq!(bench.wires_of(1).len(), 1, "the one in RESP3 is opened on first use");
    bench.send(two, &format!("HGETALL {key}"));
    bench.send(three, &format!("HGETALL {key}"));
    let wire = bench.wire_in(1, RESP3).expect("a connection in RESP3");
    bench.say(wire, b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    bench.answer_on(wire, "%1\r\n$1\r\na\r\n,1.5");
    assert_eq!(bench.got(three), "%1\r\n$1\r\na\r\n,1.5\r\n");
    assert_eq!(bench.got(two), "");
    bench.answer(1, "*2\r\n$1\r\na\r\n$3\r\n1.5");
    assert_eq!(bench.got(two), "*2\r\n$1\r\na\r\n$3\r\n1.5\r\n");
    bench.send(three, "LASTSAVE");
    let (wire, _) = bench.wires.iter().find(|(_, wire)| !wire.requests.is_empty()).unwrap();
    assert_eq!(bench.wires[wire].mode, RESP3, "also what any node can answer");
}

#[test]
fn hello_in_a_pipeline_lets_nothing_overtake() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let requests = [&format!("INCR {key}"), "HELLO 3", &format!("INCR {key}"), "RESET", "PING"];
    let bytes: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
    bench.send_raw(client, &bytes);
    assert_eq!(bench.at(1).len(), 1);
    assert_eq!(bench.wires_of(1).len(), 1);
    bench.answer(1, ":1");
    let wire = bench.wire_in(1, RESP3).expect("a connection in RESP3");
    assert_eq!(bench.wires[&wire].requests, [format!("INCR {key}")]);
    let got = bench.got(client);
    assert!(got.starts_with(":1\r\n%7\r\n"), "{got}");
    bench.answer_on(wire, ":2");
    assert_eq!(bench.got(client), ":2\r\n+RESET\r\n+PONG\r\n");
    bench.send(client, &format!("INCR {key}"));
    assert_eq!(bench.wires[&wire].requests, [""; 0], "back in RESP2");
}

#[test]
fn redirects_are_followed_in_the_clients_protocol() {
    let mut bench = Bench::new();
    let (two, three) = (bench.client(), resp3(&mut bench));
    let (key, other) = (key_of(1, 0), key_of(1, 1));
    bench.send(three, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:2", slot_of(&key)));
    let wire = bench.wire_in(2, RESP3).expect("a connection in RESP3");
    assert_eq!(bench.wires[&wire].requests, [format!("GET {key}")]);
    bench.answer_on(wire, "_");
    assert_eq!(bench.got(three), "_\r\n");
    bench.send(two, &format!("GET {key}"));
    assert_eq!(bench.at(2), [format!("GET {key}")], "what one has learned serves all");
    assert_eq!(bench.wires[&wire].requests, [""; 0]);
    bench.send(three, &format!("GET {other}"));
    bench.answer(1, &format!("-ASK {} 10.0.0.1:2", slot_of(&other)));
    assert_eq!(bench.wires[&wire].requests, ["ASKING".to_owned(), format!("GET {other}")]);
    bench.answer_on(wire, "+OK");
    bench.answer_on(wire, &format!("-MOVED {} 10.0.0.1:1", slot_of(&other)));
    assert_eq!(bench.at(1), [""; 0], "a circle waits, in every protocol");
    bench.advance(Duration::from_millis(20));
    let wire = bench.wire_in(1, RESP3).unwrap();
    assert_eq!(bench.wires[&wire].requests, [format!("GET {other}")]);
}

#[test]
fn who_waits_for_a_failover_is_sent_on_in_its_own_protocol() {
    let mut bench = Bench::new();
    let (two, three) = (bench.client(), resp3(&mut bench));
    let key = key_of(1, 0);
    bench.send(three, &format!("GET {key}"));
    bench.kill(1, true);
    bench.send(two, &format!("GET {key}"));
    // The node that is away is still listed, with other slots.
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (1, &[(5461, 5461)]), (2, &[(5462, 16383)])]));
    for (mode, client) in [(&[][..], two), (RESP3, three)] {
        let wire = bench.wire_in(4, mode).expect("a connection in this mode");
        assert_eq!(bench.wires[&wire].requests, [format!("GET {key}")]);
        bench.answer_on(wire, "+OK");
        assert_eq!(bench.got(client), "+OK\r\n");
    }
    bench.topology(topology(3, &[(4, &[(0, 16383)])]));
    bench.live(Duration::from_secs(1));
    assert_eq!(bench.worker.pools.len(), 2, "the others are forgotten in all modes");
}

#[test]
fn a_node_at_another_address_is_dialed_there_in_all_modes() {
    let mut bench = Bench::new();
    let client = resp3(&mut bench);
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    let before = bench.wire_in(1, RESP3).expect("a connection in RESP3");
    let mut draft = Draft { revision: 2, ..Draft::default() };
    let endpoint = Endpoint::new("10.0.0.9", 1);
    draft.nodes.push(Node::new(node_id(1), endpoint.clone(), Role::Primary));
    draft.own(Slot::new(0).unwrap(), Slot::new(16383).unwrap(), node_id(1), 2);
    bench.topology(Arc::new(draft.finish()));
    assert!(
        bench
            .worker
            .pools
            .iter()
            .all(|(_, node)| node.listed && node.endpoint == endpoint || node.id != node_id(1))
    );
    let other = resp3(&mut bench);
    bench.send(other, &format!("GET {key}"));
    assert_eq!(bench.wires[&before].requests.len(), 1, "the old connection only finishes");
    bench.answer_on(before, "+a");
    assert!(bench.got(client).ends_with("+a\r\n"));
    bench.answer(1, "+b");
    assert_eq!(bench.got(other), "+b\r\n");
    assert_eq!(bench.dials[&1], 4, "two before, two after");
}

/// Both of the node's connections are there when it takes the slots over.
#[test]
fn the_first_success_after_a_loss_may_be_in_any_mode() {
    let mut bench = Bench::new();
    let client = resp3(&mut bench);
    bench.send(client, &format!("GET {}", key_of(2, 0)));
    bench.answer(2, "_");
    bench.kill(1, true);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.advance(Duration::from_secs(1));
    bench.told();
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    bench.answer(2, ":1");
    let told = bench.told();
    let success = "1.00 s after its loss, from 10.0.0.1:2";
    assert!(told.iter().any(|line| line.contains(success)), "{told:#?}");
}

// ---- what a node holds of lost connections ----

/// Loses a large write of this client on node 1, with bytes left behind. Returns the connection.
fn lose_a_large_write(bench: &mut Bench, client: u32, key: &str) -> u32 {
    let before = bench.wires_of(1);
    bench.send(client, &format!("RPUSH {key} {}", "x".repeat(25_000)));
    let large = bench.wires_of(1).into_iter().find(|wire| !before.contains(wire)).unwrap();
    bench.advance(Duration::from_secs(2));
    bench.wires.remove(&large);
    bench.worker.node_lost(large, bench.now);
    bench.turn();
    assert!(bench.got(client).starts_with("-UNKNOWNRESULT "));
    large
}

#[test]
fn a_connection_lost_in_one_mode_is_fenced_in_the_others() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), resp3(&mut bench));
    let key = key_of(1, 0);
    bench.send(other, &format!("GET {key}"));
    bench.answer(1, "_");
    let lost = lose_a_large_write(&mut bench, client, &key);
    bench.send(client, "HELLO 3");
    bench.send(client, &format!("RPUSH {key} 2"));
    // On the two shared ones that were open, each in front of what comes next.
    assert_eq!(bench.killed, vec![format!("CLIENT KILL ID {lost}"); 2]);
    let wire = bench.wire_in(1, RESP3).unwrap();
    assert_eq!(bench.wires[&wire].requests, [format!("RPUSH {key} 2")]);
}

#[test]
fn a_mode_that_is_new_at_a_node_is_fenced_in_its_greeting() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let lost = lose_a_large_write(&mut bench, client, &key);
    bench.killed.clear();
    bench.send(client, "HELLO 3");
    bench.send(client, &format!("RPUSH {key} 2"));
    assert_eq!(bench.killed, [format!("CLIENT KILL ID {lost}")]);
    assert_eq!(bench.at(1), [format!("RPUSH {key} 2")]);
}

#[test]
fn a_node_that_is_suspect_is_so_in_all_modes() {
    let mut bench = Bench::new();
    let (two, three) = (bench.client(), resp3(&mut bench));
    let key = key_of(1, 0);
    bench.send(three, &format!("GET {key}"));
    bench.answer(1, "_");
    assert_eq!(bench.got(three), "_\r\n");
    let before = bench.wire_in(1, RESP3).unwrap();
    bench.freeze(1);
    bench.send(two, &format!("INCR {key}"));
    bench.live(Duration::from_secs(3));
    bench.send(three, &format!("INCR {key}"));
    bench.thaw(1);
    assert_ne!(bench.wire_in(1, RESP3), Some(before));
    bench.live(Duration::from_secs(1));
    assert_eq!(bench.at(1), [format!("INCR {key}")], "nothing new before it is confirmed");
    bench.answer(1, ":1");
    bench.look(2);
    bench.live(Duration::from_secs(1));
    bench.look(2);
    assert_eq!(bench.got(two), ":1\r\n");
    bench.answer(1, ":2");
    assert_eq!(bench.got(three), ":2\r\n");
}

// ---- bounds ----

#[test]
fn a_mode_that_nobody_uses_is_closed_and_comes_back() {
    let mut bench = Bench::new();
    let client = resp3(&mut bench);
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, "_");
    bench.live(Duration::from_secs(50));
    assert_eq!(bench.wires_of(1).len(), 2);
    bench.live(Duration::from_secs(20));
    assert_eq!(bench.wires_of(1).len(), 1);
    assert_eq!(bench.worker.pools.len(), 3);
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, "+again");
    assert!(bench.got(client).ends_with("+again\r\n"));
}

#[test]
fn extra_connections_are_counted_over_all_modes() {
    let mut bench = Bench::with(Settings { dedicated_max: 1, ..settings() });
    let (two, three) = (bench.client(), resp3(&mut bench));
    let large = |n| format!("SET {} {}", key_of(1, n), "x".repeat(25_000));
    bench.send(two, &large(0));
    bench.send(three, &large(1));
    assert_eq!(bench.wires_of(1).len(), 2, "the shared one and one for the first");
    bench.answer(1, "+OK");
    assert_eq!(bench.wires_of(1).len(), 2, "which makes room when it is done");
    let wire = bench.wire_in(1, RESP3).expect("one in RESP3");
    assert_eq!(bench.wires[&wire].requests, [large(1)]);
    bench.answer_on(wire, "+OK");
    assert_eq!(bench.got(three), "+OK\r\n");
}

#[test]
fn each_database_has_connections_of_its_own() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    for (line, mode) in [
        ("SELECT 3", &["SELECT 3"][..]),
        ("HELLO 3", &["HELLO 3", "SELECT 3"]),
        ("SELECT 0", RESP3),
        ("RESET", &[]),
    ] {
        bench.send(client, line);
        bench.send(client, &format!("GET {key}"));
        let wire = bench.wire_in(1, mode).expect("a connection in this mode");
        bench.answer_on(wire, "+here");
        assert!(bench.got(client).ends_with("+here\r\n"), "{line}");
    }
}

#[test]
fn databases_in_use_at_once_are_bounded() {
    let mut bench = Bench::new();
    let key = key_of(1, 0);
    for database in 0..33 {
        let client = bench.client();
        bench.send(client, &format!("SELECT {database}"));
        bench.send(client, &format!("GET {key}"));
        let got = bench.got(client);
        let refused = got.contains("-OVERLOADED not executed: too many databases");
        assert_eq!(refused, database == 32, "{database}: {got}");
    }
    while !bench.at(1).is_empty() {
        bench.answer(1, "+x");
    }
    bench.live(Duration::from_secs(70));
    let client = bench.client();
    bench.send(client, "SELECT 32");
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, "+x");
    assert_eq!(bench.got(client), "+OK\r\n+x\r\n", "those that nobody used are closed");
}
