//! What blocks on a server is what we say blocks: the one mistake that would stop others.

use slotway::command::{blocks, resolve};

use crate::request::Request;
use crate::server::{Reply, Server};

/// Sends many orders of the stream readers' options, right and wrong ones, for streams without
/// anything to read, and watches from a second connection whether the first one is held up.
#[test]
fn stream_readers_block_exactly_when_we_say_so() {
    const PIECES: &[&str] = &[
        "BLOCK 0",
        "block 5000",
        "BLOCK\0x 0",
        "COUNT 1",
        "GROUP g c",
        "group STREAMS BLOCK",
        "GROUP g STREAMS",
        "NOACK",
        // These break the order of the others.
        "BLOCK",
        "STREAMS",
        "g",
        "1",
    ];
    const COMMON: &[&[&str]] = &[
        &["XREAD", "BLOCK", "0", "STREAMS", "s", "$"],
        &["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "s", "$"],
        &["XREAD", "COUNT", "1", "STREAMS", "s", "$"],
        &["XREAD", "BLOCK\0x", "0", "STREAMS", "s", "$"],
        &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"],
        &["XREADGROUP", "GROUP", "g", "c", "NOACK", "block", "0", "streams", "s", ">"],
        &["XREADGROUP", "GROUP", "BLOCK", "0", "STREAMS", "s", ">"],
        &["XREADGROUP", "GROUP", "STREAMS", "g", "BLOCK", "0", "STREAMS", "s", ">"],
        &["XREADGROUP", "GROUP", "g", "BLOCK", "BLOCK", "0", "STREAMS", "s", ">"],
        &["XREADGROUP", "GROUP", "g", "STREAMS", "BLOCK", "0", "STREAMS", "s", ">"],
        &["XREADGROUP", "GROUP", "g", "BLOCK", "STREAMS", "s", ">"],
        &["XREADGROUP", "BLOCK", "0", "GROUP", "g", "c", "STREAMS", "s", ">"],
    ];
    let server = Server::start();
    let mut watcher = server.connect();
    watcher.ask(&["XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"]);
    watcher.ask(&["XGROUP", "CREATE", "s", "STREAMS", "$"]);
    let mut reader = server.connect();
    let id = reader.ask(&["CLIENT", "ID"]).integer().to_string();

    let mut random = fastrand::Rng::with_seed(0xB10C);
    let mut cases: Vec<Vec<&str>> = COMMON.iter().map(|case| case.to_vec()).collect();
    for _ in 0..3_000 {
        let name = *random.choice(&["XREAD", "XREADGROUP"]).expect("one of two");
        let mut case = vec![name];
        for _ in 0..random.usize(..5) {
            case.extend(random.choice(PIECES).expect("a piece").split(' '));
        }
        case.extend(["STREAMS", "s", if name == "XREAD" { "$" } else { ">" }]);
        cases.push(case);
    }
    let mut blocked = 0;
    for case in cases {
        let request = Request::new(&case);
        let Ok(row) = resolve(&request.args()) else { continue };
        let mut held_up = false;
        reader.send(&request.frame);
        while !reader.has_reply() {
            // It is held up, or the server has not come to it yet.
            let client = watcher.ask(&["CLIENT", "LIST", "ID", &id]).text();
            let flags = client.split(' ').find_map(|field| field.strip_prefix("flags="));
            if flags.expect("a client has flags").contains('b') {
                held_up = true;
                watcher.ask(&["CLIENT", "UNBLOCK", &id]);
                break;
            }
        }
        match reader.read() {
            // A mistake in it: we may say what we like.
            Reply::Error(_) if !held_up => {}
            _ => assert_eq!(blocks(row, &request.args()), held_up, "{case:?}"),
        }
        blocked += usize::from(held_up);
    }
    assert!(blocked > 200, "only {blocked} blocked: the test has lost its point");
}
