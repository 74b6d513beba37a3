//! Where a command's keys are, and in which slot.
//!
//! The rules are the servers' key specs (`spec/cluster-semantics.md` §3.3), reduced to the few
//! shapes that occur. Where a server has code of its own beside the spec (SORT, GEORADIUS,
//! counts) these functions do what that code does, its oddities included, because a node decides
//! by it whether a request is its own.

use std::ops::ControlFlow::{self, Break, Continue};

use super::row::Row;
use super::specs::{self, KeySpec};
use crate::resp::Args;
use crate::slot::Slot;

/// Where the keys of a command are. Indexes count the command's name as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It has none.
    None,
    /// One, at this index.
    One(u8),
    /// From `first` to `last`, every `step`-th.
    Range {
        /// The first one's index.
        first: u8,
        /// The index behind which none is; negative counts from the end, -1 is the last argument.
        last: i8,
        /// From one to the next.
        step: u8,
    },
    /// As many as an argument says. A count that is none, or that is more than there are
    /// arguments, means no keys: the command will report it.
    Counted {
        /// Where the count stands.
        count: u8,
        /// Where the first key stands.
        first: u8,
        /// From one to the next.
        step: u8,
        /// Another key, at 1, is written to. It counts only if the count is right.
        destination: bool,
    },
    /// The first half of what follows the word STREAMS.
    Streams {
        /// Where the search for the word begins.
        from: u8,
    },
    /// SORT: the list, and the target of the last STORE.
    Sort,
    /// GEORADIUS and GEORADIUSBYMEMBER: the set, and the target of the last STORE or STOREDIST.
    GeoStore,
    /// MIGRATE: its third argument, or everything after KEYS.
    Migrate,
    /// STRALGO of Redis 6.2: the two after KEYS.
    Stralgo,
    /// DEBUG: what follows those of its words that are about keys.
    Debug,
    /// Of a learned command, as its server tells.
    Specs(&'static [KeySpec]),
    /// Of a learned command: only a node knows, by each request. None that are known here.
    Asked,
}

/// In which slots the keys of a request are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysInSlots {
    /// It has no keys: any node will do.
    None,
    /// All of them are in this slot.
    One(Slot),
    /// They are in more than one.
    Several,
    /// Only a node knows ([`Keys::Asked`]).
    Asked,
}

/// Calls `each` with the index of every argument that is routed by, in the order of the key
/// specs: keys, and also shard channels and CLUSTERSCAN's cursor (rows flagged
/// [`NOT_KEY`](super::Flags::NOT_KEY)).
#[inline]
pub fn key_positions(row: &Row, args: &Args<'_>, mut each: impl FnMut(usize)) {
    let ControlFlow::Continue(()) = visit(row.keys, args, |index| {
        each(index);
        Continue::<std::convert::Infallible>(())
    });
}

/// The slot of a request's keys. Allocates nothing; stops at the first key of a second slot.
#[inline(always)]
pub fn slot(row: &Row, args: &Args<'_>) -> KeysInSlots {
    // Nearly every request: one branch, one key.
    if let Keys::One(index) = row.keys {
        return match args.get(usize::from(index)) {
            Some(key) => KeysInSlots::One(Slot::of_key(key)),
            None => KeysInSlots::None,
        };
    }
    slot_of_many(row.keys, args)
}

fn slot_of_many(keys: Keys, args: &Args<'_>) -> KeysInSlots {
    if keys == Keys::Asked {
        return KeysInSlots::Asked;
    }
    let mut found = None;
    let end = visit(keys, args, |index| {
        let Some(key) = args.get(index) else { return Continue(()) };
        let slot = Slot::of_key(key);
        if *found.get_or_insert(slot) == slot { Continue(()) } else { Break(()) }
    });
    match (end, found) {
        (Break(()), _) => KeysInSlots::Several,
        (Continue(()), Some(slot)) => KeysInSlots::One(slot),
        (Continue(()), None) => KeysInSlots::None,
    }
}

/// Shows every position to `each` until it breaks off. All positions are below `args.len()`.
fn visit<B>(
    keys: Keys,
    args: &Args<'_>,
    mut each: impl FnMut(usize) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let len = args.len();
    match keys {
        Keys::None | Keys::Asked => Continue(()),
        Keys::Specs(specs) => specs::visit(specs, args, each),
        Keys::One(index) if usize::from(index) < len => each(index.into()),
        Keys::One(_) => Continue(()),
        Keys::Range { first, last, step } => {
            let end = match u8::try_from(last) {
                Ok(last) => usize::from(last) + 1,
                Err(_) => (len + 1).saturating_sub(last.unsigned_abs().into()),
            };
            // A range that does not fit is no range at all, as for a server.
            if end > len { Continue(()) } else { every(first.into(), end, step, each) }
        }
        Keys::Counted { count, first, step, destination } => {
            let end = end_of_counted(args, count.into(), first.into(), step.into());
            let Some(end) = end else { return Continue(()) };
            if destination {
                each(1)?;
            }
            every(first.into(), end, step, each)
        }
        Keys::Streams { from } => {
            let first = first_stream(args, from.into());
            every(first, first + (len - first) / 2, 1, each)
        }
        Keys::Sort => with_last_target(args, sort_target(args), each),
        Keys::GeoStore => with_last_target(args, geo_target(args), each),
        Keys::Migrate => {
            let (first, end) = keys_of_migrate(args);
            every(first, end.min(len), 1, each)
        }
        Keys::Stralgo => match keys_of_stralgo(args) {
            Some(first) => every(first, first + 2, 1, each),
            None => Continue(()),
        },
        Keys::Debug => every(2, end_of_debug(args), 1, each),
    }
}

fn every<B>(
    first: usize,
    end: usize,
    step: u8,
    each: impl FnMut(usize) -> ControlFlow<B>,
) -> ControlFlow<B> {
    (first..end).step_by(step.into()).try_for_each(each)
}

/// One past the last key where `count` says how many there are from `first` on, or `None` if it
/// does not say so or there are fewer.
///
/// Servers read the count strictly, and if that gives no keys once more as C's `atoi` does, which
/// decides alone then: what it makes of a strict number that is in range is that number. Only for
/// MSETEX, the one with steps of two, there is no second reading, and its last step may be cut
/// short (`MSETEX 2 a 1 b`).
fn end_of_counted(args: &Args<'_>, count: usize, first: usize, step: usize) -> Option<usize> {
    let text = args.get(count)?;
    let number = atoi(text);
    if step > 1 && itoa::Buffer::new().format(number).as_bytes() != text {
        return None;
    }
    let last =
        usize::try_from(number).ok()?.checked_sub(1)?.checked_mul(step)?.checked_add(first)?;
    (last < args.len()).then_some(last + 1)
}

/// C's `atoi` as the GNU library has it: blanks, a sign, digits, and then anything; a number
/// beyond 64 bits is the nearest of those, of which the lower 32 bits are taken.
fn atoi(text: &[u8]) -> i32 {
    let text = match text.iter().position(|b| !matches!(b, b' ' | b'\t'..=b'\r')) {
        Some(start) => &text[start..],
        None => return 0,
    };
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut value = 0i64;
    for digit in digits.iter().take_while(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0')) {
        let digit = if negative { -digit } else { digit };
        value = value.saturating_mul(10).saturating_add(digit);
    }
    value as i32
}

/// Where the streams begin whose first half are keys; the end if there are none.
fn first_stream(args: &Args<'_>, from: usize) -> usize {
    let len = args.len();
    // By the spec: behind the first such word, which is not looked for in the last argument.
    let word = (from..len.saturating_sub(1))
        .find(|&index| args.get(index).is_some_and(|arg| is_word(arg, b"STREAMS")));
    match word {
        None => len,
        Some(word) if len - word > 2 => word + 1,
        // Too close to the end: a server then reads the options one by one.
        Some(_) => match streams_option(args) {
            Some(word) if (len - word) % 2 == 1 => word + 1,
            _ => len,
        },
    }
}

/// Where STREAMS stands among options that are otherwise well-formed.
fn streams_option(args: &Args<'_>) -> Option<usize> {
    let mut index = 1;
    loop {
        let option = args.get(index)?;
        if is_word(option, b"STREAMS") {
            return Some(index);
        }
        index += match option {
            _ if is_word(option, b"BLOCK") || is_word(option, b"COUNT") => 2,
            _ if is_word(option, b"GROUP") => 3,
            _ if is_word(option, b"NOACK") => 1,
            _ => return None,
        };
    }
}

/// The key at 1, and the target behind it if there is one.
fn with_last_target<B>(
    args: &Args<'_>,
    target: Option<usize>,
    mut each: impl FnMut(usize) -> ControlFlow<B>,
) -> ControlFlow<B> {
    if args.len() > 1 {
        each(1)?;
    }
    match target {
        Some(index) => each(index),
        None => Continue(()),
    }
}

/// Where the target of SORT's last STORE stands. The servers' search does not step over a target,
/// so that a target may itself be read as an option: kept so.
fn sort_target(args: &Args<'_>) -> Option<usize> {
    let mut target = None;
    let mut index = 2;
    while let Some(option) = args.get(index) {
        if is_word(option, b"LIMIT") {
            index += 2;
        } else if is_word(option, b"GET") || is_word(option, b"BY") {
            index += 1;
        } else if is_word(option, b"STORE") && index + 1 < args.len() {
            target = Some(index + 1);
        }
        index += 1;
    }
    target
}

/// Where the target of the last STORE or STOREDIST stands. (With both, Redis and Valkey before
/// 9.1 check the slots of both targets but write to the later one only; such a node then answers
/// CROSSSLOT by itself.)
fn geo_target(args: &Args<'_>) -> Option<usize> {
    let mut target = None;
    let mut index = 5;
    while let Some(option) = args.get(index) {
        let stores = is_word(option, b"STORE") || is_word(option, b"STOREDIST");
        if stores && index + 1 < args.len() {
            index += 1;
            target = Some(index);
        }
        index += 1;
    }
    target
}

/// Where MIGRATE's keys begin and end: the third argument, or what follows KEYS. Both at once is a
/// mistake and means none.
fn keys_of_migrate(args: &Args<'_>) -> (usize, usize) {
    let mut index = 6;
    while let Some(option) = args.get(index) {
        if is_word(option, b"KEYS") && index + 1 < args.len() {
            let single = args.get(3).unwrap_or_default();
            return if single.is_empty() { (index + 1, args.len()) } else { (0, 0) };
        } else if is_word(option, b"AUTH") {
            index += 1;
        } else if is_word(option, b"AUTH2") {
            index += 2;
        }
        index += 1;
    }
    (3, 4)
}

/// Where the two keys of `STRALGO LCS KEYS a b` begin.
fn keys_of_stralgo(args: &Args<'_>) -> Option<usize> {
    for index in 1..args.len() {
        let option = args.get(index)?;
        if is_word(option, b"STRINGS") {
            return None;
        }
        if is_word(option, b"KEYS") && index + 2 < args.len() {
            return Some(index + 1);
        }
    }
    None
}

/// One past the last key of DEBUG. No server tells where it has keys.
fn end_of_debug(args: &Args<'_>) -> usize {
    const OF_ONE: [&[u8]; 6] =
        [b"OBJECT", b"LISTPACK", b"ZIPLIST", b"QUICKLIST", b"SDSLEN", b"HTSTATS-KEY"];
    let word = args.get(1).unwrap_or_default();
    if is_word(word, b"DIGEST-VALUE") {
        args.len()
    } else if OF_ONE.iter().any(|known| is_word(word, known)) {
        args.len().min(3)
    } else {
        0
    }
}

/// Whether an argument is this word (given in upper case) to a server, which compares as C does:
/// in any case, and only up to the first zero byte. `BLOCK\0x` is BLOCK to it.
pub(super) fn is_word(arg: &[u8], word: &[u8]) -> bool {
    match arg.get(..word.len()) {
        Some(start) => {
            start.eq_ignore_ascii_case(word) && matches!(arg.get(word.len()), None | Some(0))
        }
        None => false,
    }
}
