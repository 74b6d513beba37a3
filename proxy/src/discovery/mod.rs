//! The task that keeps the topology fresh: it asks seeds and nodes for their views, on a period
//! and on demand, and publishes what [`topology::merge`](crate::topology::merge) makes of them.
//!
//! Seeds are resolved again at each dial and kept for ever beside the nodes that were learned
//! from them. A refresh asks two nodes, more when one of them is slow, fails, or thinks that the
//! cluster is down, and all of them (within a bound) when two contradict each other. While requests
//! wait for a primary, its replicas are asked for their role in between, many times a second.

mod ask;
mod census;
mod commands;
mod connection;
mod facts;
mod gather;
mod handle;
mod pace;
mod probes;
mod report;
mod settings;
mod task;

pub use census::Census;
pub use facts::ClusterFacts;
pub use handle::{Counts, Handle, Look, Reason};
pub use settings::{Credentials, CredentialsSource, Password, Settings};
pub use task::{DiscoveryError, run};
