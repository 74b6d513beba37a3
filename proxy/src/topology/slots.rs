//! CLUSTER SLOTS: which node serves which range, and how the node that was asked would have
//! others called (cluster-semantics §5.1).

use super::reply::{Frame, array, field, integer, text};
use super::view::{Draft, Source, port_of, slot_range};
use super::{Endpoint, NodeId, Role, ViewError};

const WHAT: &str = "CLUSTER SLOTS";

/// Adds what CLUSTER SLOTS says to a view. It decides ownership and roles only where CLUSTER
/// NODES was not to be had.
pub(super) fn read(reply: &Frame, asked: &Endpoint, view: &mut Draft) -> Result<(), ViewError> {
    for range in array(reply).ok_or(ViewError::malformed(WHAT, "no array"))? {
        let range = array(range).ok_or(ViewError::malformed(WHAT, "a range is no array"))?;
        let [first, last, nodes @ ..] = range else {
            return Err(ViewError::malformed(WHAT, "a range without bounds"));
        };
        let (first, last) = slot_range(integer(first), integer(last))
            .ok_or(ViewError::malformed(WHAT, "bounds that are no slots"))?;
        let mut primary = None;
        for entry in nodes {
            let id = node(entry, asked, view)?;
            let role = if primary.is_none() { Role::Primary } else { Role::Replica };
            view.role(Source::Slots, id, role, primary);
            primary.get_or_insert(id);
        }
        if let Some(owner) = primary {
            view.owns(Source::Slots, first, last, owner)?;
        }
    }
    Ok(())
}

/// One node of a range: `[endpoint, port, id, metadata?]`; 6.2 has no metadata, and newer servers
/// put keys into it that nobody has heard of.
fn node(entry: &Frame, asked: &Endpoint, view: &mut Draft) -> Result<NodeId, ViewError> {
    let Some([endpoint, port, id, more @ ..]) = array(entry) else {
        return Err(ViewError::malformed(WHAT, "a node with less than 3 elements"));
    };
    let id = text(id)
        .and_then(|id| NodeId::parse(id.as_bytes()))
        .ok_or(ViewError::malformed(WHAT, "a node without an id"))?;
    let metadata = more.first().and_then(array).unwrap_or_default();
    let of = |name| field(metadata, name).and_then(text);
    if let Some(port) = port_of(Some(port)) {
        view.address(Source::Slots, id, asked, port, text(endpoint), of("ip"), of("hostname"))?;
    } else {
        view.seen(id)?;
    }
    view.zone(id, of("availability-zone"));
    view.listed(id);
    Ok(id)
}
