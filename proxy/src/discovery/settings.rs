//! What discovery needs to be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::topology::{AddressMap, Endpoint};

/// Settings of the discovery task.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to ask first, and for ever after: names or addresses. At least one.
    pub seeds: Vec<Endpoint>,
    /// How often the map is refreshed when nobody asks for it; jittered by ±20 %.
    pub refresh_period: Duration,
    /// Longest wait for a name to be resolved, and again for a connection to be made.
    pub connect_timeout: Duration,
    /// Longest wait for the answers of a connected node.
    pub reply_timeout: Duration,
    /// What to authenticate with; asked anew for every connection.
    pub credentials: CredentialsSource,
    /// Announced addresses and where they are reached.
    pub address_map: AddressMap,
    /// How long no seed may answer at the start before [`run`](super::run) gives up; `None`
    /// waits for ever.
    pub startup_timeout: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seeds: Vec::new(),
            refresh_period: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            reply_timeout: Duration::from_secs(1),
            credentials: CredentialsSource::none(),
            address_map: AddressMap::default(),
            startup_timeout: None,
        }
    }
}

/// Where credentials come from: a function that may read a file again, so that a rotated
/// password reaches the next connection.
#[derive(Clone)]
pub struct CredentialsSource(Arc<dyn Fn() -> Option<Credentials> + Send + Sync>);

impl CredentialsSource {
    /// Credentials that this function gives; `None` sends no AUTH. It is called on the thread
    /// of the runtime, once a connection, and should not block for long.
    pub fn new(source: impl Fn() -> Option<Credentials> + Send + Sync + 'static) -> Self {
        CredentialsSource(Arc::new(source))
    }

    /// No AUTH at all.
    pub fn none() -> Self {
        CredentialsSource::new(|| None)
    }

    /// Always the same.
    pub fn fixed(credentials: Credentials) -> Self {
        CredentialsSource::new(move || Some(credentials.clone()))
    }

    /// The credentials of this moment.
    pub fn get(&self) -> Option<Credentials> {
        (self.0)()
    }
}

impl fmt::Debug for CredentialsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsSource")
    }
}

/// A user and a password of the nodes.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The ACL user; `None` is the default user, in the one-argument form of AUTH that servers
    /// without ACLs know.
    pub user: Option<String>,
    /// Its password.
    pub password: Password,
}

/// A password, which no log line or message can show: there is no `Display`, and `Debug` hides
/// it.
#[derive(Clone)]
pub struct Password(Arc<[u8]>);

impl Password {
    /// Wraps a password.
    pub fn new(password: &[u8]) -> Password {
        Password(password.into())
    }

    /// The password itself, for an AUTH command and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let credentials =
            Credentials { user: Some("u".into()), password: Password::new(b"hunter2") };
        let settings = Settings {
            credentials: CredentialsSource::fixed(credentials.clone()),
            ..Settings::default()
        };
        for shown in [format!("{credentials:?}"), format!("{settings:?}")] {
            assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        }
    }
}
