//! Clients of several listeners side by side, each treated as its own listener says.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, deadlines, encode, key_of, settings, topology};
use crate::node::Patience;
use crate::session::Manners;
use crate::slot::Slot;
use crate::worker::{Deadlines, Settings};

const MS: Duration = Duration::from_millis(1);

/// A worker whose listeners have chosen these deadlines, in milliseconds; `auto` is 20 s.
fn bench(chosen: &[u64]) -> Bench {
    let chosen: Arc<[Duration]> = chosen.iter().map(|&ms| Duration::from_millis(ms)).collect();
    let deadlines = Deadlines { chosen, ..deadlines(Duration::from_secs(20)) };
    Bench::with(Settings { deadlines, large_requests_max_bytes: 50_000, ..settings() })
}

/// A client of the listener that has chosen the deadline with this number.
fn client(bench: &mut Bench, deadline: usize) -> u32 {
    let patience = Patience::chosen(deadline);
    bench.client_with(Manners { patience, ..Manners::default() })
}

/// Just before the time is over nobody has an answer, right after it the client has this one.
fn ends(bench: &mut Bench, client: u32, after: Duration, beginning: &str) {
    bench.advance(after - MS);
    assert_eq!(bench.got(client), "");
    bench.advance(2 * MS);
    let got = bench.got(client);
    assert!(got.starts_with(beginning), "{got:?} is not {beginning}");
}

#[test]
fn each_client_in_a_lot_waits_for_as_long_as_its_listener_says() {
    let mut bench = bench(&[1000, 5000]);
    let (auto, second) = (bench.client(), bench.client());
    let (one, five) = (client(&mut bench, 0), client(&mut bench, 1));
    bench.kill(1, true);
    for (n, who) in [auto, five, one, five, second].into_iter().enumerate() {
        bench.send(who, &format!("RPUSH {} {n}", key_of(1, n)));
    }
    assert_eq!(bench.cells.parked_requests.get(), 5);
    ends(&mut bench, one, 1000 * MS, "-CLUSTERDOWN not executed: ");
    assert_eq!(bench.got(auto) + &bench.got(five), "");
    ends(&mut bench, five, 4000 * MS - MS, "-CLUSTERDOWN not executed: ");
    assert_eq!(bench.cells.parked_requests.get(), 2, "both of its requests");
    assert_eq!(bench.got(auto), "");
    bench.send(one, &format!("RPUSH {} 5", key_of(1, 5)));
    bench.revive(1);
    bench.advance(500 * MS);
    for n in [0, 4, 5] {
        assert_eq!(
            bench.at(1)[0],
            format!("RPUSH {} {n}", key_of(1, n)),
            "in the order of reading"
        );
        bench.answer(1, &format!(":{n}"));
    }
    assert_eq!(bench.got(auto) + &bench.got(second) + &bench.got(one), ":0\r\n:4\r\n:5\r\n");
    assert_eq!((bench.cells.parked_requests.get(), bench.cells.parked_bytes.get()), (0, 0));
}

#[test]
fn a_deadline_of_somebodys_choice_opens_no_circuit_and_an_open_one_shortens_it() {
    let mut bench = bench(&[25_000, 500]);
    let (auto, own, short) = (bench.client(), client(&mut bench, 0), client(&mut bench, 1));
    let incr = format!("INCR {}", key_of(1, 0));
    bench.kill(1, true);
    bench.send(own, &incr);
    bench.advance(10_000 * MS);
    bench.send(auto, &incr);
    ends(&mut bench, own, 15_000 * MS, "-CLUSTERDOWN not executed: ");
    bench.send(own, &incr);
    bench.advance(3000 * MS);
    assert_eq!(bench.got(own), "", "no circuit is open");
    ends(&mut bench, auto, 2000 * MS - MS, "-CLUSTERDOWN not executed: ");
    assert_eq!(bench.got(own), "", "who waits already keeps its time");
    let late = client(&mut bench, 0);
    bench.send(late, &incr);
    bench.send(short, &incr);
    ends(&mut bench, short, 500 * MS, "-CLUSTERDOWN not executed: ");
    ends(&mut bench, late, 500 * MS - MS, "-CLUSTERDOWN not executed: ");
}

#[test]
fn a_listener_may_mask_nothing_while_others_wait() {
    let mut bench = bench(&[0]);
    let (masked, bare) = (bench.client(), client(&mut bench, 0));
    bench.kill(1, true);
    for who in [masked, bare] {
        bench.send(who, &format!("INCR {}", key_of(1, 0)));
    }
    assert!(bench.got(bare).starts_with("-CLUSTERDOWN not executed: "));
    assert_eq!(bench.got(masked), "");
}

#[test]
fn parts_wait_as_long_as_the_listener_of_the_whole_says() {
    let mut bench = bench(&[1000]);
    let (auto, own) = (bench.client(), client(&mut bench, 0));
    bench.kill(1, true);
    for who in [auto, own] {
        bench.send(who, &format!("MGET {} {}", key_of(1, 0), key_of(2, 0)));
        bench.answer(2, "*1\r\n$1\r\nx");
    }
    ends(&mut bench, own, 1000 * MS, "-CLUSTERDOWN not executed: ");
    assert_eq!(bench.got(auto), "");
}

#[test]
fn what_a_silent_node_has_ends_at_the_deadline_of_its_client() {
    let mut bench = bench(&[8000]);
    let (auto, own) = (bench.client(), client(&mut bench, 0));
    let key = key_of(1, 0);
    let wire = bench.wires_of(1)[0];
    bench.freeze(1);
    let first = encode(&format!("INCR {key}"));
    bench.wires.get_mut(&wire).unwrap().takes = Some(2 * first.len());
    for who in [auto, own, auto, own] {
        bench.send(who, &format!("INCR {key}"));
    }
    bench.live(Duration::from_secs(7));
    assert_eq!(bench.got(own), "");
    bench.live(Duration::from_secs(2));
    let got = bench.got(own);
    let mut lines = got.lines();
    assert!(lines.next().is_some_and(|line| line.starts_with("-UNKNOWNRESULT ")), "{got}");
    assert!(lines.next().is_some_and(|line| line.starts_with("-CLUSTERDOWN not exec")), "{got}");
    assert_eq!(bench.got(auto), "");
    // The other's reply is held until another node confirms it, until the other's deadline.
    bench.thaw(1);
    bench.answer(1, ":1");
    bench.live(Duration::from_secs(10));
    assert_eq!(bench.got(auto), "");
    bench.live(Duration::from_secs(3));
    assert!(bench.got(auto).starts_with("-UNKNOWNRESULT "));
}

#[test]
fn a_held_reply_waits_for_a_confirmation_until_the_deadline_of_its_client() {
    let mut bench = bench(&[8000]);
    let own = client(&mut bench, 0);
    bench.freeze(1);
    bench.send(own, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(3));
    bench.thaw(1);
    bench.answer(1, ":1");
    bench.live(Duration::from_secs(4));
    assert_eq!(bench.got(own), "");
    bench.live(Duration::from_secs(2));
    assert!(bench.got(own).starts_with("-UNKNOWNRESULT "));
}

#[test]
fn what_still_waits_when_others_have_left_keeps_its_deadline() {
    let mut bench = bench(&[1000]);
    let (leaves, stays) = (client(&mut bench, 0), client(&mut bench, 0));
    let [key, other] = [key_of(1, 0), key_of(1, 1)];
    bench.kill(1, true);
    bench.send(leaves, &format!("INCR {key}"));
    bench.send(stays, &format!("INCR {other}"));
    bench.advance(500 * MS);
    let slot = Slot::of_key(key.as_bytes()).number();
    let rest = [(0, slot - 1), (slot + 1, 5460)];
    bench.topology(topology(2, &[(1, &rest), (2, &[(slot, slot), (5461, 16383)])]));
    bench.answer(2, ":1");
    assert_eq!(bench.got(leaves), ":1\r\n");
    ends(&mut bench, stays, 500 * MS, "-CLUSTERDOWN not executed: ");
}

#[test]
fn what_a_node_does_not_take_ends_at_the_deadline_of_its_client() {
    let mut bench = bench(&[1000]);
    let (auto, own) = (bench.client(), client(&mut bench, 0));
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(0);
    for who in [auto, own] {
        bench.send(who, &format!("INCR {}", key_of(1, 0)));
    }
    bench.live(Duration::from_secs(2));
    assert!(bench.got(own).starts_with("-CLUSTERDOWN not executed: its node takes nothing"));
    assert_eq!(bench.got(auto), "");
}

#[test]
fn a_node_is_not_asked_about_an_error_beyond_the_deadline_of_its_client() {
    const DOWN: &str = "-CLUSTERDOWN The cluster is down";
    let mut bench = bench(&[6000]);
    let (auto, own) = (bench.client(), client(&mut bench, 0));
    for who in [auto, own] {
        bench.send(who, &format!("EVAL script 1 {}", key_of(1, 0)));
    }
    bench.freeze(1);
    bench.answer(1, DOWN);
    bench.answer(1, DOWN);
    bench.live(Duration::from_secs(5));
    assert_eq!(bench.got(own), "");
    bench.live(Duration::from_secs(2));
    assert_eq!((bench.got(own), bench.got(auto)), (format!("{DOWN}\r\n"), String::new()));
}

#[test]
fn a_large_request_waits_for_its_turn_as_long_as_its_listener_says() {
    let mut bench = bench(&[1000]);
    let (first, auto, own) = (bench.client(), bench.client(), client(&mut bench, 0));
    let set = format!("SET {} {}", key_of(1, 0), "x".repeat(40_000));
    for half in encode(&set).chunks(30_000) {
        bench.send_raw(first, half);
    }
    for who in [auto, own] {
        bench.send_raw(who, &encode(&set)[..100]);
    }
    ends(&mut bench, own, 1000 * MS, "-OVERLOADED not executed: too many large requests");
    assert_eq!(bench.got(auto), "");
    ends(&mut bench, auto, 19_000 * MS - MS, "-OVERLOADED not executed: too many large requests");
}

#[test]
fn the_operator_is_told_how_long_the_longest_waited() {
    let mut bench = bench(&[1200]);
    let own = client(&mut bench, 0);
    bench.kill(1, true);
    bench.send(own, &format!("INCR {}", key_of(1, 0)));
    bench.live(Duration::from_secs(2));
    let told = bench.told();
    let expected = "nobody waits for 10.0.0.1:1 any more: 1 request did, the oldest 1.20 s";
    assert!(told.iter().any(|line| line == expected), "{told:#?}");
}

#[test]
fn clients_that_are_split_and_clients_that_are_not_are_side_by_side() {
    let mut bench = Bench::new();
    let split = bench.client();
    let whole = bench.client_with(Manners { split: false, ..Manners::default() });
    for who in [whole, split] {
        bench.send(who, &format!("MGET {} {}", key_of(1, 0), key_of(2, 0)));
    }
    let refused = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    assert_eq!((bench.got(whole).as_str(), bench.got(split).as_str()), (refused, ""));
    for node in [1, 2] {
        bench.answer(node, "*1\r\n$1\r\nx");
    }
    assert_eq!(bench.got(split), "*2\r\n$1\r\nx\r\n$1\r\nx\r\n");
}

#[test]
fn strict_clients_have_one_unanswered_write_a_slot_and_others_as_many_as_they_like() {
    let mut bench = Bench::new();
    let free = bench.client();
    let client = bench.client_with(Manners { strict_order: true, ..Manners::default() });
    let (key, other) = (key_of(1, 0), key_of(1, 1));
    let send = ["RPUSH k 1", "GET k", "RPUSH o 1", "RPUSH k 2", "GET k"];
    let send = send.map(|r| r.replace('k', &key).replace('o', &other));
    send.iter().for_each(|request| bench.send(client, request));
    assert_eq!(bench.at(1), send[..3], "reads and other slots pass, a second write waits");
    bench.answer(1, ":1");
    assert_eq!(bench.at(1), send[1..], "and goes when the first is answered");
    for reply in ["$1\r\n1", ":1", ":2", "$1\r\n2"] {
        bench.answer(1, reply);
    }
    assert_eq!(bench.got(client), ":1\r\n$1\r\n1\r\n:1\r\n:2\r\n$1\r\n2\r\n");
    assert!(bench.worker.clients.get(client).unwrap().flow.is_none(), "nothing is kept");
    send.iter().for_each(|request| bench.send(free, request));
    assert_eq!(bench.at(1), send);
}
