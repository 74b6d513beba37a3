//! Keeps the floors of the house: which part of `src/` may use which, what a part must not know,
//! and that no file grows past what one sitting can take in.

#[path = "floors/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Kind, Token, matches, roots, tokens, without_tests};

/// The parts from the ground up. A part may use itself and what stands before it.
const PARTS: [&str; 18] = [
    "slot",
    "time",
    "resp",
    "metrics",
    "command",
    "topology",
    "events",
    "scripts",
    "audience",
    "routing",
    "node",
    "session",
    "worker",
    "net",
    "driver",
    "discovery",
    "server",
    "config",
];

/// Where the world outside begins: sockets, tokio, the clock.
const FIRST_OUTSIDE: &str = "net";

/// May use every part, and no part may use it: entry points for fuzzing.
const BESIDE: &str = "fuzz";

/// What must not stand in some parts, outside of their tests. A pattern is words and marks.
const MUST_NOT_KNOW: &[Rule] = &[
    Rule {
        who: is_inside,
        what: &[
            "tokio",
            "tokio_util",
            "mio",
            "socket2",
            "axum",
            "hyper",
            "hyper_util",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "ToSocketAddrs",
            "Instant::now",
            ".elapsed",
            "SystemTime",
            "std::thread",
            "thread::",
            "std::fs",
            "fs::",
        ],
        why: "only the world outside knows tokio, sockets, files, threads and the clock",
    },
    Rule {
        who: |part| part != Some("config") && part.is_some(),
        what: &[
            "clap",
            "env::var",
            "env::var_os",
            "env::vars",
            "env::vars_os",
            "env::args",
            "env::args_os",
            "env::{",
            "std::env;",
        ],
        why: "nothing but main and config reads configuration",
    },
    Rule {
        who: |part| part == Some("topology"),
        what: &["Instant", "Moment"],
        why: "the topology does not know the time",
    },
    Rule {
        who: |part| matches!(part, Some("resp" | "command" | "routing" | "session")),
        what: &["SocketAddr", "IpAddr"],
        why: "addresses appear only at the moment of sending",
    },
    Rule {
        who: |part| part == Some("routing"),
        what: &[
            "Cell",
            "RefCell",
            "OnceCell",
            "OnceLock",
            "LazyLock",
            "Mutex",
            "RwLock",
            "AtomicBool",
            "AtomicU32",
            "AtomicU64",
            "AtomicUsize",
            "thread_local",
        ],
        why: "routing keeps no state",
    },
    Rule {
        who: |part| part == Some("node"),
        what: &["Moved", "Redirect", "redirect::"],
        why: "a node connection does not know what MOVED means",
    },
    Rule {
        who: |part| part == Some("server"),
        what: &["redis_protocol"],
        why: "the server does not know RESP",
    },
];

/// Words that must not stand in a part's strings, outside of its tests.
const MUST_NOT_SAY: &[(&str, &[&str], &str)] = &[
    ("node", &["MOVED"], "a node connection does not know what MOVED means"),
    (
        "resp",
        &[
            "ASKING",
            "AUTH",
            "CLIENT",
            "CLUSTER",
            "COMMAND",
            "DEL",
            "ECHO",
            "EVAL",
            "EXEC",
            "GET",
            "HELLO",
            "INFO",
            "MGET",
            "MOVED",
            "MSET",
            "MULTI",
            "PING",
            "PUBLISH",
            "QUIT",
            "SELECT",
            "SET",
            "SUBSCRIBE",
            "WATCH",
        ],
        "the wire format does not know a command's name",
    ),
];

/// Uses that the order of the parts would allow.
const MUST_NOT_USE: &[(&str, &str, &str)] = &[("server", "resp", "the server does not know RESP")];

struct Rule {
    who: fn(Option<&str>) -> bool,
    what: &'static [&'static str],
    why: &'static str,
}

/// Everything that is wrong with a file, a line each. `file` is its path under `src/`.
fn complaints(file: &str, text: &str) -> Vec<String> {
    let all = tokens(text);
    let part = part_of(file);
    let mut found = Vec::new();
    let mut complain = |line: usize, what: String| found.push(format!("{file}:{line}: {what}"));
    if let Some(part) = part
        && part != BESIDE
    {
        for (used, line) in roots(file, &all) {
            if let Some(why) = above(part, &used) {
                complain(line, why);
            }
            for (_, _, why) in MUST_NOT_USE.iter().filter(|(a, b, _)| (*a, *b) == (part, &*used)) {
                complain(line, format!("{part} uses {used}: {why}"));
            }
        }
    }
    let production = if is_test(file) { Vec::new() } else { without_tests(&all) };
    for rule in MUST_NOT_KNOW.iter().filter(|rule| (rule.who)(part)) {
        for pattern in rule.what {
            for line in places(&production, pattern) {
                complain(line, format!("{pattern}: {}", rule.why));
            }
        }
    }
    for (_, words, why) in MUST_NOT_SAY.iter().filter(|(of, ..)| part == Some(of)) {
        for token in production.iter().filter(|token| token.kind == Kind::Text) {
            let said = token.text.split(|c: char| !c.is_alphanumeric());
            for word in said.filter(|word| words.contains(word)) {
                complain(token.line, format!("\"{word}\": {why}"));
            }
        }
    }
    found
}

/// The part a file belongs to; none for `main.rs` and `lib.rs`.
fn part_of(file: &str) -> Option<&str> {
    let part = file.split('/').next()?.trim_end_matches(".rs");
    (!["main", "lib"].contains(&part)).then_some(part)
}

fn is_test(file: &str) -> bool {
    file.split('/').any(|name| name == "tests" || name == "tests.rs")
}

/// The place in [`PARTS`].
fn height(part: &str) -> Option<usize> {
    PARTS.iter().position(|known| *known == part)
}

fn is_inside(part: Option<&str>) -> bool {
    part.and_then(height).is_some_and(|height| PARTS[height..].contains(&FIRST_OUTSIDE))
        && part != Some(FIRST_OUTSIDE)
}

/// Why a part may not use a name that stands at the crate's root.
fn above(part: &str, used: &str) -> Option<String> {
    match (height(part), height(used)) {
        (None, _) => Some(format!("{part} is not one of the parts")),
        (_, None) => Some(format!("{part} uses {used}, which is not one of the parts")),
        (Some(own), Some(other)) if other > own => {
            Some(format!("{part} uses {used}, which stands above it"))
        }
        _ => None,
    }
}

/// The lines on which the pattern begins.
fn places(tokens: &[Token], pattern: &str) -> Vec<usize> {
    let pattern = source::tokens(pattern);
    let pattern: Vec<&str> = pattern.iter().map(|token| token.text.as_str()).collect();
    let found = (0..tokens.len()).filter(|&at| matches(&tokens[at..], &pattern));
    found.map(|at| tokens[at].line).collect()
}

/// All Rust files below a folder, sorted; none if it is not there.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_file_keeps_to_its_floor() {
    let files = rust_files(&src());
    assert!(files.len() > PARTS.len(), "only {} files in {}", files.len(), src().display());
    let found: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let file = path.strip_prefix(src()).unwrap().to_str().unwrap();
            complaints(file, &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn lib_rs_lists_the_parts_from_the_ground_up() {
    let text = fs::read_to_string(src().join("lib.rs")).unwrap();
    let all = tokens(&text);
    let declared: Vec<&str> = (0..all.len())
        .filter(|&at| matches(&all[at..], &["mod"]))
        .map(|at| all[at + 1].text.as_str())
        .filter(|name| *name != BESIDE)
        .collect();
    let expected: Vec<&str> = PARTS.into_iter().filter(|part| declared.contains(part)).collect();
    assert_eq!(declared, expected);
}

/// About 300 lines are meant; what is a pure table may be as long as the commands are many.
#[test]
fn no_file_is_longer_than_500_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folders = ["proxy", "testbed", "benches"].map(|folder| root.join(folder));
    let files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| ["src", "tests", "benches"].map(|kind| folder.join(kind)))
        .flat_map(|folder| rust_files(&folder))
        .collect();
    let long: Vec<String> = files
        .iter()
        .filter(|path| !is_table(path))
        .map(|path| (path, fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "\n{}\n", long.join("\n"));
}

fn is_table(path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    path.parent().is_some_and(|folder| folder.ends_with("src/command")) && name.contains("table")
}

/// Samples that must be found, each with what is said about it.
#[test]
fn what_breaks_a_rule_is_found() {
    for (file, text, expected) in [
        ("resp/mod.rs", "use crate::command::Command;", "resp uses command"),
        ("resp/mod.rs", "\n\nuse super::worker;", "resp/mod.rs:3: resp uses worker"),
        ("resp/scan/deep.rs", "use super::super::super::net::Stream;", "resp uses net"),
        ("slot.rs", "fn f() -> crate::resp::Args { }", "slot uses resp"),
        ("node/mod.rs", "use crate::{slot::Slot, worker::{a, b}, resp};", "node uses worker"),
        ("node/mod.rs", "use crate::{\n  slot::Slot,\n  session,\n};", "node/mod.rs:3: node uses"),
        ("node/mod.rs", "mod inner { use super::super::session::X; }", "node uses session"),
        ("node/mod.rs", "#[cfg(test)] mod tests { use crate::worker::X; }", "node uses worker"),
        ("worker/mod.rs", "use crate::*;", "worker uses *"),
        ("worker/mod.rs", "use crate::extras::X;", "extras, which is not one of the parts"),
        ("extras/mod.rs", "use crate::slot::Slot;", "extras is not one of the parts"),
        ("net/mod.rs", "use crate::fuzz::requests;", "fuzz, which is not one of the parts"),
        ("worker/mod.rs", "use tokio::sync::mpsc;", "tokio: only the world outside"),
        ("worker/mod.rs", "use std::{net::TcpStream, time};", "TcpStream: only the world"),
        ("session/mod.rs", "let now = Instant::now();", "Instant::now: only the world"),
        ("node/mod.rs", "if since\n .elapsed() > limit {}", "node/mod.rs:2: .elapsed"),
        ("metrics/mod.rs", "std::thread::spawn(f);", "thread"),
        ("server/mod.rs", "std::env::var(\"X\")", "env::var: nothing but main and config"),
        ("net/mod.rs", "use std::env::{var, consts};", "nothing but main and config"),
        ("net/mod.rs", "use std::env; fn f() {}", "nothing but main and config"),
        ("driver/mod.rs", "#[derive(clap::Args)] struct X;", "clap: nothing but main and config"),
        ("topology/mod.rs", "fn age(now: Instant) {}", "the topology does not know the time"),
        ("routing/mod.rs", "static X: Mutex<u8> = Mutex::new(1);", "routing keeps no state"),
        ("session/mod.rs", "fn f(peer: std::net::SocketAddr) {}", "addresses appear only"),
        ("node/mod.rs", "if reply.starts_with(b\"-MOVED \") {}", "does not know what MOVED means"),
        ("resp/mod.rs", "match word { br#\"GET\"# => 1 }", "does not know a command's name"),
        ("server/mod.rs", "use crate::{metrics, resp::Request};", "the server does not know RESP"),
        ("resp/mod.rs", "#[cfg(not(test))] use tokio::net;", "tokio"),
        ("resp/mod.rs", "#[cfg(test)] use a::b; use tokio::net;", "tokio"),
        ("resp/mod.rs", "let c = '\"'; use tokio::net; // \"", "tokio"),
    ] {
        let found = complaints(file, text);
        let told = found.iter().any(|complaint| complaint.contains(expected));
        assert!(told, "{file}: {text}\nexpected: {expected}\nfound: {found:#?}");
    }
}

/// Samples that break nothing, though they look like it.
#[test]
fn what_breaks_no_rule_is_let_through() {
    for (file, text) in [
        ("worker/mod.rs", "use crate::{node::Node, session, slot::{Slot, self}};"),
        ("worker/turn.rs", "use super::super::node::Node; use super::net;"),
        ("node/mod.rs", "mod inner { use super::session; mod x { use super::super::worker; } }"),
        ("resp/mod.rs", "/// Like tokio's [`crate::worker`].\n// use crate::net;\nfn f() {}"),
        ("resp/mod.rs", "/* use /* crate::net */ tokio */ const X: &str = \"use crate::net\";"),
        ("resp/mod.rs", "const X: &str = r#\"\" use crate::net; tokio \"#; fn f<'a>(x: &'a u8) {}"),
        ("resp/mod.rs", "const X: &[u8] = b\"-ERR Protocol error: got 'GETTING'\";"),
        ("session/mod.rs", "#[cfg(test)]\nmod tests { fn f() { let t = Instant::now(); } }"),
        ("session/tests.rs", "fn f() { let t = Instant::now(); }"),
        ("session/mod.rs", "use std::time::{Duration, Instant}; fn f(now: Instant) {}"),
        ("worker/mod.rs", "crate::count!(x); pub(crate) fn f() {} pub(in crate::worker) fn g() {}"),
        ("config/mod.rs", "use crate::server; use clap::Parser; std::env::var(x);"),
        ("net/mod.rs", "use tokio::net::TcpStream; use std::time::Instant; Instant::now();"),
        ("session/info.rs", "use std::env::consts::OS; let os = std::env::consts::ARCH;"),
        ("metrics/build.rs", "const V: &str = env!(\"CARGO_PKG_VERSION\");"),
        ("main.rs", "use slotway::config; use clap::Parser; use tokio::runtime;"),
        ("fuzz.rs", "use crate::worker::X;"),
    ] {
        assert_eq!(complaints(file, text), [""; 0], "{file}: {text}");
    }
}
