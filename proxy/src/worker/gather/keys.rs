//! Commands of which only a node can tell where the keys are: one is asked each time (`COMMAND
//! GETKEYS`), and then the request goes on its way. Its client's next request is not looked at
//! before, and it waits for those before it: nobody knows yet which slot it is about.

use super::{Gather, How};
use crate::command::{self, Class, Flags, Row};
use crate::metrics::Outcome;
use crate::node::{Ticket, Way};
use crate::resp::{Args, write};
use crate::routing::Merge;
use crate::session::Special;
use crate::slot::Slot;
use crate::worker::doubt::spans_of;
use crate::worker::requests::Step;
use crate::worker::{NO_POOL, Worker};

/// How servers say that no argument is a key; the command itself reports what is wrong.
const NO_KEYS: [&[u8]; 2] =
    [b"-ERR The command has no key arguments", b"-ERR Invalid arguments specified for command"];

impl Worker {
    /// Has a node say where the keys of this request are.
    pub(in crate::worker) fn ask_keys(
        &mut self,
        index: u32,
        row: &'static Row,
        args: &Args<'_>,
    ) -> Step {
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        if session.in_flight() > 0 {
            session.blocked = true;
            return Step::Later;
        }
        let class = command::class(row, args);
        let how = How::Keys { frame: args.frame().to_vec(), class };
        let Some(gather) =
            self.begin_gather(index, row, class, args, Merge::Any, how, [None].into_iter())
        else {
            return Step::Later;
        };
        if let Some(session) = self.clients.get(index) {
            session.special.set(Special::ASKING, true);
        }
        // The question changes nothing, whatever it is about.
        if let Some(Gather { whole, .. }) = self.clients.gathers.get_mut(gather as usize) {
            (whole.reads_only, whole.replayable) = (true, true);
            (whole.forgeable, whole.strict) = (false, false);
            if whole.way == Way::Blocking {
                whole.way = Way::Apart; // the question does not
            }
        }
        let words: Vec<&[u8]> =
            [&b"COMMAND"[..], b"GETKEYS"].into_iter().chain(args.iter()).collect();
        let mut question = Vec::with_capacity(args.frame().len() + 40);
        write::command(&mut question, &words);
        self.send_part(gather, 0, None, NO_POOL, &question);
        Step::Taken
    }

    /// A node has said where the keys of a request are, if this is about one: it goes on its way.
    /// Returns whether it was.
    pub(super) fn keys_told(&mut self, index: u32) -> bool {
        let gather = self.clients.gathers.get(index as usize);
        if !matches!(gather, Some(Gather { how: How::Keys { .. }, .. })) {
            return false;
        }
        let Some(gather) = self.clients.gathers.try_remove(index as usize) else { return true };
        let Gather { whole, row, how: How::Keys { frame, class }, parts, replies, .. } = gather
        else {
            return true;
        };
        let outcome = parts.first().and_then(|part| part.outcome);
        let reply = &replies[..];
        let client = whole.client;
        let Some(session) = self.clients.find(client) else { return true };
        session.special.set(Special::ASKING, false);
        if let Some(flow) = &mut session.flow {
            flow.gathers = flow.gathers.saturating_sub(1);
        }
        self.clients.unblock(client.index);
        let slots = match outcome {
            Some(Outcome::Ok) => self.slots_of(reply),
            Some(Outcome::ServerError) if NO_KEYS.iter().any(|text| reply.starts_with(text)) => {
                Vec::new()
            }
            other => {
                let outcome = other.unwrap_or(Outcome::Unknown);
                self.clients.settle(&whole, reply, outcome, self.now);
                return true;
            }
        };
        match slots[..] {
            [] => self.send_known(whole, row, class, None, frame),
            [slot] => self.send_known(whole, row, class, Some(slot), frame),
            _ => {
                let mut reply = Vec::new();
                write::error(&mut reply, "CROSSSLOT Keys in request don't hash to the same slot");
                self.clients.settle(&whole, &reply, Outcome::Refused, self.now);
            }
        }
        true
    }

    /// The slots of keys that come as an array, each once.
    fn slots_of(&self, reply: &[u8]) -> Vec<Slot> {
        let spans = spans_of(&self.settings.limits, reply);
        if spans.is_empty() {
            return Vec::new();
        }
        let mut slots: Vec<Slot> = Args::new(reply, &spans).iter().map(Slot::of_key).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    fn send_known(
        &mut self,
        whole: Ticket,
        row: &'static Row,
        class: Class,
        slot: Option<Slot>,
        frame: Vec<u8>,
    ) {
        let session = self.clients.find(whole.client);
        let is_strict = session.is_some_and(|session| session.manners.strict_order);
        let ticket = Ticket {
            slot,
            len: frame.len() as u32,
            arrival: self.next_arrival,
            replayable: command::repeatable(row, class, self.settings.retry_unknown),
            reads_only: class == Class::R,
            forgeable: row.may_forge_errors(),
            strict: is_strict && class != Class::R && slot.is_some(),
            way: if row.flags.contains(Flags::BLOCKING) { Way::Blocking } else { whole.way },
            ..whole
        };
        self.next_arrival += 1;
        if let Some(session) = self.clients.find(ticket.client) {
            let asked = session.in_flight_bytes.saturating_sub(whole.len as usize);
            session.in_flight_bytes = asked + frame.len();
            if let (true, Some(flow)) = (ticket.strict, &mut session.flow) {
                flow.writes.extend(slot);
            }
        }
        if ticket.way == Way::Blocking {
            let spans = spans_of(&self.settings.limits, &frame);
            self.note_blocking(ticket.client, row, &Args::new(&frame, &spans));
        }
        self.dispatch(ticket, frame);
    }
}
