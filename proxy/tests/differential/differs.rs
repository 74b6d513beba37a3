//! What may differ between one server and a cluster behind slotway: all of it, with the reason.

use super::wire::{Client, Reply, Request};
use anyhow::Result;
use testbed::key_slot;

/// What differs, and why: a line for the reader of the documentation.
pub(crate) struct Differs {
    /// These commands; none: any.
    pub(crate) commands: &'static [&'static str],
    pub(crate) why: &'static str,
    how: How,
}

/// In what way it may differ.
enum How {
    /// Elements may come in any order, also within elements; or pair by pair.
    AnyOrder,
    AnyOrderWithin,
    Pairs,
    /// Elements that are the same up to their first zero byte may change places.
    Ties,
    /// The same kind and as many elements of the same kinds.
    Shape,
    /// A key, or none.
    StringOrNull,
    /// Numbers this far from one another.
    Near(i64),
    NearEach(i64),
    /// A page of a scan, and where it goes on.
    Page,
    /// Names that a stream made by the clock, and times.
    StreamTimes,
    /// A list of facts: the same names.
    Names,
    /// It is refused here, with an error in which this stands; the one server is not asked.
    Refused(&'static str),
    /// One server does not know it; slotway does, or knows how many arguments it has.
    Newer,
    /// As `Refused`, and the keys are in fact in several slots.
    CrossSlot,
}

#[rustfmt::skip] // a table
/// What a cluster behind slotway has of its own: the README lists it.
pub(crate) const OF_A_CLUSTER: &[Differs] = &[
    Differs { commands: &[], how: How::CrossSlot, why: "`CROSSSLOT` where keys are in several slots and the command cannot be split" },
    Differs { commands: &["COPY", "MOVE"], how: How::Refused("is not allowed in cluster mode"), why: "a cluster has one database" },
    Differs { commands: &["SELECT"], how: How::Refused("SELECT is not allowed in cluster mode"), why: "a cluster has one database" },
    Differs { commands: &["COPY", "MOVE", "SELECT"], how: How::Refused("DB index is out of range"), why: "a cluster has one database" },
    Differs { commands: &["SWAPDB"], how: How::Refused("SWAPDB is not allowed in cluster mode"), why: "a cluster has one database" },
    Differs { commands: &["SORT", "SORT_RO"], how: How::Refused("denied in Cluster mode"), why: "`BY` and `GET` patterns may name keys in other slots: the servers' own refusal" },
    Differs { commands: &["EVALSHA", "EVALSHA_RO"], how: How::Refused("NOSCRIPT"), why: "`EVAL` makes a script known to one node" },
    Differs { commands: &["SCRIPT EXISTS"], how: How::Shape, why: "`EVAL` makes a script known to one node" },
    Differs { commands: &["SCRIPT SHOW"], how: How::Refused("NOSCRIPT"), why: "`EVAL` makes a script known to one node" },
    Differs { commands: &["SCAN"], how: How::Refused("invalid cursor"), why: "cursors are slotway's own: what none of it made is refused" },
    Differs { commands: &["SCAN"], how: How::Page, why: "a pipeline's `SCAN` of several shards may see what was sent behind it" },
    Differs { commands: &["RANDOMKEY"], how: How::StringOrNull, why: "a pipeline's question to all shards may see what was sent behind it" },
    Differs { commands: &["MEMORY USAGE"], how: How::Shape, why: "a node in a cluster keeps more about a key" },
    Differs { commands: &["HELLO"], how: How::Names, why: "ids and versions are slotway's own" },
    Differs { commands: &["CLIENT ID"], how: How::Shape, why: "ids and versions are slotway's own" },
    Differs { commands: &["CLIENT SETNAME", "HELLO"], how: How::Refused("Client names cannot be longer than 1024 bytes"), why: "what a client has slotway remember is bounded: a name, to 1,024 bytes" },
    Differs { commands: &["CLIENT SETNAME", "HELLO"], how: How::Refused("Client names cannot contain spaces"), why: "names are looked at to their end; some servers stop at the first zero byte" },
    Differs { commands: &["CLIENT SETINFO"], how: How::Refused("LIB-NAME cannot contain spaces"), why: "names are looked at to their end; some servers stop at the first zero byte" },
    Differs { commands: &["CLIENT LIST", "CLIENT KILL"], how: How::Refused("nvalid client ID"), why: "of what is no id they say what Redis says; Valkey has other words from 8.1 on" },
    Differs { commands: &["CLIENT LIST", "CLIENT KILL"], how: How::Refused("client-id should be"), why: "of what is no id they say what Redis says; Valkey has other words from 8.1 on" },
    Differs { commands: &["CLIENT SETINFO"], how: How::Newer, why: "slotway knows it, whatever the servers are" },
    Differs { commands: &["HEXPIRE", "HPERSIST", "HTTL", "HGETEX", "HSETEX", "HGETDEL", "DELIFEQ", "MSETEX", "SCRIPT SHOW"], how: How::Newer, why: "a wrong number of arguments is told, even of a command that only newer servers know" },
    Differs { commands: &["MSETEX"], how: How::Refused("unknown command"), why: "a server that does not know the command quotes the part that it was asked for" },
    Differs { commands: &["GEORADIUS", "GEORADIUSBYMEMBER"], how: How::Refused("CROSSSLOT"), why: "without a unit it is `CROSSSLOT` where the key behind `STORE` is in another slot; servers differ in whether they see that key" },
];

#[rustfmt::skip] // a table
/// What any two servers have, and one server asked twice.
const OF_ANY_TWO: &[Differs] = &[
    Differs { commands: &["KEYS", "ACL CAT"], how: How::AnyOrder, why: "no order is promised" },
    Differs { commands: &["SMEMBERS", "SUNION", "SINTER", "SDIFF", "HKEYS", "HVALS"], how: How::AnyOrder, why: "no order is promised: it is that of a table with a random seed" },
    Differs { commands: &["HGETALL"], how: How::Pairs, why: "no order is promised: it is that of a table with a random seed" },
    Differs { commands: &["FUNCTION LIST"], how: How::AnyOrderWithin, why: "no order is promised" },
    Differs { commands: &["SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER"], how: How::Shape, why: "chosen at random" },
    Differs { commands: &["HSCAN", "SSCAN", "ZSCAN"], how: How::Page, why: "cursors and order are those of a table with a random seed" },
    Differs { commands: &["SORT", "SORT_RO"], how: How::Ties, why: "sorted by words that end at their first zero byte" },
    Differs { commands: &["DUMP"], how: How::Shape, why: "the order in it is that of a table with a random seed" },
    Differs { commands: &["TTL", "EXPIRETIME"], how: How::Near(10), why: "time goes on" },
    Differs { commands: &["OBJECT REFCOUNT"], how: How::Shape, why: "Valkey 9 counts a reply that is on its way" },
    Differs { commands: &["OBJECT IDLETIME"], how: How::Shape, why: "a small number is one object, whatever key has it: it may be older than the key" },
    Differs { commands: &["PTTL", "PEXPIRETIME"], how: How::Near(10_000), why: "time goes on" },
    Differs { commands: &["HTTL"], how: How::NearEach(10), why: "time goes on" },
    Differs { commands: &["XADD", "XRANGE", "XREVRANGE", "XREAD", "XREADGROUP", "XINFO", "XPENDING", "XCLAIM", "XAUTOCLAIM"], how: How::StreamTimes, why: "ids and times are the clock's" },
];

fn all() -> impl Iterator<Item = &'static Differs> {
    OF_A_CLUSTER.iter().chain(OF_ANY_TWO)
}

/// Why this reply of slotway stands for itself, and the one server is not asked; `None` if it is.
pub(crate) fn not_asked(
    request: &Request,
    reply: &Reply,
    server: &mut Client,
) -> Result<Option<&'static Differs>> {
    if !reply.is_error() {
        return Ok(None);
    }
    let has = |words: &str| reply.text().windows(words.len()).any(|w| w == words.as_bytes());
    for differs in all().filter(|differs| differs.concerns(request)) {
        let holds = match differs.how {
            How::Refused(words) => has(words),
            How::CrossSlot => has("CROSSSLOT Keys in") && in_several_slots(request, server)?,
            _ => false,
        };
        if holds {
            return Ok(Some(differs));
        }
    }
    Ok(None)
}

/// As the server sees it, not slotway.
fn in_several_slots(request: &Request, server: &mut Client) -> Result<bool> {
    let mut question = vec![b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
    question.extend(request.iter().cloned());
    let keys = server.ask(&question)?;
    if keys.is_error() {
        // It cannot know where the keys of a newer command are.
        return Ok(keys.text().starts_with(b"ERR Invalid command specified"));
    }
    let mut slots: Vec<u16> = keys.items.iter().map(|key| key_slot(&key.body)).collect();
    slots.sort_unstable();
    slots.dedup();
    Ok(slots.len() > 1)
}

/// The entry by which these replies are the same although they differ; `None` if they are not.
pub(crate) fn same_but_for(
    request: &Request,
    one: &Reply,
    other: &Reply,
) -> Option<&'static Differs> {
    let mut entries = all().filter(|differs| differs.concerns(request));
    entries.find(|differs| differs.how.equal(request, one, other))
}

impl Differs {
    fn concerns(&self, request: &Request) -> bool {
        self.commands.is_empty() || self.commands.iter().any(|name| is(request, name))
    }
}

/// Whether a request begins with these words.
fn is(request: &Request, name: &str) -> bool {
    let mut words = name.split(' ').enumerate();
    words.all(|(at, word)| {
        request.get(at).is_some_and(|given| given.eq_ignore_ascii_case(word.as_bytes()))
    })
}

impl How {
    fn equal(&self, request: &Request, one: &Reply, other: &Reply) -> bool {
        if let How::Newer = self {
            let is_right = other.line == b"OK";
            return one.text().starts_with(b"ERR unknown ")
                && (is_right || other.text().starts_with(b"ERR wrong number of arguments for"));
        }
        if one.is_error() || other.is_error() {
            return false;
        }
        match self {
            How::AnyOrder => sorted(one, 1) == sorted(other, 1),
            How::AnyOrderWithin => {
                let sorted = |reply: &Reply| {
                    let mut reply = reply.clone();
                    sort_within(&mut reply);
                    reply
                };
                sorted(one) == sorted(other)
            }
            How::Pairs => sorted(one, 2) == sorted(other, 2),
            How::Ties => {
                let cut = |reply: &Reply| -> Vec<Vec<u8>> {
                    let bodies = reply.items.iter().map(|item| item.body.split(|byte| *byte == 0));
                    bodies.map(|mut parts| parts.next().unwrap_or_default().to_vec()).collect()
                };
                cut(one) == cut(other) && sorted(one, 1) == sorted(other, 1)
            }
            How::Shape => shape(one) == shape(other),
            How::StringOrNull => [one, other].iter().all(|r| matches!(r.kind, b'$' | b'_')),
            How::Near(distance) => {
                one.kind == other.kind
                    && one.number().zip(other.number()).is_some_and(|(a, b)| {
                        // −1 and −2 say that there is no time at all.
                        a >= 0 && b >= 0 && a.abs_diff(b) <= distance.unsigned_abs()
                    })
            }
            How::NearEach(distance) => {
                let near =
                    |(a, b): (&Reply, &Reply)| a == b || How::Near(*distance).equal(request, a, b);
                shape(one) == shape(other) && one.items.iter().zip(&other.items).all(near)
            }
            How::Page => page_equal(request, one, other),
            How::StreamTimes => {
                let is_list_of_pending = is(request, "XPENDING") && request.len() > 3;
                let mask = |reply: &Reply| {
                    let mut reply = reply.clone();
                    for item in reply.items.iter_mut().filter(|_| is_list_of_pending) {
                        if let Some(idle) = item.items.get_mut(2) {
                            idle.line.clear();
                        }
                    }
                    without_times(&mut reply);
                    reply
                };
                mask(one) == mask(other)
            }
            How::Names => {
                let names = |reply: &Reply| -> Vec<Reply> {
                    reply.items.iter().step_by(2).cloned().collect()
                };
                one.kind == other.kind && names(one) == names(other)
            }
            How::Refused(_) | How::CrossSlot | How::Newer => false,
        }
    }
}

/// Its elements in order, `step` of them as one.
fn sorted(reply: &Reply, step: usize) -> (u8, Vec<u8>, Vec<Vec<Reply>>) {
    let mut items: Vec<Vec<Reply>> = reply.items.chunks(step).map(<[Reply]>::to_vec).collect();
    items.sort();
    (reply.kind, reply.line.clone(), items)
}

/// Kinds and counts.
fn shape(reply: &Reply) -> (u8, bool, Vec<u8>, usize) {
    let is_null = reply.line == b"-1";
    let kinds = reply.items.iter().map(|item| item.kind).collect();
    (reply.kind, is_null, kinds, reply.items.len())
}

/// A whole scan in one page has the same elements; any other is just a page.
fn page_equal(request: &Request, one: &Reply, other: &Reply) -> bool {
    let ([cursor, page], [other_cursor, other_page]) = (&one.items[..], &other.items[..]) else {
        return false;
    };
    // SCAN has its cursor elsewhere: of it, any page will do.
    let begins = request.get(2).is_some_and(|cursor| cursor == b"0");
    let whole = begins && cursor.body == b"0" && other_cursor.body == b"0";
    let same = sorted(page, 1) == sorted(other_page, 1);
    cursor.kind == other_cursor.kind && page.kind == other_page.kind && (same || !whole)
}

fn sort_within(reply: &mut Reply) {
    reply.items.iter_mut().for_each(sort_within);
    reply.items.sort();
}

/// Takes out what the clock said: ids of thirteen digits, times of as many, idle times, and the
/// size of the tree that ids make.
fn without_times(reply: &mut Reply) {
    let is_id = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits == 13 && text.get(13) == Some(&b'-')
    };
    if is_id(&reply.body) {
        *reply = Reply { body: b"<id>".to_vec(), line: b"4".to_vec(), ..reply.clone() };
    }
    if reply.kind == b':' && reply.number().is_some_and(|number| number > 1_000_000_000_000) {
        reply.line.clear();
    }
    for at in 1..reply.items.len() {
        if matches!(
            reply.items[at - 1].body.as_slice(),
            b"idle" | b"inactive" | b"radix-tree-nodes"
        ) {
            reply.items[at].line.clear();
        }
    }
    reply.items.iter_mut().for_each(without_times);
}
