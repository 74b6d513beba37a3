//! What the operator's tools ask over HTTP: metrics, probes, the topology, a page to look at.
//!
//! The server knows nothing of workers or of the cluster; what it shows comes from [`Sources`].
//! It only answers, it changes nothing, and a stranger who reaches its port can hold a bounded
//! number of connections for a bounded time.

mod connections;
mod liveness;
mod routes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::events::Told;
use crate::metrics::Registry;

/// Where the answers come from. The functions are called on the thread of [`serve`], must not
/// block, and return what is true now.
pub struct Sources {
    /// All cells: `/metrics`, the turns that `/livez` watches, the numbers of the page.
    pub registry: Arc<Registry>,
    /// The name of a row of the command table, for the label `command`.
    pub command_name: Box<dyn Fn(usize) -> &'static str + Send + Sync>,
    /// The topology in use, for `/topology` and the page, in the form of
    /// [`topology::json`](crate::topology::json); an `endpoint` there is the label `node` of the
    /// metrics.
    pub topology: Box<dyn Fn() -> Value + Send + Sync>,
    /// The last events, the newest last, for `/events`.
    pub events: Box<dyn Fn() -> Vec<Told> + Send + Sync>,
    /// What is missing before clients are served, one sentence each; empty when nothing is:
    /// "no topology yet: none of the seeds 127.0.0.1:7000 answered", "draining".
    pub not_ready: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// When the process began.
    pub started: Instant,
}

/// What one visitor can take of us.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time; others wait in the listener's queue.
    pub connections: usize,
    /// Bytes of a request's head, at least 8,192; 431 above it.
    pub head_bytes: usize,
    /// From the first wait for a request to the end of its head; also how long a connection may
    /// be idle. It is closed then.
    pub head_time: Duration,
    /// How long a connection is used; it is closed after the answer under way.
    pub connection_time: Duration,
    /// How much longer that last answer may take, then it is cut.
    pub last_answer_time: Duration,
    /// How often `/livez` has a look at the workers' turns. A worker must make at least one turn
    /// in this time, also when it has nothing to do.
    pub liveness_interval: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 32,
            head_bytes: 8 * 1024,
            head_time: Duration::from_secs(5),
            connection_time: Duration::from_secs(60),
            last_answer_time: Duration::from_secs(10),
            liveness_interval: Duration::from_secs(1),
        }
    }
}

/// Answers HTTP on the listener until `stop` is cancelled and the answers under way are written
/// (at most [`Limits::last_answer_time`]). Dropping the future closes every connection at once.
pub async fn serve(
    listener: TcpListener,
    sources: Sources,
    limits: Limits,
    stop: CancellationToken,
) {
    let state = Arc::new(routes::State::new(sources));
    let app = routes::router(state.clone());
    tokio::select! {
        () = connections::accept(listener, app, &limits, &stop) => {}
        () = watch(&state, limits.liveness_interval) => {}
    }
}

/// Looks at the workers' turns for ever.
async fn watch(state: &routes::State, interval: Duration) {
    let mut interval = tokio::time::interval(interval);
    // After a stopped process goes on, the looks that were missed would find no turns.
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        state.look_at_workers();
    }
}
