//! What no server can be asked: the classes of commands, what is done with each, the slot of a
//! request's keys, and that nothing a client sends makes any of it fail.

mod class_review;

use proptest::prelude::*;
use slotway::command::{
    Channels, Class, Handling, KeysInSlots, Local, Reason, RetryUnknown, blocks, class,
    key_positions, repeatable, resolve, rows, slot,
};
use slotway::resp::{Args, Span};
use slotway::slot::Slot;

/// Runs `look` on a request of these words.
fn with_args<A: AsRef<[u8]>, T>(words: &[A], look: impl FnOnce(&Args<'_>) -> T) -> T {
    let mut frame = Vec::new();
    let mut spans = Vec::new();
    for word in words {
        let start = frame.len() as u32;
        frame.extend_from_slice(word.as_ref());
        spans.push(Span { start, end: frame.len() as u32 });
    }
    look(&Args::new(&frame, &spans))
}

fn with_line<T>(line: &str, look: impl FnOnce(&Args<'_>) -> T) -> T {
    with_args(&line.split(' ').collect::<Vec<_>>(), look)
}

#[test]
fn every_form_of_a_command_has_the_class_of_the_review() {
    let mut reviewed = Vec::new();
    for (expected, line) in class_review::lines() {
        with_line(line, |args| {
            let row = resolve(args).unwrap_or_else(|e| panic!("{line}: {e:?}"));
            assert_eq!(class(row, args), *expected, "{line}");
            reviewed.push(row.name);
        });
    }
    reviewed.dedup();
    let mut all: Vec<_> = rows().filter(|r| !r.is_family() || r.name == "command").collect();
    all.sort_unstable_by_key(|row| row.name);
    reviewed.sort_unstable();
    assert_eq!(reviewed, all.iter().map(|row| row.name).collect::<Vec<_>>(), "once each");
}

/// Nothing repeats a write unless `retry-unknown` says so, and then these alone.
#[test]
fn what_retry_unknown_adds_is_idempotent_or_only_takes() {
    let repeated = |retry: RetryUnknown| {
        let lines = class_review::lines().filter(|(_, line)| {
            with_line(line, |args| {
                let row = resolve(args).expect("it is a command");
                let class = class(row, args);
                class != Class::R && repeatable(row, class, retry)
            })
        });
        lines.map(|(_, line)| *line).collect::<Vec<_>>().join("|")
    };
    let with = |idempotent, blocking| RetryUnknown { idempotent, blocking };
    let idempotent = "mset a 1 b 2|set k v|hmset k f v|lset l 0 v|touch a b|touch a";
    let blocking = "blmpop k 1 k x|blpop k x|brpop k x|bzmpop k 1 k x|bzpopmax k x|bzpopmin k x";
    assert_eq!(repeated(with(false, false)), "");
    assert_eq!(repeated(with(true, false)), idempotent);
    assert_eq!(repeated(with(false, true)), blocking);
}

/// Every row that is not N, so that a new one is noticed: a class too good replays what must not
/// be replayed.
#[test]
fn what_may_be_replayed_is_flagged_readonly_or_named_here() {
    use slotway::command::{Flags, Keys};
    let mut named = Vec::new();
    for row in rows() {
        match row.class {
            Class::R => {
                let harmless = row.flags.contains(Flags::READONLY)
                    || (row.keys == Keys::None && !row.flags.contains(Flags::WRITE));
                assert!(harmless, "{} is no read", row.name);
                assert!(!row.flags.contains(Flags::WRITE), "{} writes", row.name);
            }
            Class::I => named.push(row.name),
            Class::N => {
                let readonly = row.flags.contains(Flags::READONLY);
                assert!(!readonly, "{} could be a read", row.name);
            }
            Class::B | Class::T => {}
        }
    }
    named.sort_unstable();
    assert_eq!(named, ["hmset", "lset", "mset", "set", "touch"]);
}

#[test]
fn block_is_found_among_options_only() {
    for (line, expected) in [
        ("XREAD STREAMS s 0", false),
        ("XREAD BLOCK 0 STREAMS s 0", true),
        ("XREAD COUNT 1 block 0 STREAMS s 0", true),
        ("XREAD BLOCK\0x 0 STREAMS s 0", true),
        ("XREAD BLOCKS 0 STREAMS s 0", false),
        ("XREAD STREAMS BLOCK 0", false),
        ("XREAD STREAMS\0 BLOCK 0", false),
        ("XREADGROUP GROUP BLOCK BLOCK STREAMS s >", false),
        ("XREADGROUP GROUP STREAMS STREAMS BLOCK 0 STREAMS s >", true),
        ("XREADGROUP GROUP g c NOACK COUNT 1 BLOCK 0 STREAMS s >", true),
        // What no server knows counts as an option without a value.
        ("XREAD FUTURE BLOCK 0 STREAMS s 0", true),
        ("BLPOP k 0", true),
        ("WAIT 0 0", true),
        ("GET BLOCK", false),
    ] {
        with_line(line, |args| {
            let row = resolve(args).expect("it is a command");
            assert_eq!(blocks(row, args), expected, "{line}");
        });
    }
}

#[test]
fn each_command_is_handled_as_the_first_issue_wants() {
    use Handling::{
        AnyNode, BySlot, Local as Here, Nodes, Publish, RandomKey, Refused, Routed, Scan, Shards,
        Subscribe, Subscribers, Transaction, Unsubscribe,
    };
    let table: &[(Handling, &str)] = &[
        (Routed, "GET k|SET k v|MGET a b|DEL a b|EVAL s 0|EVAL s x|EVAL s 1 k|FCALL f 0|SORT l"),
        (Routed, "XREAD STREAMS s 0|XREADGROUP GROUP g c STREAMS s >|OBJECT FREQ k"),
        (
            Routed,
            "MEMORY USAGE k|XGROUP DESTROY s g|XINFO GROUPS s|VADD k VALUES 1 1 e|CLUSTERSCAN 0",
        ),
        (BySlot, "CLUSTER COUNTKEYSINSLOT 1|CLUSTER GETKEYSINSLOT 1 1"),
        (AnyNode, "OBJECT HELP|CONFIG HELP|XINFO HELP|CLIENT HELP|CLUSTER HELP"),
        (AnyNode, "COMMAND DOCS|COMMAND GETKEYS get k|COMMAND GETKEYSANDFLAGS get k|COMMAND HELP"),
        (Here(Local::Command), "COMMAND|COMMAND COUNT|COMMAND INFO get|COMMAND LIST"),
        (Here(Local::Ping), "PING|PING x"),
        (Here(Local::Echo), "ECHO x"),
        (Here(Local::Quit), "QUIT"),
        (Here(Local::Select), "SELECT 0|SELECT 1"),
        (Here(Local::Info), "INFO|INFO server clients"),
        (Here(Local::Hello), "HELLO|HELLO 3 AUTH u p"),
        (Here(Local::Reset), "RESET"),
        (Here(Local::Auth), "AUTH p|AUTH u p"),
        (Here(Local::ClientId), "CLIENT ID"),
        (Here(Local::ClientSetname), "CLIENT SETNAME n"),
        (Here(Local::ClientGetname), "CLIENT GETNAME"),
        (Here(Local::ClientSetinfo), "CLIENT SETINFO LIB-NAME x"),
        (Here(Local::ClientInfo), "CLIENT INFO"),
        (Here(Local::ClientList), "CLIENT LIST|CLIENT LIST TYPE normal"),
        (Here(Local::ClientKill), "CLIENT KILL x|CLIENT KILL ID 1"),
        (Here(Local::ClientPause), "CLIENT PAUSE 1"),
        (Here(Local::ClientUnpause), "CLIENT UNPAUSE"),
        (Here(Local::ClientReply), "CLIENT REPLY OFF"),
        (Here(Local::ClientNoEvict), "CLIENT NO-EVICT ON"),
        (Here(Local::ClientNoTouch), "CLIENT NO-TOUCH ON"),
        (Here(Local::ClientUnblock), "CLIENT UNBLOCK 1"),
        (Here(Local::ClientGetredir), "CLIENT GETREDIR"),
        (Here(Local::ClientTrackinginfo), "CLIENT TRACKINGINFO"),
        (Here(Local::ClientTracking), "CLIENT TRACKING ON"),
        (Here(Local::ClientCaching), "CLIENT CACHING YES"),
        (Here(Local::ClientCapa), "CLIENT CAPA redirect"),
        (Here(Local::Cluster), "CLUSTER SLOTS|CLUSTER SHARDS|CLUSTER NODES|CLUSTER REPLICAS x"),
        (Here(Local::Readonly), "READONLY|READWRITE"),
        (Here(Local::Time), "TIME"),
        (Here(Local::Lolwut), "LOLWUT|LOLWUT VERSION 5"),
        (
            Here(Local::Proxy),
            "PROXY HELP|PROXY INFO|PROXY TOPOLOGY|PROXY EVENTS|PROXY EXPLAIN GET k",
        ),
        (Routed, "BLPOP k 0|BLMOVE a b LEFT LEFT 0|BZPOPMIN k 0|BLMPOP 0 1 k LEFT"),
        (Routed, "XREAD BLOCK 0 STREAMS s $|XREADGROUP GROUP g c BLOCK 0 STREAMS s >"),
        (Handling::Wait, "WAIT 0 0|WAITAOF 0 0 0"),
        (Refused(Reason::ChangesConnection), "HIMPORT x|CLIENT IMPORT-SOURCE ON"),
        (Transaction, "MULTI|EXEC|DISCARD|WATCH k|UNWATCH"),
        (Subscribe(Channels::Named), "SUBSCRIBE c"),
        (Subscribe(Channels::Matching), "PSUBSCRIBE c"),
        (Subscribe(Channels::Shard), "SSUBSCRIBE c"),
        (Unsubscribe(Channels::Named), "UNSUBSCRIBE|UNSUBSCRIBE c"),
        (Unsubscribe(Channels::Matching), "PUNSUBSCRIBE"),
        (Unsubscribe(Channels::Shard), "SUNSUBSCRIBE"),
        (Publish(Channels::Named), "PUBLISH c m"),
        (Publish(Channels::Shard), "SPUBLISH c m"),
        (Subscribers, "PUBSUB CHANNELS|PUBSUB NUMSUB c|PUBSUB NUMPAT|PUBSUB SHARDNUMSUB"),
        (
            Refused(Reason::TakesOver),
            "MONITOR|ASKING|SYNC|PSYNC ? 1|REPLCONF x|CLUSTER SYNCSLOTS x",
        ),
        (
            Refused(Reason::OfNodes),
            "DEBUG SLEEP 1|SHUTDOWN|SAVE|BGSAVE|CONFIG REWRITE|MODULE LOAD x",
        ),
        (Refused(Reason::OfNodes), "ACL SETUSER x|CLUSTER SAVECONFIG|BGREWRITEAOF"),
        (
            Refused(Reason::Reshapes),
            "MIGRATE h 1 k 0 1|RESTORE-ASKING k 0 v|CLUSTER FAILOVER|FAILOVER",
        ),
        (Refused(Reason::Reshapes), "REPLICAOF NO ONE|SLAVEOF a 1|CLUSTER SETSLOT 1 STABLE"),
        (Scan, "SCAN 0"),
        (RandomKey, "RANDOMKEY"),
        (Shards, "KEYS *|DBSIZE|FLUSHALL|FLUSHDB|SCRIPT LOAD x|SCRIPT FLUSH|FUNCTION LOAD x"),
        (Nodes, "CONFIG SET a b|SLOWLOG GET|LATENCY LATEST|ACL LOG"),
        (AnyNode, "CONFIG GET *|ACL LIST|OBJECT HELP|MEMORY STATS"),
        (Refused(Reason::Debugging), "PFDEBUG a b"),
    ];
    for (expected, lines) in table {
        for line in lines.split('|') {
            with_line(line, |args| {
                let row = resolve(args).unwrap_or_else(|e| panic!("{line}: {e:?}"));
                assert_eq!(row.handling, *expected, "{line}");
            });
        }
    }
}

/// What is neither refused nor sent by its keys, in full.
#[test]
fn only_these_are_answered_without_keys() {
    let of = |wanted: fn(Handling) -> bool| {
        rows().filter(|row| wanted(row.handling)).map(|row| row.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        of(|handling| handling == Handling::AnyNode)
            .split(' ')
            .filter(|name| !name.ends_with("|help"))
            .collect::<Vec<_>>()
            .join(" "),
        "function|dump function|list script|show acl|cat acl|dryrun acl|genpass \
         acl|getuser acl|list acl|users command|docs \
         command|getkeys command|getkeysandflags config|get lastsave \
         latency|doctor latency|graph latency|histogram memory|doctor memory|malloc-stats \
         memory|stats module|list swapdb cluster|getslotmigrations"
    );
    assert_eq!(
        of(|handling| handling == Handling::BySlot),
        "cluster|countkeysinslot cluster|getkeysinslot"
    );
    assert_eq!(
        of(|handling| matches!(handling, Handling::Local(_))),
        "auth client|caching client|capa client|getname client|getredir client|id client|info \
         client|kill client|list client|no-evict client|no-touch client|pause client|reply \
         client|setinfo client|setname client|tracking client|trackinginfo client|unblock \
         client|unpause echo hello ping quit reset select acl|whoami command \
         command|count command|info command|list info lolwut role time \
         cluster|count-failure-reports cluster|info cluster|keyslot cluster|links cluster|myid \
         cluster|myshardid cluster|nodes cluster|replicas cluster|shards cluster|slaves \
         cluster|slots readonly readwrite proxy|events proxy|explain proxy|help proxy|info proxy|topology"
    );
}

/// The words that contract §5 forbids on a shared node connection.
#[test]
fn nothing_that_changes_a_connection_reaches_a_node() {
    for name in "hello auth select reset quit client|reply client|tracking client|caching \
                 client|setname client|no-evict client|no-touch readonly readwrite monitor \
                 subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe multi exec \
                 discard watch unwatch asking sync psync replconf client|import-source client|capa"
        .split_whitespace()
    {
        let row = rows().find(|row| row.name == name).expect("it has a row");
        assert!(
            matches!(
                row.handling,
                Handling::Local(_)
                    | Handling::Refused(_)
                    | Handling::Subscribe(_)
                    | Handling::Unsubscribe(_)
                    | Handling::Transaction
            ),
            "{name} is {:?}",
            row.handling
        );
    }
    for word in ["POST", "Host:", "post", "host:"] {
        assert!(with_args(&[word, "x"], |args| resolve(args).is_err()), "{word} is a command");
    }
}

#[test]
fn keys_of_one_slot_and_of_several_are_told_apart() {
    let of = |key: &str| KeysInSlots::One(Slot::of_key(key.as_bytes()));
    for (line, expected) in [
        ("GET foo", of("foo")),
        ("GET {a}foo", of("a")),
        ("OBJECT ENCODING foo", of("foo")),
        ("MGET {a}1 {a}2 a", of("a")),
        ("MGET a b", KeysInSlots::Several),
        ("MSET {a}1 b {a}2 c", of("a")),
        ("MSET {a}1 b b c", KeysInSlots::Several),
        ("EVAL s 0 a b", KeysInSlots::None),
        ("EVAL s 1 a b", of("a")),
        ("EVAL s 2 a b", KeysInSlots::Several),
        ("EVAL s 3 a b", KeysInSlots::None),
        ("EVAL s -1 a b", KeysInSlots::None),
        ("ZUNIONSTORE d 2 {d}1 {d}2", of("d")),
        ("ZUNIONSTORE d 1 e", KeysInSlots::Several),
        ("SORT l STORE {l}d", of("l")),
        ("SORT l STORE d", KeysInSlots::Several),
        ("XREAD STREAMS {s}1 {s}2 0 a", of("s")),
        ("SPUBLISH c m", of("c")),
        ("CLUSTERSCAN fp-{tag}-7", of("tag")),
        ("PING", KeysInSlots::None),
    ] {
        with_line(line, |args| {
            let row = resolve(args).expect("it is a command");
            assert_eq!(slot(row, args), expected, "{line}");
        });
    }
}

/// Words that mean something to some command, among any bytes.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(
            "STORE STREAMS KEYS BLOCK GROUP LIMIT AUTH2 BY GET COUNT 0 1 2 3 -1 4294967297 \
             9223372036854775807 -9223372036854775808 99999999999999999999"
                .split_whitespace()
                .map(|word| word.as_bytes().to_vec())
                .collect::<Vec<_>>()
        ),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let names: Vec<Vec<Vec<u8>>> = rows()
        .map(|row| row.name.split('|').map(|word| word.as_bytes().to_vec()).collect())
        .collect();
    let name = prop_oneof![
        4 => proptest::sample::select(names),
        1 => proptest::collection::vec(word(), 1..3),
    ];
    (name, proptest::collection::vec(word(), 0..12)).prop_map(|(name, rest)| [name, rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn nothing_makes_it_panic_and_everything_is_bounded(words in request()) {
        with_args(&words, |args| {
            match resolve(args) {
                Ok(row) => {
                    let mut positions = Vec::new();
                    key_positions(row, args, |index| positions.push(index));
                    prop_assert!(positions.iter().all(|index| *index < args.len()));
                    let slots: std::collections::HashSet<_> =
                        positions.iter().map(|i| Slot::of_key(args.get(*i).unwrap())).collect();
                    let expected = match slots.len() {
                        0 => KeysInSlots::None,
                        1 => KeysInSlots::One(*slots.iter().next().unwrap()),
                        _ => KeysInSlots::Several,
                    };
                    prop_assert_eq!(slot(row, args), expected);
                    blocks(row, args);
                    class(row, args);
                }
                Err(refusal) => {
                    let mut text = Vec::new();
                    refusal.write(args, &mut text);
                    prop_assert!(text.len() < 400);
                    prop_assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
                }
            }
            Ok(())
        })?;
    }

    /// No row at all must read past a request that is shorter than its arity: rows and arguments
    /// may come together that `resolve` did not join.
    #[test]
    fn any_row_with_any_arguments_is_harmless(words in proptest::collection::vec(word(), 1..10)) {
        with_args(&words, |args| {
            for row in rows() {
                key_positions(row, args, |index| assert!(index < args.len()));
                slot(row, args);
                class(row, args);
                blocks(row, args);
            }
        });
    }
}
