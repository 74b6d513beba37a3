//! Scripts that are named inside a transaction.

use std::time::Duration;

use super::bench::{Bench, key_of, settings, topology};
use super::scripts::{BODY, load, seen, sha};
use super::transactions::{ABORTED, begin, block, bytes};
use super::watches::{busy, watch};
use crate::scripts::Sha;
use crate::slot::Slot;

/// A write and the script, with keys in one slot of this node.
fn commands(port: u16) -> [String; 2] {
    let key = key_of(port, 0);
    [format!("INCR {key}"), format!("EVALSHA {} 1 {key}", sha())]
}

/// What a node gets of a transaction of these.
fn loaded_block(commands: &[String]) -> Vec<String> {
    [vec![load()], block(commands)].concat()
}

/// A transaction of a write and the script is at the second node.
fn in_transaction() -> (Bench, u32) {
    let (mut bench, client) = seen(settings());
    begin(&mut bench, client, &commands(2));
    bench.send(client, "EXEC");
    (bench, client)
}

fn answer_all(bench: &mut Bench, port: u16, replies: &[&str]) {
    replies.iter().for_each(|reply| bench.answer(port, reply));
}

#[test]
fn a_transaction_brings_the_scripts_that_it_names_wherever_it_goes() {
    for loaded in ["$40\r\n0123456789012345678901234567890123456789", "-NOPERM x"] {
        let (mut bench, client) = in_transaction();
        let other = bench.client();
        bench.send(other, &format!("GET {}", key_of(2, 1)));
        let get = vec![format!("GET {}", key_of(2, 1))];
        assert_eq!(bench.at(2), [loaded_block(&commands(2)), get].concat());
        answer_all(&mut bench, 2, &[loaded, "+OK", "+QUEUED", "+QUEUED", "*2\r\n:1\r\n:1", ":9"]);
        assert_eq!(bench.got(client), "*2\r\n:1\r\n:1\r\n");
        assert_eq!(bench.got(other), ":9\r\n");
        assert_eq!(bench.cells.stale_replies_dropped.get(), 0);
    }
    let slot = Slot::of_key(key_of(2, 0).as_bytes());
    for (refusal, asking) in [("MOVED", None), ("ASK", Some("ASKING".to_owned()))] {
        let (mut bench, client) = in_transaction();
        let redirect = format!("-{refusal} {slot} 10.0.0.1:3");
        answer_all(&mut bench, 2, &["$1\r\nx", "+OK", &redirect, &redirect, ABORTED]);
        let behind: Vec<String> = asking.into_iter().chain(block(&commands(2))).collect();
        assert_eq!(bench.at(3), [vec![load()], behind.clone()].concat(), "{refusal}");
        answer_all(&mut bench, 3, &["$1\r\nx"]);
        behind.iter().skip(1).for_each(|_| bench.answer(3, "+OK"));
        bench.answer(3, "*2\r\n:1\r\n:1");
        assert_eq!(bench.got(client), "*2\r\n:1\r\n:1\r\n");
    }
}

#[test]
fn a_transaction_brings_each_script_once_and_those_that_are_known() {
    let (mut bench, client) = seen(settings());
    let key = key_of(2, 0);
    let named = |name: &str, sha: &str| format!("{name} {sha} 1 {key}");
    for (commands, loads) in [
        (vec![named("EVALSHA", &sha()), named("evalsha_ro", &sha().to_uppercase())], vec![load()]),
        (vec![named("EVALSHA", &"f".repeat(40)), named("EVALSHA", "odd")], vec![]),
        (vec![named("EVAL", BODY)], vec![]),
        (vec![format!("SET {key} EVALSHA"), format!("ECHO {}", sha())], vec![]),
    ] {
        begin(&mut bench, client, &commands);
        bench.send(client, "EXEC");
        assert_eq!(bench.at(2), [loads, block(&commands)].concat());
        let requests = bench.at(2).len();
        (1..requests).for_each(|_| bench.answer(2, "+x"));
        bench.answer(2, "*0");
        assert_eq!(bench.got(client), "*0\r\n");
    }
    bench.send(client, "SCRIPT FLUSH");
    (1..=3).for_each(|port| bench.answer(port, "+OK"));
    bench.got(client);
    begin(&mut bench, client, &commands(2));
    bench.send(client, "EXEC");
    assert_eq!(bench.at(2), block(&commands(2)), "what clients have flushed is not loaded");
}

#[test]
fn what_a_transaction_brings_is_bounded() {
    let (mut bench, client) = seen(settings());
    let bodies: Vec<String> = (100..170).map(|n| format!("return({n})")).collect();
    let commands: Vec<String> =
        bodies.iter().map(|body| format!("EVALSHA {} 1 {}", named(body), key_of(2, 0))).collect();
    for body in &bodies {
        bench.send(client, &format!("EVAL {body} 1 {}", key_of(1, 0)));
        bench.answer(1, ":1");
    }
    bench.got(client);
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    let loads = bodies[..64].iter().map(|body| format!("SCRIPT LOAD {body}"));
    assert!(bench.at(2) == loads.chain(block(&commands)).collect::<Vec<_>>());

    let (mut bench, client) = seen(settings());
    let long = |n: usize| format!("return('{n}{}')", "x".repeat(200_000));
    let commands: Vec<String> =
        (0..6).map(|n| format!("EVALSHA {} 1 {}", named(&long(n)), key_of(2, 0))).collect();
    for n in 0..6 {
        bench.worker.settings.scripts.saw(long(n).as_bytes());
    }
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    let loads = (0..5).map(|n| format!("SCRIPT LOAD {}", long(n)));
    assert!(bench.at(2) == loads.chain(block(&commands)).collect::<Vec<_>>());
}

fn named(body: &str) -> String {
    String::from_utf8(Sha::of(body.as_bytes()).as_bytes().to_vec()).unwrap()
}

/// The connection ends after each number of bytes: a transaction was executed, or perhaps, only if
/// the last byte of EXEC was handed over, whatever was of what goes before it.
#[test]
fn a_transaction_that_was_lost_with_its_scripts_is_sent_again_with_them() {
    let whole = loaded_block(&commands(2));
    let len = bytes(&whole).len();
    for handed_over in 0..=len {
        let (mut bench, client) = seen(settings());
        begin(&mut bench, client, &commands(2));
        let wire = bench.wires_of(2)[0];
        bench.wires.get_mut(&wire).unwrap().takes = Some(handed_over);
        bench.send(client, "EXEC");
        bench.kill(2, false);
        bench.advance(Duration::from_secs(1));
        if handed_over < len {
            assert_eq!(bench.at(2), whole, "{handed_over} bytes");
            assert_eq!(bench.got(client), "");
        } else {
            assert!(bench.got(client).starts_with("-UNKNOWNRESULT "));
            assert!(bench.at(2).is_empty());
        }
    }
}

/// The bodies of many transactions in a row would fill the memory, and the node's time.
#[test]
fn a_script_that_is_being_loaded_is_not_loaded_once_more() {
    let (mut bench, client) = in_transaction();
    let others = [bench.client(), bench.client()];
    for other in others {
        begin(&mut bench, other, &commands(2));
    }
    bench.send(others[0], "EXEC");
    assert_eq!(bench.at(2), [loaded_block(&commands(2)), block(&commands(2))].concat());
    bench.answer(2, "+x");
    bench.send(others[1], "EXEC");
    let loaded_anew = loaded_block(&commands(2));
    assert_eq!(bench.at(2)[8..], loaded_anew);
    let executed = ["+OK", "+QUEUED", "+QUEUED", "*2\r\n:1\r\n:1"];
    for replies in [&executed[..], &executed, &["+x"], &executed] {
        answer_all(&mut bench, 2, replies);
    }
    for client in [client, others[0], others[1]] {
        assert_eq!(bench.got(client), "*2\r\n:1\r\n:1\r\n");
    }
}

/// What is loaded for a transaction that goes elsewhere is loaded all the same: another one may
/// count on it.
#[test]
fn a_transaction_is_called_back_from_behind_its_script() {
    let len = bytes(&[load()]).len();
    for handed_over in [0, 1, len - 1, len] {
        let (mut bench, client) = seen(settings());
        let other = bench.client();
        begin(&mut bench, client, &commands(2));
        let wire = bench.wires_of(2)[0];
        bench.wires.get_mut(&wire).unwrap().takes = Some(handed_over);
        bench.send(client, "EXEC");
        let slot = Slot::of_key(key_of(2, 0).as_bytes()).number();
        bench.topology(topology(
            2,
            &[
                (1, &[(0, 5460)]),
                (2, &[(5461, slot - 1), (slot + 1, 10922)]),
                (3, &[(slot, slot), (10923, 16383)]),
            ],
        ));
        assert_eq!(bench.at(3), loaded_block(&commands(2)), "{handed_over} bytes");
        bench.wires.get_mut(&wire).unwrap().takes = None;
        let get = format!("GET {}", key_of(2, 1));
        bench.send(other, &get);
        let left = [load(), get];
        assert_eq!(bench.at(2), left, "{handed_over} bytes");
        left.iter().for_each(|_| bench.answer(2, ":5"));
        assert_eq!(bench.got(other), ":5\r\n");
        answer_all(&mut bench, 3, &["+x", "+OK", "+QUEUED", "+QUEUED", "*2\r\n:1\r\n:1"]);
        assert_eq!(bench.got(client), "*2\r\n:1\r\n:1\r\n");
    }
}

#[test]
fn a_transaction_behind_a_watch_brings_its_scripts_too() {
    for loaded in ["+x", "-NOPERM x"] {
        let (mut bench, client) = seen(settings());
        let own = watch(&mut bench, client, 2, &key_of(2, 0));
        begin(&mut bench, client, &commands(2));
        bench.send(client, "EXEC");
        assert_eq!(busy(&bench, 2), [own]);
        assert_eq!(bench.wires[&own].requests, loaded_block(&commands(2)));
        answer_all(&mut bench, 2, &[loaded, "+OK", "+QUEUED", "+QUEUED", "*2\r\n:1\r\n:1"]);
        assert_eq!(bench.got(client), "*2\r\n:1\r\n:1\r\n");
        bench.send(client, &format!("GET {}", key_of(2, 0)));
        bench.answer(2, "$-1");
        assert_eq!(bench.got(client), "$-1\r\n");
    }
}

/// EXEC is refused before a script runs: no script can have made that up.
#[test]
fn what_refuses_a_transaction_with_scripts_is_believed() {
    for refusal in ["-TRYAGAIN x", "-CLUSTERDOWN The cluster is down", "-LOADING x"] {
        let (mut bench, client) = in_transaction();
        answer_all(&mut bench, 2, &["+x", "+OK", "+QUEUED", "+QUEUED", refusal]);
        assert!(bench.at(2).is_empty(), "{refusal}: {:?}", bench.at(2));
        bench.advance(Duration::from_secs(1));
        assert_eq!(bench.at(2), loaded_block(&commands(2)), "{refusal}");
        answer_all(&mut bench, 2, &["+x", "+OK", "+QUEUED", "+QUEUED", "*2\r\n:1\r\n:1"]);
        assert_eq!(bench.got(client), "*2\r\n:1\r\n:1\r\n");
    }
}
