//! Each row against the record that `COMMAND` has of it.

use std::collections::{BTreeMap, BTreeSet};

use slotway::command::{
    Class, Flags, Keys, RequestPolicy, ResponsePolicy, Row, Since, Version, resolve, rows,
};

use crate::class_review;
use crate::request::Request;
use crate::server::{Product, Reply, Server};

/// What `COMMAND` says of one command.
struct Record {
    name: String,
    arity: i64,
    flags: BTreeSet<String>,
    tips: Vec<String>,
    specs: Vec<Spec>,
}

struct Spec {
    flags: BTreeSet<String>,
    begin: (String, Vec<Reply>),
    find: (String, Vec<Reply>),
}

fn records(server: &Server) -> BTreeMap<String, Record> {
    let mut records = BTreeMap::new();
    let mut rest = server.connect().ask(&["COMMAND"]).array();
    while let Some(reply) = rest.pop() {
        let fields = reply.array();
        rest.extend(fields[9].clone().array());
        let texts = |index: usize| fields[index].clone().array().into_iter().map(Reply::text);
        let record = Record {
            name: fields[0].clone().text().to_lowercase(),
            arity: fields[1].clone().integer(),
            // Valkey 8.1 renamed one.
            flags: texts(2).map(|f| f.replace("skip_slowlog", "skip_commandlog")).collect(),
            tips: texts(7).collect(),
            specs: fields[8].clone().array().into_iter().map(spec).collect(),
        };
        records.insert(record.name.clone(), record);
    }
    records
}

fn spec(reply: Reply) -> Spec {
    let fields = reply.array();
    let part = |name| {
        let part = Reply::field(&fields, name).array();
        (Reply::field(&part, "type").text(), Reply::field(&part, "spec").array())
    };
    let flags = Reply::field(&fields, "flags").array().into_iter().map(Reply::text).collect();
    Spec { flags, begin: part("begin_search"), find: part("find_keys") }
}

/// Every command that the server has, with its row. Panics if a row is missing.
fn pairs(server: &Server) -> Vec<(&'static Row, Record)> {
    let by_name: BTreeMap<_, _> = rows().map(|row| (row.name, row)).collect();
    let records = records(server).into_values();
    records
        .map(|record| match by_name.get(record.name.as_str()) {
            Some(row) => (*row, record),
            None => panic!("the server has {}, the table has not", record.name),
        })
        .collect()
}

/// A row is there exactly when the server is of a version that the row names.
#[test]
fn the_table_has_what_the_server_has_and_knows_since_when() {
    let server = Server::start();
    let (product, version) = server.version();
    let records = records(&server);
    pairs(&server);
    for row in rows() {
        assert_eq!(
            exists_in(row.since, product, version),
            records.contains_key(row.name),
            "{} in {product:?} {version:?}",
            row.name
        );
    }
}

fn exists_in(since: Since, product: Product, version: Version) -> bool {
    match product {
        Product::Redis => {
            since.redis.is_some_and(|first| first <= version)
                && since.redis_before.is_none_or(|end| version < end)
        }
        Product::Valkey => since.valkey.is_some_and(|first| first <= version),
    }
}

#[test]
fn arities_are_the_server_s_or_looser_where_versions_differ() {
    // What one version refuses another takes: ZRANK WITHSCORE, an option more, a key less.
    const LOOSER: &[&str] = &[
        "cluster|replicate",
        "command|getkeys",
        "command|getkeysandflags",
        "script|debug",
        "zrank",
        "zrevrank",
    ];
    let server = Server::start();
    for (row, record) in pairs(&server) {
        let same = i64::from(row.arity) == record.arity;
        assert!(
            same || LOOSER.contains(&row.name),
            "{}: {} here, {} there",
            row.name,
            row.arity,
            record.arity
        );
        for count in 1..12 {
            let wanted = record.arity.unsigned_abs() as usize;
            let server_takes = count == wanted || (record.arity < 0 && count > wanted);
            assert!(!server_takes || row.takes(count), "{} with {count}", row.name);
        }
    }
}

#[test]
fn flags_are_the_server_s_and_what_another_version_adds() {
    // Flags that some version sets and another does not; the row has them.
    const ADDED: &[(&str, &str)] = &[
        ("allow_busy", "client| select"),
        ("blocking", "wait"),
        ("loading", "cluster| memory|malloc-stats memory|purge"),
        ("no_multi", "client|reply multi watch"),
        ("stale", "script|exists script|flush script|show"),
    ];
    // What only Redis 7.0 sets: blocking commands in scripts, which are not what we do.
    const DROPPED: &[(&str, &str)] =
        &[("noscript", "blmove blpop brpop brpoplpush bzpopmax bzpopmin wait")];
    let listed = |list: &[(&str, &str)], flag: &str, name: &str| {
        let mut names = list.iter().filter(|(f, _)| *f == flag).flat_map(|(_, n)| n.split(' '));
        names.any(|n| n == name || (n.ends_with('|') && name.starts_with(n)))
    };
    let server = Server::start();
    for (row, record) in pairs(&server) {
        for (flag, bit) in Flags::NAMED {
            if [Flags::NOT_KEY, Flags::RUNS_CODE].contains(bit) {
                continue; // ours
            }
            match (row.flags.contains(*bit), record.flags.contains(*flag)) {
                (true, false) => {
                    assert!(listed(ADDED, flag, row.name), "{} is not {flag}", row.name);
                }
                (false, true) => {
                    assert!(listed(DROPPED, flag, row.name), "{} is {flag}", row.name);
                }
                _ => {}
            }
        }
        for flag in &record.flags {
            let known = Flags::NAMED.iter().any(|(name, _)| name == flag);
            assert!(known, "{} has a new flag {flag}", row.name);
        }
        let not_key = record.specs.iter().any(|spec| spec.flags.contains("not_key"));
        assert_eq!(row.flags.contains(Flags::NOT_KEY), not_key, "{}", row.name);
    }
}

/// Nothing that the server flags as a write is replayed as a read, and what it says may block is
/// not taken for an ordinary command, but for the named.
#[test]
fn the_reviewed_classes_agree_with_the_server_s_flags() {
    let server = Server::start();
    let records = records(&server);
    for (class, line) in class_review::lines() {
        let request = Request::new(&line.split(' ').collect::<Vec<_>>());
        let row = resolve(&request.args()).expect("it is a command");
        let Some(record) = records.get(row.name) else { continue };
        let is = |flag: &str| record.flags.contains(flag);
        let readonly = is("readonly") && row.name != "touch";
        assert!(!readonly || *class == Class::R, "{line} could be a read");
        assert!(!is("write") || *class != Class::R, "{line} writes");
        // The stream readers block with BLOCK only, and XREAD takes nothing away.
        let may_block = is("blocking") && !row.name.starts_with("xread");
        assert!(!may_block || *class == Class::B, "{line} blocks");
        assert!(*class != Class::B || is("blocking") || row.name == "wait", "{line} blocks not");
    }
}

#[test]
fn keys_are_where_the_server_s_specs_say() {
    let server = Server::start();
    for (row, record) in pairs(&server) {
        match (row.keys, rule_of(&record.specs)) {
            // Code of their own, compared in `keys.rs`.
            (Keys::Sort | Keys::GeoStore | Keys::Migrate, None) => {}
            // Which of its words have keys no server tells.
            (Keys::Debug, Some(Keys::None)) => {}
            // Its second spec finds no key but patterns that nobody routes by.
            (Keys::One(1), None) if row.name == "sort_ro" => {}
            (ours, theirs) => assert_eq!(Some(ours), theirs, "{}", row.name),
        }
    }
}

/// The row's way to write key specs, or `None` for those that it has code for.
fn rule_of(specs: &[Spec]) -> Option<Keys> {
    let number = |spec: &[Reply], name: &str| Reply::field(spec, name).integer();
    let shape = |spec: &Spec| {
        let at = match spec.begin.0.as_str() {
            "index" => number(&spec.begin.1, "index"),
            _ => return None,
        };
        match spec.find.0.as_str() {
            "range" => {
                assert_eq!(number(&spec.find.1, "limit"), 0);
                let last = number(&spec.find.1, "lastkey");
                let last = if last < 0 { last } else { at + last };
                Some(Shape::Range(at, last, number(&spec.find.1, "keystep")))
            }
            "keynum" => Some(Shape::Counted(
                at + number(&spec.find.1, "keynumidx"),
                at + number(&spec.find.1, "firstkey"),
                number(&spec.find.1, "keystep"),
            )),
            _ => None,
        }
    };
    let counted = |(count, first, step): (i64, i64, i64), destination| Keys::Counted {
        count: count as u8,
        first: first as u8,
        step: step as u8,
        destination,
    };
    let range = |first: i64, last: i64, step: i64| match last {
        _ if first == last => Keys::One(first as u8),
        _ => Keys::Range { first: first as u8, last: last as i8, step: step as u8 },
    };
    match specs {
        [] => Some(Keys::None),
        [one] if one.begin.0 == "keyword" => {
            assert_eq!(Reply::field(&one.begin.1, "keyword").text(), "STREAMS");
            assert_eq!(number(&one.find.1, "limit"), 2);
            assert_eq!(number(&one.find.1, "lastkey"), -1);
            Some(Keys::Streams { from: number(&one.begin.1, "startfrom") as u8 })
        }
        [one] => match shape(one)? {
            Shape::Range(first, last, step) => Some(range(first, last, step)),
            Shape::Counted(count, first, step) => Some(counted((count, first, step), false)),
        },
        [one, two] => match (shape(one)?, shape(two)?) {
            (Shape::Range(first, end, _), Shape::Range(next, last, step))
                if first == end && next == first + 1 =>
            {
                Some(range(first, last, step))
            }
            (Shape::Range(1, 1, _), Shape::Counted(count, first, step)) => {
                Some(counted((count, first, step), true))
            }
            _ => None,
        },
        _ => None,
    }
}

enum Shape {
    Range(i64, i64, i64),
    Counted(i64, i64, i64),
}

#[test]
fn policies_are_the_server_s_tips_but_for_the_known_mistakes() {
    // `spec/cluster-semantics.md` §4.3, by its numbers.
    const CORRECTED: &[&str] = &[
        "msetnx", // 1
        "msetex", // 2
        "ping",   // 3
        "client|setname",
        "client|setinfo",
        "config|set",
        "config|rewrite",
        "config|resetstat",
        "acl|deluser",
        "acl|load",
        "acl|log",
        "acl|save",
        "acl|setuser", // 4
        "bgrewriteaof",
        "bgsave",
        "cluster|flushslot",
        "cluster|saveconfig",
        "debug",
        "module|load",
        "module|loadex",
        "module|unload",
        "save", // as 4: an operator who is allowed to means every node
        "wait",
        "waitaof", // 5
        "script|load",
        "script|flush", // 8: EVALSHA goes to primaries, and a lost script is loaded again
        "info",
        "latency|history",
        "latency|latest", // 11
    ];
    // Redis 7.0 had other tips or none; the rows have the newer ones (13).
    const SINCE_7_2: &[&str] = &["latency|reset", "randomkey", "scan"];
    let server = Server::start();
    let old = server.version() == (Product::Redis, (7, 0));
    for (row, record) in pairs(&server) {
        if CORRECTED.contains(&row.name) || (old && SINCE_7_2.contains(&row.name)) {
            continue;
        }
        let tip = |name: &str| {
            let mut tips = record.tips.iter().filter_map(|tip| tip.strip_prefix(name));
            tips.next().unwrap_or("")
        };
        assert_eq!(request_tip(row.request_policy), tip("request_policy:"), "{}", row.name);
        assert_eq!(response_tip(row.response_policy), tip("response_policy:"), "{}", row.name);
    }
}

fn request_tip(policy: RequestPolicy) -> &'static str {
    match policy {
        RequestPolicy::Default => "",
        RequestPolicy::AllNodes => "all_nodes",
        RequestPolicy::AllShards => "all_shards",
        RequestPolicy::MultiShard => "multi_shard",
        RequestPolicy::Special => "special",
    }
}

fn response_tip(policy: ResponsePolicy) -> &'static str {
    match policy {
        ResponsePolicy::Default | ResponsePolicy::Log | ResponsePolicy::SlotStats => "",
        ResponsePolicy::OneSucceeded => "one_succeeded",
        ResponsePolicy::AllSucceeded => "all_succeeded",
        ResponsePolicy::AggSum => "agg_sum",
        ResponsePolicy::AggMin => "agg_min",
        ResponsePolicy::AggMax => "agg_max",
        ResponsePolicy::AggLogicalAnd => "agg_logical_and",
        ResponsePolicy::AggLogicalOr => "agg_logical_or",
        ResponsePolicy::AclLog | ResponsePolicy::History | ResponsePolicy::Events => "ours",
        ResponsePolicy::Running | ResponsePolicy::Special => "special",
    }
}
