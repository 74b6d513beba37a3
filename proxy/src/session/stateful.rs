//! What a client has of its own at the servers while it has it: most never do, so all of it is
//! behind one pointer, and requests of those that have nothing never look here.

/// The part of a client's state that is more than its connection.
#[derive(Debug, Default)]
pub struct Stateful {}

impl Stateful {
    /// Nothing is left of it: the client is one like most.
    pub fn is_over(&self) -> bool {
        true
    }
}
