//! A slot goes over to another node, and both are there: nothing of its channels is lost.

use super::*;

/// A client that is subscribed to a channel of the first node, whose slot goes over to the second,
/// which has confirmed the subscription.
fn moving() -> (Bench, u32, String) {
    let (mut bench, client, a) = subscribed();
    move_to_second(&mut bench, &a);
    (bench, client, a)
}

fn move_to_second(bench: &mut Bench, a: &str) {
    let slot = Slot::of_key(a.as_bytes()).index() as u16;
    let (rest, more) = (&[(0, slot - 1)], &[(slot, 10922)]);
    bench.topology(topology(2, &[(1, rest), (2, more), (3, &[(10923, 16383)])]));
    assert_eq!(bench.at(2), [format!("SUBSCRIBE {a}")]);
    bench.serve_upstream(2);
}

fn publish(bench: &mut Bench, port: u16, channel: &str, messages: &[&str]) {
    for message in messages {
        bench.publish(port, &format!("message {channel} {message}"));
    }
}

fn messages(channel: &str, messages: &[&str]) -> String {
    messages.iter().map(|message| told(&format!("message {channel} {message}"))).collect()
}

#[test]
fn what_was_published_before_the_new_node_was_subscribed_at_comes_by_the_old_one() {
    let (mut bench, client, a) = moving();
    // One was published there before, two after.
    publish(&mut bench, 2, &a, &["b", "c"]);
    assert_eq!(bench.got(client), "", "the old node may still have something to tell");
    publish(&mut bench, 1, &a, &["a", "b"]);
    assert_eq!(bench.got(client), messages(&a, &["a", "b"]));
    assert!(bench.at(1).is_empty(), "it is not left yet");
    bench.advance(MS * 600);
    assert_eq!(bench.got(client), messages(&a, &["c"]), "what only the new node has told");
    assert_eq!(bench.at(1), [format!("UNSUBSCRIBE {a}")]);
    publish(&mut bench, 1, &a, &["c"]);
    publish(&mut bench, 2, &a, &["d"]);
    assert_eq!(bench.got(client), messages(&a, &["d"]));
    assert_eq!(gaps(&bench), 0);
}

#[test]
fn whichever_of_both_tells_first_each_message_comes_once() {
    let (mut bench, client, a) = moving();
    publish(&mut bench, 1, &a, &["x", "x", "y"]);
    publish(&mut bench, 2, &a, &["x", "x", "x", "y"]);
    assert_eq!(bench.got(client), messages(&a, &["x", "x", "y"]));
    publish(&mut bench, 1, &a, &["x"]);
    assert_eq!(bench.got(client), messages(&a, &["x"]));
    // The old node was the first with this one, the new one tells it after the overlap.
    bench.advance(MS * 450);
    publish(&mut bench, 1, &a, &["z"]);
    bench.advance(MS * 70);
    publish(&mut bench, 2, &a, &["z", "z"]);
    assert_eq!(bench.got(client), messages(&a, &["z", "z"]));
}

/// Wake-ups are all the same: none may be taken for another one.
#[test]
fn a_text_that_is_said_again_and_again_does_not_stop() {
    let (mut bench, client, a) = subscribed();
    let tick = |bench: &mut Bench, ports: &[u16], count| {
        for _ in 0..count {
            ports.iter().for_each(|&port| publish(bench, port, &a, &["tick"]));
            bench.advance(MS * 10);
        }
    };
    let ticks = |count| messages(&a, &vec!["tick"; count]);
    tick(&mut bench, &[1], 100);
    assert_eq!(bench.got(client), ticks(100));
    move_to_second(&mut bench, &a);
    tick(&mut bench, &[2, 1], 30);
    tick(&mut bench, &[1, 2], 15);
    assert_eq!(bench.got(client), ticks(45));
    bench.advance(MS * 100);
    assert_eq!(bench.got(client), "", "nothing was kept that the old node has told");
    tick(&mut bench, &[2], 30);
    assert_eq!(bench.got(client), ticks(30));
    assert_eq!(gaps(&bench), 0);
}

/// Nodes of different shards tell one another nothing of shard channels.
#[test]
fn a_shard_channel_goes_over_without_a_pause() {
    let mut bench = Bench::new();
    let (client, a) = (bench.client(), key_of(1, 0));
    bench.send(client, &format!("SSUBSCRIBE {a}"));
    bench.serve_upstream(1);
    bench.got(client);
    let say = |bench: &mut Bench, port, text: &str| {
        bench.publish(port, &format!("smessage {a} {text}"));
    };
    say(&mut bench, 1, "once");
    bench.got(client);
    let slot = Slot::of_key(a.as_bytes()).index() as u16;
    let (rest, more) = (&[(0, slot - 1)], &[(slot, 10922)]);
    bench.topology(topology(2, &[(1, rest), (2, more), (3, &[(10923, 16383)])]));
    bench.serve_upstream(2);
    say(&mut bench, 2, "once");
    assert_eq!(bench.got(client), told(&format!("smessage {a} once")), "it is another message");
}

#[test]
fn a_node_that_is_lost_meanwhile_stops_nothing() {
    let (mut bench, client, a) = moving();
    publish(&mut bench, 2, &a, &["b"]);
    bench.kill(1, true);
    assert_eq!(bench.got(client), messages(&a, &["b"]));
    publish(&mut bench, 2, &a, &["c"]);
    assert_eq!(bench.got(client), messages(&a, &["c"]));
    assert_eq!(gaps(&bench), 1, "it may have had something to tell");

    let (mut bench, client, a) = moving();
    publish(&mut bench, 2, &a, &["b"]);
    bench.kill(2, true);
    publish(&mut bench, 1, &a, &["a", "b"]);
    assert_eq!((bench.got(client), gaps(&bench)), (messages(&a, &["a", "b"]), 0));
}

#[test]
fn a_node_that_says_nothing_any_more_is_counted_as_a_gap() {
    let (mut bench, client, a) = subscribed();
    let silent = bench.upstream(1);
    bench.advance(MS * 1100);
    bench.worker.housekeeping(bench.now);
    bench.turn();
    assert_eq!(bench.wires[&silent].requests, ["PING"]);
    move_to_second(&mut bench, &a);
    bench.advance(MS * 600);
    publish(&mut bench, 2, &a, &["a"]);
    assert_eq!((bench.got(client), gaps(&bench)), (messages(&a, &["a"]), 1));
}

#[test]
fn a_slot_that_comes_back_meanwhile_stays_where_it_is_heard() {
    let (mut bench, client, a) = moving();
    publish(&mut bench, 2, &a, &["b"]);
    let own = [&[(0, 5460)], &[(5461, 10922)], &[(10923, 16383)]];
    bench.topology(topology(3, &[(1, own[0]), (2, own[1]), (3, own[2])]));
    assert_eq!(bench.at(2), [format!("UNSUBSCRIBE {a}")]);
    publish(&mut bench, 1, &a, &["a", "b"]);
    bench.advance(MS * 600);
    publish(&mut bench, 1, &a, &["c"]);
    assert_eq!(bench.got(client), messages(&a, &["a", "b", "c"]));
}

#[test]
fn a_node_that_was_forgotten_is_not_waited_for() {
    let (mut bench, client, a) = moving();
    publish(&mut bench, 2, &a, &["b"]);
    bench.topology(topology(3, &[(2, &[(0, 10922)]), (3, &[(10923, 16383)])]));
    assert_eq!(bench.got(client), messages(&a, &["b"]));
}

#[test]
fn what_is_kept_meanwhile_is_bounded() {
    let (mut bench, client, a) = moving();
    let text = "x".repeat(settings().output_pause / 4);
    for n in 0..3 {
        publish(&mut bench, 2, &a, &[&format!("{n}{text}")]);
    }
    assert_eq!(bench.got(client), "");
    publish(&mut bench, 2, &a, &[&format!("3{text}")]);
    assert!(bench.got(client).contains(&format!("3{text}")), "the new node has taken over");
    assert_eq!((bench.got(client), gaps(&bench)), (String::new(), 0));
}

#[test]
fn what_is_kept_for_all_channels_is_bounded_too() {
    let mut bench = Bench::new();
    let client = bench.client();
    let text = "x".repeat(settings().output_pause - 1000);
    let channels: Vec<String> =
        (0..=settings().output_max / text.len()).map(|n| key_of(1, n)).collect();
    bench.send(client, &format!("SUBSCRIBE {}", channels.join(" ")));
    bench.serve_upstream(1);
    bench.got(client);
    bench.topology(topology(2, &[(1, &[(0, 0)]), (2, &[(1, 10922)]), (3, &[(10923, 16383)])]));
    bench.serve_upstream(2);
    let (last, others) = channels.split_last().unwrap();
    for channel in others {
        publish(&mut bench, 2, channel, &[&text]);
    }
    assert_eq!(bench.got(client), "");
    publish(&mut bench, 2, last, &[&text]);
    assert_eq!(bench.got(client), messages(last, &[&text]), "the new node has taken over");
    bench.advance(MS * 600);
    assert_eq!(bench.worker.pubsub.kept_bytes, 0);
}
