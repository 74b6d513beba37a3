//! Commands that the table lacks: servers tell of them (`COMMAND`), modules' and those of versions
//! newer than this code.
//!
//! They are learned once, for the life of the process: a row that was made is never changed or
//! freed, which is why requests can point to it. There are at most [`ROWS_MAX`]. What would hold up
//! or change a connection that others use is not learned: it stays unknown.

use std::sync::{LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::blocking::TimeoutAt;
use super::class::{Class, Shift};
use super::flags::Flags;
use super::handling::{Handling, Reason};
use super::keys::Keys;
use super::lookup;
use super::policy::{RequestPolicy, ResponsePolicy};
use super::refusal::Refusal;
use super::row::{CommandId, Row, Since};
use super::specs::{Begin, Find, KeySpec};
use super::table;
use crate::resp::Args;

/// Most commands and subcommands that are learned.
pub const ROWS_MAX: usize = 4096;

/// Names longer than this are not learned.
const NAME_MAX: usize = 64;

/// What a server tells of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Of a subcommand both words, as `config|set`.
    pub name: String,
    /// As in [`Row::arity`].
    pub arity: i64,
    /// Their names.
    pub flags: Vec<String>,
    /// The first key, the last, and the step: all that servers before 7.0 tell.
    pub legacy: [i64; 3],
    /// `request_policy:…`, `response_policy:…` and others.
    pub tips: Vec<String>,
    /// Where its keys are.
    pub specs: Vec<KeySpec>,
    /// Its subcommands.
    pub subcommands: Vec<Told>,
}

/// All that was learned.
#[derive(Clone, Debug, Default)]
struct Learned {
    rows: Vec<&'static Row>,
    by_name: HashMap<&'static [u8], &'static Row>,
}

static LEARNED: LazyLock<ArcSwap<Learned>> = LazyLock::new(ArcSwap::default);

/// Learns what is not known yet of these commands. Returns the names.
pub fn learn(told: &[Told]) -> Vec<&'static str> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut learned = Learned::clone(&LEARNED.load());
    let mut names = Vec::new();
    for told in told.iter().flat_map(|told| std::iter::once(told).chain(&told.subcommands)) {
        let name = told.name.to_ascii_lowercase();
        let is_known = learned.by_name.contains_key(name.as_bytes())
            || table::rows().any(|row| row.name == name);
        if is_known || learned.rows.len() >= ROWS_MAX || !is_name(&name) {
            continue;
        }
        let id = CommandId((table::COUNT + learned.rows.len()) as u16);
        let Some(row) = row_of(told, name, id) else { continue };
        let row: &'static Row = Box::leak(Box::new(row));
        learned.rows.push(row);
        learned.by_name.insert(row.name.as_bytes(), row);
        names.push(row.name);
    }
    if !names.is_empty() {
        LEARNED.store(learned.into());
    }
    names
}

/// The learned rows, subcommands too, in the order in which they were learned.
pub fn learned() -> Vec<&'static Row> {
    LEARNED.load().rows.clone()
}

/// The row with this identity, which is beyond the table's.
pub(super) fn by_id(id: CommandId) -> &'static Row {
    // An identity is made with its row and outlives nothing of it.
    LEARNED.load().rows.get(id.index() - table::COUNT).copied().unwrap_or(&table::ROWS[0])
}

/// As [`resolve`](super::resolve), of a name that the table lacks.
#[cold]
pub(super) fn resolve(args: &Args<'_>) -> Result<&'static Row, Refusal> {
    let row = find(args.name(), b"").ok_or(Refusal::Unknown)?;
    let row = if row.is_family() { lookup::member(row, args)? } else { row };
    if row.takes(args.len()) { Ok(row) } else { Err(Refusal::WrongArity(row)) }
}

/// The subcommand of a family that the table lacks.
#[cold]
pub(super) fn member(family: &Row, word: &[u8]) -> Option<&'static Row> {
    find(family.name.as_bytes(), word)
}

fn find(name: &[u8], subcommand: &[u8]) -> Option<&'static Row> {
    let learned = LEARNED.load();
    if learned.rows.is_empty() || name.len() + subcommand.len() > 2 * NAME_MAX {
        return None;
    }
    let mut whole: SmallVec<[u8; 2 * NAME_MAX + 1]> = SmallVec::from_slice(name);
    if !subcommand.is_empty() {
        whole.push(b'|');
        whole.extend_from_slice(subcommand);
    } else if name.contains(&b'|') {
        return None; // no client names a subcommand so
    }
    whole.make_ascii_lowercase();
    learned.by_name.get(&whole[..]).copied()
}

/// One word, or two with a bar between them, that can stand in an error.
fn is_name(name: &str) -> bool {
    let words: Vec<&str> = name.split('|').collect();
    let is_word = |word: &&str| {
        !word.is_empty() && word.len() <= NAME_MAX && word.bytes().all(|b| b.is_ascii_graphic())
    };
    words.len() <= 2 && words.iter().all(is_word)
}

/// The row for what a server tells of a command that the table lacks; `None` if it would hold up or
/// change a connection that others use, or is for operators, or has no single node to go to.
pub fn row_of(told: &Told, name: String, id: CommandId) -> Option<Row> {
    let flags = flags_of(told);
    let has = |flag| flags.contains(flag);
    let family = name.split_once('|').map_or("", |(family, _)| family);
    let harms = [Flags::PUBSUB, Flags::ADMIN, Flags::NO_AUTH, Flags::NO_MULTI].into_iter().any(has)
        || has(Flags::ASKING)
        || ["client", "cluster", "config", "acl", "debug", "proxy"].contains(&family);
    if harms {
        return None;
    }
    let is_family = !told.subcommands.is_empty();
    let keys = if is_family { Keys::None } else { keys_of(told, flags) };
    let (request_policy, response_policy) = policies(told);
    let merges = response_policy != ResponsePolicy::Special;
    let handling = match request_policy {
        _ if is_family => Handling::Refused(Reason::Family),
        _ if keys != Keys::None => Handling::Routed,
        RequestPolicy::AllNodes if merges => Handling::Nodes,
        RequestPolicy::AllShards if merges => Handling::Shards,
        RequestPolicy::Default => Handling::AnyNode,
        _ => return None,
    };
    let beyond = table::COUNT as u16;
    Some(Row {
        name: name.leak(),
        id,
        arity: i16::try_from(told.arity).ok().filter(|arity| *arity != 0).unwrap_or(-1),
        flags,
        keys,
        class: match () {
            () if has(Flags::BLOCKING) => Class::B,
            () if has(Flags::READONLY) && !has(Flags::WRITE) => Class::R,
            () => Class::N,
        },
        request_policy,
        response_policy,
        handling,
        since: Since { redis: Some((0, 0)), redis_before: None, valkey: Some((0, 0)) },
        category: "",
        timeout: TimeoutAt::Nowhere,
        shift: Shift::Never,
        members: if is_family { (beyond, beyond + 1) } else { (0, 0) },
    })
}

fn flags_of(told: &Told) -> Flags {
    let is = |name: &str| told.flags.iter().any(|flag| flag == name);
    let named = Flags::NAMED.iter().filter(|(name, _)| is(name));
    let mut bits = named.fold(0, |bits, (_, flag)| bits | flag.bits());
    if told.specs.iter().any(|spec| spec.not_key) {
        bits |= Flags::NOT_KEY.bits();
    }
    // As EVAL and FCALL are.
    if is("noscript") && is("movablekeys") {
        bits |= Flags::RUNS_CODE.bits();
    }
    Flags::from_bits(bits)
}

fn policies(told: &Told) -> (RequestPolicy, ResponsePolicy) {
    let tip =
        |name: &str| told.tips.iter().find_map(|tip| tip.strip_prefix(name)).unwrap_or_default();
    let request = match tip("request_policy:") {
        "all_nodes" => RequestPolicy::AllNodes,
        "all_shards" => RequestPolicy::AllShards,
        "multi_shard" => RequestPolicy::MultiShard,
        "" => RequestPolicy::Default,
        _ => RequestPolicy::Special,
    };
    let response = match tip("response_policy:") {
        "one_succeeded" => ResponsePolicy::OneSucceeded,
        "all_succeeded" => ResponsePolicy::AllSucceeded,
        "agg_sum" => ResponsePolicy::AggSum,
        "agg_min" => ResponsePolicy::AggMin,
        "agg_max" => ResponsePolicy::AggMax,
        "agg_logical_and" => ResponsePolicy::AggLogicalAnd,
        "agg_logical_or" => ResponsePolicy::AggLogicalOr,
        "" => ResponsePolicy::Default,
        _ => ResponsePolicy::Special,
    };
    (request, response)
}

/// Where the keys are: as a shape of the table's, by the specs, or as the node says each time.
fn keys_of(told: &Told, flags: Flags) -> Keys {
    let small = |number: i64| u8::try_from(number).ok();
    match told.specs.as_slice() {
        [] if flags.contains(Flags::MOVABLEKEYS) => Keys::Asked,
        [] => match told.legacy {
            [0, ..] => Keys::None,
            [first, last, step] => {
                let last = if last < 0 { last } else { last - first };
                let find = Find::Range { last, step: step.max(1), limit: 0 };
                specs(vec![KeySpec {
                    begin: Begin::Index(first),
                    find,
                    not_key: false,
                    incomplete: false,
                }])
            }
        },
        specs if !specs.iter().all(KeySpec::tells_all) => Keys::Asked,
        [KeySpec { begin: Begin::Index(at), find: Find::Range { last: 0, .. }, .. }]
            if *at > 0 && small(*at).is_some() =>
        {
            Keys::One(small(*at).unwrap_or_default())
        }
        [
            KeySpec {
                begin: Begin::Index(at), find: Find::Range { last: -1, step, limit }, ..
            },
        ] if *limit <= 1 && *at > 0 && small(*at).is_some() && small(*step).is_some() => {
            let [first, step] = [*at, *step].map(|number| small(number).unwrap_or_default());
            Keys::Range { first, last: -1, step }
        }
        many => specs(many.to_vec()),
    }
}

fn specs(specs: Vec<KeySpec>) -> Keys {
    Keys::Specs(specs.leak())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{key_positions, resolve, row};
    use crate::resp::Span;

    fn told(name: &str, flags: &[&str], specs: Vec<KeySpec>) -> Told {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Told { name: name.into(), arity: -2, flags, specs, ..Told::default() }
    }

    fn spec(begin: Begin, find: Find) -> KeySpec {
        KeySpec { begin, find, not_key: false, incomplete: false }
    }

    fn with_args<T>(request: &str, read: impl FnOnce(&Args<'_>) -> T) -> T {
        let mut spans = Vec::new();
        let mut start = 0;
        for word in request.split(' ') {
            spans.push(Span { start, end: start + word.len() as u32 });
            start += word.len() as u32 + 1;
        }
        read(&Args::new(request.as_bytes(), &spans))
    }

    fn keys(row: &Row, request: &str) -> String {
        with_args(request, |args| {
            let mut found = Vec::new();
            key_positions(row, args, |at| found.push(args.get(at).unwrap()));
            String::from_utf8(found.join(&b' ')).unwrap()
        })
    }

    #[test]
    fn keys_are_where_the_specs_say() {
        let range = |last, step, limit| Find::Range { last, step, limit };
        let word = |word: &str, from| Begin::Word(word.into(), from);
        let counted = Find::Counted { count: 0, first: 1, step: 1 };
        for (specs, shape, cases) in [
            (vec![spec(Begin::Index(2), range(0, 1, 0))], "One", &[("x a k b", "k")][..]),
            (vec![spec(Begin::Index(1), range(-1, 2, 0))], "Range", &[("x a 1 b 2", "a b")]),
            (
                vec![spec(Begin::Index(1), range(-2, 1, 0))],
                "Specs",
                &[("x a b 7", "a b"), ("x a", ""), ("x", "")],
            ),
            (vec![spec(Begin::Index(1), range(1, 1, 0))], "Specs", &[("x a b c", "a b")]),
            (
                vec![spec(Begin::Index(2), counted)],
                "Specs",
                &[("x f 2 a b c", "a b"), ("x f 3 a b", ""), ("x f -1 a", ""), ("x f q a", "")],
            ),
            (
                vec![spec(Begin::Index(1), range(0, 1, 0)), spec(Begin::Index(2), counted)],
                "Specs",
                &[("x d 1 a b", "d a"), ("x d 9 a b", "")],
            ),
            (
                vec![spec(word("STREAMS", 1), range(-1, 1, 2))],
                "Specs",
                &[("x COUNT 1 streams a b 0 0", "a b"), ("x a b", "")],
            ),
            (
                vec![
                    spec(Begin::Index(1), range(0, 1, 0)),
                    spec(word("KEYS", -2), range(-1, 1, 0)),
                ],
                "Specs",
                &[("x a KEYS b c", "a b c"), ("x a b", "a")],
            ),
            (vec![spec(Begin::Unknown, Find::Unknown)], "Asked", &[]),
        ] {
            let row = row_of(&told("x", &["write"], specs), "x".into(), CommandId(0)).unwrap();
            assert!(format!("{:?}", row.keys).starts_with(shape), "{:?}", row.keys);
            assert_eq!(row.handling, Handling::Routed);
            for (request, expected) in cases {
                assert_eq!(keys(&row, request), *expected, "{request}: {:?}", row.keys);
            }
        }
        // All that servers before 7.0 tell.
        let old = Told { legacy: [1, -1, 2], ..told("x", &["readonly"], Vec::new()) };
        let row = row_of(&old, "x".into(), CommandId(0)).unwrap();
        assert_eq!((keys(&row, "x a 1 b 2").as_str(), row.class), ("a b", Class::R));
        let movable = Told { legacy: [1, 1, 1], ..told("x", &["movablekeys"], Vec::new()) };
        let row = row_of(&movable, "x".into(), CommandId(0)).unwrap();
        assert_eq!((row.keys, row.class), (Keys::Asked, Class::N));
    }

    #[test]
    fn a_learned_command_is_found_in_any_case_and_only_once_learned() {
        let find =
            |request: &str| with_args(request, |args| resolve(args).map(|row| row.name).ok());
        let one = || vec![spec(Begin::Index(1), Find::Range { last: 0, step: 1, limit: 0 })];
        assert_eq!(find("LEARN.one a"), None);
        let family = Told {
            subcommands: vec![told("learn.family|get", &["readonly"], one())],
            ..told("learn.family", &[], Vec::new())
        };
        let object = Told {
            subcommands: vec![told("object|learned", &["readonly"], one())],
            ..told("object", &[], Vec::new())
        };
        let all = [
            told("LEARN.One", &["write", "module"], one()),
            family,
            object,
            told("get", &[], one()),
        ];
        let names = ["learn.one", "learn.family", "learn.family|get", "object|learned"];
        assert_eq!(learn(&all), names);
        assert!(learn(&all).is_empty(), "known by now");
        for (request, expected) in [
            ("LEARN.one a", Some("learn.one")),
            ("learn.one", None),
            ("Learn.Family GET a", Some("learn.family|get")),
            ("learn.family nope a", None),
            ("learn.family|get a", None),
            ("OBJECT learned a", Some("object|learned")),
            ("OBJECT nope a", None),
            ("get a", Some("get")),
        ] {
            assert_eq!(find(request), expected, "{request}");
        }
        let learned = with_args("learn.one a", |args| resolve(args).unwrap());
        assert!(learned.may_forge_errors() && learned.id.index() >= CommandId::COUNT);
        assert_eq!(row(learned.id).name, "learn.one");
    }

    #[test]
    fn what_would_harm_others_is_not_learned() {
        let row = |name: &str, flags: &[&str], tips: &[&str]| {
            let tips = tips.iter().map(|tip| (*tip).to_owned()).collect();
            let told = Told { tips, ..told(name, flags, Vec::new()) };
            row_of(&told, name.into(), CommandId(0)).map(|row| row.handling)
        };
        for flag in ["pubsub", "admin", "no_auth", "no_multi", "asking"] {
            assert_eq!(row("x", &[flag], &[]), None, "{flag}");
        }
        for name in ["client|x", "cluster|x", "config|x", "acl|x"] {
            assert_eq!(row(name, &[], &[]), None, "{name}");
        }
        assert_eq!(row("x", &[], &["request_policy:special"]), None);
        assert_eq!(row("x", &[], &[]), Some(Handling::AnyNode));
        let sum = "response_policy:agg_sum";
        assert_eq!(row("x", &[], &["request_policy:all_shards", sum]), Some(Handling::Shards));
        assert_eq!(row("x", &[], &["request_policy:all_nodes", sum]), Some(Handling::Nodes));
        let special = "response_policy:special";
        assert_eq!(row("x", &[], &["request_policy:all_shards", special]), None);
        for name in ["", "a b", "a|b|c", "a|", "ü", "a\r\n", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
