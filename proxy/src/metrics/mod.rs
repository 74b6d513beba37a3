//! Every metric: its name, unit and help, and the cells behind it.
//!
//! Counting happens in [`Cell`]s that belong to one thread (no lock, no label lookup, no shared
//! cache line); [`Registry`] knows all of them and writes them in Prometheus' text form when
//! somebody asks. A metric is declared once, where its cell is: `worker.rs` (requests and
//! clients), `node.rs` (each node), `process.rs` (the cluster, the process).

mod build;
mod cell;
mod declare;
mod latency;
mod node;
mod process;
mod registry;
mod render;
mod worker;

pub use build::{BUILD, Build};
pub use cell::Cell;
pub use declare::{Cells, Family, Kind, Labels};
pub use latency::BOUNDS_US;
pub use node::NodeCells;
pub use process::{ClusterCells, ProcessCells};
pub use registry::{NodeSummary, Registry, Summary};
pub use worker::{Outcome, WorkerCells};
