//! What clients ask about clients: CLIENT INFO, LIST, KILL, PAUSE and REPLY, and CLUSTER.

use std::time::Duration;

use super::bench::{Bench, key_of, settings};
use crate::session::{Address, Manners, Part};
use crate::worker::Settings;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn client(bench: &mut Bench, id: u64) -> u32 {
    let index = bench.worker.client_connected(id, Manners::default(), bench.now);
    bench.received.insert(index, Vec::new());
    index
}

/// The text of the bulk string that a client got.
pub(super) fn text(got: &str) -> &str {
    let (head, rest) = got.split_once("\r\n").unwrap();
    let len: usize = head.strip_prefix('$').unwrap().parse().unwrap();
    assert_eq!(rest.len(), len + 2, "{got:?}");
    &rest[..len]
}

/// The value of a field of a client's line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let mut fields = line.trim_end().split(' ').map(|field| field.split_once('=').unwrap());
    fields.find(|(field, _)| *field == name).unwrap_or_else(|| panic!("no {name}: {line}")).1
}

#[test]
fn client_info_tells_what_is_known() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 42);
    for request in ["CLIENT SETNAME me", "CLIENT SETINFO LIB-NAME lib", "CLIENT SETINFO LIB-VER 1"]
    {
        bench.send(index, request);
        assert_eq!(bench.got(index), "+OK\r\n");
    }
    bench.advance(SECOND * 3);
    bench.send(index, "PING");
    bench.got(index);
    bench.advance(SECOND * 2);
    bench.send(index, "CLIENT INFO");
    let got = bench.got(index);
    let line = text(&got);
    assert!(line.ends_with('\n'));
    for (name, value) in [
        ("id", "42"),
        ("addr", &*format!("10.1.1.1:{index}")),
        ("laddr", "10.0.0.9:6379"),
        ("name", "me"),
        ("age", "5"),
        ("idle", "0"),
        ("flags", "N"),
        ("cmd", "client|info"),
        ("user", "default"),
        ("lib-name", "lib"),
        ("lib-ver", "1"),
    ] {
        assert_eq!(field(line, name), value, "{name}: {line}");
    }
}

#[test]
fn client_list_is_what_all_workers_say_in_the_order_of_ids() {
    let mut bench = Bench::new();
    let (nine, four) = (client(&mut bench, 9), client(&mut bench, 4));
    bench.send(four, "CLIENT LIST");
    bench.send(four, "PING");
    assert_eq!(bench.got(four), "", "what comes behind it waits");
    bench.advance(SECOND);
    bench.answer_question(vec![Part::Lines(vec![(7, "id=7 other\n".into())])]);
    let got = bench.got(four);
    let got = got.strip_suffix("+PONG\r\n").unwrap();
    let ids: Vec<&str> = text(got).lines().map(field_of_first).collect();
    assert_eq!(ids, ["4", "7", "9"]);
    let line = text(got).lines().nth(2).unwrap();
    assert_eq!(field(line, "addr"), format!("10.1.1.1:{nine}"));
    assert_eq!(field(line, "idle"), "1");
    assert_eq!(field(line, "cmd"), "NULL");
}

pub(super) fn field_of_first(line: &str) -> &str {
    line.split(' ').next().unwrap().strip_prefix("id=").unwrap()
}

#[test]
fn killed_clients_are_closed_and_counted() {
    for (words, reply, closed) in [
        ("ID 2", ":1\r\n", &[1][..]),
        ("ID 99", ":0\r\n", &[]),
        ("ID 99 3 2", ":2\r\n", &[1, 2]),
        ("ID 2 ID 3 NOT-ID 2", ":1\r\n", &[2]),
        ("NOT-ADDR 10.1.1.1:2", ":1\r\n", &[1]),
        ("NOT-FLAGS x IP 10.1.1.1", ":2\r\n", &[1, 2]),
        ("TYPE normal", ":2\r\n", &[1, 2]),
        ("SKIPME no", ":3\r\n", &[1, 2, 0]),
        ("ADDR 10.1.1.1:2 ID 3", ":1\r\n", &[2]),
        ("10.1.1.1:1", "+OK\r\n", &[1]),
        ("10.1.1.1:0", "+OK\r\n", &[0]),
        ("10.1.1.1:77", "-ERR No such client\r\n", &[]),
    ] {
        let mut bench = Bench::new();
        let asker = client(&mut bench, 1);
        client(&mut bench, 2);
        client(&mut bench, 3);
        bench.send(asker, &format!("CLIENT KILL {words}"));
        bench.answer_question(Vec::new());
        assert_eq!(bench.got(asker), reply, "{words}");
        assert_eq!(bench.closed, closed, "{words}: the asker after its answer");
        assert_eq!(bench.cells.clients_closed_killed.get(), closed.len() as u64);
    }
}

#[test]
fn the_kills_of_other_workers_are_counted() {
    let mut bench = Bench::new();
    let asker = client(&mut bench, 1);
    bench.send(asker, "CLIENT KILL TYPE normal");
    bench.answer_question(vec![Part::Count(3), Part::Count(0)]);
    assert_eq!(bench.got(asker), ":3\r\n");
}

#[test]
fn the_answer_for_a_client_that_has_gone_is_dropped() {
    let mut bench = Bench::new();
    let gone = client(&mut bench, 1);
    bench.send(gone, "CLIENT LIST");
    bench.worker.client_lost(gone, bench.now);
    bench.turn();
    let new = client(&mut bench, 2);
    assert_eq!(new, gone, "the same place");
    bench.answer_question(Vec::new());
    assert_eq!(bench.got(new), "");
    bench.send(new, "PING");
    assert_eq!(bench.got(new), "+PONG\r\n");
}

#[test]
fn a_client_that_has_shut_its_side_still_gets_its_answer() {
    let mut bench = Bench::new();
    let asker = client(&mut bench, 1);
    bench.send(asker, "CLIENT KILL ID 9");
    bench.worker.client_ended(asker, bench.now);
    bench.turn();
    assert!(bench.closed.is_empty());
    bench.answer_question(Vec::new());
    assert_eq!((bench.got(asker), bench.closed.len()), (":0\r\n".into(), 1));
}

#[test]
fn a_pause_holds_all_requests_until_its_end() {
    let mut bench = Bench::new();
    let (operator, other) = (client(&mut bench, 1), client(&mut bench, 2));
    let key = key_of(1, 0);
    bench.send(operator, "CLIENT PAUSE 2000");
    bench.send(operator, &format!("SET {key} 2"));
    bench.answer_question(Vec::new());
    assert_eq!(bench.got(operator), "+OK\r\n");
    bench.send(other, &format!("GET {key}"));
    bench.send(other, "PING");
    assert!(bench.at(1).is_empty(), "also what was sent behind the pause by who asked for it");
    bench.advance(SECOND);
    assert_eq!((bench.got(other), bench.at(1).len()), (String::new(), 0));
    bench.advance(SECOND);
    bench.turn();
    assert_eq!(bench.at(1).len(), 2);
    bench.answer(1, "+OK");
    bench.answer(1, "+OK");
    assert_eq!(bench.got(other), "+OK\r\n+PONG\r\n");
}

#[test]
fn a_pause_of_writes_lets_reads_and_the_operator_through() {
    let mut bench = Bench::new();
    let (operator, other) = (client(&mut bench, 1), client(&mut bench, 2));
    let key = key_of(1, 0);
    bench.send(operator, "CLIENT PAUSE 60000 WRITE");
    bench.answer_question(Vec::new());
    bench.send(other, &format!("GET {key}"));
    assert_eq!(bench.at(1).len(), 1);
    for write in [format!("SET {key} 1"), format!("EVAL x 1 {key}"), format!("PFCOUNT {key}")] {
        let writer = client(&mut bench, 3);
        bench.send(writer, &write);
        assert_eq!(bench.at(1).len(), 1, "{write}");
    }
    bench.send(operator, "CLIENT UNPAUSE");
    bench.answer_question(Vec::new());
    assert_eq!(bench.got(operator), "+OK\r\n+OK\r\n");
    assert_eq!(bench.at(1).len(), 4, "they go on at once");
}

#[test]
fn a_second_pause_can_only_be_longer_and_stricter() {
    let mut bench = Bench::new();
    let operator = client(&mut bench, 1);
    for pause in ["CLIENT PAUSE 3000 WRITE", "CLIENT PAUSE 1000 ALL"] {
        bench.send(operator, pause);
        bench.answer_question(Vec::new());
    }
    bench.got(operator);
    bench.send(operator, "PING");
    bench.advance(SECOND * 2);
    assert_eq!(bench.got(operator), "");
    bench.advance(SECOND);
    bench.turn();
    assert_eq!(bench.got(operator), "+PONG\r\n");
}

#[test]
fn replies_that_are_not_wanted_are_not_sent() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    let (one, two) = (key_of(1, 0), key_of(2, 0));
    bench.send(index, &format!("GET {one}"));
    bench.send(index, "CLIENT REPLY SKIP");
    bench.send(index, &format!("GET {two}"));
    bench.send(index, "ECHO a");
    bench.send(index, "CLIENT REPLY OFF");
    bench.send(index, "ECHO b");
    bench.send(index, &format!("SET {one} 1"));
    bench.send(index, "NOPE");
    bench.send(index, "CLIENT INFO");
    bench.send(index, "CLIENT LIST");
    bench.answer_question(Vec::new());
    bench.send(index, "CLIENT REPLY SKIP");
    bench.send(index, "CLIENT REPLY ON");
    bench.send(index, "ECHO c");
    bench.answer(2, "+two");
    bench.answer(1, "+one");
    bench.answer(1, "+OK");
    assert_eq!(bench.got(index), "+one\r\n$1\r\na\r\n+OK\r\n$1\r\nc\r\n");
}

#[test]
fn skips_do_not_add_up() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    for request in ["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "ECHO a", "ECHO b"] {
        bench.send(index, request);
    }
    assert_eq!(bench.got(index), "$1\r\nb\r\n");
    bench.send(index, "CLIENT REPLY maybe");
    assert_eq!(bench.got(index), "-ERR syntax error\r\n");
}

#[test]
fn the_merged_reply_of_a_split_request_can_be_unwanted_too() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    bench.send(index, "CLIENT REPLY SKIP");
    bench.send(index, &format!("MGET {} {}", key_of(1, 0), key_of(2, 0)));
    bench.send(index, "ECHO a");
    bench.answer(2, "*1\r\n$1\r\nx");
    bench.answer(1, "*1\r\n$1\r\ny");
    assert_eq!(bench.got(index), "$1\r\na\r\n");
}

/// Nothing is written after the last reply that is not wanted, so nothing else would notice.
#[test]
fn a_client_without_replies_is_still_closed() {
    let key = key_of(1, 0);
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    bench.send(index, "CLIENT REPLY OFF");
    bench.send(index, &format!("GET {key}"));
    bench.worker.client_ended(index, bench.now);
    bench.turn();
    assert!(bench.closed.is_empty());
    bench.answer(1, "+x");
    assert_eq!((bench.closed.len(), bench.got(index)), (1, String::new()));
}

#[test]
fn a_large_reply_that_is_not_wanted_is_read_and_dropped() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    let key = key_of(1, 0);
    bench.send(index, "CLIENT REPLY SKIP");
    bench.send(index, &format!("GET {key}"));
    bench.send(index, "ECHO a");
    bench.answer(1, &format!("$50000\r\n{}", "x".repeat(50_000)));
    assert_eq!(bench.got(index), "$1\r\na\r\n");
    assert!(bench.closed.is_empty());
}

#[test]
fn the_cluster_is_this_slotway_or_those_that_are_announced() {
    let at = |host: &str, port| Address { host: host.into(), port };
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    bench.send(index, "CLUSTER NODES");
    let got = bench.got(index);
    let line = text(&got);
    let (id, rest) = line.split_once(' ').unwrap();
    assert_eq!(id.len(), 40);
    assert_eq!(rest, "10.0.0.9:6379@16379 myself,master - 0 0 0 connected 0-16383\n");
    bench.send(index, "CLUSTER MYID");
    assert_eq!(text(&bench.got(index)), id);
    bench.send(index, "CLUSTER SLOTS");
    assert_eq!(
        bench.got(index),
        format!(
            "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n$8\r\n10.0.0.9\r\n:6379\r\n$40\r\n{id}\r\n*0\r\n"
        )
    );

    let announce = [at("10.0.0.8", 6379), at("10.0.0.9", 6379), at("::1", 60_000)].into();
    let mut bench = Bench::with(Settings { announce, ..settings() });
    let index = client(&mut bench, 1);
    bench.send(index, "CLUSTER NODES");
    let got = bench.got(index);
    let lines: Vec<&str> = text(&got).lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "10.0.0.8:6379@16379 master - 0 0 0 connected 0-5460",
            "10.0.0.9:6379@16379 myself,master - 0 0 0 connected 5461-10921",
            "::1:60000@0 master - 0 0 0 connected 10922-16383",
        ]
    );
    let ids: std::collections::HashSet<&str> =
        text(&got).lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.contains(id), "each is called the same by all");
}

#[test]
fn keys_of_a_slot_are_asked_of_its_owner() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    for (request, port) in [
        ("CLUSTER COUNTKEYSINSLOT 0", 1),
        ("cluster getkeysinslot 16383 10", 3),
        ("CLUSTER COUNTKEYSINSLOT 5461", 2),
        ("CLUSTER COUNTKEYSINSLOT 16384", 2), // any: it says what is wrong
    ] {
        bench.send(index, request);
        assert_eq!(bench.at(port), [request]);
        bench.answer(port, ":0");
    }
}

#[test]
fn what_policy_refuses_goes_nowhere_unless_it_is_allowed() {
    let key = key_of(3, 0);
    let migrate = format!("MIGRATE h 1 {key} 0 1");
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    bench.send(index, &migrate);
    bench.send(index, "MONITOR");
    assert_eq!(
        bench.got(index),
        "-ERR slotway does not pass on 'migrate': it would change the cluster, see allow-commands\r\n\
         -ERR slotway does not pass on 'monitor': it would take over a connection that others use\r\n"
    );
    let allowed = crate::command::Allowed::new(["debug", "migrate"]);
    let mut bench = Bench::with(Settings { allowed, ..settings() });
    let index = client(&mut bench, 1);
    bench.send(index, &migrate);
    assert_eq!(bench.at(3), [migrate]);
    bench.answer(3, "+OK");
    bench.send(index, "SHUTDOWN");
    assert!(bench.got(index).contains("'shutdown'"));
}

#[test]
fn answers_have_the_shapes_of_the_clients_protocol() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    bench.send(index, "HELLO 3");
    bench.got(index);
    for (request, start) in [
        ("CLIENT INFO", "="),
        ("CLUSTER NODES", "="),
        ("CLUSTER INFO", "="),
        ("CLUSTER SHARDS", "*1\r\n%2\r\n$5\r\nslots\r\n*2\r\n"),
        ("CLIENT TRACKINGINFO", "%3\r\n$5\r\nflags\r\n~1\r\n$3\r\noff\r\n"),
        ("COMMAND INFO nope", "*1\r\n_\r\n"),
        ("COMMAND INFO get", "*1\r\n*10\r\n$3\r\nget\r\n:2\r\n~2\r\n"),
    ] {
        bench.send(index, request);
        let got = bench.got(index);
        assert!(got.starts_with(start), "{request}: {got:?}");
    }
    bench.send(index, "CLIENT INFO");
    assert!(bench.got(index).contains(" resp=3 "));
    bench.send(index, "CLIENT LIST");
    bench.answer_question(Vec::new());
    assert!(bench.got(index).starts_with('='));
}

#[test]
fn reset_wants_replies_again() {
    let mut bench = Bench::new();
    let index = client(&mut bench, 1);
    for request in ["CLIENT REPLY OFF", "PING", "RESET", "ECHO a"] {
        bench.send(index, request);
    }
    assert_eq!(bench.got(index), "+RESET\r\n$1\r\na\r\n");
}
