//! The proof of the main job: the running binary before real clusters, with plain clients.
//! The server is `redis-server` on PATH, or the program in `SLOTWAY_TEST_SERVER`.

mod admin;
mod all_nodes;
mod answers;
mod auth;
mod bad_luck;
mod doubt;
mod drain;
mod endpoints;
mod events;
mod everywhere;
mod faults;
mod founding;
mod keys;
mod large;
mod load;
mod migration;
mod order;
mod others;
mod scripts;
mod stage;
mod startup;
mod transactions;
mod wire;
