//! What a client says to itself it hears, also if it unsubscribes behind it in one write.

use super::*;
use crate::worker::tests::bench::encode;

fn push(words: &str) -> String {
    frame('>', words)
}

/// A client in RESP3 has said all of this of a name in one write, and is subscribed; what it has
/// published is at the node.
fn in_one_write(words: [&str; 3]) -> (Bench, u32, String) {
    let mut bench = Bench::new();
    let (client, name) = (bench.client(), key_of(1, 0));
    bench.send(client, "HELLO 3");
    bench.got(client);
    let [begin, publish, end] = words;
    let all = [format!("{begin} {name}"), format!("{publish} {name} x"), end.into()];
    bench.send_raw(client, &all.map(|line| encode(&line)).concat());
    assert_eq!(bench.got(client), "");
    bench.serve_upstream(1);
    let word = begin.to_lowercase();
    assert_eq!(bench.got(client), push(&format!("{word} {name} :1")));
    let asked = format!("{publish} {name} x");
    assert!(bench.at(1).contains(&asked), "{:?}", bench.at(1));
    (bench, client, name)
}

/// The node answers the PUBLISH.
fn published(bench: &mut Bench) {
    let upstream = bench.upstream(1);
    let wires = bench.wires_of(1).into_iter();
    let shared = { wires }.find(|&w| w != upstream && !bench.wires[&w].requests.is_empty());
    bench.answer_on(shared.unwrap(), ":1");
}

/// PUBLISH gave 0 and the message did not come.
#[test]
fn who_unsubscribes_behind_its_own_message_gets_it() {
    for (words, message) in [
        (["SUBSCRIBE", "PUBLISH", "UNSUBSCRIBE"], "message"),
        (["SSUBSCRIBE", "SPUBLISH", "SUNSUBSCRIBE"], "smessage"),
        (["PSUBSCRIBE", "PUBLISH", "PUNSUBSCRIBE"], "pmessage"),
    ] {
        for reply_first in [true, false] {
            let (mut bench, client, name) = in_one_write(words);
            let pattern = if message == "pmessage" { format!("{name} ") } else { String::new() };
            let message = format!("{message} {pattern}{name} x");
            if reply_first {
                published(&mut bench);
                assert_eq!(bench.got(client), ":1\r\n");
                bench.publish(1, &message);
                assert_eq!(bench.got(client), push(&message));
            } else {
                bench.publish(1, &message);
                assert_eq!(bench.got(client), push(&message));
                published(&mut bench);
                assert_eq!(bench.got(client), ":1\r\n");
            }
            bench.serve_upstream(1);
            let word = words[2].to_lowercase();
            assert_eq!(bench.got(client), push(&format!("{word} {name} :0")));
            bench.serve_upstream(1);
            bench.send(client, "PING");
            assert_eq!(bench.got(client), "+PONG\r\n");
        }
    }
}

#[test]
fn whatever_becomes_of_the_node_or_the_client_nobody_waits_for_it_for_ever() {
    for what in ["the connection breaks", "it is silent", "it refuses", "the client leaves"] {
        let (mut bench, client, name) = in_one_write(["SUBSCRIBE", "PUBLISH", "UNSUBSCRIBE"]);
        published(&mut bench);
        assert_eq!(bench.got(client), ":1\r\n");
        let upstream = bench.upstream(1);
        match what {
            "the connection breaks" => {
                bench.wires.remove(&upstream);
                bench.worker.node_lost(upstream, bench.now);
                bench.turn();
            }
            "it is silent" => bench.live(Duration::from_secs(3)),
            "it refuses" => bench.answer_on(upstream, "-NOPERM no"),
            _ => {
                bench.worker.client_lost(client, bench.now);
                bench.turn();
                bench.serve_upstream(1);
                continue;
            }
        }
        assert_eq!(bench.got(client), push(&format!("unsubscribe {name} :0")), "{what}");
    }
}

#[test]
fn who_unsubscribes_behind_nothing_does_not_wait() {
    let (mut bench, client, name) = subscribed();
    bench.send(client, "UNSUBSCRIBE");
    assert_eq!(bench.got(client), told(&format!("unsubscribe {name} :0")));
}
