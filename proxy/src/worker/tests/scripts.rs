//! Scripts that a node does not have, or that say so.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings};
use crate::scripts::Sha;
use crate::worker::Settings;

const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.";
pub(super) const BODY: &str = "return(1)";

pub(super) fn sha() -> String {
    String::from_utf8(Sha::of(BODY.as_bytes()).as_bytes().to_vec()).unwrap()
}

fn exists() -> String {
    format!("SCRIPT EXISTS {}", sha())
}

pub(super) fn load() -> String {
    format!("SCRIPT LOAD {BODY}")
}

/// A request for the script with a key at this node.
fn request(port: u16, n: usize) -> String {
    format!("EVALSHA {} 1 {}", sha(), key_of(port, n))
}

/// A worker that has seen the script at the first node.
pub(super) fn seen(settings: Settings) -> (Bench, u32) {
    let mut bench = Bench::with(settings);
    let client = bench.client();
    bench.send(client, &format!("EVAL {BODY} 1 {}", key_of(1, 0)));
    bench.answer(1, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
    (bench, client)
}

/// The second node is asked about the script, and loads it.
fn missing() -> (Bench, u32) {
    let (mut bench, client) = seen(settings());
    bench.send(client, &request(2, 0));
    bench.answer(2, NOSCRIPT);
    assert_eq!(bench.at(2), [exists(), load()]);
    assert_eq!(bench.got(client), "");
    (bench, client)
}

#[test]
fn a_script_that_a_node_does_not_have_is_loaded_there_and_asked_for_again() {
    let (mut bench, client) = missing();
    bench.answer(2, "*1\r\n:0");
    assert_eq!(bench.at(2), [load(), request(2, 0)]);
    bench.answer(2, &format!("$40\r\n{}", sha()));
    bench.answer(2, ":7");
    assert_eq!(bench.got(client), ":7\r\n");
    assert_eq!(bench.cells.replays_noscript.get(), 1);
    assert!(bench.worker.doubts.is_empty());
}

#[test]
fn a_body_is_known_from_script_load_too_and_its_name_in_any_case() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &load());
    (1..=3).for_each(|port| bench.answer(port, &format!("$40\r\n{}", sha())));
    bench.got(client);
    let upper = format!("EVALSHA {} 1 {}", sha().to_uppercase(), key_of(2, 0));
    bench.send(client, &upper);
    bench.answer(2, "-NOSCRIPT No matching script.");
    assert_eq!(bench.at(2), [exists(), load()]);
    bench.answer(2, "*1\r\n:0");
    assert_eq!(bench.at(2), [load(), upper]);
}

#[test]
fn a_script_that_says_so_of_itself_is_executed_once() {
    let (mut bench, client) = missing();
    bench.answer(2, "*1\r\n:1");
    assert_eq!(bench.got(client), format!("{NOSCRIPT}\r\n"));
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.at(2), [load()]);
    // Also if it was loaded for it: now it is there.
    let (mut bench, client) = missing();
    bench.answer(2, "*1\r\n:0");
    bench.answer(2, "+x");
    bench.answer(2, NOSCRIPT);
    assert_eq!(bench.at(2), [exists(), load()]);
    bench.answer(2, "*1\r\n:1");
    assert_eq!(bench.got(client), format!("{NOSCRIPT}\r\n"));
    bench.advance(Duration::from_secs(5));
    assert_eq!(bench.at(2), [load()]);
}

#[test]
fn what_nobody_can_load_is_passed_on_at_once() {
    let unknown = "f".repeat(40);
    for (request, error) in [
        (format!("EVALSHA {unknown} 1"), NOSCRIPT.to_owned()),
        ("EVALSHA odd 1".to_owned(), NOSCRIPT.to_owned()),
        (format!("EVAL {BODY} 1"), NOSCRIPT.to_owned()),
        (format!("EVALSHA {} 1", sha()), format!("{NOSCRIPT} script: 9f, on @user_script:1.")),
        (format!("EVALSHA {} 1", sha()), "-NOSCRIPT of my own".to_owned()),
    ] {
        let (mut bench, client) = seen(settings());
        bench.send(client, &format!("{request} {}", key_of(2, 0)));
        bench.answer(2, &error);
        assert_eq!(bench.got(client), format!("{error}\r\n"), "{request}");
        assert!(bench.at(2).is_empty());
    }
}

#[test]
fn requests_in_a_row_for_the_same_script_load_it_once() {
    let (mut bench, client) = seen(settings());
    let other = bench.client();
    bench.send(client, &request(2, 0));
    bench.send(other, &request(2, 1));
    bench.answer(2, NOSCRIPT);
    bench.answer(2, NOSCRIPT);
    assert_eq!(bench.at(2), [exists(), load(), exists()]);
    bench.answer(2, "*1\r\n:0");
    bench.answer(2, "+x");
    bench.answer(2, "*1\r\n:1");
    assert_eq!(bench.at(2), [request(2, 0), request(2, 1)]);
}

#[test]
fn what_another_worker_has_just_loaded_was_missing_all_the_same() {
    for answered_first in [true, false] {
        let scripts = settings().scripts;
        let mut both = [0, 1].map(|_| {
            let (mut bench, client) =
                seen(Settings { scripts: Arc::clone(&scripts), ..settings() });
            bench.send(client, &request(2, 0));
            bench.answer(2, NOSCRIPT);
            (bench, client)
        });
        let [(first, _), (second, client)] = &mut both;
        if answered_first {
            first.answer(2, "*1\r\n:0");
        }
        second.answer(2, "*1\r\n:1");
        if !answered_first {
            assert_eq!(second.at(2), [load(), exists()], "the first one will know");
            first.answer(2, "*1\r\n:0");
            second.answer(2, "+x");
            second.answer(2, "*1\r\n:1");
            assert_eq!(second.at(2), [request(2, 0)]);
        } else {
            assert_eq!(second.at(2), [load(), request(2, 0)]);
        }
        assert_eq!(second.got(*client), "");
    }
}

#[test]
fn scripts_that_clients_have_flushed_are_not_loaded() {
    let (mut bench, client) = seen(settings());
    bench.send(client, "SCRIPT FLUSH");
    (1..=3).for_each(|port| bench.answer(port, "+OK"));
    bench.got(client);
    bench.send(client, &request(2, 0));
    bench.answer(2, NOSCRIPT);
    assert_eq!(bench.got(client), format!("{NOSCRIPT}\r\n"));
    // Seen again, it is known again.
    bench.send(client, &format!("EVAL {BODY} 1 {}", key_of(1, 0)));
    bench.answer(1, ":1");
    bench.send(client, &request(2, 0));
    bench.answer(2, NOSCRIPT);
    assert_eq!(bench.at(2), [exists(), load()]);
}

#[test]
fn a_node_that_does_not_load_scripts_is_asked_a_few_times() {
    let (mut bench, client) = missing();
    for _ in 0..3 {
        bench.answer(2, "*1\r\n:0");
        bench.answer(2, "-NOPERM x");
        bench.answer(2, NOSCRIPT);
    }
    assert_eq!(bench.got(client), format!("{NOSCRIPT}\r\n"));
    assert!(bench.at(2).is_empty());
}

#[test]
fn a_later_request_to_its_slot_does_not_overtake_it() {
    let (mut bench, client) = missing();
    let later = format!("SET {} later", key_of(2, 0));
    bench.send(client, &later);
    assert_eq!(bench.at(2), [exists(), load()]);
    for answer in ["*1\r\n:0", "+x", ":1"] {
        bench.answer(2, answer);
    }
    assert_eq!(bench.at(2), [later]);
}

#[test]
fn an_error_stands_when_the_node_goes_before_it_has_answered() {
    let (mut bench, client) = missing();
    bench.kill(2, false);
    assert_eq!(bench.got(client), format!("{NOSCRIPT}\r\n"));
    bench.advance(Duration::from_secs(1));
    assert!(bench.at(2).is_empty() && bench.worker.doubts.is_empty());
}

#[test]
fn a_script_that_only_reads_is_sent_again_whoever_has_loaded_it() {
    let (mut bench, client) = seen(settings());
    let request = format!("EVALSHA_RO {} 1 {}", sha(), key_of(2, 0));
    bench.send_raw(client, &encode(&request));
    bench.answer(2, NOSCRIPT);
    bench.answer(2, "*1\r\n:1");
    assert_eq!(bench.at(2), [load(), request]);
}

#[test]
fn it_is_loaded_where_its_slot_has_gone_as_well() {
    let (mut bench, client) = missing();
    bench.answer(2, "*1\r\n:0");
    bench.answer(2, "+x");
    let slot = crate::slot::Slot::of_key(key_of(2, 0).as_bytes());
    bench.answer(2, &format!("-MOVED {slot} 10.0.0.1:3"));
    assert_eq!(bench.at(3), [request(2, 0)]);
    bench.answer(3, NOSCRIPT);
    assert_eq!(bench.at(3), [exists(), load()]);
    bench.answer(3, "*1\r\n:0");
    bench.answer(3, "+x");
    bench.answer(3, ":1");
    assert_eq!(bench.got(client), ":1\r\n");
}

#[test]
fn worker_tells_of_a_script_once_and_of_others_with_the_same_length_too() {
    let (mut bench, client) = seen(settings());
    for n in 0..3000 {
        let body = format!("return({})", 1000 + n % 1500);
        bench.send(client, &format!("EVAL {body} 1 {}", key_of(1, 0)));
        bench.answer(1, ":1");
        let sha = Sha::of(body.as_bytes());
        assert!(bench.worker.settings.scripts.body(&sha).is_some(), "{body}");
    }
}

// ---- ends and states of scripts ----

const NOT_BUSY: &str = "-NOTBUSY No scripts in execution right now.";

#[test]
fn a_kill_is_answered_by_the_shard_that_has_something_to_say() {
    let unkillable = "-UNKILLABLE Sorry the script already executed write commands";
    for kill in ["SCRIPT KILL", "FUNCTION KILL"] {
        for (third, expected) in [(unkillable, unkillable), (NOT_BUSY, NOT_BUSY), ("+OK", "+OK")] {
            let mut bench = Bench::new();
            let client = bench.client();
            bench.send(client, kill);
            [NOT_BUSY, NOT_BUSY, third].iter().zip(1..).for_each(|(said, n)| bench.answer(n, said));
            assert_eq!(bench.got(client), format!("{expected}\r\n"));
        }
    }
}

/// A node reads nothing more from the connection of a script while that runs.
#[test]
fn a_kill_does_not_wait_behind_the_script() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let spin = format!("EVAL x 1 {}", key_of(1, 0));
    bench.send(client, &spin);
    bench.send(other, "SCRIPT KILL");
    let on = |bench: &Bench| -> Vec<Vec<String>> {
        let wires = bench.wires_of(1).into_iter();
        wires.map(|wire| bench.wires[&wire].requests.clone()).collect()
    };
    assert_eq!(on(&bench), [vec![spin], vec!["SCRIPT KILL".to_owned()]]);
}

#[test]
fn function_stats_are_those_of_the_shard_on_which_something_runs() {
    let stats = |script: &str| format!("*4\r\n$14\r\nrunning_script\r\n{script}\r\n$1\r\ne\r\n*0");
    let (none, runs) = (stats("$-1"), stats("*2\r\n$4\r\nname\r\n$4\r\nspin"));
    let busy = "-BUSY Redis is busy running a script.".to_owned();
    for (replies, expected) in [
        ([&none, &none, &runs], &runs),
        ([&busy, &none, &runs], &runs),
        ([&none, &busy, &none], &busy),
        ([&none, &none, &none], &none),
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        bench.send(client, "FUNCTION STATS");
        replies.iter().zip(1..).for_each(|(said, n)| bench.answer(n, said));
        assert_eq!(bench.got(client), format!("{expected}\r\n"));
    }
}
