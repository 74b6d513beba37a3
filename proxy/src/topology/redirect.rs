//! The two errors by which a node says that another one serves a slot.

use super::endpoint::split_host_port;
use super::{Endpoint, NodeIndex, Topology};
use crate::slot::Slot;

/// A redirect, exactly as a node wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect<'a> {
    /// For good, or for this one request.
    pub kind: RedirectKind,
    /// The slot it speaks of.
    pub slot: Slot,
    /// An IP address, a name, nothing (the host that answered) or `?` (no usable host).
    pub host: &'a str,
    /// The port at that host; 0 when the answering node knows none.
    pub port: u16,
}

/// What a redirect asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectKind {
    /// `MOVED`: the slot has another owner.
    Moved,
    /// `ASK`: the slot is on its way; send `ASKING` and this one request there.
    Ask,
}

impl Redirect<'_> {
    /// Where it points, seen from the node that answered: an empty host is that node's own.
    /// `None` when the node had no address to give (`?`, or port 0): only a fresh map can tell.
    pub fn endpoint(&self, answered_by: &Endpoint) -> Option<Endpoint> {
        match (self.host, self.port) {
            ("?", _) | (_, 0) => None,
            ("", port) => Some(Endpoint { host: answered_by.host.clone(), port }),
            (host, port) => Some(Endpoint::new(host, port)),
        }
    }

    /// The known node that it points to, seen from the node that answered. `?` comes from nodes
    /// that prefer host names and have none; of an `ASK` no map would ever tell more. There the
    /// port decides, if it is that of one other node only.
    pub fn node(&self, topology: &Topology, answered_by: &Endpoint) -> Option<NodeIndex> {
        if let Some(to) = self.endpoint(answered_by) {
            return topology.node_by_endpoint(&to.host, to.port);
        }
        let mut candidates = topology.nodes().filter(|(_, node)| {
            self.port != 0
                && node.endpoint != *answered_by
                && node.announced.iter().any(|announced| announced.port == self.port)
        });
        let (found, _) = candidates.next()?;
        candidates.next().is_none().then_some(found)
    }
}

/// Reads the text of an error reply, without its `-` and CRLF. `None` when it is not a redirect
/// in its exact plain form: an error that a script raised carries a tail, and what raised it may
/// have written before (contract §2, the trap of scripts).
pub fn parse_redirect(error_text: &[u8]) -> Option<Redirect<'_>> {
    let (kind, rest) = if let Some(rest) = error_text.strip_prefix(b"MOVED ") {
        (RedirectKind::Moved, rest)
    } else {
        (RedirectKind::Ask, error_text.strip_prefix(b"ASK ")?)
    };
    let (slot, endpoint) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    if !slot.bytes().all(|b| b.is_ascii_digit()) || endpoint.contains(' ') {
        return None;
    }
    let slot = Slot::new(slot.parse().ok()?)?;
    let (host, port) = split_host_port(endpoint)?;
    Some(Redirect { kind, slot, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Draft, Node, NodeId, Role};
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<(RedirectKind, u16, &str, u16)> {
        parse_redirect(text.as_bytes()).map(|r| (r.kind, r.slot.number(), r.host, r.port))
    }

    #[test]
    fn every_form_of_a_redirect_is_read() {
        use RedirectKind::{Ask, Moved};
        let cases = [
            ("MOVED 12182 127.0.0.1:7002", (Moved, 12182, "127.0.0.1", 7002)),
            ("ASK 0 127.0.0.1:7002", (Ask, 0, "127.0.0.1", 7002)),
            ("MOVED 12182 :7003", (Moved, 12182, "", 7003)),
            ("MOVED 12182 ?:7003", (Moved, 12182, "?", 7003)),
            ("MOVED 16383 node-3.example.org:7003", (Moved, 16383, "node-3.example.org", 7003)),
            ("MOVED 1 ::1:7003", (Moved, 1, "::1", 7003)),
            ("MOVED 1 fd00:0:0:1:2:3:4:5:7003", (Moved, 1, "fd00:0:0:1:2:3:4:5", 7003)),
            ("ASK 1 [::1]:7003", (Ask, 1, "::1", 7003)),
            ("MOVED 1 :0", (Moved, 1, "", 0)),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_redirect_is_none() {
        let cases = [
            "",
            "MOVED",
            "MOVED 1",
            "MOVED 1 ",
            "MOVED  1 a:1",
            "moved 1 a:1",
            "MOVED 16384 a:1",
            "MOVED -1 a:1",
            "MOVED +1 a:1",
            "MOVED 1 a",
            "MOVED 1 a:",
            "MOVED 1 a:65536",
            "MOVED 1 a:1 script: 8d1, on @user_script:1.",
            "ERR MOVED 1 a:1",
            "ASKING 1 a:1",
        ];
        for text in cases {
            assert_eq!(parsed(text), None, "{text}");
        }
        assert_eq!(parse_redirect(b"MOVED 1 \xff:1"), None);
    }

    #[test]
    fn an_empty_host_is_that_of_the_node_that_answered() {
        let answered_by = Endpoint::new("10.0.0.1", 7000);
        let cases = [
            ("MOVED 1 :7003", Some(Endpoint::new("10.0.0.1", 7003))),
            ("MOVED 1 b:7003", Some(Endpoint::new("b", 7003))),
            ("MOVED 1 ?:7003", None),
            ("MOVED 1 b:0", None),
        ];
        for (text, expected) in cases {
            let redirect = parse_redirect(text.as_bytes()).unwrap();
            assert_eq!(redirect.endpoint(&answered_by), expected, "{text}");
        }
    }

    #[test]
    fn a_redirect_without_a_host_leads_to_the_only_other_node_with_that_port() {
        let node = |digit: &str, host: &str, port| {
            let id = NodeId::parse(digit.repeat(40).as_bytes()).unwrap();
            Node::new(id, Endpoint::new(host, port), Role::Primary)
        };
        let nodes = vec![
            node("a", "10.0.0.1", 7000),
            node("b", "10.0.0.2", 7000),
            node("c", "10.0.0.3", 7001),
            node("d", "10.0.0.4", 7002),
            node("e", "10.0.0.5", 7002),
        ];
        let topology = Draft { nodes, ..Draft::default() }.finish();
        for (text, expected) in [
            ("ASK 1 ?:7001", Some("10.0.0.3")),
            ("MOVED 1 ?:7001", Some("10.0.0.3")),
            // The node that answered never means itself.
            ("ASK 1 ?:7000", Some("10.0.0.2")),
            ("ASK 1 ?:7002", None),
            ("ASK 1 ?:7003", None),
            ("ASK 1 ?:0", None),
            ("ASK 1 10.0.0.4:7002", Some("10.0.0.4")),
            ("ASK 1 10.0.0.9:7001", None),
        ] {
            let redirect = parse_redirect(text.as_bytes()).unwrap();
            let found = redirect.node(&topology, &Endpoint::new("10.0.0.1", 7000));
            let found = found.map(|node| topology.node(node).endpoint.host.as_ref());
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            parse_redirect(&bytes);
        }

        #[test]
        fn what_a_server_writes_is_read_back(slot in 0u16..16384, host in "[a-z0-9.:-]{0,30}", port: u16) {
            let text = format!("MOVED {slot} {host}:{port}");
            prop_assert_eq!(parsed(&text), Some((RedirectKind::Moved, slot, host.as_str(), port)));
        }
    }
}
