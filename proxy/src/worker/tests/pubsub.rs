//! Subscriptions: confirmed, shared, moved, lost, and what clients see of it.

mod handover;
mod hearing;
mod many;

use std::time::Duration;

use super::bench::{Bench, key_of, node_id, settings, topology};
use crate::node::Kind;
use crate::slot::Slot;
use crate::worker::Settings;

const MS: Duration = Duration::from_millis(1);

/// A frame of texts and, at the end, perhaps a number.
fn frame(first: char, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    let word = |word: &&str| match word.strip_prefix(':') {
        Some(_) => format!("{word}\r\n"),
        None => format!("${}\r\n{word}\r\n", word.len()),
    };
    format!("{first}{}\r\n{}", words.len(), words.iter().map(word).collect::<String>())
}

fn told(words: &str) -> String {
    frame('*', words)
}

impl Bench {
    /// The connections of this node on which the worker is subscribed.
    fn upstream(&self, port: u16) -> u32 {
        let is_upstream = |wire: &&u32| {
            let connection = self.worker.connections.get(**wire as usize);
            connection.is_some_and(|connection| connection.kind == Kind::Subscriber)
        };
        let wires = self.wires_of(port);
        *wires.iter().find(is_upstream).unwrap_or_else(|| panic!("none at node {port}"))
    }

    fn has_upstream(&self, port: u16) -> bool {
        let wires = self.wires_of(port);
        wires.iter().any(|wire| {
            let connection = self.worker.connections.get(*wire as usize);
            connection.is_some_and(|connection| connection.kind == Kind::Subscriber)
        })
    }

    /// Answers all that was asked upstream of this node, as it should be.
    fn serve_upstream(&mut self, port: u16) {
        let wire = self.upstream(port);
        while let Some(request) = self.wires[&wire].requests.first().cloned() {
            let reply = match request.split_once(' ') {
                None => told("pong "),
                Some((word, name)) => told(&format!("{} {name} :1", word.to_lowercase())),
            };
            self.answer_on(wire, reply.strip_suffix("\r\n").unwrap());
        }
    }

    fn publish(&mut self, port: u16, words: &str) {
        let wire = self.upstream(port);
        self.say(wire, told(words).as_bytes());
    }
}

/// A client that says this of a channel of the first node.
fn says(word: &str) -> (Bench, u32, String) {
    let mut bench = Bench::new();
    let (client, name) = (bench.client(), key_of(1, 0));
    bench.send(client, &format!("{word} {name}"));
    (bench, client, name)
}

/// A client that is subscribed to such a channel.
fn subscribed() -> (Bench, u32, String) {
    let (mut bench, client, name) = says("SUBSCRIBE");
    bench.serve_upstream(1);
    bench.got(client);
    (bench, client, name)
}

fn gaps(bench: &Bench) -> u64 {
    bench.cells.pubsub_gaps.get()
}

#[test]
fn a_subscribe_is_confirmed_when_all_of_it_is_confirmed_upstream() {
    let mut bench = Bench::new();
    let (a, b) = (key_of(1, 0), key_of(2, 0));
    let client = bench.client();
    bench.send(client, &format!("SUBSCRIBE {a} {b} {a}"));
    assert_eq!(bench.at(1), [format!("SUBSCRIBE {a}")]);
    assert_eq!(bench.at(2), [format!("SUBSCRIBE {b}")]);
    bench.send(client, "PING");
    bench.serve_upstream(2);
    assert_eq!(bench.got(client), "");
    bench.publish(2, &format!("message {b} early"));
    bench.serve_upstream(1);
    let confirmed = told(&format!("subscribe {a} :1"))
        + &told(&format!("subscribe {b} :2"))
        + &told(&format!("subscribe {a} :2"))
        + &told("pong ");
    assert_eq!(bench.got(client), confirmed, "and what came before is not for it");
    bench.publish(2, &format!("message {b} m"));
    assert_eq!(bench.got(client), told(&format!("message {b} m")));
}

#[test]
fn clients_share_a_subscription_and_the_last_one_ends_it() {
    let mut bench = Bench::new();
    let a = key_of(1, 0);
    let (one, two) = (bench.client(), bench.client());
    bench.send(one, &format!("SUBSCRIBE {a}"));
    bench.serve_upstream(1);
    bench.send(two, "HELLO 3");
    bench.got(two);
    bench.send(two, &format!("SUBSCRIBE {a}"));
    assert_eq!(bench.got(two), frame('>', &format!("subscribe {a} :1")));
    assert_eq!(bench.at(1).len(), 0, "it is subscribed already");
    bench.got(one);
    bench.publish(1, &format!("message {a} m"));
    assert_eq!(bench.got(one), told(&format!("message {a} m")));
    assert_eq!(bench.got(two), frame('>', &format!("message {a} m")));
    bench.worker.client_lost(one, bench.now);
    bench.turn();
    assert_eq!(bench.at(1).len(), 0);
    bench.send(two, "RESET");
    assert_eq!(bench.at(1), [format!("UNSUBSCRIBE {a}")]);
    bench.serve_upstream(1);
    assert!(bench.worker.settings.audience.is_empty());
    assert_eq!(bench.cells.subscriptions.get(), 0);
}

#[test]
fn who_leaves_or_ends_it_before_it_is_confirmed_leaves_nothing() {
    let mut bench = Bench::new();
    let (a, b) = (key_of(1, 0), key_of(2, 0));
    let (gone, stays) = (bench.client(), bench.client());
    bench.send(gone, &format!("SUBSCRIBE {a} {b}"));
    bench.serve_upstream(1);
    bench.worker.client_ended(gone, bench.now);
    bench.turn();
    assert_eq!(bench.closed, [gone]);
    assert_eq!(bench.at(1), [format!("UNSUBSCRIBE {a}")]);
    // The name again, before the node has said anything to the first: the answer to that is not
    // the answer to this.
    bench.send(stays, &format!("SUBSCRIBE {b}"));
    let wire = bench.upstream(2);
    assert_eq!(bench.at(2), ["", "UN", ""].map(|un| format!("{un}SUBSCRIBE {b}")));
    bench.answer_on(wire, told(&format!("subscribe {b} :1")).trim_end());
    assert_eq!(bench.got(stays), "");
    bench.serve_upstream(2);
    assert_eq!(bench.got(stays), told(&format!("subscribe {b} :1")));
}

#[test]
fn a_lost_connection_is_hidden_and_its_gap_counted() {
    let (mut bench, client, a) = says("SUBSCRIBE");
    bench.serve_upstream(1);
    for text in ["one", "two", "tick", "tick"] {
        bench.publish(1, &format!("message {a} {text}"));
    }
    bench.got(client);
    bench.told();
    bench.kill(1, true);
    assert_eq!(gaps(&bench), 1);
    assert_eq!(bench.at(2), [format!("SUBSCRIBE {a}")], "elsewhere, at once");
    bench.advance(30 * MS);
    bench.serve_upstream(2);
    assert!(bench.told().contains(&"1 lost subscription made again, the last after 30 ms".into()));
    // The nodes' bus is slow: it tells what was told.
    for text in ["one", "two", "m"] {
        bench.publish(2, &format!("message {a} {text}"));
    }
    assert_eq!(bench.got(client), told(&format!("message {a} m")));
    bench.publish(2, &format!("message {a} two"));
    assert_eq!(bench.got(client), told(&format!("message {a} two")), "a second one");
    // What is said again and again is said again, whoever says it.
    bench.publish(2, &format!("message {a} tick"));
    assert_eq!(bench.got(client), told(&format!("message {a} tick")));
    // It comes home, without a gap: the new one is there before the old one ends.
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), [format!("SUBSCRIBE {a}")]);
    assert_eq!(bench.at(2).len(), 0);
    bench.publish(2, &format!("message {a} still"));
    bench.publish(1, &format!("message {a} too early"));
    bench.serve_upstream(1);
    bench.publish(1, &format!("message {a} still"));
    bench.publish(1, &format!("message {a} here"));
    bench.advance(600 * MS);
    assert_eq!(bench.at(2), [format!("UNSUBSCRIBE {a}")]);
    bench.publish(2, &format!("message {a} too late"));
    let here = told(&format!("message {a} still")) + &told(&format!("message {a} here"));
    assert_eq!(bench.got(client), here, "each once");
    assert_eq!(gaps(&bench), 1);
}

#[test]
fn a_silent_node_loses_its_subscriptions() {
    let (mut bench, _, a) = subscribed();
    bench.live(MS * 1500);
    assert_eq!(bench.at(1), ["PING"]);
    bench.serve_upstream(1);
    bench.live(MS * 500);
    assert!(bench.has_upstream(1), "it lives");
    bench.freeze(1);
    bench.live(Duration::from_secs(3));
    assert_eq!(bench.at(2)[0], format!("SUBSCRIBE {a}"));
    assert_eq!(gaps(&bench), 1);
}

#[test]
fn while_no_node_is_there_a_subscribe_waits_until_its_deadline() {
    let mut bench = Bench::new();
    let a = key_of(1, 0);
    for port in 1..=3 {
        bench.kill(port, true);
    }
    let (client, other) = (bench.client(), bench.client());
    bench.send(client, &format!("SUBSCRIBE {a}"));
    bench.advance(Duration::from_secs(10));
    bench.send(other, &format!("SUBSCRIBE {a}"));
    bench.advance(Duration::from_millis(10_100));
    let text = bench.got(client);
    assert!(text.starts_with("-CLUSTERDOWN not executed: no node has confirmed"), "{text}");
    bench.send(client, "PING");
    assert_eq!(bench.got(client), "+PONG\r\n", "it goes on, subscribed to nothing");
    bench.revive(2);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(2), [format!("SUBSCRIBE {a}")]);
    bench.serve_upstream(2);
    assert_eq!(bench.got(other), told(&format!("subscribe {a} :1")));
    assert_eq!(gaps(&bench), 0, "nobody was promised anything before");
}

#[test]
fn a_shard_channel_follows_its_slot() {
    let (mut bench, client, a) = says("SSUBSCRIBE");
    let slot = Slot::of_key(a.as_bytes()).number();
    bench.serve_upstream(1);
    assert_eq!(bench.got(client), told(&format!("ssubscribe {a} :1")));
    let wire = bench.upstream(1);
    bench.say(wire, told(&format!("sunsubscribe {a} :0")).as_bytes());
    assert_eq!(bench.at(1), [format!("SSUBSCRIBE {a}")], "the map does not know better yet");
    bench.answer_on(wire, &format!("-MOVED {slot} 10.0.0.1:2"));
    assert_eq!(bench.at(2), [format!("SSUBSCRIBE {a}")]);
    bench.serve_upstream(2);
    bench.publish(2, &format!("smessage {a} m"));
    assert_eq!(bench.got(client), told(&format!("smessage {a} m")), "and nothing of the move");
    assert_eq!(gaps(&bench), 1);
    bench.send(client, "SSUBSCRIBE x y");
    assert!(bench.got(client).starts_with("-CROSSSLOT"));
}

#[test]
fn a_shard_channel_of_a_slot_that_nobody_serves_is_asked_for_with_patience() {
    let (mut bench, client, a) = says("SSUBSCRIBE");
    let wire = bench.upstream(1);
    let mut attempts = 0;
    for _ in 0..1000 {
        if !bench.wires[&wire].requests.is_empty() {
            attempts += 1;
            bench.answer_on(wire, "-CLUSTERDOWN Hash slot not served");
        }
        bench.advance(MS);
    }
    assert!((5..20).contains(&attempts), "{attempts} in a second");
    bench.advance(Duration::from_secs(1));
    bench.serve_upstream(1);
    assert_eq!(bench.got(client), told(&format!("ssubscribe {a} :1")));
}

#[test]
fn redirects_in_a_circle_are_followed_with_patience() {
    let (mut bench, _, a) = says("SSUBSCRIBE");
    let slot = Slot::of_key(a.as_bytes()).number();
    let mut attempts = 0;
    for _ in 0..1000 {
        for (port, other) in [(1, 2), (2, 1)] {
            while !bench.at(port).is_empty() {
                attempts += 1;
                bench.answer(port, &format!("-MOVED {slot} 10.0.0.1:{other}"));
                assert!(attempts < 30, "it runs in circles");
            }
        }
        bench.advance(MS);
    }
    assert!(attempts > 5, "{attempts}");
}

#[test]
fn what_a_node_refuses_is_said_in_its_words() {
    let (mut bench, client, _) = says("SUBSCRIBE");
    let error = "-NOPERM No permissions to access a channel";
    bench.answer(1, error);
    assert_eq!(bench.got(client), format!("{error}\r\n"));
    assert!(bench.worker.settings.audience.is_empty());
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.at(1).len(), 0, "nobody wants it any more");
}

#[test]
fn notifications_come_from_all_primaries_and_other_messages_from_one() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "PSUBSCRIBE __key*");
    for port in 1..=3 {
        assert_eq!(bench.at(port), ["PSUBSCRIBE __key*"]);
        assert_eq!(bench.got(client), "");
        bench.serve_upstream(port);
    }
    assert_eq!(bench.got(client), told("psubscribe __key* :1"));
    for port in 1..=3 {
        let key = key_of(port, 0);
        bench.publish(port, &format!("pmessage __key* __keyspace@0__:{key} set"));
        assert_eq!(bench.got(client), told(&format!("pmessage __key* __keyspace@0__:{key} set")));
    }
    // Published by hand, they come from every node, in this order or another.
    for text in ["__keys m", "__keyspace@0__:x set"] {
        for port in [2, 1, 3] {
            bench.publish(port, &format!("pmessage __key* {text}"));
        }
        assert_eq!(bench.got(client), told(&format!("pmessage __key* {text}")));
    }
    bench.publish(2, "pmessage __key* __keyspace@0__:x set");
    assert_ne!(bench.got(client), "", "once more from the same node is once more");
    // A failover: the new primary is added, the old one leaves.
    bench.topology(topology(
        2,
        &[(4, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)]), (1, &[])],
    ));
    assert_eq!(bench.at(4), ["PSUBSCRIBE __key*"]);
    assert_eq!(bench.at(1), ["PUNSUBSCRIBE __key*"]);
}

#[test]
fn who_does_not_read_is_closed_and_harms_nobody() {
    let mut bench = Bench::new();
    let a = key_of(1, 0);
    let (slow, quick) = (bench.client(), bench.client());
    for client in [slow, quick] {
        bench.send(client, &format!("SUBSCRIBE {a}"));
    }
    bench.serve_upstream(1);
    let message = told(&format!("message {a} {}", "x".repeat(9_000)));
    let wire = bench.upstream(1);
    for n in 0..20 {
        bench.worker.node_bytes(wire, message.as_bytes(), bench.now);
        bench.worker.settle_turn();
        let quick_output = bench.worker.client_output(quick).len();
        bench.worker.client_wrote(quick, quick_output, bench.now);
        let slow_output = bench.worker.client_output(slow).len();
        assert!(slow_output < 120_000, "{n}");
    }
    bench.turn();
    assert_eq!(bench.closed, [slow]);
    assert_eq!(bench.cells.clients_closed_slow.get(), 1);
}

#[test]
fn subscriptions_of_one_client_are_bounded() {
    let mut bench = Bench::with(Settings { subscriptions_max: 3, ..settings() });
    let client = bench.client();
    let names: Vec<String> = (0..4).map(|n| key_of(1, n)).collect();
    bench.send(client, &format!("SUBSCRIBE {} {} {}", names[0], names[1], names[1]));
    bench.serve_upstream(1);
    bench.got(client);
    bench.send(client, &format!("PSUBSCRIBE {} {}", names[2], names[3]));
    assert!(bench.got(client).starts_with("-OVERLOADED not executed: a client has at most 3"));
    bench.send(client, &format!("SUBSCRIBE {} {} {}", names[0], names[1], names[2]));
    bench.serve_upstream(1);
    assert!(bench.got(client).ends_with(":3\r\n"));
    assert_eq!(bench.cells.subscriptions_refused.get(), 1);
}

#[test]
fn whoever_is_subscribed_behind_one_connection_counts() {
    let mut bench = Bench::new();
    let a = key_of(1, 0);
    let clients: Vec<u32> = (0..3).map(|_| bench.client()).collect();
    for &client in &clients[..2] {
        bench.send(client, &format!("SUBSCRIBE {a}"));
        bench.serve_upstream(1);
    }
    bench.send(clients[2], &format!("PUBLISH {a} m"));
    // The worker, and two who are connected to the node themselves.
    bench.answer(1, ":3");
    assert_eq!(bench.got(clients[2]), ":4\r\n");
    bench.send(clients[2], &format!("PUBSUB NUMSUB {a} other"));
    for (port, count) in [(1, 3), (2, 1), (3, 0)] {
        bench.answer(port, &format!("*4\r\n${}\r\n{a}\r\n:{count}\r\n$5\r\nother\r\n:1", a.len()));
    }
    let counts = format!("*4\r\n${}\r\n{a}\r\n:5\r\n$5\r\nother\r\n:3\r\n", a.len());
    assert_eq!(bench.got(clients[2]), counts);
    bench.send(clients[2], "PUBSUB CHANNELS");
    bench.answer(1, "*2\r\n$1\r\na\r\n$1\r\nb");
    bench.answer(2, "*1\r\n$1\r\nb");
    bench.answer(3, "*0");
    assert_eq!(bench.got(clients[2]), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
}

#[test]
fn a_node_that_leaves_is_left_when_its_subjects_are_elsewhere() {
    let (mut bench, client, a) = subscribed();
    bench.topology(topology(2, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    assert!(bench.has_upstream(1), "until the other one has confirmed");
    bench.serve_upstream(2);
    bench.serve_upstream(1);
    bench.topology(topology(3, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    assert!(!bench.has_upstream(1));
    assert!(bench.worker.pool_of(&node_id(1)).is_none(), "it is forgotten");
    bench.publish(2, &format!("message {a} m"));
    assert_eq!(bench.got(client), told(&format!("message {a} m")));
    assert_eq!(gaps(&bench), 0);
}

#[test]
fn messages_too_large_for_anybody_are_dropped_and_others_gathered() {
    let (mut bench, client, a) = subscribed();
    let wire = bench.upstream(1);
    for (len, arrives) in [(50_000, true), (200_000, false), (10, true)] {
        let message = told(&format!("message {a} {}", "x".repeat(len)));
        for piece in message.as_bytes().chunks(7_000) {
            bench.say(wire, piece);
        }
        assert_eq!(bench.got(client).len(), if arrives { message.len() } else { 0 });
    }
    assert_eq!(bench.cells.pubsub_dropped.get(), 1);
}

#[test]
fn a_message_that_takes_its_time_is_no_silence() {
    let (mut bench, client, a) = subscribed();
    let wire = bench.upstream(1);
    let message = told(&format!("message {a} {}", "x".repeat(50_000)));
    for piece in message.as_bytes().chunks(6_000) {
        bench.live(MS * 500);
        bench.say(wire, piece);
    }
    assert_eq!(bench.got(client), message);
    assert_eq!(gaps(&bench), 0);
}

#[test]
fn the_connection_of_a_node_is_closed_once_nobody_is_subscribed_there() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("SUBSCRIBE {}", key_of(1, 0)));
    let live = |bench: &mut Bench| {
        for _ in 0..settings().node_idle_timeout.as_secs() + 2 {
            bench.live(Duration::from_secs(1));
            if bench.has_upstream(1) {
                bench.serve_upstream(1);
            }
        }
    };
    live(&mut bench);
    assert!(bench.has_upstream(1) && gaps(&bench) == 0, "somebody is subscribed");
    bench.send(client, "UNSUBSCRIBE");
    live(&mut bench);
    assert!(!bench.has_upstream(1));
    assert_eq!(gaps(&bench), 0);
}

/// It was told as a request of several parts, with the error itself inside.
#[test]
fn a_published_message_that_is_lost_gets_its_own_error() {
    let (mut bench, _, name) = subscribed();
    let publisher = bench.client();
    bench.send(publisher, &format!("PUBLISH {name} x"));
    bench.kill(1, false);
    let got = bench.got(publisher);
    assert!(got.starts_with("-UNKNOWNRESULT sent, reply lost: "), "{got}");
}

#[test]
fn who_is_subscribed_in_resp2_is_told_of_exec_as_a_server_does() {
    let (mut bench, client, _) = subscribed();
    let only = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                context";
    let code = "EXECABORT Transaction discarded because of:";
    for (request, code) in [("EXEC", code), ("MULTI", "ERR"), ("DISCARD", "ERR")] {
        bench.send(client, request);
        let name = request.to_lowercase();
        assert_eq!(bench.got(client), format!("-{code} Can't execute '{name}': {only}\r\n"));
    }
}
