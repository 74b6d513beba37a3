//! Merged replies that are large, or come when there is much to take already.

use std::time::Duration;

use super::bench::{Bench, encode, key_of};

/// What each shard's value has: more than a large reply, and two of them are below the bound.
const LEN: usize = 40_000;

fn bulk(letter: char) -> String {
    format!("${LEN}\r\n{}\r\n", letter.to_string().repeat(LEN))
}

fn mget() -> String {
    format!("MGET {} {}", key_of(1, 0), key_of(2, 0))
}

fn whole(letter: char) -> String {
    format!("*2\r\n{}{}", bulk(letter), bulk(letter))
}

/// Both shards answer the oldest request with a value of this letter. The driver does not write to
/// clients.
fn answer_unwritten(bench: &mut Bench, letter: char) {
    for port in [1, 2] {
        let wires = bench.wires_of(port);
        let wire = wires.into_iter().find(|wire| !bench.wires[wire].requests.is_empty()).unwrap();
        bench.wires.get_mut(&wire).unwrap().requests.remove(0);
        let reply = format!("*1\r\n{}", bulk(letter));
        for piece in reply.as_bytes().chunks(16_000) {
            bench.worker.node_bytes(wire, piece, bench.now);
        }
    }
    bench.worker.settle_turn();
}

fn answer(bench: &mut Bench, letter: char) {
    answer_unwritten(bench, letter);
    bench.turn();
}

fn gathered(bench: &Bench) -> usize {
    bench.worker.clients.gathers.iter().map(|(_, gather)| gather.replies.len()).sum()
}

/// A client of which it is known that its merged replies are small.
fn with_small_replies(bench: &mut Bench) -> u32 {
    let client = bench.client();
    for _ in 0..20 {
        bench.send(client, &mget());
        bench.answer(1, "*1\r\n$-1");
        bench.answer(2, "*1\r\n$-1");
    }
    bench.got(client);
    client
}

#[test]
fn before_anything_is_known_of_a_clients_merged_replies_they_are_made_one_at_a_time() {
    let mut bench = Bench::new();
    let client = bench.client();
    let requests: Vec<u8> = (0..4).flat_map(|_| encode(&mget())).collect();
    bench.send_raw(client, &requests);
    let mut expected = String::new();
    for letter in ['a', 'b', 'c', 'd'] {
        assert_eq!((bench.at(1).len(), bench.at(2).len()), (1, 1));
        answer(&mut bench, letter);
        assert!(gathered(&bench) <= 100_000);
        expected += &whole(letter);
    }
    assert!(bench.got(client) == expected);
    assert!(bench.closed.is_empty());
    assert_eq!(bench.worker.clients.gathers.len(), 0);
}

#[test]
fn if_they_are_small_more_and_more_are_made_at_once() {
    let mut bench = Bench::new();
    let client = with_small_replies(&mut bench);
    let requests: Vec<u8> = (0..10).flat_map(|_| encode(&mget())).collect();
    bench.send_raw(client, &requests);
    assert_eq!(bench.at(1).len(), 10);
    // Numbers are always small.
    let client = bench.client();
    let exists = encode(&format!("EXISTS {} {}", key_of(3, 0), key_of(2, 0)));
    bench.send_raw(client, &exists.repeat(10));
    assert_eq!(bench.at(3).len(), 10);
}

/// The story: three pipelined MGETs of 40 MB each, and the client was closed as one that does not
/// read.
#[test]
fn a_client_is_not_closed_because_several_merged_replies_come_before_it_can_have_read_the_first() {
    let mut bench = Bench::new();
    let client = with_small_replies(&mut bench);
    bench.send_raw(client, &encode(&mget()).repeat(2));
    bench.send(client, "PING");
    for letter in ['a', 'b'] {
        answer_unwritten(&mut bench, letter);
    }
    assert_eq!(gathered(&bench), whole('a').len() + whole('b').len());
    bench.turn();
    assert!(bench.closed.is_empty(), "closed as slow");
    let got = bench.got(client);
    assert!(got == format!("{}{}+PONG\r\n", whole('a'), whole('b')), "{}", got.len());
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    let session = bench.worker.clients.get(client).unwrap();
    assert_eq!((session.in_flight_bytes, session.in_flight()), (0, 0));
    // It is known by now what such a request comes to.
    bench.send_raw(client, &encode(&mget()).repeat(300));
    assert!(bench.at(1).len() < 300);
}

#[test]
fn what_one_client_has_gathered_is_bounded_and_the_newest_is_refused() {
    let mut bench = Bench::new();
    let client = with_small_replies(&mut bench);
    bench.send_raw(client, &encode(&mget()).repeat(5));
    for letter in ['a', 'b', 'c', 'd', 'e'] {
        answer_unwritten(&mut bench, letter);
        assert!(gathered(&bench) <= 200_000, "{}", gathered(&bench));
    }
    bench.turn();
    assert!(bench.closed.is_empty());
    let got = bench.got(client);
    let expected = format!("{}{}-OVERLOADED not executed: ", whole('a'), whole('b'));
    assert!(got.starts_with(&expected), "{}", got.len());
    assert_eq!(got[expected.len()..].matches("-OVERLOADED").count(), 2);
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    // From now on it has one at a time.
    bench.send_raw(client, &encode(&mget()).repeat(2));
    assert_eq!(bench.at(1).len(), 1);
}

/// The driver makes turns, in each of which the client's socket takes this much.
fn read_slowly(bench: &mut Bench, client: u32, each: usize) -> String {
    let mut got = Vec::new();
    let waits = |bench: &mut Bench| {
        let under_way = bench.worker.clients.get(client).map(|session| session.in_flight());
        under_way > Some(0) || !bench.worker.client_output(client).is_empty()
    };
    while waits(bench) {
        let (before, mut room, mut rounds) = (got.len(), each, 0);
        bench.worker.clients.mark_dirty(client); // the socket is ready to be written to
        while bench.worker.has_work() {
            rounds += 1;
            assert!(rounds < 100, "the turn does not end");
            while let Some(index) = bench.worker.take_dirty_client() {
                let output = bench.worker.client_output(index);
                assert!(output.len() <= 40_000, "{}", output.len());
                let len = output.len().min(room);
                got.extend_from_slice(&output[..len]);
                room -= len;
                if !output.is_empty() {
                    bench.worker.client_wrote(index, len, bench.now);
                }
                rounds += 1;
                assert!(rounds < 100, "the turn does not end");
            }
            bench.worker.settle_turn();
        }
        assert!(got.len() > before, "nothing comes any more");
    }
    String::from_utf8(got).unwrap()
}

#[test]
fn a_client_that_reads_slowly_gets_merged_replies_in_pieces() {
    let mut bench = Bench::new();
    let client = with_small_replies(&mut bench);
    bench.send_raw(client, &encode(&mget()).repeat(2));
    bench.send(client, "PING");
    answer_unwritten(&mut bench, 'a');
    answer_unwritten(&mut bench, 'b');
    let got = read_slowly(&mut bench, client, 3_000);
    assert!(got == format!("{}{}+PONG\r\n", whole('a'), whole('b')), "{}", got.len());
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    assert!(bench.closed.is_empty());
}

#[test]
fn a_merged_reply_waits_for_its_turn_behind_any_other() {
    let mut bench = Bench::new();
    let client = with_small_replies(&mut bench);
    let slow = key_of(3, 0);
    for request in [&format!("GET {slow}"), &mget(), &mget(), &format!("GET {slow}")] {
        bench.send(client, request);
    }
    answer(&mut bench, 'a');
    answer(&mut bench, 'b');
    assert_eq!(bench.got(client), "");
    bench.answer(3, "$1\r\n1");
    let got = bench.got(client);
    assert!(got == format!("$1\r\n1\r\n{}{}", whole('a'), whole('b')), "{}", got.len());
    bench.answer(3, "$1\r\n2");
    assert_eq!(bench.got(client), "$1\r\n2\r\n");
    assert!(bench.closed.is_empty());
}

#[test]
fn one_that_is_not_wanted_is_passed_over() {
    let mut bench = Bench::new();
    let client = with_small_replies(&mut bench);
    let slow = key_of(3, 0);
    bench.send(client, &format!("GET {slow}"));
    bench.send(client, "CLIENT REPLY SKIP");
    bench.send(client, &mget());
    bench.send(client, "PING");
    answer(&mut bench, 'a');
    bench.answer(3, "$1\r\n1");
    assert_eq!(bench.got(client), "$1\r\n1\r\n+PONG\r\n");
    assert_eq!(bench.worker.clients.gathers.len(), 0);
    // One that is wanted behind one that is not.
    bench.send(client, "CLIENT REPLY SKIP");
    bench.send(client, &format!("GET {slow}"));
    bench.send(client, &mget());
    answer(&mut bench, 'b');
    bench.answer(3, "$1\r\n1");
    assert!(bench.got(client) == whole('b'));
}

#[test]
fn the_client_leaves_while_replies_wait_for_it() {
    for half in [false, true] {
        let mut bench = Bench::new();
        let client = with_small_replies(&mut bench);
        bench.send_raw(client, &encode(&mget()).repeat(2));
        answer_unwritten(&mut bench, 'a');
        if half {
            // It has sent all that it wants to send.
            bench.worker.client_ended(client, bench.now);
            bench.turn();
            assert!(bench.closed.is_empty());
            answer(&mut bench, 'b');
            assert!(bench.got(client) == whole('a') + &whole('b'));
        } else {
            bench.worker.client_lost(client, bench.now);
            bench.turn();
            answer(&mut bench, 'b');
        }
        assert_eq!(bench.closed, [client]);
        assert_eq!(bench.worker.clients.gathers.len(), 0);
        bench.advance(Duration::from_secs(1));
        let other = bench.client();
        bench.send(other, "PING");
        assert_eq!(bench.got(other), "+PONG\r\n");
    }
}
