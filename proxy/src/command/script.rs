//! What a request has to do with a script that servers keep by its SHA1.

use super::row::Row;
use crate::resp::Args;

/// What a request has to do with a script that servers keep by its SHA1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script<'a> {
    /// It brings the body: a server keeps it from then on.
    Body(&'a [u8]),
    /// It has the script run that has this SHA1, in hexadecimal digits.
    Named(&'a [u8]),
    /// It has all scripts forgotten.
    Flush,
}

/// What this request has to do with a script.
pub fn script<'a>(row: &Row, args: &Args<'a>) -> Option<Script<'a>> {
    match row.name {
        // With a count of keys that a server refuses, it keeps nothing.
        "eval" | "eval_ro" if counts_keys(args) => args.get(1).map(Script::Body),
        "script|load" => args.get(2).map(Script::Body),
        "script|flush" => Some(Script::Flush),
        _ if names_script(row) => args.get(1).map(Script::Named),
        _ => None,
    }
}

/// Whether the third word is a number of keys that can be there.
fn counts_keys(args: &Args<'_>) -> bool {
    let count = args.get(2).and_then(|text| str::from_utf8(text).ok());
    let count = count.and_then(|text| text.parse::<usize>().ok());
    count.is_some_and(|count| count <= args.len().saturating_sub(3))
}

/// Whether this command has a script run by its SHA1.
pub fn names_script(row: &Row) -> bool {
    matches!(row.name, "evalsha" | "evalsha_ro")
}
