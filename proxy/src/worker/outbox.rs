//! What a worker wants from its driver.

use std::collections::VecDeque;

use crate::session::Question;
use crate::topology::Endpoint;

/// Something for the driver to do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection to this endpoint; tell by `node_connected` or `node_lost`.
    Dial {
        /// The connection's index.
        connection: u32,
        /// Where to.
        endpoint: Endpoint,
    },
    /// This node connection is closed next, but a request that blocks is under way on it, whose
    /// client has left: say the one at once, and count it if the other comes all the same.
    HearOut {
        /// The connection's index.
        connection: u32,
    },
    /// Close this node connection; its index may be used again at once.
    CloseNode {
        /// The connection's index.
        connection: u32,
    },
    /// Read from this node connection again: it was paused.
    ReadNode {
        /// The connection's index.
        connection: u32,
    },
    /// Close this client; its index may be used again at once.
    CloseClient {
        /// The client's index.
        client: u32,
    },
    /// Read from this client again: it was paused.
    ReadClient {
        /// The client's index.
        client: u32,
    },
    /// Have a client's question answered: by `answer_own`, or by `inquire` of all workers and then
    /// `answered`.
    Ask {
        /// The heart's number of it.
        number: u64,
        /// Who asks.
        client: u32,
        /// What is asked.
        question: Question,
    },
    /// Something suggests that the topology has changed.
    Refresh(WishReason),
}

/// Why a worker wishes the topology to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishReason {
    /// A node said MOVED.
    Moved,
    /// A redirect named a node that no view lists.
    UnknownNode,
    /// A connection was lost or could not be opened.
    ConnectionLost,
    /// A node said CLUSTERDOWN, LOADING, READONLY or the like.
    NotServing,
    /// No node owns the slot of a request.
    NoOwner,
    /// A scan has met another owner, or another process, than before.
    Scan,
    /// A node that was silent speaks again: what it says waits until another confirms its role.
    Unconfirmed,
}

impl WishReason {
    /// The reason in words, for logs.
    pub fn text(self) -> &'static str {
        match self {
            WishReason::Moved => "a node answered MOVED",
            WishReason::UnknownNode => "a redirect named an unknown node",
            WishReason::ConnectionLost => "a node connection was lost",
            WishReason::NotServing => "a node does not serve",
            WishReason::NoOwner => "a slot has no owner",
            WishReason::Scan => "a scan met another owner than before",
            WishReason::Unconfirmed => "a node that was silent speaks again",
        }
    }
}

/// What has gathered for the driver in this turn.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) dirty_nodes: Vec<u32>,
    pub(super) actions: VecDeque<Action>,
}

impl Outbox {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// A wish is said once a turn.
    pub(super) fn wish(&mut self, reason: WishReason) {
        let wish = Action::Refresh(reason);
        if !self.actions.contains(&wish) {
            self.actions.push_back(wish);
        }
    }
}
