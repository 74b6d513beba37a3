//! MULTI to EXEC: one request, whatever happens to it.

use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings};
use crate::session::Manners;
use crate::worker::Settings;

pub(super) const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.";
pub(super) const CROSS_SLOT: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";

/// These commands and EXEC, with MULTI before them.
pub(super) fn begin(bench: &mut Bench, client: u32, commands: &[String]) {
    bench.send(client, "MULTI");
    for command in commands {
        bench.send(client, command);
    }
    assert_eq!(bench.got(client), format!("+OK\r\n{}", "+QUEUED\r\n".repeat(commands.len())));
}

pub(super) fn two_writes(key: &str) -> [String; 2] {
    [format!("INCR {key}"), format!("RPUSH {{{key}}}l v")]
}

/// What a node gets of it.
pub(super) fn block(commands: &[String]) -> Vec<String> {
    let mut words = vec!["MULTI".to_owned()];
    words.extend_from_slice(commands);
    words.push("EXEC".into());
    words
}

pub(super) fn bytes(requests: &[String]) -> Vec<u8> {
    requests.iter().flat_map(|request| encode(request)).collect()
}

/// A node answers a block of two commands as it should.
pub(super) fn execute(bench: &mut Bench, port: u16) {
    for reply in ["+OK", "+QUEUED", "+QUEUED", "*2\r\n:1\r\n:1"] {
        bench.answer(port, reply);
    }
}

pub(super) const EXECUTED: &str = "*2\r\n:1\r\n:1\r\n";

#[test]
fn a_transaction_is_one_block_and_one_reply() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let commands = two_writes(&key_of(2, 0));
    begin(&mut bench, client, &commands);
    assert!(bench.at(2).is_empty(), "nothing goes before EXEC");
    bench.send(other, &format!("GET {}", key_of(2, 1)));
    bench.send(client, "EXEC");
    bench.send(other, &format!("GET {}", key_of(2, 2)));
    let mut expected = vec![format!("GET {}", key_of(2, 1))];
    expected.extend(block(&commands));
    expected.push(format!("GET {}", key_of(2, 2)));
    assert_eq!(bench.at(2), expected);
    bench.answer(2, "$1\r\na");
    execute(&mut bench, 2);
    bench.answer(2, "$1\r\nb");
    assert_eq!(bench.got(client), EXECUTED);
    assert_eq!(bench.got(other), "$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(bench.cells.transaction_bytes.get(), 0);
    bench.send(client, "EXEC");
    assert_eq!(bench.got(client), "-ERR EXEC without MULTI\r\n");
}

#[test]
fn a_transaction_in_one_read_is_answered_in_order() {
    let mut bench = Bench::new();
    let client = bench.client();
    let (key, far) = (key_of(1, 0), key_of(3, 0));
    let commands = two_writes(&key);
    let mut all = vec![format!("GET {far}")];
    all.extend(block(&commands));
    all.push(format!("GET {key}"));
    bench.send_raw(client, &bytes(&all));
    execute(&mut bench, 1);
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(client), "", "its first reply has not come");
    bench.answer(3, "$1\r\ny");
    let got = bench.got(client);
    assert_eq!(got, format!("$1\r\ny\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n{EXECUTED}$1\r\nx\r\n"));
}

#[test]
fn a_transaction_in_one_read_is_answered_in_one_write_unless_it_waits() {
    let mut bench = Bench::new();
    let client = bench.client();
    let commands = two_writes(&key_of(1, 0));
    let queued = "+OK\r\n+QUEUED\r\n+QUEUED\r\n";
    bench.send_raw(client, &bytes(&block(&commands)));
    assert_eq!(bench.got(client), "");
    execute(&mut bench, 1);
    assert_eq!(bench.got(client), format!("{queued}{EXECUTED}"));
    // Parked at once, or after a refusal.
    bench.send_raw(client, &bytes(&block(&commands)));
    for reply in ["+OK", "-TRYAGAIN x", "+QUEUED", ABORTED] {
        bench.answer(1, reply);
    }
    assert_eq!(bench.got(client), queued);
    bench.advance(Duration::from_secs(1));
    execute(&mut bench, 1);
    assert_eq!(bench.got(client), EXECUTED);
    bench.kill(1, true);
    bench.send_raw(client, &bytes(&block(&commands)));
    assert_eq!(bench.got(client), queued);
}

#[test]
fn a_command_that_cannot_be_queued_says_why_and_exec_is_refused() {
    let key = key_of(1, 0);
    let far = key_of(2, 0);
    for (wrong, text) in [
        ("NOPE a".to_owned(), "-ERR unknown command 'NOPE', with args beginning with: 'a' \r\n"),
        ("GET".into(), "-ERR wrong number of arguments for 'get' command\r\n"),
        ("WATCH".into(), "-ERR wrong number of arguments for 'watch' command\r\n"),
        ("CLIENT NOPE".into(), "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n"),
        (format!("GET {far}"), CROSS_SLOT),
        (format!("MGET {key} {far}"), CROSS_SLOT),
        (format!("SUNION {key} {far}"), CROSS_SLOT),
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        begin(&mut bench, client, &[format!("SET {key} v")]);
        bench.send(client, &wrong);
        assert_eq!(bench.got(client), text, "{wrong}");
        assert_eq!(bench.cells.transaction_bytes.get(), 0, "what will not be sent is not kept");
        bench.send(client, &format!("SET {far} v"));
        bench.send(client, "EXEC");
        assert_eq!(bench.got(client), format!("+QUEUED\r\n{ABORTED}\r\n"), "{wrong}");
        bench.send(client, "EXEC");
        assert_eq!(bench.got(client), "-ERR EXEC without MULTI\r\n");
        assert!(bench.at(1).is_empty() && bench.at(2).is_empty());
    }
}

#[test]
fn what_is_no_matter_of_one_nodes_data_is_not_queued() {
    for command in [
        "HELLO 3",
        "AUTH p",
        "SELECT 1",
        "CLIENT REPLY OFF",
        "CLIENT REPLY SKIP",
        "CLIENT TRACKING ON",
        "CLIENT CACHING YES",
        "CLIENT SETNAME n",
        "CLIENT NO-EVICT ON",
        "CLIENT NO-TOUCH ON",
        "CLIENT ID",
        "CLIENT INFO",
        "CLIENT LIST",
        "CLIENT KILL ID 1",
        "CLIENT SETINFO LIB-NAME x",
        "READONLY",
        "READWRITE",
        "ASKING",
        "MONITOR",
        "SUBSCRIBE c",
        "PSUBSCRIBE c",
        "SSUBSCRIBE c",
        "UNSUBSCRIBE",
        "SYNC",
        "DBSIZE",
        "FLUSHALL",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "SCRIPT LOAD x",
        "CONFIG SET a b",
        "WAIT 1 0",
        "WAITAOF 0 0 0",
        "INFO",
        "COMMAND",
        "ROLE",
        "CLUSTER SLOTS",
        "PROXY INFO",
        "SHUTDOWN",
        "DEBUG SLEEP 1",
        "CLIENT PAUSE 1",
        "ACL WHOAMI",
        "LOLWUT",
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        begin(&mut bench, client, &[format!("GET {}", key_of(1, 0))]);
        bench.send(client, command);
        let got = bench.got(client);
        assert!(got.starts_with('-') && got.ends_with("\r\n"), "{command}: {got}");
        bench.send(client, "EXEC");
        assert_eq!(bench.got(client), format!("{ABORTED}\r\n"), "{command}");
        assert!((1..=3).all(|port| bench.at(port).is_empty()), "{command}");
        bench.send(client, "CLIENT INFO");
        let info = bench.got(client);
        let fields = "flags=N db=0 sub=0 psub=0 ssub=0 multi=-1";
        assert!(info.contains(fields) && info.contains("resp=2"), "{command}: {info}");
    }
}

#[test]
fn what_blocks_or_goes_elsewhere_by_itself_is_queued() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    let commands = [
        format!("BLPOP {key} 0"),
        format!("XREAD BLOCK 0 STREAMS {key} $"),
        "PING".into(),
        "ECHO x".into(),
        "TIME".into(),
        "UNWATCH".into(),
        "PUBLISH c m".into(),
    ];
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    assert_eq!(bench.at(1), block(&commands));
}

#[test]
fn multi_and_watch_inside_are_answered_as_by_the_clusters_version() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "MULTI");
    bench.send(client, "MULTI");
    bench.send(client, "WATCH k");
    bench.send(client, "EXEC");
    assert_eq!(
        bench.got(client),
        "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n*0\r\n"
    );
    bench.worker.around.facts = Box::new({
        let facts = (bench.worker.around.facts)();
        move || crate::session::Facts { valkey_version: Some("9.1.2".into()), ..facts.clone() }
    });
    for name in ["multi", "watch"] {
        bench.send(client, "MULTI");
        bench.send(client, if name == "multi" { "MULTI" } else { "WATCH k" });
        bench.send(client, "EXEC");
        let text = format!("-ERR Command '{name}' not allowed inside a transaction\r\n");
        assert_eq!(bench.got(client), format!("+OK\r\n{text}{ABORTED}\r\n"));
    }
}

#[test]
fn discard_reset_and_a_wrong_exec_end_it() {
    for (end, text) in [
        ("DISCARD", "+OK\r\n"),
        ("RESET", "+RESET\r\n"),
        (
            "EXEC x",
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' \
             command\r\n",
        ),
    ] {
        let mut bench = Bench::new();
        let client = bench.client();
        begin(&mut bench, client, &two_writes(&key_of(1, 0)));
        bench.send(client, end);
        assert_eq!(bench.got(client), text);
        assert_eq!(bench.cells.transaction_bytes.get(), 0);
        bench.send(client, "EXEC");
        bench.send(client, "DISCARD");
        let without = "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n";
        assert_eq!(bench.got(client), without);
        assert!(bench.at(1).is_empty());
    }
}

#[test]
fn quit_ends_it_and_its_client() {
    let mut bench = Bench::new();
    let client = bench.client();
    begin(&mut bench, client, &two_writes(&key_of(1, 0)));
    bench.send(client, "QUIT");
    assert_eq!(bench.got(client), "+OK\r\n");
    assert_eq!(bench.closed, [client]);
    assert!(bench.at(1).is_empty());
}

/// The bytes that reached the node before the connection broke decide.
/// The node refuses one of the commands when it is queued, or EXEC.
/// A user of the nodes that must not say MULTI may still say SET.
fn large() -> (Bench, u32, Vec<String>) {
    let mut bench = Bench::with(Settings { large_requests_max_bytes: 100_000, ..settings() });
    let client = bench.client();
    let key = key_of(1, 0);
    let commands: Vec<String> =
        (0..4).map(|n| format!("APPEND {key} {}", "x".repeat(8_000 + n))).collect();
    begin(&mut bench, client, &commands);
    (bench, client, commands)
}

#[test]
fn a_large_transaction_takes_the_large_way() {
    let (mut bench, client, commands) = large();
    let wires = bench.wires_of(1);
    bench.send(client, "EXEC");
    let own = *bench.wires_of(1).iter().find(|wire| !wires.contains(wire)).expect("its own");
    assert_eq!(bench.wires[&own].requests, block(&commands));
    for reply in ["+OK", "+QUEUED", "+QUEUED", "+QUEUED", "+QUEUED", "*4\r\n:1\r\n:2\r\n:3\r\n:4"] {
        bench.answer_on(own, reply);
    }
    assert_eq!(bench.got(client), "*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n");
    assert!(bench.worker.large_reads.is_unused(), "its bytes went back to the budget");
}

#[test]
fn a_transaction_that_grows_without_end_meets_a_bound() {
    let (mut bench, client, _) = large();
    let more = format!("APPEND {} {}", key_of(1, 0), "y".repeat(18_000));
    bench.send(client, &more);
    assert_eq!(bench.got(client), "-OVERLOADED not executed: the transaction is too large\r\n");
    assert_eq!(bench.cells.transactions_refused.get(), 1);
    assert_eq!(bench.cells.transaction_bytes.get(), 0);
    assert!(bench.worker.large_reads.is_unused(), "it is given back at once");
    bench.send(client, &more);
    bench.send(client, "EXEC");
    assert_eq!(bench.got(client), format!("+QUEUED\r\n{ABORTED}\r\n"));
}

#[test]
fn a_large_transaction_gives_its_bytes_back_however_it_ends() {
    for end in ["DISCARD", "RESET", "QUIT", "NOPE", "left"] {
        let (mut bench, client, _) = large();
        assert!(!bench.worker.large_reads.is_unused());
        match end {
            "left" => bench.worker.client_lost(client, bench.now),
            end => bench.send(client, end),
        }
        bench.turn();
        assert!(bench.worker.large_reads.is_unused(), "{end}");
    }
}

#[test]
fn a_large_reply_to_exec_passes_through() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    let key = key_of(1, 0);
    begin(&mut bench, client, &two_writes(&key));
    bench.send(client, "EXEC");
    bench.send(other, &format!("GET {key}"));
    let wire = bench.wires_of(1)[0];
    let value = "v".repeat(30_000);
    bench.say(wire, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n$30000\r\n");
    bench.say(wire, &value.as_bytes()[..10_000]);
    assert!(bench.got(client).starts_with("*2\r\n:1\r\n$30000\r\nvvv"), "it is not gathered");
    bench.say(wire, format!("{}\r\n$1\r\nx\r\n", &value[10_000..]).as_bytes());
    assert_eq!(bench.got(client).len(), 20_002);
    assert_eq!(bench.got(other), "$1\r\nx\r\n");
}

#[test]
fn errors_that_break_lines_stay_on_a_connection_of_their_own() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    begin(&mut bench, client, &["FUNCTION LIST".into(), "PING".into()]);
    bench.send(client, "EXEC");
    let at: Vec<u32> = (1..=3).flat_map(|port| bench.wires_of(port)).collect();
    let own = *at.iter().find(|wire| !bench.wires[wire].requests.is_empty()).expect("its own");
    for reply in ["+OK", "+QUEUED", "+QUEUED"] {
        bench.answer_on(own, reply);
    }
    bench.answer_on(own, "*2\r\n-ERR a\r\n+x\r\n+PONG");
    assert_eq!(bench.got(client), "*2\r\n-ERR a\r\n+x\r\n");
    assert!(!bench.wires.contains_key(&own), "nobody uses it after this");
    bench.send(other, &format!("GET {}", key_of(1, 0)));
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.got(other), "$1\r\nx\r\n");
}

#[test]
fn in_strict_order_a_transaction_is_one_write() {
    let mut bench = Bench::new();
    let client = bench.client_with(Manners { strict_order: true, ..Manners::default() });
    let key = key_of(1, 0);
    let commands = two_writes(&key);
    bench.send(client, &format!("SET {key} v"));
    bench.send(client, "MULTI");
    bench.send(client, &commands[0]);
    bench.send(client, &commands[1]);
    bench.send(client, "EXEC");
    bench.send(client, &format!("DEL {key}"));
    assert_eq!(bench.at(1), [format!("SET {key} v")]);
    bench.answer(1, "+OK");
    assert_eq!(bench.at(1), block(&commands));
    execute(&mut bench, 1);
    assert_eq!(bench.at(1), [format!("DEL {key}")]);
}

#[test]
fn client_info_shows_it() {
    let mut bench = Bench::new();
    let (client, other) = (bench.client(), bench.client());
    begin(&mut bench, client, &two_writes(&key_of(1, 0)));
    bench.send(other, "CLIENT LIST");
    bench.answer_question(Vec::new());
    let list = bench.got(other);
    assert!(list.contains("flags=x db=0 sub=0 psub=0 ssub=0 multi=2 watch=0"), "{list}");
    assert!(list.contains("flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 watch=0"), "{list}");
}

#[test]
fn a_client_that_wants_no_replies_gets_none() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "CLIENT REPLY OFF");
    let commands = two_writes(&key_of(1, 0));
    bench.send_raw(client, &bytes(&block(&commands)));
    execute(&mut bench, 1);
    assert_eq!(bench.got(client), "");
    bench.send(client, "CLIENT REPLY ON");
    assert_eq!(bench.got(client), "+OK\r\n");
}

#[test]
fn a_pause_of_writes_holds_a_transaction_that_writes() {
    let mut bench = Bench::new();
    let (client, reader) = (bench.client(), bench.client());
    let commands = two_writes(&key_of(1, 0));
    let reads = [format!("GET {}", key_of(1, 0)), format!("GET {}", key_of(1, 0))];
    begin(&mut bench, client, &commands);
    begin(&mut bench, reader, &reads);
    bench.worker.pause(bench.now + Duration::from_secs(5), true);
    bench.send(client, "EXEC");
    assert!(bench.at(1).is_empty());
    bench.send(reader, "EXEC");
    assert_eq!(bench.at(1), block(&reads));
    execute(&mut bench, 1);
    bench.advance(Duration::from_secs(6));
    assert_eq!(bench.at(1), block(&commands));
}

#[test]
fn a_transaction_does_not_overtake_what_was_rejected_before_it() {
    let mut bench = Bench::new();
    let client = bench.client();
    let key = key_of(1, 0);
    bench.send(client, &format!("SET {key} 1"));
    bench.answer(1, "-TRYAGAIN Multiple keys request during rehashing of slot");
    for line in block(&two_writes(&key)) {
        bench.send(client, &line);
    }
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), [format!("SET {key} 1")]);
    bench.answer(1, "+OK");
    assert_eq!(bench.at(1), block(&two_writes(&key)));
    execute(&mut bench, 1);
    assert_eq!(bench.got(client), format!("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n{EXECUTED}"));
}

/// An error that breaks its line, as scripts of Valkey 8.0 make them, lies deep in the reply to
/// EXEC, and looks like one more element of it.
#[test]
fn what_may_break_its_line_goes_apart_inside_a_transaction_too() {
    let mut bench = Bench::with(Settings { scripts_apart: true, ..settings() });
    let client = bench.client();
    let shared = bench.wires_of(1)[0];
    let commands = [format!("EVAL x 1 {}", key_of(1, 0)), format!("INCR {}", key_of(1, 0))];
    begin(&mut bench, client, &commands);
    bench.send(client, "EXEC");
    let carries = |wire: &u32| bench.wires[wire].requests == block(&commands);
    let own = bench.wires_of(1).into_iter().find(carries).expect("the block has gone");
    assert_ne!(own, shared);
    for reply in ["+OK", "+QUEUED", "+QUEUED", "*2\r\n-ERR near 'x\r\n:77"] {
        bench.answer_on(own, reply);
    }
    assert_eq!(bench.got(client), "*2\r\n-ERR near 'x\r\n:77\r\n");
    assert!(!bench.wires.contains_key(&own), "what else comes on it is nobody's");
}
