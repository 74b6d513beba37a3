//! Requests of several parts: over slots, over shards, over nodes.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, key_of, node_id, settings, topology};
use crate::slot::Slot;
use crate::topology::{Draft, Endpoint, Node, Role, Topology};
use crate::worker::Settings;

/// One key of each shard.
fn keys() -> [String; 3] {
    [key_of(1, 0), key_of(2, 0), key_of(3, 0)]
}

/// Three shards; the first has a replica on this port.
pub(super) fn with_replica(revision: u64, port: u16) -> Arc<Topology> {
    let mut draft = Draft { revision, ..Draft::default() };
    for (number, (first, last)) in (1..).zip([(0, 5460), (5461, 10922), (10923, 16383)]) {
        let endpoint = Endpoint::new("10.0.0.1", number);
        draft.nodes.push(Node::new(node_id(number), endpoint, Role::Primary));
        let slot = |n: u16| Slot::new(n).unwrap();
        draft.own(slot(first), slot(last), node_id(number), 1);
    }
    let replica = Node::new(node_id(port), Endpoint::new("10.0.0.1", port), Role::Replica);
    draft.nodes.push(Node { follows: Some(node_id(1)), ..replica });
    Arc::new(draft.finish())
}

#[test]
fn mget_over_shards_is_answered_in_the_order_of_its_keys() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, c] = keys();
    bench.send(client, &format!("MGET {c} {a} {b} {a}"));
    assert_eq!(bench.at(1), [format!("MGET {a} {a}")]);
    assert_eq!(bench.at(2), [format!("MGET {b}")]);
    bench.answer(2, "*1\r\n$1\r\nb");
    bench.answer(1, "*2\r\n$1\r\na\r\n$-1");
    assert_eq!(bench.got(client), "");
    bench.answer(3, "*1\r\n$1\r\nc");
    assert_eq!(bench.got(client), "*4\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nb\r\n$-1\r\n");
}

#[test]
fn numbers_are_added_and_pairs_stay_together() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, _] = keys();
    bench.send(client, &format!("DEL {a} {b} {a}"));
    assert_eq!(bench.at(1), [format!("DEL {a} {a}")]);
    bench.answer(1, ":1");
    bench.answer(2, ":1");
    bench.send(client, &format!("MSET {a} 1 {b} 2 {a} 3"));
    assert_eq!(bench.at(1), [format!("MSET {a} 1 {a} 3")]);
    bench.answer(1, "+OK");
    bench.answer(2, "+OK");
    bench.send(client, &format!("MSET {a} 1 {b}"));
    assert_eq!(
        bench.got(client),
        ":2\r\n+OK\r\n-ERR wrong number of arguments for 'mset' command\r\n"
    );
}

#[test]
fn the_replies_of_a_pipeline_keep_their_places() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, c] = keys();
    bench.send(client, &format!("GET {a}"));
    bench.send(client, &format!("EXISTS {b} {c}"));
    bench.send(client, &format!("GET {c}"));
    bench.answer(2, ":1");
    bench.answer(3, ":1");
    bench.answer(3, "$1\r\nc");
    assert_eq!(bench.got(client), "");
    bench.answer(1, "$1\r\na");
    assert_eq!(bench.got(client), "$1\r\na\r\n:2\r\n$1\r\nc\r\n");
}

#[test]
fn a_dead_shard_is_waited_for_and_no_nil_is_made_up() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, _] = keys();
    bench.kill(1, true);
    bench.send(client, &format!("MGET {a} {b}"));
    bench.answer(2, "*1\r\n$1\r\nb");
    bench.advance(Duration::from_secs(3));
    assert_eq!(bench.got(client), "");
    bench.revive(1);
    bench.advance(Duration::from_millis(300));
    bench.answer(1, "*1\r\n$1\r\na");
    assert_eq!(bench.got(client), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    bench.kill(1, true);
    bench.send(client, &format!("MGET {a} {b}"));
    bench.answer(2, "*1\r\n$1\r\nb");
    bench.advance(Duration::from_secs(21));
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{got}");
    assert_eq!(bench.cells.parked_requests.get(), 0);
    assert_eq!(bench.worker.clients.gathers.len(), 0);
}

#[test]
fn a_write_of_which_a_part_was_applied_says_so() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, c] = keys();
    let slot = |key: &str| Slot::of_key(key.as_bytes());
    bench.kill(1, true);
    bench.send(client, &format!("MSET {a} 1 {b} 2 {c} 3"));
    bench.answer(2, "+OK");
    bench.answer(3, "-OOM command not allowed when used memory > 'maxmemory'.");
    bench.advance(Duration::from_secs(21));
    let mut slots = [slot(&a), slot(&c)];
    slots.sort_unstable();
    let got = bench.got(client);
    let expected = format!(
        "-UNKNOWNRESULT partly executed: 1 of 3 slots applied, slots {}, {} not executed: ",
        slots[0], slots[1]
    );
    assert!(got.starts_with(&expected), "{got}");
    // Nothing applied and nothing unknown: the plain truth.
    bench.send(client, &format!("DEL {b} {c}"));
    bench.answer(2, "-NOPERM no");
    bench.answer(3, "-NOPERM no");
    assert_eq!(bench.got(client), "-NOPERM no\r\n");
    // A part that was lost: once more would be twice.
    bench.send(client, &format!("DEL {b} {c}"));
    bench.answer(3, ":1");
    bench.kill(2, false);
    let got = bench.got(client);
    let expected = format!(
        "-UNKNOWNRESULT partly executed: 1 of 2 slots applied, slots {} unknown: ",
        slot(&b)
    );
    assert!(got.starts_with(&expected), "{got}");
}

#[test]
fn nothing_overtakes_a_part_that_was_sent_elsewhere() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, _] = keys();
    bench.send(client, &format!("MSET {a} 1 {b} 1"));
    bench.answer(1, &format!("-MOVED {} 10.0.0.1:3", Slot::of_key(a.as_bytes())));
    bench.send(client, &format!("SET {a} 2"));
    bench.answer(2, "+OK");
    assert_eq!(bench.at(3), [format!("MSET {a} 1")]);
    bench.answer(3, "+OK");
    assert_eq!(bench.at(3), [format!("SET {a} 2")]);
    bench.answer(3, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n+OK\r\n");
}

#[test]
fn every_shard_is_asked_and_those_that_come_meanwhile_too() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "DBSIZE");
    for (port, size) in [(1, 10), (2, 20), (3, 30)] {
        assert_eq!(bench.at(port), ["DBSIZE"]);
        bench.answer(port, &format!(":{size}"));
    }
    assert_eq!(bench.got(client), ":60\r\n");
    bench.send(client, "FLUSHALL");
    bench.send(client, "DBSIZE");
    bench.topology(topology(
        2,
        &[(1, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16000)]), (4, &[(16001, 16383)])],
    ));
    for port in 1..=3 {
        bench.answer(port, "+OK");
        bench.answer(port, ":1");
    }
    assert_eq!(bench.got(client), "");
    // What was flushed stays flushed; a sum is made anew.
    assert_eq!(bench.at(4), ["FLUSHALL", "DBSIZE"]);
    bench.answer(4, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
    for port in 1..=4 {
        bench.answer(port, ":2");
    }
    assert_eq!(bench.got(client), ":8\r\n");
}

/// A part that was asked twice would have its slots in the list twice.
#[test]
fn an_ordered_list_is_made_anew_where_a_shard_has_come() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "CLUSTER SLOT-STATS SLOTSRANGE 16000 16001");
    bench.topology(topology(
        2,
        &[(1, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16000)]), (4, &[(16001, 16383)])],
    ));
    let entry = |slot: u16| format!("*2\r\n:{slot}\r\n*0\r\n");
    let both = format!("*2\r\n{}{}", entry(16_000), entry(16_001));
    for (port, answer) in [(1, "*0"), (2, "*0"), (3, both.trim_end())] {
        bench.answer(port, answer);
    }
    for (port, slot) in [(1, 0), (2, 0), (4, 16_001), (3, 16_000)] {
        let one = format!("*1\r\n{}", entry(slot));
        bench.answer(port, if slot == 0 { "*0" } else { one.trim_end() });
    }
    assert_eq!(bench.got(client), both);
}

/// The first slot of a shard stood for all of it: when it had moved, nobody asked the shard until
/// the next map, and its keys outlived a FLUSHALL.
#[test]
fn a_shard_of_which_a_slot_has_moved_is_asked_all_the_same() {
    let mut bench = Bench::new();
    let client = bench.client();
    let slot_of = |key: &String| Slot::of_key(key.as_bytes()).number();
    let key = (0..).map(|n| key_of(1, n)).find(|key| (1..10).contains(&slot_of(key))).unwrap();
    let slot = slot_of(&key);
    bench.topology(topology(
        2,
        &[(1, &[(slot, 5460)]), (2, &[(0, slot - 1), (5461, 10922)]), (3, &[(10923, 16383)])],
    ));
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:2"));
    bench.answer(2, "$1\r\na");
    bench.send(client, "DBSIZE");
    for port in 1..=3 {
        assert_eq!(bench.at(port), ["DBSIZE"], "{port}");
        bench.answer(port, ":1");
    }
    assert_eq!(bench.got(client), "$1\r\na\r\n:3\r\n");
}

/// After a failover only the slots that somebody had used were known to have another owner: both
/// nodes of the shard were asked, and each key was counted twice.
#[test]
fn a_primary_that_a_redirect_says_was_replaced_is_not_asked() {
    let mut bench = Bench::new();
    bench.topology(with_replica(2, 4));
    let client = bench.client();
    let key = key_of(1, 0);
    let slot = Slot::of_key(key.as_bytes()).number();
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, &format!("-MOVED {slot} 10.0.0.1:4"));
    bench.answer(4, "$1\r\na");
    for command in ["DBSIZE", "FLUSHALL"] {
        bench.send(client, command);
        assert_eq!(bench.at(1), [""; 0]);
        for port in 2..=4 {
            assert_eq!(bench.at(port), [command], "{port}");
            bench.answer(port, if command == "DBSIZE" { ":1" } else { "+OK" });
        }
    }
    assert_eq!(bench.got(client), "$1\r\na\r\n:3\r\n+OK\r\n");
    // The map agrees.
    bench
        .topology(topology(3, &[(4, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])]));
    bench.send(client, "DBSIZE");
    (2..=4).for_each(|port| bench.answer(port, ":1"));
    assert_eq!(bench.got(client), ":3\r\n");
}

#[test]
fn before_anything_is_known_of_the_cluster_nobody_is_told_half() {
    let mut bench = Bench::without_topology(settings());
    let client = bench.client();
    bench.send(client, "DBSIZE");
    bench.topology(super::bench::three_shards());
    bench.advance(Duration::from_millis(100));
    let first = (1..=3).find(|&port| !bench.at(port).is_empty()).unwrap();
    bench.answer(first, ":1");
    for port in 1..=3 {
        bench.answer(port, ":1");
    }
    assert_eq!(bench.got(client), ":3\r\n");
}

#[test]
fn a_setting_goes_to_every_node_and_waits_for_none_that_left() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "CONFIG SET maxmemory 1");
    for port in 1..=3 {
        bench.answer(port, "+OK");
    }
    assert_eq!(bench.got(client), "+OK\r\n");
    bench.kill(1, true);
    bench.send(client, "CONFIG SET maxmemory 2");
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    bench.answer(2, "+OK");
    bench.answer(3, "+OK");
    assert_eq!(bench.got(client), "+OK\r\n");
}

#[test]
fn the_client_leaves_and_nothing_is_left_of_it() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let [a, b, _] = keys();
    bench.kill(1, true);
    bench.send(client, &format!("MGET {a} {b}"));
    bench.send(other, &format!("MGET {b} {}", key_of(3, 0)));
    bench.worker.client_lost(client, bench.now);
    bench.turn();
    assert_eq!(bench.cells.parked_requests.get(), 0);
    assert_eq!(bench.worker.clients.gathers.len(), 1);
    bench.answer(2, "*1\r\n$4\r\ngone");
    bench.answer(2, "*1\r\n$1\r\nb");
    bench.answer(3, "*1\r\n$1\r\nc");
    assert_eq!(bench.got(other), "*2\r\n$1\r\nb\r\n$1\r\nc\r\n");
}

#[test]
fn what_is_gathered_has_a_bound() {
    let mut bench = Bench::with(Settings { output_max: 50_000, ..settings() });
    let client = bench.client();
    let [a, b, _] = keys();
    let large = |len: usize| format!("*1\r\n${len}\r\n{}", "x".repeat(len));
    // Larger than what passes through as it comes, and yet gathered whole.
    bench.send(client, &format!("MGET {a} {b}"));
    bench.answer(1, &large(22_000));
    bench.answer(2, &large(22_000));
    assert_eq!(bench.got(client).len(), 44_000 + 24);
    // Too large together: one answer, and nobody's connection is closed.
    bench.send(client, &format!("MGET {a} {b}"));
    bench.answer(1, &large(22_000));
    let wire = bench.wires_of(2)[0];
    let reply = large(40_000) + "\r\n";
    bench.wires.get_mut(&wire).unwrap().requests.remove(0);
    for chunk in reply.as_bytes().chunks(1000) {
        bench.say(wire, chunk);
    }
    let got = bench.got(client);
    assert!(got.starts_with("-OVERLOADED not executed: the replies of its parts"), "{got}");
    bench.send(client, &format!("GET {b}"));
    bench.answer(2, "$1\r\nb");
    assert_eq!(bench.got(client), "$1\r\nb\r\n");
}

#[test]
fn replies_that_no_server_gives_are_an_error_and_counted() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, _] = keys();
    bench.send(client, &format!("DEL {a} {b}"));
    bench.answer(1, "+OK");
    bench.answer(2, ":1");
    assert_eq!(bench.got(client), "-ERR the nodes' replies to 'del' cannot be made into one\r\n");
    assert_eq!(bench.cells.merge_surprises.get(), 1);
}

#[test]
fn a_large_request_is_split_and_gives_its_bytes_back() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, _] = keys();
    for _ in 0..3 {
        let long = "x".repeat(30_000);
        let whole = super::bench::encode(&format!("MSET {a} {long} {b} {long}"));
        for chunk in whole.chunks(10_000) {
            bench.send_raw(client, chunk);
        }
        bench.send(client, &format!("GET {a}"));
        assert_eq!(bench.at(1).len(), 1, "what follows waits for it");
        bench.answer(1, "+OK");
        bench.advance(Duration::from_secs(5));
        bench.answer(2, "+OK");
        bench.answer(1, "$1\r\nx");
        assert_eq!(bench.got(client), "+OK\r\n$1\r\nx\r\n");
        assert!(bench.worker.large_reads.is_unused());
    }
    assert!(bench.closed.is_empty());
}

#[test]
fn a_request_in_the_place_of_one_whose_client_has_gone_waits_for_its_own_parts() {
    let mut bench = Bench::new();
    let (gone, other) = (bench.client(), bench.client());
    let [a, b, _] = keys();
    bench.send(gone, &format!("MGET {a} {b}"));
    bench.answer(1, "*1\r\n$4\r\ngone");
    // All in one turn: the last part is answered, the client leaves, another one asks.
    let wire = bench.wires_of(2)[0];
    bench.wires.get_mut(&wire).unwrap().requests.remove(0);
    bench.worker.node_bytes(wire, b"*1\r\n$4\r\ngone\r\n", bench.now);
    bench.worker.client_lost(gone, bench.now);
    bench.send(other, &format!("MGET {a} {b}"));
    assert_eq!(bench.got(other), "");
    bench.answer(1, "*1\r\n$1\r\na");
    bench.answer(2, "*1\r\n$1\r\nb");
    assert_eq!(bench.got(other), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
}

/// The parts for node 1 of an MGET of three keys of its own, as the keys that they ask for.
fn keys_asked(bench: &Bench) -> Vec<String> {
    let key = |request: String| request.strip_prefix("MGET ").unwrap().to_owned();
    bench.at(1).into_iter().map(key).collect()
}

#[test]
fn replies_to_parts_that_come_in_one_read_are_told_apart() {
    let mut bench = Bench::new();
    let clients = [bench.client(), bench.client(), bench.client(), bench.client()];
    let keys = [0, 1, 2].map(|n| key_of(1, n));
    bench.send(clients[0], &format!("MGET {}", keys.join(" ")));
    let asked = keys_asked(&bench);
    bench.send(clients[3], &format!("DEL {}", keys.join(" ")));
    bench.send(clients[1], &format!("GET {}", key_of(1, 3)));
    bench.send(clients[2], &format!("MGET {} {}", key_of(1, 4), key_of(2, 0)));
    let wire = bench.wires_of(1)[0];
    let mut replies = String::new();
    for (n, key) in asked.iter().enumerate() {
        let value = if n == 1 { "$-1".to_owned() } else { format!("${}\r\n{key}", key.len()) };
        replies.push_str(&format!("*1\r\n{value}\r\n"));
    }
    replies.push_str(":2\r\n:2\r\n:2\r\n$1\r\ng\r\n*1\r\n$1\r\nm\r\n");
    bench.say(wire, replies.as_bytes());
    bench.answer(2, "*1\r\n$1\r\nn");
    let values = keys.iter().map(|key| {
        if *key == asked[1] { "$-1\r\n".to_owned() } else { format!("${}\r\n{key}\r\n", key.len()) }
    });
    assert_eq!(bench.got(clients[0]), format!("*3\r\n{}", values.collect::<String>()));
    assert_eq!(bench.got(clients[3]), ":6\r\n", "three numbers are not an array of two");
    assert_eq!(bench.got(clients[1]), "$1\r\ng\r\n");
    assert_eq!(bench.got(clients[2]), "*2\r\n$1\r\nm\r\n$1\r\nn\r\n");
}

#[test]
fn replies_to_parts_may_be_cut_anywhere_and_one_of_them_be_a_redirect() {
    let keys = [0, 1, 2].map(|n| key_of(1, n));
    for cut in 0..60 {
        let mut bench = Bench::new();
        let client = bench.client();
        bench.send(client, &format!("MGET {}", keys.join(" ")));
        let asked = keys_asked(&bench);
        let wire = bench.wires_of(1)[0];
        let slot = Slot::of_key(asked[1].as_bytes());
        let one = "*1\r\n$3\r\none\r\n";
        let all = format!("{one}-MOVED {slot} 10.0.0.1:2\r\n*1\r\n$3\r\ntwo\r\n");
        let (first, rest) = all.as_bytes().split_at(cut.min(all.len()));
        bench.say(wire, first);
        bench.say(wire, rest);
        assert_eq!(bench.at(2), [format!("MGET {}", asked[1])], "cut at {cut}");
        bench.answer(2, "*1\r\n$5\r\nmoved");
        let values = keys.iter().map(|key| match asked.iter().position(|other| other == key) {
            Some(0) => "$3\r\none\r\n",
            Some(1) => "$5\r\nmoved\r\n",
            _ => "$3\r\ntwo\r\n",
        });
        assert_eq!(bench.got(client), format!("*3\r\n{}", values.collect::<String>()));
    }
}

/// Each of them might be the last word of a primary that was replaced.
#[test]
fn replies_to_parts_that_a_suspect_node_sends_in_one_read_are_all_held() {
    let mut bench = Bench::new();
    let client = bench.client();
    let keys = [0, 1, 2].map(|n| key_of(1, n));
    bench.freeze(1);
    bench.send(client, &format!("MGET {}", keys.join(" ")));
    bench.live(Duration::from_secs(3));
    bench.thaw(1);
    let wire = bench.wires_of(1)[0];
    bench.say(wire, "*1\r\n$1\r\nx\r\n".repeat(3).as_bytes());
    assert_eq!(bench.got(client), "");
    let open: Vec<usize> =
        bench.worker.clients.gathers.iter().map(|(_, gather)| gather.open).collect();
    assert_eq!(open, [3], "none of them is taken before another node says who the primary is");
    bench.look(2);
    assert_eq!(bench.got(client), format!("*3\r\n{}", "$1\r\nx\r\n".repeat(3)));
}

#[test]
fn the_bytes_of_all_parts_are_under_way_until_the_whole_is_answered() {
    let mut bench = Bench::new();
    let client = bench.client();
    let [a, b, c] = keys();
    bench.send(client, &format!("MGET {a} {b} {c}"));
    let under_way = |bench: &mut Bench| bench.worker.clients.get(client).unwrap().in_flight_bytes;
    let all: usize =
        [&a, &b, &c].map(|key| super::bench::encode(&format!("MGET {key}")).len()).iter().sum();
    assert_eq!(under_way(&mut bench), all);
    bench.answer(1, "*1\r\n$-1");
    bench.answer(2, "*1\r\n$-1");
    assert_eq!(under_way(&mut bench), all);
    bench.answer(3, "*1\r\n$-1");
    assert_eq!(under_way(&mut bench), 0);
}
