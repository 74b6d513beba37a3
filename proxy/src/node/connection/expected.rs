//! What the replies of a connection answer, in their order.

use super::ASKING;
use super::block::Block;
use super::run::Run;
use crate::node::Ticket;

/// What one reply is expected for.
#[derive(Debug)]
pub enum Expected {
    /// A client's request.
    Request(Ticket),
    /// Parts of one, each with a reply.
    Run(Box<Run>),
    /// The `ASKING` that went before one.
    Asking,
    /// The `SCRIPT LOAD` of a script that the next transaction names.
    Load {
        /// Length of the request's bytes.
        len: u32,
    },
    /// All of a transaction but the reply to its EXEC: right before its request, whose bytes are
    /// those of the whole.
    Block(Block),
    /// A request that was settled without it, or one of ours: its reply is dropped if it comes.
    Abandoned {
        /// Length of the request's bytes.
        len: u32,
    },
    /// A request of ours in front of another, which must not be executed if this one is refused.
    Barrier {
        /// Length of the request's bytes.
        len: u32,
    },
    /// A request of ours of which nothing is wanted but that it is answered.
    Own {
        /// Length of the request's bytes.
        len: u32,
    },
    /// A question of ours about a request that was answered.
    Question {
        /// That request's `arrival`.
        about: u64,
        /// Length of the question's bytes.
        len: u32,
    },
}

impl Expected {
    #[inline]
    pub(super) fn len(&self) -> usize {
        if let Expected::Request(ticket) = self {
            return ticket.len as usize; // nearly always, and found sooner than in the list
        }
        match self {
            Expected::Request(ticket) => ticket.len as usize,
            Expected::Run(run) => run.ticket().len as usize,
            Expected::Asking => ASKING.len(),
            Expected::Block(_) => 0,
            Expected::Abandoned { len }
            | Expected::Load { len }
            | Expected::Own { len }
            | Expected::Barrier { len }
            | Expected::Question { len, .. } => *len as usize,
        }
    }
}
