//! The connections of the admin HTTP, held within [`Limits`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Limits;

/// How long to wait when accepting fails: out of file descriptors, it would fail at once again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts and answers until `stop`, then waits for the answers under way.
pub(super) async fn accept(
    listener: TcpListener,
    app: Router,
    limits: &Limits,
    stop: &CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    // Dropping the set aborts what is in it: no connection outlives this function.
    let mut open = JoinSet::new();
    while let Some((stream, place)) = stop.run_until_cancelled(next(&listener, &places)).await {
        while open.try_join_next().is_some() {}
        let (app, limits, stop) = (app.clone(), limits.clone(), stop.clone());
        open.spawn(async move {
            connection(stream, app, &limits, &stop).await;
            drop(place);
        });
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// The next connection, once there is a place for it.
async fn next(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) => {
                warn!(%error, "admin: cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Router, limits: &Limits, stop: &CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes);
    let service = TowerToHyperService::new(app);
    let mut answering = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = answering.as_mut() => {
            if let Err(error) = ended {
                debug!(%error, "admin: connection ended");
            }
            return;
        }
        () = stop.cancelled() => {}
        () = sleep(limits.connection_time) => {}
    }
    answering.as_mut().graceful_shutdown();
    if timeout(limits.last_answer_time, answering).await.is_err() {
        debug!("admin: a visitor did not read its answer, connection cut");
    }
}
