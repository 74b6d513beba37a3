//! Requests from templates: right ones, and ones that are wrong in the ways in which people are.
//!
//! A template is words: `UPPER` as it is, `<kind>` an argument of that kind, `(a|b)` one of them,
//! `[a|b]` one of them or nothing, `…*` one to four of it. Keys of one request share a hash tag,
//! nearly always; behind `~` each has its own.

use fastrand::Rng;

use super::templates::{SCRIPTS, TEMPLATES, is_left_out};
use super::wire::Request;

/// Requests that belong together: they are kept or dropped as one where a failure is shrunk.
pub(crate) type Step = Vec<Request>;

/// A string of requests, sent in batches.
pub(crate) fn sequence(rng: &mut Rng, payloads: &[Vec<u8>]) -> Vec<Vec<Step>> {
    let batches = rng.usize(2..10);
    // Whole sequences of a single family go deeper, mixed ones meet more wrong types.
    let family = rng.bool().then(|| rng.choice(TEMPLATES).expect("some"));
    // Few keys, so that there is something in them.
    let tags = [tag(rng), tag(rng), tag(rng)];
    let mut batch = |_| {
        let length = if rng.bool() { 1 } else { rng.usize(1..=50) };
        (0..length).map(|_| step(rng, family.map(|(_, lines)| *lines), tags, payloads)).collect()
    };
    (0..batches).map(&mut batch).collect()
}

fn step(
    rng: &mut Rng,
    family: Option<&'static [&'static str]>,
    tags: [&'static str; 3],
    payloads: &[Vec<u8>],
) -> Step {
    let lines = match family {
        Some(lines) if rng.u8(..10) > 0 => lines,
        _ => rng.choice(TEMPLATES).expect("some").1,
    };
    let mut line = *rng.choice(lines).expect("some");
    while is_left_out(line) {
        line = rng.choice(lines).expect("some");
    }
    let own_tags = line.starts_with('~');
    let mut writer = Writer {
        tag: tags[rng.usize(..3)],
        tags,
        own_tags: own_tags || rng.u8(..12) == 0,
        rng,
        payloads,
        request: Vec::new(),
    };
    writer.alternatives(line.trim_start_matches('~'));
    let mut request = writer.request;
    if rng.u8(..8) == 0 {
        spoil(rng, &mut request);
    }
    let name = request[0].to_ascii_uppercase();
    let mut step = vec![request];
    // What it took is a matter of chance: the rest of it goes too.
    if name == b"SPOP"
        && let Some(key) = step[0].get(1)
    {
        step.push(vec![b"DEL".to_vec(), key.clone()]);
    }
    step
}

/// A transaction, whole or not, with what a client does around it. All keys have this tag.
pub(crate) fn transaction(rng: &mut Rng, tag: &'static str, payloads: &[Vec<u8>]) -> Vec<Request> {
    let mut all = Vec::new();
    let watches = rng.bool();
    if watches {
        let mut watch = vec![b"WATCH".to_vec()];
        (0..rng.usize(1..3)).for_each(|_| watch.push(in_slot(rng, tag, payloads).1));
        all.push(watch);
    }
    (0..rng.usize(..3)).for_each(|_| all.push(in_slot(rng, tag, payloads).0));
    if watches && rng.u8(..6) == 0 {
        all.push(vec![b"UNWATCH".to_vec()]);
    }
    if rng.u8(..20) > 0 {
        all.push(vec![b"MULTI".to_vec()]);
    }
    let length = if rng.u8(..10) == 0 { rng.usize(..60) } else { rng.usize(..8) };
    for _ in 0..length {
        let wrong: &[&[&[u8]]] = &[
            &[b"NOSUCH", b"a"],
            &[b"GET"],
            &[b"SET", b"a"],
            &[b"MULTI"],
            &[b"multi", b"x"],
            &[b"WATCH", tag.as_bytes()],
            &[b"WATCH"],
            &[b"CLIENT", b"NOSUCH"],
            &[b"EXEC", b"x"],
            &[b"UNWATCH"],
            &[b"PING"],
            &[b"ECHO", b"\r\n"],
        ];
        all.push(match rng.u8(..25) {
            0 => rng.choice(wrong).expect("some").iter().map(|word| word.to_vec()).collect(),
            _ => in_slot(rng, tag, payloads).0,
        });
    }
    let end = ["EXEC", "EXEC", "EXEC", "EXEC", "EXEC", "exec", "DISCARD", "RESET"][rng.usize(..8)];
    all.push(vec![end.as_bytes().to_vec()]);
    all
}

/// A request of which all keys have this tag, and one of them. Nothing of chance, and nothing that
/// a cluster refuses.
fn in_slot(rng: &mut Rng, tag: &'static str, payloads: &[Vec<u8>]) -> (Request, Vec<u8>) {
    const NOT: &[&str] = &[
        "~",
        "SORT",
        "MOVE",
        "COPY",
        "GEORADIUS",
        "SPOP",
        "RANDMEMBER",
        "RANDFIELD",
        "DBSIZE",
        "SCAN",
        "KEYS",
        "RANDOMKEY",
        "FLUSH",
        "NOSUCH",
        "HELP",
        "XADD <stream> *",
    ];
    const FAMILIES: &[&str] = &[
        "strings",
        "many keys",
        "any key",
        "hashes",
        "lists",
        "sets",
        "sorted sets",
        "streams",
        "geo",
        "bits",
        "hyperloglog",
    ];
    loop {
        let (name, lines) = *rng.choice(TEMPLATES).expect("some");
        let line = *rng.choice(lines).expect("some");
        if !FAMILIES.contains(&name) || NOT.iter().any(|not| line.contains(not)) {
            continue;
        }
        let tags = [tag; 3];
        let mut writer =
            Writer { tag, tags, own_tags: false, rng: &mut *rng, payloads, request: Vec::new() };
        writer.alternatives(line);
        let request = writer.request;
        let is_odd = |word: &Vec<u8>| ODD_KEYS.contains(&word.as_slice());
        if let Some(key) = request.iter().find(|word| word.starts_with(tag.as_bytes()))
            && !request[1..].iter().any(is_odd)
        {
            let key = key.clone();
            return (request, key);
        }
    }
}

fn tag(rng: &mut Rng) -> &'static str {
    rng.choice(["{t}", "{t}", "{u}", "{v}", "a", "b", "c"]).expect("some")
}

struct Writer<'a> {
    rng: &'a mut Rng,
    tag: &'static str,
    tags: [&'static str; 3],
    own_tags: bool,
    payloads: &'a [Vec<u8>],
    request: Request,
}

impl Writer<'_> {
    /// One of what stands between bars, outside of brackets.
    fn alternatives(&mut self, template: &str) {
        let parts = cut(template, '|');
        let part = *self.rng.choice(&parts).expect("at least one");
        for item in cut(part, ' ') {
            self.item(item);
        }
    }

    fn item(&mut self, item: &str) {
        if let Some(item) = item.strip_suffix('*').filter(|rest| rest.ends_with([')', '>'])) {
            (0..self.rng.usize(1..=4)).for_each(|_| self.item(item));
        } else if let Some(inner) = item.strip_prefix('(').and_then(|i| i.strip_suffix(')')) {
            self.alternatives(inner);
        } else if let Some(inner) = item.strip_prefix('[').and_then(|i| i.strip_suffix(']')) {
            if self.rng.u8(..3) == 0 {
                self.alternatives(inner);
            }
        } else if let Some(kind) = item.strip_prefix('<').and_then(|i| i.strip_suffix('>')) {
            self.argument(kind);
        } else if !item.is_empty() {
            self.request.push(item.as_bytes().to_vec());
        }
    }

    fn argument(&mut self, kind: &str) {
        // `<n:set>`: how many keys, and the keys.
        if let Some(kind) = kind.strip_prefix("n:") {
            let count = self.rng.usize(1..=3);
            self.request.push(count.to_string().into_bytes());
            return (0..count).for_each(|_| self.argument(kind));
        }
        let rng = &mut *self.rng;
        let mut of = |choices: &[&str]| rng.choice(choices).map(|c| c.as_bytes().to_vec());
        let word = match kind {
            "str" | "num" | "bits" | "hll" | "list" | "set" | "ints" | "hash" | "zset" | "geo"
            | "stream" => Some(self.key(kind)),
            "any" => {
                let kind = *self.rng.choice(KINDS).expect("some");
                Some(self.key(kind))
            }
            "val" => Some(value(self.rng)),
            "int" => of(&["1", "2", "-1", "10", "-7", "1000000", "0", "9223372036854775807"]),
            "float" => of(&["1.5", "-0.25", "3", "1e2", "0", "inf", "-inf", "17.000000000000001"]),
            "index" => of(&["0", "1", "2", "3", "-1", "-2", "-100", "100"]),
            "count" => of(&["0", "1", "2", "3", "10", "100"]),
            "offset" => of(&["0", "1", "7", "8", "13", "100", "1000"]),
            // Longer than any run, or over at once: nothing expires in the middle of a run.
            "ttl" => of(&["100000", "200000", "99999999", "-1", "0"]),
            "time" => of(&["1", "4102444800", "4102444800000", "-5", "0"]),
            "bit" => of(&["0", "1", "1", "1", "2"]),
            "field" => of(&["f1", "f2", "f3", "", "\r\n", "1", "long-field-name"]),
            "member" => of(&["m1", "m2", "m3", "a", "", "\x01", "42", "m b"]),
            "number" => Some(self.rng.u8(..40).to_string().into_bytes()),
            "score" => of(&["1", "2", "2", "-1.5", "0", "inf", "-inf", "1e10", "0.1"]),
            "scores" => of(&["-inf", "+inf", "1", "(1", "2", "(2", "0"]),
            "lex" => of(&["-", "+", "[a", "(a", "[m2", "[", "(m3"]),
            "pattern" => of(&["*", "{t}*", "?str1", "*[1-2]", "\\*", "", "nosuch", "{u}*"]),
            "id" => of(&["1-1", "1-2", "2-0", "3-1", "5", "10-1", "0-0", "7-7"]),
            "ids" => of(&["-", "+", "1-1", "(1-1", "5", "0", "2"]),
            "group" => of(&["g1", "g2"]),
            "consumer" => of(&["c1", "c2"]),
            "lon" => of(&["13.361389", "15.087269", "-0.1", "0", "179"]),
            "lat" => of(&["38.115556", "37.502669", "51.5", "0", "-80"]),
            "place" => of(&["Palermo", "Catania", "p3"]),
            "enc" => of(&["u8", "i16", "u1", "i64", "u63", "i5"]),
            "text" => self.rng.choice(SCRIPTS).map(|text| text.as_bytes().to_vec()),
            "sha" => self
                .rng
                .choice(SCRIPTS)
                .map(|text| redis::Script::new(text).get_hash().as_bytes().to_vec()),
            "payload" => self.rng.choice(self.payloads).cloned(),
            other => panic!("no such kind of argument: {other}"),
        };
        self.request.push(word.expect("some"));
    }

    /// A key for values of this kind, or rarely for others.
    fn key(&mut self, kind: &str) -> Vec<u8> {
        let tag = if self.own_tags { self.tags[self.rng.usize(..3)] } else { self.tag };
        let kind = match self.rng.u8(..15) {
            0 => self.rng.choice(KINDS).expect("some"),
            _ => kind,
        };
        if self.rng.u8(..25) == 0 {
            return self.rng.choice(ODD_KEYS).expect("some").to_vec();
        }
        format!("{tag}{kind}{}", self.rng.u8(1..3)).into_bytes()
    }
}

const KINDS: &[&str] =
    &["str", "num", "bits", "hll", "list", "set", "ints", "hash", "zset", "geo", "stream"];

const ODD_KEYS: &[&[u8]] =
    &[b"", b"\r\n", b"\0", b"{", b"{}x", b"a{b}c{d}", b"{t", b"}{", b"\xff\xfe", b"{\r\n}", b"-1"];

fn value(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(..12) {
        0 => Vec::new(),
        1 => b"\r\n$-1\r\n".to_vec(),
        2 => (0..=255).rev().collect(),
        3 => vec![b'x'; 64 + rng.usize(..100)],
        4 => vec![b'y'; 20_000],
        5..=7 => rng.i32(-50..50).to_string().into_bytes(),
        _ => format!("v{}", rng.u8(..20)).into_bytes(),
    }
}

/// Makes it wrong, or at least unusual.
fn spoil(rng: &mut Rng, request: &mut Request) {
    let at = rng.usize(0..request.len());
    match rng.u8(..8) {
        0 => _ = request.pop().filter(|_| request.len() > 1),
        1 => request.push(oddity(rng)),
        2 if at > 0 => request[at] = oddity(rng),
        3 if at > 0 => request.insert(at, oddity(rng)),
        4 if at > 0 => _ = request.remove(at),
        5 if at > 0 => request.insert(at, request[at].clone()),
        6 => request[0].make_ascii_lowercase(),
        _ => {
            if let Some(last) = request.last_mut() {
                *last = oddity(rng);
            }
        }
    }
    if request.is_empty() {
        request.push(b"GET".to_vec());
    }
    // Valkey repeats an unknown argument of FUNCTION LIST as it is, which makes two replies of one.
    if request.get(1).is_some_and(|word| word == b"LIST") {
        request.iter_mut().for_each(|word| word.retain(|byte| !b"\r\n".contains(byte)));
    }
}

/// What is no number, no option or too much of it. No small number: a key must not expire soon.
fn oddity(rng: &mut Rng) -> Vec<u8> {
    let odd: &[&[u8]] = &[
        b"",
        b"abc",
        b"1.5",
        b"+5",
        b"007",
        b" 1",
        b"1 ",
        b"0x10",
        b"nan",
        b"-nan",
        b"1e400",
        b"-0",
        b"-1",
        b"9223372036854775807",
        b"9223372036854775808",
        b"-9223372036854775808",
        b"4294967296",
        b"NX",
        b"XX",
        b"COUNT",
        b"LIMIT",
        b"WITHSCORES",
        b"NOSUCH",
        b"\r\n+OK\r\n",
        b"\0",
        b"*",
        b"{t}str1",
        b"{u}set1",
        b"KEEPTTL",
        b"GET",
        b"STORE",
        b"MATCH",
        b"\xff",
    ];
    rng.choice(odd).expect("some").to_vec()
}

/// The parts of a template between marks that stand outside of all brackets.
fn cut(template: &str, mark: char) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in template.char_indices() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            c if c == mark && depth == 0 => {
                parts.push(&template[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&template[start..]);
    parts
}
