//! PROXY and its subcommands.

use std::time::Duration;

use super::bench::{Bench, key_of};
use crate::resp::reply::{Progress, Scanner};
use crate::slot::Slot;

/// The reply, which must be exactly one.
fn ask(bench: &mut Bench, request: &str) -> String {
    let client = bench.client();
    bench.send(client, request);
    let got = bench.got(client);
    let whole = Scanner::default().feed(got.as_bytes());
    assert!(matches!(whole, Progress::Complete { used, .. } if used == got.len()), "{got:?}");
    got
}

#[test]
fn wrong_use_is_refused_in_a_servers_words() {
    let mut bench = Bench::new();
    for (request, reply) in [
        ("PROXY", "-ERR wrong number of arguments for 'proxy' command\r\n"),
        ("PROXY NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try PROXY HELP.\r\n"),
        ("PROXY HELP x", "-ERR wrong number of arguments for 'proxy|help' command\r\n"),
        ("PROXY EXPLAIN", "-ERR wrong number of arguments for 'proxy|explain' command\r\n"),
        (
            "PROXY TOPOLOGY x",
            "-ERR unknown subcommand or wrong number of arguments for 'TOPOLOGY'. Try PROXY HELP.\r\n",
        ),
        (
            "PROXY EVENTS 1 2",
            "-ERR unknown subcommand or wrong number of arguments for 'EVENTS'. Try PROXY HELP.\r\n",
        ),
        ("PROXY EVENTS x", "-ERR value is not an integer or out of range\r\n"),
        ("PROXY EVENTS -2", "-ERR count should be greater than or equal to -1\r\n"),
        ("proxy events 10", "*1\r\n$7\r\nat text\r\n"),
        ("PROXY EVENTS -1", "*1\r\n$7\r\nat text\r\n"),
    ] {
        assert_eq!(ask(&mut bench, request), reply, "{request}");
    }
}

#[test]
fn help_names_what_there_is() {
    let mut bench = Bench::new();
    let help = ask(&mut bench, "PROXY HELP");
    for name in ["EVENTS", "EXPLAIN", "INFO", "TOPOLOGY", "HELP"] {
        assert!(help.contains(&format!("\r\n{name}")), "{name} in {help}");
    }
}

#[test]
fn topology_and_info_tell_of_the_cluster() {
    let mut bench = Bench::new();
    let topology = ask(&mut bench, "PROXY TOPOLOGY");
    assert!(topology.contains("slots 0-5460 (5461), config epoch 1: primary 10.0.0.1:1 ("));
    assert!(topology.contains("16384 of 16384 slots have an owner"), "{topology}");
    let info = ask(&mut bench, "PROXY INFO");
    for line in ["shards:3", "nodes:3", "slots_covered:16384", "parked_requests:0"] {
        assert!(info.contains(&format!("\r\n{line}\r\n")), "{line} in {info}");
    }
}

#[test]
fn explain_says_where_a_command_would_go() {
    let mut bench = Bench::new();
    let key = key_of(1, 0);
    let slot = Slot::of_key(key.as_bytes());
    let sent = "node: 10.0.0.1:1, by the map; it would be sent at once";
    for (request, parts) in [
        (format!("GET {key}"), vec!["command: get", "class: R", &format!("slot: {slot}"), sent]),
        (format!("INCR {key}"), vec!["command: incr", "class: N", sent]),
        (format!("SET {key} v"), vec!["class: I"]),
        (format!("SET {key} v NX"), vec!["class: N"]),
        ("COMMAND DOCS".into(), vec!["node: any primary"]),
        ("SHUTDOWN".into(), vec!["refused: ERR slotway does not pass on 'shutdown'"]),
        ("PING".into(), vec!["answered by slotway itself"]),
        ("MSETNX a 1 b 2".into(), vec!["refused: its keys are in several slots"]),
        ("MULTI".into(), vec!["goes at its EXEC, as one request"]),
        (format!("WATCH {key}"), vec![&format!("slot: {slot}"), sent, "keeps a connection there"]),
        ("WATCH a b".into(), vec!["refused: its keys are in several slots"]),
        ("UNWATCH".into(), vec!["answered by slotway itself"]),
        ("GET".into(), vec!["refused: ERR wrong number of arguments for 'get' command"]),
    ] {
        let explained = ask(&mut bench, &format!("PROXY EXPLAIN {request}"));
        for part in parts {
            assert!(explained.contains(part), "{request}: {part} in {explained}");
        }
    }
    assert_eq!(bench.at(1), [""; 0], "nothing is executed");
    bench.kill(1, true);
    let client = bench.client();
    bench.send(client, &format!("GET {key}"));
    bench.advance(Duration::from_secs(1));
    let explained = ask(&mut bench, &format!("PROXY EXPLAIN GET {key}"));
    assert!(explained.contains("it would wait: its node cannot be reached"), "{explained}");
}
