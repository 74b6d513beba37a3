//! The answer to COMMAND: what a server tells of its commands.

use super::reply::{Frame, array, field, integer, text};
use crate::command::{Begin, Find, KeySpec, Told};

/// Reads COMMAND, of any version from Redis 5 on. What cannot be understood is left out.
pub fn told_commands(reply: &Frame) -> Vec<Told> {
    array(reply).unwrap_or_default().iter().filter_map(told).collect()
}

fn told(record: &Frame) -> Option<Told> {
    let record = array(record)?;
    let number = |at: usize| record.get(at).and_then(integer).unwrap_or_default();
    let list = |at: usize| record.get(at).and_then(array).unwrap_or_default();
    let texts = |at| list(at).iter().filter_map(text).map(str::to_owned).collect();
    Some(Told {
        name: text(record.first()?)?.to_owned(),
        arity: number(1),
        flags: texts(2),
        legacy: [number(3), number(4), number(5)],
        tips: texts(7),
        specs: list(8).iter().map(spec).collect(),
        subcommands: list(9).iter().filter_map(told).collect(),
    })
}

/// One that cannot be understood is one of which only the server knows what it finds.
fn spec(frame: &Frame) -> KeySpec {
    let spec = array(frame).unwrap_or_default();
    let flags: Vec<&str> =
        field(spec, "flags").and_then(array).unwrap_or_default().iter().filter_map(text).collect();
    KeySpec {
        begin: part(spec, "begin_search").and_then(begin).unwrap_or(Begin::Unknown),
        find: part(spec, "find_keys").and_then(find).unwrap_or(Find::Unknown),
        not_key: flags.contains(&"not_key"),
        incomplete: flags.contains(&"incomplete"),
    }
}

/// The type of a part of a spec, and what it says.
fn part<'a>(spec: &'a [Frame], name: &str) -> Option<(&'a str, &'a [Frame])> {
    let part = array(field(spec, name)?)?;
    Some((text(field(part, "type")?)?, array(field(part, "spec")?)?))
}

fn begin((kind, says): (&str, &[Frame])) -> Option<Begin> {
    let number = |name| field(says, name).and_then(integer);
    match kind {
        "index" => Some(Begin::Index(number("index")?)),
        "keyword" => {
            Some(Begin::Word(text(field(says, "keyword")?)?.to_owned(), number("startfrom")?))
        }
        _ => None,
    }
}

fn find((kind, says): (&str, &[Frame])) -> Option<Find> {
    let number = |name| field(says, name).and_then(integer);
    match kind {
        "range" => Some(Find::Range {
            last: number("lastkey")?,
            step: number("keystep")?,
            limit: number("limit")?,
        }),
        "keynum" => Some(Find::Counted {
            count: number("keynumidx")?,
            first: number("firstkey")?,
            step: number("keystep")?,
        }),
        _ => None,
    }
}
