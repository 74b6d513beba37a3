//! Clients that cache: what of it has changed is told to them, and never too early.

use std::time::Duration;

use super::bench::{Bench, key_of, settings};
use crate::resp::write;
use crate::session::{CommonQuestion, Part};
use crate::slot::Slot;
use crate::worker::Settings;

pub(super) const WATCHER: &[&str] = &["HELLO 3", "CLIENT TRACKING ON BCAST"];
pub(super) const RESP3: &[&str] = &["HELLO 3"];
pub(super) const ALL: &str = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

/// A client that speaks RESP3 and has said this.
pub(super) fn caching(bench: &mut Bench, tracking: &str) -> u32 {
    let client = bench.client();
    bench.send(client, "HELLO 3");
    bench.got(client);
    bench.send(client, tracking);
    assert_eq!(bench.got(client), "+OK\r\n");
    client
}

/// Such a client that tracks what it reads, and a key of the first node.
pub(super) fn tracked() -> (Bench, u32, String) {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    (bench, client, key_of(1, 0))
}

/// What a client is told of these keys.
pub(super) fn gone(keys: &[&str]) -> String {
    let mut out = b">2\r\n$10\r\ninvalidate\r\n".to_vec();
    write::array_header(&mut out, keys.len());
    for key in keys {
        write::bulk(&mut out, key);
    }
    String::from_utf8(out).unwrap()
}

/// The node with this port tells that these keys have changed.
pub(super) fn change(bench: &mut Bench, port: u16, keys: &[&str]) {
    let watcher = bench.wire_in(port, WATCHER).expect("the node is watched");
    bench.say(watcher, gone(keys).as_bytes());
}

/// The connection for data of this node in RESP3.
pub(super) fn data(bench: &Bench, port: u16) -> u32 {
    bench.wire_in(port, RESP3).expect("a connection in RESP3")
}

/// The client reads a key of this node, and has it.
pub(super) fn read(bench: &mut Bench, client: u32, port: u16, key: &str) {
    bench.send(client, &format!("GET {key}"));
    let wire = data(bench, port);
    bench.answer_on(wire, "+value");
    assert_eq!(bench.got(client), "+value\r\n");
}

pub(super) fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

#[test]
fn who_has_read_a_key_is_told_once_that_it_has_changed() {
    let mut bench = Bench::new();
    let (reader, other) = (caching(&mut bench, "CLIENT TRACKING ON"), bench.client());
    let (key, another) = (key_of(1, 0), key_of(1, 1));
    read(&mut bench, reader, 1, &key);
    change(&mut bench, 1, &[&another]);
    assert_eq!(bench.got(reader), "");
    change(&mut bench, 1, &[&another, &key]);
    assert_eq!(bench.got(reader), gone(&[&key]));
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(reader) + &bench.got(other), "");
    read(&mut bench, reader, 1, &key);
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(reader), gone(&[&key]), "what is read again is told again");
    assert_eq!(bench.cells.invalidations_written.get(), 2);
}

/// The reply may be from before the change or from behind it: the client must not keep it in the
/// one case, and must be told of the next change in the other.
#[test]
fn a_change_while_the_read_is_under_way_is_told_behind_the_reply_too() {
    let (mut bench, client, key) = tracked();
    bench.send(client, &format!("GET {key}"));
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]), "it may have a copy from before");
    let wire = data(&bench, 1);
    bench.answer_on(wire, "+value");
    assert_eq!(bench.got(client), format!("+value\r\n{}", gone(&[&key])));
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
}

#[test]
fn a_reply_that_waits_for_an_earlier_one_is_followed_by_what_changed_since() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let (first, key) = (key_of(2, 0), key_of(1, 0));
    bench.send(client, &format!("GET {first}"));
    bench.send(client, &format!("GET {key}"));
    let (late, early) = (data(&bench, 2), data(&bench, 1));
    bench.answer_on(early, "+old");
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
    bench.send(client, &format!("GET {key}"));
    bench.answer_on(late, "+first");
    assert_eq!(bench.got(client), format!("+first\r\n+old\r\n{}", gone(&[&key])));
    bench.answer_on(early, "+new");
    assert_eq!(bench.got(client), "+new\r\n");
}

/// What is queued is not read before EXEC: a change between the two has nothing to do with it.
#[test]
fn what_a_transaction_reads_is_noted_when_it_is_executed() {
    for (tracking, before) in [("CLIENT TRACKING ON", ""), ("CLIENT TRACKING ON OPTIN", "YES")] {
        let mut bench = Bench::new();
        let client = caching(&mut bench, tracking);
        let (key, other) = (key_of(1, 0), format!("{{{}}}", key_of(1, 0)));
        if !before.is_empty() {
            bench.send(client, &format!("CLIENT CACHING {before}"));
        }
        for request in ["MULTI", &format!("GET {key}"), &format!("GET {other}")] {
            bench.send(client, request);
        }
        bench.got(client);
        change(&mut bench, 1, &[&key]);
        assert_eq!(bench.got(client), "", "nothing was read yet");
        bench.send(client, "EXEC");
        let wire = data(&bench, 1);
        bench.say(wire, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+a\r\n+b\r\n");
        assert_eq!(bench.got(client), "*2\r\n+a\r\n+b\r\n");
        change(&mut bench, 1, &[&key, &other]);
        assert_eq!(bench.got(client), gone(&[&key]) + &gone(&[&other]), "{tracking}");
    }
}

/// CACHING NO is for one transaction, executed or not.
#[test]
fn what_was_not_to_be_cached_of_a_transaction_that_is_discarded_is_over() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON OPTOUT");
    let key = key_of(1, 0);
    for request in ["CLIENT CACHING NO", "MULTI", &format!("GET {key}"), "DISCARD"] {
        bench.send(client, request);
    }
    bench.got(client);
    read(&mut bench, client, 1, &key);
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
}

#[test]
fn each_part_of_a_split_read_is_followed_by_what_changed_before_the_whole() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let (a, b) = (key_of(1, 0), key_of(2, 0));
    bench.send(client, &format!("MGET {a} {b}"));
    let (one, two) = (data(&bench, 1), data(&bench, 2));
    bench.answer_on(one, "*1\r\n+a");
    change(&mut bench, 1, &[&a]);
    assert_eq!(bench.got(client), gone(&[&a]));
    bench.answer_on(two, "*1\r\n+b");
    assert_eq!(bench.got(client), format!("*2\r\n+a\r\n+b\r\n{}", gone(&[&a])));
    change(&mut bench, 2, &[&b]);
    assert_eq!(bench.got(client), gone(&[&b]));
}

#[test]
fn a_read_that_is_sent_again_stays_noted() {
    let (mut bench, client, key) = tracked();
    bench.send(client, &format!("GET {key}"));
    bench.answer_on(data(&bench, 1), &format!("-TRYAGAIN {}", slot_of(&key)));
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
    bench.advance(Duration::from_millis(50));
    bench.answer_on(data(&bench, 1), "+new");
    assert_eq!(bench.got(client), format!("+new\r\n{}", gone(&[&key])));
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), gone(&[&key]));
}

#[test]
fn nothing_is_told_in_the_middle_of_a_large_reply() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let (key, large) = (key_of(1, 0), key_of(1, 1));
    read(&mut bench, client, 1, &key);
    bench.send(client, &format!("GET {large}"));
    let wire = data(&bench, 1);
    bench.say(wire, format!("$30000\r\n{}", "x".repeat(10_000)).as_bytes());
    assert!(bench.got(client).starts_with("$30000\r\n"));
    change(&mut bench, 1, &[&key, &large]);
    assert_eq!(bench.got(client), "");
    bench.say(wire, format!("{}\r\n", "x".repeat(20_000)).as_bytes());
    let got = bench.got(client);
    assert!(got.ends_with(&format!("x\r\n{}{}", gone(&[&key]), gone(&[&large]))), "{got}");
}

#[test]
fn tracking_begins_once_all_nodes_are_watched() {
    let mut bench = Bench::new();
    bench.no_watching = true;
    let client = bench.client();
    bench.send(client, "HELLO 3");
    bench.got(client);
    bench.send(client, "CLIENT TRACKING ON");
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    assert_eq!(bench.got(client), "", "what is read before could not be kept");
    for port in 1..=3 {
        let watcher = bench.wire_in(port, WATCHER).unwrap();
        assert_eq!(bench.wires[&watcher].requests, ["CLIENT TRACKING ON BCAST"]);
        bench.answer_on(watcher, "+OK");
    }
    assert_eq!(bench.got(client), "+OK\r\n");
    bench.answer_on(data(&bench, 1), "+value");
    assert_eq!(bench.got(client), "+value\r\n");
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let prefixed = caching(&mut bench, "CLIENT TRACKING ON BCAST PREFIX a PREFIX b");
    let key = key_of(1, 0);
    read(&mut bench, client, 1, &key);
    assert_eq!(bench.cells.tracking_clients.get(), 2);
    for client in [client, prefixed] {
        bench.worker.client_lost(client, bench.now);
        bench.turn();
    }
    // Another one in its place.
    let next = caching(&mut bench, "CLIENT TRACKING ON");
    change(&mut bench, 1, &[&key, "a", "b"]);
    assert_eq!(bench.got(next), "");
    bench.send(next, "CLIENT TRACKING OFF");
    bench.live(Duration::from_secs(1));
    assert_eq!(bench.wire_in(1, WATCHER), None, "nobody listens any more");
    assert_eq!((bench.cells.tracking_clients.get(), bench.cells.tracking_keys.get()), (0, 0));
    assert!(bench.worker.trackers.is_unused());
    bench.send(next, "RESET");
    assert_eq!(bench.got(next), "+OK\r\n+RESET\r\n");
}

#[test]
fn a_client_is_told_of_what_it_writes_itself_right_behind_the_reply() {
    let mut bench = Bench::new();
    let key = key_of(1, 0);
    for (tracking, told) in [
        ("CLIENT TRACKING ON", true),
        ("CLIENT TRACKING ON NOLOOP", false),
        ("CLIENT TRACKING ON BCAST", true),
        ("CLIENT TRACKING ON BCAST PREFIX other", false),
    ] {
        let client = caching(&mut bench, tracking);
        read(&mut bench, client, 1, &key);
        bench.send(client, &format!("SET {key} v"));
        bench.answer_on(data(&bench, 1), "+OK");
        let told = if told { gone(&[&key]) } else { String::new() };
        assert_eq!(bench.got(client), format!("+OK\r\n{told}"), "{tracking}");
        bench.worker.client_lost(client, bench.now);
        bench.turn();
    }
}

#[test]
fn only_what_was_chosen_is_tracked() {
    let mut bench = Bench::new();
    let keys: Vec<String> = (0..4).map(|n| key_of(1, n)).collect();
    for (tracking, word, tracked) in [
        ("CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", [false, true, false, true]),
        ("CLIENT TRACKING ON OPTOUT", "CLIENT CACHING NO", [true, false, true, false]),
    ] {
        let client = caching(&mut bench, tracking);
        read(&mut bench, client, 1, &keys[0]);
        bench.send(client, word);
        assert_eq!(bench.got(client), "+OK\r\n");
        read(&mut bench, client, 1, &keys[1]);
        read(&mut bench, client, 1, &keys[2]);
        bench.send(client, word);
        bench.send(client, "CLIENT ID");
        bench.got(client);
        read(&mut bench, client, 1, &keys[3]);
        for (key, tracked) in keys.iter().zip(tracked) {
            change(&mut bench, 1, &[key]);
            let told = if tracked { gone(&[key]) } else { String::new() };
            assert_eq!(bench.got(client), told, "{tracking}: {key}");
        }
        bench.worker.client_lost(client, bench.now);
        bench.turn();
    }
}

#[test]
fn what_begins_with_a_prefix_is_told_at_once() {
    let mut bench = Bench::new();
    let all = caching(&mut bench, "CLIENT TRACKING ON BCAST");
    let some = caching(&mut bench, "CLIENT TRACKING ON BCAST PREFIX a PREFIX bc");
    change(&mut bench, 1, &["ab", "b", "bc", "abc", "c"]);
    assert_eq!(bench.got(all), gone(&["ab", "b", "bc", "abc", "c"]));
    assert_eq!(bench.got(some), gone(&["ab", "abc"]) + &gone(&["bc"]));
    let key = key_of(1, 0);
    bench.send(all, &format!("GET {key}"));
    change(&mut bench, 1, &[&key]);
    bench.answer_on(data(&bench, 1), "+value");
    assert_eq!(bench.got(all), format!("{}+value\r\n{}", gone(&[&key]), gone(&[&key])));
}

#[test]
fn prefixes_are_bounded_and_refused_before_they_are_compared() {
    let mut bench = Bench::with(Settings { large_request: 10_000_000, ..settings() });
    let client = caching(&mut bench, "CLIENT TRACKING ON BCAST PREFIX other");
    let ask = |count: usize| {
        let prefixes: Vec<String> = (0..count).map(|n| format!("PREFIX {n:06}")).collect();
        format!("CLIENT TRACKING ON BCAST {}", prefixes.join(" "))
    };
    for (count, answer) in [
        (200_000, "-OVERLOADED not executed: a client tracks at most 1000 prefixes\r\n"),
        (1000, "-OVERLOADED not executed: a client tracks at most 1000 prefixes\r\n"),
        (999, "+OK\r\n"),
    ] {
        bench.send(client, &ask(count));
        assert_eq!(bench.got(client), answer, "{count}");
    }
    change(&mut bench, 1, &["000998"]);
    assert_eq!(bench.got(client), gone(&["000998"]));
}

#[test]
fn many_changes_behind_a_slow_reply_are_told_as_one() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON BCAST");
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    for n in 0..10_000 {
        change(&mut bench, 2, &[&format!("{n}")]);
        bench.got(client);
    }
    bench.answer_on(data(&bench, 1), "+value");
    let got = bench.got(client);
    assert!(got.starts_with("+value\r\n") && got.ends_with(ALL) && got.len() < 6000);
    assert_eq!(bench.closed, [0; 0]);
}

#[test]
fn a_node_that_is_emptied_empties_every_cache() {
    let mut bench = Bench::new();
    let client = caching(&mut bench, "CLIENT TRACKING ON");
    let prefixed = caching(&mut bench, "CLIENT TRACKING ON BCAST PREFIX a");
    bench.send(client, &format!("GET {}", key_of(2, 0)));
    let watcher = bench.wire_in(1, WATCHER).unwrap();
    bench.say(watcher, ALL.as_bytes());
    assert_eq!(bench.got(prefixed), ALL);
    bench.answer_on(data(&bench, 2), "+value");
    assert_eq!(bench.got(client), format!("{ALL}+value\r\n{ALL}"));
}

#[test]
fn a_change_of_very_many_keys_is_understood() {
    let (mut bench, client, key) = tracked();
    read(&mut bench, client, 1, &key);
    let many: Vec<String> = (0..3000).map(|n| format!("other key {n}")).collect();
    let keys: Vec<&str> = many.iter().map(String::as_str).chain([key.as_str()]).collect();
    let watcher = bench.wire_in(1, WATCHER).unwrap();
    for piece in gone(&keys).as_bytes().chunks(1000) {
        bench.say(watcher, piece);
    }
    assert_eq!(bench.got(client), gone(&[&key]));
    // One that never ends is not gathered for ever.
    let endless = b">2\r\n$10\r\ninvalidate\r\n*2000000\r\n".to_vec();
    bench.say(watcher, &endless);
    read(&mut bench, client, 1, &key);
    for _ in 0..100 {
        if bench.wires.contains_key(&watcher) {
            bench.say(watcher, "$1\r\na\r\n".repeat(1000).as_bytes());
        }
    }
    assert!(!bench.wires.contains_key(&watcher));
    assert_eq!(bench.got(client), gone(&[&key]));
}

#[test]
fn another_client_of_this_worker_is_told_in_the_place_of_the_reader() {
    let mut bench = Bench::new();
    let target = bench.client();
    bench.send(target, "HELLO 3");
    bench.got(target);
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, "CLIENT TRACKING ON REDIRECT 7");
    assert!(matches!(bench.questions[0].1, CommonQuestion::Find { id: 7 }));
    // All clients of the bench have the id 7; the first one is the one that is meant.
    let (number, _) = bench.questions.remove(0);
    bench.worker.answered(number, b"0 1", bench.now);
    bench.turn();
    assert_eq!(bench.got(client), "+OK\r\n");
    bench.send(client, &format!("GET {key}"));
    bench.answer(1, "+value");
    change(&mut bench, 1, &[&key]);
    assert_eq!(bench.got(client), "+value\r\n");
    assert_eq!(bench.got(target), gone(&[&key]));
    bench.send(client, "CLIENT GETREDIR");
    assert_eq!(bench.got(client), ":7\r\n");
}

#[test]
fn a_client_of_another_worker_is_told_there_and_missed_when_it_has_gone() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, "HELLO 3");
    bench.got(client);
    for tracking in ["ON REDIRECT 99 NONSENSE", "ON REDIRECT 99", "OFF REDIRECT 99"] {
        bench.send(client, &format!("CLIENT TRACKING {tracking}"));
        bench.answer_question(vec![]);
        let text = "-ERR The client ID you want redirect to does not exist\r\n";
        assert_eq!(bench.got(client), text);
    }
    let there = crate::node::ClientKey { index: 12, generation: 345 };
    bench.send(client, "CLIENT TRACKING ON REDIRECT 99 NONSENSE");
    bench.answer_question(vec![Part::Place(there)]);
    assert_eq!(bench.got(client), "-ERR syntax error\r\n");
    bench.send(client, "CLIENT TRACKING ON REDIRECT 99");
    bench.answer_question(vec![Part::Place(there)]);
    assert_eq!(bench.got(client), "+OK\r\n");
    for there in [1, 0] {
        read(&mut bench, client, 1, &key);
        change(&mut bench, 1, &[&key]);
        assert!(matches!(
            &bench.questions[0].1,
            CommonQuestion::Invalidate { id: 99, client, .. } if client.index == 12
        ));
        bench.answer_question(vec![Part::Count(there)]);
        let broken = if there == 0 { ">2\r\n$21\r\ntracking-redir-broken\r\n:99\r\n" } else { "" };
        assert_eq!(bench.got(client), broken);
    }
    bench.send(client, "CLIENT TRACKINGINFO");
    assert!(bench.got(client).contains("broken_redirect"));
    bench.send(client, "CLIENT INFO");
    assert!(bench.got(client).contains(" flags=tR ") && bench.questions.is_empty());
}

#[test]
fn messages_to_other_workers_are_bounded_and_end_in_one_that_says_all() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "CLIENT TRACKING ON REDIRECT 99");
    bench.answer_question(vec![Part::Place(crate::node::ClientKey { index: 0, generation: 0 })]);
    for n in 0..2000 {
        bench.send(client, &format!("GET {}", key_of(1, n)));
        bench.answer(1, "+value");
        change(&mut bench, 1, &[&key_of(1, n)]);
    }
    assert_eq!(bench.questions.len(), 1024);
    while !bench.questions.is_empty() {
        let last = bench.questions.len() == 1;
        if last {
            let all = crate::session::Invalid::All;
            assert!(
                matches!(&bench.questions[0].1, CommonQuestion::Invalidate { invalid, .. } if *invalid == all)
            );
        }
        bench.answer_question(vec![Part::Count(1)]);
    }
}

#[test]
fn a_silent_node_is_noticed_by_its_watcher() {
    let (mut bench, client, key) = tracked();
    read(&mut bench, client, 1, &key);
    bench.live(Duration::from_secs(10));
    assert_eq!(bench.got(client), "", "nothing is the matter");
    bench.freeze(1);
    bench.live(Duration::from_secs(5));
    assert_eq!(bench.got(client), gone(&[&key]));
}
