//! A worker with clients and nodes in memory, and time that stands still until it is moved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::command::CommandId;
use crate::events::{Event, Told};
use crate::metrics::{NodeCells, WorkerCells};
use crate::resp::request::{Frame, Limits, Scanner};
use crate::resp::{Args, write};
use crate::session::{Address, CommonQuestion, Ends, Facts, Manners, Part, Question, Totals};
use crate::slot::Slot;
use crate::time::Moment;
use crate::topology::{Draft, Endpoint, Node, NodeId, Role, Topology};
use crate::worker::{Action, Deadlines, Operator, Settings, Surroundings, WishReason, Worker};

/// What a node connection has seen.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) port: u16,
    /// The driver has opened it.
    open: bool,
    /// What its greeting chose: `HELLO 3`, `SELECT 1`.
    pub(super) mode: Vec<String>,
    /// Bytes that are no whole request yet.
    input: Vec<u8>,
    /// Requests behind the handshake that nobody has answered, as words.
    pub(super) requests: Vec<String>,
    /// How many bytes the kernel takes; `None`: all.
    pub(super) takes: Option<usize>,
}

pub(super) struct Bench {
    pub(super) worker: Worker,
    pub(super) cells: Arc<WorkerCells>,
    pub(super) now: Moment,
    /// Open connections and those being dialed, by index.
    pub(super) wires: BTreeMap<u32, Wire>,
    /// What clients have received, by index.
    pub(super) received: BTreeMap<u32, Vec<u8>>,
    pub(super) closed: Vec<u32>,
    /// Questions to all workers that nobody has answered.
    pub(super) questions: Vec<(u64, CommonQuestion)>,
    pub(super) wishes: Vec<WishReason>,
    /// What nodes were told to kill.
    pub(super) killed: Vec<String>,
    /// Ports at which nobody answers.
    pub(super) dead: Vec<u16>,
    /// Ports whose process takes bytes and does nothing.
    pub(super) frozen: Vec<u16>,
    /// What INFO says of a node, by its port, where that is not the usual.
    pub(super) infos: BTreeMap<u16, String>,
    /// Dials are left open until [`Bench::open`].
    pub(super) slow_dials: bool,
    /// Nodes do not answer who wants to hear of every change of a key.
    pub(super) no_watching: bool,
    /// What the operator was told.
    pub(super) told: Arc<Mutex<Vec<(Moment, Event)>>>,
    /// How many dials there were, by port.
    pub(super) dials: BTreeMap<u16, usize>,
}

/// Settings small enough to reach their bounds.
pub(super) fn settings() -> Settings {
    Settings {
        deadlines: deadlines(Duration::from_secs(20)),
        park_max_requests: 100,
        park_max_bytes: 100_000,
        output_pause: 10_000,
        output_max: 100_000,
        large_request: 20_000,
        large_requests_max_bytes: 100_000,
        large_reply: 20_000,
        large_stall: Duration::from_secs(2),
        dedicated_max: 2,
        ..Settings::default()
    }
}

/// Deadlines of which `auto` is this long.
pub(super) fn deadlines(auto: Duration) -> Deadlines {
    Deadlines { auto, ..Deadlines::default() }
}

/// The node with this port; its identity is made of the port.
pub(super) fn node_id(port: u16) -> NodeId {
    NodeId::parse(format!("{port:040}").as_bytes()).unwrap()
}

/// A topology of primaries, each with its ranges of slots.
pub(super) fn topology(revision: u64, shards: &[(u16, &[(u16, u16)])]) -> Arc<Topology> {
    let mut draft = Draft { revision, ..Draft::default() };
    for (port, ranges) in shards {
        let endpoint = Endpoint::new("10.0.0.1", *port);
        let node = Node::new(node_id(*port), endpoint, Role::Primary);
        draft.nodes.push(Node { config_epoch: revision, ..node });
        for (first, last) in *ranges {
            let slot = |n: u16| Slot::new(n).unwrap();
            draft.own(slot(*first), slot(*last), node_id(*port), revision);
        }
    }
    Arc::new(draft.finish())
}

/// Three shards on ports 1, 2 and 3; `key1`, `key2` … see [`key_of`].
pub(super) fn three_shards() -> Arc<Topology> {
    topology(1, &[(1, &[(0, 5460)]), (2, &[(5461, 10922)]), (3, &[(10923, 16383)])])
}

/// The n-th key whose slot the node with this port owns in [`three_shards`].
pub(super) fn key_of(port: u16, n: usize) -> String {
    let owned = |key: &String| {
        let slot = Slot::of_key(key.as_bytes()).number();
        port == if slot <= 5460 {
            1
        } else if slot <= 10922 {
            2
        } else {
            3
        }
    };
    (0..).map(|i| format!("k{i}")).filter(owned).nth(n).unwrap()
}

impl Bench {
    pub(super) fn new() -> Bench {
        Bench::with(settings())
    }

    /// A worker that knows three shards.
    pub(super) fn with(settings: Settings) -> Bench {
        let mut bench = Bench::without_topology(settings);
        bench.topology(three_shards());
        bench
    }

    pub(super) fn without_topology(settings: Settings) -> Bench {
        let cells = Arc::new(WorkerCells::new(CommandId::COUNT));
        let told: Arc<Mutex<Vec<(Moment, Event)>>> = Arc::default();
        let note = Arc::clone(&told);
        let tell = move |at, event| note.lock().unwrap().push((at, event));
        let around = Surroundings {
            facts: Box::new(|| Facts {
                server_version: "7.0.15".into(),
                databases: Some(100),
                run_id: "0".repeat(40),
                ..Facts::default()
            }),
            node_cells: Box::new(|_| Arc::new(NodeCells::default())),
            credentials: Box::new(|| None),
            operator: Operator {
                tell: Box::new(tell),
                told: Box::new(|_| vec![Told { at: "at".into(), text: "text".into() }]),
                ..Operator::default()
            },
            random: Box::new(|| 0.5),
        };
        Bench {
            worker: Worker::new(settings, around, Arc::clone(&cells)),
            cells,
            now: Moment::from_micros(1_000_000),
            wires: BTreeMap::new(),
            received: BTreeMap::new(),
            closed: Vec::new(),
            questions: Vec::new(),
            wishes: Vec::new(),
            killed: Vec::new(),
            dead: Vec::new(),
            frozen: Vec::new(),
            infos: BTreeMap::new(),
            slow_dials: false,
            no_watching: false,
            told,
            dials: BTreeMap::new(),
        }
    }

    pub(super) fn topology(&mut self, topology: Arc<Topology>) {
        self.worker.topology_changed(topology, self.now);
        self.worker.connect_to_primaries(self.now);
        self.turn();
    }

    // ---- clients ----

    pub(super) fn client(&mut self) -> u32 {
        self.client_with(Manners::default())
    }

    pub(super) fn client_with(&mut self, manners: Manners) -> u32 {
        let index = self.worker.client_connected(7, manners, self.now);
        self.received.insert(index, Vec::new());
        index
    }

    /// Sends a request as an array, its words split at blanks.
    pub(super) fn send(&mut self, client: u32, request: &str) {
        self.send_raw(client, &encode(request));
    }

    pub(super) fn send_raw(&mut self, client: u32, bytes: &[u8]) {
        self.worker.client_bytes(client, bytes, self.now);
        self.turn();
    }

    /// What the client has received since the last call.
    pub(super) fn got(&mut self, client: u32) -> String {
        let bytes = self.received.get_mut(&client).map(std::mem::take).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// This worker, and these parts of others, answer the oldest question to all workers.
    pub(super) fn answer_question(&mut self, others: Vec<Part>) {
        let (number, question) = self.questions.remove(0);
        let own = self.worker.inquire(&question, ends, self.now);
        self.turn();
        let reply = question.reply(others.into_iter().chain([own]).collect());
        self.worker.answered(number, &reply, self.now);
        self.turn();
    }

    // ---- nodes ----

    /// What the operator was told since the last call, as sentences.
    pub(super) fn told(&mut self) -> Vec<String> {
        self.told.lock().unwrap().drain(..).map(|(_, event)| event.to_string()).collect()
    }

    /// How long the oldest request has been waiting, as the metrics say, in microseconds.
    pub(super) fn cells_oldest(&self) -> u64 {
        self.cells.parked_oldest_us()
    }

    /// Connections whose next reply is looked at.
    pub(super) fn watched(&self) -> usize {
        let connections = self.worker.connections.iter();
        connections.filter(|(_, c)| c.replies == crate::node::Replies::Watch).count()
    }

    /// The unanswered requests at the node with this port, over all connections.
    pub(super) fn at(&self, port: u16) -> Vec<String> {
        let wires = self.wires.values().filter(|wire| wire.port == port);
        wires.flat_map(|wire| wire.requests.iter().cloned()).collect()
    }

    /// The connections of the node with this port.
    pub(super) fn wires_of(&self, port: u16) -> Vec<u32> {
        let wires = self.wires.iter().filter(|(_, wire)| wire.port == port);
        wires.map(|(&index, _)| index).collect()
    }

    /// The connection of this node whose greeting chose exactly this.
    pub(super) fn wire_in(&self, port: u16, mode: &[&str]) -> Option<u32> {
        let wires = self.wires.iter().filter(|(_, wire)| wire.port == port);
        wires.filter(|(_, wire)| wire.mode == mode).map(|(&index, _)| index).next()
    }

    /// Answers the oldest request at this node: `reply` without the line end at the end.
    pub(super) fn answer(&mut self, port: u16, reply: &str) {
        let wire = self
            .wires
            .iter()
            .find(|(_, wire)| wire.port == port && !wire.requests.is_empty())
            .map(|(&index, _)| index)
            .unwrap_or_else(|| panic!("nothing to answer at node {port}"));
        self.answer_on(wire, reply);
    }

    pub(super) fn answer_on(&mut self, wire: u32, reply: &str) {
        self.wires.get_mut(&wire).unwrap().requests.remove(0);
        self.say(wire, format!("{reply}\r\n").as_bytes());
    }

    /// The node sends these bytes, asked or not.
    pub(super) fn say(&mut self, wire: u32, bytes: &[u8]) {
        self.worker.node_bytes(wire, bytes, self.now);
        self.turn();
    }

    /// All connections to this node break; dials fail from now on if `stays_dead`.
    pub(super) fn kill(&mut self, port: u16, stays_dead: bool) {
        if stays_dead {
            self.dead.push(port);
        }
        for wire in self.wires_of(port) {
            self.wires.remove(&wire);
            self.worker.node_lost(wire, self.now);
        }
        self.turn();
    }

    pub(super) fn revive(&mut self, port: u16) {
        self.dead.retain(|&dead| dead != port);
    }

    /// Completes the dial of this connection, handshake included.
    pub(super) fn open(&mut self, wire: u32) {
        self.connect(wire);
        self.turn();
    }

    fn connect(&mut self, index: u32) {
        let Some(wire) = self.wires.get_mut(&index) else { return };
        if wire.open {
            return;
        }
        if self.dead.contains(&wire.port) {
            self.wires.remove(&index);
            return self.worker.node_lost(index, self.now);
        }
        wire.open = true;
        self.worker.node_connected(index, self.now);
    }

    // ---- time ----

    pub(super) fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(wake) = self.worker.next_wake()
            && wake <= until
        {
            self.now = self.now.max(wake);
            self.worker.tick(self.now);
            self.turn();
        }
        self.now = until;
    }

    // ---- the driver ----

    /// One turn, as a driver makes it.
    pub(super) fn turn(&mut self) {
        self.worker.settle_turn();
        let mut rounds = 0;
        while self.worker.has_work() {
            rounds += 1;
            assert!(rounds < 10_000, "the turn does not end");
            while let Some(index) = self.worker.take_dirty_node() {
                self.write_node(index);
            }
            while let Some(index) = self.worker.take_dirty_client() {
                let output = self.worker.client_output(index).to_vec();
                self.received.entry(index).or_default().extend_from_slice(&output);
                if !output.is_empty() {
                    self.worker.client_wrote(index, output.len(), self.now);
                }
            }
            while let Some(action) = self.worker.take_action() {
                self.act(action);
            }
            self.worker.settle_turn();
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { connection, endpoint } => {
                *self.dials.entry(endpoint.port).or_default() += 1;
                let wire = Wire { port: endpoint.port, ..Wire::default() };
                let before = self.wires.insert(connection, wire);
                assert!(before.is_none(), "connection {connection} dialed twice");
                if !self.slow_dials {
                    self.connect(connection);
                }
            }
            Action::CloseNode { connection } => {
                self.wires.remove(&connection).expect("an open connection is closed");
            }
            Action::CloseClient { client } => self.closed.push(client),
            Action::ReadNode { .. } | Action::ReadClient { .. } | Action::HearOut { .. } => {}
            Action::Refresh(reason) => self.wishes.push(reason),
            Action::Ask { number, client, question } => match question {
                Question::Own(own) => self.worker.answer_own(number, &own, &ends(client), self.now),
                Question::All(all) => self.questions.push((number, all)),
                Question::Nodes(info) => {
                    let reply = info.reply(&Facts::default(), &Totals::default());
                    self.worker.answered(number, &reply, self.now);
                }
            },
        }
    }

    fn write_node(&mut self, index: u32) {
        let mut output = self.worker.node_output(index).to_vec();
        let Some(wire) = self.wires.get_mut(&index) else { return };
        if let Some(takes) = wire.takes {
            output.truncate(takes);
            wire.takes = Some(takes - output.len());
        }
        self.worker.node_wrote(index, output.len());
        wire.input.extend_from_slice(&output);
        if !self.frozen.contains(&wire.port) {
            self.serve(index);
        }
    }

    /// The process of this node does not run any more, or runs again.
    pub(super) fn freeze(&mut self, port: u16) {
        self.frozen.push(port);
    }

    pub(super) fn thaw(&mut self, port: u16) {
        self.frozen.retain(|&frozen| frozen != port);
        for wire in self.wires_of(port) {
            self.serve(wire);
        }
        self.turn();
    }

    /// The node with this port is asked for the map now; it says what the topology says.
    pub(super) fn look(&mut self, port: u16) {
        self.now = self.now + Duration::from_millis(1);
        self.worker.views_given(&[(node_id(port), self.now)], self.now);
        self.turn();
    }

    /// Time passes and the driver does its housekeeping.
    pub(super) fn live(&mut self, how_long: Duration) {
        let step = Duration::from_millis(500);
        for _ in 0..how_long.as_millis() / step.as_millis() {
            self.advance(step);
            self.worker.housekeeping(self.now);
            self.turn();
        }
    }

    /// What a node does with what it has read: it answers greetings and keeps the rest for the
    /// test.
    fn serve(&mut self, index: u32) {
        let Some(wire) = self.wires.get_mut(&index) else { return };
        let port = wire.port;
        for words in take_requests(&mut wire.input) {
            let mode = self.wires.get(&index).map(|wire| wire.mode.as_slice());
            let watches = mode.is_some_and(|mode| mode.iter().any(|word| word.contains("BCAST")));
            let reply = match words.as_str() {
                "CLIENT ID" => Some(format!(":{index}\r\n")),
                "HELLO 3" => Some("%1\r\n$5\r\nproto\r\n:3\r\n".to_owned()),
                select if select.starts_with("SELECT ") => Some("+OK\r\n".to_owned()),
                "CLIENT TRACKING ON BCAST" if self.no_watching => None,
                "CLIENT TRACKING ON BCAST" => Some("+OK\r\n".to_owned()),
                "PING" if watches => Some("+PONG\r\n".to_owned()),
                "CLUSTER MYID" => Some(format!("$40\r\n{}\r\n", node_id(port))),
                kill if kill.starts_with("CLIENT KILL ID ") => {
                    self.killed.push(kill.to_owned());
                    Some(":1\r\n".to_owned())
                }
                "INFO server" => {
                    let info = self.infos.get(&port).map_or("run_id:abc\r\n", String::as_str);
                    Some(format!("${}\r\n{info}\r\n", info.len()))
                }
                _ => None,
            };
            if ["HELLO ", "SELECT ", "CLIENT TRACKING "]
                .iter()
                .any(|begin| words.starts_with(begin))
            {
                self.wires.get_mut(&index).unwrap().mode.push(words.clone());
            }
            match reply {
                Some(reply) => self.worker.node_bytes(index, reply.as_bytes(), self.now),
                None => self.wires.get_mut(&index).unwrap().requests.push(words),
            }
        }
    }
}

/// The ends of a client's connection.
pub(super) fn ends(client: u32) -> Ends {
    let at = |host: &str, port| Address { host: host.into(), port };
    Ends { peer: at("10.1.1.1", client as u16), local: at("10.0.0.9", 6379) }
}

/// A request as an array, its words split at blanks.
pub(super) fn encode(request: &str) -> Vec<u8> {
    let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    write::command(&mut bytes, &words);
    bytes
}

/// Takes whole requests off the front, as words.
pub(super) fn take_requests(input: &mut Vec<u8>) -> Vec<String> {
    let (mut requests, mut spans) = (Vec::new(), Vec::new());
    loop {
        match Scanner::default().scan(input, &Limits::default(), &mut spans) {
            Frame::Request { len } => {
                let args = Args::new(&input[..len], &spans);
                let words: Vec<String> =
                    args.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                requests.push(words.join(" "));
                input.drain(..len);
            }
            Frame::Partial => return requests,
            other => panic!("a node got {other:?}"),
        }
    }
}
