//! What was handed over, what was not, and whose reply is whose.

use super::*;
use crate::node::{ClientKey, Patience};

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
