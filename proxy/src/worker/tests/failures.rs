//! Connections break, nodes refuse, nobody is told more or less than is known.

use std::time::Duration;

use super::bench::{Bench, deadlines, encode, key_of, settings, topology};
use crate::worker::Settings;

#[test]
fn a_lost_connection_separates_what_was_handed_over_from_what_was_not() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let wire = bench.wires_of(1)[0];
    let first = encode(&format!("INCR {key}"));
    // The kernel takes the first request and all but one byte of the second.
    bench.wires.get_mut(&wire).unwrap().takes = Some(2 * first.len() - 1);
    let read = encode(&format!("GET {key}"));
    bench.send_raw(client, &[first.clone(), first, read].concat());
    bench.kill(1, false);
    // The first may have been executed; the second and the read are sent again, in order.
    let got = bench.got(client);
    assert!(
        got.starts_with("-UNKNOWNRESULT sent, reply lost: the node's connection was lost (slot "),
        "{got}"
    );
    assert!(got.ends_with("; the command may have been executed\r\n"), "{got}");
    bench.advance(Duration::from_millis(10));
    assert_eq!(bench.at(1), [format!("INCR {key}")], "one tries whether the node stays");
    bench.answer(1, ":2");
    assert_eq!(bench.at(1), [format!("GET {key}")]);
    bench.answer(1, "$1\r\n2");
    assert_eq!(bench.got(client), ":2\r\n$1\r\n2\r\n");
    assert_eq!(bench.cells.unknown_results.get(), 1);
}

#[test]
fn what_is_left_of_a_lost_connection_is_killed_before_the_next_request_goes_out() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let lost = bench.wires_of(1)[0];
    bench.send(client, &format!("INCR {key}"));
    bench.kill(1, false);
    bench.send(client, &format!("GET {key}"));
    bench.advance(Duration::from_millis(10));
    // The bench numbers connections at a node by their index here.
    assert_eq!(bench.killed, [format!("CLIENT KILL ID {lost}")]);
    assert_eq!(bench.at(1), [format!("GET {key}")]);
    assert_eq!(bench.cells.fences_done.get(), 1);
    // Once is enough, and a connection that was lost with nothing on it leaves nothing behind.
    bench.answer(1, "$1\r\n1");
    bench.advance(Duration::from_secs(2));
    bench.kill(1, false);
    bench.send(client, &format!("GET {key}"));
    bench.advance(Duration::from_millis(10));
    assert_eq!(bench.at(1), [format!("GET {key}")]);
    assert_eq!(bench.killed.len(), 1);
}

#[test]
fn a_read_that_was_handed_over_is_sent_again() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.kill(1, false);
    bench.advance(Duration::from_millis(10));
    assert_eq!(bench.at(1), [format!("GET {key}")]);
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
    assert_eq!(bench.cells.replays_read_replayed.get(), 1);
}

#[test]
fn a_dead_node_is_dialed_by_one_for_all_and_only_its_own_requests_wait() {
    let mut bench = Bench::new();
    bench.kill(1, true);
    let before = bench.dials[&1];
    let clients: Vec<u32> = (0..50).map(|_| bench.client()).collect();
    for &client in &clients {
        bench.send(client, &format!("INCR {}", key_of(1, 0)));
    }
    bench.advance(Duration::from_secs(5));
    let attempts = bench.dials[&1] - before;
    assert!((20..80).contains(&attempts), "{attempts} dials in 5 s for 50 requests");
    let other = bench.client();
    bench.send(other, &format!("GET {}", key_of(2, 0)));
    bench.answer(2, "$1\r\nx");
    assert_eq!(bench.got(other), "$1\r\nx\r\n");

    bench.revive(1);
    bench.advance(Duration::from_millis(200));
    assert_eq!(bench.at(1).len(), 1, "one tries");
    bench.answer(1, ":1");
    assert_eq!(bench.at(1).len(), 49, "its success lets the others follow");
    for n in 2..=50 {
        bench.answer(1, &format!(":{n}"));
    }
    for (n, &client) in clients.iter().enumerate() {
        assert_eq!(bench.got(client), format!(":{}\r\n", n + 1), "in the order of reading");
    }
    assert_eq!(bench.cells.parked_requests.get(), 0);
    assert_eq!(bench.cells.parked_bytes.get(), 0);
}

#[test]
fn a_request_that_waited_too_long_is_told_that_it_was_not_executed() {
    let mut bench = Bench::new();
    bench.kill(1, true);
    let client = bench.client();
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    bench.advance(Duration::from_millis(19_900));
    assert_eq!(bench.got(client), "");
    bench.advance(Duration::from_millis(200));
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{got}");
    assert!(got.contains("gave up after 20.0 s (slot "), "{got}");
    assert_eq!(bench.cells.parked_requests.get(), 0);
}

#[test]
fn a_shard_away_for_a_whole_deadline_is_not_waited_for_so_long_again() {
    let mut bench = Bench::new();
    bench.kill(1, true);
    let (first, parked) = (bench.client(), bench.client());
    let incr = format!("INCR {}", key_of(1, 0));
    bench.send(first, &incr);
    bench.advance(Duration::from_secs(15));
    bench.send(parked, &incr);
    bench.advance(Duration::from_millis(5100));
    assert!(bench.got(first).contains("gave up after 20.0 s"));
    // The circuit is open now: who comes waits for a moment, who waits already keeps its time.
    let late = bench.client();
    bench.send(late, &incr);
    bench.advance(Duration::from_millis(900));
    assert_eq!(bench.got(late), "");
    bench.advance(Duration::from_millis(200));
    assert!(bench.got(late).contains("gave up after 1.0 s"));
    assert_eq!(bench.got(parked), "");
    // One success closes it.
    bench.revive(1);
    bench.advance(Duration::from_millis(500));
    bench.answer(1, ":1");
    assert_eq!(bench.got(parked), ":1\r\n");
    bench.kill(1, true);
    bench.send(late, &incr);
    bench.advance(Duration::from_secs(10));
    assert_eq!(bench.got(late), "");
    assert_eq!(bench.cells.parked_requests.get(), 1);
}

#[test]
fn a_deadline_of_zero_masks_nothing() {
    let mut bench = Bench::with(Settings { deadlines: deadlines(Duration::ZERO), ..settings() });
    bench.kill(1, true);
    let client = bench.client();
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    assert!(bench.got(client).starts_with("-CLUSTERDOWN not executed: "));
}

#[test]
fn a_node_that_says_clusterdown_is_asked_again_by_one() {
    let mut bench = Bench::new();
    let clients: Vec<u32> = (0..10).map(|_| bench.client()).collect();
    let key = key_of(1, 0);
    for &client in &clients {
        bench.send(client, &format!("INCR {key}"));
    }
    for _ in 0..10 {
        bench.answer(1, "-CLUSTERDOWN The cluster is down");
    }
    assert!(bench.at(1).is_empty());
    for _ in 0..10 {
        bench.advance(Duration::from_millis(200));
        assert_eq!(bench.at(1).len(), 1);
        bench.answer(1, "-CLUSTERDOWN The cluster is down");
    }
    bench.advance(Duration::from_millis(200));
    bench.answer(1, ":1");
    for n in 2..=10 {
        bench.answer(1, &format!(":{n}"));
    }
    for (n, &client) in clients.iter().enumerate() {
        assert_eq!(bench.got(client), format!(":{}\r\n", n + 1));
    }
}

#[test]
fn what_waits_for_a_dead_primary_follows_the_new_one() {
    let mut bench = Bench::new();
    bench.kill(1, true);
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("INCR {key}"));
    bench.advance(Duration::from_secs(1));
    bench.topology(topology(2, &[(4, &[(0, 5460)]), (2, &[(5461, 16383)])]));
    assert_eq!(bench.at(4), [format!("INCR {key}")]);
    bench.answer(4, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

#[test]
fn requests_on_a_dialing_connection_wait_for_it() {
    let mut bench = Bench::without_topology(settings());
    bench.slow_dials = true;
    bench.topology(super::bench::three_shards());
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    assert!(bench.at(1).is_empty());
    bench.open(wire);
    assert_eq!(bench.at(1), [format!("GET {key}")]);
}

#[test]
fn a_node_that_does_not_let_us_in_is_not_an_error_of_the_client() {
    let mut bench = Bench::without_topology(settings());
    bench.slow_dials = true;
    bench.topology(super::bench::three_shards());
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    let wire = bench.wires_of(1)[0];
    bench.worker.node_connected(wire, bench.now);
    bench.say(wire, b"-ERR max number of clients reached\r\n");
    assert!(bench.wires_of(1).is_empty(), "closed");
    assert_eq!(bench.got(client), "");
    bench.advance(Duration::from_secs(1));
    let wire = bench.wires_of(1)[0];
    bench.open(wire);
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
}

#[test]
fn a_node_that_accepts_and_says_nothing_is_given_up() {
    let mut bench = Bench::without_topology(settings());
    bench.slow_dials = true;
    bench.topology(super::bench::three_shards());
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    let wire = bench.wires_of(1)[0];
    bench.worker.node_connected(wire, bench.now);
    // The driver writes the greeting, and no answer comes.
    let len = bench.worker.node_output(wire).len();
    bench.worker.node_wrote(wire, len);
    bench.advance(Duration::from_millis(2900));
    bench.worker.housekeeping(bench.now);
    assert_eq!(bench.wires_of(1), [wire]);
    bench.advance(Duration::from_millis(200));
    bench.worker.housekeeping(bench.now);
    bench.turn();
    assert_ne!(bench.wires_of(1), [wire], "closed, and perhaps dialed again");
    bench.slow_dials = false;
    bench.advance(Duration::from_secs(1));
    for wire in bench.wires_of(1) {
        bench.open(wire);
    }
    bench.advance(Duration::from_secs(1));
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
}

#[test]
fn a_node_that_accepts_and_closes_is_not_dialed_in_a_loop() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    let before = bench.dials[&1];
    for _ in 0..20 {
        bench.advance(Duration::from_millis(100));
        bench.kill(1, false);
    }
    let dials = bench.dials[&1] - before;
    assert!(dials <= 40, "{dials} dials in 2 s");
    bench.advance(Duration::from_millis(500));
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
}

#[test]
fn a_reply_nobody_asked_for_closes_the_connection_and_reaches_nobody() {
    let mut bench = Bench::new();
    let client = bench.client();
    let wire = bench.wires_of(1)[0];
    bench.say(wire, b"+surprise\r\n");
    assert!(bench.wires_of(1).is_empty());
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    bench.advance(Duration::from_millis(10));
    assert_eq!(bench.got(client), "");
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
}

#[test]
fn bad_bytes_leave_no_guess_about_whose_reply_it_is() {
    let mut bench = Bench::new();
    let (a, b) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(a, &format!("INCR {key}"));
    bench.send(b, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    bench.say(wire, b"?what\r\n:1\r\n");
    assert!(bench.got(a).starts_with("-UNKNOWNRESULT"));
    assert_eq!(bench.got(b), "", "a read is sent again");
    bench.advance(Duration::from_millis(10));
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(b), "$1\r\nx\r\n");
}

#[test]
fn pushes_on_a_shared_connection_are_swallowed() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    bench.say(wire, b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n");
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
    assert_eq!(bench.cells.pushes_swallowed.get(), 1);
}

#[test]
fn a_client_that_left_does_not_wait() {
    let mut bench = Bench::new();
    bench.kill(1, true);
    let (gone, half_closed) = (bench.client(), bench.client());
    for client in [gone, half_closed] {
        bench.send(client, &format!("INCR {}", key_of(1, 0)));
    }
    assert_eq!(bench.cells.parked_requests.get(), 2);
    bench.worker.client_lost(gone, bench.now);
    bench.worker.client_ended(half_closed, bench.now);
    bench.turn();
    assert_eq!(bench.cells.parked_requests.get(), 0);
    assert_eq!(bench.closed, [gone, half_closed]);
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    assert!(bench.at(1).is_empty());
}

#[test]
fn a_node_that_left_the_cluster_finishes_what_it_has() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("INCR {key}"));
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    assert_eq!(bench.wires_of(1).len(), 1, "a reply is still to come");
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
    assert!(bench.wires_of(1).is_empty());
    bench.send(client, &format!("INCR {key}"));
    assert_eq!(bench.at(2), [format!("INCR {key}")]);
}

#[test]
fn noauth_in_the_middle_is_ours_to_mend() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("INCR {key}"));
    bench.answer(1, "-NOAUTH Authentication required.");
    assert_eq!(bench.got(client), "");
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.at(1), [format!("INCR {key}")]);
    assert_eq!(bench.dials[&1], 2, "on a new connection");
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}
