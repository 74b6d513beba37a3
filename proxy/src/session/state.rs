//! The state of one client.

use super::{Flow, Replies, Stateful, Written};
use crate::command::CommandId;
use crate::metrics::WorkerCells;
use crate::node::{Mode, Patience};
use crate::resp::request::Scanner;
use crate::slot::Slot;
use crate::time::Moment;

/// Bytes that the replies in flight of one client may be expected to come to.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// As many replies of this size fit into the window's bytes.
const SMALL_REPLY_BYTES: usize = 4096;
const SMALL_REPLIES: u16 = (WINDOW_BYTES / SMALL_REPLY_BYTES as u32) as u16;

/// Requests that a client may have in flight before anything is known of its replies.
const WINDOW_START: u16 = 64;

/// How many requests a client may have in flight. It opens while replies are small and closes
/// when they are large: pausing a client's requests does not bound the replies that are already
/// on their way, so a client that stops reading must not have many large ones coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u16);

impl Window {
    /// The window of a new client.
    pub fn new(requests_max: u16) -> Window {
        Window(WINDOW_START.min(requests_max))
    }

    /// How many requests may be in flight.
    #[inline]
    pub fn requests(self) -> usize {
        usize::from(self.0)
    }

    /// A reply of this size was received.
    #[inline]
    pub fn learn(&mut self, reply_bytes: usize, requests_max: u16) {
        if reply_bytes <= SMALL_REPLY_BYTES && self.0 < SMALL_REPLIES {
            // Nearly every reply; without the division.
            self.0 += u16::from(self.0 < requests_max);
            return;
        }
        let fit = WINDOW_BYTES / (reply_bytes as u32).max(1);
        if fit >= u32::from(self.0) {
            if self.0 < requests_max {
                self.0 += 1;
            }
        } else {
            self.0 = (fit as u16).max(1).min(requests_max);
        }
    }
}

/// How many requests of several parts a client may have in flight before one begins whose reply is
/// made of the replies to its parts: what it comes to is not known before the first, and nothing of
/// it can be passed on before all of it is there. A byte, because every client has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedWindow(u8);

impl MergedWindow {
    /// So many.
    pub fn requests(self) -> usize {
        usize::from(self.0)
    }

    /// A reply of this size was made, of which as many should be there at once as fit into `bytes`.
    pub fn learn(&mut self, reply_bytes: usize, bytes: usize) {
        let fit = u8::try_from(bytes / reply_bytes.max(1)).unwrap_or(u8::MAX);
        self.0 = fit.clamp(1, self.0.saturating_add(1));
    }
}

/// Whether a client's connection is coming to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It is not.
    No,
    /// It is closed once all that was promised is answered and written; nothing further is read.
    WhenAnswered,
}

/// Why a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEnd {
    /// It closed its side, or its connection broke.
    Left,
    /// It said QUIT.
    Quit,
    /// It sent what is no request.
    ProtocolError,
    /// It did not read its replies, or stopped in the middle of a large request.
    Slow,
    /// Another client, or itself, said CLIENT KILL.
    Killed,
    /// This process ends.
    Drained,
    /// A reply could not be passed on whole, because its node was lost in the middle, or because
    /// of a bug of ours.
    Broken,
}

impl ClientEnd {
    /// Counts one client that ended so.
    pub fn count(self, cells: &WorkerCells) {
        let counter = match self {
            ClientEnd::Left => &cells.clients_closed_by_client,
            ClientEnd::Quit => &cells.clients_closed_quit,
            ClientEnd::ProtocolError => &cells.clients_closed_protocol_error,
            ClientEnd::Slow => &cells.clients_closed_slow,
            ClientEnd::Killed => &cells.clients_closed_killed,
            ClientEnd::Drained => &cells.clients_closed_drain,
            ClientEnd::Broken => &cells.clients_closed_error,
        };
        counter.add(1);
    }
}

/// A request that left the straight way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// The slot of its keys; `None` if it has none.
    pub slot: Option<Slot>,
    /// Its number among all requests of the worker.
    pub arrival: u64,
}

/// What is the case with few clients, in one byte: one look tells that none of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Special(u8);

impl Special {
    /// A request of it is under way on a connection of its own: the next request waits for it.
    pub const ALONE: Special = Special(1);
    /// It waits for the answer to a question: nothing further of it is taken before.
    pub const ASKING: Special = Special(1 << 1);
    /// Its next request is to be looked at in the light of [`Session::stateful`].
    pub const STATEFUL: Special = Special(1 << 2);

    /// Both of them.
    pub const fn and(self, other: Special) -> Special {
        Special(self.0 | other.0)
    }

    /// None of it is the case.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Any of `these` is the case.
    #[inline]
    pub fn has(self, these: Special) -> bool {
        self.0 & these.0 != 0
    }

    /// From now on all of `these` are the case, or none is.
    pub fn set(&mut self, these: Special, is_so: bool) {
        self.0 = if is_so { self.0 | these.0 } else { self.0 & !these.0 };
    }
}

/// How the requests of a client are treated: as the listener says at which it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Commands over several slots that can be split are.
    pub split: bool,
    /// It has at most one unanswered write to a slot.
    pub strict_order: bool,
    /// How long its requests may wait.
    pub patience: Patience,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners { split: true, strict_order: false, patience: Patience::AUTO }
    }
}

/// One client. Small, because most clients are idle most of the time: whatever only a busy
/// client needs is in its [`Flow`].
#[derive(Debug)]
pub struct Session {
    /// Tells this client from those that had its place in the table before.
    pub generation: u32,
    /// Its `CLIENT ID`: unique in the process.
    pub id: u64,
    /// How its requests are treated.
    pub manners: Manners,
    /// What it owns while something is under way; `None` while it is idle.
    pub flow: Option<Box<Flow>>,
    /// Where the framing of the request at the front of `flow.input` stands.
    pub scanner: Scanner,
    /// How many requests it may have in flight.
    pub window: Window,
    /// How many merged replies of it may be made at once.
    pub merged: MergedWindow,
    /// Bytes of its requests that are not answered.
    pub in_flight_bytes: usize,
    /// Its requests that left the straight way and are not settled. Nothing further of this client goes to these slots until they are
    /// (failure-masking contract, §1.4).
    pub unsettled: Vec<Away>,
    /// What is the case with it and with few others.
    pub special: Special,
    /// What it has of its own at the servers: a transaction, subscriptions. `None` with most.
    pub stateful: Option<Box<Stateful>>,
    /// The shards that it has written to since its last WAIT.
    pub written: Written,
    /// Bytes that this client has taken of the budget for large requests.
    pub large_bytes: usize,
    /// It must wait before more of its input is understood.
    pub blocked: bool,
    /// The driver was told not to read from it.
    pub read_paused: bool,
    /// The driver knows that there is something to write.
    pub dirty: bool,
    /// Whether the connection is coming to its end.
    pub closing: Closing,
    /// Why, once it is.
    pub end: ClientEnd,
    /// The protocol and the database that it chose.
    pub mode: Mode,
    /// Which of its replies it wants.
    pub replies: Replies,
    /// There was a reply that it did not want.
    pub has_muted: bool,
    /// Its last request.
    pub last_command: Option<CommandId>,
    /// When it connected.
    pub connected: Moment,
    /// When it last sent something.
    pub active: Moment,
    /// What it called itself by `CLIENT SETNAME`.
    pub name: Option<Box<[u8]>>,
    /// What it told by `CLIENT SETINFO` and `CLIENT NO-EVICT`.
    pub library: Option<Box<Library>>,
}

/// The library that a client uses, in its own words, and what else few say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// LIB-NAME
    pub name: Option<Box<[u8]>>,
    /// LIB-VER
    pub version: Option<Box<[u8]>>,
    /// It said CLIENT NO-EVICT ON, of which it is shown that it did.
    pub no_evict: bool,
}

impl Session {
    /// A client that has just connected.
    pub fn new(generation: u32, id: u64, manners: Manners, requests_max: u16) -> Session {
        Session {
            generation,
            id,
            manners,
            flow: None,
            scanner: Scanner::default(),
            window: Window::new(requests_max),
            merged: MergedWindow(1),
            in_flight_bytes: 0,
            unsettled: Vec::new(),
            special: Special::default(),
            stateful: None,
            written: Written::default(),
            large_bytes: 0,
            blocked: false,
            read_paused: false,
            dirty: false,
            closing: Closing::No,
            end: ClientEnd::Left,
            mode: Mode::BASE,
            replies: Replies::On,
            has_muted: false,
            last_command: None,
            connected: Moment::default(),
            active: Moment::default(),
            name: None,
            library: None,
        }
    }

    /// Requests without a complete reply.
    #[inline]
    pub fn in_flight(&self) -> usize {
        self.flow.as_ref().map_or(0, |flow| flow.in_flight())
    }

    /// Whether the reply to the request at hand is not wanted. Asked once a request: to skip one
    /// reply is over with it.
    #[inline]
    pub fn take_mute(&mut self) -> bool {
        if self.replies == Replies::On {
            return false;
        }
        if self.replies == Replies::SkipNext {
            self.replies = Replies::On;
        }
        self.has_muted = true;
        true
    }

    /// A request to `slot` would overtake an earlier one that is not settled.
    #[inline]
    pub fn would_overtake(&self, slot: Option<Slot>) -> bool {
        !self.unsettled.is_empty()
            && slot.is_some()
            && self.unsettled.iter().any(|away| away.slot == slot)
    }

    /// A request of this client to `slot` left the straight way.
    pub fn divert(&mut self, slot: Option<Slot>, arrival: u64) {
        self.unsettled.push(Away { slot, arrival });
    }

    /// A diverted request was settled. Returns the earliest of those to the same slot that are
    /// not: nothing stands in its way now.
    pub fn undivert(&mut self, slot: Option<Slot>, arrival: u64) -> Option<u64> {
        if let Some(at) = self.unsettled.iter().position(|away| away.arrival == arrival) {
            self.unsettled.swap_remove(at);
            if self.unsettled.is_empty() {
                self.unsettled = Vec::new();
            }
        }
        slot?;
        self.unsettled.iter().filter(|a| a.slot == slot).map(|a| a.arrival).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Session>() <= 160, "{} bytes", size_of::<Session>());
    }

    #[test]
    fn the_window_opens_for_small_replies_and_closes_for_large_ones() {
        let mut window = Window::new(1024);
        assert_eq!(window.requests(), 64);
        for _ in 0..2000 {
            window.learn(100, 1024);
        }
        assert_eq!(window.requests(), 1024);
        window.learn(1024 * 1024, 1024);
        assert_eq!(window.requests(), 8);
        window.learn(usize::try_from(WINDOW_BYTES).unwrap() * 2, 1024);
        assert_eq!(window.requests(), 1);
        window.learn(0, 1024);
        assert_eq!(window.requests(), 2);
        assert_eq!(Window::new(4).requests(), 4);
    }

    #[test]
    fn a_client_does_not_overtake_itself() {
        let slot = |n| Slot::new(n).unwrap();
        let mut session = Session::new(0, 1, Manners::default(), 1024);
        assert!(!session.would_overtake(Some(slot(1))));
        session.divert(Some(slot(1)), 10);
        session.divert(Some(slot(1)), 11);
        assert!(session.would_overtake(Some(slot(1))));
        assert!(!session.would_overtake(Some(slot(2))));
        assert_eq!(session.undivert(Some(slot(1)), 11), Some(10));
        assert!(session.would_overtake(Some(slot(1))), "one of two is still out");
        assert_eq!(session.undivert(Some(slot(1)), 10), None);
        assert!(!session.would_overtake(Some(slot(1))));
    }
}
