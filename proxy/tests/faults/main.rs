//! The contract's faults (spec/failure-masking.md §7) against real servers, under load, through
//! the running binary: what clients were told is audited against what the servers hold.
//!
//! A short set runs with all tests; `make soak` runs every fault and prints a table.

mod scenarios;
mod short;
mod soak;
mod stage;
mod unaffected;
