//! What slotway knows of a request while a node, or the parking lot, has it.

use super::Mode;
use crate::command::{self, CommandId};
use crate::slot::Slot;
use crate::time::Moment;

/// A client of one worker. The generation tells a client from those that had its place before:
/// a reply for a client that has gone is popped and dropped, never misplaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey {
    /// Place in the worker's table.
    pub index: u32,
    /// Which of the clients that had this place.
    pub generation: u32,
}

/// The part number of a request that is whole.
pub const WHOLE: u16 = u16::MAX;

/// One request on its way. It is moved from queue to queue, never copied, so a request is
/// settled exactly once.
#[derive(Debug)]
pub struct Ticket {
    /// Whose it is.
    pub client: ClientKey,
    /// Its number among that client's requests: where in the ring its reply belongs. Of a part,
    /// where the parts are gathered.
    pub sequence: u32,
    /// Which part of a request over several slots or shards it is; [`WHOLE`] for all others.
    pub part: u16,
    /// Its number among all requests of the worker: those that wait leave in this order.
    pub arrival: u64,
    /// Length of the request's bytes.
    pub len: u32,
    /// When it was read from the client; its deadline and its latency count from here.
    pub received: Moment,
    /// The slot of its keys; `None` if it has none.
    pub slot: Option<Slot>,
    /// Which command it is, for metrics.
    pub command: CommandId,
    /// Its client's protocol and database: it goes out on connections in this mode only.
    pub mode: Mode,
    /// The node that it is for and for no other (its base pool's index), if it is no matter of
    /// slots.
    pub pinned: u16,
    /// The node before the one that has it now (its base pool's index), once it was redirected.
    pub previous: u16,
    /// Redirects followed since it last waited.
    pub hops: u8,
    /// How often it was sent again because the script that it names had to be loaded.
    pub loads: u8,
    /// It may be sent again after a lost reply: it only reads, or the operator wants it.
    pub replayable: bool,
    /// It changes nothing (class R), executed or not.
    pub reads_only: bool,
    /// A reply to it was lost before, and it does not only read: it may have been executed,
    /// whatever becomes of this attempt.
    pub in_doubt: bool,
    /// It runs code of a client: its errors are not believed without need. Of a transaction: it
    /// names scripts; what refuses it comes before they run.
    pub forgeable: bool,
    /// Which connections it may travel on.
    pub way: Way,
    /// It is a write of a client whose writes to a slot go one at a time.
    pub strict: bool,
    /// How long it may wait from `received` on.
    pub patience: Patience,
    /// It left the straight way (rejected, lost, parked): its client may not send anything
    /// further to this slot before it is settled.
    pub diverted: bool,
    /// It was sent to find out whether others may follow.
    pub trial: Trial,
    /// The process that it was last sent to ([`Identity::process`](super::Identity::process)).
    pub process: u8,
}

impl Ticket {
    /// A request that has just been read: no write, no slot, nothing tried yet.
    #[inline]
    pub fn new(
        client: ClientKey,
        mode: Mode,
        patience: Patience,
        command: CommandId,
        received: Moment,
    ) -> Ticket {
        Ticket {
            client,
            sequence: 0,
            part: WHOLE,
            arrival: 0,
            len: 0,
            received,
            slot: None,
            command,
            mode,
            pinned: u16::MAX,
            previous: u16::MAX,
            hops: 0,
            loads: 0,
            replayable: false,
            reads_only: false,
            in_doubt: false,
            forgeable: false,
            way: Way::Shared,
            strict: false,
            patience,
            diverted: false,
            trial: Trial::No,
            process: 0,
        }
    }
}

impl Ticket {
    /// It is a transaction: its bytes are MULTI, commands and EXEC, and there are as many replies,
    /// of which its client gets the last.
    #[inline]
    pub fn is_block(&self) -> bool {
        self.command == command::EXEC
    }

    /// It is for a node as such, and does not only read: a change of its settings, no write of data.
    pub fn is_of_node(&self) -> bool {
        self.pinned != u16::MAX && self.slot.is_none() && !self.reads_only
    }

    /// It is a transaction that has scripts run by their SHA1: they are loaded in front of it.
    #[inline]
    pub fn names_scripts(&self) -> bool {
        self.forgeable && self.is_block()
    }

    /// It is a transaction behind a WATCH: it cannot go elsewhere.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.is_block() && self.way == Way::Kept
    }
}

/// Which connections a request may travel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The one that all clients share, unless it is large.
    Shared,
    /// One of its own: its error may break the lines of the protocol, and what follows them must
    /// be nobody's reply.
    Apart,
    /// One of its own, which it may hold up for as long as it likes, and which ends with its
    /// client.
    Blocking,
    /// As that, behind a write of ours that leaves nothing.
    Barrier,
    /// The one that its client keeps from request to request.
    Kept,
}

impl Way {
    /// It is never on a connection that others use.
    #[inline]
    pub fn is_own(self) -> bool {
        self != Way::Shared
    }

    /// It may hold its connection up for as long as it likes.
    #[inline]
    pub fn blocks(self) -> bool {
        matches!(self, Way::Blocking | Way::Barrier)
    }

    /// Its connection is its client's for a time that nobody knows.
    #[inline]
    pub fn is_lent(self) -> bool {
        matches!(self, Way::Blocking | Way::Barrier | Way::Kept)
    }
}

/// How long a request may wait: which of the deadlines that its worker knows. A number and no
/// length, because every ticket has one, and because what `auto` comes to may change meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience(u8);

impl Patience {
    /// The deadline that follows from the cluster's node timeout.
    pub const AUTO: Patience = Patience(0);
    /// `circuit-wait`: its shard had been away for a whole deadline when it was read.
    pub const SHORT: Patience = Patience(1);
    /// How many deadlines of somebody's choice there can be.
    pub const CHOSEN_MAX: usize = 254;

    /// The deadline with this number among those that were chosen; the last possible one if there
    /// are not so many.
    pub fn chosen(number: usize) -> Patience {
        Patience(2 + number.min(Patience::CHOSEN_MAX - 1) as u8)
    }

    /// Its number among those that were chosen; `None` if nobody chose it.
    #[inline]
    pub fn number(self) -> Option<usize> {
        usize::from(self.0).checked_sub(2)
    }

    /// The next one in their order.
    pub fn next(self) -> Option<Patience> {
        self.0.checked_add(1).map(Patience)
    }
}

/// Whether a request was let out of a parking lot to try the way for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// An ordinary request.
    No,
    /// It tries for all that wait for its node.
    Node,
    /// It tries for those that wait for its slot.
    Slot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_small() {
        assert!(size_of::<Ticket>() <= 56, "{} bytes", size_of::<Ticket>());
    }
}
