//! What the cluster looks like: an immutable snapshot of who owns which slot, and how it is
//! learned from what the servers say.
//!
//! Nothing here knows a socket or the time. The way of a map:
//!
//! ```text
//! reply bytes → reply::decode (bounded) → View (what one node says)
//!             → merge(previous map, views) → Topology (what we believe) → diff → log lines
//! ```
//!
//! Nodes are told apart by their 40-digit ids, never by an address: each node of a cluster may
//! describe the others as an IP, as a name or not at all, as its own configuration says.

mod address_map;
mod commands;
mod diff;
mod endpoint;
mod info;
mod json;
mod merge;
mod nodes;
mod redirect;
pub mod reply;
#[cfg(test)]
pub(crate) mod samples;
mod shards;
mod slots;
mod snapshot;
mod view;

pub use address_map::{AddressMap, AddressMapError};
pub use commands::told_commands;
pub use diff::Change;
pub use endpoint::{Endpoint, EndpointError, NodeId, NodeIdError};
pub use info::{NodeSays, ServerVersion, config_value, info_text, is_primary, server_version};
pub use json::json;
pub use merge::{Merged, SeedsAsked, merge};
pub use redirect::{Redirect, RedirectKind, parse_redirect};
pub use snapshot::{
    Draft, Health, Node, NodeIndex, Role, Shard, ShardIndex, SlotRange, State, Topology,
};
pub use view::{Answers, Owned, Seen, View, ViewError};
