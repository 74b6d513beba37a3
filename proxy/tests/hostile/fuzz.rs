//! Mutations of valid streams at the socket, beside innocent clients.

use std::time::{Duration, Instant};

use super::innocents::Innocents;
use super::stage::{Stage, array};

/// Long enough for some thousand streams.
const DURATION: Duration = Duration::from_secs(4);

#[test]
fn mutated_streams_hurt_nobody_else() {
    mutated_streams(DURATION);
}

#[test]
#[ignore = "soak: 5 minutes of mutated streams"]
fn mutated_streams_hurt_nobody_else_for_long() {
    mutated_streams(Duration::from_secs(300));
}

fn mutated_streams(duration: Duration) {
    let seed = std::env::var("SLOTWAY_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SLOTWAY_FUZZ_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let stage = Stage::new(|proxy| proxy.args(["--mask-deadline", "1s"]));
    let innocents = Innocents::start(&stage);
    let keys = [0, 1, 2].map(|shard| stage.key(shard, "fuzz"));
    let end = Instant::now() + duration;
    let mut streams = 0;
    let mut here = Vec::new();
    while Instant::now() < end {
        let bytes = stream(&mut random, &keys);
        let mut peer = stage.proxy.peer().unwrap();
        let cut = random.usize(..=bytes.len());
        let _ = peer.send(&bytes[..cut]);
        if random.bool() {
            let _ = peer.send(&bytes[cut..]);
        }
        here.push(peer);
        if here.len() == 32 {
            here.clear();
        }
        streams += 1;
        if streams % 200 == 0 {
            innocents.next_hundred(&format!("{streams} streams of seed {seed}"));
        }
    }
    drop(here);
    innocents.next_hundred(&format!("all streams of seed {seed}"));
    assert!(stage.proxy.exited().is_none());
    assert!(streams > 100, "{streams}");
    eprintln!("{streams} streams");
    let log = stage.proxy.log();
    assert!(!log.contains("a bug") && !log.contains("panicked"), "{log}");
    innocents.end();
}

/// Requests of all kinds, most of them right and in their place; `K` is a key, `L` one of another
/// shard. Nothing that concerns all clients or all data: the innocents would notice.
const REQUESTS: &[&str] = &[
    "SET K value",
    "SET K value",
    "GET K",
    "GET K",
    "INCR K",
    "HGETALL K",
    "HSET K:h f v",
    "RPUSH K:l a b c",
    "LPOP K:l 2",
    "DEL K L",
    "MSET K 1 L 2",
    "MGET K L K",
    "EXISTS K L",
    "SUNION K L",
    "EVAL return{KEYS[1],ARGV[1]} 1 K x",
    "EVAL return{err='MOVED_1_x:1'} 1 K",
    "EVAL return'x' 0",
    "EVALSHA 0123456789012345678901234567890123456789 1 K",
    "SCRIPT EXISTS 0123456789012345678901234567890123456789",
    "XADD K:x * f v",
    "XREAD BLOCK 1 STREAMS K:x $",
    "BLPOP K:q 0",
    "BLPOP K:q 0.01",
    "BLMOVE K:q K:r LEFT RIGHT 0",
    "LPUSH K:q v",
    "WAIT 0 1",
    "WAIT 1 5",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH K",
    "UNWATCH",
    "SUBSCRIBE c d",
    "UNSUBSCRIBE c",
    "PSUBSCRIBE c*",
    "PUNSUBSCRIBE",
    "SSUBSCRIBE K",
    "SUNSUBSCRIBE",
    "PUBLISH c hello",
    "SPUBLISH K hello",
    "PUBSUB CHANNELS",
    "PUBSUB NUMSUB c d",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "CLIENT REPLY ON",
    "CLIENT TRACKING ON",
    "CLIENT TRACKING ON BCAST PREFIX K",
    "CLIENT TRACKING ON OPTIN",
    "CLIENT CACHING YES",
    "CLIENT TRACKING OFF",
    "CLIENT LIST",
    "CLIENT INFO",
    "CLIENT UNBLOCK 7",
    "CLIENT SETNAME me",
    "CLIENT NO-EVICT ON",
    "HELLO 3",
    "HELLO 2",
    "RESET",
    "QUIT",
    "SELECT 0",
    "AUTH nobody nothing",
    "COMMAND",
    "COMMAND COUNT",
    "COMMAND DOCS get",
    "COMMAND GETKEYS MSET a 1 b 2",
    "INFO",
    "INFO nodes",
    "KEYS c*",
    "SCAN 0 COUNT 1",
    "SCAN 9007199254740991",
    "DBSIZE",
    "RANDOMKEY",
    "CLUSTER SLOTS",
    "CLUSTER SHARDS",
    "CLUSTER NODES",
    "CLUSTER COUNTKEYSINSLOT 7",
    "CONFIG GET max*",
    "SLOWLOG GET",
    "MEMORY USAGE K",
    "OBJECT ENCODING K",
    "SORT K:l ALPHA STORE K:s",
    "GETRANGE K 0 -1",
    "SETRANGE K:big 300000 x",
    "GET K:big",
    "SETRANGE K:large 1500000 x",
    "GET K:large",
    "PROXY EVENTS",
    "PROXY TOPOLOGY",
    "NOSUCH K",
    "GET",
    "PING",
];

fn stream(random: &mut fastrand::Rng, keys: &[String; 3]) -> Vec<u8> {
    let [own, other] = [random.usize(..3), random.usize(..3)].map(|shard| &keys[shard]);
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..30) {
        let request = random.choice(REQUESTS).unwrap();
        let words = request.split(' ').map(|word| match word.strip_prefix(['K', 'L']) {
            Some(rest) if word.starts_with('K') && !rest.starts_with('E') => format!("{own}{rest}"),
            Some("") => other.clone(),
            _ => word.replace('_', " "),
        });
        let words: Vec<String> = words.collect();
        if random.u8(..10) == 0 {
            bytes.extend(format!("{}\r\n", words.join(" ")).into_bytes());
        } else {
            bytes.extend(array(&words.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
    // Half of them are right: whatever state they come to is one that a client can ask for.
    for _ in 0..if random.bool() { 0 } else { random.usize(1..6) } {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, *random.choice(b"\r\n*$0-9\0 '\"").unwrap()),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let piece = bytes[at..(at + random.usize(..40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}
