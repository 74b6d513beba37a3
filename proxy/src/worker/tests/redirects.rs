//! MOVED, ASK and TRYAGAIN never reach a client.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, key_of, node_id, topology};
use crate::slot::Slot;
use crate::topology::{Draft, Endpoint, Node, Role, Topology};
use crate::worker::WishReason;

fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

#[test]
fn moved_is_followed_and_remembered() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:2", slot_of(&key)));
    assert_eq!(bench.at(2), [format!("GET {key}")]);
    assert!(bench.wishes.contains(&WishReason::Moved));
    bench.answer(2, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
    bench.send(client, &format!("GET {key}"));
    assert_eq!(bench.at(2), [format!("GET {key}")], "the next one goes there at once");
}

/// Three shards whose slots have come from node 1 to node 2 with a newer epoch, which nodes 1 and
/// 3 did not know when they were last asked.
fn two_were_left_behind() -> Arc<Topology> {
    let mut draft = Draft { revision: 2, ..Draft::default() };
    for port in 1..=3 {
        let mut node = Node::new(node_id(port), Endpoint::new("10.0.0.1", port), Role::Primary);
        node.behind = port != 2;
        draft.nodes.push(node);
    }
    let slot = |number| Slot::new(number).unwrap();
    draft.own(slot(0), slot(10922), node_id(2), 9);
    draft.own(slot(10923), slot(16383), node_id(3), 1);
    Arc::new(draft.finish())
}

#[test]
fn a_node_that_was_left_behind_leads_nobody_to_an_old_owner() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    // Sent to node 1 when it was the owner; by the answer the map knows better.
    bench.send(first, &format!("GET {key}"));
    bench.topology(two_were_left_behind());
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:3", slot_of(&key)));
    // In a partition node 3 might still take writes that will be lost.
    assert_eq!(bench.at(2), [format!("GET {key}")], "it goes to the newer owner");
    bench.send(second, &format!("GET {key}"));
    assert_eq!(bench.at(2).len(), 2, "and so do the others");
    assert_eq!(bench.at(3), [""; 0]);
}

#[test]
fn the_owner_of_a_slot_is_believed_wherever_it_was_left_behind() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    bench.topology(two_were_left_behind());
    let key = key_of(3, 0);
    bench.send(first, &format!("GET {key}"));
    bench.answer(3, &format!("-MOVED {} 10.0.0.1:1", slot_of(&key)));
    bench.send(second, &format!("GET {key}"));
    assert_eq!(bench.at(1).len(), 2);
}

#[test]
fn moved_without_a_host_means_the_host_that_answered() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {} :3", slot_of(&key)));
    assert_eq!(bench.at(3), [format!("GET {key}")]);
}

#[test]
fn ask_is_followed_with_asking_and_not_remembered() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, &format!("-ASK {} 10.0.0.1:2", slot_of(&key)));
    assert_eq!(bench.at(2), ["ASKING".to_owned(), format!("GET {key}")]);
    bench.answer(2, "+OK");
    bench.answer(2, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
    bench.send(client, &format!("GET {key}"));
    assert_eq!(bench.at(1), [format!("GET {key}")]);
}

#[test]
fn a_circle_waits_and_starts_again_from_the_owner() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = slot_of(&key);
    bench.send(client, &format!("SET {key} v"));
    bench.answer(1, &format!("-ASK {slot} 10.0.0.1:2"));
    bench.answer(2, "+OK");
    bench.answer(2, &format!("-MOVED {slot} 10.0.0.1:1"));
    assert!(bench.at(1).is_empty() && bench.at(2).is_empty(), "it waits");
    bench.advance(Duration::from_millis(10));
    assert_eq!(bench.at(1), [format!("SET {key} v")]);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
}

#[test]
fn a_stranger_is_not_dialed_before_a_view_lists_it() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {} 10.6.6.6:666", slot_of(&key)));
    assert!(bench.wishes.contains(&WishReason::UnknownNode));
    assert!(!bench.dials.contains_key(&666));
    assert_eq!(bench.got(client), "");
    // The next map knows where the slot is now.
    let slot = slot_of(&key);
    bench.topology(topology(2, &[(1, &[(0, slot - 1), (slot + 1, 16383)]), (9, &[(slot, slot)])]));
    assert_eq!(bench.at(9), [format!("GET {key}")]);
    bench.answer(9, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
}

#[test]
fn a_script_cannot_send_the_proxy_to_a_stranger() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let forged = format!("-MOVED {} 10.6.6.6:666", slot_of(&key));
    bench.send(client, &format!("EVAL script 1 {key}"));
    bench.answer(1, &forged);
    assert_eq!(bench.got(client), format!("{forged}\r\n"));
    assert!(!bench.dials.contains_key(&666));
}

#[test]
fn a_script_that_forges_a_redirect_in_its_own_slot_is_not_executed_again_and_again() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("EVAL script 1 {key}"));
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:1", slot_of(&key)));
    let got = bench.got(client);
    assert!(got.starts_with("-UNKNOWNRESULT "), "{got}");
    assert!(bench.at(1).is_empty());
}

#[test]
fn tryagain_waits_and_others_pass() {
    let mut bench = Bench::new();
    let (waits, passes) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    let tryagain = "-TRYAGAIN Multiple keys request during rehashing of slot";
    let mget = format!("MGET {{{key}}}a {{{key}}}b");
    bench.send(waits, &mget);
    bench.answer(1, tryagain);
    bench.send(passes, &format!("GET {key}"));
    assert_eq!(bench.at(1), [format!("GET {key}")], "a request of somebody else does not wait");
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(passes), "$1\r\nx\r\n");
    for _ in 0..20 {
        bench.advance(Duration::from_millis(200));
        assert_eq!(bench.at(1), std::slice::from_ref(&mget));
        bench.answer(1, tryagain);
    }
    assert_eq!(bench.got(waits), "");
    bench.advance(Duration::from_millis(200));
    bench.answer(1, "*2\r\n$1\r\na\r\n$1\r\nb");
    assert_eq!(bench.got(waits), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
}

#[test]
fn a_client_does_not_overtake_its_own_rejected_request() {
    let mut bench = Bench::new();
    let client = bench.client();
    let (key, other) = (key_of(1, 0), key_of(1, 1));
    let slot = slot_of(&key);
    bench.send(client, &format!("RPUSH {key} 1"));
    bench.answer(1, &format!("-ASK {slot} 10.0.0.1:2"));
    // Read after the rejection: it must not reach any node before the first is settled.
    bench.send(client, &format!("GET {other}"));
    bench.send(client, &format!("RPUSH {key} 2"));
    assert_eq!(bench.at(1), [format!("GET {other}")], "another slot does not wait");
    bench.answer(2, "+OK");
    bench.answer(2, ":1");
    assert_eq!(bench.at(1), [format!("GET {other}"), format!("RPUSH {key} 2")]);
    bench.answer(1, "$-1");
    bench.answer(1, ":2");
    assert_eq!(bench.got(client), ":1\r\n$-1\r\n:2\r\n");
}

#[test]
fn a_new_map_does_not_let_a_client_overtake_itself() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = slot_of(&key);
    bench.send(client, &format!("RPUSH {key} 1"));
    // The map changes while the first is on the wire to the old owner.
    bench.topology(topology(2, &[(1, &[(0, 0)]), (2, &[(1, 16383)])]));
    bench.send(client, &format!("RPUSH {key} 2"));
    assert!(bench.at(2).is_empty());
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:2"));
    assert_eq!(bench.at(2), [format!("RPUSH {key} 1")]);
    bench.answer(2, ":1");
    assert_eq!(bench.at(2), [format!("RPUSH {key} 2")]);
}

#[test]
fn pipelined_requests_are_moved_in_order() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = slot_of(&key);
    for n in 0..5 {
        bench.send(client, &format!("RPUSH {key} {n}"));
    }
    for _ in 0..5 {
        bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:3"));
    }
    // The new owner could reject one and execute the next: each waits for the one before it.
    for n in 0..5 {
        assert_eq!(bench.at(3), [format!("RPUSH {key} {n}")]);
        bench.answer(3, &format!(":{n}"));
    }
    assert_eq!(bench.got(client), ":0\r\n:1\r\n:2\r\n:3\r\n:4\r\n");
}

/// The node had said it before it heard what the map says; in a partition the one that it names
/// may be a primary that was replaced.
#[test]
fn a_redirect_that_was_sent_before_the_map_came_does_not_outdo_it() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("RPUSH {key} 1"));
    let wire = bench.wires_of(1)[0];
    bench.topology(topology(2, &[(1, &[(0, 0)]), (4, &[(1, 5460)]), (2, &[(5461, 16383)])]));
    bench.answer_on(wire, &format!("-MOVED {} 10.0.0.1:2", slot_of(&key)));
    assert_eq!(bench.at(4), [format!("RPUSH {key} 1")]);
    bench.send(client, &format!("GET {key}"));
    bench.answer(4, ":1");
    assert_eq!(bench.at(4), [format!("GET {key}")], "nor has it patched the map");
    // What is sent from now on is answered by nodes that know the map.
    bench.answer(4, &format!("-MOVED {} 10.0.0.1:2", slot_of(&key)));
    assert_eq!(bench.at(2), [format!("GET {key}")]);
}
