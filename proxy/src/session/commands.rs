//! COMMAND: the table as a server would tell it, without what is refused. What the table does not
//! know (DOCS, GETKEYSANDFLAGS) is a node's to answer.
//!
//! There are no tips: they tell a client in cluster mode which commands to send to every node and
//! how to add up the answers, and slotway does that itself.

use super::Answer;
use super::local::fail;
use crate::command::{Allowed, Begin, Find, Flags, Handling, Keys, Row, Version, learned, rows};
use crate::resp::{Args, write};

/// Which commands there are, for who asks.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The version of Redis that the oldest server is, or is compatible with.
    pub redis: Version,
    /// Its own version if it is a Valkey.
    pub valkey: Option<Version>,
    /// In which protocol it is told.
    pub resp3: bool,
    /// What is passed on although policy refuses it.
    pub allowed: &'a Allowed,
}

impl Offer<'_> {
    /// The commands, each family with those of its subcommands that are offered.
    fn commands(self) -> impl Iterator<Item = &'static Row> {
        all().filter(move |row| !row.name.contains('|') && self.has(row))
    }

    fn subcommands(self, row: &'static Row) -> impl Iterator<Item = &'static Row> {
        members(row).filter(move |row| self.has(row))
    }

    fn has(self, row: &Row) -> bool {
        let is_there = row.since.includes(self.redis, self.valkey) || row.since.is_ours();
        is_there
            && match row.handling {
                Handling::Refused(_) if row.is_family() => members(row).any(|row| self.has(row)),
                Handling::Refused(_) => self.allowed.contains(row),
                _ => true,
            }
    }

    /// The command or subcommand (`config|get`) with this name, in any case.
    fn find(self, name: &[u8]) -> Option<&'static Row> {
        all().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name) && self.has(row))
    }
}

/// The table, and what was learned.
fn all() -> impl Iterator<Item = &'static Row> {
    rows().chain(learned())
}

fn members(family: &Row) -> impl Iterator<Item = &'static Row> {
    let is_member = |row: &&Row| {
        let rest = row.name.strip_prefix(family.name);
        family.is_family() && rest.is_some_and(|rest| rest.starts_with('|'))
    };
    let learned = learned().into_iter().filter(is_member).collect::<Vec<_>>();
    family.subcommands().iter().chain(learned)
}

/// Answers COMMAND, COMMAND COUNT, COMMAND INFO and COMMAND LIST: appends one reply.
pub fn commands(args: &Args<'_>, offer: Offer<'_>, out: &mut Vec<u8>) -> Answer {
    match args.get(1).map(<[u8]>::to_ascii_lowercase).as_deref() {
        Some(b"count") => write::integer(out, offer.commands().count() as i64),
        Some(b"list") => return list(args, offer, out),
        Some(b"info") if args.len() > 2 => {
            write::array_header(out, args.len() - 2);
            for name in args.iter().skip(2) {
                match offer.find(name) {
                    Some(row) => record(row, offer, out),
                    None if offer.resp3 => write::null(out),
                    None => write::null_bulk(out),
                }
            }
        }
        _ => {
            write::array_header(out, offer.commands().count());
            for row in offer.commands() {
                record(row, offer, out);
            }
        }
    }
    Answer::Served
}

fn list(args: &Args<'_>, offer: Offer<'_>, out: &mut Vec<u8>) -> Answer {
    let is =
        |at: usize, word: &[u8]| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
    let value = args.get(4).unwrap_or_default();
    let passes: Box<dyn Fn(&Row) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if is(2, b"FILTERBY") && is(3, b"MODULE") => Box::new(|_| false),
        5 if is(2, b"FILTERBY") && is(3, b"ACLCAT") => {
            let wanted = value.to_ascii_lowercase();
            Box::new(move |row| {
                categories(row).iter().any(|category| category.as_bytes()[1..] == *wanted)
            })
        }
        5 if is(2, b"FILTERBY") && is(3, b"PATTERN") => {
            let pattern = value.to_ascii_lowercase();
            Box::new(move |row| matches(&pattern, row.name.as_bytes()))
        }
        _ => return fail(out, "ERR syntax error"),
    };
    let names: Vec<&str> = offer
        .commands()
        .flat_map(|row| std::iter::once(row).chain(offer.subcommands(row)))
        .filter(|row| passes(row))
        .map(|row| row.name)
        .collect();
    bulks(out, &names);
    Answer::Served
}

/// One command in ten fields, subcommands in the last.
fn record(row: &'static Row, offer: Offer<'_>, out: &mut Vec<u8>) {
    let resp3 = offer.resp3;
    write::array_header(out, 10);
    write::bulk(out, row.name);
    write::integer(out, row.arity.into());
    let flags = Flags::NAMED
        .iter()
        .filter(|(_, flag)| row.flags.contains(*flag))
        .filter(|(_, flag)| ![Flags::NOT_KEY, Flags::RUNS_CODE].contains(flag));
    simples(out, resp3, &flags.map(|(name, _)| *name).collect::<Vec<_>>());
    for number in legacy(row.keys) {
        write::integer(out, number);
    }
    simples(out, resp3, &categories(row));
    write::set_header(out, resp3, 0); // tips
    specs(row, resp3, out);
    let subcommands: Vec<&'static Row> = offer.subcommands(row).collect();
    write::set_header(out, resp3, subcommands.len());
    for row in subcommands {
        record(row, offer, out);
    }
}

fn bulks(out: &mut Vec<u8>, texts: &[&str]) {
    write::array_header(out, texts.len());
    texts_in_line(out, texts);
}

fn simples(out: &mut Vec<u8>, resp3: bool, texts: &[&str]) {
    write::set_header(out, resp3, texts.len());
    for text in texts {
        write::simple(out, text);
    }
}

/// The first key, the last and the step, where that says all or at least something.
fn legacy(keys: Keys) -> [i64; 3] {
    match keys {
        Keys::One(at) => [at.into(), at.into(), 1],
        Keys::Range { first, last, step } => [first.into(), last.into(), step.into()],
        Keys::Counted { destination: true, .. } | Keys::Sort | Keys::GeoStore => [1, 1, 1],
        Keys::Migrate => [3, 3, 1],
        Keys::None | Keys::Counted { .. } | Keys::Streams { .. } => [0, 0, 0],
        Keys::Specs(_) | Keys::Asked | Keys::Stralgo | Keys::Debug => [0, 0, 0],
    }
}

const CATEGORIES: &[&str] = &[
    "@keyspace",
    "@read",
    "@write",
    "@set",
    "@sortedset",
    "@list",
    "@hash",
    "@string",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@stream",
    "@pubsub",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
    "@scripting",
];

/// The categories of a server that follow from the flags and the group of a command.
fn categories(row: &Row) -> Vec<&'static str> {
    let has = |flag| row.flags.contains(flag);
    let mut categories = Vec::new();
    let mut add = |name, holds: bool| categories.extend(holds.then_some(name));
    add(row.category, !row.category.is_empty());
    add("@write", has(Flags::WRITE));
    add("@read", has(Flags::READONLY) && row.category != "@scripting");
    add("@admin", has(Flags::ADMIN));
    add("@dangerous", has(Flags::ADMIN));
    add("@pubsub", has(Flags::PUBSUB) && row.category != "@pubsub");
    add("@blocking", has(Flags::BLOCKING));
    add("@fast", has(Flags::FAST));
    add("@slow", !has(Flags::FAST));
    // In the order in which servers tell them.
    categories.sort_by_key(|category| CATEGORIES.iter().position(|known| known == category));
    categories
}

/// The key specs, one for each way in which keys are found.
fn specs(row: &Row, resp3: bool, out: &mut Vec<u8>) {
    let mut specs: Vec<Spec> = Vec::new();
    let index = |at: u8| Begin::Index(at.into());
    let one = |at: u8| (index(at), Find::Range { last: 0, step: 1, limit: 0 });
    match row.keys {
        Keys::None | Keys::Stralgo | Keys::Debug => {}
        Keys::Specs(told) => specs.extend(told.iter().map(|spec| (spec.begin.clone(), spec.find))),
        Keys::Asked => specs.push((Begin::Unknown, Find::Unknown)),
        Keys::One(at) => specs.push(one(at)),
        Keys::Range { first, last, step } => {
            let last = if last < 0 { last.into() } else { i64::from(last) - i64::from(first) };
            specs.push((index(first), Find::Range { last, step: step.into(), limit: 0 }));
        }
        Keys::Counted { count, first, step, destination } => {
            specs.extend(destination.then(|| one(1)));
            let first = i64::from(first) - i64::from(count);
            specs.push((index(count), Find::Counted { count: 0, first, step: step.into() }));
        }
        Keys::Streams { from } => {
            let begin = Begin::Word("STREAMS".into(), from.into());
            specs.push((begin, Find::Range { last: -1, step: 1, limit: 2 }));
        }
        // Nobody but the server knows all of these.
        Keys::Sort | Keys::GeoStore => specs.extend([one(1), (Begin::Unknown, Find::Unknown)]),
        Keys::Migrate => specs.extend([one(3), (Begin::Unknown, Find::Unknown)]),
    }
    write::set_header(out, resp3, specs.len());
    for spec in specs {
        write_spec(row, &spec, resp3, out);
    }
}

type Spec = (Begin, Find);

fn write_spec(row: &Row, (begin, find): &Spec, resp3: bool, out: &mut Vec<u8>) {
    write::map_header(out, resp3, 3);
    write::bulk(out, "flags");
    let mut flags = match row.flags.contains(Flags::READONLY) {
        true => vec!["RO", "access"],
        false => vec!["RW", "access", "update"],
    };
    flags.extend(row.flags.contains(Flags::NOT_KEY).then_some("not_key"));
    simples(out, resp3, &flags);
    write::bulk(out, "begin_search");
    match begin {
        Begin::Index(at) => part(out, resp3, "index", &[("index", *at)]),
        Begin::Word(word, from) => {
            write::map_header(out, resp3, 2);
            texts_in_line(out, &["type", "keyword", "spec"]);
            write::map_header(out, resp3, 2);
            texts_in_line(out, &["keyword", word, "startfrom"]);
            write::integer(out, *from);
        }
        Begin::Unknown => part(out, resp3, "unknown", &[]),
    }
    write::bulk(out, "find_keys");
    match find {
        Find::Range { last, step, limit } => {
            part(out, resp3, "range", &[("lastkey", *last), ("keystep", *step), ("limit", *limit)]);
        }
        Find::Counted { count, first, step } => {
            part(
                out,
                resp3,
                "keynum",
                &[("keynumidx", *count), ("firstkey", *first), ("keystep", *step)],
            );
        }
        Find::Unknown => part(out, resp3, "unknown", &[]),
    }
}

fn part(out: &mut Vec<u8>, resp3: bool, kind: &str, numbers: &[(&str, i64)]) {
    write::map_header(out, resp3, 2);
    texts_in_line(out, &["type", kind, "spec"]);
    write::map_header(out, resp3, numbers.len());
    for (name, number) in numbers {
        write::bulk(out, name);
        write::integer(out, *number);
    }
}

fn texts_in_line(out: &mut Vec<u8>, texts: &[&str]) {
    for text in texts {
        write::bulk(out, text);
    }
}

/// Whether a name matches a pattern of `*`, `?`, `[…]` and `\`, as a server's patterns go.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    // Where the last star stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, seen));
            at += 1;
            continue;
        }
        if at == pattern.len() && seen == name.len() {
            return true;
        }
        let step = name.get(seen).and_then(|byte| one_matches(&pattern[at..], *byte));
        match (step, star) {
            (Some(len), _) => {
                at += len;
                seen += 1;
            }
            (None, Some((place, taken))) if taken < name.len() => {
                star = Some((place, taken + 1));
                (at, seen) = (place + 1, taken + 1);
            }
            (None, _) => return false,
        }
    }
}

/// How long the part of the pattern is that stands for one byte, if it stands for this one.
fn one_matches(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (literal == byte).then_some(2),
        [b'[', ref rest @ ..] => {
            let end = rest.iter().position(|b| *b == b']').unwrap_or(rest.len());
            let (negated, set) = match rest[..end].strip_prefix(b"^") {
                Some(set) => (true, set),
                None => (false, &rest[..end]),
            };
            let mut holds = false;
            let mut at = 0;
            while at < set.len() {
                if set.get(at + 1) == Some(&b'-') && at + 2 < set.len() {
                    holds |= (set[at]..=set[at + 2]).contains(&byte);
                    at += 3;
                } else {
                    holds |= set[at] == byte;
                    at += 1;
                }
            }
            (holds != negated).then_some((end + 2).min(pattern.len()))
        }
        [literal, ..] => (literal == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_server_s() {
        for (pattern, name, expected) in [
            ("*", "get", true),
            ("", "get", false),
            ("get", "get", true),
            ("ge", "get", false),
            ("gett", "get", false),
            ("x*", "xinfo|help", true),
            ("*get*", "bitfield", false),
            ("*e*l*", "xinfo|help", true),
            ("?et", "set", true),
            ("[gs]et", "set", true),
            ("[^gs]et", "set", false),
            ("[a-f]et", "get", false),
            ("[a-z]et", "get", true),
            ("g\\et", "get", true),
            ("g\\*t", "get", false),
            ("*****************************z", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_offered_depends_on_versions_and_on_what_is_allowed() {
        let (none, debug) = (Allowed::default(), Allowed::new(["debug"]));
        let has = |redis, valkey, allowed, name: &str| {
            Offer { redis, valkey, resp3: false, allowed }.find(name.as_bytes()).is_some()
        };
        for name in ["get", "GET", "multi", "proxy|info", "config|help", "config", "client|kill"] {
            assert!(has((7, 0), None, &none, name), "{name}");
        }
        for name in ["monitor", "shutdown", "debug", "config|rewrite", "hgetex", "nope", ""] {
            assert!(!has((7, 0), None, &none, name), "{name}");
        }
        assert!(has((7, 0), None, &debug, "debug"));
        assert!(has((8, 0), None, &none, "hgetex"));
        assert!(has((7, 2), Some((9, 1)), &none, "clusterscan"));
        assert!(!has((7, 2), Some((8, 0)), &none, "clusterscan"));
    }
}
