//! Requests for all nodes while one of them is away.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, key_of, node_id};
use super::gather::with_replica;
use crate::command::{Told, learn};
use crate::slot::Slot;
use crate::topology::{Draft, Endpoint, Health, Node, Role, Topology};

const REPLICA: u16 = 4;

/// A log of one entry.
const ENTRY: &str = "*1\r\n*2\r\n:1\r\n:7";

/// As [`with_replica`], and the others say that the replica has failed.
fn replica_failed(revision: u64) -> Arc<Topology> {
    let mut draft = Draft { revision, ..Draft::default() };
    for (number, (first, last)) in (1..).zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
        let endpoint = Endpoint::new("10.0.0.1", number);
        draft.nodes.push(Node::new(node_id(number), endpoint, Role::Primary));
        let slot = |n: u16| Slot::new(n).unwrap();
        draft.own(slot(first), slot(last), node_id(number), 1);
    }
    let endpoint = Endpoint::new("10.0.0.1", REPLICA);
    let replica = Node::new(node_id(REPLICA), endpoint, Role::Replica);
    draft.nodes.push(Node { follows: Some(node_id(1)), health: Health::Failed, ..replica });
    Arc::new(draft.finish())
}

/// Three shards, and a replica to which nobody has been connected yet.
fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.topology(with_replica(2, REPLICA));
    bench
}

/// All primaries answer.
fn answer_primaries(bench: &mut Bench, reply: &str) {
    (1..=3).for_each(|port| bench.answer(port, reply));
}

/// Nothing of what was asked is left anywhere.
fn assert_over(bench: &Bench) {
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    assert_eq!(bench.cells.parked_requests.get(), 0);
    assert_eq!(bench.cells.parked_bytes.get(), 0);
}

#[test]
fn a_question_waits_a_second_for_a_node_that_cannot_be_reached_and_is_answered_by_the_others() {
    for (question, reply, expected) in [
        ("SLOWLOG LEN", ":2", ":6\r\n"),
        ("SLOWLOG GET 2", ENTRY, &format!("*2{0}{0}\r\n", &ENTRY[2..])),
        ("PUBSUB NUMSUB a", "*2\r\n$1\r\na\r\n:1", "*2\r\n$1\r\na\r\n:3\r\n"),
        ("PUBSUB NUMPAT", ":1", ":3\r\n"),
        ("PUBSUB CHANNELS", "*1\r\n$1\r\na", "*1\r\n$1\r\na\r\n"),
    ] {
        // Before the first connection to it, and after one.
        for was_connected in [false, true] {
            let mut bench = bench();
            let client = bench.client();
            if was_connected {
                bench.send(client, question);
                (1..=4).for_each(|port| bench.answer(port, reply));
                bench.got(client);
            }
            bench.kill(REPLICA, true);
            bench.send(client, question);
            bench.send(client, "PING");
            answer_primaries(&mut bench, reply);
            bench.advance(Duration::from_millis(900));
            assert_eq!(bench.got(client), "", "it may be back at once");
            bench.advance(Duration::from_millis(200));
            assert_eq!(bench.got(client), format!("{expected}+PONG\r\n"), "{question}");
            assert_over(&bench);
        }
    }
}

#[test]
fn a_node_that_is_back_within_the_second_is_asked() {
    let mut bench = bench();
    let client = bench.client();
    bench.kill(REPLICA, true);
    bench.send(client, "SLOWLOG LEN");
    answer_primaries(&mut bench, ":2");
    bench.advance(Duration::from_millis(500));
    bench.revive(REPLICA);
    bench.advance(Duration::from_millis(300));
    bench.answer(REPLICA, ":1");
    assert_eq!(bench.got(client), ":7\r\n");
    bench.advance(Duration::from_secs(30));
    assert_eq!(bench.got(client), "");
}

/// Who has been found there is no reason to leave it out: only its connection takes its time.
#[test]
fn a_node_whose_connection_is_being_opened_is_waited_for() {
    let mut bench = bench();
    let client = bench.client();
    bench.slow_dials = true;
    bench.send(client, "SLOWLOG LEN");
    answer_primaries(&mut bench, ":2");
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.got(client), "");
    let wire = bench.wires_of(REPLICA)[0];
    bench.open(wire);
    bench.answer(REPLICA, ":1");
    assert_eq!(bench.got(client), ":7\r\n");
    // The dial fails after all: its second is over.
    bench.advance(Duration::from_secs(2));
    bench.kill(REPLICA, false);
    bench.send(client, "SLOWLOG LEN");
    answer_primaries(&mut bench, ":2");
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.got(client), "");
    bench.kill(REPLICA, true);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.got(client), ":6\r\n");
    assert_over(&bench);
}

#[test]
fn a_node_that_went_silent_is_left_out_and_what_it_says_later_is_nobodys() {
    let mut bench = bench();
    let (client, other) = (bench.client(), bench.client());
    bench.freeze(1);
    bench.send(other, &format!("INCR {}", key_of(1, 0)));
    for _ in 0..2 {
        bench.send(client, "SLOWLOG LEN");
        (2..=4).for_each(|port| bench.answer(port, ":2"));
        bench.live(Duration::from_secs(4));
        assert_eq!(bench.got(client), ":6\r\n");
        assert_eq!(bench.worker.clients.gathers.len(), 0);
    }
    // This one has the same place among requests of several parts as those before.
    bench.send(client, "SLOWLOG LEN");
    (2..=4).for_each(|port| bench.answer(port, ":2"));
    let old = bench.wires_of(1)[0];
    bench.thaw(1);
    assert_eq!(
        bench.wires[&old].requests,
        [format!("INCR {}", key_of(1, 0)), "SLOWLOG LEN".into()]
    );
    bench.answer_on(old, ":1");
    bench.answer_on(old, ":100");
    assert_eq!(bench.cells.stale_replies_dropped.get(), 1);
    bench.live(Duration::from_secs(2));
    assert_eq!(bench.got(client), ":6\r\n");
    bench.look(2);
    assert_eq!(bench.got(other), ":1\r\n");
    bench.live(Duration::from_secs(1));
    assert_over(&bench);
}

#[test]
fn a_write_to_all_nodes_waits_until_the_others_say_that_a_node_has_failed() {
    for was_connected in [false, true] {
        let mut bench = bench();
        let client = bench.client();
        if was_connected {
            bench.send(client, "SLOWLOG LEN");
            (1..=4).for_each(|port| bench.answer(port, ":2"));
            bench.got(client);
        }
        bench.kill(REPLICA, true);
        bench.send(client, "CONFIG SET hz 10");
        answer_primaries(&mut bench, "+OK");
        bench.advance(Duration::from_secs(5));
        bench.topology(with_replica(3, REPLICA));
        assert_eq!(bench.got(client), "");
        bench.topology(replica_failed(4));
        assert_eq!(bench.got(client), "+OK\r\n");
        assert_over(&bench);
    }
}

#[test]
fn so_it_does_until_the_node_has_left_the_cluster() {
    let mut bench = bench();
    let client = bench.client();
    bench.kill(REPLICA, true);
    bench.send(client, "CONFIG SET hz 10");
    answer_primaries(&mut bench, "+OK");
    bench.topology(super::bench::three_shards());
    assert_eq!(bench.got(client), "+OK\r\n");
    assert_over(&bench);
}

#[test]
fn a_write_that_nobody_says_anything_about_is_told_at_the_deadline() {
    let mut bench = bench();
    let client = bench.client();
    bench.kill(REPLICA, true);
    bench.send(client, "CONFIG SET hz 10");
    answer_primaries(&mut bench, "+OK");
    bench.advance(Duration::from_secs(21));
    let got = bench.got(client);
    let expected = "-UNKNOWNRESULT partly executed: 3 of 4 nodes applied, 1 not executed: ";
    assert!(got.starts_with(expected), "{got}");
    assert_over(&bench);
}

/// The node had it whole: it may have done it, and may live.
#[test]
fn a_write_whose_reply_was_lost_is_not_left_out() {
    let mut bench = bench();
    let client = bench.client();
    bench.send(client, "SLOWLOG LEN");
    (1..=4).for_each(|port| bench.answer(port, ":2"));
    bench.got(client);
    bench.send(client, "CONFIG SET hz 10");
    answer_primaries(&mut bench, "+OK");
    bench.kill(REPLICA, true);
    bench.topology(replica_failed(4));
    let got = bench.got(client);
    let expected = "-UNKNOWNRESULT partly executed: 3 of 4 nodes applied, 1 unknown: ";
    assert!(got.starts_with(expected), "{got}");
}

#[test]
fn if_no_node_can_be_reached_a_question_has_no_answer() {
    let mut bench = bench();
    let client = bench.client();
    (1..=4).for_each(|port| bench.kill(port, true));
    bench.send(client, "PUBSUB NUMSUB a");
    bench.advance(Duration::from_millis(1_100));
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{got}");
    assert_over(&bench);
}

/// What is asked of the shards needs all of them.
#[test]
fn no_shard_is_left_out_of_what_concerns_their_keys() {
    let mut bench = bench();
    let client = bench.client();
    bench.kill(1, true);
    bench.send(client, "DBSIZE");
    bench.answer(2, ":2");
    bench.answer(3, ":2");
    bench.advance(Duration::from_secs(10));
    assert_eq!(bench.got(client), "");
    bench.revive(1);
    bench.advance(Duration::from_millis(300));
    bench.answer(1, ":2");
    assert_eq!(bench.got(client), ":6\r\n");
}

#[test]
fn a_large_part_of_a_joined_reply_flows_without_the_node_that_is_left_out() {
    let flags = ["readonly", "module"].map(str::to_owned).to_vec();
    let tips = vec!["request_policy:all_nodes".to_owned()];
    learn(&[Told { name: "told.all".into(), arity: 1, flags, tips, ..Told::default() }]);
    let mut bench = bench();
    let client = bench.client();
    bench.kill(REPLICA, true);
    bench.send(client, "TOLD.ALL");
    bench.answer(2, "*1\r\n:2");
    bench.answer(3, "*1\r\n:3");
    let value = "x".repeat(30_000);
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().requests.clear();
    bench.say(wire, format!("*1\r\n$30000\r\n{value}").as_bytes());
    bench.advance(Duration::from_millis(1_100));
    bench.say(wire, b"\r\n");
    let expected = format!("*3\r\n:2\r\n:3\r\n$30000\r\n{value}\r\n");
    assert_eq!(bench.got(client), expected);
    assert_over(&bench);
}
