//! A table of what no client should send, each sent beside innocent clients.

use testbed::Standalone;

use super::innocents::Innocents;
use super::measure::{MIB, resident};
use super::stage::{Stage, array, name, until_answered, until_closed};

#[test]
fn bytes_that_are_no_request_are_answered_as_a_server_does_and_the_connection_closed() {
    let stage = Stage::new(|proxy| proxy);
    let server = Standalone::start().unwrap();
    let innocents = Innocents::start(&stage);
    for input in as_a_server() {
        let theirs = until_closed(&server.addr(), &input);
        let ours = stage.until_closed(&input);
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string());
        innocents.next_hundred(&name(&input));
    }
    for (input, expected) in stricter() {
        let ours = stage.until_closed(&input);
        assert_eq!(ours.escape_ascii().to_string(), expected.escape_ascii().to_string());
        innocents.next_hundred(&name(&input));
    }
    // Odd, but requests, or nothing at all.
    for input in [
        &b"*1\r\n$0\r\n\r\n"[..],
        b"ECHO \"\\x00\\r\\n\"\r\n",
        b"echo 'a\\'b'\n",
        b"NOSUCH a b\r\n",
        b"*3\r\n$6\r\nnosuch\r\n$4\r\na\r\nb\r\n$1\r\n\0\r\n",
        b"get\r\n",
        b"SELECT x\r\n",
    ] {
        let theirs = until_answered(&server.addr(), input);
        let ours = stage.until_answered(input);
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string());
    }
    assert_eq!(stage.until_answered(b"*0\r\n*-1\r\n*-5\r\n\r\n  \n"), b"");
    innocents.next_hundred("odd requests");
    innocents.end();
}

/// Answered to the byte as a server answers them, and closed.
fn as_a_server() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = [
        "*1\r\n:3\r\n",
        "*1\r\n\n\n\r\n",
        "*x\r\n",
        "*1x\r\n",
        "*+1\r\n",
        "*01\r\n",
        "* 1\r\n",
        "*\r\n",
        "*99999999999999999999\r\n",
        "*2147483648\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$-9223372036854775808\r\n",
        "*1\r\n$+4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n",
        "GET \"a\r\n",
        "GET 'a\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "post\r\n",
        "Host: x\r\n",
        "hOsT: x\r\n",
        "\"POST\"\r\n",
        "*1\r\n$4\r\nPoSt\r\n",
        "*2\r\n$5\r\nHOST:\r\n$1\r\nx\r\n",
        "*1\r\n$6\r\npost\0x\r\n",
        "*1\r\n$7\r\nhost:\0x\r\n",
        "\"post\\x00x\"\r\n",
        "QUIT\r\nSET k v\r\n",
        "*1\r\n$4\r\nqUiT\r\n*1\r\n$4\r\nPING\r\n",
    ]
    .map(|input| input.as_bytes().to_vec())
    .to_vec();
    let long = "1".repeat(70_000);
    inputs.extend(
        [format!("*{long}"), format!("*1\r\n${long}"), "a".repeat(70_000)].map(String::into_bytes),
    );
    // What was asked before is answered before.
    inputs.push(b"PING\r\nECHO x\r\n*1\r\n$-1\r\nPING\r\n".to_vec());
    inputs
}

/// Where we refuse what some servers take.
fn stricter() -> Vec<(Vec<u8>, &'static [u8])> {
    let crlf = &b"-ERR Protocol error: invalid CRLF in request\r\n"[..];
    let count = &b"-ERR Protocol error: invalid multibulk length\r\n"[..];
    let inline = &b"-ERR Protocol error: too big inline request\r\n"[..];
    vec![
        (b"*1\r\n$4\r\nPINGxx".to_vec(), crlf),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nkk\r\n".to_vec(), crlf),
        (b"*1\rx$4\r\nPING\r\n".to_vec(), crlf),
        (b"*1\r\n\0\0\r\n".to_vec(), b"-ERR Protocol error: expected '$', got '\0'\r\n"),
        (b"*1048577\r\n".to_vec(), count),
        (b"*2147483647\r\n".to_vec(), count),
        (b"post\0x\r\n".to_vec(), inline),
        (b"quit\0x\r\n".to_vec(), inline),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), inline),
    ]
}

#[test]
fn what_would_alter_or_stop_a_shared_connection_is_refused() {
    let stage = Stage::new(|proxy| proxy);
    let innocents = Innocents::start(&stage);
    let key = stage.key(0, "hostile");
    for words in refused(&key) {
        for request in [array(&words), inline(&words)] {
            let got = stage.until_answered(&request);
            let shown = got.escape_ascii().to_string();
            let ours = got.starts_with(b"-ERR unknown ") || got.starts_with(b"-ERR slotway ");
            assert!(ours, "{}: {shown}", name(&request));
            assert_eq!(got.iter().filter(|byte| **byte == b'\n').count(), 1, "{shown}");
        }
        innocents.next_hundred(&format!("{words:?}"));
    }
    for (words, expected) in [
        (&["HELLO", "4"][..], "-NOPROTO unsupported protocol version\r\n"),
        (&["RESET"], "+RESET\r\n"),
        (&["AUTH", "a", "b"], "-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
        (&["CLIENT", "SETNAME", "x"], "+OK\r\n"),
        (&["CLIENT", "SETINFO", "LIB-NAME", "x"], "+OK\r\n"),
        (&["CLIENT", "NO-EVICT", "on"], "+OK\r\n"),
        (&["READONLY"], "+OK\r\n"),
        (&["SELECT", "0"], "+OK\r\n"),
    ] {
        assert_eq!(
            stage.until_answered(&array(words)).escape_ascii().to_string(),
            expected.escape_default().to_string()
        );
        innocents.next_hundred(&format!("{words:?}"));
    }
    innocents.end();
}

/// They are on connections of their own, for as long as they like.
#[test]
fn what_blocks_holds_up_nobody_else() {
    let stage = Stage::new(|proxy| proxy);
    let innocents = Innocents::start(&stage);
    let key = &stage.key(0, "hostile")[..];
    let mut blocked = Vec::new();
    for words in [
        vec!["BLPOP", key, "0"],
        vec!["BRPOPLPUSH", key, key, "0"],
        vec!["BZPOPMIN", key, "0"],
        vec!["BLMPOP", "0", "1", key, "LEFT"],
        vec!["XREAD", "BLOCK", "0", "STREAMS", key, "$"],
        vec!["XREAD", "block\0x", "0", "STREAMS", key, "$"],
        vec!["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", key, "$"],
        vec!["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", key, ">"],
        vec!["WAIT", "1", "0"],
    ] {
        for request in [array(&words), inline(&words)] {
            let mut peer = testbed::Peer::connect(&stage.proxy.addr()).unwrap();
            peer.send(request).unwrap();
            blocked.push(peer);
        }
        innocents.next_hundred(&format!("{words:?}"));
    }
    innocents.end();
}

fn refused(key: &str) -> Vec<Vec<&str>> {
    let fixed = "\
        MONITOR|SYNC|PSYNC ? -1|REPLCONF ack 1|\
        CLIENT NO-TOUCH on|CLIENT IMPORT-SOURCE on|ASKING|\
        SHUTDOWN NOSAVE|DEBUG SLEEP 1|DEBUG SEGFAULT|CONFIG REWRITE|FAILOVER|\
        REPLICAOF no one|CLUSTER RESET HARD|SCRIPT DEBUG YES|SAVE|quit\0x|quit\0|QUIT\0x y|monitor\0|multi\0";
    let mut all: Vec<Vec<&str>> = fixed.split('|').map(|line| line.split(' ').collect()).collect();
    all.extend([vec!["MIGRATE", "127.0.0.1", "1", key, "0", "1000"]]);
    all
}

/// What alters its connection, inside a transaction: the next hundred replies of all others are
/// still theirs, and the client's own too.
#[test]
fn what_would_alter_a_shared_connection_does_not_from_inside_a_transaction() {
    let stage = Stage::new(|proxy| proxy);
    let innocents = Innocents::start(&stage);
    let key = stage.key(0, "hostile");
    let altering = "HELLO 3|HELLO 2|AUTH p|AUTH default p|SELECT 0|SELECT 1|CLIENT REPLY OFF|\
        CLIENT REPLY SKIP|CLIENT TRACKING ON|CLIENT CACHING YES|CLIENT SETNAME x|CLIENT NO-EVICT on|\
        CLIENT NO-TOUCH on|CLIENT SETINFO LIB-NAME x|CLIENT IMPORT-SOURCE on|READONLY|READWRITE|ASKING|\
        SUBSCRIBE c|PSUBSCRIBE c*|SSUBSCRIBE c|UNSUBSCRIBE|MONITOR|SYNC|PSYNC ? -1|REPLCONF ack 1|\
        WAIT 1 0|SHUTDOWN NOSAVE|DEBUG SLEEP 1|FAILOVER|SCRIPT DEBUG YES|CLIENT KILL TYPE normal|\
        CLIENT PAUSE 1000|MULTI|WATCH a|UNWATCH|quit\0x|multi\0|CLUSTER RESET|CLIENT CAPA redirect|\
        RESET|QUIT";
    for line in altering.split('|') {
        for end in ["EXEC", "DISCARD"] {
            let words: Vec<&str> = line.split(' ').collect();
            let mut bytes = array(&["MULTI"]);
            bytes.extend(array(&["SET", &key, "v"]));
            bytes.extend(array(&words));
            bytes.extend(array(&["GET", &key]));
            bytes.extend(array(&[end]));
            bytes.extend(array(&["SET", &key, "w"]));
            if line == "QUIT" {
                let got = stage.until_closed(&bytes);
                assert_eq!(got, b"+OK\r\n+QUEUED\r\n+OK\r\n");
                innocents.next_hundred(line);
                continue;
            }
            let got = stage.until_answered(&bytes);
            let shown = got.escape_ascii().to_string();
            assert!(got.starts_with(b"+OK\r\n+QUEUED\r\n"), "{line}: {shown}");
            assert!(got.ends_with(b"\r\n+OK\r\n"), "{line}: {shown}");
            let aborts = end == "EXEC" && !["MULTI", "WATCH a", "UNWATCH", "RESET"].contains(&line);
            assert!(!aborts || got.windows(10).any(|w| w == b"-EXECABORT"), "{line}: {shown}");
            innocents.next_hundred(line);
        }
    }
    innocents.end();
}

/// The same as a line, with what a line needs escaped.
fn inline(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| format!("\"{}\"", word.replace('\0', "\\x00")));
    format!("{}\r\n", words.collect::<Vec<_>>().join(" ")).into_bytes()
}

#[test]
fn what_is_announced_and_never_comes_costs_nothing() {
    let stage = Stage::new(|proxy| proxy);
    let innocents = Innocents::start(&stage);
    innocents.next_hundred("the start");
    let before = resident(&stage.proxy);
    let mut held = Vec::new();
    for input in [
        "*",
        "*3\r\n$3\r\nSE",
        "GET a",
        "*1048576\r\n",
        "*1048576\r\n$536870912\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc",
    ] {
        for _ in 0..20 {
            let mut peer = stage.proxy.peer().unwrap();
            peer.send(input).unwrap();
            held.push(peer);
        }
        innocents.next_hundred(input);
    }
    let grown = resident(&stage.proxy).saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown} bytes for 140 clients that announce");
    // Half a request is no fault, whoever else has announced what.
    held[25].send("T\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap();
    held[25].expect("+OK\r\n").unwrap();
    innocents.end();
}
