//! One node as the heart sees it: its connections, each with an ordered queue of what was sent
//! and what was not, the handshake, and when to dial again.

mod backoff;
mod connection;
mod handshake;
mod mode;
mod ticket;

pub use backoff::Backoff;
pub use connection::{Block, Connection, Expected, Kind, Lost, Phase, Replies, Run, Stream};
pub use handshake::{Fence, Fenced, Handshake, HandshakeStep, Identity};
pub use mode::Mode;
pub use ticket::{ClientKey, Patience, Ticket, Trial, WHOLE, Way};
