//! What a worker is told when it starts. Bounds that the options give for the whole process are
//! this worker's share here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Allowed, RetryUnknown};
use crate::resp::request::Limits;
use crate::scripts::Scripts;
use crate::session::Address;

/// Bounds and times of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds on one request.
    pub limits: Limits,
    /// Requests that one client may have in flight.
    pub requests_max: u16,
    /// Bytes of requests that one client may have in flight (a single larger one goes alone).
    pub request_bytes_max: usize,
    /// One client has at most one unanswered write to a slot.
    pub strict_order: bool,
    /// The servers repeat line ends of a script's own words in its errors: scripts travel on
    /// connections of their own.
    pub scripts_apart: bool,
    /// Commands over several slots that can be split are.
    pub split: bool,
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
    /// How long a request may wait, over all attempts, from the moment it was read.
    pub mask_deadline: Duration,
    /// How long a node may take to answer the greeting on a new connection. A node that accepts
    /// and then says nothing is frozen: what waits for it must not wait for ever.
    pub handshake_timeout: Duration,
    /// `mask_deadline` was chosen by the cluster's node timeout: when a request has waited so long
    /// in vain, its shard's circuit opens.
    pub auto_deadline: bool,
    /// What may be sent again after its reply was lost, beside what only reads.
    pub retry_unknown: RetryUnknown,
    /// How long a request waits for a shard whose circuit is open.
    pub circuit_wait: Duration,
    /// Connections beside the shared one that this worker may have to one node.
    pub dedicated_max: usize,
    /// Commands that are passed on although policy refuses them.
    pub allowed: Allowed,
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
            strict_order: false,
            scripts_apart: false,
            split: true,
            output_pause: 1024 * 1024,
            output_max: 64 * 1024 * 1024,
            large_request: 1024 * 1024,
            large_requests_max_bytes: 1024 * 1024 * 1024,
            large_reply: 1024 * 1024,
            large_stall: Duration::from_secs(10),
            park_max_requests: 100_000,
            park_max_bytes: 256 * 1024 * 1024,
            mask_deadline: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(3),
            auto_deadline: true,
            retry_unknown: RetryUnknown::default(),
            circuit_wait: Duration::from_secs(1),
            dedicated_max: 15,
            allowed: Allowed::default(),
            scripts: Arc::new(Scripts::new(16 * 1024 * 1024)),
            announce: Arc::default(),
            node_idle_timeout: Duration::from_secs(60),
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
