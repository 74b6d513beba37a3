//! What was handed over, what was not, and whose reply is whose.

use super::*;
use crate::node::{ClientKey, Patience};
use crate::slot::Slot;

fn ticket(sequence: u32, frame: &[u8]) -> Ticket {
    let client = ClientKey { index: 0, generation: 0 };
    let command = crate::command::rows().next().unwrap().id;
    Ticket {
        sequence,
        len: frame.len() as u32,
        arrival: u64::from(sequence),
        ..Ticket::new(client, Mode::BASE, Patience::AUTO, command, Moment::default())
    }
}

fn open() -> Connection {
    let mut connection = Connection::dialing(0, Kind::Shared, Moment::default());
    connection.ready(Moment::default());
    connection
}

fn sequence(expected: Option<Expected>) -> u32 {
    match expected {
        Some(Expected::Request(ticket)) => ticket.sequence,
        other => panic!("a request was expected, not {other:?}"),
    }
}

#[test]
fn a_lost_connection_knows_to_the_byte_what_was_handed_over() {
    for handed_over in 0..=12 {
        let mut connection = open();
        for n in 0..3 {
            connection.push(ticket(n, b"four"), b"four");
        }
        connection.wrote(handed_over, Moment::default());
        let lost = connection.lose();
        let whole: Vec<bool> = lost.requests.iter().map(|(_, _, whole)| *whole).collect();
        let expected: Vec<bool> = (1..=3).map(|n| n * 4 <= handed_over).collect();
        assert_eq!(whole, expected, "{handed_over} bytes handed over");
        assert!(lost.requests.iter().all(|(_, frame, _)| frame == b"four"));
    }
}

#[test]
fn a_reply_before_the_whole_request_went_out_answers_nobody() {
    let mut connection = open();
    assert!(connection.head().is_none());
    connection.push(ticket(1, b"four"), b"four");
    connection.wrote(3, Moment::default());
    assert!(connection.head().is_none());
    connection.wrote(1, Moment::default());
    assert!(connection.head().is_some());
    assert_eq!(sequence(connection.pop()), 1);
    assert!(connection.is_idle());
}

#[test]
fn the_queue_keeps_its_bytes_through_compaction() {
    let mut connection = open();
    let frames: Vec<Vec<u8>> = (0..2000u32).map(|n| format!("{n:0100}").into_bytes()).collect();
    for (n, frame) in frames.iter().enumerate() {
        connection.push(ticket(n as u32, frame), frame);
    }
    connection.wrote(150_000, Moment::default());
    for (n, frame) in frames.iter().take(1500).enumerate() {
        assert_eq!(connection.head_frame(), frame);
        assert_eq!(sequence(connection.pop()), n as u32);
    }
    assert!(connection.head().is_none(), "the 1501st was not handed over");
    let rest = connection.output().to_vec();
    assert_eq!(rest, frames[1500..].concat());
}

#[test]
fn asking_is_adjacent_to_its_request() {
    let mut connection = open();
    connection.push(ticket(1, b"four"), b"four");
    connection.push_asking(ticket(2, b"five!"), b"five!");
    assert_eq!(connection.output(), b"four*1\r\n$6\r\nASKING\r\nfive!");
    connection.wrote(connection.output().len(), Moment::default());
    assert_eq!(sequence(connection.pop()), 1);
    assert!(matches!(connection.pop(), Some(Expected::Asking)));
    assert_eq!(connection.head_frame(), b"five!");
    assert_eq!(sequence(connection.pop()), 2);
}

#[test]
fn requests_wait_for_the_handshake() {
    let mut connection = Connection::dialing(0, Kind::Shared, Moment::default());
    connection.push(ticket(1, b"four"), b"four");
    assert!(connection.output().is_empty());
    connection.greet(None, Mode::BASE, Vec::new());
    let greeting = connection.output().len();
    assert!(connection.output().starts_with(b"*2\r\n$6\r\nCLIENT"));
    connection.wrote(greeting, Moment::default());
    assert!(connection.output().is_empty());
    connection.ready(Moment::default());
    assert_eq!(connection.output(), b"four");
    assert_eq!(connection.lose().requests.len(), 1);
}

#[test]
fn unsent_requests_are_taken_back_and_a_half_one_is_not_finished() {
    for sent in 0..=12 {
        let mut connection = open();
        for n in 0..3 {
            connection.push(ticket(n, b"four"), b"four");
        }
        connection.wrote(sent, Moment::default());
        let taken = connection.take_unsent();
        let expected: Vec<u32> = (0..3).filter(|n| (n + 1) * 4 > sent as u32).collect();
        assert_eq!(taken.iter().map(|(t, _)| t.sequence).collect::<Vec<_>>(), expected);
        assert!(taken.iter().all(|(_, frame)| frame == b"four"));
        assert!(connection.output().is_empty());
        for n in 0..3 - expected.len() as u32 {
            assert_eq!(sequence(connection.pop()), n);
        }
        assert!(connection.is_idle());
    }
}

#[test]
fn the_reply_to_an_abandoned_request_has_its_place() {
    let mut connection = open();
    for n in 0..3 {
        connection.push(ticket(n, b"four"), b"four");
    }
    connection.wrote(12, Moment::default());
    let taken = connection.abandon(|ticket| ticket.sequence == 1);
    assert_eq!(taken.len(), 1);
    assert_eq!(sequence(connection.pop()), 0);
    assert!(matches!(connection.head(), Some(Expected::Abandoned { len: 4 })));
    connection.pop();
    assert_eq!(connection.head_frame(), b"four");
    assert_eq!(sequence(connection.pop()), 2);
}

/// A connection with one request, then parts 3, 4 and 5 of another, written together.
fn open_with_run() -> Connection {
    let mut connection = open();
    connection.push(ticket(1, b"one"), b"one");
    let first = Ticket { part: 3, arrival: 10, slot: Slot::new(30), ..ticket(2, b"") };
    let pushed = connection.push_run(first, |out| {
        out.extend_from_slice(b"threefourfive!");
        let slot = |number| Slot::new(number).unwrap();
        vec![(slot(30), 5), (slot(40), 4), (slot(50), 5)]
    });
    assert_eq!(pushed, (3, 14));
    assert_eq!(connection.in_flight(), 4);
    connection
}

/// Part, number among all, slot and bytes of each.
fn told(requests: &[(Ticket, Vec<u8>)]) -> Vec<(u16, u64, u16, &str)> {
    let of = |(ticket, frame): &(Ticket, Vec<u8>)| {
        assert_eq!((ticket.sequence, ticket.len as usize), (2, frame.len()));
        (ticket.part, ticket.arrival, ticket.slot.unwrap().number())
    };
    let text = |frame| std::str::from_utf8(frame).unwrap();
    let all = requests.iter().map(|request| (of(request), text(&request.1)));
    all.map(|((part, arrival, slot), text)| (part, arrival, slot, text)).collect()
}

const PARTS: [(u16, u64, u16, &str); 3] =
    [(3, 10, 30, "three"), (4, 11, 40, "four"), (5, 12, 50, "five!")];

#[test]
fn parts_written_together_are_told_apart_when_the_connection_is_lost() {
    for handed_over in 0..=17 {
        let mut connection = open_with_run();
        connection.wrote(handed_over, Moment::default());
        let half = match handed_over {
            4..=7 => Slot::new(30),
            9..=11 => Slot::new(40),
            13..=16 => Slot::new(50),
            _ => None,
        };
        assert_eq!(connection.half_sent(), half, "{handed_over} bytes handed over");
        let mut requests = connection.lose().requests;
        assert_eq!(requests.remove(0).0.sequence, 1);
        let whole: Vec<bool> = requests.iter().map(|(_, _, whole)| *whole).collect();
        assert_eq!(whole, [8, 12, 17].map(|end| end <= handed_over));
        let requests: Vec<_> = requests.into_iter().map(|(t, frame, _)| (t, frame)).collect();
        assert_eq!(told(&requests), PARTS);
    }
}

#[test]
fn parts_written_together_leave_one_by_one() {
    let mut connection = open_with_run();
    connection.wrote(9, Moment::default());
    assert_eq!(told(&connection.take_unsent()), PARTS[1..]);
    let mut connection = open_with_run();
    connection.wrote(3, Moment::default());
    let taken = connection.call_back(|ticket| ticket.slot == Slot::new(40));
    assert_eq!(told(&taken), PARTS[1..2]);
    assert_eq!(connection.unsent(), b"threefive!");
    let mut connection = open_with_run();
    connection.wrote(17, Moment::default());
    assert_eq!(told(&connection.abandon(|ticket| ticket.part == 5)), PARTS[2..]);
    let parts: Vec<u16> = connection.tickets_mut().map(|ticket| ticket.part).collect();
    assert_eq!(parts, [crate::node::WHOLE, 3, 4]);
    assert_eq!(connection.in_flight(), 4);
}

#[test]
fn parts_written_together_are_answered_together_or_singly() {
    let mut connection = open_with_run();
    connection.wrote(12, Moment::default());
    connection.pop();
    assert!(connection.head_run().is_none(), "the last one was not handed over");
    assert!(connection.single_out());
    assert_eq!(connection.head_frame(), b"three");
    assert!(matches!(connection.pop(), Some(Expected::Request(ticket)) if ticket.part == 3));
    assert!(connection.single_out() && connection.head_frame() == b"four");
    assert!(!connection.single_out(), "it stands alone already");
    connection.wrote(5, Moment::default());
    assert!(matches!(connection.pop(), Some(Expected::Request(ticket)) if ticket.arrival == 11));
    assert_eq!(connection.head_run().map(|run| (run.left(), run.ticket().part)), Some((1, 5)));
    connection.drop_parts(1);
    assert!(connection.is_idle() && !connection.has_runs() && !connection.awaits_replies());

    let mut connection = open_with_run();
    connection.wrote(17, Moment::default());
    connection.pop();
    connection.drop_parts(2);
    assert_eq!(connection.head_frame(), b"five!");
    let run = connection.head_run().unwrap();
    assert_eq!((run.left(), run.ticket().part, run.ticket().slot), (1, 5, Slot::new(50)));
    assert!(connection.single_out() && !connection.has_runs());
}
