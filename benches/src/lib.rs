//! Measures slotway beside the proxies people know, on this machine, in one go.
//!
//! `make bench` runs the binary `bench`, which reads top-down as the story of a run. The parts:
//!
//! - [`options`]: what can be asked for on the command line.
//! - [`host`], [`interrupt`], [`usage`]: what the machine offers; signals; CPU time and memory.
//! - [`stage`], [`targets`]: the servers, and the proxies in front of them.
//! - [`loads`], [`generator`]: what is sent, and the clients that send it.
//! - [`cell`], [`idle`], [`fanout`]: one measurement under load; one of memory; one of messages
//!   to many subscribers.
//! - [`results`], [`goals`]: medians, paired ratios, and what slotway is held to.
//! - [`environment`], [`report`], [`picture`], [`raw`]: the files under `target/bench/`.
//! - [`profile`]: where slotway's time goes, by `perf`.
//! - [`run`]: the order of it all.
//! - [`heart`]: a worker's heart without sockets, for instruction counts and criterion.
//!
//! The criterion benches of the heart are in `benches/` beside this folder.

pub mod options;

pub mod host;
pub mod interrupt;
pub mod usage;

pub mod stage;
pub mod targets;

pub mod loads;
pub mod generator;

pub mod cell;
pub mod fanout;
pub mod idle;

pub mod results;
pub mod goals;

pub mod environment;
pub mod report;
pub mod picture;
pub mod raw;
pub mod profile;

pub mod run;

pub mod heart;
