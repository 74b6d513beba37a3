//! What the process is told.

use std::time::Duration;

use super::limits::Limits;
use crate::discovery;
use crate::worker;

/// Settings of the whole process; the bounds in `worker` are those of one worker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where clients connect to: host and port.
    pub listen: Vec<(String, u16)>,
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
    /// How long requests may wait; `None`: by the cluster's node timeout.
    pub mask_deadline: Option<Duration>,
    /// What each worker is told.
    pub worker: worker::Settings,
    /// What the discovery is told.
    pub discovery: discovery::Settings,
}

impl Settings {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            mask_deadline: self.mask_deadline,
            bulk_bytes_max: self.worker.limits.bulk_bytes_max,
        }
    }
}
