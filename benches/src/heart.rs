//! The heart of a worker alone: clients and nodes are buffers, so that what is measured is what
//! slotway itself does with a request, without a system call.
//!
//! `cargo bench -p benches --bench heart` measures the time. For instructions, which do not
//! depend on the machine's mood:
//! `valgrind --tool=callgrind target/release/heart 100000 16`.

use std::sync::Arc;

use slotway::command::CommandId;
use slotway::metrics::{NodeCells, WorkerCells};
use slotway::resp::write;
use slotway::session::Facts;
use slotway::slot::Slot;
use slotway::time::Moment;
use slotway::topology::{Draft, Endpoint, Node, NodeId, Role, Topology};
use slotway::worker::{Action, Settings, Surroundings, Worker};

/// The clients: as many as the loads of the bench have.
const CLIENTS: usize = 50;

/// The reply to each GET: 32 bytes, as in the loads of the bench.
const REPLY: &[u8] = b"$32\r\n0123456789abcdef0123456789abcdef\r\n";

/// A worker that has connections to three nodes, and its clients.
pub struct Heart {
    worker: Worker,
    now: Moment,
    clients: Vec<u32>,
    /// What each client sends in a round.
    requests: Vec<Vec<u8>>,
    pipeline: usize,
    replies: Vec<u8>,
}

impl Heart {
    /// A heart whose clients send `pipeline` GETs at a time, for keys all over the slots.
    pub fn new(pipeline: usize) -> Heart {
        let cells = Arc::new(WorkerCells::new(CommandId::COUNT));
        let around = Surroundings {
            facts: Box::new(|| Facts {
                server_version: "7.0.15".into(),
                process_id: 1,
                run_id: String::new(),
                tcp_port: 1,
                uptime_seconds: 0,
                connected_clients: 0,
                commands_processed: 0,
            }),
            node_cells: Box::new(|_| Arc::new(NodeCells::default())),
            credentials: Box::new(|| None),
            random: Box::new(|| 0.5),
        };
        let mut heart = Heart {
            worker: Worker::new(Settings::default(), around, cells),
            now: Moment::from_micros(1),
            clients: Vec::new(),
            requests: Vec::new(),
            pipeline,
            replies: Vec::new(),
        };
        heart.worker.topology_changed(three_shards(), heart.now);
        heart.worker.connect_to_primaries(heart.now);
        heart.shake_hands();
        for client in 0..CLIENTS {
            heart.clients.push(heart.worker.client_connected(client as u64, heart.now));
            let mut requests = Vec::new();
            for n in 0..pipeline {
                let key = format!("key:{:012}", client * 7919 + n * 104_729);
                write::command(&mut requests, &[b"GET", key.as_bytes()]);
            }
            heart.requests.push(requests);
        }
        heart
    }

    /// Every client sends its requests and gets its replies. Returns how many requests that were.
    pub fn round(&mut self) -> usize {
        self.now = Moment::from_micros(self.now.as_micros() + 100);
        for (&client, requests) in self.clients.iter().zip(&self.requests) {
            self.worker.client_bytes(client, requests, self.now);
        }
        let mut answered = 0;
        self.worker.settle_turn();
        while let Some(node) = self.worker.take_dirty_node() {
            let output = self.worker.node_output(node);
            // Each request of this bench begins with an array header and nothing else does.
            let count = output.iter().filter(|&&byte| byte == b'*').count();
            let len = output.len();
            self.worker.node_wrote(node, len);
            self.replies.clear();
            (0..count).for_each(|_| self.replies.extend_from_slice(REPLY));
            self.worker.node_bytes(node, &self.replies, self.now);
            answered += count;
        }
        self.worker.settle_turn();
        let mut received = 0;
        while let Some(client) = self.worker.take_dirty_client() {
            let len = self.worker.client_output(client).len();
            received += len;
            self.worker.client_wrote(client, len, self.now);
        }
        assert_eq!(answered, CLIENTS * self.pipeline, "every request reached a node");
        assert_eq!(received, answered * REPLY.len(), "every reply reached its client");
        answered
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
