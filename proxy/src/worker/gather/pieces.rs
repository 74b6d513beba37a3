//! Merged replies that are large, or that would make much wait for their client at once: each stays
//! where it was made until its turn has come, and goes out in pieces, at the client's pace. So a
//! client that reads is not taken for one that does not because several of its replies are there.

use super::{Gather, Joined};
use crate::metrics::Outcome;
use crate::node::Ticket;
use crate::session::{MERGED, Session};
use crate::worker::large_replies::STREAM_AHEAD_BYTES;
use crate::worker::settle::Clients;
use crate::worker::{Settings, Worker};

/// This part of `client-output-max` is what the replies of one client that are being made may be
/// expected to come to.
const MERGED_AT_ONCE: usize = 8;

impl Clients {
    /// What the replies to the parts of this request may come to, when so many bytes are to be
    /// added: a bound for each request, and twice that for all of a client.
    pub(super) fn gathered_max(&self, index: u32, bytes: usize) -> usize {
        let Some(gather) = self.gathers.get(index as usize) else { return 0 };
        if gather.replies.len().saturating_add(bytes) <= self.output_pause {
            return self.output_max;
        }
        let client = gather.whole.client;
        let of_client = self.gathers.iter().filter(|(_, other)| other.whole.client == client);
        let others = of_client.filter(|(other, _)| *other != index as usize);
        let others: usize = others.map(|(_, other)| other.replies.len()).sum();
        self.output_max.min((2 * self.output_max).saturating_sub(others))
    }
}

/// A reply that was made of several has this size, or would have been too large.
pub(super) fn learn_merged(
    session: &mut Session,
    reply_bytes: usize,
    outcome: Outcome,
    settings: &Settings,
) {
    let bytes = settings.output_max / MERGED_AT_ONCE;
    let is_too_much = outcome == Outcome::Overloaded;
    let reply_bytes = if is_too_much { settings.output_max } else { reply_bytes };
    session.merged.learn(reply_bytes, bytes);
}

impl Worker {
    /// Whether the reply to this request has to wait until its client has taken what is before it.
    pub(super) fn is_to_wait(&mut self, index: u32, reply: &[u8]) -> bool {
        let Some(gather) = self.clients.gathers.get(index as usize) else { return false };
        let (client, is_of_all) = (gather.whole.client, gather.merge.is_of_all());
        let Some(flow) = self.clients.find(client).and_then(|session| session.flow.as_ref()) else {
            return false;
        };
        is_of_all
            && (reply.len() > self.settings.large_reply
                || flow.reply_bytes() + reply.len() > self.settings.output_pause)
    }

    /// The reply to this request is there, and is passed on when its turn has come.
    pub(super) fn begin_pieces(&mut self, index: u32, reply: Vec<u8>, outcome: Outcome) {
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return };
        gather.put(reply, outcome);
        gather.joined = Joined::Merged(0);
        let (client, sequence) = (gather.whole.client, gather.whole.sequence);
        let flow = self.clients.find(client).and_then(|session| session.flow.as_mut());
        if flow.and_then(|flow| flow.begin_large(sequence, MERGED | index).ok()) == Some(true) {
            self.pass_pieces(client.index);
        }
    }

    /// Passes on what this client may take now of the merged replies whose turn has come.
    pub(in crate::worker) fn pass_pieces(&mut self, client: u32) {
        loop {
            let Some(session) = self.clients.get(client) else { return };
            let Some(front) = session.flow.as_ref().and_then(|flow| flow.large_front()) else {
                return;
            };
            if front & MERGED == 0 {
                return self.large_progress(front, client);
            }
            let index = (front & !MERGED) as usize;
            if !self.pass_piece(index, client) {
                return;
            }
            if let Some(gather) = self.clients.gathers.try_remove(index) {
                self.end_pieces(client, gather);
            }
        }
    }

    /// Returns whether that was the end of it.
    fn pass_piece(&mut self, index: usize, client: u32) -> bool {
        let Some(gather) = self.clients.gathers.get_mut(index) else { return false };
        let Joined::Merged(before) = gather.joined else { return false };
        let mut passed = before;
        let replies = std::mem::take(&mut gather.replies);
        let ahead = STREAM_AHEAD_BYTES.min(self.settings.output_pause);
        if let Some(flow) = self.clients.get(client).and_then(|session| session.flow.as_mut()) {
            while passed < replies.len() && flow.output().len() <= ahead {
                let end = replies.len().min(passed + ahead);
                flow.pass(&replies[passed..end]);
                passed = end;
            }
        }
        if passed > before {
            self.clients.mark_dirty(client); // or a turn would not end while its socket is full
        }
        let is_over = passed == replies.len();
        if let Some(gather) = self.clients.gathers.get_mut(index) {
            (gather.replies, gather.joined) = (replies, Joined::Merged(passed));
        }
        is_over
    }

    fn end_pieces(&mut self, client: u32, gather: Gather) {
        let outcome = gather.parts.first().and_then(|part| part.outcome);
        let whole = Ticket { strict: false, ..gather.whole };
        let latency_us = self.now.micros_since(whole.received);
        let outcome = outcome.unwrap_or(Outcome::Unknown);
        self.cells.request_done(whole.command.index(), outcome, latency_us);
        let Some(session) = self.clients.get(client) else { return };
        session.window.learn(gather.replies.len(), self.settings.requests_max);
        learn_merged(session, gather.replies.len(), outcome, &self.settings);
        if let Some(flow) = &mut session.flow {
            flow.gathers = flow.gathers.saturating_sub(1);
            flow.end_large();
        }
        self.clients.after_settling(&whole);
    }
}
