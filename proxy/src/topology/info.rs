//! The plainer answers: INFO, CLUSTER INFO, CONFIG GET.

use super::reply::{Frame, array, field, text};
use super::{Node, State, ViewError};

/// Which server a node is. Ordered by the release of its own line, so that the lowest of a
/// cluster can be picked while it is being upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    /// `redis`, `valkey`, or what another fork calls itself.
    pub name: String,
    /// The server's own version: `8.1.1` of a Valkey 8.1.1.
    pub version: String,
    /// The version of Redis that it claims to be compatible with: `7.2.4` of every Valkey.
    pub redis_version: String,
}

impl ServerVersion {
    /// Its own version as numbers, missing ones 0.
    pub fn release(&self) -> [u32; 3] {
        numbers(&self.version)
    }

    /// The version of Redis it is compatible with as numbers, missing ones 0.
    pub fn redis_release(&self) -> [u32; 3] {
        numbers(&self.redis_version)
    }
}

fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// Reads INFO server. `None` when it names no version.
pub fn server_version(reply: &Frame) -> Option<ServerVersion> {
    let info = text(reply)?;
    let redis_version = line(info, "redis_version")?;
    let (name, version) = match line(info, "valkey_version") {
        Some(version) => ("valkey", version),
        None => ("redis", redis_version),
    };
    let name = line(info, "server_name").unwrap_or(name);
    Some(ServerVersion {
        name: clipped(name),
        version: clipped(version),
        redis_version: clipped(redis_version),
    })
}

/// A node, and what it says of itself when it is asked for INFO.
#[derive(Clone, Debug)]
pub struct NodeSays {
    /// As the map has it.
    pub node: Node,
    /// How many slots it owns.
    pub slots: usize,
    /// The text of its INFO; `None` if it did not give one in time.
    pub info: Option<String>,
}

/// The text of an INFO. `None` when it was refused.
pub fn info_text(reply: &Frame) -> Option<&str> {
    text(reply)
}

/// Reads one value of CONFIG GET. `None` when it was refused, or when there is no such option.
pub fn config_value<'a>(reply: &'a Frame, name: &str) -> Option<&'a str> {
    field(array(reply)?, name).and_then(text)
}

/// Whether the answer to ROLE is that of a primary.
pub fn is_primary(reply: &Frame) -> bool {
    array(reply).and_then(|role| text(role.first()?)) == Some("master")
}

/// State and current epoch as CLUSTER INFO has them.
pub(super) fn cluster_info(reply: &Frame) -> Result<(State, u64), ViewError> {
    const WHAT: &str = "CLUSTER INFO";
    let info = text(reply).ok_or(ViewError::malformed(WHAT, "no text"))?;
    let state = match line(info, "cluster_state") {
        Some("ok") => State::Ok,
        Some(_) => State::Fail,
        None => return Err(ViewError::malformed(WHAT, "no cluster_state")),
    };
    let epoch = line(info, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    Ok((state, epoch.unwrap_or(0)))
}

fn line<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Versions end up in logs, in metrics and in our own INFO: they stay short and plain there.
fn clipped(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::reply::decode_whole;

    fn bulk(text: &str) -> Frame {
        decode_whole(format!("${}\r\n{text}\r\n", text.len()).as_bytes()).unwrap()
    }

    #[test]
    fn versions_of_both_servers_are_read() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n";
        let version = server_version(&bulk(redis)).unwrap();
        assert_eq!((&*version.name, &*version.version), ("redis", "7.0.15"));
        assert_eq!(version.redis_release(), [7, 0, 15]);
        let valkey =
            "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n";
        let version = server_version(&bulk(valkey)).unwrap();
        assert_eq!((&*version.name, &*version.version), ("valkey", "9.1.2"));
        assert_eq!(version.redis_release(), [7, 2, 4]);
        assert_eq!(version.release(), [9, 1, 2]);
        assert_eq!(server_version(&bulk("# Server\r\n")), None);
    }

    #[test]
    fn the_state_of_the_cluster_is_read() {
        let info = "cluster_state:ok\r\ncluster_slots_ok:16384\r\ncluster_current_epoch:6\r\n";
        assert_eq!(cluster_info(&bulk(info)), Ok((State::Ok, 6)));
        assert_eq!(cluster_info(&bulk("cluster_state:fail\r\n")), Ok((State::Fail, 0)));
        assert!(cluster_info(&bulk("cluster_slots_ok:1\r\n")).is_err());
        assert!(cluster_info(&decode_whole(b":1\r\n").unwrap()).is_err());
    }

    #[test]
    fn a_configured_value_is_found_by_its_name() {
        let reply = decode_whole(b"*2\r\n$20\r\ncluster-node-timeout\r\n$5\r\n15000\r\n").unwrap();
        assert_eq!(config_value(&reply, "cluster-node-timeout"), Some("15000"));
        assert_eq!(config_value(&reply, "15000"), None);
        assert_eq!(config_value(&decode_whole(b"*0\r\n").unwrap(), "a"), None);
        assert_eq!(config_value(&decode_whole(b"-NOPERM x\r\n").unwrap(), "a"), None);
    }
}
