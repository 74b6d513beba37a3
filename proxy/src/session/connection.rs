//! What a client sets on its connection, and asks of it, that takes nobody else.

use std::time::Duration;

use super::local::fail;
use super::{Answer, Session};
use crate::resp::{Args, write};

/// CLIENT REPLY: from when on its client is answered.
pub(super) fn reply_mode(args: &Args<'_>, session: &mut Session, out: &mut Vec<u8>) -> Answer {
    match args.get(2).unwrap_or_default().to_ascii_lowercase().as_slice() {
        b"on" => {
            session.replies = Replies::On;
            write::simple(out, "OK");
            Answer::Served
        }
        b"off" => {
            session.replies = Replies::Off;
            Answer::Silent
        }
        b"skip" => {
            if session.replies != Replies::Off {
                session.replies = Replies::SkipNext;
            }
            Answer::Silent
        }
        _ => {
            write::error(out, "ERR syntax error");
            Answer::Failed
        }
    }
}

/// Which of its replies a client wants (CLIENT REPLY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// All.
    On,
    /// None.
    Off,
    /// All but the next.
    SkipNext,
}

pub(super) const NO_TOUCH: &str =
    "ERR slotway cannot keep its nodes from noting that a key was used";

/// What can be ON or OFF: OFF is what it is; ON is refused with these words, if there are any.
pub(super) fn switch(args: &Args<'_>, out: &mut Vec<u8>, refusal: Option<&str>) -> Answer {
    match (args.get(2).unwrap_or_default().to_ascii_lowercase().as_slice(), refusal) {
        (b"on", Some(refusal)) => fail(out, refusal),
        (b"on" | b"off", _) => {
            write::simple(out, "OK");
            Answer::Served
        }
        _ => fail(out, "ERR syntax error"),
    }
}

/// A decimal number, as a server reads one.
pub(super) fn parse_integer(digits: &[u8]) -> Option<i64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// What a server says when a subcommand has more arguments than it knows what to do with.
pub fn wrong_count(args: &Args<'_>) -> String {
    let word = |at| String::from_utf8_lossy(args.get(at).unwrap_or_default()).into_owned();
    let family = word(0).to_ascii_uppercase();
    format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {family} HELP.",
        word(1)
    )
}

pub(super) fn time(unix_time: Duration, out: &mut Vec<u8>) {
    write::array_header(out, 2);
    write::bulk(out, unix_time.as_secs().to_string());
    write::bulk(out, unix_time.subsec_micros().to_string());
}
