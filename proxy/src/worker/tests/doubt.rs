//! Scripts that are refused, or say so: their node is asked which of the two it is.

use std::time::Duration;

use super::bench::{Bench, encode, key_of};

const DOWN: &str = "-CLUSTERDOWN The cluster is down";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory";
const TRYAGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot";
const PAUSE: Duration = Duration::from_millis(10);

/// A client whose script, with these keys at the first node, was answered with this error.
fn said(error: &str, keys: &[&str]) -> (Bench, u32, String) {
    let mut bench = Bench::new();
    let client = bench.client();
    let script = format!("EVAL script {} {}", keys.len(), keys.join(" "));
    bench.send(client, script.trim_end());
    let port = if keys.is_empty() { 2 } else { 1 };
    bench.answer(port, error);
    assert_eq!(bench.got(client), "", "it is not settled yet");
    (bench, client, script)
}

/// What the node has been asked: the answer to ASKING, if any, is given here.
fn asked(bench: &mut Bench, port: u16) -> String {
    if bench.at(port).first().is_some_and(|first| first == "ASKING") {
        bench.answer(port, "+OK");
    }
    bench.at(port).join("|")
}

#[test]
fn a_script_that_its_node_refused_waits_and_is_sent_again() {
    let (key, pair) = (key_of(1, 0), format!("{{{0}}}a {{{0}}}b", key_of(1, 0)));
    let pair: Vec<&str> = pair.split(' ').collect();
    for (error, keys) in [(DOWN, &[&*key][..]), (LOADING, &[&*key]), (TRYAGAIN, &pair)] {
        let (mut bench, client, script) = said(error, keys);
        assert_eq!(asked(&mut bench, 1), format!("EXISTS {}", keys.join(" ")));
        bench.answer(1, error);
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.got(client), "", "it waits: {error}");
        assert_eq!(bench.at(1), [&*script], "{error}");
        bench.answer(1, ":7");
        assert_eq!(bench.got(client), ":7\r\n");
        assert_eq!(rejected(&bench), 1);
    }
}

#[test]
fn what_a_script_has_made_up_is_its_clients_unchanged() {
    let key = key_of(1, 0);
    for error in [DOWN, LOADING, TRYAGAIN, "-MASTERDOWN x", "-CLUSTERDOWN Hash slot not served"] {
        let (mut bench, client, _) = said(error, &[&key]);
        assert_eq!(asked(&mut bench, 1), format!("EXISTS {key}"));
        bench.answer(1, ":1");
        assert_eq!(bench.got(client), format!("{error}\r\n"));
        bench.advance(Duration::from_secs(1));
        assert!(bench.at(1).is_empty(), "executed once: {error}");
    }
}

#[test]
fn an_error_from_within_a_script_is_not_asked_about() {
    let mut bench = Bench::new();
    let client = bench.client();
    let tail = format!("{DOWN} script: 9f, on @user_script:1.");
    bench.send(client, &format!("EVAL script 1 {}", key_of(1, 0)));
    bench.answer(1, &tail);
    assert_eq!(bench.got(client), format!("{tail}\r\n"));
    assert!(bench.at(1).is_empty());
}

#[test]
fn a_cluster_that_is_down_and_answers_reads_is_asked_for_its_state() {
    let text = format!("{DOWN} and only accepts read commands");
    for (state, down) in [("fail", true), ("ok", false)] {
        let (mut bench, client, script) = said(&text, &[&key_of(1, 0)]);
        assert_eq!(bench.at(1), ["CLUSTER INFO"]);
        let info = format!("cluster_state:{state}\r\n");
        bench.answer(1, &format!("${}\r\n{info}", info.len()));
        assert_eq!(bench.got(client).is_empty(), down);
        bench.advance(PAUSE);
        assert_eq!(bench.at(1).contains(&script), down);
    }
}

#[test]
fn without_keys_the_node_is_pinged() {
    let (mut bench, client, script) = said(LOADING, &[]);
    assert_eq!(bench.at(2), ["PING"]);
    bench.answer(2, LOADING);
    bench.advance(PAUSE);
    let sent: Vec<String> = [1, 2, 3].into_iter().flat_map(|port| bench.at(port)).collect();
    assert_eq!(sent, [script.trim_end()]);
    assert_eq!(bench.got(client), "");
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "EVAL script 0");
    bench.answer(2, DOWN);
    assert_eq!(bench.got(client), format!("{DOWN}\r\n"), "nothing of the kind is said there");
}

#[test]
fn an_answer_that_was_read_stands_when_the_connection_is_lost() {
    for handed_over in [true, false] {
        let mut bench = Bench::new();
        let client = bench.client();
        let script = format!("EVAL script 1 {}", key_of(1, 0));
        let wire = bench.wires_of(1)[0];
        bench.send(client, &script);
        if !handed_over {
            bench.wires.get_mut(&wire).unwrap().takes = Some(10);
        }
        bench.answer(1, DOWN);
        bench.kill(1, false);
        assert_eq!(bench.got(client), format!("{DOWN}\r\n"));
        bench.advance(Duration::from_secs(1));
        assert!(bench.at(1).is_empty(), "{handed_over}: neither lost nor unsent");
        assert_eq!(bench.cells.unknown_results.get(), 0);
        assert!(bench.worker.doubts.is_empty());
    }
}

#[test]
fn two_doubts_in_a_row_are_two() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(), bench.client());
    let (a, b) = (key_of(1, 0), key_of(1, 1));
    bench.send(first, &format!("EVAL script 1 {a}"));
    bench.send(second, &format!("EVAL script 1 {b}"));
    bench.answer(1, DOWN);
    bench.answer(1, DOWN);
    assert_eq!(bench.at(1), ["ASKING", &format!("EXISTS {a}"), "ASKING", &format!("EXISTS {b}")]);
    for reply in ["+OK", ":1", "+OK", DOWN] {
        bench.answer(1, reply);
    }
    assert_eq!(bench.got(first), format!("{DOWN}\r\n"));
    assert_eq!(bench.got(second), "");
    bench.advance(PAUSE);
    assert_eq!(bench.at(1), [format!("EVAL script 1 {b}")]);
}

#[test]
fn its_client_does_not_overtake_it() {
    let key = key_of(1, 0);
    let (mut bench, client, script) = said(DOWN, &[&key]);
    bench.send(client, &format!("SET {key} later"));
    assert_eq!(asked(&mut bench, 1), format!("EXISTS {key}"));
    bench.answer(1, DOWN);
    bench.advance(PAUSE);
    assert_eq!(bench.at(1), [script]);
    bench.answer(1, ":1");
    assert_eq!(bench.at(1), [format!("SET {key} later")]);
    bench.answer(1, "+OK");
    assert_eq!(bench.got(client), ":1\r\n+OK\r\n");
}

#[test]
fn a_client_that_has_gone_is_not_waited_for() {
    for agrees in [DOWN, ":1"] {
        let (mut bench, client, _) = said(DOWN, &[&key_of(1, 0)]);
        bench.worker.client_lost(client, bench.now);
        bench.turn();
        asked(&mut bench, 1);
        bench.answer(1, agrees);
        bench.advance(Duration::from_secs(1));
        assert!(bench.at(1).is_empty());
        assert_eq!(bench.cells.parked_requests.get(), 0);
    }
}

#[test]
fn a_node_that_goes_silent_over_the_question_is_waited_for_until_the_deadline() {
    let key = key_of(1, 0);
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("EVAL script 1 {key}"));
    bench.freeze(1);
    bench.answer(1, DOWN);
    bench.live(Duration::from_secs(18));
    assert_eq!(bench.got(client), "");
    assert_eq!(bench.cells.suspects.get(), 1);
    bench.live(Duration::from_secs(4));
    assert_eq!(bench.got(client), format!("{DOWN}\r\n"));
    assert!(bench.worker.doubts.is_empty());
    bench.thaw(1);
    bench.live(Duration::from_secs(4));
    assert_eq!(bench.got(client), "");
}

#[test]
fn nothing_is_asked_on_a_connection_that_was_suspect() {
    let mut bench = Bench::new();
    let client = bench.client();
    let wire = bench.wires_of(1)[0];
    bench.freeze(1);
    let script = encode(&format!("EVAL script 1 {}", key_of(1, 0)));
    // The kernel takes one and a half of two: the half can be neither completed nor taken back.
    bench.wires.get_mut(&wire).unwrap().takes = Some(script.len() + script.len() / 2);
    bench.send_raw(client, &[script.clone(), script].concat());
    bench.live(Duration::from_secs(5));
    assert_eq!(bench.cells.suspects.get(), 1);
    bench.wires.get_mut(&wire).unwrap().takes = None;
    bench.thaw(1);
    bench.answer_on(wire, DOWN);
    bench.look(2);
    assert_eq!(bench.got(client), format!("{DOWN}\r\n"));
}

#[test]
fn a_large_reply_does_not_wait_for_what_is_asked_behind_it() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let wire = bench.wires_of(1)[0];
    let requests = [encode(&format!("EVAL script 1 {key}")), encode(&format!("GET {key}"))];
    bench.send_raw(client, &requests.concat());
    bench.answer_on(wire, DOWN);
    // Its end is still to come, and behind it the answer about the script.
    bench.say(wire, format!("$30000\r\n{}", "x".repeat(15_000)).as_bytes());
    let got = bench.got(client);
    assert_eq!(got, format!("{DOWN}\r\n$30000\r\n{}", "x".repeat(15_000)));
}

#[test]
fn a_refused_script_that_tried_for_others_leaves_them_waiting() {
    let (mut bench, client, script) = said(LOADING, &[&key_of(1, 0)]);
    let other = bench.client();
    asked(&mut bench, 1);
    bench.answer(1, LOADING);
    bench.send(other, &format!("GET {}", key_of(1, 1)));
    bench.advance(PAUSE);
    // The script tries the way, and is refused again.
    assert_eq!(bench.at(1), [&*script]);
    bench.answer(1, LOADING);
    asked(&mut bench, 1);
    bench.answer(1, LOADING);
    assert!(bench.at(1).is_empty(), "the other waits on");
    bench.advance(Duration::from_secs(1));
    let tries = bench.at(1);
    assert_eq!(tries.len(), 1, "{tries:?}");
    bench.answer(1, ":1");
    bench.answer(1, "$1\r\nx");
    assert_eq!((bench.got(client), bench.got(other)), (":1\r\n".into(), "$1\r\nx\r\n".into()));
}

#[test]
fn a_script_that_only_reads_and_a_plain_request_are_not_asked_about() {
    for request in ["EVAL_RO script 1 ", "INCR "] {
        let mut bench = Bench::new();
        let client = bench.client();
        let request = format!("{request}{}", key_of(1, 0));
        bench.send_raw(client, &encode(&request));
        bench.answer(1, DOWN);
        bench.advance(PAUSE);
        assert_eq!(bench.at(1), [request]);
        assert_eq!(bench.got(client), "");
    }
}

/// Requests that were sent again because a node said that it had not executed them.
fn rejected(bench: &Bench) -> u64 {
    let cells = &bench.cells;
    [
        &cells.replays_tryagain,
        &cells.replays_clusterdown,
        &cells.replays_loading,
        &cells.replays_masterdown,
    ]
    .iter()
    .map(|counter| counter.get())
    .sum()
}
