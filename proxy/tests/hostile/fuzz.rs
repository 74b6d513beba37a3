//! Mutations of valid streams at the socket, beside innocent clients.

use std::time::{Duration, Instant};

use super::innocents::Innocents;
use super::stage::{Stage, array};

/// Long enough for some thousand streams.
const DURATION: Duration = Duration::from_secs(4);

#[test]
fn mutated_streams_hurt_nobody_else() {
    let seed = std::env::var("SLOTWAY_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SLOTWAY_FUZZ_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let stage = Stage::new(|proxy| proxy.args(["--mask-deadline", "1s"]));
    let innocents = Innocents::start(&stage);
    let end = Instant::now() + DURATION;
    let mut streams = 0;
    let mut here = Vec::new();
    while Instant::now() < end {
        let bytes = stream(&mut random, &stage);
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
    let log = stage.proxy.log();
    assert!(!log.contains("a bug") && !log.contains("panicked"), "{log}");
    innocents.end();
}

fn stream(random: &mut fastrand::Rng, stage: &Stage) -> Vec<u8> {
    let key = stage.key(random.usize(..3), "fuzz");
    let mut bytes = Vec::new();
    for _ in 0..random.usize(1..20) {
        let request = match random.u8(..10) {
            0 => array(&["SET", &key, "value"]),
            1 => array(&["GET", &key]),
            2 => array(&["MSET", &key, "1", "other", "2"]),
            3 => array(&["EVAL", "return KEYS[1]", "1", &key]),
            4 => b"PING\r\n".to_vec(),
            5 => array(&["SUBSCRIBE", "c"]),
            6 => array(&["HGETALL", &key]),
            7 => array(&["CLIENT", "REPLY", "OFF"]),
            8 => array(&["COMMAND", "COUNT"]),
            _ => format!("set {key} \"a b\"\r\n").into_bytes(),
        };
        bytes.extend(request);
    }
    for _ in 0..random.usize(..6) {
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
