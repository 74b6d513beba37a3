//! What other threads tell a worker: rare things only.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::inquiry::Inquiry;
use crate::session::Manners;
use crate::time::Moment;
use crate::topology::{NodeId, Topology};

/// A message to one worker.
#[derive(Debug)]
pub enum Mail {
    /// A client was accepted. Its id is unique in the process.
    Client {
        /// The connection, not blocking.
        stream: std::net::TcpStream,
        /// Its `CLIENT ID`.
        id: u64,
        /// Those of the listener at which it came in.
        manners: Manners,
    },
    /// A connection that the heart asked for is open, or could not be opened.
    Dialed {
        /// The connection's index in the heart.
        connection: u32,
        /// Which of the dials for this index it was.
        serial: u64,
        /// The connection.
        stream: std::io::Result<TcpStream>,
    },
    /// The topology has changed.
    Topology(Arc<Topology>),
    /// Whose views of the cluster are in the topology, and after which moment each was given.
    Looks(Vec<(NodeId, Moment)>),
    /// What was learned of the cluster's servers changes these settings.
    Limits {
        /// How long requests may wait, where nobody chose how long.
        auto_deadline: Duration,
        /// The largest argument of a request, in bytes.
        bulk_bytes_max: u32,
        /// Scripts travel on connections of their own.
        scripts_apart: bool,
    },
    /// A question to all workers.
    Question(Arc<Inquiry>),
    /// The answer to a question that this worker has asked.
    Answer {
        /// The heart's number of it.
        number: u64,
        /// The reply for its client.
        reply: Vec<u8>,
    },
    /// The process ends: finish what was promised, take nothing new.
    Drain,
    /// The time for that is over.
    Stop,
}

/// Where a worker's messages come in.
pub type Mailbox = mpsc::UnboundedReceiver<Mail>;

/// Where they are sent. Unbounded, because what is sent is bounded elsewhere: clients by
/// `clients-max`, dials by the connections of the heart, the rest is one at a time.
pub type Sender = mpsc::UnboundedSender<Mail>;

/// A new mailbox.
pub fn mailbox() -> (Sender, Mailbox) {
    mpsc::unbounded_channel()
}
