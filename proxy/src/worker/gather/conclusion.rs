//! What all parts of a request come to: one reply, or one error that says what is applied.

use super::{GATHERED_AT_FIRST, Gather, How, Part, TOO_LARGE};
use crate::command::Row;
use crate::metrics::Outcome;
use crate::node::Ticket;
use crate::resp::write;
use crate::routing::{Merge, merge, tells_of_running};
use crate::slot::Slot;
use crate::worker::NO_POOL;
use crate::worker::wait::counted;

/// Slots named in an error; of more than these only the number is given.
const NAMED_MAX: usize = 10;

impl Gather {
    /// A part was settled.
    #[inline(always)]
    pub(in crate::worker) fn take(
        &mut self,
        ticket: &Ticket,
        reply: &[u8],
        outcome: Outcome,
        bytes_max: usize,
    ) {
        let Some(part) = self.parts.get_mut(usize::from(ticket.part)) else { return };
        if part.outcome.is_some() {
            return;
        }
        let (reply, outcome) = match self.how {
            How::Wait(_) => counted(self.row, reply, outcome),
            _ => (reply, outcome),
        };
        let fits = self.replies.len() + reply.len() <= bytes_max;
        let (reply, outcome) =
            if fits { (reply, outcome) } else { (TOO_LARGE, Outcome::Overloaded) };
        part.start = self.replies.len();
        part.len = reply.len();
        part.outcome = Some(outcome);
        if self.replies.is_empty() {
            // They are of about the same length, mostly.
            self.replies.reserve((reply.len() * self.open).min(GATHERED_AT_FIRST));
        }
        part.process = ticket.process;
        self.replies.extend_from_slice(reply);
        self.open -= 1;
    }

    /// The command of the request.
    pub(in crate::worker) fn row(&self) -> &'static Row {
        self.row
    }

    /// The replies, with the slots of their parts and the processes that gave them; `None` if one
    /// of them is an error.
    pub(in crate::worker) fn all_well(
        &self,
    ) -> Option<impl Iterator<Item = (Option<Slot>, u8, &[u8])>> {
        let all_well = self.parts.iter().all(|part| part.outcome == Some(Outcome::Ok));
        let reply = |part| (part, self.reply_of(part));
        let told = |(part, reply): (&Part, _)| (part.slot, part.process, reply);
        all_well.then(|| self.parts.iter().map(reply).map(told))
    }

    /// What was gathered has been used: one more part is sent, for this slot.
    pub(in crate::worker) fn open_one(&mut self, slot: Option<Slot>) {
        (self.replies, self.parts, self.open) = (Vec::new(), vec![Part::open(slot, NO_POOL)], 1);
    }

    /// What was gathered has been used: this is the reply.
    pub(in crate::worker) fn put(&mut self, reply: Vec<u8>, outcome: Outcome) {
        self.parts =
            vec![Part { len: reply.len(), outcome: Some(outcome), ..Part::open(None, NO_POOL) }];
        self.replies = reply;
    }

    pub(super) fn reply_of(&self, part: &Part) -> &[u8] {
        &self.replies[part.start..part.start + part.len]
    }

    /// The one reply, and how the request ended.
    pub(in crate::worker) fn conclude(&self, out: &mut Vec<u8>) -> (Outcome, bool) {
        let of = |part: &Part| part.outcome.unwrap_or(Outcome::Unknown);
        let mut failures = self.parts.iter().filter(|part| of(part) != Outcome::Ok);
        let Some(first) = failures.clone().next() else {
            return self.merge(out);
        };
        let applied = self.parts.iter().filter(|part| of(part) == Outcome::Ok);
        let enough = match self.merge {
            Merge::FirstSuccess => applied.clone().next(),
            Merge::Running => applied.clone().find(|part| tells_of_running(self.reply_of(part))),
            _ => None,
        };
        if let Some(part) = enough {
            out.extend_from_slice(self.reply_of(part));
            return (Outcome::Ok, false);
        }
        // That a shard runs nothing is not why another one's script cannot be ended.
        let tells = |part: &&Part| !self.reply_of(part).starts_with(b"-NOTBUSY ");
        let failed = failures.find(tells).unwrap_or(first);
        let applied = applied.count();
        let unknown = self.parts.iter().any(|part| of(part) == Outcome::Unknown);
        let only = self.parts.len() == 1;
        if self.whole.reads_only || only || (applied == 0 && !unknown) {
            out.extend_from_slice(self.reply_of(failed));
            return (of(failed), false);
        }
        self.tell_parts(applied, out);
        (Outcome::Unknown, false)
    }

    fn merge(&self, out: &mut Vec<u8>) -> (Outcome, bool) {
        let order = match &self.how {
            How::Slots { order } => order.as_slice(),
            _ => &[],
        };
        let place = |part: usize| {
            let part = &self.parts[part];
            part.start..part.start + part.len
        };
        if merge(self.merge, &self.replies, self.parts.len(), place, order, out).is_ok() {
            return (Outcome::Ok, false);
        }
        let name = self.row.name.replace('|', " ");
        write::error(out, format!("ERR the nodes' replies to '{name}' cannot be made into one"));
        (Outcome::ServerError, true)
    }

    /// A write of which a part was applied and another not, or perhaps.
    fn tell_parts(&self, applied: usize, out: &mut Vec<u8>) {
        let what = match self.how {
            How::Slots { .. } => "slots",
            How::Shards { .. } => "shards",
            _ => "nodes",
        };
        let of_kind = |unknown: bool| {
            let concerned = move |part: &&Part| match part.outcome {
                Some(Outcome::Ok) => false,
                Some(Outcome::Unknown) | None => unknown,
                Some(_) => !unknown,
            };
            self.parts.iter().filter(concerned)
        };
        let names = |unknown: bool| {
            let mut names: Vec<String> = of_kind(unknown)
                .take(NAMED_MAX)
                .map(|part| part.slot.map_or_else(|| "?".to_owned(), |slot| slot.to_string()))
                .collect();
            let more = of_kind(unknown).count() - names.len();
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            names.join(", ")
        };
        let why = of_kind(false).chain(of_kind(true)).next().map_or("", |part| {
            let text = std::str::from_utf8(self.reply_of(part)).unwrap_or_default();
            let text = text.trim_start_matches('-').trim_end();
            text.split_once("not executed: ").map_or(text, |(_, why)| why)
        });
        let total = self.parts.len();
        let mut text =
            format!("UNKNOWNRESULT partly executed: {applied} of {total} {what} applied");
        for (unknown, word) in [(false, "not executed"), (true, "unknown")] {
            let named = names(unknown);
            match (named.is_empty(), what) {
                (true, _) => {}
                (false, "slots") => text.push_str(&format!(", slots {named} {word}")),
                (false, _) => {
                    text.push_str(&format!(", {} {word}", of_kind(unknown).count()));
                }
            }
        }
        write::error(out, format!("{text}: {why}"));
    }
}
