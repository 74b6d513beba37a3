//! The INFO that slotway answers: shaped as a single server's, so that clients and dashboards
//! that look for a version, a role or `loading:0` find them.

use std::fmt::Write;
use std::time::Duration;

/// What INFO and HELLO tell about this proxy and the cluster behind it.
#[derive(Clone, Debug)]
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
    /// Requests answered by the whole process.
    pub commands_processed: u64,
}

/// Writes one section.
type Section = fn(&Facts, &mut String);

/// The sections of INFO, in the order of a server's.
const SECTIONS: [(&str, Section); 7] = [
    ("server", server),
    ("clients", clients),
    ("persistence", persistence),
    ("stats", stats),
    ("replication", replication),
    ("cluster", cluster),
    ("keyspace", keyspace),
];

/// The text of INFO with these arguments (none: the default sections). Unknown sections are
/// left out, as a server does.
pub(super) fn text<'a>(facts: &Facts, wanted: impl Iterator<Item = &'a [u8]> + Clone) -> String {
    let mut text = String::with_capacity(1024);
    let all = wanted.clone().next().is_none()
        || wanted.clone().any(|w| {
            ["all", "default", "everything"].iter().any(|a| w.eq_ignore_ascii_case(a.as_bytes()))
        });
    for (name, write) in SECTIONS {
        if all || wanted.clone().any(|w| w.eq_ignore_ascii_case(name.as_bytes())) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write(facts, &mut text);
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

fn server(facts: &Facts, text: &mut String) {
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
        "uptime_in_seconds:{}", facts.uptime_seconds;
        "uptime_in_days:{}", facts.uptime_seconds / 86_400;
    );
}

fn clients(facts: &Facts, text: &mut String) {
    lines!(text,
        "# Clients";
        "connected_clients:{}", facts.connected_clients;
        "blocked_clients:{}", facts.blocked_clients;
    );
}

fn persistence(_: &Facts, text: &mut String) {
    lines!(text, "# Persistence"; "loading:0"; "async_loading:0");
}

fn stats(facts: &Facts, text: &mut String) {
    lines!(text, "# Stats"; "total_commands_processed:{}", facts.commands_processed);
}

fn replication(_: &Facts, text: &mut String) {
    lines!(text, "# Replication"; "role:master"; "connected_slaves:0");
}

fn cluster(_: &Facts, text: &mut String) {
    lines!(text, "# Cluster"; "cluster_enabled:0");
}

fn keyspace(_: &Facts, text: &mut String) {
    lines!(text, "# Keyspace");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            server_version: "7.0.15".into(),
            databases: None,
            valkey_version: None,
            process_id: 1,
            run_id: "0".repeat(40),
            tcp_port: 6379,
            unix_time: Duration::ZERO,
            uptime_seconds: 90_000,
            connected_clients: 3,
            blocked_clients: 2,
            commands_processed: 12,
        }
    }

    #[test]
    fn clients_find_what_they_look_for() {
        let text = text(&facts(), std::iter::empty());
        for line in [
            "redis_version:7.0.15",
            "redis_mode:standalone",
            "role:master",
            "loading:0",
            "cluster_enabled:0",
            "blocked_clients:2",
            "uptime_in_days:1",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
    }

    #[test]
    fn sections_are_chosen_by_name_in_any_case() {
        let wanted: [&[u8]; 2] = [b"Replication", b"nosuch"];
        let text = text(&facts(), wanted.into_iter());
        assert_eq!(text, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
    }
}
