//! What all nodes say of themselves, asked when somebody wants to know.
//!
//! Nobody's request waits for a node that is away: each has a moment, and who did not answer is
//! left alone for a while. The connections are kept only as long as they are in use.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::ask::connect;
use super::connection::{AskError, Connection};
use super::handle::Handle;
use super::settings::Settings;
use crate::session::NodesAsked;
use crate::topology::{Endpoint, Health, NodeId, NodeSays, Role, Topology};

/// How long all nodes together have for their answers.
const MOMENT: Duration = Duration::from_millis(250);
/// How long a node is left alone that had no answer.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// How long a connection is kept that is not used.
const KEPT: Duration = Duration::from_secs(2);
/// Most nodes asked at once.
const AT_ONCE: usize = 64;

/// Asks nodes what they say of themselves.
pub struct Census {
    settings: Arc<Settings>,
    handle: Handle,
    open: HashMap<NodeId, (Connection, Instant)>,
    /// Who had no answer, and when.
    silent: HashMap<NodeId, Instant>,
    /// The nodes' user may not ask, which was said once.
    refused: bool,
}

type Asked = (NodeId, Result<(String, Connection), AskError>);

impl Census {
    /// One that has asked nobody yet.
    pub fn new(settings: Settings, handle: Handle) -> Census {
        Census {
            settings: Arc::new(settings),
            handle,
            open: HashMap::new(),
            silent: HashMap::new(),
            refused: false,
        }
    }

    /// All these nodes, in the order of the map, each with what it says now; takes 250 ms
    /// at most. Nothing of it was said before the call.
    pub async fn take(&mut self, asked: NodesAsked) -> Vec<NodeSays> {
        let topology = self.handle.topology().load_full();
        let (now, mut said) = (Instant::now(), HashMap::new());
        self.silent
            .retain(|id, since| now - *since < LEFT_ALONE && topology.node_by_id(id).is_some());
        let mut nodes = members(&topology, asked);
        let is_asked = |says: &&NodeSays| {
            says.node.health != Health::Failed && !self.silent.contains_key(&says.node.id)
        };
        let target = |says: &NodeSays| (says.node.id, says.node.endpoint.clone());
        let waiting: Vec<_> = nodes.iter().filter(is_asked).map(target).collect();
        let mut waiting = waiting.into_iter();
        let mut running = JoinSet::new();
        let mut waited_for = Vec::new();
        loop {
            while running.len() < AT_ONCE
                && let Some((id, endpoint)) = waiting.next()
            {
                let open = self.open.remove(&id).map(|(connection, _)| connection);
                running.spawn(ask(id, endpoint, open, Arc::clone(&self.settings)));
                waited_for.push(id);
            }
            match timeout_at(now + MOMENT, running.join_next()).await {
                Ok(Some(Ok((id, Ok((info, connection)))))) => {
                    self.open.insert(id, (connection, Instant::now()));
                    said.insert(id, info);
                }
                Ok(Some(Ok((id, Err(error))))) => self.note(&topology, id, &error),
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for id in waited_for {
            if !said.contains_key(&id) {
                self.silent.insert(id, Instant::now());
            }
        }
        for says in &mut nodes {
            says.info = said.remove(&says.node.id);
        }
        nodes
    }

    fn note(&mut self, topology: &Topology, id: NodeId, error: &AskError) {
        let Some(node) = topology.node_by_id(&id) else { return };
        let node = &topology.node(node).endpoint;
        if matches!(error, AskError::Refused(_)) && !std::mem::replace(&mut self.refused, true) {
            tracing::warn!(
                %node,
                %error,
                "INFO cannot tell of the nodes' data: permit INFO to the nodes' user"
            );
        } else {
            tracing::debug!(%node, %error, "the node does not say how it is");
        }
    }

    /// Closes what has not been used for a while, and returns when there is more to close.
    pub fn close_idle(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.open.retain(|_, (_, used)| now - *used < KEPT);
        self.open.values().map(|(_, used)| *used + KEPT).min()
    }
}

fn members(topology: &Topology, asked: NodesAsked) -> Vec<NodeSays> {
    let mut members = Vec::new();
    for (index, node) in topology.nodes() {
        let shard = node.shard.map(|shard| topology.shard(shard));
        let slots = shard.filter(|shard| shard.primary == index).map_or(0, |shard| shard.slots());
        let is_wanted = asked == NodesAsked::All || (node.role == Role::Primary && slots > 0);
        if is_wanted {
            members.push(NodeSays { node: node.clone(), slots, info: None });
        }
    }
    members
}

async fn ask(
    id: NodeId,
    endpoint: Endpoint,
    open: Option<Connection>,
    settings: Arc<Settings>,
) -> Asked {
    if let Some(mut connection) = open {
        match connection.info(MOMENT).await {
            Ok(info) => return (id, Ok((info, connection))),
            // Closed while it was idle: that says nothing of the node.
            Err(AskError::Closed) => {}
            Err(error) => return (id, Err(error)),
        }
    }
    let anew = async {
        let mut connection = connect(&endpoint, &settings).await?;
        let info = connection.info(MOMENT).await?;
        Ok((info, connection))
    };
    (id, anew.await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::topology::samples::{draft, id};

    #[test]
    fn primaries_are_those_that_own_slots() {
        let mut draft = draft(&[('a', 1, None), ('b', 2, None), ('c', 3, Some('a'))]);
        let slot = |number| Slot::new(number).unwrap();
        draft.own(slot(0), slot(9), id('a'), 1);
        let topology = draft.finish();
        let of = |asked| {
            let members = members(&topology, asked);
            let mut all: Vec<_> =
                members.iter().map(|says| (says.node.endpoint.port, says.slots)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(of(NodesAsked::Primaries), [(1, 10)]);
        assert_eq!(of(NodesAsked::All), [(1, 10), (2, 0), (3, 0)]);
    }
}
