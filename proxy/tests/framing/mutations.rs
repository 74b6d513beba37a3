//! The fuzzers' entry points on a stable compiler: every file of the corpus, then mutations of
//! them for a bounded time.

use std::path::Path;
use std::time::{Duration, Instant};

use slotway::fuzz;

#[test]
fn requests_keep_their_claims_on_mutated_bytes() {
    let pieces: [&[u8]; 18] = [
        b"\r\n",
        b"\r",
        b"\n",
        b"*",
        b"$",
        b"*1\r\n",
        b"*2\r\n",
        b"$0\r\n\r\n",
        b"$4\r\nPING\r\n",
        b"-1",
        b"0",
        b"9",
        b"1048577",
        b"99999999999999999999",
        b"\"",
        b"'",
        b"\\x",
        b"\0",
    ];
    run("requests", &pieces, fuzz::requests);
}

#[test]
fn replies_keep_their_claims_on_mutated_bytes() {
    let pieces: [&[u8]; 22] = [
        b"\r\n",
        b"\r",
        b"\n",
        b"+",
        b"-",
        b":",
        b"$",
        b"*1\r\n",
        b"_\r\n",
        b",",
        b"#t\r\n",
        b"!",
        b"=",
        b"(",
        b"%1\r\n",
        b"~1\r\n",
        b"|1\r\n",
        b">1\r\n",
        b"-1",
        b"0",
        b"9",
        b"99999999999999999999",
    ];
    run("replies", &pieces, fuzz::replies);
}

/// Found by this test: at the bound of announced values, an array that was there as a whole did not
/// count.
#[test]
fn the_bound_of_announced_values_is_the_same_in_pieces() {
    fuzz::replies(b"*1099511627775\r\n*2\r\n$1\r\na\r\n:1\r\n*0\r\n*-1\r\n*3\r\n*1\r\n*0\r\n");
}

/// Set to the seed that a failed run printed, to run the same mutations again.
const SEED: &str = "SLOTWAY_FUZZ_SEED";

/// How long the mutations of one entry point may take.
const DURATION_MAX: Duration = Duration::from_secs(2);

/// Mutated inputs do not grow beyond this.
const INPUT_BYTES_MAX: usize = 4096;

fn run(folder: &str, pieces: &[&[u8]], check: fn(&[u8])) {
    let corpus = corpus(folder);
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse().expect("a seed is a number"),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("{folder}: {SEED}={seed}");
    for input in &corpus {
        check(input);
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let started = Instant::now();
    let mut inputs = 0;
    while started.elapsed() < DURATION_MAX {
        let input = mutated(&corpus, pieces, &mut random);
        if let Err(panic) = std::panic::catch_unwind(|| check(&input)) {
            eprintln!("{folder}: broken by b\"{}\"", input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
        inputs += 1;
    }
    eprintln!("{folder}: {inputs} mutations");
    assert!(inputs > 100, "a check of {inputs} inputs is none");
}

/// All files of a folder in the order of their names, so that a seed means the same everywhere.
fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let entries = std::fs::read_dir(&folder).expect("the corpus is in the repository");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    assert!(paths.len() >= 10, "too little in {}", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

/// One of the corpus, changed in a few places.
fn mutated(corpus: &[Vec<u8>], pieces: &[&[u8]], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=input.len());
        let end = (at + random.usize(1..20)).min(input.len());
        match random.u8(..7) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, input[at..end].to_vec())),
            2 if at < input.len() => input[at] ^= 1 << random.u8(..8),
            3 if at < input.len() => input[at] = random.u8(..),
            4 => input.truncate(at.max(1)),
            5 => input.extend_from_slice(&corpus[random.usize(..corpus.len())]),
            _ => drop(input.splice(at..at, pieces[random.usize(..pieces.len())].iter().copied())),
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}
