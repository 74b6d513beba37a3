//! The review of `spec/failure-masking.md` §3, command by command: the class of each row of the
//! command table, first of its plain form, then of the forms of which one could think otherwise.
//! The reason stands beside it where it is not obvious. Whatever is not listed there as I is N
//! if it writes, idempotent or not.
//!
//! Families have no line: they are never resolved to. What is in no table (a module's command
//! that nobody knows) has no class, because it is refused.

mod others;
mod types;

use slotway::command::Class;

/// A class, and a request that has it.
pub(crate) type Line = (Class, &'static str);

/// All lines; those of one command follow each other.
pub(crate) fn lines() -> impl Iterator<Item = &'static Line> {
    types::LINES.iter().chain(others::LINES)
}
