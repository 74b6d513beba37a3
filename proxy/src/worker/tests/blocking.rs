//! What blocks, at nodes and here: with its own time, on a connection of its own, and never in the
//! way of others.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings, topology};
use crate::command::RetryUnknown;
use crate::session::{CommonQuestion, Part};
use crate::slot::Slot;
use crate::worker::{Action, Settings};

const NULL: &str = "*-1\r\n";
const FORCED: &str = "-UNBLOCKED force unblock from blocking operation, instance state changed \
                      (master -> replica?)";
const UNKNOWN: &str = "-UNKNOWNRESULT sent, reply lost: ";

fn roomy() -> Bench {
    Bench::with(Settings { dedicated_max: 20, ..settings() })
}

/// The connections of this node that carry what blocks, with what is on them.
fn blocked_at(bench: &Bench, port: u16) -> Vec<(u32, String)> {
    let wires = bench.wires.iter().filter(|(_, wire)| wire.port == port);
    let requests = wires.flat_map(|(&i, wire)| wire.requests.iter().map(move |r| (i, r.clone())));
    requests.filter(|(_, request)| request.contains("BLPOP") || request.contains("XREAD")).collect()
}

/// Time passes at nodes that are well: they answer what asks for nothing else.
fn live_well(bench: &mut Bench, how_long: Duration) {
    for _ in 0..how_long.as_millis() / 500 {
        bench.live(Duration::from_millis(500));
        let asked: Vec<u32> = bench
            .wires
            .iter()
            .filter(|(_, wire)| wire.requests.first().is_some_and(|request| request == "PING"))
            .map(|(&index, _)| index)
            .collect();
        for wire in asked {
            bench.answer_on(wire, "+PONG");
        }
    }
}

#[test]
fn what_blocks_holds_up_nobody_and_leaves_its_connection_to_the_next() {
    let mut bench = roomy();
    let (blocked, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send_raw(blocked, &[encode(&format!("BLPOP {key} 0")), encode("PING")].concat());
    assert_eq!(bench.wires_of(1).len(), 2);
    bench.send(other, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    bench.answer_on(wire, "$1\r\nx");
    assert_eq!((bench.got(other).as_str(), bench.got(blocked).as_str()), ("$1\r\nx\r\n", ""));
    bench.answer(1, "*2\r\n$1\r\nk\r\n$1\r\nv");
    assert_eq!(bench.got(blocked), "*2\r\n$1\r\nk\r\n$1\r\nv\r\n+PONG\r\n", "in order");
    for request in [format!("XREAD BLOCK 5 STREAMS {key} $"), format!("BLPOP {key} 1")] {
        bench.send(other, &request);
        assert_eq!(bench.at(1), [request]);
        bench.answer(1, "*-1");
        assert_eq!(bench.got(other), NULL);
    }
    assert_eq!(bench.wires_of(1).len(), 2, "the same connection");
}

#[test]
fn a_client_that_leaves_while_it_is_blocked_takes_its_connection_along() {
    for behind in [0, 1] {
        for half_closed in [false, true] {
            let mut bench = roomy();
            let client = bench.client();
            bench.send(client, &format!("BLPOP {} 0", key_of(1, 0)));
            for _ in 0..behind {
                bench.send(client, "PING");
            }
            assert!(bench.worker.reads_client(client), "it is seen to leave");
            assert_eq!(bench.wires_of(1).len(), 2);
            if half_closed {
                bench.worker.client_ended(client, bench.now);
            } else {
                bench.worker.client_lost(client, bench.now);
            }
            bench.turn();
            assert_eq!((bench.wires_of(1).len(), bench.closed.len()), (1, 1));
            let node = bench.worker.pools.iter().find(|(_, pool)| pool.lent > 0);
            assert!(node.is_none(), "its place is free");
        }
    }
}

#[test]
fn what_a_node_has_taken_for_who_has_left_is_counted_as_far_as_it_is_known() {
    let key = key_of(1, 0);
    for (request, said, counted, asked) in [
        ("BLPOP k 0", "", 0, true),
        ("BLPOP k 0", "*2\r\n$1\r\nk\r\n$1\r\n", 1, false),
        ("BLPOP k 0", "*-1\r", 0, true),
        ("XREAD BLOCK 0 STREAMS k $", "*1\r\n", 0, false),
        ("GET k", "$5\r\nab", 0, false),
    ] {
        let mut bench = roomy();
        let client = bench.client();
        bench.send(client, &request.replace('k', &key));
        let wire = bench.wires_of(1).into_iter().find(|w| !bench.wires[w].requests.is_empty());
        bench.say(wire.unwrap(), said.as_bytes());
        bench.worker.client_lost(client, bench.now);
        let hears_out = Action::HearOut { connection: wire.unwrap() };
        assert_eq!(bench.worker.take_action() == Some(hears_out), asked, "{request} {said}");
        assert_eq!(bench.cells.blocked_answers_late.get(), counted, "{request} {said}");
    }
    // It has come, and could not be written any more.
    for (reply, counted) in [("*2\r\n$1\r\nk\r\n$1\r\nv\r\n", 1), (NULL, 0)] {
        let mut bench = roomy();
        let client = bench.client();
        bench.send(client, &format!("BLPOP {key} 0"));
        let own = blocked_at(&bench, 1)[0].0;
        bench.worker.node_bytes(own, reply.as_bytes(), bench.now);
        bench.worker.client_lost(client, bench.now);
        assert_eq!(bench.cells.blocked_answers_late.get(), counted);
    }
}

#[test]
fn blocked_clients_are_counted_while_they_are() {
    let mut bench = roomy();
    let key = key_of(1, 0);
    let clients: Vec<u32> = (0..4).map(|_| bench.client()).collect();
    for &client in &clients {
        bench.send(client, &format!("BLPOP {key} 5"));
    }
    bench.send(clients[0], "PING");
    assert_eq!(bench.cells.blocked_clients.get(), 4);
    bench.answer(1, "*-1");
    bench.worker.client_lost(clients[1], bench.now);
    bench.turn();
    assert_eq!(bench.cells.blocked_clients.get(), 2);
    bench.kill(1, false);
    assert_eq!(bench.cells.blocked_clients.get(), 0, "answered by the unknown error");
}

#[test]
fn at_the_bound_they_wait_in_order_and_leave_the_queue_with_their_clients() {
    let mut bench = Bench::new(); // two connections, one of them never lent
    let key = key_of(1, 0);
    let clients: Vec<u32> = (0..4).map(|_| bench.client()).collect();
    for (n, &client) in clients.iter().enumerate() {
        bench.send(client, &format!("BLPOP {key} {}", n * 10));
    }
    assert_eq!(bench.at(1), [format!("BLPOP {key} 0")]);
    bench.worker.client_lost(clients[1], bench.now);
    bench.turn();
    bench.advance(Duration::from_secs(3));
    bench.answer(1, "*-1");
    assert_eq!(bench.at(1), [format!("BLPOP {key} 17.000")], "with what is left of its time");
    // Others that need a connection of their own are not held up.
    let large = bench.client();
    bench.send(large, &format!("SET {key} {}", "x".repeat(30_000)));
    assert_eq!(bench.at(1).len(), 2);
    bench.worker.client_lost(clients[2], bench.now);
    bench.turn();
    assert_eq!(blocked_at(&bench, 1)[0].1, format!("BLPOP {key} 27.000"));
}

#[test]
fn own_time_ends_in_the_queue_as_at_a_server_and_the_deadline_without_one() {
    let mut bench = Bench::new();
    let key = key_of(1, 0);
    let (first, second, third, fourth) =
        (bench.client(), bench.client(), bench.client(), bench.client());
    bench.send(first, &format!("BLPOP {key} 0"));
    bench.send(second, &format!("BLPOP {key} 0.5"));
    bench.send(third, &format!("BLPOP {key} 0"));
    bench.send(fourth, "HELLO 3");
    bench.got(fourth);
    bench.send(fourth, &format!("BZPOPMIN {key} 0.7"));
    bench.advance(Duration::from_millis(499));
    assert_eq!(bench.got(second), "");
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.got(second), NULL);
    bench.advance(Duration::from_millis(200));
    assert_eq!(bench.got(fourth), "_\r\n", "in its protocol");
    bench.advance(Duration::from_secs(20));
    let got = bench.got(third);
    assert!(
        got.starts_with(
            "-OVERLOADED not executed: all connections to its node that clients can have"
        ),
        "{got}"
    );
    assert_eq!(bench.got(first), "", "a healthy wait has no deadline");
    assert!(bench.worker.timers.is_empty());
}

#[test]
fn what_a_demoted_node_lets_go_goes_on_where_the_slot_is() {
    let mut bench = roomy();
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = Slot::of_key(key.as_bytes());
    bench.send(client, &format!("BLMPOP 30 1 {key} LEFT"));
    live_well(&mut bench, Duration::from_secs(25));
    bench.answer(1, FORCED);
    assert_eq!(bench.at(1), [format!("BLMPOP 5.000 1 {key} LEFT")], "who says where to");
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:2"));
    assert_eq!(bench.at(2), [format!("BLMPOP 5.000 1 {key} LEFT")]);
    assert_eq!(bench.got(client), "", "nothing of it is seen");
    bench.answer(2, "*2\r\n$1\r\nk\r\n*1\r\n$1\r\nv");
    assert_eq!(bench.got(client), "*2\r\n$1\r\nk\r\n*1\r\n$1\r\nv\r\n");
}

#[test]
fn a_slot_that_is_on_its_way_is_asked_for() {
    let mut bench = roomy();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("BLPOP {key} 0"));
    bench.answer(1, &format!("-ASK {} 10.0.0.1:2", Slot::of_key(key.as_bytes())));
    assert_eq!(bench.at(2), ["ASKING".to_owned(), format!("BLPOP {key} 0")]);
    bench.answer(2, "+OK");
    bench.answer(2, "*-1");
    assert_eq!(bench.got(client), NULL);
}

#[test]
fn a_node_that_is_killed_leaves_the_unknown_unless_the_operator_wants_otherwise() {
    let key = key_of(1, 0);
    let lose = |request: &str, blocking| {
        let retry_unknown = RetryUnknown { idempotent: false, blocking };
        let mut bench = Bench::with(Settings { retry_unknown, dedicated_max: 20, ..settings() });
        let client = bench.client();
        bench.send(client, request);
        bench.advance(Duration::from_secs(1));
        bench.kill(1, false);
        bench.advance(Duration::from_millis(500));
        (bench.got(client), bench.at(1))
    };
    let (got, at) = lose(&format!("BLPOP {key} 9"), false);
    assert!(got.starts_with(UNKNOWN) && at.is_empty(), "{got} {at:?}");
    let (got, at) = lose(&format!("BLMOVE {key} {key} LEFT LEFT 9"), true);
    assert!(got.starts_with(UNKNOWN) && at.is_empty(), "{got} {at:?}");
    for (request, blocking) in
        [(format!("BLPOP {key} 9"), true), (format!("XREAD BLOCK 9000 STREAMS {key} 0"), false)]
    {
        let (got, at) = lose(&request, blocking);
        assert_eq!(got, "");
        assert!(at.len() == 1 && (at[0].contains(" 8.000") || at[0].contains(" 8000")), "{at:?}");
    }
}

#[test]
fn what_was_not_handed_over_is_sent_again_with_the_time_that_is_left() {
    let mut bench = roomy();
    let (first, second) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(first, &format!("BLPOP {key} 9"));
    bench.answer(1, "*-1");
    let own = bench.wires_of(1)[1];
    bench.wires.get_mut(&own).unwrap().takes = Some(10);
    bench.send(second, &format!("BLPOP {key} 9"));
    bench.advance(Duration::from_secs(2));
    bench.kill(1, false);
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.at(1), [format!("BLPOP {key} 7.000")]);
    assert_eq!(bench.got(second), "");
}

#[test]
fn others_do_not_wait_for_what_blocks() {
    let mut bench = roomy();
    let (blocked, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.kill(1, true);
    bench.send(blocked, &format!("BLPOP {key} 0"));
    bench.send(other, &format!("GET {key}"));
    bench.advance(Duration::from_secs(1));
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), [format!("EXISTS {key}")], "one asks in the place of what blocks");
    bench.answer(1, ":0");
    bench.advance(Duration::from_millis(10));
    let mut at = bench.at(1);
    at.sort();
    assert_eq!(at, [format!("BLPOP {key} 0"), format!("GET {key}")]);
    assert_eq!((bench.got(other), bench.got(blocked)), (String::new(), String::new()));
}

#[test]
fn a_slot_that_nobody_serves_is_tried_by_a_question() {
    let mut bench = roomy();
    let (blocked, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(blocked, &format!("BLPOP {key} 50"));
    bench.answer(1, "-CLUSTERDOWN Hash slot not served");
    bench.send(other, &format!("GET {key}"));
    bench.answer(1, "-CLUSTERDOWN Hash slot not served");
    bench.advance(Duration::from_secs(1));
    for _ in 0..5 {
        let at = bench.at(1);
        assert!(at.len() == 1 && !at[0].contains("BLPOP"), "{at:?}");
        bench.answer(1, "-CLUSTERDOWN Hash slot not served");
        bench.advance(Duration::from_secs(1));
    }
    assert_eq!(bench.at(1).len(), 1, "one tries");
    bench.answer(1, ":0");
    bench.advance(Duration::from_millis(10));
    let blocked = blocked_at(&bench, 1);
    assert!(
        blocked.len() == 1 && blocked[0].1.starts_with(&format!("BLPOP {key} 4")),
        "{blocked:?}"
    );
    assert!(!bench.got(other).is_empty() || bench.at(1).len() == 2, "nor do the others wait");
}

#[test]
fn a_healthy_wait_has_no_deadline_and_costs_the_node_one_question_a_second() {
    let mut bench = roomy();
    let client = bench.client();
    bench.send(client, &format!("BLPOP {} 0", key_of(1, 0)));
    let dials = bench.dials.clone();
    live_well(&mut bench, Duration::from_secs(120));
    assert_eq!(bench.got(client), "");
    assert_eq!(bench.dials, dials, "nothing is dialed for it");
    bench.answer(1, "*-1");
    assert_eq!(bench.got(client), NULL);
    assert_eq!(bench.cells.stale_replies_dropped.get(), 0);
}

#[test]
fn what_comes_back_after_a_long_wait_waits_here_as_long_as_what_has_just_come() {
    for lost in [false, true] {
        let mut bench = roomy();
        let client = bench.client();
        bench.send(client, &format!("XREAD BLOCK 0 STREAMS {} 0", key_of(1, 0)));
        live_well(&mut bench, Duration::from_secs(120));
        if lost {
            bench.kill(1, true);
        } else {
            bench.answer(1, "-CLUSTERDOWN Hash slot not served");
        }
        bench.advance(Duration::from_secs(15));
        assert_eq!(bench.got(client), "", "its deadline begins now");
        bench.advance(Duration::from_secs(10));
        let got = bench.got(client);
        assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{got}");
    }
}

#[test]
fn a_frozen_node_has_the_deadline_from_then_on() {
    let mut bench = roomy();
    let client = bench.client();
    bench.send(client, &format!("BLPOP {} 0", key_of(1, 0)));
    live_well(&mut bench, Duration::from_secs(60));
    bench.freeze(1);
    bench.live(Duration::from_secs(15));
    assert_eq!(bench.cells.suspects.get(), 1);
    assert_eq!(bench.got(client), "", "a pause is masked");
    bench.live(Duration::from_secs(10));
    let got = bench.got(client);
    assert!(got.starts_with(UNKNOWN), "{got}");
}

#[test]
fn a_frozen_node_that_is_replaced_leaves_the_unknown() {
    let mut bench = roomy();
    let (pops, reads) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(pops, &format!("BLPOP {key} 0"));
    bench.send(reads, &format!("XREAD BLOCK 0 STREAMS {key} 0"));
    bench.freeze(1);
    bench.live(Duration::from_secs(5));
    assert_eq!(bench.cells.suspects.get(), 1);
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    let got = bench.got(pops);
    assert!(got.starts_with(UNKNOWN), "{got}");
    assert_eq!(bench.at(2), [format!("XREAD BLOCK 0 STREAMS {key} 0")], "what reads goes on");
}

fn unblock(bench: &mut Bench, reason: &str) -> String {
    let asker = bench.client();
    bench.send(asker, &format!("CLIENT UNBLOCK 7{reason}"));
    bench.answer_question(vec![Part::Count(0)]);
    bench.got(asker)
}

#[test]
fn a_client_is_unblocked_by_its_node_so_that_nothing_is_taken_for_it() {
    for (reason, at_node, reply) in [
        ("", "TIMEOUT", "*-1"),
        (" timeout", "TIMEOUT", "*-1"),
        (" ERROR", "ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        let mut bench = roomy();
        let client = bench.client();
        let key = key_of(1, 0);
        bench.send(client, &format!("BLPOP {key} 0"));
        let own = blocked_at(&bench, 1)[0].0;
        assert_eq!(unblock(&mut bench, reason), ":1\r\n");
        // The first one comes before what blocks: it is asked again.
        for answer in [":0", ":1"] {
            let shared = *bench.wires_of(1).iter().find(|&&wire| wire != own).unwrap();
            assert_eq!(bench.wires[&shared].requests, [format!("CLIENT UNBLOCK {own} {at_node}")]);
            bench.answer_on(shared, answer);
        }
        bench.answer_on(own, reply);
        assert_eq!(bench.got(client), format!("{reply}\r\n"));
        assert!(bench.worker.unblocks.is_empty());
        assert_eq!(unblock(&mut bench, reason), ":0\r\n", "it is not blocked any more");
    }
}

#[test]
fn who_cannot_be_unblocked_by_the_node_is_by_closing() {
    for (reason, reply) in
        [("", NULL), (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")]
    {
        let mut bench = roomy();
        let client = bench.client();
        bench.send(client, &format!("BLPOP {} 0", key_of(1, 0)));
        let own = blocked_at(&bench, 1)[0].0;
        assert_eq!(unblock(&mut bench, reason), ":1\r\n");
        let shared = *bench.wires_of(1).iter().find(|&&wire| wire != own).unwrap();
        bench.answer_on(shared, "-NOPERM this user has no permissions to run this");
        assert_eq!(bench.got(client), reply);
        assert!(!bench.wires.contains_key(&own));
        assert_eq!(bench.killed, [format!("CLIENT KILL ID {own}")], "before anything else comes");
    }
}

#[test]
fn who_waits_for_a_connection_is_unblocked_at_once() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.worker.clients.get(first).unwrap().id = 1;
    bench.send(first, &format!("BLPOP {key} 0"));
    bench.send(second, &format!("BLPOP {key} 0"));
    assert_eq!(unblock(&mut bench, ""), ":1\r\n");
    assert_eq!(bench.got(second), NULL);
    let ask = CommonQuestion::Unblock { id: 99, with_error: false };
    assert_eq!(bench.worker.inquire(&ask, super::bench::ends, bench.now), Part::Count(0));
}

#[test]
fn what_blocks_and_has_another_way_by_now_takes_it() {
    let mut bench = roomy();
    let (blocked, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(blocked, &format!("BLPOP {key} 0"));
    let own = blocked_at(&bench, 1)[0].0;
    bench.send(other, &format!("GET {key}"));
    bench.answer_on(own, "-CLUSTERDOWN The cluster is down");
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:2", Slot::of_key(key.as_bytes())));
    assert_eq!(bench.at(2), [format!("GET {key}")]);
    // It has waited for the node that is down, and is not asked about there again and again.
    bench.advance(Duration::from_secs(1));
    let mut at = bench.at(2);
    at.sort();
    assert_eq!(at, [format!("BLPOP {key} 0"), format!("GET {key}")]);
}

#[test]
fn who_is_unblocked_as_it_is_answered_leaves_no_connection_on_which_the_next_one_would_be() {
    let mut bench = roomy();
    let (first, second) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(first, &format!("BLPOP {key} 0"));
    let own = blocked_at(&bench, 1)[0].0;
    assert_eq!(unblock(&mut bench, ""), ":1\r\n");
    bench.answer_on(own, "*2\r\n$1\r\nk\r\n$1\r\nv");
    assert_eq!(bench.got(first), "*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
    assert!(!bench.wires.contains_key(&own), "its node is still to unblock who is there");
    bench.send(second, &format!("BLPOP {key} 0"));
    assert_eq!(blocked_at(&bench, 1).len(), 1);
}

#[test]
fn a_node_is_told_again_to_unblock_a_client_if_the_connection_is_lost() {
    let mut bench = roomy();
    let client = bench.client();
    bench.send(client, &format!("BLPOP {} 0", key_of(1, 0)));
    let own = blocked_at(&bench, 1)[0].0;
    assert_eq!(unblock(&mut bench, ""), ":1\r\n");
    let shared = *bench.wires_of(1).iter().find(|&&wire| wire != own).unwrap();
    bench.wires.remove(&shared);
    bench.worker.node_lost(shared, bench.now);
    bench.live(Duration::from_secs(1));
    let shared = *bench.wires_of(1).iter().find(|&&wire| wire != own).unwrap();
    assert_eq!(bench.wires[&shared].requests, [format!("CLIENT UNBLOCK {own} TIMEOUT")]);
    bench.answer_on(shared, ":1");
    bench.answer_on(own, "*-1");
    assert_eq!(bench.got(client), NULL);
    bench.live(Duration::from_secs(1));
    assert!(bench.worker.unblocks.is_empty());
}
