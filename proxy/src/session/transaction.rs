//! A transaction of a client, from its MULTI to its EXEC: what is queued, and what a server says
//! of a command that cannot be.

use super::Facts;
use crate::slot::Slot;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Room for the first commands of a transaction: most are a few short ones.
const ROOM_BYTES: usize = 256;

/// Commands that wait for their EXEC.
#[derive(Debug)]
pub struct Transaction {
    /// MULTI and the commands, as a node will get them; nothing once it is spoiled.
    frame: Vec<u8>,
    /// How many of them, MULTI not counted.
    commands: usize,
    /// The slot of their keys and of those that are watched; `None` if there are none.
    pub slot: Option<Slot>,
    /// All of them only read.
    pub reads_only: bool,
    /// One of them must not share a connection.
    pub apart: bool,
    /// One of them has a script run by its SHA1.
    pub names_scripts: bool,
    /// One was refused: EXEC will be.
    spoiled: bool,
    /// Bytes that it has taken of the budget for large requests.
    pub taken: usize,
}

impl Transaction {
    /// MULTI was said, by a client that watches keys of this slot, if any.
    pub fn begin(watched: Option<Slot>) -> Transaction {
        let mut frame = Vec::with_capacity(ROOM_BYTES);
        frame.extend_from_slice(MULTI);
        Transaction {
            frame,
            commands: 0,
            slot: watched,
            reads_only: true,
            apart: false,
            names_scripts: false,
            spoiled: false,
            taken: 0,
        }
    }

    /// How many commands are queued.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Bytes that a node would get if one more command of so many bytes were queued.
    pub fn bytes_with(&self, len: usize) -> usize {
        self.frame.len() + len + EXEC.len()
    }

    /// Queues a command.
    pub fn push(&mut self, command: &[u8]) {
        self.frame.extend_from_slice(command);
        self.commands += 1;
    }

    /// A command was refused: nothing of it will be executed, and nothing is kept.
    pub fn spoil(&mut self) {
        self.spoiled = true;
        self.frame = Vec::new();
    }

    /// Whether a command was refused.
    pub fn is_spoiled(&self) -> bool {
        self.spoiled
    }

    /// The commands that are queued, one behind the other.
    pub fn queued(&self) -> &[u8] {
        self.frame.get(MULTI.len()..).unwrap_or_default()
    }

    /// Bytes of the commands that are queued.
    pub fn queued_bytes(&self) -> usize {
        self.frame.len().saturating_sub(MULTI.len())
    }

    /// All of it as a node gets it.
    pub fn into_block(mut self) -> Vec<u8> {
        self.frame.extend_from_slice(EXEC);
        self.frame
    }
}

/// What a client watches, on the connection that it keeps.
#[derive(Debug)]
pub struct Watch {
    /// The slot of the keys.
    pub slot: Slot,
    /// How many there are; one that was named twice is counted twice.
    pub keys: usize,
    /// The serial number of the connection on which all of them are watched; of none if they are on
    /// several. `None` until the first was answered: if it is when the client goes on, WATCH was
    /// refused.
    pub connection: Option<u64>,
    /// ASKING went before it: the slot is on its way to that node.
    pub asking: bool,
}

/// The answer to EXEC after a command was refused.
pub const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// What the cluster's own servers say to MULTI or WATCH inside MULTI, and whether they refuse EXEC
/// for it.
pub fn not_inside(name: &str, facts: &Facts) -> (String, bool) {
    match facts.valkey_version.as_deref() {
        None if name == "multi" => ("ERR MULTI calls can not be nested".into(), false),
        None => ("ERR WATCH inside MULTI is not allowed".into(), false),
        Some(version) if major(version) < 9 => {
            ("ERR Command not allowed inside a transaction".into(), true)
        }
        Some(_) => (format!("ERR Command '{name}' not allowed inside a transaction"), true),
    }
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
