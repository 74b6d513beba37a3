//! How a node is named: by its id, which stays, and by its endpoints, which change.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A node's identity in its cluster: 40 hexadecimal digits, kept in lower case.
///
/// It survives restarts and changes of address; `CLUSTER RESET HARD` gives a new one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId([u8; NodeId::LEN]);

impl NodeId {
    /// How many hexadecimal digits an id has.
    pub const LEN: usize = 40;

    /// The id these bytes spell, or `None` when they are not exactly 40 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<NodeId> {
        let mut digits: [u8; NodeId::LEN] = text.try_into().ok()?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        digits.make_ascii_lowercase();
        Some(NodeId(digits))
    }

    /// The 40 digits.
    pub fn as_str(&self) -> &str {
        // Only ASCII digits get in, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The first 8 digits: enough to tell the nodes of one cluster apart in a log line.
    pub fn short(&self) -> &str {
        &self.as_str()[..8]
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.as_str())
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<NodeId, NodeIdError> {
        NodeId::parse(text.as_bytes()).ok_or(NodeIdError)
    }
}

/// A text that is not 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a node id has exactly 40 hexadecimal digits")]
pub struct NodeIdError;

/// Where something listens: a name or an IP address, and a port.
///
/// Two endpoints are equal when their texts are: `localhost` and `127.0.0.1` are two, since only
/// a resolver could tell, and it may tell something else the next time. IPv6 addresses are held
/// without brackets and shown with them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// A DNS name, an IPv4 address or an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The TCP port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint of this host (IPv6 without brackets) and port.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        match split_host_port(text) {
            Some((host, port)) if port != 0 && is_host(host) => Ok(Endpoint::new(host, port)),
            _ => Err(EndpointError(text.to_owned())),
        }
    }
}

/// A text that names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not an address of the form host:port")]
pub struct EndpointError(pub String);

/// Splits `host:port` at the last colon, because servers write IPv6 addresses without brackets
/// (brackets are taken off where somebody wrote them). The host may come out empty.
pub(super) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((without_brackets(host), port.parse().ok()?))
}

/// Whether this can be a name or an address at all: what cannot would only fail at the resolver,
/// far from where it was written.
pub(super) fn is_host(text: &str) -> bool {
    const HOST_BYTES_MAX: usize = 255;
    !text.is_empty()
        && text.len() <= HOST_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"[]/,=@?".contains(&b))
}

/// An IPv6 address as we hold it.
pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_split_at_the_last_colon_and_survive_a_round_trip() {
        let cases = [
            ("127.0.0.1:7000", "127.0.0.1", 7000, "127.0.0.1:7000"),
            ("redis-0.redis.svc:6379", "redis-0.redis.svc", 6379, "redis-0.redis.svc:6379"),
            ("::1:7000", "::1", 7000, "[::1]:7000"),
            ("[::1]:7000", "::1", 7000, "[::1]:7000"),
            ("fe80::1%eth0:65535", "fe80::1%eth0", 65535, "[fe80::1%eth0]:65535"),
        ];
        for (text, host, port, shown) in cases {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((&*endpoint.host, endpoint.port), (host, port), "{text}");
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_names_no_endpoint_is_refused() {
        let bad = ["", ":", "a", "a:", ":7000", "a:b", "a:0", "a:+1", "a:65536", "a b:1", "?:1"];
        for text in bad {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError(text.into())), "{text:?}");
        }
    }

    #[test]
    fn a_node_id_has_forty_hex_digits() {
        let text = "07C37DFEB235213A872192D90877D0CD55635B91";
        let id: NodeId = text.parse().unwrap();
        assert_eq!(id.to_string(), text.to_lowercase());
        assert_eq!(id.short(), "07c37dfe");
        for bad in ["", &text[1..], &format!("{text}0"), &text.replace('7', "g")] {
            assert_eq!(bad.parse::<NodeId>(), Err(NodeIdError), "{bad}");
        }
    }
}
