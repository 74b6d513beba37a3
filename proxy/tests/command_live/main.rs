//! The command table against a real server: `SLOTWAY_TEST_SERVER` (a path), or the
//! `redis-server` on PATH. What the server does not have is left out by its version, which the
//! rows must then name.

mod blocking;
#[path = "../class_review/mod.rs"]
mod class_review;
mod keys;
mod refusals;
mod request;
mod rows;
mod server;
