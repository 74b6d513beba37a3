//! Requests reach their nodes and replies their clients, in order.

use super::bench::{Bench, encode, key_of, settings, three_shards};

#[test]
fn a_request_goes_to_the_owner_of_its_slot_and_the_reply_comes_back() {
    let mut bench = Bench::new();
    let client = bench.client();
    for port in 1..=3 {
        let key = key_of(port, 0);
        bench.send(client, &format!("GET {key}"));
        assert_eq!(bench.at(port), [format!("GET {key}")]);
        bench.answer(port, "$1\r\nx");
        assert_eq!(bench.got(client), "$1\r\nx\r\n");
    }
    assert_eq!(bench.dials.values().copied().collect::<Vec<_>>(), [1, 1, 1], "one connection each");
}

#[test]
fn replies_leave_in_the_order_of_requests_whatever_the_nodes_do() {
    let mut bench = Bench::new();
    let client = bench.client();
    for port in [1, 2, 3, 1] {
        bench.send(client, &format!("GET {}", key_of(port, 0)));
    }
    bench.send(client, "PING");
    bench.answer(3, "$1\r\nc");
    bench.answer(2, "$1\r\nb");
    assert_eq!(bench.got(client), "");
    bench.answer(1, "$1\r\na");
    assert_eq!(bench.got(client), "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    bench.answer(1, "$1\r\nd");
    assert_eq!(bench.got(client), "$1\r\nd\r\n+PONG\r\n");
}

#[test]
fn any_split_of_the_bytes_gives_the_same_requests() {
    let stream =
        [encode(&format!("SET {} v", key_of(1, 0))), encode(&format!("GET {}", key_of(1, 0)))]
            .concat();
    for cut in 1..stream.len() {
        let mut bench = Bench::new();
        let client = bench.client();
        bench.send_raw(client, &stream[..cut]);
        bench.send_raw(client, &stream[cut..]);
        let key = key_of(1, 0);
        assert_eq!(bench.at(1), [format!("SET {key} v"), format!("GET {key}")], "cut at {cut}");
        let wire = bench.wires_of(1)[0];
        let replies = b"+OK\r\n$1\r\nv\r\n";
        for cut in 1..replies.len() {
            bench.say(wire, &replies[cut - 1..cut]);
        }
        bench.say(wire, b"\n");
        assert_eq!(bench.got(client), "+OK\r\n$1\r\nv\r\n", "cut at {cut}");
    }
}

#[test]
fn a_client_that_leaves_takes_nobody_elses_reply_with_it() {
    let mut bench = Bench::new();
    let (leaves, stays) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    bench.send(leaves, &format!("GET {key}"));
    bench.send(stays, &format!("GET {key}"));
    bench.worker.client_lost(leaves, bench.now);
    bench.turn();
    assert_eq!(bench.closed, [leaves]);
    // Its place is taken by a new client before its reply comes.
    let new = bench.client();
    assert_eq!(new, leaves, "the place is used again");
    bench.send(new, &format!("GET {key}"));
    bench.answer(1, "$5\r\nfirst");
    bench.answer(1, "$6\r\nsecond");
    bench.answer(1, "$5\r\nthird");
    assert_eq!(bench.got(stays), "$6\r\nsecond\r\n");
    assert_eq!(bench.got(new), "$5\r\nthird\r\n");
    assert_eq!(bench.cells.stale_replies_dropped.get(), 1);
}

#[test]
fn what_cannot_be_routed_is_refused_in_a_servers_words() {
    let mut bench = Bench::new();
    let client = bench.client();
    for (request, reply) in [
        ("NOPE a b", "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("EXEC", "-ERR EXEC without MULTI\r\n"),
        ("BLPOP a b 1", "-CROSSSLOT Keys in request don't hash to the same slot\r\n"),
        ("SELECT 100", "-ERR DB index is out of range\r\n"),
        ("MSETNX a 1 b 2", "-CROSSSLOT Keys in request don't hash to the same slot\r\n"),
        ("PING", "+PONG\r\n"),
    ] {
        bench.send(client, request);
        assert_eq!(bench.got(client), reply, "{request}");
    }
    assert!((1..=3).all(|port| bench.at(port).is_empty()));
}

#[test]
fn several_keys_of_one_slot_travel_together() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "MSET {k0}a 1 {k0}b 2");
    let there: Vec<String> = (1..=3).flat_map(|port| bench.at(port)).collect();
    assert_eq!(there, ["MSET {k0}a 1 {k0}b 2"]);
}

#[test]
fn inline_requests_enter_a_node_connection_as_arrays() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send_raw(client, format!("\r\n  SET {key} 'a b'\n").as_bytes());
    assert_eq!(bench.at(1), [format!("SET {key} a b")]);
}

#[test]
fn a_protocol_error_is_answered_behind_what_came_before_and_closes() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let mut bytes = encode(&format!("GET {key}"));
    bytes.extend_from_slice(b"*1\r\n!oops\r\n");
    bench.send_raw(client, &bytes);
    assert_eq!(bench.got(client), "");
    assert!(bench.closed.is_empty());
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n-ERR Protocol error: expected '$', got '!'\r\n");
    assert_eq!(bench.closed, [client]);
}

#[test]
fn quit_is_answered_and_what_follows_is_dropped() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send_raw(client, &[encode("QUIT"), encode(&format!("SET {key} x"))].concat());
    assert_eq!(bench.got(client), "+OK\r\n");
    assert_eq!(bench.closed, [client]);
    assert!(bench.at(1).is_empty());
}

#[test]
fn the_end_of_input_does_not_stop_what_was_sent_before() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    bench.worker.client_ended(client, bench.now);
    bench.turn();
    assert!(bench.closed.is_empty());
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "$1\r\nx\r\n");
    assert_eq!(bench.closed, [client]);
}

#[test]
fn requests_wait_for_the_first_topology() {
    let mut bench = Bench::without_topology(settings());
    let client = bench.client();
    let key = key_of(2, 0);
    bench.send(client, &format!("GET {key}"));
    bench.send(client, "COMMAND DOCS");
    assert_eq!(bench.got(client), "");
    bench.topology(three_shards());
    assert!(bench.at(2).contains(&format!("GET {key}")));
    let everywhere: Vec<String> = (1..=3).flat_map(|port| bench.at(port)).collect();
    assert!(everywhere.contains(&"COMMAND DOCS".to_owned()), "{everywhere:?}");
}

#[test]
fn an_idle_client_owns_no_buffers() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    assert!(bench.worker.clients.get(client).unwrap().flow.is_some());
    bench.answer(1, "$1\r\nx");
    assert!(bench.worker.clients.get(client).unwrap().flow.is_none());
    bench.send(client, "PING");
    assert!(bench.worker.clients.get(client).unwrap().flow.is_none());
}

#[test]
fn a_drained_worker_finishes_what_it_promised() {
    let mut bench = Bench::new();
    let (busy, idle) = (bench.client(), bench.client());
    bench.send(busy, &format!("GET {}", key_of(1, 0)));
    bench.worker.drain(bench.now);
    bench.turn();
    assert_eq!(bench.closed, [idle]);
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(busy), "$1\r\nx\r\n");
    assert_eq!(bench.closed, [idle, busy]);
    assert_eq!(bench.worker.client_count(), 0);
}

#[test]
fn a_subscribe_that_waits_ends_with_the_worker() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("SUBSCRIBE {}", key_of(2, 0)));
    bench.worker.drain(bench.now);
    bench.worker.cut_off(bench.now);
    bench.turn();
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: slotway ends"), "{got}");
    assert_eq!(bench.worker.client_count(), 0);
}

#[test]
fn who_is_cut_off_is_told_the_truth_about_each_request() {
    let mut bench = Bench::new();
    let (client, reader, splitter) = (bench.client(), bench.client(), bench.client());
    bench.kill(2, true);
    let [sent, half, away] = [key_of(1, 0), key_of(1, 1), key_of(2, 0)];
    bench.send(client, &format!("INCR {sent}"));
    bench.send(reader, &format!("GET {sent}"));
    let wire = bench.wires_of(1)[0];
    bench.wires.get_mut(&wire).unwrap().takes = Some(5);
    bench.send(client, &format!("INCR {half}"));
    bench.send(client, &format!("INCR {away}"));
    bench.send(splitter, &format!("MGET {sent} {away}"));
    bench.worker.drain(bench.now);
    bench.worker.cut_off(bench.now);
    bench.turn();
    let got = bench.got(client);
    let lines: Vec<&str> = got.lines().collect();
    let not_executed = |line: &str| line.starts_with("-CLUSTERDOWN not executed: slotway ends");
    assert_eq!(lines.len(), 3, "{got}");
    assert!(lines[0].starts_with("-UNKNOWNRESULT sent, reply lost: slotway ends"), "{got}");
    assert!(lines[1..].iter().all(|line| not_executed(line)), "{got}");
    assert!(not_executed(&bench.got(reader)));
    assert!(not_executed(&bench.got(splitter)));
    assert_eq!(bench.worker.client_count(), 0);
}
