//! Questions of clients that take more than their worker knows: the addresses of a connection, or
//! what all workers know. The request keeps its place among the client's replies, and the client
//! goes on once it is answered, so that what it sends behind a CLIENT PAUSE is paused.

use std::collections::HashMap;

use super::requests::Step;
use super::{Action, Worker};
use crate::command::Row;
use crate::metrics::Outcome;
use crate::node::{ClientKey, Ticket};
use crate::resp::write;
use crate::session::{ClientEnd, CommonQuestion, Ends, OwnQuestion, Part, Question, Special, line};
use crate::time::Moment;

/// Requests that wait for an answer, by their numbers. Never more than there are clients.
pub(super) type Asked = HashMap<u64, Ticket>;

impl Worker {
    /// Puts a client's question to the driver, which has it answered by [`Worker::answer_own`] or
    /// [`Worker::answered`].
    pub(super) fn ask(&mut self, index: u32, row: &'static Row, question: Question) -> Step {
        if let Some(number) = self.hold_place(index, row) {
            self.outbox.push(Action::Ask { number, client: index, question });
        }
        Step::Taken
    }

    /// Keeps the place of a request among its client's replies, until [`Worker::settle_asked`];
    /// nothing further of the client is taken before. Returns the number of its question.
    pub(super) fn hold_place(&mut self, index: u32, row: &'static Row) -> Option<u64> {
        let session = self.clients.get_with_flow(index)?;
        let muted = session.take_mute();
        let flow = session.flow.as_mut()?;
        let client = ClientKey { index, generation: session.generation };
        let ticket = Ticket {
            sequence: if muted { flow.push_muted() } else { flow.push() },
            arrival: self.next_arrival,
            ..Ticket::new(client, session.mode, session.manners.patience, row.id, self.now)
        };
        session.special.set(Special::ASKING, true);
        let number = self.next_arrival;
        self.next_arrival += 1;
        self.asked.insert(number, ticket);
        Some(number)
    }

    /// The answer to the question of this number, as the reply that its client gets. One whose
    /// client has gone is dropped.
    pub fn answered(&mut self, number: u64, reply: &[u8], now: Moment) {
        self.now = now;
        if !self.tracking_answered(number, reply) {
            self.settle_asked(number, reply);
        }
    }

    /// The reply to the request whose question has this number.
    pub(super) fn settle_asked(&mut self, number: u64, reply: &[u8]) {
        let Some(ticket) = self.asked.remove(&number) else { return };
        if let Some(session) = self.clients.find(ticket.client) {
            session.special.set(Special::ASKING, false);
        }
        let outcome = if reply.first() == Some(&b'-') { Outcome::Refused } else { Outcome::Ok };
        self.clients.settle(&ticket, reply, outcome, self.now);
    }

    /// Answers a question that takes no more than the ends of its client's connection.
    pub fn answer_own(&mut self, number: u64, question: &OwnQuestion, ends: &Ends, now: Moment) {
        let Some(ticket) = self.asked.get(&number) else { return };
        let client = ticket.client;
        let Some(session) = self.clients.find(client) else { return };
        let resp3 = session.mode.is_resp3();
        let mut reply = Vec::new();
        match question {
            OwnQuestion::Info => {
                let line = line(session, client.index, ends, now);
                write::verbatim(&mut reply, resp3, &line);
            }
            OwnQuestion::Cluster(question) => {
                question.answer(&self.settings.announce, &ends.local, resp3, &mut reply);
            }
        }
        self.answered(number, &reply, now);
    }

    /// What this worker has to say to a question that was put to all of them; does here what the
    /// question orders. `ends` tells the ends of a client's connection.
    pub fn inquire(
        &mut self,
        question: &CommonQuestion,
        mut ends: impl FnMut(u32) -> Ends,
        now: Moment,
    ) -> Part {
        self.now = now;
        match question {
            CommonQuestion::List { filter, .. } => {
                let mut lines = Vec::new();
                for index in self.clients.indices() {
                    let Some(session) = self.clients.get(index) else { continue };
                    if filter.takes(session, now, || ends(index)) {
                        lines.push((session.id, line(session, index, &ends(index), now)));
                    }
                }
                Part::Lines(lines)
            }
            CommonQuestion::Kill(kill) => {
                let mut killed = Vec::new();
                for index in self.clients.indices() {
                    let Some(session) = self.clients.get(index) else { continue };
                    if kill.filter.takes(session, now, || ends(index)) {
                        killed.push(index);
                    }
                }
                for &index in &killed {
                    self.kill_client(index);
                }
                Part::Count(killed.len())
            }
            CommonQuestion::Pause { time, writes_only } => {
                self.pause(now + *time, *writes_only);
                Part::Done
            }
            CommonQuestion::Unblock { id, with_error } => {
                let clients = self.clients.indices();
                let is_it = |index: &u32| self.clients.get(*index).is_some_and(|c| c.id == *id);
                let client = clients.into_iter().find(is_it);
                let ended = client.is_some_and(|index| self.unblock_client(index, *with_error));
                Part::Count(usize::from(ended))
            }
            CommonQuestion::Unpause => {
                self.unpause();
                Part::Done
            }
            CommonQuestion::Find { id } => {
                let mut part = Part::Done;
                for index in self.clients.indices() {
                    if let Some(session) = self.clients.get(index).filter(|s| s.id == *id) {
                        part = Part::Place(ClientKey { index, generation: session.generation });
                    }
                }
                part
            }
            CommonQuestion::Invalidate { id, client, invalid } => {
                Part::Count(usize::from(self.deliver(*id, *client, invalid)))
            }
        }
    }

    /// One that waits for the answer to a question still gets it: it may have killed itself.
    fn kill_client(&mut self, index: u32) {
        let is_subscribing = self.is_subscribing(index);
        let Some(session) = self.clients.get(index) else { return };
        if session.special.has(Special::ASKING) && !is_subscribing {
            return self.end_client(index, ClientEnd::Killed);
        }
        let key = ClientKey { index, generation: session.generation };
        if !session.unsettled.is_empty() {
            self.drop_parked(key);
        }
        self.close_client(index, ClientEnd::Killed);
    }
}
