//! The clients: they pipeline, stop reading, leave; and they look closely at every answer.

use std::collections::VecDeque;

use super::blocks::ABORTED;
use super::history::{Kind, op_of};
use super::world::World;
use crate::node::Patience;
use crate::resp::reply::{Progress, Scanner};

#[derive(Default)]
pub(super) struct Client {
    pub(super) index: Option<u32>,
    patience: Patience,
    /// Its requests, in order.
    pub(super) ops: VecDeque<usize>,
    pub(super) to_send: Vec<u8>,
    received: Vec<u8>,
    pub(super) write_blocked: bool,
    pub(super) unheard: bool,
    /// It has shut down its side.
    pub(super) ended: bool,
    /// It does not read for the time being.
    pub(super) stalled: bool,
    /// The mode of what it asks from now on.
    pub(super) mode: u8,
}

impl World {
    pub(super) fn connect_client(&mut self) -> usize {
        if self.draining {
            return 0;
        }
        let mut manners = self.manners;
        if self.mixed && self.next_id.is_multiple_of(2) {
            manners.patience = Patience::chosen(0);
        }
        let index = self.bench.worker.client_connected(self.next_id, manners, self.bench.now);
        self.next_id += 1;
        let patience = manners.patience;
        self.clients.push(Client { index: Some(index), patience, ..Client::default() });
        self.act();
        self.clients.len() - 1
    }

    /// slotway is told to end, and takes no more clients.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.bench.worker.drain(self.bench.now);
        self.act();
    }

    /// Bytes of a client arrive; returns whether there were any that may be read.
    pub(super) fn client_sends(&mut self, n: usize) -> bool {
        let client = &self.clients[n];
        let Some(index) = client.index else { return false };
        if client.to_send.is_empty() || client.unheard {
            return false;
        }
        if !self.bench.worker.reads_client(index) {
            self.clients[n].unheard = true;
            return false;
        }
        let len = self.part(self.clients[n].to_send.len().min(64 * 1024));
        let bytes: Vec<u8> = self.clients[n].to_send.drain(..len).collect();
        self.say(|| {
            format!(
                "client {n} sends {:.100}",
                String::from_utf8_lossy(&bytes).replace("\r\n", " ")
            )
        });
        if len > 0 {
            self.bench.worker.client_bytes(index, &bytes, self.bench.now);
            self.act();
        }
        len > 0
    }

    /// The client shuts down its side, or its connection breaks.
    pub(super) fn client_leaves(&mut self, n: usize, breaks: bool) {
        let Some(index) = self.clients[n].index else { return };
        if breaks {
            self.bench.worker.client_lost(index, self.bench.now);
            self.act();
            assert_eq!(self.clients[n].index, None, "a lost client is closed");
        } else if self.clients[n].to_send.is_empty() && self.bench.worker.reads_client(index) {
            self.clients[n].ended = true;
            self.bench.worker.client_ended(index, self.bench.now);
            self.act();
        }
    }

    pub(super) fn write_client(&mut self, n: usize) -> bool {
        let Some(index) = self.clients[n].index else { return false };
        if self.clients[n].stalled {
            self.clients[n].write_blocked = true;
            return false;
        }
        let output = self.bench.worker.client_output(index).to_vec();
        if output.is_empty() {
            self.clients[n].write_blocked = false;
            return false;
        }
        let len = self.part(output.len());
        self.clients[n].write_blocked = len < output.len();
        self.clients[n].received.extend_from_slice(&output[..len]);
        self.read_answers(n);
        self.bench.worker.client_wrote(index, len, self.bench.now);
        self.act();
        len > 0
    }

    /// The client understands what it has received.
    fn read_answers(&mut self, n: usize) {
        while let Some(len) = reply_len(&self.clients[n].received) {
            let bytes: Vec<u8> = self.clients[n].received.drain(..len).collect();
            let op = self.clients[n].ops.pop_front().expect("a reply to a request");
            let mut text = String::from_utf8(bytes).unwrap();
            let now = self.cluster.tick();
            self.say(|| format!("t{op} is answered {text:.150}"));
            self.check_answer(op, &text);
            self.tell_parts(op, &text, now);
            if text.starts_with("-UNKNOWN") {
                self.cluster.ops[op].set_back(now, self.bench.now);
            }
            text.truncate(100);
            self.cluster.ops[op].answered_at = now;
            self.cluster.ops[op].answer = Some(text);
        }
    }

    /// What nobody has an answer to yet, though it would have been read.
    pub(super) fn note_open(&mut self) {
        for client in &self.clients {
            if let (Some(index), Some(&op)) = (client.index, client.ops.front())
                && self.bench.worker.client_output(index).is_empty()
            {
                self.cluster.ops[op].open_at = self.cluster.clock;
            }
        }
    }

    fn check_answer(&self, op: usize, text: &str) {
        let asked = &self.cluster.ops[op];
        let right = match text.as_bytes()[0] {
            _ if asked.was_answered(text) => true,
            _ if asked.kind == Kind::Split => return,
            b'%' | b'*' | b'+' if asked.kind == Kind::Mode => true,
            b'$' if asked.kind == Kind::Local => {
                text.split('\n').nth(1).and_then(op_of) == Some(op)
            }
            b'-' if text.starts_with("-CROSSSLOT") => asked.kind == Kind::CrossSlot,
            b'+' if asked.kind == Kind::Queued => matches!(text, "+OK\r\n" | "+QUEUED\r\n"),
            b'-' if text == ABORTED => asked.kind == Kind::Block && self.was_spoiled(op),
            b'-' if text.starts_with("-UNKNOWNRESULT sent") => {
                // (A script could have made its rejection up.)
                let rejected = asked.at_large == 0 && asked.open_at > asked.back_at;
                asked.kind.writes() && (!rejected || asked.kind == Kind::Script)
            }
            b'-' if text.starts_with("-CLUSTERDOWN not executed: ") => self.had_to_end(op, text),
            b'-' => text.starts_with("-OVERLOADED not executed: "),
            _ => false,
        };
        assert!(right, "request t{op} {asked:?} was answered {text:?}");
        let acknowledged = asked.acknowledges(text) && asked.kind.writes();
        assert!(!(asked.doomed && acknowledged), "t{op} is lost and was acknowledged: {asked:?}");
        if asked.kind == Kind::Read && text.starts_with('$') {
            self.check_read(op, text);
        }
    }

    /// Whether a request may be given up by now; and late it must not be.
    pub(super) fn had_to_end(&self, op: usize, text: &str) -> bool {
        let waited = self.bench.now.since(self.cluster.ops[op].asked);
        let deadlines = &self.settings.deadlines;
        let whole = deadlines.of(self.clients[self.cluster.ops[op].client].patience);
        let short = self.circuits_opened && waited >= deadlines.circuit_wait.min(whole);
        let told = text.split("gave up after ").nth(1).and_then(|rest| rest.split(' ').next());
        let told: f64 = told.and_then(|seconds| seconds.parse().ok()).expect("a time");
        // A silent node has to be found out first, even if its kernel took nothing of the request;
        // what it says now and then, of earlier ones, puts that off.
        let silent = self.last_frozen >= self.cluster.ops[op].asked;
        let suspected = self.bench.cells.suspects.get() > 0;
        let looked_for = text.contains("its node takes nothing");
        let allowance = match () {
            () if silent || suspected => 15.0,
            () if looked_for => 0.6, // it is looked for twice a second
            () => 0.1,
        };
        // One that a slow node had was given up when it came back.
        let just_back = self.cluster.ops[op].back >= self.cluster.ops[op].asked + whole;
        let in_time = told <= whole.as_secs_f64() + allowance || just_back;
        assert!(in_time, "t{op} waited too long: {text} {:?}", self.cluster.ops[op]);
        let again_well = self.healed_from.is_some_and(|from| op >= from);
        assert!(!again_well, "t{op} waited for nothing: {text}");
        waited >= whole || short
    }

    /// A client reads what it has written, unless the servers have lost it.
    pub(super) fn check_read(&self, read: usize, text: &str) {
        let ops = &self.cluster.ops;
        let (Some(key), by) = (ops[read].keys.first(), &ops[read]) else { return };
        for (n, write) in ops[..read].iter().enumerate().rev().take(60) {
            let own = write.client == by.client && write.kind.writes();
            if own
                && !write.lost
                && write.acknowledged()
                && write.answered_at < by.asked_at
                && write.keys.contains(key)
            {
                assert!(by.saw(text, n), "t{read} does not see t{n}: {write:?} {by:?}");
            }
        }
    }

    pub(super) fn closed(&mut self, index: u32) {
        let client = self.clients.iter_mut().find(|c| c.index == Some(index));
        let client = client.expect("a client that is there is closed");
        let cells = &self.bench.cells;
        let (slow, drained) = (cells.clients_closed_slow.get(), cells.clients_closed_drain.get());
        if std::mem::replace(&mut self.closed_slow, slow) < slow {
            assert!(!client.ops.is_empty(), "closed for being slow with nothing to do");
        }
        if std::mem::replace(&mut self.closed_drained, drained) < drained {
            let ops = client.ops.iter().flat_map(|&op| self.cluster.with_parts(op));
            let ops = ops.map(|op| &self.cluster.ops[op]);
            let promised: Vec<_> = ops.filter(|op| op.handed || op.setback.is_some()).collect();
            assert!(promised.is_empty(), "closed without an answer: {promised:?}");
        }
        client.index = None;
        client.write_blocked = false;
    }
}

/// The length of the reply at the front, if it is whole.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    match Scanner::default().feed(bytes) {
        Progress::Complete { used, .. } => Some(used),
        Progress::More => None,
        Progress::Bad(why) => panic!("a client got {why}"),
    }
}
