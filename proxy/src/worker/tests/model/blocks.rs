//! Transactions, in worlds of their own so that the stories of the others stay as they are: a block
//! is executed whole or not at all, once, and its client gets what its EXEC was answered.
//!
//! On a connection a block is one request, from MULTI to EXEC: a process that has not got EXEC does
//! nothing of it.

use fastrand::Rng;

use super::cluster::{Cluster, TAGS, slot_of};
use super::history::{Kind, Op, op_of};
use super::world::World;
use crate::worker::tests::bench::{encode, take_requests};

/// Worlds from this number on have transactions.
pub(super) const FROM: u64 = 1_000_000;

/// What a client is told of a transaction that was refused before its EXEC.
pub(super) const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

/// What EXEC is told if it is refused itself, before the reason.
const BECAUSE: &str = "-EXECABORT Transaction discarded because of: ";

/// A client sends a transaction of a few commands, all at once.
pub(super) fn ask(world: &mut World) {
    let client = world.rng.usize(..world.clients.len());
    let tag = TAGS[world.rng.usize(..TAGS.len())];
    let count = world.rng.usize(1..3);
    let first = world.cluster.ops.len();
    let block = first + count + 1;
    let mut keys: Vec<String> = (0..2).map(|n| format!("{tag}{n}")).collect();
    world.rng.shuffle(&mut keys);
    keys.truncate(count);
    if !world.sends_as(client, "MULTI", first) {
        return;
    }
    world.make(Op::new(client, Kind::Queued, Vec::new(), None));
    for (n, key) in keys.iter().enumerate() {
        let large = world.rng.u8(..) < 20;
        let x = if large { format!(":{}", "x".repeat(25_000)) } else { String::new() };
        world.sends_as(client, &format!("RPUSH {key} t{block}{x}"), first + 1 + n);
        world.make(Op::new(client, Kind::Queued, Vec::new(), None));
    }
    world.sends_as(client, "EXEC", block);
    let mut op = Op::new(client, Kind::Block, keys, Some(slot_of(tag)));
    op.parts = (first..block).collect();
    world.make(op);
}

/// The requests that are whole at the beginning of these bytes. A block is one of them.
pub(super) fn take_whole(input: &mut Vec<u8>) -> Vec<String> {
    if memchr::memmem::find(input, b"MULTI").is_none() {
        return take_requests(input);
    }
    let mut rest = input.clone();
    let (mut whole, mut open) = (Vec::new(), Vec::new());
    for request in take_requests(&mut rest) {
        match request.as_str() {
            "MULTI" => {
                assert!(open.is_empty(), "MULTI behind {open:?}");
                open.push(request);
            }
            "EXEC" => {
                open.push(request);
                whole.push(open.join(" "));
                open.clear();
            }
            _ if open.is_empty() => whole.push(request),
            _ => open.push(request),
        }
    }
    *input = open.iter().flat_map(|request| encode(request)).chain(rest).collect();
    whole
}

impl Cluster {
    /// What the replies to a block are, if it is refused for this.
    pub(super) fn refuse_block(&self, words: &[&str], error: &str, rng: &mut Rng) -> String {
        let count = commands(words);
        let by_words = error.starts_with("LOADING") || error.starts_with("MASTERDOWN");
        let late = if by_words { format!("{BECAUSE}{error}\r\n") } else { format!("-{error}\r\n") };
        // Only EXEC looks at all keys together.
        let queued = if error.starts_with("TRYAGAIN") { count } else { rng.usize(..=count) };
        let refused = count - queued;
        let exec = if refused == 0 { &late } else { ABORTED };
        let refusals = format!("-{error}\r\n").repeat(refused);
        format!("+OK\r\n{}{refusals}{exec}", "+QUEUED\r\n".repeat(queued))
    }

    /// The reply to the EXEC of a block that was executed.
    pub(super) fn exec(&self, op: usize, port: u16, words: &[&str]) -> String {
        let block = &self.ops[op];
        let keys = words.iter().filter(|word| word.starts_with('{'));
        assert!(keys.clone().eq(&block.keys), "t{op} is not whole: {words:?}");
        let ops = words.iter().filter_map(|word| op_of(word));
        assert!(ops.eq(std::iter::repeat_n(op, block.keys.len())), "in t{op}: {words:?}");
        let lens = keys.map(|key| format!("+t{op} {}\r\n", self.data.list(port, key).len()));
        format!("*{}\r\n{}", block.keys.len(), lens.collect::<String>())
    }
}

/// The replies to a block that is executed, before the one to EXEC.
pub(super) fn queued(words: &[&str]) -> String {
    format!("+OK\r\n{}", "+QUEUED\r\n".repeat(commands(words)))
}

/// What is said to a block on a connection that has to log in.
pub(super) fn locked(words: &[&str], error: &str) -> String {
    format!("{}{BECAUSE}{}", error.repeat(commands(words) + 1), &error[1..])
}

fn commands(words: &[&str]) -> usize {
    words.iter().filter(|word| word.starts_with('{')).count()
}

impl World {
    /// Whether a transaction was refused because one of its commands was.
    pub(super) fn was_spoiled(&self, block: usize) -> bool {
        let mut parts = self.cluster.ops[block].parts.iter();
        let refused = |part: &usize| {
            let answer = self.cluster.ops[*part].answer.as_deref();
            answer.is_some_and(|text| text.starts_with("-OVERLOADED not executed: "))
        };
        parts.any(refused)
    }
}
