//! Accepts clients and gives each to the worker that has the fewest.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::select_all;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tracing::{info, warn};

use super::Listen;
use super::crew::Crew;
use crate::metrics::Registry;
use crate::net;
use crate::session::Manners;

/// After an error of accept (out of descriptors, say) the next attempt waits, or the process
/// would do nothing else.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// The sockets that clients connect to.
pub(super) struct Listeners {
    sockets: Vec<(TcpListener, Manners)>,
}

/// Binds every address that the names resolve to.
pub(super) async fn bind(listen: &[Listen]) -> anyhow::Result<Listeners> {
    let mut sockets = Vec::new();
    for Listen { host, port, manners } in listen {
        for address in resolve(host, *port).await? {
            let socket = bind_one(address)?;
            info!("listening on {}", socket.local_addr()?);
            sockets.push((socket, *manners));
        }
    }
    Ok(Listeners { sockets })
}

/// Binds the operators' address.
pub(super) async fn bind_admin((host, port): &(String, u16)) -> anyhow::Result<TcpListener> {
    let Some(address) = resolve(host, *port).await?.into_iter().next() else {
        bail!("the admin address {host} has no address");
    };
    let socket = bind_one(address)?;
    info!("admin pages on http://{}/", socket.local_addr()?);
    Ok(socket)
}

async fn resolve(host: &str, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let addresses = lookup_host((host, port))
        .await
        .with_context(|| format!("the listen address {host} cannot be resolved"))?;
    let mut addresses: Vec<SocketAddr> = addresses.collect();
    addresses.dedup();
    Ok(addresses)
}

fn bind_one(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = net::listen(address)
        .and_then(TcpListener::from_std)
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket)
}

impl Listeners {
    /// The port of the first, for INFO.
    pub(super) fn first_port(&self) -> u16 {
        self.sockets.first().and_then(|(s, _)| s.local_addr().ok()).map_or(0, |a| a.port())
    }

    /// Accepts for ever.
    pub(super) async fn accept(&self, crew: &Crew, registry: &Registry) -> Infallible {
        loop {
            match self.next().await {
                Ok((stream, manners)) => take_in(stream, manners, crew, registry).await,
                Err(error) => {
                    warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    async fn next(&self) -> io::Result<(TcpStream, Manners)> {
        let accepts = self.sockets.iter().map(|(socket, _)| Box::pin(socket.accept()));
        let (accepted, at, _) = select_all(accepts).await;
        accepted.map(|(stream, _)| (stream, self.sockets[at].1))
    }
}

async fn take_in(mut stream: TcpStream, manners: Manners, crew: &Crew, registry: &Registry) {
    if crew.is_full() {
        registry.process.clients_refused.add(1);
        // Whoever does not take these 35 bytes at once does not get them.
        let refusal = stream.write_all(b"-ERR max number of clients reached\r\n");
        let _ = tokio::time::timeout(Duration::from_millis(10), refusal).await;
        return;
    }
    match stream.into_std() {
        Ok(stream) => crew.hand_over(stream, manners),
        Err(error) => warn!(%error, "a client could not be accepted"),
    }
}
