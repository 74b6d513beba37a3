//! Framing held against arbitrary bytes, against another decoder and against a real server.

#[path = "framing/decoder.rs"]
mod decoder;
#[path = "framing/mutations.rs"]
mod mutations;
#[path = "framing/real_server.rs"]
mod real_server;
#[path = "framing/streams.rs"]
mod streams;
