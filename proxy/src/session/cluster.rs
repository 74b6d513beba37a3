//! CLUSTER as clients that want a cluster see it: slotways are the nodes, and own all slots.

use std::fmt::Write;

use super::question::Address;
use crate::resp::{Args, write};
use crate::slot::Slot;

/// What is asked of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterQuestion {
    /// Who owns which slots.
    Slots,
    /// The same, by shard.
    Shards,
    /// The same, a line a node.
    Nodes,
    /// How it is.
    Info,
    /// The id of the node that is asked.
    MyId,
    /// The id of its shard.
    MyShardId,
    /// The connections between nodes.
    Links,
    /// The slot of a key.
    KeySlot(Slot),
    /// The replicas of the node with this id.
    Replicas(Vec<u8>),
    /// How many nodes say that the one with this id has failed.
    FailureReports(Vec<u8>),
}

impl ClusterQuestion {
    /// `args` is one of the CLUSTER commands that are answered here.
    pub(super) fn of(args: &Args<'_>) -> ClusterQuestion {
        let word = args.get(2).unwrap_or_default();
        match args.get(1).unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"slots" => ClusterQuestion::Slots,
            b"shards" => ClusterQuestion::Shards,
            b"nodes" => ClusterQuestion::Nodes,
            b"info" => ClusterQuestion::Info,
            b"myid" => ClusterQuestion::MyId,
            b"myshardid" => ClusterQuestion::MyShardId,
            b"links" => ClusterQuestion::Links,
            b"keyslot" => ClusterQuestion::KeySlot(Slot::of_key(word)),
            b"count-failure-reports" => ClusterQuestion::FailureReports(word.to_vec()),
            _ => ClusterQuestion::Replicas(word.to_vec()),
        }
    }

    /// Appends the reply. `announced` are the addresses of all slotways, in an order that they
    /// agree upon; none: the one at which the client has connected, `local`, is all there is.
    pub fn answer(&self, announced: &[Address], local: &Address, resp3: bool, out: &mut Vec<u8>) {
        let nodes = nodes(announced, local);
        // Behind an address translation nobody knows which of them the client means.
        let own = nodes.iter().position(|node| node.address == *local).unwrap_or(0);
        let named = |id: &[u8]| nodes.iter().any(|node| node.id.as_bytes() == id);
        match self {
            ClusterQuestion::Slots => {
                write::array_header(out, nodes.len());
                for node in &nodes {
                    node.slots(resp3, out);
                }
            }
            ClusterQuestion::Shards => {
                write::array_header(out, nodes.len());
                for node in &nodes {
                    node.shard(resp3, out);
                }
            }
            ClusterQuestion::Nodes => {
                let lines = nodes.iter().enumerate();
                let text: String = lines.map(|(at, node)| node.line(at == own)).collect();
                write::verbatim(out, resp3, &text);
            }
            ClusterQuestion::Info => write::verbatim(out, resp3, &info(nodes.len())),
            ClusterQuestion::MyId => write::bulk(out, &nodes[own].id),
            ClusterQuestion::MyShardId => write::bulk(out, shard_id(&nodes[own].address)),
            ClusterQuestion::Links => write::array_header(out, 0),
            ClusterQuestion::KeySlot(slot) => write::integer(out, slot.number().into()),
            ClusterQuestion::Replicas(id) if named(id) => write::array_header(out, 0),
            ClusterQuestion::FailureReports(id) if named(id) => write::integer(out, 0),
            ClusterQuestion::Replicas(id) | ClusterQuestion::FailureReports(id) => {
                write::error(out, format!("ERR Unknown node {}", String::from_utf8_lossy(id)));
            }
        }
    }
}

/// One slotway, as a node of a cluster.
struct Node {
    id: String,
    address: Address,
    first: usize,
    last: usize,
}

/// All of them, with equal shares of the slots in their order; at least one.
fn nodes(announced: &[Address], local: &Address) -> Vec<Node> {
    let alone = std::slice::from_ref(local);
    let all = if announced.is_empty() { alone } else { announced };
    let first = |at: usize| at * Slot::COUNT / all.len();
    let node = |(at, address): (usize, &Address)| Node {
        id: hex_id(address, 0),
        address: address.clone(),
        first: first(at),
        last: first(at + 1) - 1,
    };
    all.iter().enumerate().map(node).collect()
}

impl Node {
    fn slots(&self, resp3: bool, out: &mut Vec<u8>) {
        write::array_header(out, 3);
        write::integer(out, self.first as i64);
        write::integer(out, self.last as i64);
        write::array_header(out, 4);
        write::bulk(out, &self.address.host);
        write::integer(out, self.address.port.into());
        write::bulk(out, &self.id);
        write::map_header(out, resp3, 0);
    }

    fn shard(&self, resp3: bool, out: &mut Vec<u8>) {
        write::map_header(out, resp3, 2);
        write::bulk(out, "slots");
        write::array_header(out, 2);
        write::integer(out, self.first as i64);
        write::integer(out, self.last as i64);
        write::bulk(out, "nodes");
        write::array_header(out, 1);
        write::map_header(out, resp3, 7);
        write::bulk(out, "id");
        write::bulk(out, &self.id);
        write::bulk(out, "port");
        write::integer(out, self.address.port.into());
        for name in ["ip", "endpoint"] {
            write::bulk(out, name);
            write::bulk(out, &self.address.host);
        }
        write::bulk(out, "role");
        write::bulk(out, "master");
        write::bulk(out, "replication-offset");
        write::integer(out, 0);
        write::bulk(out, "health");
        write::bulk(out, "online");
    }

    /// The port of the cluster bus has to be there, though nothing listens.
    fn line(&self, is_own: bool) -> String {
        let Node { id, address: Address { host, port }, first, last } = self;
        let bus = port.checked_add(10_000).unwrap_or(0);
        let own = if is_own { "myself," } else { "" };
        format!("{id} {host}:{port}@{bus} {own}master - 0 0 0 connected {first}-{last}\n")
    }
}

fn info(nodes: usize) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("cluster_slots_assigned", Slot::COUNT),
        ("cluster_slots_ok", Slot::COUNT),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", 0),
        ("cluster_known_nodes", nodes),
        ("cluster_size", nodes),
        ("cluster_current_epoch", 0),
        ("cluster_my_epoch", 0),
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
        ("total_cluster_links_buffer_limit_exceeded", 0),
    ] {
        let _ = write!(text, "{name}:{value}\r\n");
    }
    format!("cluster_state:ok\r\n{text}")
}

fn shard_id(address: &Address) -> String {
    hex_id(address, 1)
}

/// 40 hex digits that are the same for the same address, whoever says them: several slotways
/// must name each other alike. FNV-1a over the address, from three starts.
fn hex_id(address: &Address, kind: u8) -> String {
    let name = address.to_string();
    let word = |part: u8| {
        let start = 0xcbf2_9ce4_8422_2325_u64;
        let bytes = [kind, part].into_iter().chain(name.bytes());
        let hash = bytes
            .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        // FNV hardly moves its high bits for the last bytes, which is where ports differ.
        (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    format!("{:016x}{:016x}{:08x}", word(0), word(1), word(2) >> 32)
}
