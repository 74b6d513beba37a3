//! WAIT asks the shards that its client has written to, and believes nobody else.

use std::time::Duration;

use super::bench::{Bench, key_of, settings, topology};
use super::gather::with_replica;
use crate::session::Part;
use crate::slot::Slot;
use crate::worker::Settings;

fn bench() -> Bench {
    Bench::with(Settings { dedicated_max: 20, ..settings() })
}

fn set(bench: &mut Bench, client: u32, port: u16) {
    bench.send(client, &format!("SET {} x", key_of(port, 0)));
    bench.answer(port, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
}

/// A node answers what is in front of the WAIT that it was sent.
fn pass(bench: &mut Bench, port: u16) {
    let at = bench.at(port);
    assert_eq!((at.len(), at[0].as_str(), at[3].as_str()), (5, "MULTI", "EXEC"), "{at:?}");
    assert!(at[1].starts_with("SET slotway:wait:") && at[2].starts_with("DEL slotway:wait:"));
    for reply in ["+OK", "+QUEUED", "+QUEUED", "*2\r\n+OK\r\n:1"] {
        bench.answer(port, reply);
    }
}

#[test]
fn the_shards_that_were_written_to_are_asked_behind_a_write_and_the_smallest_number_counts() {
    let mut bench = bench();
    let client = bench.client();
    set(&mut bench, client, 1);
    set(&mut bench, client, 3);
    bench.send(client, &format!("GET {}", key_of(2, 0)));
    bench.answer(2, "$-1");
    bench.got(client);
    bench.send(client, "WAIT 1 100");
    assert!(bench.at(2).is_empty(), "it has only read there");
    pass(&mut bench, 1);
    assert_eq!(bench.at(1), ["WAIT 1 100"]);
    bench.answer(1, ":2");
    assert_eq!(bench.got(client), "");
    pass(&mut bench, 3);
    bench.answer(3, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
    // What has arrived is not asked for again.
    set(&mut bench, client, 3);
    bench.send(client, "WAIT 1 100");
    pass(&mut bench, 3);
    bench.answer(3, ":0");
    assert_eq!(bench.got(client), ":0\r\n");
    assert!(bench.at(1).is_empty());
    // What has not, is.
    bench.send(client, "WAIT 1 100");
    pass(&mut bench, 3);
    bench.answer(3, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
    // Nothing was written since: any server answers.
    bench.send(client, "WAIT 1 100");
    let asked: Vec<String> = (1..=3).flat_map(|port| bench.at(port)).collect();
    assert_eq!(asked, ["WAIT 1 100"]);
}

#[test]
fn a_shard_that_cannot_be_asked_counts_none() {
    for refusal in ["-READONLY You can't write against a read only replica.", "-MOVED 1 10.0.0.1:2"]
    {
        let mut bench = bench();
        let client = bench.client();
        set(&mut bench, client, 1);
        bench.send(client, "WAIT 1 0");
        bench.answer(1, "+OK");
        bench.answer(1, refusal);
        assert_eq!(bench.got(client), ":0\r\n");
        assert_eq!(bench.wires_of(1).len(), 1, "its connection is closed");
    }
    let mut bench = bench();
    let client = bench.client();
    set(&mut bench, client, 1);
    bench.send(client, "WAIT 1 0");
    pass(&mut bench, 1);
    bench.kill(1, false);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.got(client), ":0\r\n", "lost");
}

#[test]
fn own_errors_of_the_command_are_the_clients() {
    let mut bench = bench();
    let client = bench.client();
    set(&mut bench, client, 1);
    bench.send(client, "WAITAOF 2 0 100");
    pass(&mut bench, 1);
    bench.answer(1, "-ERR value is out of range, value must between 0 and 1");
    assert_eq!(bench.got(client), "-ERR value is out of range, value must between 0 and 1\r\n");
    bench.send(client, "WAITAOF 1 1 100");
    pass(&mut bench, 1);
    bench.answer(1, "*2\r\n:1\r\n:0");
    assert_eq!(bench.got(client), "*2\r\n:1\r\n:0\r\n");
}

#[test]
fn a_primary_that_was_replaced_counts_none_until_something_new_is_written() {
    let mut bench = bench();
    let (client, waiting) = (bench.client(), bench.client());
    set(&mut bench, client, 1);
    set(&mut bench, waiting, 1);
    bench.send(waiting, "WAIT 1 0");
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    pass(&mut bench, 1);
    bench.answer(1, ":1");
    assert_eq!(bench.got(waiting), ":0\r\n", "it was replaced meanwhile");
    for _ in 0..2 {
        bench.send(client, "WAIT 1 100");
        assert_eq!(bench.got(client), ":0\r\n");
    }
    bench.send(client, &format!("SET {} x", key_of(1, 0)));
    bench.answer(2, "+OK");
    bench.got(client);
    bench.send(client, "WAIT 1 100");
    pass(&mut bench, 2);
    bench.answer(2, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

/// The others were asked in its place, and what was written there counted as arrived.
#[test]
fn a_primary_that_a_redirect_says_was_replaced_counts_none() {
    let mut bench = bench();
    bench.topology(with_replica(2, 4));
    let (client, other) = (bench.client(), bench.client());
    set(&mut bench, client, 1);
    set(&mut bench, client, 2);
    let key = key_of(1, 0);
    let slot = Slot::of_key(key.as_bytes()).number();
    bench.send(other, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:4"));
    for _ in 0..2 {
        bench.send(client, "WAIT 1 100");
        assert_eq!(bench.got(client), ":0\r\n");
    }
    bench
        .topology(topology(3, &[(4, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])]));
    bench.send(client, "WAIT 1 100");
    assert_eq!(bench.got(client), ":0\r\n", "the map says so too");
}

/// The old primary's loss counted for ever, or hid what was written to the new one.
#[test]
fn who_has_written_to_the_new_primary_waits_for_it() {
    let new = || topology(3, &[(4, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])]);
    for map_comes in ["before the write", "before the WAIT", "after the WAIT"] {
        let mut bench = bench();
        bench.topology(with_replica(2, 4));
        let client = bench.client();
        set(&mut bench, client, 1);
        let key = key_of(1, 0);
        let slot = Slot::of_key(key.as_bytes()).number();
        if map_comes == "before the write" {
            bench.topology(new());
        }
        bench.send(client, &format!("SET {key} y"));
        if map_comes != "before the write" {
            bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:4"));
        }
        bench.answer(4, "+OK");
        assert_eq!(bench.got(client), "+OK\r\n");
        if map_comes == "before the WAIT" {
            bench.topology(new());
        }
        bench.send(client, "WAIT 1 3000");
        assert_eq!(bench.got(client), "", "the map comes {map_comes}");
        assert!(bench.at(1).is_empty());
        if map_comes == "after the WAIT" {
            bench.topology(new());
        }
        pass(&mut bench, 4);
        bench.answer(4, ":1");
        assert_eq!(bench.got(client), ":1\r\n");
    }
}

/// They counted as written to, replicas too, and a WAIT was answered with 0 from then on.
#[test]
fn what_all_nodes_are_told_is_no_write() {
    for request in ["CONFIG SET maxmemory 0", "CONFIG RESETSTAT", "SLOWLOG RESET", "LATENCY RESET"]
    {
        let mut bench = bench();
        bench.topology(with_replica(2, 4));
        let client = bench.client();
        // The second time, they go the way of those whose connections are there.
        for _ in 0..2 {
            bench.send(client, request);
            let answer = if request.starts_with("LATENCY") { ":0" } else { "+OK" };
            (1..=4).for_each(|port| bench.answer(port, answer));
            bench.got(client);
            set(&mut bench, client, 1);
            bench.send(client, "WAIT 1 1000");
            pass(&mut bench, 1);
            bench.answer(1, ":1");
            assert_eq!(bench.got(client), ":1\r\n", "{request}");
        }
    }
}

/// A slot began to move to a node that has none, and stayed after all.
#[test]
fn a_node_that_owns_nothing_is_no_reason_for_ever() {
    let mut bench = bench();
    bench.topology(with_replica(2, 4));
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = Slot::of_key(key.as_bytes()).number();
    bench.send(client, &format!("SET {key} x"));
    bench.answer(1, &format!("-ASK {slot} 10.0.0.1:4")); // it is dialed
    bench.advance(Duration::from_secs(1));
    bench.answer(1, &format!("-ASK {slot} 10.0.0.1:4"));
    bench.answer(4, "+OK");
    bench.answer(4, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    bench.send(client, "WAIT 1 1000");
    assert_eq!(bench.got(client), ":0\r\n", "nobody can be asked about it");
    set(&mut bench, client, 1);
    bench.send(client, "WAIT 1 1000");
    pass(&mut bench, 1);
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

#[test]
fn a_primary_that_has_started_anew_counts_none() {
    let mut bench = bench();
    let client = bench.client();
    set(&mut bench, client, 1);
    bench.kill(1, false);
    bench.infos.insert(1, "run_id:another\r\n".into());
    bench.advance(Duration::from_secs(1));
    let other = bench.client();
    bench.send(other, &format!("GET {}", key_of(1, 0)));
    bench.advance(Duration::from_secs(1));
    bench.send(client, "WAIT 1 100");
    assert_eq!(bench.got(client), ":0\r\n");
}

#[test]
fn slots_that_move_are_waited_for_where_they_are() {
    let mut bench = bench();
    let client = bench.client();
    set(&mut bench, client, 1);
    bench.topology(topology(2, &[(1, &[(0, 9)]), (2, &[(10, 10922)]), (3, &[(10923, 16383)])]));
    bench.send(client, "WAIT 1 100");
    for port in [1, 2] {
        pass(&mut bench, port);
        bench.answer(port, ":1");
    }
    assert_eq!(bench.got(client), ":1\r\n");
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_all_its_connections_along() {
    let mut bench = bench();
    let client = bench.client();
    set(&mut bench, client, 1);
    set(&mut bench, client, 2);
    bench.send(client, "WAIT 1 0");
    assert_eq!((bench.wires_of(1).len(), bench.wires_of(2).len()), (2, 2));
    bench.worker.client_lost(client, bench.now);
    bench.turn();
    assert_eq!((bench.wires_of(1).len(), bench.wires_of(2).len()), (1, 1));
    assert!(bench.worker.pools.iter().all(|(_, pool)| pool.lent == 0));
}

#[test]
fn many_that_wait_for_a_node_that_owns_nothing_any_more_are_answered() {
    const MANY: usize = 10_000;
    let mut bench = Bench::with(Settings { park_max_requests: MANY, ..settings() });
    let clients: Vec<u32> = (0..MANY).map(|_| bench.client()).collect();
    for &client in &clients {
        set(&mut bench, client, 1);
        bench.send(client, "WAIT 1 0");
    }
    pass(&mut bench, 1);
    // A redirect says so; the map still has the node.
    let slots = (0..16384).filter_map(Slot::new).filter(|slot| slot.number() <= 5460);
    let two = bench.worker.routes[16383];
    slots.for_each(|slot| bench.worker.routes[slot.index()] = two);
    bench.answer(1, ":1");
    let got = clients.iter().map(|&client| bench.got(client)).collect::<Vec<_>>();
    assert_eq!(got[0], ":1\r\n");
    assert!(got[1..].iter().all(|got| got == ":0\r\n"));
}

#[test]
fn who_is_unblocked_waits_for_no_shard_any_more() {
    for (reason, reply) in
        [("", ":0"), (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    {
        let mut bench = bench();
        let client = bench.client();
        for port in 1..=3 {
            set(&mut bench, client, port);
        }
        bench.kill(2, true);
        bench.kill(3, true);
        bench.send(client, "WAIT 1 0");
        pass(&mut bench, 1);
        let asker = bench.client();
        bench.send(asker, &format!("CLIENT UNBLOCK 7{reason}"));
        bench.answer_question(vec![Part::Count(0)]);
        assert_eq!(bench.got(asker), ":1\r\n");
        let mut at = bench.at(1);
        at.sort();
        assert!(at.len() == 2 && at[0].starts_with("CLIENT UNBLOCK"), "{at:?}");
        for wire in bench.wires_of(1) {
            let told = bench.wires[&wire].requests[0].starts_with("CLIENT");
            bench.answer_on(wire, if told { ":1" } else { reply });
        }
        assert_eq!(bench.got(client), format!("{reply}\r\n"));
    }
}
