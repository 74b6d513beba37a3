//! PROXY: what the operator asks the proxy itself, on the clients' port.

use super::requests::allowed;
use super::{NO_POOL, Worker};
use crate::command::{self, Class, Row};
use crate::events::{Event, Told};
use crate::metrics::Summary;
use crate::resp::{Args, Span, write};
use crate::routing::{Plan, plan};
use crate::session::Answer;
use crate::slot::Slot;
use crate::time::Moment;
use crate::topology::{Node, Shard, SlotRange};

/// How a worker tells the process what happened, and asks it what PROXY shows.
pub struct Operator {
    /// Takes note of what happened at this moment.
    pub tell: Box<dyn Fn(Moment, Event) + Send>,
    /// The last events of the process, at most so many, the newest last.
    pub told: Box<dyn Fn(usize) -> Vec<Told> + Send>,
    /// The numbers of the process.
    pub summary: Box<dyn Fn() -> Summary + Send>,
}

impl Default for Operator {
    /// Nobody listens and nothing is known.
    fn default() -> Operator {
        Operator {
            tell: Box::new(|_, _| {}),
            told: Box::new(|_| Vec::new()),
            summary: Box::new(Summary::default),
        }
    }
}

/// Events shown by PROXY EVENTS without a count.
const EVENTS_SHOWN: usize = 50;

const HELP: [&str; 13] = [
    "PROXY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "EVENTS [<count>]",
    "    The last <count> events (default 50, -1: all that are kept), the newest last.",
    "EXPLAIN <command> [<arg> ...]",
    "    Where the command would go, and what a lost reply would mean. It is not executed.",
    "INFO",
    "    The numbers of this process.",
    "TOPOLOGY",
    "    The cluster as it is seen now: shards, primaries, replicas.",
    "HELP",
    "    Prints this help.",
    "",
    "All of it is also on the admin port, as JSON or metrics.",
];

impl Worker {
    /// Answers PROXY and what follows it: appends one reply to `out`.
    pub(super) fn operator(&self, row: &Row, args: &Args<'_>, out: &mut Vec<u8>) -> Answer {
        match (row.name, args.len()) {
            ("proxy|help", _) => lines(out, HELP),
            ("proxy|events", 2 | 3) => return self.events(args, out),
            ("proxy|explain", _) => lines(out, self.explain(args)),
            ("proxy|info", 2) => write::bulk(out, self.info().as_bytes()),
            ("proxy|topology", 2) => lines(out, self.told_topology()),
            (name, _) => {
                let name = name.trim_start_matches("proxy|").to_ascii_uppercase();
                return fail(
                    out,
                    &format!(
                        "ERR unknown subcommand or wrong number of arguments for '{name}'. Try PROXY HELP."
                    ),
                );
            }
        }
        Answer::Served
    }

    fn events(&self, args: &Args<'_>, out: &mut Vec<u8>) -> Answer {
        let count = match args.get(2).map(|count| str::from_utf8(count).map(str::parse::<i64>)) {
            None => EVENTS_SHOWN,
            Some(Ok(Ok(-1))) => usize::MAX,
            Some(Ok(Ok(count @ 0..))) => usize::try_from(count).unwrap_or(usize::MAX),
            Some(Ok(Ok(_))) => {
                return fail(out, "ERR count should be greater than or equal to -1");
            }
            Some(_) => return fail(out, "ERR value is not an integer or out of range"),
        };
        lines(out, (self.around.operator.told)(count).iter().map(Told::to_string));
        Answer::Served
    }

    fn info(&self) -> String {
        let (facts, summary) = ((self.around.facts)(), (self.around.operator.summary)());
        let map = &self.topology;
        let mut text = format!(
            "# Proxy\r\nslotway_version:{}\r\nprocess_id:{}\r\nuptime_in_seconds:{}\r\n\
             workers:{}\r\nconnected_clients:{}\r\ntotal_commands_processed:{}\r\n\
             unknown_results:{}\r\n\r\n\
             # Parking\r\nparked_requests:{}\r\nparked_bytes:{}\r\nparked_oldest_ms:{}\r\n\r\n\
             # Cluster\r\nserver_version:{}\r\ncluster_state:{}\r\ncurrent_epoch:{}\r\n\
             topology_revision:{}\r\nslots_covered:{}\r\nshards:{}\r\nnodes:{}\r\n\r\n# Nodes\r\n",
            env!("CARGO_PKG_VERSION"),
            facts.process_id,
            facts.uptime_seconds,
            summary.workers,
            summary.clients,
            summary.requests_total,
            summary.unknown_results,
            summary.parked_requests,
            summary.parked_bytes,
            summary.parked_oldest.as_millis(),
            facts.server_version,
            map.state.as_str(),
            map.current_epoch,
            map.revision,
            map.slots_covered(),
            map.shards().len(),
            map.nodes().len(),
        );
        for (node, numbers) in summary.nodes {
            text.push_str(&format!(
                "{node}:connections={},in_flight={},requests={},circuits_open={}\r\n",
                numbers.connections,
                numbers.in_flight,
                numbers.requests_total,
                numbers.circuits_open,
            ));
        }
        text
    }

    fn told_topology(&self) -> Vec<String> {
        let map = &self.topology;
        let node = |node: &Node| {
            let (role, health) = (node.role.as_str(), node.health.as_str());
            format!("{role} {} ({}, {health})", node.endpoint, node.id.short())
        };
        let shard = |shard: &Shard| {
            let (count, epoch) = (shard.slots(), shard.config_epoch);
            let slots = SlotRange::text(&shard.ranges);
            let nodes = [shard.primary].into_iter().chain(shard.replicas.iter().copied());
            let nodes: Vec<String> = nodes.map(|index| node(map.node(index))).collect();
            format!("slots {slots} ({count}), config epoch {epoch}: {}", nodes.join(", "))
        };
        let head = format!(
            "revision {}: state {}, epoch {}, {} of {} slots have an owner",
            map.revision,
            map.state.as_str(),
            map.current_epoch,
            map.slots_covered(),
            Slot::COUNT,
        );
        let others = map.nodes().map(|(_, node)| node).filter(|node| node.shard.is_none());
        let others = others.map(|other| format!("without slots: {}", node(other)));
        let shards = map.shards().map(|(_, of)| shard(of));
        [head].into_iter().chain(shards).chain(others).collect()
    }

    fn explain(&self, args: &Args<'_>) -> Vec<String> {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        for arg in args.iter().skip(2) {
            let start = frame.len() as u32;
            frame.extend_from_slice(arg);
            spans.push(Span { start, end: frame.len() as u32 });
        }
        let args = Args::new(&frame, &spans);
        let refused = |text: Vec<u8>| format!("refused: {}", String::from_utf8_lossy(&text));
        let plan = match plan(&args) {
            Plan::Refuse(refusal) => {
                allowed(&self.settings, &refusal, &args).unwrap_or(Plan::Refuse(refusal))
            }
            plan => plan,
        };
        match plan {
            Plan::Slot(row, slot) | Plan::Publish(row, _, slot) => {
                let mut told = about(row, &args);
                told.push(format!("slot: {slot}"));
                told.push(format!("node: {}", self.way(slot)));
                told
            }
            Plan::AnyPrimary(row) => {
                let mut told = about(row, &args);
                told.push("slot: none, it has no key".into());
                told.push("node: any primary".into());
                told
            }
            Plan::Subscribe(row, _) | Plan::Unsubscribe(row, _) => {
                let mut told = vec![format!("command: {}", row.name)];
                told.push("answered by slotway, which is subscribed for all its clients".into());
                let slots: Vec<Slot> = args.iter().skip(1).map(Slot::of_key).collect();
                told.extend(slots.iter().map(|&slot| format!("slot {slot}: {}", self.way(slot))));
                told
            }
            Plan::Local(row, _) => {
                vec![format!("command: {}", row.name), "answered by slotway itself".into()]
            }
            Plan::Split(row) => {
                let mut told = about(row, &args);
                told.push("slots: several, one part each".into());
                told
            }
            Plan::Shards(row) => {
                let mut told = about(row, &args);
                told.push("node: every primary".into());
                told
            }
            Plan::Nodes(row) | Plan::Subscribers(row) => {
                let mut told = about(row, &args);
                told.push("node: every primary and replica".into());
                told
            }
            Plan::Scan(row) => {
                let mut told = about(row, &args);
                told.push("node: one primary after the other, as its cursor says".into());
                told
            }
            Plan::RandomKey(row) => {
                let mut told = about(row, &args);
                told.push("node: a primary chosen by its number of keys".into());
                told
            }
            Plan::Transaction(row) if row.name == "watch" => match command::slot(row, &args) {
                command::KeysInSlots::One(slot) => vec![
                    format!("command: {}", row.name),
                    format!("slot: {slot}"),
                    format!("node: {}", self.way(slot)),
                    "its client keeps a connection there until EXEC, DISCARD or UNWATCH".into(),
                ],
                _ => vec![
                    format!("command: {}", row.name),
                    "refused: its keys are in several slots".into(),
                ],
            },
            Plan::Transaction(row) if matches!(row.name, "discard" | "unwatch") => {
                vec![format!("command: {}", row.name), "answered by slotway itself".into()]
            }
            Plan::Transaction(row) => vec![
                format!("command: {}", row.name),
                "node: a transaction goes at its EXEC, as one request, by its commands' keys"
                    .into(),
            ],
            Plan::Wait(row) => {
                let mut told = about(row, &args);
                told.push("node: every primary that the client has written to".into());
                told
            }
            Plan::AskKeys(row) => {
                let mut told = about(row, &args);
                told.push("slot: a node is asked each time (COMMAND GETKEYS)".into());
                told
            }
            Plan::CrossSlot(row) => vec![
                format!("command: {}", row.name),
                "refused: its keys are in several slots".into(),
            ],
            Plan::Refuse(refusal) => {
                let mut text = Vec::new();
                refusal.write(&args, &mut text);
                vec![refused(text)]
            }
        }
    }

    /// Who has a slot, and how that node is, as this worker sees it.
    fn way(&self, slot: Slot) -> String {
        let pool = self.routes[slot.index()];
        let Some(node) = self.pools.get(usize::from(pool)).filter(|_| pool != NO_POOL) else {
            return "nobody is known to own the slot: it would wait".into();
        };
        let endpoint = &node.endpoint;
        let learned = self.topology.primary_of(slot).map(|index| self.topology.node(index).id);
        let source = if learned == Some(node.id) { "the map" } else { "a redirect" };
        let state = match (node.is_open(), node.circuit_open.is_some()) {
            (true, _) => "it would be sent at once".to_owned(),
            (false, false) => format!("it would wait: {}", node.trouble),
            (false, true) => {
                format!("its circuit is open, it would wait briefly: {}", node.trouble)
            }
        };
        format!("{endpoint}, by {source}; {state}")
    }
}

/// The command and its class.
fn about(row: &Row, args: &Args<'_>) -> Vec<String> {
    let class = match command::class(row, args) {
        Class::R => "R: it changes nothing, and is sent again when its reply was lost",
        Class::I => "I: an idempotent write; a lost reply is an unknown result",
        Class::N => "N: a write; a lost reply is an unknown result",
        Class::B => "B: it may block; a lost reply is an unknown result",
        Class::T => "T: part of a transaction",
    };
    vec![format!("command: {}", row.name), format!("class: {class}")]
}

fn lines<T: AsRef<str>>(
    out: &mut Vec<u8>,
    lines: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
) {
    let lines = lines.into_iter();
    write::array_header(out, lines.len());
    lines.for_each(|line| write::bulk(out, line.as_ref().as_bytes()));
}

fn fail(out: &mut Vec<u8>, text: &str) -> Answer {
    write::error(out, text);
    Answer::Failed
}
