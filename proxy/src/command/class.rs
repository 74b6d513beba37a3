//! What a lost reply means for a command: whether it may be sent a second time.
//!
//! The classes are those of `spec/failure-masking.md` §3.

use super::flags::Flags;
use super::keys::{Keys, is_word};
use super::row::Row;
use crate::resp::Args;

/// The class of a command, which decides what is done when its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Changes nothing, so it may be asked again: flagged `readonly` and without a side effect,
    /// or without keys and only a report. What a server flags as `write` is never here, even
    /// where this use of it only reads (SORT, BITFIELD GET, GEORADIUS): a replica would not
    /// take it.
    R,
    /// The same request twice leaves the same state and gives the same reply if nobody wrote
    /// between. By name, not by reasoning: plain SET, MSET, HMSET, LSET, and TOUCH, which is
    /// flagged `readonly` but renews what it touches. (SET with EX is not plain: the second one
    /// moves the expiry.)
    I,
    /// Every other write.
    N,
    /// Holds up its connection until something happens. XREAD BLOCK is not here but in R, where
    /// the contract has it: it takes nothing away; [`blocks`] is true of it all the same.
    B,
    /// Belongs to a transaction, whose fate is decided as one.
    T,
}

/// What in the arguments changes the class of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    /// Nothing does.
    Never,
    /// More arguments than this, so that it has options.
    LongerThan(u8, Class),
    /// The BLOCK option of the stream readers.
    Block(Class),
}

/// The class of this invocation: the row's, unless its options change it.
#[inline(always)]
pub fn class(row: &Row, args: &Args<'_>) -> Class {
    match row.shift {
        Shift::Never => row.class,
        Shift::LongerThan(plain, class) if args.len() > usize::from(plain) => class,
        Shift::Block(class) if last_block_option(args).is_some() => class,
        Shift::LongerThan(..) | Shift::Block(_) => row.class,
    }
}

/// What may be sent a second time after its reply was lost, beside what only reads. An operator's
/// choice: nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryUnknown {
    /// Class I. Others may see v1, v2, v1: the second v1 comes after what they wrote between.
    pub idempotent: bool,
    /// Of class B what takes an element and puts it nowhere: BLPOP, BRPOP, BLMPOP, BZPOPMIN,
    /// BZPOPMAX, BZMPOP. The element whose reply was lost is lost, with a second one or without.
    pub blocking: bool,
}

/// Whether a request of this row and class may be sent a second time after its reply was lost.
#[inline]
pub fn repeatable(row: &Row, class: Class, retry: RetryUnknown) -> bool {
    match class {
        Class::R => true,
        Class::I => retry.idempotent,
        Class::B => retry.blocking && only_takes(row),
        Class::N | Class::T => false,
    }
}

/// Whether what it takes is put nowhere: what puts may run out of memory (`denyoom`), and what
/// XREADGROUP takes is pending then, for XAUTOCLAIM to find.
fn only_takes(row: &Row) -> bool {
    row.flags.contains(Flags::WRITE)
        && !row.flags.contains(Flags::DENYOOM)
        && !matches!(row.keys, Keys::Streams { .. })
}

/// Whether this invocation may hold up the connection it is sent on. For XREAD and XREADGROUP
/// that is so with the BLOCK option only.
#[inline]
pub fn blocks(row: &Row, args: &Args<'_>) -> bool {
    if !row.flags.contains(Flags::BLOCKING) {
        return false;
    }
    match row.keys {
        Keys::Streams { .. } => last_block_option(args).is_some(),
        _ => true,
    }
}

/// Where BLOCK stands among the options, which end at STREAMS; the last counts. Only the two names after
/// XREADGROUP's GROUP may be any word; what other options take is a number, and a server refuses
/// a word there, so that every other argument can be read as an option. To err is to answer
/// "blocks" too often: the opposite would stop a connection that others use.
pub(super) fn last_block_option(args: &Args<'_>) -> Option<usize> {
    let mut last = None;
    let names_follow_group = args.name().len() == "XREADGROUP".len();
    let mut index = 1;
    while let Some(option) = args.get(index) {
        if is_word(option, b"BLOCK") {
            last = Some(index);
        } else if is_word(option, b"STREAMS") {
            return last;
        } else if names_follow_group && is_word(option, b"GROUP") {
            index += 2;
        }
        index += 1;
    }
    last
}
