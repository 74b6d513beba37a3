//! The INFO that slotway answers: shaped as a single server's, so that clients and dashboards
//! that look for a version, a role or `loading:0` find them.
//!
//! What concerns clients is slotway's own; what concerns the data is what the primaries say, added
//! up; a section of its own has a line for each node.

mod totals;

use std::fmt::Write;
use std::time::Duration;

pub use totals::Totals;

use crate::resp::{Args, write};

/// Which nodes it takes to answer an INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodesAsked {
    /// The owners of slots: what they have is added up.
    Primaries,
    /// All of them.
    All,
}

/// An INFO that nodes have to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoQuestion {
    /// Which.
    pub nodes: NodesAsked,
    sections: Vec<Vec<u8>>,
    resp3: bool,
}

impl InfoQuestion {
    /// The question that an INFO is; `None` if slotway alone knows the answer.
    pub(super) fn of(args: &Args<'_>, resp3: bool) -> Option<InfoQuestion> {
        let nodes = nodes_asked(args.iter().skip(1))?;
        let sections = args.iter().skip(1).map(<[u8]>::to_vec).collect();
        Some(InfoQuestion { nodes, sections, resp3 })
    }

    /// The reply, once they have answered.
    pub fn reply(&self, facts: &Facts, totals: &Totals) -> Vec<u8> {
        let mut reply = Vec::new();
        let text = text(facts, totals, self.sections.iter().map(Vec::as_slice));
        write::verbatim(&mut reply, self.resp3, &text);
        reply
    }
}

/// What INFO and HELLO tell about this proxy and the cluster behind it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The oldest server version in the cluster: clients choose commands by it.
    pub server_version: String,
    /// How many databases there are; `None`: the servers know no other than 0.
    pub databases: Option<u64>,
    /// Its own version if it is a Valkey.
    pub valkey_version: Option<String>,
    /// This process.
    pub process_id: u32,
    /// 40 hex digits, another one for each start.
    pub run_id: String,
    /// The port that clients connect to.
    pub tcp_port: u16,
    /// The wall clock, as the time since 1970.
    pub unix_time: Duration,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Clients of the whole process.
    pub connected_clients: u64,
    /// Those of them that wait in a request that blocks.
    pub blocked_clients: u64,
    /// How many clients there may be.
    pub clients_max: usize,
    /// Clients that ever connected.
    pub connections_total: u64,
    /// Those that were refused because too many were there.
    pub connections_refused: u64,
    /// Requests answered by the whole process.
    pub commands_processed: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Time of the processors spent in the process itself.
    pub cpu_user: Duration,
    /// Time of the processors that the kernel spent for it.
    pub cpu_system: Duration,
}

/// Writes one section.
type Section = fn(&About<'_>, &mut String);

/// What the sections are of.
struct About<'a> {
    facts: &'a Facts,
    totals: &'a Totals,
}

/// The sections of INFO, in the order of a server's, each with whom it takes to write it.
const SECTIONS: [(&str, Option<NodesAsked>, Section); 10] = [
    ("server", None, server),
    ("clients", None, clients),
    ("memory", Some(NodesAsked::Primaries), memory),
    ("persistence", Some(NodesAsked::Primaries), persistence),
    ("stats", Some(NodesAsked::Primaries), stats),
    ("replication", None, replication),
    ("cpu", None, cpu),
    ("cluster", Some(NodesAsked::Primaries), cluster),
    ("keyspace", Some(NodesAsked::Primaries), keyspace),
    ("nodes", Some(NodesAsked::All), nodes),
];

/// What is left out unless it is asked for.
const NODES: &str = "nodes";

/// Whether this section is among those that are wanted (none: the default ones), whatever their
/// names' case.
fn is_wanted<'a>(section: &str, wanted: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
    let names = |name: &str| wanted.clone().any(|w| w.eq_ignore_ascii_case(name.as_bytes()));
    let is_default = section != NODES && (wanted.clone().next().is_none() || names("default"));
    is_default || names(section) || names("all") || names("everything")
}

/// Whom it takes to answer an INFO with these arguments.
pub(super) fn nodes_asked<'a>(
    wanted: impl Iterator<Item = &'a [u8]> + Clone,
) -> Option<NodesAsked> {
    let needed = SECTIONS.iter().filter(|(name, ..)| is_wanted(name, wanted.clone()));
    needed.filter_map(|(_, nodes, _)| *nodes).max()
}

/// The text of INFO with these arguments (none: the default sections). Unknown sections are
/// left out, as a server does.
pub(super) fn text<'a>(
    facts: &Facts,
    totals: &Totals,
    wanted: impl Iterator<Item = &'a [u8]> + Clone,
) -> String {
    let mut text = String::with_capacity(4096);
    for (name, _, write) in SECTIONS {
        if is_wanted(name, wanted.clone()) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write(&About { facts, totals }, &mut text);
        }
    }
    text
}

/// Appends lines; writing to a `String` cannot fail.
macro_rules! lines {
    ($text:expr, $($line:literal $(, $value:expr)*);* $(;)?) => {
        $( let _ = write!($text, concat!($line, "\r\n") $(, $value)*); )*
    };
}

fn server(About { facts, .. }: &About<'_>, text: &mut String) {
    lines!(text,
        "# Server";
        "redis_version:{}", facts.server_version;
        "redis_mode:standalone";
        "slotway_version:{}", env!("CARGO_PKG_VERSION");
        "os:{} {}", std::env::consts::OS, std::env::consts::ARCH;
        "arch_bits:{}", usize::BITS;
        "process_id:{}", facts.process_id;
        "run_id:{}", facts.run_id;
        "tcp_port:{}", facts.tcp_port;
        "server_time_usec:{}", facts.unix_time.as_micros();
        "uptime_in_seconds:{}", facts.uptime_seconds;
        "uptime_in_days:{}", facts.uptime_seconds / 86_400;
    );
}

fn clients(About { facts, .. }: &About<'_>, text: &mut String) {
    lines!(text,
        "# Clients";
        "connected_clients:{}", facts.connected_clients;
        "maxclients:{}", facts.clients_max;
        "blocked_clients:{}", facts.blocked_clients;
    );
}

/// The data is the nodes': what they say, added up.
fn memory(About { totals, .. }: &About<'_>, text: &mut String) {
    lines!(text, "# Memory");
    for field in ["used_memory", "used_memory_rss", "used_memory_peak"] {
        write_bytes(text, field, totals.sum(field));
    }
    for field in ["used_memory_overhead", "used_memory_dataset"] {
        write_number(text, field, totals.sum(field));
    }
    write_bytes(text, "maxmemory", totals.bound("maxmemory"));
    write_word(text, "maxmemory_policy", totals.word("maxmemory_policy", "noeviction"));
    if let (Some(rss), Some(used)) = (totals.sum("used_memory_rss"), totals.sum("used_memory")) {
        lines!(text, "mem_fragmentation_ratio:{:.2}", rss / used.max(1.0));
    }
}

/// `loading` is 0: while a shard loads its data, its requests wait.
fn persistence(About { totals, .. }: &About<'_>, text: &mut String) {
    lines!(text, "# Persistence"; "loading:0"; "async_loading:0");
    write_number(text, "rdb_changes_since_last_save", totals.sum("rdb_changes_since_last_save"));
    write_number(text, "rdb_bgsave_in_progress", totals.max("rdb_bgsave_in_progress"));
    write_number(text, "rdb_last_save_time", totals.min("rdb_last_save_time"));
    let saved = "rdb_last_bgsave_status";
    write_word(text, saved, totals.word(saved, "ok"));
    write_number(text, "aof_enabled", totals.min("aof_enabled"));
    write_number(text, "aof_rewrite_in_progress", totals.max("aof_rewrite_in_progress"));
    for field in ["aof_last_bgrewrite_status", "aof_last_write_status"] {
        write_word(text, field, totals.word(field, "ok"));
    }
}

/// What clients did is slotway's, what became of the data the nodes'.
fn stats(About { facts, totals }: &About<'_>, text: &mut String) {
    lines!(text,
        "# Stats";
        "total_connections_received:{}", facts.connections_total;
        "total_commands_processed:{}", facts.commands_processed;
    );
    write_number(text, "instantaneous_ops_per_sec", totals.sum("instantaneous_ops_per_sec"));
    lines!(text,
        "total_net_input_bytes:{}", facts.bytes_in;
        "total_net_output_bytes:{}", facts.bytes_out;
        "rejected_connections:{}", facts.connections_refused;
    );
    for field in ["expired_keys", "evicted_keys", "keyspace_hits", "keyspace_misses"] {
        write_number(text, field, totals.sum(field));
    }
}

fn replication(_: &About<'_>, text: &mut String) {
    lines!(text, "# Replication"; "role:master"; "connected_slaves:0");
}

fn cpu(About { facts, .. }: &About<'_>, text: &mut String) {
    lines!(text,
        "# CPU";
        "used_cpu_sys:{:.6}", facts.cpu_system.as_secs_f64();
        "used_cpu_user:{:.6}", facts.cpu_user.as_secs_f64();
    );
}

/// The sums of the other sections are of the primaries that answered.
fn cluster(About { totals, .. }: &About<'_>, text: &mut String) {
    let [all, answered] = totals.primaries();
    lines!(text,
        "# Cluster";
        "cluster_enabled:0";
        "slotway_primaries:{}", all;
        "slotway_primaries_answered:{}", answered;
    );
}

fn keyspace(About { totals, .. }: &About<'_>, text: &mut String) {
    lines!(text, "# Keyspace");
    for (number, mut database) in totals.databases() {
        // In the servers' order; what they have beyond these comes behind.
        let first = ["keys", "expires", "avg_ttl"].map(|name| (name, database.remove(name)));
        let first = first.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let all: Vec<String> =
            first.chain(database).map(|(name, value)| format!("{name}={value}")).collect();
        lines!(text, "db{}:{}", number, all.join(","));
    }
}

/// One line a node, primaries and replicas, in the shape of a server's lines for its replicas.
fn nodes(About { totals, .. }: &About<'_>, text: &mut String) {
    lines!(text, "# Nodes");
    for (number, (says, fields)) in totals.nodes.iter().enumerate() {
        let node = &says.node;
        let _ = write!(
            text,
            "node{number}:addr={},id={},role={},health={},slots={},answered={}",
            node.endpoint,
            node.id,
            node.role.as_str(),
            node.health.as_str(),
            says.slots,
            if fields.is_some() { "yes" } else { "no" },
        );
        for field in NODE_FIELDS {
            if let Some(value) = fields.as_ref().and_then(|fields| fields.get(field)) {
                let _ = write!(text, ",{field}={value}");
            }
        }
        if let Some(fields) = fields {
            let keys = |value: &String| totals::database(value).get("keys").copied();
            let databases = fields.iter().filter(|(name, _)| is_database(name));
            let keys = databases.filter_map(|(_, value)| keys(value)).fold(0.0, |all, n| all + n);
            let _ = write!(text, ",keys={keys}");
        }
        text.push_str("\r\n");
    }
}

/// What a node's line has of its own INFO.
const NODE_FIELDS: [&str; 8] = [
    "redis_version",
    "uptime_in_seconds",
    "connected_clients",
    "blocked_clients",
    "used_memory",
    "instantaneous_ops_per_sec",
    "master_link_status",
    "loading",
];

fn is_database(name: &str) -> bool {
    let number = name.strip_prefix("db").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn write_number(text: &mut String, field: &str, value: Option<f64>) {
    if let Some(value) = value {
        lines!(text, "{}:{}", field, value);
    }
}

fn write_word(text: &mut String, field: &str, value: Option<&str>) {
    if let Some(value) = value {
        lines!(text, "{}:{}", field, value);
    }
}

/// The number, and the same for people, as a server words it.
fn write_bytes(text: &mut String, field: &str, value: Option<f64>) {
    const UNITS: [&str; 6] = ["B", "K", "M", "G", "T", "P"];
    let Some(value) = value else { return };
    let mut short = value;
    let mut unit = 0;
    while short >= 1024.0 && unit + 1 < UNITS.len() {
        short /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { 2 };
    lines!(text, "{}:{}", field, value);
    lines!(text, "{}_human:{:.*}{}", field, digits, short, UNITS[unit]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            server_version: "7.0.15".into(),
            uptime_seconds: 90_000,
            connected_clients: 3,
            clients_max: 100,
            blocked_clients: 2,
            commands_processed: 12,
            ..Facts::default()
        }
    }

    fn told(totals: &Totals, wanted: &[&str]) -> String {
        text(&facts(), totals, wanted.iter().map(|section| section.as_bytes()))
    }

    #[test]
    fn clients_find_what_they_look_for() {
        let text = told(&Totals::default(), &[]);
        for line in [
            "redis_version:7.0.15",
            "redis_mode:standalone",
            "role:master",
            "loading:0",
            "cluster_enabled:0",
            "connected_clients:3",
            "maxclients:100",
            "blocked_clients:2",
            "total_commands_processed:12",
            "uptime_in_days:1",
            "slotway_primaries_answered:0",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
        assert!(!text.contains("used_memory") && !text.contains("# Nodes"), "{text}");
    }

    #[test]
    fn data_is_that_of_all_primaries() {
        let totals = totals::tests::said(&[
            Some(
                "used_memory:1048576\r\nused_memory_rss:3145728\r\nmaxmemory:0\r\n\
                 maxmemory_policy:noeviction\r\nkeyspace_hits:5\r\nrdb_last_bgsave_status:ok\r\n\
                 db0:keys=3,expires=1,avg_ttl=100\r\n",
            ),
            Some(
                "used_memory:524288\r\nused_memory_rss:524288\r\nmaxmemory:9\r\n\
                 maxmemory_policy:noeviction\r\nkeyspace_hits:7\r\nrdb_last_bgsave_status:err\r\n\
                 db0:keys=4,expires=0,avg_ttl=0,subexpiry=2\r\n",
            ),
            None,
        ]);
        let empty = told(&totals::tests::said(&[Some("a:1\r\n")]), &["nodes"]);
        assert!(empty.ends_with(",answered=yes,keys=0\r\n"), "{empty}");
        assert_eq!(
            told(&totals, &["MEMORY"]),
            "# Memory\r\nused_memory:1572864\r\nused_memory_human:1.50M\r\n\
             used_memory_rss:3670016\r\nused_memory_rss_human:3.50M\r\n\
             maxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n\
             mem_fragmentation_ratio:2.33\r\n"
        );
        assert_eq!(
            told(&totals, &["keyspace"]),
            "# Keyspace\r\ndb0:keys=7,expires=1,avg_ttl=100,subexpiry=2\r\n"
        );
        let rest = told(&totals, &["stats", "persistence", "cluster"]);
        for line in [
            "keyspace_hits:12",
            "rdb_last_bgsave_status:err",
            "slotway_primaries:3",
            "slotway_primaries_answered:2",
        ] {
            assert!(rest.contains(&format!("{line}\r\n")), "{line} in {rest}");
        }
        let id = format!("{:040x}", 3);
        let nodes = told(&totals, &["nodes"]);
        let silent =
            format!("node2:addr=h:3,id={id},role=primary,health=online,slots=1,answered=no\r\n");
        assert!(nodes.ends_with(&silent), "{nodes}");
        let first = nodes.lines().nth(1).unwrap_or_default();
        assert!(first.ends_with("answered=yes,used_memory=1048576,keys=3"), "{first}");
    }

    #[test]
    fn sections_are_chosen_by_name_in_any_case() {
        let totals = Totals::default();
        let text = told(&totals, &["Replication", "nosuch"]);
        assert_eq!(text, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
        assert_eq!(told(&totals, &["default"]), told(&totals, &[]));
        assert_eq!(told(&totals, &["ALL"]), told(&totals, &["everything"]));
        assert!(told(&totals, &["all"]).ends_with("\r\n\r\n# Nodes\r\n"));
    }

    #[test]
    fn nodes_are_asked_for_what_only_they_know() {
        for (wanted, nodes) in [
            (&[][..], Some(NodesAsked::Primaries)),
            (&["server", "Clients", "replication", "cpu"], None),
            (&["commandstats"], None),
            (&["server", "MEMORY"], Some(NodesAsked::Primaries)),
            (&["nodes"], Some(NodesAsked::All)),
            (&["everything"], Some(NodesAsked::All)),
        ] {
            let words = wanted.iter().map(|word: &&str| word.as_bytes());
            assert_eq!(nodes_asked(words), nodes, "{wanted:?}");
        }
    }
}
