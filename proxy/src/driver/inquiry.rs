//! A question that one worker puts to all of them, itself included: each adds its part, and the
//! last one sends the answer back. Nobody waits for it, and nothing outlives it. And one that nodes
//! have to be asked for, which others answer.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpStream;

use super::mail::{Mail, Sender};
use crate::session::{Address, CommonQuestion, Ends, InfoQuestion, Part};

/// A question under way. Each worker holds a share of it until it has answered; when the last
/// share is dropped (a worker that has ended drops its own unanswered), the answer goes out.
pub struct Inquiry {
    /// What is asked.
    pub question: CommonQuestion,
    number: u64,
    asker: Sender,
    parts: Mutex<Vec<Part>>,
}

impl Inquiry {
    /// A question that the worker with this mailbox knows by this number.
    pub fn new(question: CommonQuestion, number: u64, asker: Sender) -> Inquiry {
        Inquiry { question, number, asker, parts: Mutex::default() }
    }

    /// Adds what one worker has to say.
    pub fn add(&self, part: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        let parts = std::mem::take(self.parts.get_mut().unwrap_or_else(PoisonError::into_inner));
        let reply = self.question.reply(parts);
        // If the worker has ended, so has its client.
        let _ = self.asker.send(Mail::Answer { number: self.number, reply });
    }
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").field("question", &self.question).finish_non_exhaustive()
    }
}

/// A question that nodes have to be asked for.
#[derive(Debug)]
pub struct NodesInquiry {
    /// What is asked.
    pub question: InfoQuestion,
    pub(super) number: u64,
    pub(super) asker: Sender,
}

impl NodesInquiry {
    /// Sends the reply to the worker that has asked.
    pub fn answer(self, reply: Vec<u8>) {
        // If the worker has ended, so has its client.
        let _ = self.asker.send(Mail::Answer { number: self.number, reply });
    }
}

/// Both ends of a connection. Asked of the system each time: two addresses kept with each client
/// would cost more than all of these questions.
pub(super) fn ends(stream: &TcpStream) -> Ends {
    let address = |end: std::io::Result<std::net::SocketAddr>| match end {
        Ok(end) => Address { host: end.ip().to_canonical().to_string(), port: end.port() },
        Err(_) => Address::default(), // it has just been lost
    };
    Ends { peer: address(stream.peer_addr()), local: address(stream.local_addr()) }
}
