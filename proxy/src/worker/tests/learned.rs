//! Commands of which only a node knows where their keys are.

use std::time::Duration;

use super::bench::{Bench, encode, key_of};
use crate::command::{Told, learn};

const CROSSSLOT: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";

/// A worker with a client whose request waits for the second node's answer about it.
fn asking() -> (Bench, u32, String) {
    asking_about("ASKED.WRITE", &["write", "movablekeys", "module"])
}

fn asking_about(name: &str, flags: &[&str]) -> (Bench, u32, String) {
    let flags = flags.iter().map(ToString::to_string).collect();
    learn(&[Told { name: name.to_lowercase(), arity: -2, flags, ..Told::default() }]);
    let mut bench = Bench::new();
    let client = bench.client();
    let request = format!("{name} odd {}", key_of(1, 0));
    bench.send(client, &request);
    assert_eq!(bench.at(2), [format!("COMMAND GETKEYS {request}")], "any primary is asked");
    (bench, client, request)
}

fn keys(keys: &[&str]) -> String {
    let bulks: String = keys.iter().map(|key| format!("${}\r\n{key}\r\n", key.len())).collect();
    format!("*{}\r\n{bulks}", keys.len()).trim_end().to_owned()
}

#[test]
fn a_node_is_asked_and_the_request_goes_where_its_keys_are() {
    let (mut bench, client, request) = asking();
    bench.answer(2, &keys(&[&key_of(1, 0)]));
    assert_eq!(bench.at(1), [request]);
    bench.answer(1, "+done");
    assert_eq!(bench.got(client), "+done\r\n");
    assert!(bench.at(2).is_empty());
}

#[test]
fn what_its_client_sends_behind_it_is_sent_behind_it() {
    let (mut bench, client, request) = asking();
    let later = format!("SET {} 1", key_of(1, 0));
    bench.send(client, &later);
    assert!(bench.at(1).is_empty());
    bench.answer(2, &keys(&[&key_of(1, 0)]));
    assert_eq!(bench.at(1), [request.clone(), later]);
    // And it waits for what is before it.
    bench.send(client, &request);
    assert!(bench.at(2).is_empty());
    bench.answer(1, "+a");
    bench.answer(1, "+b");
    assert_eq!(bench.at(2).len(), 1);
}

#[test]
fn keys_in_several_slots_and_errors_are_answered_and_none_go_anywhere() {
    for (answer, expected) in [
        (keys(&[&key_of(1, 0), &key_of(1, 1)]), Some(CROSSSLOT)),
        ("-NOPERM no".to_owned(), Some("-NOPERM no\r\n")),
        ("-ERR The command has no key arguments".to_owned(), None),
        ("-ERR Invalid arguments specified for command".to_owned(), None),
    ] {
        let (mut bench, client, request) = asking();
        bench.answer(2, &answer);
        match expected {
            Some(expected) => assert_eq!(bench.got(client), expected),
            None => {
                assert_eq!(bench.at(2), [request], "{answer}");
                bench.answer(2, "-ERR wrong");
                assert_eq!(bench.got(client), "-ERR wrong\r\n");
            }
        }
        bench.send_raw(client, &encode("PING"));
        assert_eq!(bench.got(client), "+PONG\r\n", "its client goes on");
    }
}

#[test]
fn a_question_that_is_lost_is_asked_again_and_an_answered_request_is_masked_like_any() {
    let (mut bench, client, request) = asking();
    bench.kill(2, false);
    bench.advance(Duration::from_secs(1));
    let asked: Vec<String> = [1, 2, 3].into_iter().flat_map(|port| bench.at(port)).collect();
    assert_eq!(asked, [format!("COMMAND GETKEYS {request}")]);
    let port = (1..=3).find(|&port| !bench.at(port).is_empty()).unwrap();
    bench.answer(port, &keys(&[&key_of(1, 0)]));
    assert_eq!(bench.at(1), [request]);
    bench.kill(1, false);
    bench.advance(Duration::from_secs(1));
    let got = bench.got(client);
    assert!(got.starts_with("-UNKNOWNRESULT "), "it writes: {got}");
}

#[test]
fn nobody_waits_for_the_answer_to_a_client_that_has_gone() {
    let (mut bench, client, _) = asking();
    bench.worker.client_lost(client, bench.now);
    bench.turn();
    bench.answer(2, &keys(&[&key_of(1, 0)]));
    assert!(bench.at(1).is_empty());
}

#[test]
fn what_blocks_then_is_known_to() {
    let (mut bench, client, request) =
        asking_about("ASKED.BLOCK", &["write", "movablekeys", "module", "blocking"]);
    bench.answer(2, &keys(&[&key_of(1, 0)]));
    assert_eq!(bench.at(1), [request]);
    let blocks = |bench: &mut Bench| bench.worker.clients.get(client).unwrap().is_blocking();
    assert!(blocks(&mut bench), "CLIENT UNBLOCK and the end of the worker have to know");
    bench.answer(1, "+done");
    assert_eq!((bench.got(client).as_str(), blocks(&mut bench)), ("+done\r\n", false));
}
