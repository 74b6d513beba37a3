//! WATCH at nodes that freeze, and on connections that are closed once it is answered: nothing is
//! executed as watched that is not.

use std::time::Duration;

use super::bench::{Bench, key_of, topology};
use super::watches::{NULL, block, busy, multi, watch};

#[test]
fn a_frozen_node_that_was_replaced_executes_nothing_that_is_acknowledged() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let own = watch(&mut bench, client, 1, &key);
    multi(&mut bench, client, &key);
    bench.freeze(1);
    bench.send(client, "EXEC");
    bench.live(Duration::from_secs(5));
    assert_eq!(bench.got(client), "");
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    bench.live(Duration::from_secs(1));
    let got = bench.got(client);
    assert!(got.starts_with("-UNKNOWNRESULT "), "{got}");
    assert!(bench.wires.get(&own).is_none_or(|wire| wire.requests.is_empty()));
}

#[test]
fn a_frozen_node_makes_a_transaction_that_was_not_sent_null() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    watch(&mut bench, client, 1, &key);
    multi(&mut bench, client, &key);
    bench.freeze(1);
    bench.send(other, &format!("GET {key}"));
    bench.live(Duration::from_secs(5));
    bench.send(client, "EXEC");
    assert_eq!(bench.got(client), NULL);
}

/// It was answered late on a connection that is not kept, and EXEC was sent as if nothing had been
/// watched.
#[test]
fn a_watch_that_a_frozen_node_answers_is_said_again() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let own = watch(&mut bench, client, 1, &key);
    bench.send(client, "UNWATCH");
    bench.answer_on(own, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    bench.freeze(1);
    bench.send(client, &format!("WATCH {key}"));
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.cells.suspects.get(), 1);
    bench.thaw(1);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "");
    for _ in 0..3 {
        bench.live(Duration::from_secs(1));
        bench.look(2);
    }
    let own = busy(&bench, 1);
    assert_eq!(own.len(), 1, "{}", bench.got(client));
    assert_eq!(bench.wires[&own[0]].requests, [format!("WATCH {key}")]);
    bench.answer_on(own[0], "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    multi(&mut bench, client, &key);
    bench.send(client, "EXEC");
    assert_eq!(bench.wires[&own[0]].requests, block(&key), "where it is watched");
}

/// As that, when the node's shared connection is lost while WATCH is under way on its own: those
/// beside it are not used again.
#[test]
fn a_watch_on_a_connection_that_is_closed_behind_it_makes_exec_null() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(other, &format!("INCR {key}"));
    let shared = busy(&bench, 1)[0];
    bench.send(client, &format!("WATCH {key}"));
    let own = busy(&bench, 1).into_iter().find(|&wire| wire != shared).unwrap();
    bench.wires.remove(&shared);
    bench.worker.node_lost(shared, bench.now);
    bench.turn();
    assert!(bench.got(other).starts_with("-UNKNOWNRESULT "));
    bench.answer_on(own, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    assert!(!bench.wires.contains_key(&own), "it is closed");
    multi(&mut bench, client, &key);
    bench.send(client, "EXEC");
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.got(client), NULL);
    assert!(bench.at(1).is_empty());
    // Once: the next one is a transaction like any.
    multi(&mut bench, client, &key);
    bench.send(client, "EXEC");
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), block(&key));
}
