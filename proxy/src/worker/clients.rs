//! What a driver tells about clients: they come, send, take what is written, and leave.

use super::{Action, Worker};
use crate::command::{self, Class, Flags};
use crate::node::ClientKey;
use crate::resp::{request, write};
use crate::session::{ClientEnd, Closing, Manners, Special};
use crate::time::Moment;

impl Worker {
    /// A client has connected; `id` is unique in the process, `manners` are those of its listener.
    /// Returns its index.
    pub fn client_connected(&mut self, id: u64, manners: Manners, now: Moment) -> u32 {
        self.now = now;
        self.cells.clients_total.add(1);
        self.cells.clients.add(1);
        let index = self.clients.insert(id, manners);
        if let Some(session) = self.clients.get(index) {
            (session.connected, session.active) = (now, now);
        }
        if self.draining {
            self.end_client(index, ClientEnd::Drained);
        }
        index
    }

    /// Bytes were read from a client.
    pub fn client_bytes(&mut self, index: u32, bytes: &[u8], now: Moment) {
        self.now = now;
        self.cells.client_bytes_in.add(bytes.len() as u64);
        let Some(session) = self.clients.get(index) else { return };
        session.active = now;
        if session.closing != Closing::No {
            return; // what comes behind QUIT or a protocol error is dropped, as on a server
        }
        let waiting = session.blocked || session.flow.as_ref().is_some_and(|f| !f.input.is_empty());
        if !waiting {
            let used = self.understand(index, bytes);
            if used < bytes.len() {
                self.keep_input(index, &bytes[used..]);
            }
        } else if let Some(session) = self.clients.get_with_flow(index)
            && let Some(flow) = &mut session.flow
        {
            flow.input.extend_from_slice(bytes);
            if !session.blocked {
                self.understand_kept(index);
            }
        }
        self.after_input(index);
    }

    /// The client has shut down its sending side, or is gone as far as one can see from reading:
    /// what can go out at once still goes, what waits is dropped.
    pub fn client_ended(&mut self, index: u32, now: Moment) {
        self.now = now;
        let Some(session) = self.clients.get(index) else { return };
        let key = ClientKey { index, generation: session.generation };
        let diverted = !session.unsettled.is_empty();
        if (diverted && self.drop_parked(key))
            || self.is_blocking(key)
            || self.is_subscribing(index)
        {
            return self.close_client(index, ClientEnd::Left);
        }
        self.end_client(index, ClientEnd::Left);
    }

    /// The client's connection broke.
    pub fn client_lost(&mut self, index: u32, now: Moment) {
        self.now = now;
        let Some(session) = self.clients.get(index) else { return };
        let key = ClientKey { index, generation: session.generation };
        let row = session.last_command.map(command::row);
        let unwritten = session.flow.as_ref().map_or(&[][..], |flow| flow.output());
        if row.is_some_and(|row| row.flags.contains(Flags::BLOCKING) && row.class != Class::R)
            && command::holds_element(unwritten)
        {
            self.cells.blocked_answers_late.add(1);
        }
        if !session.unsettled.is_empty() {
            self.drop_parked(key);
        }
        self.close_client(index, ClientEnd::Left);
    }

    /// What can be written to a client now.
    #[inline]
    pub fn client_output(&mut self, index: u32) -> &[u8] {
        match self.clients.get(index).and_then(|session| session.flow.as_ref()) {
            Some(flow) => flow.output(),
            None => &[],
        }
    }

    /// The kernel accepted this many bytes of [`Worker::client_output`].
    #[inline]
    pub fn client_wrote(&mut self, index: u32, len: usize, now: Moment) {
        self.now = now;
        self.cells.client_bytes_out.add(len as u64);
        self.clients.wrote(index, len);
        let Some(session) = self.clients.get(index) else { return };
        let closing = session.closing;
        if let Some(connection) = session.flow.as_ref().and_then(|flow| flow.large_front()) {
            self.large_progress(connection, index);
        }
        if closing == Closing::WhenAnswered {
            self.close_if_answered(index);
        }
    }

    /// Whether the driver may read from this client.
    #[inline]
    pub fn reads_client(&mut self, index: u32) -> bool {
        self.clients.get(index).is_some_and(|s| !s.read_paused && s.closing == Closing::No)
    }

    /// Lets a client that had to wait go on, or closes it if that was all that was left.
    pub(super) fn resume_client(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        // A reply that is not wanted stood before a large one: nothing is written, which would tell.
        if let Some(large) = session.flow.as_ref().and_then(|flow| flow.large_front()) {
            self.large_progress(large, index);
        }
        let Some(session) = self.clients.get(index) else { return };
        if session.closing == Closing::WhenAnswered {
            return self.close_if_answered(index);
        }
        if session.blocked {
            return;
        }
        if session.flow.as_ref().is_some_and(|flow| !flow.input.is_empty()) {
            self.understand_kept(index);
        }
        self.after_input(index);
    }

    fn keep_input(&mut self, index: u32, rest: &[u8]) {
        if let Some(session) = self.clients.get_with_flow(index)
            && session.closing == Closing::No
            && let Some(flow) = &mut session.flow
        {
            flow.input.extend_from_slice(rest);
        }
    }

    /// Understands what was kept of earlier reads.
    fn understand_kept(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        let Some(flow) = &mut session.flow else { return };
        let mut input = std::mem::take(&mut flow.input);
        let used = self.understand(index, &input);
        let Some(session) = self.clients.get_with_flow(index) else { return };
        if session.closing != Closing::No {
            return;
        }
        let Some(flow) = &mut session.flow else { return };
        if used == input.len() {
            input.clear();
            if input.capacity() > self.settings.large_request {
                input = Vec::new();
            }
        } else {
            input.drain(..used);
        }
        flow.input = input;
    }

    /// After input was handled: reading pauses while the client has to wait, and goes on after;
    /// a client with nothing under way gives its memory back.
    fn after_input(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        if session.closing == Closing::WhenAnswered {
            return self.close_if_answered(index);
        }
        // What is under way alone may take for ever, and that the client leaves shows only if it is
        // read: what it sends meanwhile is kept, within bounds.
        let pauses = session.blocked
            && !(session.special.has(Special::ALONE)
                && session.flow.as_ref().map_or(0, |flow| flow.input.len())
                    < self.settings.request_bytes_max);
        if pauses != session.read_paused {
            session.read_paused = pauses;
            if pauses {
                self.cells.output_paused.add(1);
            } else {
                self.outbox.push(Action::ReadClient { client: index });
            }
        }
        if session.flow.as_ref().is_some_and(|flow| flow.is_idle()) {
            self.clients.rest(index);
        }
    }

    /// Answers what a client did wrong on the wire, then closes it.
    pub(super) fn refuse_protocol(&mut self, index: u32, error: &request::ProtocolError) {
        self.cells.protocol_errors.add(1);
        if let Some(text) = error.text() {
            self.answer(index, |out| write::error(out, text));
        }
        self.end_client(index, ClientEnd::ProtocolError);
    }

    /// Nothing further is read from this client; it is closed once all that it was promised is
    /// answered and written. What was read and not understood is forgotten.
    pub(super) fn end_client(&mut self, index: u32, why: ClientEnd) {
        let Some(session) = self.clients.get(index) else { return };
        if session.closing != Closing::No {
            return;
        }
        session.closing = Closing::WhenAnswered;
        session.end = why;
        if let Some(flow) = &mut session.flow {
            flow.input = Vec::new();
        }
        self.close_if_answered(index);
    }

    pub(super) fn close_if_answered(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        let answered = session
            .flow
            .as_ref()
            .is_none_or(|flow| flow.in_flight() == 0 && flow.output().is_empty());
        if answered {
            let why = session.end;
            self.close_client(index, why);
        }
    }

    /// Forgets a client now. Replies that still come for it are dropped.
    pub(super) fn close_client(&mut self, index: u32, why: ClientEnd) {
        let Some(session) = self.clients.get(index) else { return };
        let key = ClientKey { index, generation: session.generation };
        self.cells.clients.sub(1);
        why.count(&self.cells);
        self.release_large_read(key);
        while self.own_connection(key).is_some() {
            if let Some(ticket) = self.end_own(key) {
                self.count_dropped(&ticket);
            }
        }
        self.end_stateful(index);
        self.clients.remove(index);
        self.discard_large_of(key);
        self.outbox.push(Action::CloseClient { client: index });
    }
}
