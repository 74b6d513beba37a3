//! Moves bytes between sockets and one worker's heart, with tokio, on one thread.
//!
//! All of a worker is one task. Each socket has a waker that puts the socket's place on a ready
//! list; when the task runs it reads what is ready, lets the heart work, and then writes each
//! node and each client once: a turn. Nothing is shared and nothing is sent between tasks on
//! the way of a request.

mod inquiry;
mod last_words;
mod mail;
mod ready;
mod sockets;
mod turn;

pub use inquiry::{Inquiry, NodesInquiry};
pub use mail::{Mail, Mailbox, Sender, mailbox};
pub use turn::{Driver, Settings, Wish};
