//! Addresses as an operator writes them: `host:port`, and `announced=reachable`.

use std::fmt;

use super::forms::Form;

/// A host, by name or address, and a port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, an IPv4 address or an IPv6 address without its brackets; never empty.
    pub host: String,
    /// The port; 0 (any free one) only where slotway listens.
    pub port: u16,
}

/// Written as it is read: an IPv6 address in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// As `Display`: in a log line the two parts say no more than the whole.
impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An address that the nodes announce and the one at which slotway reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// As CLUSTER SLOTS or a redirect says it.
    pub announced: HostPort,
    /// What is dialled instead.
    pub reachable: HostPort,
}

/// The form `host:port`.
pub(super) struct Address {
    port_min: u16,
}

impl Address {
    pub(super) const TO_DIAL: Address = Address { port_min: 1 };
    pub(super) const TO_LISTEN: Address = Address { port_min: 0 };
}

impl Form for Address {
    type Out = HostPort;

    fn word(&self) -> String {
        "HOST:PORT".into()
    }

    fn expected(&self) -> String {
        format!("host:port ([host]:port for IPv6) with a port from {} to 65535", self.port_min)
    }

    fn parse(&self, text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        // Digits only: `parse` alone would take "+6379".
        let port = Some(port).filter(|port| port.bytes().all(|b| b.is_ascii_digit()))?;
        let port = port.parse().ok().filter(|port| *port >= self.port_min)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|host| host.contains(':'))?,
            None => Some(host).filter(|host| !host.contains(':'))?,
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:%".contains(&b);
        // 253 is the longest name DNS can carry.
        let sound = (1..=253).contains(&host.len()) && host.bytes().all(plain);
        sound.then(|| HostPort { host: host.to_owned(), port })
    }
}

/// The form `announced=reachable`.
pub(super) struct Mapped;

impl Form for Mapped {
    type Out = Mapping;

    fn word(&self) -> String {
        "ANNOUNCED=REACHABLE".into()
    }

    fn expected(&self) -> String {
        "announced=reachable, both host:port ([host]:port for IPv6)".into()
    }

    fn parse(&self, text: &str) -> Option<Mapping> {
        let (announced, reachable) = text.split_once('=')?;
        let [announced, reachable] =
            [announced, reachable].map(|t| Address::TO_DIAL.parse(t.trim()));
        Some(Mapping { announced: announced?, reachable: reachable? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        let table = [
            ("127.0.0.1:6379", "127.0.0.1", 6379),
            ("node-1.redis_ns.svc:1", "node-1.redis_ns.svc", 1),
            ("[::1]:65535", "::1", 65535),
            ("[fe80::1%eth0]:7000", "fe80::1%eth0", 7000),
        ];
        for (text, host, port) in table {
            let address = Address::TO_DIAL.parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let table = [
            "",
            ":",
            "localhost",
            "localhost:",
            ":6379",
            "::1:6379",
            "[::1]",
            "[::1]6379",
            "[]:1",
            "[localhost]:1",
            "a b:1",
            "a/b:1",
            "h:65536",
            "h:-1",
            "h:+1",
            "h: 1",
            "h:0",
            "redis://h:1",
        ];
        for text in table {
            assert_eq!(Address::TO_DIAL.parse(text), None, "{text:?}");
        }
        assert_eq!(Address::TO_LISTEN.parse("h:0").map(|a| a.port), Some(0));
        assert_eq!(Address::TO_DIAL.parse(&format!("{}:1", "a".repeat(254))), None);
    }

    #[test]
    fn a_mapping_needs_both_sides() {
        let mapping = Mapped.parse("10.0.0.1:6379=[::1]:7000").expect("both sides are sound");
        assert_eq!(mapping.announced.to_string(), "10.0.0.1:6379");
        assert_eq!(mapping.reachable.to_string(), "[::1]:7000");
        for text in ["", "=", "a:1", "a:1=", "=a:1", "a:1=b", "a:1=b:0", "a:1=b:2=c:3"] {
            assert_eq!(Mapped.parse(text), None, "{text:?}");
        }
    }
}
