//! CLUSTER NODES: owners, roles and config epochs of one moment, in one reply, with the nodes
//! that hold no slot yet (cluster-semantics §5.3).

use super::reply::{Frame, text};
use super::view::{Draft, Source, slot_range};
use super::{Endpoint, Health, NodeId, Role, ViewError};

const WHAT: &str = "CLUSTER NODES";

/// Adds what CLUSTER NODES says to a view. Being one reply it cannot contradict itself, as two
/// can between which the cluster changed: so it decides who owns what, in which role and at
/// which config epoch.
pub(super) fn read(reply: &Frame, asked: &Endpoint, view: &mut Draft) -> Result<(), ViewError> {
    let all = text(reply).ok_or(ViewError::malformed(WHAT, "no text"))?;
    for line in all.lines().filter(|line| !line.trim().is_empty()) {
        node(line, asked, view)?;
    }
    Ok(())
}

/// `id ip:port@bus[,hostname[,more]] flags primary ping-sent pong-received epoch link slot…`
fn node(line: &str, asked: &Endpoint, view: &mut Draft) -> Result<(), ViewError> {
    let mut words = line.split_ascii_whitespace();
    let mut word = || words.next().ok_or(ViewError::malformed(WHAT, "a line with too few words"));
    let (id, address, flags, primary) = (word()?, word()?, word()?, word()?);
    let (_ping, _pong, epoch, _link) = (word()?, word()?, word()?, word()?);
    let id = NodeId::parse(id.as_bytes()).ok_or(ViewError::malformed(WHAT, "no id in a line"))?;
    let epoch = epoch.parse().map_err(|_| ViewError::malformed(WHAT, "an epoch is no number"))?;
    let flag = |name| flags.split(',').any(|flag| flag == name);
    // The id of a node that is still shaking hands is made up, and changes.
    if flag("handshake") {
        return Ok(());
    }
    view.seen(id)?;
    if flag("myself") {
        view.myself(id);
    }
    let primary = NodeId::parse(primary.as_bytes());
    let is_primary = flag("master") || flag("primary");
    let role = if is_primary { Role::Primary } else { Role::Replica };
    view.role(Source::Nodes, id, role, primary.filter(|_| !is_primary));
    view.epoch(id, epoch);
    if flag("fail") {
        view.health(id, Health::Failed);
    } else if flag("fail?") {
        view.health(id, Health::Suspect);
    }
    if let Some((ip, port, hostname)) = address_parts(address) {
        view.address(Source::Nodes, id, asked, port, Some(ip), Some(ip), hostname)?;
    }
    for word in words.filter(|word| !word.starts_with('[')) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last) = slot_range(first.parse().ok(), last.parse().ok())
            .ok_or(ViewError::malformed(WHAT, "a word that is no slot"))?;
        view.owns(Source::Nodes, first, last, id)?;
    }
    Ok(())
}

/// IP (may be empty), port and host name of `ip:port@bus,hostname,more`. `None` when the node
/// has no address that could be dialled (`noaddr`, or its plain port is off).
fn address_parts(address: &str) -> Option<(&str, u16, Option<&str>)> {
    let mut parts = address.split(',');
    let ip_port = parts.next()?;
    let ip_port = ip_port.split_once('@').map_or(ip_port, |(ip_port, _bus)| ip_port);
    let (ip, port) = super::endpoint::split_host_port(ip_port).filter(|(_, port)| *port != 0)?;
    let hostname = parts.next().filter(|name| !name.is_empty() && !name.contains('='));
    Some((ip, port, hostname))
}

#[cfg(test)]
mod tests {
    use super::address_parts;

    #[test]
    fn every_form_of_an_address_is_taken_apart() {
        let cases = [
            ("127.0.0.1:7000@17000", Some(("127.0.0.1", 7000, None))),
            ("127.0.0.1:7000", Some(("127.0.0.1", 7000, None))),
            (":7000@17000", Some(("", 7000, None))),
            ("::1:7000@17000", Some(("::1", 7000, None))),
            ("10.0.0.1:7000@17000,a.example", Some(("10.0.0.1", 7000, Some("a.example")))),
            ("10.0.0.1:7000@17000,,shard-id=69bc", Some(("10.0.0.1", 7000, None))),
            ("10.0.0.1:7000@17000,shard-id=69bc", Some(("10.0.0.1", 7000, None))),
            ("10.0.0.1:7000@17000,a,tls-port=0,x=y", Some(("10.0.0.1", 7000, Some("a")))),
            (":0@0", None),
            ("", None),
        ];
        for (address, expected) in cases {
            assert_eq!(address_parts(address), expected, "{address}");
        }
    }
}
