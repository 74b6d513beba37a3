//! CLUSTER SHARDS: how each node feels, failed ones included (cluster-semantics §5.2; 7.0 on).

use super::reply::{Frame, array, field, integer, text};
use super::view::{Draft, Source, port_of, slot_range};
use super::{Endpoint, Health, NodeId, Role, ViewError};

const WHAT: &str = "CLUSTER SHARDS";

/// Adds what CLUSTER SHARDS says to a view. It decides ownership and roles only where neither
/// CLUSTER NODES nor CLUSTER SLOTS was to be had: during a failover it can show two primaries in
/// one shard.
pub(super) fn read(reply: &Frame, asked: &Endpoint, view: &mut Draft) -> Result<(), ViewError> {
    for shard in array(reply).ok_or(ViewError::malformed(WHAT, "no array"))? {
        let shard = array(shard).ok_or(ViewError::malformed(WHAT, "a shard is no map"))?;
        let list = |name| field(shard, name).and_then(array).unwrap_or_default();
        let mut members = Vec::new();
        for entry in list("nodes") {
            let entry = array(entry).ok_or(ViewError::malformed(WHAT, "a node is no map"))?;
            members.push(node(entry, asked, view)?);
        }
        // Of two that call themselves primary, the one that is up.
        let primary = members
            .iter()
            .filter(|(_, role, _)| *role == Role::Primary)
            .min_by_key(|(_, _, health)| *health == Health::Failed)
            .map(|(id, ..)| *id);
        for (id, role, _) in members {
            view.role(Source::Shards, id, role, primary.filter(|_| role == Role::Replica));
        }
        for bounds in list("slots").chunks_exact(2) {
            let (first, last) = slot_range(integer(&bounds[0]), integer(&bounds[1]))
                .ok_or(ViewError::malformed(WHAT, "bounds that are no slots"))?;
            if let Some(owner) = primary {
                view.owns(Source::Shards, first, last, owner)?;
            }
        }
    }
    Ok(())
}

/// One node of a shard. Every field but the id may be absent.
fn node(
    entry: &[Frame],
    asked: &Endpoint,
    view: &mut Draft,
) -> Result<(NodeId, Role, Health), ViewError> {
    let of = |name| field(entry, name).and_then(text);
    let id = of("id")
        .and_then(|id| NodeId::parse(id.as_bytes()))
        .ok_or(ViewError::malformed(WHAT, "a node without an id"))?;
    let role = match of("role") {
        Some("master" | "primary") => Role::Primary,
        _ => Role::Replica,
    };
    let health = match of("health") {
        Some("fail" | "failed") => Health::Failed,
        Some("loading") => Health::Loading,
        _ => Health::Online,
    };
    // The plain port is left out when it is off, the TLS port when there is none.
    match port_of(field(entry, "port")).or_else(|| port_of(field(entry, "tls-port"))) {
        Some(port) => {
            let (endpoint, ip) = (of("endpoint").or(of("ip")), of("ip"));
            view.address(Source::Shards, id, asked, port, endpoint, ip, of("hostname"))?;
        }
        None => view.seen(id)?,
    }
    view.zone(id, of("availability-zone"));
    view.health(id, health);
    Ok((id, role, health))
}
