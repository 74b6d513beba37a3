//! The heart of a worker alone: clients and nodes are buffers, so that what is measured is what
//! slotway itself does with a request, without a system call.
//!
//! `cargo bench -p benches --bench heart` measures the time. For instructions, which do not
//! depend on the machine's mood:
//! `valgrind --tool=callgrind target/release/heart 100000 16`; for what `client-order = "strict"`
//! costs, `heart 100000 16 set strict` against `heart 100000 16 set`; for what one request over
//! many slots costs, `heart 100000 100 mget` against `heart 100000 100 get`; for what a transaction
//! costs, `heart 100000 5 multi` against `heart 100000 5 set-one-slot`.

use std::collections::HashSet;
use std::sync::Arc;

use slotway::command::CommandId;
use slotway::metrics::{NodeCells, WorkerCells};
use slotway::resp::write;
use slotway::session::{Facts, Manners};
use slotway::slot::Slot;
use slotway::time::Moment;
use slotway::topology::{Draft, Endpoint, Node, NodeId, Role, Topology};
use slotway::worker::{Action, Operator, Settings, Surroundings, Worker};

/// The clients: as many as the loads of the bench have.
const CLIENTS: usize = 50;

/// What the clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// GETs of keys all over the slots; values of 32 bytes, as in the loads of the bench.
    Get,
    /// SETs of the same keys.
    Set,
    /// SETs of keys in one slot.
    SetOneSlot,
    /// The keys that a client would send at a time in GETs, each in a slot of its own, in one MGET.
    Mget,
    /// As many SETs of keys in one slot in one transaction.
    Multi,
    /// EVALs of one script of 1 KiB, with one of the same keys each.
    Eval,
}

const VALUE: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A worker that has connections to three nodes, and its clients.
pub struct Heart {
    worker: Worker,
    now: Moment,
    clients: Vec<u32>,
    /// What each client sends in a round.
    requests: Vec<Vec<u8>>,
    pipeline: usize,
    /// A node's reply to each of them.
    reply: &'static [u8],
    /// Bytes that all clients receive in a round.
    received: usize,
    replies: Vec<u8>,
    /// What goes before the replies to the commands of a transaction, if that is the load.
    before_exec: Vec<u8>,
}

impl Heart {
    /// A heart whose clients send `pipeline` requests at a time; `strict` is the order of writes.
    pub fn new(load: Load, pipeline: usize, strict: bool) -> Heart {
        let cells = Arc::new(WorkerCells::new(CommandId::COUNT));
        let around = Surroundings {
            facts: Box::new(|| Facts { server_version: "7.0.15".into(), ..Facts::default() }),
            node_cells: Box::new(|_| Arc::new(NodeCells::default())),
            credentials: Box::new(|| None),
            operator: Operator::default(),
            random: Box::new(|| 0.5),
        };
        let mut heart = Heart {
            worker: Worker::new(Settings::default(), around, cells),
            now: Moment::from_micros(1),
            clients: Vec::new(),
            requests: Vec::new(),
            pipeline,
            reply: match load {
                Load::Get => b"$32\r\n0123456789abcdef0123456789abcdef\r\n",
                Load::Set | Load::SetOneSlot | Load::Eval | Load::Multi => b"+OK\r\n",
                Load::Mget => b"*1\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n",
            },
            received: 0,
            replies: Vec::new(),
            before_exec: match load {
                Load::Multi => {
                    let queued = "+QUEUED\r\n".repeat(pipeline);
                    format!("+OK\r\n{queued}*{pipeline}\r\n").into_bytes()
                }
                _ => Vec::new(),
            },
        };
        heart.received = CLIENTS
            * match load {
                Load::Mget => format!("*{pipeline}\r\n").len() + pipeline * (heart.reply.len() - 4),
                _ => heart.before_exec.len() + pipeline * heart.reply.len(),
            };
        heart.worker.topology_changed(three_shards(), heart.now);
        heart.worker.connect_to_primaries(heart.now);
        heart.shake_hands();
        let manners = Manners { strict_order: strict, ..Manners::default() };
        for client in 0..CLIENTS {
            let index = heart.worker.client_connected(client as u64, manners, heart.now);
            heart.clients.push(index);
            heart.requests.push(requests(load, client, pipeline));
        }
        heart
    }

    /// Every client sends its requests and gets its replies. Returns how many requests that were.
    pub fn round(&mut self) -> usize {
        self.now = Moment::from_micros(self.now.as_micros() + 100);
        for (&client, requests) in self.clients.iter().zip(&self.requests) {
            self.worker.client_bytes(client, requests, self.now);
        }
        let (mut answered, mut received) = (0, 0);
        // With the strict order, what may not be sent yet follows in later turns.
        while answered < CLIENTS * self.pipeline {
            let before = answered;
            answered += self.turn_of_nodes();
            received += self.turn_of_clients();
            assert!(answered > before, "nothing reached a node");
        }
        assert_eq!(received, self.received, "every reply reached its client");
        answered
    }

    /// Every node answers what it has got. Returns how many requests that were.
    fn turn_of_nodes(&mut self) -> usize {
        let mut answered = 0;
        self.worker.settle_turn();
        while let Some(node) = self.worker.take_dirty_node() {
            let output = self.worker.node_output(node);
            // Each request of this bench begins with an array header and nothing else does.
            let mut count = output.iter().filter(|&&byte| byte == b'*').count();
            let len = output.len();
            self.worker.node_wrote(node, len);
            self.replies.clear();
            if self.before_exec.is_empty() {
                (0..count).for_each(|_| self.replies.extend_from_slice(self.reply));
            } else {
                let blocks = count / (self.pipeline + 2);
                count = blocks * self.pipeline;
                for _ in 0..blocks {
                    self.replies.extend_from_slice(&self.before_exec);
                    (0..self.pipeline).for_each(|_| self.replies.extend_from_slice(self.reply));
                }
            }
            self.worker.node_bytes(node, &self.replies, self.now);
            answered += count;
        }
        answered
    }

    /// Every client reads what there is for it. Returns how many bytes that were.
    fn turn_of_clients(&mut self) -> usize {
        self.worker.settle_turn();
        let mut received = 0;
        while let Some(client) = self.worker.take_dirty_client() {
            let len = self.worker.client_output(client).len();
            received += len;
            self.worker.client_wrote(client, len, self.now);
        }
        received
    }

    fn shake_hands(&mut self) {
        while let Some(action) = self.worker.take_action() {
            if let Action::Dial { connection, .. } = action {
                self.worker.node_connected(connection, self.now);
                let len = self.worker.node_output(connection).len();
                self.worker.node_wrote(connection, len);
                let noperm = b"-NOPERM\r\n-NOPERM\r\n-NOPERM\r\n";
                self.worker.node_bytes(connection, noperm, self.now);
            }
        }
        while self.worker.take_dirty_node().is_some() {}
    }
}

/// What a client sends in a round.
fn requests(load: Load, client: usize, pipeline: usize) -> Vec<u8> {
    let one_slot = matches!(load, Load::SetOneSlot | Load::Multi);
    let prefix = if one_slot { "{s}" } else { "key" };
    let keys = (0..).map(|n| format!("{prefix}:{:012}", client * 7919 + n * 104_729));
    let mut requests = Vec::new();
    if load == Load::Mget {
        let mut slots = HashSet::new();
        let apart = keys.filter(|key| slots.insert(Slot::of_key(key.as_bytes())));
        let keys: Vec<String> = apart.take(pipeline).collect();
        let words: Vec<&[u8]> = ["MGET"]
            .into_iter()
            .chain(keys.iter().map(String::as_str))
            .map(str::as_bytes)
            .collect();
        write::command(&mut requests, &words);
        return requests;
    }
    if load == Load::Multi {
        write::command(&mut requests, &[b"MULTI"]);
    }
    for key in keys.take(pipeline) {
        match load {
            Load::Get => write::command(&mut requests, &[b"GET", key.as_bytes()]),
            Load::Eval => {
                let words: [&[u8]; 4] = [b"EVAL", &[b'x'; 1024], b"1", key.as_bytes()];
                write::command(&mut requests, &words);
            }
            _ => write::command(&mut requests, &[b"SET", key.as_bytes(), VALUE]),
        }
    }
    if load == Load::Multi {
        write::command(&mut requests, &[b"EXEC"]);
    }
    requests
}

fn three_shards() -> Arc<Topology> {
    let mut draft = Draft::default();
    for (n, (first, last)) in [(0, 5460), (5461, 10922), (10923, 16383)].into_iter().enumerate() {
        let id = format!("{n:040}");
        let (Some(id), Some(first), Some(last)) =
            (NodeId::parse(id.as_bytes()), Slot::new(first), Slot::new(last))
        else {
            continue;
        };
        draft.nodes.push(Node::new(id, Endpoint::new("127.0.0.1", 1 + n as u16), Role::Primary));
        draft.own(first, last, id, 1);
    }
    Arc::new(draft.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_of_a_round_is_answered_also_where_one_waits_for_another() {
        use Load::{Eval, Get, Mget, Multi, Set, SetOneSlot};
        for load in [Get, Set, SetOneSlot, Mget, Multi, Eval] {
            for strict in [false, true] {
                let mut heart = Heart::new(load, 16, strict);
                assert_eq!([heart.round(), heart.round()], [CLIENTS * 16; 2], "{load:?} {strict}");
            }
        }
    }

    #[test]
    fn only_what_one_slot_gets_in_strict_order_takes_several_turns() {
        for (load, strict, at_once) in
            [(Load::SetOneSlot, true, 1), (Load::SetOneSlot, false, 16), (Load::Set, true, 16)]
        {
            let mut heart = Heart::new(load, 16, strict);
            for (&client, requests) in heart.clients.iter().zip(&heart.requests) {
                heart.worker.client_bytes(client, requests, heart.now);
            }
            assert_eq!(heart.turn_of_nodes(), CLIENTS * at_once, "{load:?} {strict}");
        }
    }
}
