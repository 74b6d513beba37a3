//! What a worker is told when it starts. Bounds that the options give for the whole process are
//! this worker's share here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::audience::Audience;
use crate::command::{Allowed, RetryUnknown};
use crate::node::{Patience, Ticket};
use crate::resp::request::Limits;
use crate::scripts::Scripts;
use crate::session::Address;
use crate::time::Moment;

/// Bounds and times of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds on one request.
    pub limits: Limits,
    /// Requests that one client may have in flight.
    pub requests_max: u16,
    /// Bytes of requests that one client may have in flight (a single larger one goes alone).
    pub request_bytes_max: usize,
    /// The servers repeat line ends of a script's own words in its errors: scripts travel on
    /// connections of their own.
    pub scripts_apart: bool,
    /// A client with more bytes of replies waiting for it gets no further request through.
    pub output_pause: usize,
    /// A client with more bytes of replies waiting for it is closed.
    pub output_max: usize,
    /// A request of more bytes than this travels on a connection of its own.
    pub large_request: usize,
    /// Bytes of large requests that are being read or are under way.
    pub large_requests_max_bytes: usize,
    /// A reply of more bytes than this passes through as it comes.
    pub large_reply: usize,
    /// How long others may wait behind a large reply or for the budget of large requests while
    /// it makes no progress.
    pub large_stall: Duration,
    /// Requests that may wait for a node or a slot.
    pub park_max_requests: usize,
    /// Their bytes.
    pub park_max_bytes: usize,
    /// How long requests may wait.
    pub deadlines: Deadlines,
    /// How long a node may take to answer the greeting on a new connection. A node that accepts
    /// and then says nothing is frozen: what waits for it must not wait for ever.
    pub handshake_timeout: Duration,
    /// What may be sent again after its reply was lost, beside what only reads.
    pub retry_unknown: RetryUnknown,
    /// Connections beside the shared one that this worker may have to one node.
    pub dedicated_max: usize,
    /// Bytes of the keys that clients that cache have read.
    pub tracking_max_bytes: usize,
    /// Commands that are passed on although policy refuses them.
    pub allowed: Allowed,
    /// Subscriptions that one client may have.
    pub subscriptions_max: usize,
    /// Who is subscribed, over all workers.
    pub audience: Arc<Audience>,
    /// Bodies of scripts, of all workers.
    pub scripts: Arc<Scripts>,
    /// Where cluster clients find slotway; empty: where the client is.
    pub announce: Arc<[Address]>,
    /// An extra connection that was idle for so long is closed.
    pub node_idle_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: Limits::default(),
            requests_max: 1024,
            request_bytes_max: 4 * 1024 * 1024,
            scripts_apart: false,
            output_pause: 1024 * 1024,
            output_max: 64 * 1024 * 1024,
            large_request: 1024 * 1024,
            large_requests_max_bytes: 1024 * 1024 * 1024,
            large_reply: 1024 * 1024,
            large_stall: Duration::from_secs(10),
            park_max_requests: 100_000,
            park_max_bytes: 256 * 1024 * 1024,
            deadlines: Deadlines::default(),
            handshake_timeout: Duration::from_secs(3),
            retry_unknown: RetryUnknown::default(),
            dedicated_max: 15,
            tracking_max_bytes: 16 * 1024 * 1024,
            allowed: Allowed::default(),
            subscriptions_max: 100_000,
            audience: Arc::default(),
            scripts: Arc::new(Scripts::new(16 * 1024 * 1024)),
            announce: Arc::default(),
            node_idle_timeout: Duration::from_secs(60),
        }
    }
}

/// How long requests may wait, over all attempts, from the moment they were read.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// By the cluster's node timeout. When a request has waited so long in vain, its shard's
    /// circuit opens.
    pub auto: Duration,
    /// For a shard whose circuit is open.
    pub circuit_wait: Duration,
    /// Of somebody's choice, by [`Patience::number`].
    pub chosen: Arc<[Duration]>,
}

impl Deadlines {
    /// How long a request of this patience may wait.
    pub fn of(&self, patience: Patience) -> Duration {
        let told = match patience {
            Patience::SHORT => Some(self.circuit_wait),
            patience => patience.number().and_then(|number| self.chosen.get(number)).copied(),
        };
        told.unwrap_or(self.auto)
    }

    /// This request waits no longer than one for a shard whose circuit is open.
    pub fn hurry(&self, ticket: &mut Ticket) {
        if self.circuit_wait < self.of(ticket.patience) {
            ticket.patience = Patience::SHORT;
        }
    }

    /// Whether a request has waited for as long as it may.
    pub fn is_over(&self, ticket: &Ticket, now: Moment) -> bool {
        ticket.received + self.of(ticket.patience) <= now
    }

    /// The same of a request at a node that was last well at `well`: as long as that was so, what
    /// blocks did nothing else.
    pub fn is_over_since(&self, ticket: &Ticket, well: Moment, now: Moment) -> bool {
        let blocked = ticket.way.blocks() && well + self.of(ticket.patience) > now;
        !blocked && self.is_over(ticket, now)
    }
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            auto: Duration::from_secs(60),
            circuit_wait: Duration::from_secs(1),
            chosen: Arc::default(),
        }
    }
}

/// User and password towards the nodes. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Empty: the default user, by the one-argument AUTH that old servers understand.
    pub user: String,
    /// The password.
    pub password: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials {{ user: {:?}, password: … }}", self.user)
    }
}
