//! What the process is told.

use std::time::Duration;

use super::limits::Limits;
use crate::discovery;
use crate::session::Manners;
use crate::worker;

/// Settings of the whole process; the bounds in `worker` are those of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect to.
    pub listen: Vec<Listen>,
    /// Where operators look; `None`: nowhere.
    pub admin: Option<(String, u16)>,
    /// Worker threads.
    pub workers: usize,
    /// Clients at a time.
    pub clients_max: usize,
    /// Keepalive of client connections; zero: off.
    pub client_keepalive: Duration,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// How long dialing a node may take.
    pub connect_timeout: Duration,
    /// See [`crate::driver::Settings::second_look`].
    pub second_look: bool,
    /// What each worker is told.
    pub worker: worker::Settings,
    /// What the discovery is told.
    pub discovery: discovery::Settings,
}

/// A place to which clients connect.
#[derive(Clone, Debug)]
pub struct Listen {
    /// A name or an address.
    pub host: String,
    /// 0: any free one.
    pub port: u16,
    /// How requests of clients that come in there are treated.
    pub manners: Manners,
}

impl Settings {
    pub(super) fn limits(&self) -> Limits {
        Limits { bulk_bytes_max: self.worker.limits.bulk_bytes_max }
    }
}
