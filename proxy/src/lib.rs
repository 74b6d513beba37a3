//! slotway makes a Redis or Valkey Cluster look like one Redis server.
//!
//! The floors of the house, from the ground up; a part may use what stands before it in this
//! list, never what stands after it (`tests/floors.rs` keeps it so).

// bytes and facts
pub mod slot;
pub mod time;
pub mod resp;
pub mod metrics;
// what commands mean
pub mod command;
// what the cluster looks like, and what happened to it
pub mod topology;
pub mod events;
pub mod scripts;
pub mod audience;
// where a command goes, what its answers mean: pure functions
pub mod routing;
// the heart: state, but no I/O and no clock
pub mod node;
pub mod session;
pub mod worker;
// the world outside
pub mod net;
pub mod driver;
pub mod discovery;
pub mod server;
pub mod config;
// entry points of the fuzzers: not part of what the library offers
#[doc(hidden)]
pub mod fuzz;
