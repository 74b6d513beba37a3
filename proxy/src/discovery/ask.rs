//! Asking one node: over the connection that is open to it, or over a new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{AskError, Connection, Told};
use super::settings::Settings;
use crate::topology::{Endpoint, NodeId};

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// Whether it is one of the seeds.
    pub(super) seed: bool,
    /// Who should answer there, when it was learned.
    pub(super) expected: Option<NodeId>,
}

/// What came of it. The connection is there to be used again.
pub(super) struct Answer {
    pub(super) target: Target,
    pub(super) result: Result<(Told, Connection), AskError>,
}

/// Most addresses tried of one name.
const ADDRESSES_MAX: usize = 8;
/// How much later each further address of a name is tried, unless the one before has failed.
const STAGGER: Duration = Duration::from_millis(50);

/// Asks a node. Takes no longer than the settings' timeouts together.
pub(super) async fn ask(
    target: Target,
    open: Option<Connection>,
    settings: Arc<Settings>,
) -> Answer {
    let result = match open {
        Some(connection) => ask_again(&target, connection, &settings).await,
        None => ask_anew(&target, &settings).await,
    };
    Answer { target, result }
}

async fn ask_again(
    target: &Target,
    mut connection: Connection,
    settings: &Arc<Settings>,
) -> Result<(Told, Connection), AskError> {
    match connection.ask(target.seed, settings.reply_timeout).await {
        Ok(told) => Ok((told, connection)),
        // Closed while it was idle, perhaps by a restart: that says nothing of the node.
        Err(AskError::Closed) => ask_anew(target, settings).await,
        Err(error) => Err(error),
    }
}

async fn ask_anew(
    target: &Target,
    settings: &Arc<Settings>,
) -> Result<(Told, Connection), AskError> {
    let addresses = resolve(&target.endpoint, settings.connect_timeout).await?;
    // A name of several addresses may be a different node each time, so what one of them says of
    // "the host that answered" is true of that address only.
    let asked = |address: &SocketAddr| match addresses.len() {
        1 => target.endpoint.clone(),
        _ => Endpoint::new(address.ip().to_string(), address.port()),
    };
    let mut waiting = addresses.iter();
    let mut race = JoinSet::new();
    let mut last_error = AskError::Resolve("it has no address".to_owned());
    loop {
        if let Some(address) = waiting.next() {
            let settings = settings.clone();
            race.spawn(ask_at(*address, asked(address), target.seed, settings));
        }
        let next = race.join_next();
        let finished = match waiting.len() {
            0 => next.await,
            _ => match timeout(STAGGER, next).await {
                Ok(finished) => finished,
                Err(_) => continue,
            },
        };
        match finished {
            Some(Ok(Ok(answered))) => return Ok(answered),
            Some(Ok(Err(error))) => last_error = error,
            Some(Err(_)) => {}
            None => return Err(last_error),
        }
    }
}

/// Connects to a node, at the first of its addresses where that is possible.
pub(super) async fn connect(
    endpoint: &Endpoint,
    settings: &Settings,
) -> Result<Connection, AskError> {
    let mut last_error = AskError::Resolve("it has no address".to_owned());
    for address in resolve(endpoint, settings.connect_timeout).await? {
        match Connection::open(address, endpoint.clone(), settings).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

async fn ask_at(
    address: SocketAddr,
    asked: Endpoint,
    seed: bool,
    settings: Arc<Settings>,
) -> Result<(Told, Connection), AskError> {
    let mut connection = Connection::open(address, asked, &settings).await?;
    let told = connection.ask(seed, settings.reply_timeout).await?;
    Ok((told, connection))
}

/// The addresses of an endpoint, at most [`ADDRESSES_MAX`]. Asked of the resolver every time:
/// behind a name there may be another machine now.
async fn resolve(endpoint: &Endpoint, patience: Duration) -> Result<Vec<SocketAddr>, AskError> {
    let lookup = timeout(patience, lookup_host((&*endpoint.host, endpoint.port)));
    match lookup.await {
        Err(_) => Err(AskError::Resolve("the resolver did not answer in time".to_owned())),
        Ok(Err(error)) => Err(AskError::Resolve(error.to_string())),
        Ok(Ok(addresses)) => {
            let mut distinct: Vec<SocketAddr> = Vec::new();
            for address in addresses {
                if distinct.len() < ADDRESSES_MAX && !distinct.contains(&address) {
                    distinct.push(address);
                }
            }
            Ok(distinct)
        }
    }
}
