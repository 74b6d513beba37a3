//! Subscriptions before real clusters: what subscribers see while nodes die, change roles and give
//! slots away, and that slotway says what one server says.
//! The server is `redis-server` on PATH, or the program in `SLOTWAY_TEST_SERVER`.

mod answers;
mod client;
mod crowd;
mod faults;
mod notifications;
mod permissions;
