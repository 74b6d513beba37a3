//! WATCH: a connection for one client, and the null EXEC.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings, topology};
use crate::slot::Slot;
use crate::worker::Settings;

pub(super) const NULL: &str = "*-1\r\n";

/// A client, and a key of the first node.
fn start() -> (Bench, u32, String) {
    let mut bench = Bench::new();
    let client = bench.client();
    (bench, client, key_of(1, 0))
}

fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

/// The connections of a node on which something waits for an answer.
pub(super) fn busy(bench: &Bench, port: u16) -> Vec<u32> {
    let wires = bench.wires_of(port).into_iter();
    wires.filter(|wire| !bench.wires[wire].requests.is_empty()).collect()
}

/// A client watches this key at this node: its connection.
pub(super) fn watch(bench: &mut Bench, client: u32, port: u16, key: &str) -> u32 {
    bench.send(client, &format!("WATCH {key}"));
    let at = busy(bench, port);
    assert_eq!(at.len(), 1, "the WATCH is at its node");
    assert_eq!(bench.wires[&at[0]].requests, [format!("WATCH {key}")]);
    bench.answer_on(at[0], "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    at[0]
}

pub(super) fn multi(bench: &mut Bench, client: u32, key: &str) {
    bench.send(client, "MULTI");
    bench.send(client, &format!("INCR {key}"));
    assert_eq!(bench.got(client), "+OK\r\n+QUEUED\r\n");
}

fn execute(bench: &mut Bench, client: u32, key: &str) {
    multi(bench, client, key);
    bench.send(client, "EXEC");
}

pub(super) fn block(key: &str) -> [String; 3] {
    ["MULTI".into(), format!("INCR {key}"), "EXEC".into()]
}

fn answer_all(bench: &mut Bench, wire: u32, replies: &[&str]) {
    for reply in replies {
        bench.answer_on(wire, reply);
    }
}

#[test]
fn a_transaction_behind_a_watch_goes_over_its_connection() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let key = key_of(2, 0);
    let own = watch(&mut bench, client, 2, &key);
    // What comes between goes the normal way.
    bench.send(client, &format!("GET {key}"));
    let shared = busy(&bench, 2)[0];
    assert_ne!(shared, own);
    bench.answer_on(shared, "$1\r\n1");
    assert_eq!(bench.got(client), "$1\r\n1\r\n");
    execute(&mut bench, client, &key);
    assert_eq!(bench.wires[&own].requests, block(&key));
    answer_all(&mut bench, own, &["+OK", "+QUEUED", "*1\r\n:2"]);
    assert_eq!(bench.got(client), "*1\r\n:2\r\n");
    assert_eq!(ended(&bench), (1, 0));
    // The next one has it.
    assert_eq!(watch(&mut bench, other, 2, &key), own);
}

#[test]
fn what_was_watched_and_changed_makes_exec_null_once() {
    let (mut bench, client, key) = start();
    let own = watch(&mut bench, client, 1, &key);
    execute(&mut bench, client, &key);
    answer_all(&mut bench, own, &["+OK", "+QUEUED", "*-1"]);
    assert_eq!(bench.got(client), NULL);
    assert_eq!(ended(&bench), (0, 1));
    execute(&mut bench, client, &key);
    assert!(bench.wires[&own].requests.is_empty(), "nothing is watched now");
    assert_eq!(bench.at(1), block(&key));
}

/// How many transactions have ended with a reply, and with null.
pub(super) fn ended(bench: &Bench) -> (u64, u64) {
    (bench.cells.transactions_executed.get(), bench.cells.transactions_null.get())
}

#[test]
fn each_transaction_behind_a_watch_is_counted_once() {
    for (ends, counted) in [
        (&["-EXECABORT Transaction discarded because of: x"][..], (1, 0)),
        (&["-MOVED 1 10.0.0.1:2"], (0, 1)),
        (&["_"], (0, 1)),
        (&[], (1, 0)),
    ] {
        let (mut bench, client, key) = start();
        let own = watch(&mut bench, client, 1, &key);
        execute(&mut bench, client, &key);
        answer_all(&mut bench, own, &["+OK", "+QUEUED"]);
        answer_all(&mut bench, own, ends);
        bench.kill(1, false); // for want of a reply
        assert_eq!(ended(&bench), counted, "{ends:?}: {}", bench.got(client));
    }
    let (mut bench, client, key) = start();
    watch(&mut bench, client, 1, &key);
    bench.kill(1, false);
    execute(&mut bench, client, &key);
    assert_eq!(bench.got(client), NULL);
    assert_eq!(ended(&bench), (0, 1));
}

#[test]
fn an_empty_transaction_behind_a_watch_is_the_nodes_to_judge() {
    let mut bench = Bench::new();
    let client = bench.client();
    let own = watch(&mut bench, client, 1, &key_of(1, 0));
    bench.send(client, "MULTI");
    bench.send(client, "EXEC");
    assert_eq!(bench.wires[&own].requests, ["MULTI", "EXEC"]);
    answer_all(&mut bench, own, &["+OK", "*-1"]);
    assert_eq!(bench.got(client), format!("+OK\r\n{NULL}"));
}

#[test]
fn nothing_behind_a_watch_is_sent_before_it_is_answered() {
    let (mut bench, client, key) = start();
    let mut all = encode(&format!("WATCH {key}"));
    for line in [format!("GET {key}"), "MULTI".into(), format!("INCR {key}"), "EXEC".into()] {
        all.extend(encode(&line));
    }
    bench.send_raw(client, &all);
    assert_eq!(bench.at(1), [format!("WATCH {key}")]);
    let own = busy(&bench, 1)[0];
    bench.answer_on(own, "+OK");
    // EXEC in its turn waits for what it must not overtake.
    assert_eq!(bench.at(1), [format!("GET {key}")]);
    bench.answer(1, "$1\r\n1");
    assert_eq!(bench.wires[&own].requests, block(&key));
    answer_all(&mut bench, own, &["+OK", "+QUEUED", "*1\r\n:2"]);
    assert_eq!(bench.got(client), "+OK\r\n$1\r\n1\r\n+OK\r\n+QUEUED\r\n*1\r\n:2\r\n");
}

#[test]
fn unwatch_discard_and_reset_let_the_connection_go() {
    for ends in [
        &["UNWATCH"][..],
        &["MULTI", "DISCARD"],
        &["RESET"],
        &["MULTI", "NOPE", "EXEC"],
        &["EXEC x"],
        &["MULTI", "EXEC x"],
    ] {
        let mut bench = Bench::new();
        let (client, other) = (bench.client(), bench.client());
        let key = key_of(1, 0);
        let own = watch(&mut bench, client, 1, &key);
        for line in ends {
            bench.send(client, line);
        }
        bench.got(client);
        assert_eq!(bench.wires[&own].requests, ["UNWATCH"], "{ends:?}");
        bench.answer_on(own, "+OK");
        assert_eq!(bench.got(client), "", "{ends:?}");
        execute(&mut bench, client, &key);
        assert_eq!(bench.at(1), block(&key), "{ends:?}");
        assert!(bench.wires[&own].requests.is_empty(), "{ends:?}");
        for reply in ["+OK", "+QUEUED", "*1\r\n:1"] {
            bench.answer(1, reply);
        }
        assert_eq!(watch(&mut bench, other, 1, &key), own, "{ends:?}");
    }
}

#[test]
fn unwatch_without_a_watch_asks_nobody() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "UNWATCH");
    assert_eq!(bench.got(client), "+OK\r\n");
    assert!((1..=3).all(|port| bench.at(port).is_empty()));
}

#[test]
fn a_client_that_leaves_closes_what_it_kept() {
    let key = key_of(1, 0);
    for step in ["watched", "watching", "queued", "under way"] {
        let mut bench = Bench::new();
        let client = bench.client();
        if step == "watching" {
            bench.send(client, &format!("WATCH {key}"));
        } else {
            watch(&mut bench, client, 1, &key);
        }
        let before = bench.wires_of(1).len();
        if matches!(step, "queued" | "under way") {
            multi(&mut bench, client, &key);
        }
        if step == "under way" {
            bench.send(client, "EXEC");
        }
        bench.worker.client_lost(client, bench.now);
        bench.turn();
        assert_eq!(bench.wires_of(1).len(), before - 1, "{step}");
        assert_eq!(bench.cells.transaction_bytes.get(), 0, "{step}");
    }
}

#[test]
fn a_loss_before_exec_was_handed_over_is_null_and_one_after_it_is_unknown() {
    let key = key_of(1, 0);
    let len: usize = block(&key).iter().map(|line| encode(line).len()).sum();
    for handed_over in 0..=len {
        let mut bench = Bench::new();
        let client = bench.client();
        let own = watch(&mut bench, client, 1, &key);
        multi(&mut bench, client, &key);
        bench.wires.get_mut(&own).unwrap().takes = Some(handed_over);
        bench.send(client, "EXEC");
        bench.kill(1, false);
        bench.advance(Duration::from_secs(1));
        let got = bench.got(client);
        if handed_over < len {
            assert_eq!(got, NULL, "{handed_over}");
        } else {
            assert!(got.starts_with("-UNKNOWNRESULT "), "{got}");
        }
        assert!(bench.at(1).is_empty(), "it is never sent again");
        bench.send(client, &format!("GET {key}"));
        bench.advance(Duration::from_secs(1));
        bench.answer(1, "$1\r\nx");
        assert_eq!(bench.got(client), "$1\r\nx\r\n");
    }
}

#[test]
fn a_loss_between_watch_and_exec_is_null() {
    for before_multi in [true, false] {
        let (mut bench, client, key) = start();
        watch(&mut bench, client, 1, &key);
        if !before_multi {
            multi(&mut bench, client, &key);
        }
        bench.kill(1, false);
        bench.advance(Duration::from_secs(1));
        if before_multi {
            // A further WATCH does not bring back what the first one saw.
            bench.send(client, &format!("WATCH {key}"));
            bench.advance(Duration::from_secs(1));
            bench.answer(1, "+OK");
            assert_eq!(bench.got(client), "+OK\r\n");
            multi(&mut bench, client, &key);
        }
        bench.send(client, "EXEC");
        assert_eq!(bench.got(client), NULL);
        assert!(bench.at(1).is_empty());
        // Once: the next one is a transaction like any.
        execute(&mut bench, client, &key);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.at(1), block(&key));
    }
}

#[test]
fn a_refusal_of_exec_is_null() {
    let key = key_of(1, 0);
    let slot = slot_of(&key);
    let aborted = "-EXECABORT Transaction discarded because of previous errors.";
    for (queued, exec) in [
        ("+QUEUED".to_owned(), format!("-MOVED {slot} 10.0.0.1:2")),
        ("+QUEUED".into(), format!("-ASK {slot} 10.0.0.1:2")),
        ("+QUEUED".into(), "-TRYAGAIN x".into()),
        ("+QUEUED".into(), "-CLUSTERDOWN The cluster is down".into()),
        (
            "+QUEUED".into(),
            "-EXECABORT Transaction discarded because of: LOADING Redis is loading".into(),
        ),
        (format!("-MOVED {slot} 10.0.0.1:2"), aborted.into()),
        (format!("-ASK {slot} 10.0.0.1:2"), aborted.into()),
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        let own = watch(&mut bench, client, 1, &key);
        execute(&mut bench, client, &key);
        answer_all(&mut bench, own, &["+OK", &queued, &exec]);
        assert_eq!(bench.got(client), NULL, "{queued} {exec}");
        bench.advance(Duration::from_secs(1));
        assert!((1..=3).all(|port| bench.at(port).is_empty()), "{queued} {exec}");
        assert!(!bench.wires.contains_key(&own), "it is closed");
    }
}

#[test]
fn any_other_error_of_exec_is_the_clients() {
    let (mut bench, client, key) = start();
    let own = watch(&mut bench, client, 1, &key);
    execute(&mut bench, client, &key);
    answer_all(
        &mut bench,
        own,
        &["+OK", "-OOM no", "-EXECABORT Transaction discarded because of x"],
    );
    assert_eq!(bench.got(client), "-EXECABORT Transaction discarded because of: OOM no\r\n");
}

#[test]
fn watch_itself_is_masked() {
    let key = key_of(1, 0);
    let slot = slot_of(&key);
    let mut bench = Bench::new();
    let client = bench.client();
    bench.kill(1, true);
    bench.send(client, &format!("WATCH {key}"));
    bench.advance(Duration::from_secs(3));
    assert_eq!(bench.got(client), "");
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:2"));
    let own = busy(&bench, 2)[0];
    bench.answer(2, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    execute(&mut bench, client, &key);
    assert_eq!(bench.wires[&own].requests, block(&key));
}

#[test]
fn a_watch_whose_reply_is_lost_is_sent_again() {
    let (mut bench, client, key) = start();
    bench.send(client, &format!("WATCH {key}"));
    bench.kill(1, false);
    bench.advance(Duration::from_secs(1));
    let own = busy(&bench, 1)[0];
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    execute(&mut bench, client, &key);
    assert_eq!(bench.wires[&own].requests, block(&key));
}

#[test]
fn a_watch_that_was_asked_for_goes_on_asking() {
    let (mut bench, client, key) = start();
    bench.send(client, &format!("WATCH {key}"));
    bench.answer(1, &format!("-ASK {} 10.0.0.1:2", slot_of(&key)));
    let own = busy(&bench, 2)[0];
    assert_eq!(bench.wires[&own].requests, ["ASKING".to_owned(), format!("WATCH {key}")]);
    answer_all(&mut bench, own, &["+OK", "+OK"]);
    assert_eq!(bench.got(client), "+OK\r\n");
    execute(&mut bench, client, &key);
    assert_eq!(bench.wires[&own].requests[0], "ASKING");
    assert_eq!(bench.wires[&own].requests[1..], block(&key));
    answer_all(&mut bench, own, &["+OK", "+OK", "+QUEUED", "*1\r\n:2"]);
    assert_eq!(bench.got(client), "*1\r\n:2\r\n");
}

#[test]
fn a_watch_that_is_refused_is_none() {
    let (mut bench, client, key) = start();
    bench.send(client, &format!("WATCH {key}"));
    bench.answer(1, "-NOPERM no");
    assert_eq!(bench.got(client), "-NOPERM no\r\n");
    execute(&mut bench, client, &key);
    assert_eq!(bench.at(1), block(&key), "as on a server");
}

#[test]
fn a_slot_that_has_moved_makes_exec_null() {
    let rest = [(2, &[(0, 10922)][..]), (3, &[(10923, 16383)])];
    for (stays, map) in [(false, rest.to_vec()), (true, [&rest[..], &[(1, &[])]].concat())] {
        let (mut bench, client, key) = start();
        let own = watch(&mut bench, client, 1, &key);
        multi(&mut bench, client, &key);
        bench.topology(topology(2, &map));
        bench.send(client, "EXEC");
        // A node that was replaced may not know it yet, and execute what is lost.
        assert_eq!(bench.got(client), NULL);
        bench.live(Duration::from_secs(2));
        assert!((1..=3).all(|port| bench.at(port).is_empty()));
        assert!(!bench.wires_of(1).contains(&own));
        assert!(stays || bench.wires_of(1).is_empty(), "nobody keeps the node that has left");
    }
}

#[test]
fn a_slot_that_moves_while_exec_is_not_handed_over_makes_it_null() {
    let (mut bench, client, key) = start();
    let own = watch(&mut bench, client, 1, &key);
    multi(&mut bench, client, &key);
    bench.wires.get_mut(&own).unwrap().takes = Some(0);
    bench.send(client, "EXEC");
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    assert_eq!(bench.got(client), NULL);
    bench.live(Duration::from_secs(2));
    assert!(bench.at(2).is_empty());
    assert!(bench.wires_of(1).is_empty());
}

#[test]
fn another_slot_is_refused_with_words() {
    let mut bench = Bench::new();
    let client = bench.client();
    let (key, far) = (key_of(1, 0), key_of(1, 1));
    bench.send(client, &format!("WATCH {key} {far}"));
    let cross = "-CROSSSLOT Keys in request don't hash to the same slot";
    assert_eq!(bench.got(client), format!("{cross}\r\n"));
    let own = watch(&mut bench, client, 1, &key);
    bench.send(client, &format!("WATCH {far}"));
    assert_eq!(bench.got(client), format!("{cross} as the watched ones\r\n"));
    bench.send(client, &format!("WATCH {{{key}}}a {{{key}}}b"));
    assert_eq!(bench.wires[&own].requests, [format!("WATCH {{{key}}}a {{{key}}}b")]);
    bench.answer_on(own, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    bench.send(client, "CLIENT INFO");
    assert!(bench.got(client).contains("multi=-1 watch=3 "));
    bench.send(client, "MULTI");
    bench.send(client, &format!("INCR {far}"));
    bench.send(client, "EXEC");
    let got = bench.got(client);
    assert!(got.starts_with(&format!("+OK\r\n{cross}\r\n-EXECABORT")), "{got}");
}

#[test]
fn another_mode_between_watch_and_exec_makes_it_null_in_its_own_words() {
    let (mut bench, client, key) = start();
    watch(&mut bench, client, 1, &key);
    bench.send(client, "HELLO 3");
    bench.got(client);
    execute(&mut bench, client, &key);
    assert_eq!(bench.got(client), "_\r\n");
}

#[test]
fn watching_clients_are_bounded_and_served_in_order() {
    let mut bench = Bench::with(Settings { dedicated_max: 2, ..settings() });
    let key = key_of(1, 0);
    let clients: Vec<u32> = (0..3).map(|_| bench.client()).collect();
    let own = watch(&mut bench, clients[0], 1, &key);
    for &client in &clients[1..] {
        bench.send(client, &format!("WATCH {key}"));
        assert_eq!(bench.got(client), "", "it waits");
    }
    bench.send(clients[0], "UNWATCH");
    bench.answer_on(own, "+OK");
    assert_eq!(bench.wires[&own].requests, [format!("WATCH {key}")]);
    bench.answer_on(own, "+OK");
    assert_eq!(bench.got(clients[1]), "+OK\r\n");
    assert_eq!(bench.got(clients[2]), "");
    bench.worker.client_lost(clients[1], bench.now);
    bench.turn();
    bench.answer(1, "+OK");
    assert_eq!(bench.got(clients[2]), "+OK\r\n");
}

#[test]
fn a_large_transaction_behind_a_watch_gives_its_bytes_back() {
    let (mut bench, client, key) = start();
    let own = watch(&mut bench, client, 1, &key);
    bench.send(client, "MULTI");
    for _ in 0..4 {
        bench.send(client, &format!("APPEND {key} {}", "x".repeat(8_000)));
    }
    bench.send(client, "EXEC");
    assert!(!bench.worker.large_reads.is_unused());
    answer_all(&mut bench, own, &["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "*-1"]);
    assert!(bench.worker.large_reads.is_unused());
}

#[test]
fn keys_that_are_watched_on_two_connections_make_exec_null_though_their_slot_comes_back() {
    let (mut bench, client, key) = start();
    let other = format!("{{{key}}}b");
    watch(&mut bench, client, 1, &key);
    let slot = slot_of(&key);
    let left = [(0, slot - 1), (slot + 1, 5460)];
    bench.topology(topology(2, &[(1, &left), (2, &[(slot, slot), (5461, 16383)])]));
    watch(&mut bench, client, 2, &other);
    bench.topology(topology(3, &[(1, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    execute(&mut bench, client, &key);
    assert_eq!(bench.got(client), NULL, "what was written to the second key is not known there");
    bench.live(Duration::from_secs(1));
    let node = bench.worker.pools.iter().find(|(_, pool)| pool.lent > 0);
    assert!(node.is_none(), "both connections are free");
}
