//! KEYS and its like with more than anybody would want to gather.

use std::time::Duration;

use super::bench::{Bench, key_of, settings, topology};
use crate::slot::Slot;
use crate::worker::Settings;

/// An array of so many elements of 1,000 bytes, that say which they are.
fn array(node: u16, count: usize) -> String {
    let elements = (0..count).map(|n| format!("$1000\r\n{:x>1000}\r\n", format!("{node}.{n}")));
    format!("*{count}\r\n{}", elements.collect::<String>())
}

/// The elements alone.
fn body(node: u16, count: usize) -> String {
    let array = array(node, count);
    array.split_once("\r\n").unwrap().1.to_owned()
}

/// The connection of this node on which KEYS stands first, which is then taken to be answered.
fn asked(bench: &mut Bench, port: u16) -> u32 {
    let is_asked = |bench: &Bench, wire: &u32| {
        bench.wires[wire].requests.first().is_some_and(|request| request.starts_with("KEYS"))
    };
    let wire = bench.wires_of(port).into_iter().find(|wire| is_asked(bench, wire)).unwrap();
    bench.wires.get_mut(&wire).unwrap().requests.remove(0);
    wire
}

/// A bench whose bound for what is gathered is far below what comes.
fn bench() -> Bench {
    Bench::with(Settings { output_max: 60_000, ..settings() })
}

#[test]
fn what_is_too_large_to_gather_flows_through_one_node_behind_the_other() {
    let mut bench = bench();
    let (client, other) = (bench.client(), bench.client());
    bench.send(client, "KEYS *");
    bench.send(client, "PING");
    let (one, two) = (asked(&mut bench, 1), asked(&mut bench, 2));
    bench.say(one, &array(1, 90).as_bytes()[..30_000]);
    bench.say(two, &array(2, 80).as_bytes()[..40_000]);
    assert_eq!(bench.got(client), "", "how many there are is not known yet");
    assert!(!bench.worker.reads_node(one) && !bench.worker.reads_node(two));
    bench.send(other, &format!("GET {}", key_of(1, 0)));
    assert_eq!(bench.wires_of(1).len(), 2, "the others have a connection of their own");
    bench.answer(1, "$1\r\na");
    assert_eq!(bench.got(other), "$1\r\na\r\n");
    // The third has little, and its array has no CRLF behind it.
    asked(&mut bench, 3);
    let three = bench.wires_of(3)[0];
    bench.say(three, array(3, 2).as_bytes());
    let mut got = bench.got(client);
    assert!(got.starts_with("*172\r\n$1000\r\n"), "{}", &got[..40]);
    assert!(bench.worker.reads_node(one) && !bench.worker.reads_node(two), "one at a time");
    bench.say(one, &array(1, 90).as_bytes()[30_000..]);
    bench.say(two, &array(2, 80).as_bytes()[40_000..]);
    got += &bench.got(client);
    assert_eq!(got, format!("*172\r\n{}{}{}+PONG\r\n", body(3, 2), body(1, 90), body(2, 80)));
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    assert_eq!(bench.wires_of(2).len(), 0, "those that carried it are closed");
    assert!(bench.closed.is_empty());
}

#[test]
fn a_part_that_is_lost_before_anything_flowed_is_asked_again() {
    let mut bench = bench();
    let client = bench.client();
    bench.send(client, "KEYS *");
    let (one, two) = (asked(&mut bench, 1), asked(&mut bench, 2));
    bench.say(one, &array(1, 90).as_bytes()[..30_000]);
    bench.say(two, &array(2, 80).as_bytes()[..40_000]);
    bench.kill(1, false);
    bench.advance(Duration::from_millis(50));
    asked(&mut bench, 3);
    bench.say(bench.wires_of(3)[0], array(3, 1).as_bytes());
    assert_eq!(bench.got(client), "");
    let one = asked(&mut bench, 1);
    bench.say(one, array(1, 7).as_bytes());
    bench.say(two, &array(2, 80).as_bytes()[40_000..]);
    assert_eq!(bench.got(client), format!("*88\r\n{}{}{}", body(1, 7), body(3, 1), body(2, 80)));
    assert!(bench.closed.is_empty());
}

#[test]
fn so_is_one_whose_turn_had_not_come() {
    let mut bench = bench();
    let client = bench.client();
    let shards = [(1, &[(0, 5460)][..]), (2, &[(5461, 10922)]), (3, &[(10923, 16000)])];
    bench.topology(topology(2, &shards));
    let orphan =
        (0..).map(|n| key_of(3, n)).find(|key| Slot::of_key(key.as_bytes()).number() > 16000);
    bench.send(client, &format!("GET {}", orphan.unwrap()));
    bench.send(client, "KEYS *");
    let wires: Vec<u32> = (1..=3).map(|port| asked(&mut bench, port)).collect();
    for (port, &wire) in (1..).zip(&wires) {
        bench.say(wire, &array(port, 90).as_bytes()[..30_000]);
    }
    // How many there are is known, and an earlier request is not answered.
    bench.kill(2, false);
    bench.advance(Duration::from_millis(50));
    bench
        .topology(topology(3, &[(1, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])]));
    bench.advance(Duration::from_millis(300));
    bench.answer(3, "$1\r\na");
    assert_eq!(bench.got(client), "$1\r\na\r\n");
    let two = asked(&mut bench, 2);
    bench.say(two, array(2, 1).as_bytes());
    for (port, wire) in [(1, wires[0]), (3, wires[2])] {
        bench.say(wire, &array(port, 90).as_bytes()[30_000..]);
    }
    let expected = format!("*181\r\n{}{}{}", body(2, 1), body(1, 90), body(3, 90));
    assert_eq!(bench.got(client), expected);
}

#[test]
fn a_part_that_is_lost_after_the_beginning_closes_its_client() {
    for lost in [1, 2] {
        let mut bench = bench();
        let (client, behind) = (bench.client(), bench.client());
        bench.send(client, "KEYS *");
        bench.send(behind, &format!("GET {}", key_of(2, 0)));
        for port in [1, 2, 3] {
            let wire = asked(&mut bench, port);
            bench.say(wire, &array(port, 90).as_bytes()[..30_000]);
        }
        assert!(bench.got(client).starts_with("*270\r\n"));
        bench.kill(lost, false);
        assert_eq!(bench.closed, [client], "{lost}");
        assert_eq!(bench.worker.clients.gathers.len(), 0);
        bench.advance(Duration::from_millis(50));
        for wire in bench.wires_of(2) {
            if lost != 2 && !bench.wires[&wire].requests.is_empty() {
                bench.say(wire, &array(2, 90).as_bytes()[30_000..]);
            }
        }
        bench.answer(2, "$1\r\na");
        assert_eq!(bench.got(behind), "$1\r\na\r\n");
    }
}

#[test]
fn a_shard_that_came_meanwhile_is_asked_and_the_others_again() {
    let mut bench = bench();
    let client = bench.client();
    bench.send(client, "KEYS *");
    let one = asked(&mut bench, 1);
    bench.say(one, &array(1, 90).as_bytes()[..30_000]);
    bench.topology(topology(
        2,
        &[(1, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16000)]), (4, &[(16001, 16383)])],
    ));
    for port in [2, 3] {
        let wire = asked(&mut bench, port);
        bench.say(wire, array(port, 1).as_bytes());
    }
    assert_eq!(bench.got(client), "");
    bench.say(one, &array(1, 90).as_bytes()[30_000..]);
    for port in 1..=4 {
        let wire = asked(&mut bench, port);
        bench.say(wire, array(port, 1).as_bytes());
    }
    let bodies: String = (1..=4).map(|port| body(port, 1)).collect();
    assert_eq!(bench.got(client), format!("*4\r\n{bodies}"), "and nothing of the first attempt");
}

#[test]
fn others_behind_a_part_that_waits_wait_only_so_long_and_its_client_is_told() {
    let mut bench = bench();
    let (client, behind) = (bench.client(), bench.client());
    bench.send(client, "KEYS *");
    bench.send(behind, &format!("GET {}", key_of(1, 0)));
    let one = asked(&mut bench, 1);
    bench.say(one, &array(1, 90).as_bytes()[..30_000]);
    // The second does not say how much it has.
    bench.advance(Duration::from_millis(2100));
    assert!(bench.worker.reads_node(one), "the rest is drained");
    bench.say(one, &array(1, 90).as_bytes()[30_000..]);
    bench.wires.get_mut(&one).unwrap().requests.remove(0);
    bench.say(one, b"$1\r\na\r\n");
    assert_eq!(bench.got(behind), "$1\r\na\r\n");
    for port in [2, 3] {
        let wire = asked(&mut bench, port);
        bench.say(wire, array(port, 90).as_bytes());
    }
    let got = bench.got(client);
    assert!(got.starts_with("-OVERLOADED not executed: a part of its reply"), "{got:.99}");
    assert!(bench.closed.is_empty());
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    bench.send(client, "PING");
    assert_eq!(bench.got(client), "+PONG\r\n");
}

#[test]
fn an_error_of_a_small_part_is_the_answer_and_nothing_large_is_kept() {
    let mut bench = bench();
    let client = bench.client();
    bench.send(client, "KEYS *");
    for port in [1, 2] {
        let wire = asked(&mut bench, port);
        bench.say(wire, &array(port, 90).as_bytes()[..30_000]);
    }
    bench.answer(3, "-NOPERM no");
    assert_eq!(bench.got(client), "-NOPERM no\r\n");
    for port in [1, 2] {
        let wire = bench.wires_of(port)[0];
        assert!(bench.worker.reads_node(wire));
        bench.say(wire, &array(port, 90).as_bytes()[30_000..]);
        assert_eq!(bench.wires_of(port).len(), 0);
    }
    assert!(bench.closed.is_empty());
}

#[test]
fn the_client_leaves_and_the_rest_is_read_for_nobody() {
    let mut bench = bench();
    let client = bench.client();
    bench.send(client, "KEYS *");
    let wires: Vec<u32> = (1..=3).map(|port| asked(&mut bench, port)).collect();
    for (port, &wire) in (1..).zip(&wires) {
        bench.say(wire, &array(port, 90).as_bytes()[..30_000]);
    }
    bench.worker.client_lost(client, bench.now);
    bench.turn();
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    for (port, &wire) in (1..).zip(&wires) {
        assert!(bench.worker.reads_node(wire));
        bench.say(wire, &array(port, 90).as_bytes()[30_000..]);
        assert_eq!(bench.wires_of(port).len(), 0);
    }
}

#[test]
fn one_that_wants_no_replies_gets_none() {
    let mut bench = bench();
    let client = bench.client();
    bench.send(client, "CLIENT REPLY SKIP");
    bench.send(client, "KEYS *");
    bench.send(client, "PING");
    for port in 1..=3 {
        let wire = asked(&mut bench, port);
        bench.say(wire, array(port, 90).as_bytes());
    }
    assert_eq!(bench.got(client), "+PONG\r\n");
}
