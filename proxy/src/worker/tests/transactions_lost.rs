//! Transactions whose node is lost, refuses them, or says nothing.

use std::time::Duration;

use super::bench::{Bench, key_of};
use super::transactions::{ABORTED, EXECUTED, begin, block, bytes, execute, two_writes};
use crate::slot::Slot;

fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

#[test]
fn a_loss_at_each_byte_sends_it_again_or_says_that_it_is_unknown() {
    let key = key_of(1, 0);
    let commands = two_writes(&key);
    let len = bytes(&block(&commands)).len();
    for handed_over in 0..=len {
        let mut bench = Bench::new();
        let client = bench.client();
        begin(&mut bench, client, &commands);
        let wire = bench.wires_of(1)[0];
        bench.wires.get_mut(&wire).unwrap().takes = Some(handed_over);
        bench.send(client, "EXEC");
        bench.kill(1, false);
        bench.advance(Duration::from_secs(1));
        if handed_over < len {
            assert_eq!(bench.got(client), "", "{handed_over}");
            assert_eq!(bench.at(1), block(&commands), "{handed_over}");
            execute(&mut bench, 1);
            assert_eq!(bench.got(client), EXECUTED);
        } else {
            let got = bench.got(client);
            assert!(got.starts_with("-UNKNOWNRESULT sent, reply lost: "), "{got}");
            assert!(bench.at(1).is_empty(), "it is never sent again");
        }
        bench.send(client, &format!("GET {key}"));
        bench.advance(Duration::from_secs(1));
        bench.answer(1, "$1\r\nx");
        assert_eq!(bench.got(client), "$1\r\nx\r\n", "not one reply too many");
    }
}

#[test]
fn a_loss_at_each_byte_of_its_replies_is_unknown_and_not_one_reply_too_many_follows() {
    let key = key_of(1, 0);
    let commands = two_writes(&key);
    let replies = format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n{EXECUTED}");
    for read in 0..=replies.len() {
        let mut bench = Bench::new();
        let (client, other) = (bench.client(), bench.client());
        begin(&mut bench, client, &commands);
        bench.send(client, "EXEC");
        let wire = bench.wires_of(1)[0];
        bench.say(wire, &replies.as_bytes()[..read]);
        bench.send(other, &format!("GET {key}"));
        bench.kill(1, false);
        bench.advance(Duration::from_secs(1));
        let got = bench.got(client);
        if read < replies.len() {
            assert!(got.starts_with("-UNKNOWNRESULT "), "{read}: {got}");
        } else {
            assert_eq!(got, EXECUTED);
        }
        assert_eq!(bench.at(1), [format!("GET {key}")], "only what reads is sent again");
        bench.answer(1, "$1\r\nx");
        assert_eq!(bench.got(other), "$1\r\nx\r\n");
        bench.send(client, "PING");
        assert_eq!(bench.got(client), "+PONG\r\n");
    }
}

#[test]
fn a_transaction_that_only_reads_is_sent_again_after_a_lost_reply() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let commands = [format!("GET {key}"), format!("LLEN {{{key}}}l")];
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    bench.answer(1, "+OK");
    bench.kill(1, false);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), block(&commands));
    execute(&mut bench, 1);
    assert_eq!(bench.got(client), EXECUTED);
}

#[test]
fn a_refusal_sends_the_whole_of_it_elsewhere() {
    let key = key_of(1, 0);
    let slot = slot_of(&key);
    let commands = two_writes(&key);
    let moved = format!("-MOVED {slot} 10.0.0.1:2");
    let aborted_by = |error: &str| {
        format!("-EXECABORT Transaction discarded because of: {}", error.trim_start_matches('-'))
    };
    let ask = format!("-ASK {slot} 10.0.0.1:2");
    for (replies, asking) in [
        (["+OK", &moved, &moved, ABORTED], false),
        (["+OK", "+QUEUED", &moved, ABORTED], false),
        (["+OK", "+QUEUED", "+QUEUED", &moved], false),
        (["+OK", "+QUEUED", "+QUEUED", &aborted_by(&moved)], false),
        (["+OK", &ask, "+QUEUED", ABORTED], true),
        (["+OK", "+QUEUED", &ask, ABORTED], true),
        (["+OK", "+QUEUED", "+QUEUED", &ask], true),
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        begin(&mut bench, client, &commands);
        bench.send(client, "EXEC");
        for reply in replies {
            bench.answer(1, reply);
        }
        assert_eq!(bench.got(client), "", "{replies:?}");
        let mut expected = block(&commands);
        if asking {
            expected.insert(0, "ASKING".into());
        }
        assert_eq!(bench.at(2), expected, "{replies:?}");
        if asking {
            bench.answer(2, "+OK");
        }
        execute(&mut bench, 2);
        assert_eq!(bench.got(client), EXECUTED);
        assert!(bench.at(1).is_empty());
    }
}

#[test]
fn a_node_that_does_not_serve_is_waited_for() {
    let key = key_of(1, 0);
    let commands = two_writes(&key);
    for error in [
        "CLUSTERDOWN The cluster is down",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
    ] {
        let at_exec = format!("-EXECABORT Transaction discarded because of: {error}");
        let queued = format!("-{error}");
        for replies in
            [["+OK", &queued, "+QUEUED", ABORTED], ["+OK", "+QUEUED", "+QUEUED", &at_exec]]
        {
            let mut bench = Bench::new();
            let client = bench.client();
            begin(&mut bench, client, &commands);
            bench.send(client, "EXEC");
            for reply in replies {
                bench.answer(1, reply);
            }
            bench.advance(Duration::from_secs(1));
            assert_eq!(bench.got(client), "", "{error}");
            assert_eq!(bench.at(1), block(&commands), "{error}");
            execute(&mut bench, 1);
            assert_eq!(bench.got(client), EXECUTED);
        }
    }
}

#[test]
fn any_other_refusal_is_the_clients_with_its_reason() {
    let commands = two_writes(&key_of(1, 0));
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    let given = format!("-EXECABORT Transaction discarded because of: {oom}");
    for replies in
        [["+OK", &format!("-{oom}"), "+QUEUED", ABORTED], ["+OK", "+QUEUED", "+QUEUED", &given]]
    {
        let mut bench = Bench::new();
        let client = bench.client();
        begin(&mut bench, client, &commands);
        bench.send(client, "EXEC");
        for reply in replies {
            bench.answer(1, reply);
        }
        assert_eq!(bench.got(client), format!("{given}\r\n"));
        assert!(bench.at(1).is_empty());
    }
}

#[test]
fn a_node_that_refuses_multi_has_executed_the_rest() {
    let mut bench = Bench::new();
    let client = bench.client();
    begin(&mut bench, client, &two_writes(&key_of(1, 0)));
    bench.send(client, "EXEC");
    let noperm = "-NOPERM this user has no permissions to run the 'multi' command";
    for reply in [noperm, ":1", ":1", "-ERR EXEC without MULTI"] {
        bench.answer(1, reply);
    }
    let got = bench.got(client);
    assert!(got.starts_with("-UNKNOWNRESULT ") && got.contains("refused MULTI"), "{got}");
}

#[test]
fn a_client_that_leaves_takes_its_transaction_with_it() {
    let commands = two_writes(&key_of(1, 0));
    let mut bench = Bench::new();
    let (stays, leaves) = (bench.client(), bench.client());
    begin(&mut bench, leaves, &commands);
    assert!(bench.cells.transaction_bytes.get() > 0);
    bench.worker.client_lost(leaves, bench.now);
    bench.turn();
    assert_eq!(bench.cells.transaction_bytes.get(), 0);
    // It leaves while its block is under way: the replies are nobody's.
    let leaves = bench.client();
    begin(&mut bench, leaves, &commands);
    bench.send(leaves, "EXEC");
    bench.send(stays, &format!("GET {}", key_of(1, 0)));
    bench.worker.client_lost(leaves, bench.now);
    bench.turn();
    execute(&mut bench, 1);
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(stays), "$1\r\nx\r\n");
    // It leaves while its block waits: nobody sends it.
    let leaves = bench.client();
    bench.kill(1, true);
    begin(&mut bench, leaves, &commands);
    bench.send(leaves, "EXEC");
    bench.worker.client_lost(leaves, bench.now);
    bench.revive(1);
    bench.advance(Duration::from_secs(1));
    assert!(bench.at(1).is_empty());
}

#[test]
fn a_transaction_waits_for_its_node_until_the_deadline() {
    let mut bench = Bench::new();
    let client = bench.client();
    let commands = two_writes(&key_of(1, 0));
    bench.kill(1, true);
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    bench.advance(Duration::from_secs(19));
    assert_eq!(bench.got(client), "");
    bench.advance(Duration::from_secs(2));
    let got = bench.got(client);
    assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{got}");
    assert!(got.contains(&format!("(slot {})", slot_of(&key_of(1, 0)))), "{got}");
}

#[test]
fn what_follows_does_not_overtake_it() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let commands = two_writes(&key);
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    for reply in ["+OK", "-TRYAGAIN x", "+QUEUED", ABORTED] {
        bench.answer(1, reply);
    }
    bench.send(client, &format!("GET {key}"));
    assert!(bench.at(1).is_empty());
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.at(1), block(&commands));
    execute(&mut bench, 1);
    assert_eq!(bench.at(1), [format!("GET {key}")]);
}

#[test]
fn a_silent_node_gives_back_what_it_was_not_handed() {
    let key = key_of(1, 0);
    let commands = two_writes(&key);
    let len = bytes(&block(&commands)).len();
    for handed_over in [0, 1, 15, 16, len - 1, len] {
        let mut bench = Bench::new();
        let (client, other) = (bench.client(), bench.client());
        bench.freeze(1);
        bench.send(other, &format!("GET {key}"));
        begin(&mut bench, client, &commands);
        let wire = bench.wires_of(1)[0];
        bench.wires.get_mut(&wire).unwrap().takes = Some(handed_over);
        bench.send(client, "EXEC");
        bench.live(Duration::from_secs(5));
        assert!(bench.at(1).is_empty());
        bench.thaw(1);
        bench.live(Duration::from_secs(2));
        bench.look(2);
        bench.live(Duration::from_secs(1));
        let sent_again = bench.at(1).iter().filter(|request| *request == "EXEC").count();
        assert_eq!(sent_again, 1, "{handed_over} of {len}: {:?}", bench.at(1));
    }
}
