//! What clients with a state get when slotway ends.

use super::bench::{Bench, encode, key_of, settings};
use super::transactions::{EXECUTED, begin, block, execute, two_writes};
use crate::worker::Settings;

const NULL: &str = "*-1\r\n";

fn drain(bench: &mut Bench) {
    bench.worker.drain(bench.now);
    bench.turn();
}

#[test]
fn a_transaction_is_finished_before_its_client_is_closed() {
    for ends_by in ["EXEC", "DISCARD", "RESET", "QUIT"] {
        let mut bench = Bench::new();
        let (client, idle) = (bench.client(), bench.client());
        let commands = two_writes(&key_of(1, 0));
        begin(&mut bench, client, &commands[..1]);
        drain(&mut bench);
        assert_eq!(bench.closed, [idle]);
        bench.send(client, &commands[1]);
        assert_eq!(bench.got(client), "+QUEUED\r\n", "it goes on");
        bench.send_raw(client, &[encode(ends_by), encode("SET other 1")].concat());
        if ends_by == "EXEC" {
            assert_eq!(bench.at(1), block(&commands));
            assert_eq!(bench.closed, [idle]);
            execute(&mut bench, 1);
            assert_eq!(bench.got(client), EXECUTED);
        } else {
            let answer = if ends_by == "RESET" { "+RESET\r\n" } else { "+OK\r\n" };
            assert_eq!(bench.got(client), answer);
        }
        assert_eq!(bench.closed, [idle, client], "{ends_by}: what follows is not taken");
        assert!((1..=3).all(|port| bench.at(port).is_empty()));
    }
}

#[test]
fn who_watches_is_closed_after_the_transaction_that_it_watches_for() {
    for (ends_by, answer) in [("UNWATCH", "+OK\r\n"), ("EXEC", "*1\r\n:1\r\n")] {
        let mut bench = Bench::new();
        let client = bench.client();
        let key = key_of(1, 0);
        bench.send(client, &format!("WATCH {key}"));
        bench.answer(1, "+OK");
        drain(&mut bench);
        bench.send(client, &format!("GET {key}"));
        bench.answer(1, "$1\r\n1");
        assert_eq!(bench.got(client), "+OK\r\n$1\r\n1\r\n");
        if ends_by == "EXEC" {
            begin(&mut bench, client, &[format!("INCR {key}")]);
        }
        assert!(bench.closed.is_empty());
        bench.send(client, ends_by);
        if ends_by == "EXEC" {
            for reply in ["+OK", "+QUEUED", "*1\r\n:1"] {
                bench.answer(1, reply);
            }
        }
        assert_eq!(bench.got(client), answer);
        assert_eq!(bench.closed, [client], "{ends_by}");
    }
}

/// With its connection and the shared one of its node.
fn blocked(bench: &mut Bench, time: &str) -> (u32, u32, u32) {
    let client = bench.client();
    bench.send(client, &format!("BLPOP {} {time}", key_of(1, 0)));
    let wires = bench.wires_of(1);
    let (own, shared) = wires.iter().partition(|wire| !bench.wires[wire].requests.is_empty());
    let (own, shared): (Vec<u32>, Vec<u32>) = (own, shared);
    (client, own[0], shared[0])
}

#[test]
fn what_blocks_at_a_node_ends_there_first() {
    for (time, how) in [("30", "TIMEOUT"), ("0", "ERROR")] {
        let taken = "*2\r\n$1\r\nk\r\n$1\r\nv";
        let ended = if how == "TIMEOUT" { "*-1" } else { UNBLOCKED };
        for reply in [taken, ended] {
            let mut bench = Bench::with(Settings { dedicated_max: 20, ..settings() });
            let (client, own, shared) = blocked(&mut bench, time);
            drain(&mut bench);
            assert_eq!(bench.wires[&shared].requests, [format!("CLIENT UNBLOCK {own} {how}")]);
            assert!(bench.closed.is_empty());
            bench.answer_on(shared, if reply == taken { ":0" } else { ":1" });
            bench.answer_on(own, reply);
            let got = if reply == UNBLOCKED { String::new() } else { format!("{reply}\r\n") };
            assert_eq!(bench.got(client), got, "{time}");
            assert_eq!(bench.closed, [client]);
        }
    }
}

const UNBLOCKED: &str = "-UNBLOCKED client unblocked via CLIENT UNBLOCK";

#[test]
fn what_blocks_and_waits_here_ends_at_once() {
    for (time, answer) in [("30", NULL), ("0", "")] {
        let mut bench = Bench::new();
        bench.kill(1, true);
        let client = bench.client();
        bench.send(client, &format!("BLPOP {} {time}", key_of(1, 0)));
        assert_eq!(bench.cells.blocked_clients.get(), 1);
        drain(&mut bench);
        assert_eq!(bench.got(client), answer, "{time}");
        assert_eq!(bench.closed, [client]);
        assert_eq!(bench.cells.blocked_clients.get(), 0);
    }
}

/// It may have taken something: null would be a lie.
#[test]
fn whom_a_node_does_not_unblock_is_closed_without_a_word() {
    let mut bench = Bench::with(Settings { dedicated_max: 20, ..settings() });
    let (client, _, shared) = blocked(&mut bench, "30");
    drain(&mut bench);
    bench.answer_on(shared, "-NOPERM this user has no permissions to run this");
    assert_eq!((bench.got(client).as_str(), &bench.closed[..]), ("", &[client][..]));
}
