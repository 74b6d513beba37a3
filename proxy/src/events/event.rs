//! One thing that happened, and the sentence that tells it.

use std::fmt;
use std::time::Duration;

use crate::slot::Slot;
use crate::topology::{Change, Endpoint};

/// One thing that happened. Its `Display` is a sentence for the operator; what took time says
/// how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection to a node ended, and not by our doing.
    Lost {
        /// The node.
        node: Endpoint,
        /// Requests that were on it.
        requests: u64,
    },
    /// A node is found away, silent or not serving. Once an outage for each reason, not once an
    /// attempt.
    Away {
        /// The node.
        node: Endpoint,
        /// What is wrong, as clients are told: "its node cannot be reached".
        why: &'static str,
    },
    /// A node that was away answers.
    Back {
        /// The node.
        node: Endpoint,
        /// Since it was found away. `None`: nobody has asked for a while, so that it may have been
        /// back for long.
        after: Option<Duration>,
    },
    /// Requests begin to wait where none waited.
    ParkingBegan {
        /// For what.
        place: Place,
        /// Why, as clients are told.
        why: &'static str,
    },
    /// No request waits there any more.
    ParkingEnded {
        /// For what they waited.
        place: Place,
        /// How many did.
        requests: u64,
        /// How long the oldest of them did.
        longest: Duration,
    },
    /// The first request for the slots of a node that was away succeeded.
    FirstSuccess {
        /// The node that was away.
        lost: Endpoint,
        /// The node that served: the same one, or one that has its slots now.
        node: Endpoint,
        /// Since the loss, or since somebody first asked for them after it.
        after: Duration,
        /// Requests were waiting for it. If not, it says when somebody came, not when the slots
        /// were served again.
        waited: bool,
    },
    /// Requests have waited a whole deadline for a node: later ones wait less.
    CircuitOpened {
        /// The node.
        node: Endpoint,
    },
    /// A node serves again after that.
    CircuitClosed {
        /// The node.
        node: Endpoint,
        /// Since the circuit opened.
        after: Duration,
    },
    /// A node sent requests elsewhere.
    Redirects {
        /// `MOVED`, `ASK` or `TRYAGAIN`.
        kind: &'static str,
        /// Who answered so.
        from: Option<Endpoint>,
        /// Where to; `None` if it names nobody that is known, or nobody at all.
        to: Option<Endpoint>,
        /// How many.
        count: u64,
    },
    /// Requests may or may not have been executed, and their clients were told so.
    UnknownResults {
        /// Who has their slots.
        node: Option<Endpoint>,
        /// Why, as clients are told.
        why: &'static str,
        /// How many.
        count: u64,
    },
    /// Requests have waited until their deadline and were not executed.
    GaveUp {
        /// Who has their slots.
        node: Option<Endpoint>,
        /// How many.
        count: u64,
    },
    /// Subscriptions were lost with the connection to their node: until they are made elsewhere
    /// their clients get nothing.
    SubscriptionsLost {
        /// The node.
        node: Endpoint,
        /// How many channels and patterns, of all workers.
        subscriptions: u64,
    },
    /// No subscription is lost any more.
    Resubscribed {
        /// How many were.
        subscriptions: u64,
        /// The longest.
        after: Duration,
    },
    /// What was left of lost connections was dealt with before a new one was used.
    Fence {
        /// The node.
        node: Endpoint,
        /// How many lost connections.
        connections: u64,
        /// The node did not permit CLIENT KILL.
        refused: bool,
    },
    /// A replica took over the slots of its primary.
    Failover {
        /// The slots, as ranges.
        slots: String,
        /// The primary before.
        from: Endpoint,
        /// The primary now.
        to: Endpoint,
        /// The config epoch of the new ownership; 0 if unknown.
        epoch: u64,
    },
    /// Slots have another owner, lost theirs, or have one again.
    SlotsMoved {
        /// How many.
        slots: u64,
        /// The owner before.
        from: Option<Endpoint>,
        /// The owner now.
        to: Option<Endpoint>,
    },
    /// Anything else that changed in the map.
    Map(Change),
}

/// What requests wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A node.
    Node(Endpoint),
    /// Slots that are on their way or have no owner; the first of them that somebody asked for.
    Slots(Slot),
}

impl Event {
    /// Adds what another event tells if it is the same thing once more: told by another worker,
    /// or again a moment later. Returns whether it was.
    pub(super) fn absorb(&mut self, other: &Event) -> bool {
        use Event as E;
        match (self, other) {
            (E::Lost { node, requests }, E::Lost { node: other, requests: more })
                if node == other =>
            {
                *requests += more;
            }
            (E::Back { node, .. }, E::Back { node: other, .. })
            | (E::CircuitClosed { node, .. }, E::CircuitClosed { node: other, .. })
                if node == other => {}
            (
                E::ParkingBegan { place: Place::Slots(_), why },
                E::ParkingBegan { place: Place::Slots(_), why: other },
            ) if why == other => {}
            (
                E::ParkingEnded { place, requests, longest },
                E::ParkingEnded { place: other, requests: more, longest: waited },
            ) if place == other
                || matches!((&place, other), (Place::Slots(_), Place::Slots(_))) =>
            {
                *requests += more;
                *longest = (*longest).max(*waited);
            }
            (
                E::FirstSuccess { lost, node, after, waited },
                E::FirstSuccess { lost: l, node: n, after: a, waited: w },
            ) if lost == l && node == n => {
                *after = (*after).min(*a);
                *waited |= w;
            }
            (
                E::Redirects { kind, from, to, count },
                E::Redirects { kind: k, from: f, to: t, count: more },
            ) if kind == k && from == f && to == t => *count += more,
            (
                E::UnknownResults { node, why, count },
                E::UnknownResults { node: n, why: w, count: more },
            ) if node == n && why == w => *count += more,
            (E::GaveUp { node, count }, E::GaveUp { node: other, count: more })
                if node == other =>
            {
                *count += more;
            }
            (
                E::Fence { node, connections, refused },
                E::Fence { node: n, connections: more, refused: r },
            ) if node == n && refused == r => *connections += more,
            (
                E::SubscriptionsLost { node, subscriptions },
                E::SubscriptionsLost { node: other, subscriptions: more },
            ) if node == other => *subscriptions += more,
            (
                E::Resubscribed { subscriptions, after },
                E::Resubscribed { subscriptions: more, after: other },
            ) => {
                *subscriptions += more;
                *after = (*after).max(*other);
            }
            (E::SlotsMoved { slots, from, to }, E::SlotsMoved { slots: more, from: f, to: t })
                if from == f && to == t =>
            {
                *slots += more
            }
            (mine, other) => return mine == other,
        }
        true
    }

    /// It tells of many by a number: how long they took to gather belongs to it.
    pub(super) fn is_count(&self) -> bool {
        matches!(
            self,
            Event::Redirects { .. }
                | Event::UnknownResults { .. }
                | Event::GaveUp { .. }
                | Event::SlotsMoved { .. }
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Lost { node, requests } => {
                let requests = many(*requests, "request");
                write!(f, "connection to {node} lost with {requests} under way")
            }
            Event::Away { node, why } => match why.strip_prefix("its node ") {
                Some(does) => write!(f, "{node} {does}"),
                None => write!(f, "{node}: {why}"),
            },
            Event::Back { node, after: Some(after) } => {
                write!(f, "{node} answers again after {}", took(*after))
            }
            Event::Back { node, after: None } => write!(f, "{node} answers again"),
            Event::ParkingBegan { place, why } => write!(f, "requests wait for {place}: {why}"),
            Event::ParkingEnded { place, requests, longest } => {
                let (requests, longest) = (many(*requests, "request"), took(*longest));
                write!(f, "nobody waits for {place} any more: {requests} did, the oldest {longest}")
            }
            Event::FirstSuccess { lost, node, after, waited } => {
                let note = if *waited { "" } else { " (nobody had waited)" };
                let after = took(*after);
                write!(
                    f,
                    "first success for the slots of {lost} {after} after its loss, from {node}{note}"
                )
            }
            Event::CircuitOpened { node } => {
                write!(f, "circuit of {node} opened: requests have waited a whole deadline for it")
            }
            Event::CircuitClosed { node, after } => {
                write!(f, "circuit of {node} closed after {}", took(*after))
            }
            Event::Redirects { kind, from, to, count } => {
                write!(f, "{count} {kind} from {}", name(from))?;
                to.as_ref().map_or(Ok(()), |to| write!(f, " to {to}"))
            }
            Event::UnknownResults { node, why, count } => {
                let results = many(*count, "unknown result");
                write!(f, "{results} for the slots of {}: {why}", name(node))
            }
            Event::GaveUp { node, count } => {
                let requests = many(*count, "request");
                write!(
                    f,
                    "{requests} gave up waiting for the slots of {}, not executed",
                    name(node)
                )
            }
            Event::SubscriptionsLost { node, subscriptions } => {
                write!(
                    f,
                    "{} lost with a connection to {node}",
                    many(*subscriptions, "subscription")
                )
            }
            Event::Resubscribed { subscriptions, after } => write!(
                f,
                "{} made again, the last after {}",
                many(*subscriptions, "lost subscription"),
                took(*after)
            ),
            Event::Fence { node, refused: true, .. } => write!(
                f,
                "{node} does not permit CLIENT KILL: requests of a lost connection may still be \
                 executed there"
            ),
            Event::Fence { node, connections, refused: false } => {
                let connections = many(*connections, "lost connection");
                write!(f, "{connections} to {node} fenced before the next one was used")
            }
            Event::Failover { slots, from, to, epoch } => write!(
                f,
                "failover of slots {slots}: primary changed from {from} to {to} (config epoch {epoch})"
            ),
            Event::SlotsMoved { slots, from, to } => {
                f.write_str(&many(*slots, "slot"))?;
                match (from, to) {
                    (Some(from), Some(to)) => write!(f, " moved from {from} to {to}"),
                    (None, Some(to)) => write!(f, " got an owner, {to}"),
                    (Some(from), None) => write!(f, " lost their owner, {from}"),
                    (None, None) => f.write_str(" without an owner"),
                }
            }
            Event::Map(change) => change.fmt(f),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Node(node) => node.fmt(f),
            Place::Slots(first) => write!(f, "slots (first {first})"),
        }
    }
}

fn name(node: &Option<Endpoint>) -> String {
    node.as_ref().map_or_else(|| "nobody known".to_owned(), Endpoint::to_string)
}

fn many(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// `37 ms`, `4.21 s`.
pub(super) fn took(time: Duration) -> String {
    match time.as_millis() {
        ms @ ..1000 => format!("{ms} ms"),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}
