//! MULTI to EXEC: commands are queued here, and at EXEC they go to a node as one block, MULTI and
//! EXEC included, over the connection that all share: nobody can get between. The block is one
//! request: one ticket, which is parked, redirected and sent again whole, or not at all.
//!
//! What may stand in a block is what may stand on a shared connection by itself, so that nothing
//! in it can alter that: all else is refused when it is said, and EXEC with it.

use super::Worker;
use super::requests::{Step, allowed, way};
use crate::command::{self, Class, Local, Refusal, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Expected, Ticket, Way};
use crate::resp::reply::Kind;
use crate::resp::{Args, write};
use crate::routing::{Plan, plan_queued};
use crate::session::{ABORTED, Special, Transaction, not_inside};
use crate::slot::Slot;

const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// Bytes that a transaction may have without taking them of a budget: as much as anything else that
/// is kept for a client.
const FREE_BYTES: usize = 64 * 1024;

/// Most commands of one transaction: their replies are read one by one, and nothing else meanwhile.
const COMMANDS_MAX: usize = 100_000;

impl Worker {
    /// MULTI, EXEC, DISCARD, WATCH or UNWATCH of a client that is in no transaction.
    pub(super) fn transaction_command(
        &mut self,
        index: u32,
        row: &'static Row,
        args: &Args<'_>,
    ) -> Step {
        match row.name {
            "multi" => {
                let watched = self.watched_slot(index);
                let Some(stateful) = self.make_stateful(index) else { return Step::Taken };
                stateful.transaction = Some(Transaction::begin(watched));
                self.say_ok(index, row)
            }
            "watch" => self.watch_keys(index, row, args),
            "exec" => self.say_error(index, row, "ERR EXEC without MULTI"),
            "discard" => self.say_error(index, row, "ERR DISCARD without MULTI"),
            _ => {
                self.end_watch(index);
                self.say_ok(index, row)
            }
        }
    }

    /// A request of a client that is in a transaction.
    pub(super) fn in_transaction(&mut self, index: u32, args: &Args<'_>) -> Step {
        match plan_queued(args) {
            Plan::Slot(row, slot) => self.queue(index, row, Some(slot), args),
            Plan::AnyPrimary(row) => self.queue(index, row, None, args),
            // What every node answers as slotway would.
            Plan::Local(row, Local::Ping | Local::Echo | Local::Time) => {
                self.queue(index, row, None, args)
            }
            Plan::Local(_, Local::Quit | Local::Reset) => self.plain_request(index, args),
            Plan::Transaction(row) => self.transaction_in_transaction(index, row, args),
            Plan::Split(row) | Plan::CrossSlot(row) => self.spoil(index, row, CROSS_SLOT),
            Plan::Refuse(refusal) => match allowed(&self.settings, &refusal, args) {
                Some(Plan::Slot(row, slot)) => self.queue(index, row, Some(slot), args),
                Some(Plan::AnyPrimary(row)) => self.queue(index, row, None, args),
                Some(Plan::CrossSlot(row)) => self.spoil(index, row, CROSS_SLOT),
                Some(_) => self.not_queued(index, args),
                None => self.refuse_queued(index, &refusal, args),
            },
            // Which keys those are would be told too late for what is queued behind it.
            Plan::AskKeys(row) => {
                let name = row.name;
                let text = format!(
                    "ERR slotway does not take '{name}' inside a transaction: only a node can \
                     tell where its keys are"
                );
                self.spoil(index, row, &text)
            }
            _ => self.not_queued(index, args),
        }
    }

    fn transaction_in_transaction(
        &mut self,
        index: u32,
        row: &'static Row,
        args: &Args<'_>,
    ) -> Step {
        match row.name {
            "exec" => self.exec(index, row),
            "discard" => {
                self.cells.transactions_discarded.add(1);
                self.end_transaction(index);
                self.end_watch(index);
                self.say_ok(index, row)
            }
            // On a shared connection nothing is watched, so that it does nothing there.
            "unwatch" => self.queue(index, row, None, args),
            name => {
                let (text, spoils) = not_inside(name, &(self.around.facts)());
                if spoils {
                    self.spoil(index, row, &text)
                } else {
                    self.say_error(index, row, &text)
                }
            }
        }
    }

    /// Queues a command, if its keys are in the slot of the others and there is room.
    fn queue(
        &mut self,
        index: u32,
        row: &'static Row,
        slot: Option<Slot>,
        args: &Args<'_>,
    ) -> Step {
        let apart = way(row, args, &self.settings) == Way::Apart;
        let Some(transaction) = self.transaction(index) else { return Step::Taken };
        if !transaction.is_spoiled() {
            if slot.is_some() && transaction.slot.is_some() && slot != transaction.slot {
                return self.spoil(index, row, CROSS_SLOT);
            }
            let is_long = transaction.commands() >= COMMANDS_MAX;
            let bytes = transaction.bytes_with(args.frame().len());
            if is_long || !self.make_room(index, bytes) {
                self.cells.transactions_refused.add(1);
                let what = if is_long { "has too many commands" } else { "is too large" };
                let text = format!("OVERLOADED not executed: the transaction {what}");
                return self.spoil(index, row, &text);
            }
            let Some(transaction) = self.transaction(index) else { return Step::Taken };
            transaction.push(args.frame());
            transaction.slot = transaction.slot.or(slot);
            transaction.apart |= apart;
            transaction.names_scripts |= row.may_forge_errors() && command::names_script(row);
            transaction.reads_only &= command::class(row, args) == Class::R;
            self.cells.transaction_bytes.add(args.frame().len() as u64);
            if row.may_forge_errors() {
                self.seen_scripts.note(&self.settings.scripts, row, args);
            }
        }
        if let Some(session) = self.clients.get(index) {
            session.last_command = Some(row.id);
        }
        self.cells.request_done(row.id.index(), Outcome::Ok, 0);
        self.answer(index, |out| out.extend_from_slice(b"+QUEUED\r\n"));
        Step::Taken
    }

    /// A transaction of more than a few bytes takes them of the budget for large requests. One that
    /// is as large as those must go on, as who sends them must.
    fn make_room(&mut self, index: u32, bytes: usize) -> bool {
        let (large, max) = (self.settings.large_request, self.settings.large_requests_max_bytes);
        if bytes <= large.min(FREE_BYTES) {
            return true;
        }
        let Some(session) = self.clients.get(index) else { return true };
        let key = ClientKey { index, generation: session.generation };
        let transaction = session.stateful.as_mut().and_then(|s| s.transaction.as_mut());
        let Some(transaction) = transaction else { return true };
        let more = bytes.saturating_sub(transaction.taken);
        if !self.large_reads.queue(more, max) {
            return false;
        }
        transaction.taken += more;
        if bytes > large {
            self.large_reads.watch(key, self.now + self.settings.large_stall);
        }
        true
    }

    /// EXEC: all that was queued goes to its node as one request.
    fn exec(&mut self, index: u32, row: &'static Row) -> Step {
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        let key = ClientKey { index, generation: session.generation };
        let alone = session.in_flight() == 0;
        let stateful = session.stateful.as_deref();
        let watched = stateful.is_some_and(|stateful| stateful.watch.is_some());
        let Some(transaction) = stateful.and_then(|stateful| stateful.transaction.as_ref()) else {
            return Step::Taken;
        };
        if transaction.is_spoiled() {
            self.cells.transactions_aborted.add(1);
            self.end_transaction(index);
            self.end_watch(index);
            return self.say_error(index, row, ABORTED);
        }
        if transaction.commands() == 0 && !watched {
            self.cells.transactions_executed.add(1);
            self.end_transaction(index);
            self.cells.request_done(row.id.index(), Outcome::Ok, 0);
            self.answer(index, |out| write::array_header(out, 0));
            return Step::Taken;
        }
        let (slot, apart) = (transaction.slot, transaction.apart);
        let (reads_only, names_scripts) = (transaction.reads_only, transaction.names_scripts);
        let is_alone = transaction.bytes_with(0) > self.settings.large_request || apart || watched;
        let strict = slot.filter(|_| session.manners.strict_order && !reads_only);
        let writes = session.flow.as_ref().map_or(&[][..], |flow| &flow.writes);
        if session.would_overtake(slot)
            || (is_alone && !alone)
            || strict.is_some_and(|slot| writes.contains(&slot))
            || self.pause.is_some_and(|pause| pause.holds_block(reads_only))
        {
            session.blocked = true;
            return Step::Later;
        }
        let Some(transaction) = session.stateful.as_mut().and_then(|s| s.transaction.take()) else {
            return Step::Taken;
        };
        session.last_command = Some(row.id);
        let muted = session.take_mute();
        let Some(flow) = &mut session.flow else { return Step::Taken };
        flow.writes.extend(strict);
        let sequence = if muted { flow.push_muted() } else { flow.push() };
        self.cells.transactions_executed.add(u64::from(!watched)); // or its reply says how it ended
        self.cells.transaction_bytes.sub(transaction.queued_bytes() as u64);
        let taken = transaction.taken;
        if taken > 0 {
            self.large_reads.unqueue(taken);
            self.large_reads.finished(key);
        }
        let given_back = if is_alone { 0 } else { taken };
        session.large_bytes += taken - given_back;
        let frame = transaction.into_block();
        session.in_flight_bytes += frame.len();
        let ticket = Ticket {
            sequence,
            len: frame.len() as u32,
            arrival: self.next_arrival,
            slot,
            replayable: reads_only && !watched,
            reads_only: reads_only && !watched,
            forgeable: names_scripts,
            way: match (watched, apart) {
                (true, _) => Way::Kept,
                (false, true) => Way::Apart,
                (false, false) => Way::Shared,
            },
            strict: strict.is_some(),
            ..Ticket::new(key, session.mode, session.manners.patience, row.id, self.now)
        };
        self.next_arrival += 1;
        if is_alone {
            session.special.set(Special::ALONE, true);
        }
        session.drop_state_if_over();
        if watched {
            self.exec_watched(ticket, frame, apart);
        } else if is_alone {
            self.dispatch(ticket, frame);
        } else {
            // What came in one read is answered in one write: QUEUED tells nothing by itself.
            session.dirty &= !alone;
            self.dispatch(ticket, frame);
        }
        self.give_back_large(given_back);
        Step::Taken
    }

    /// A reply to a transaction other than that to its EXEC, or that one after an error.
    pub(super) fn block_reply(&mut self, index: u32, kind: Kind, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let Some(block) = connection.head_block() else {
            return self.bad_node(index, "it sent a reply that nobody asked for");
        };
        if !block.is_over() {
            block.take((kind == Kind::Error).then(|| super::rejections::text(reply)));
            if block.is_over() && block.is_clean() {
                connection.pop();
            }
            return;
        }
        let explained = block.explain(reply);
        let was_none = block.was_no_transaction();
        connection.pop();
        match connection.head() {
            Some(Expected::Request(_)) if was_none => {
                let pool = connection.pool;
                let Some(Expected::Request(ticket)) = connection.pop() else { return };
                self.trial_back(ticket.trial, pool, ticket.slot, true);
                self.give_up_unknown(&ticket, "its node refused MULTI and took the rest");
                self.after_extra(index);
            }
            _ => self.reply(index, kind, &explained),
        }
    }

    /// The transaction that this client is in.
    fn transaction(&mut self, index: u32) -> Option<&mut Transaction> {
        self.stateful(index)?.transaction.as_mut()
    }

    /// Forgets what was queued, and gives back what it took.
    pub(super) fn end_transaction(&mut self, index: u32) {
        self.empty_transaction(index);
        if let Some(stateful) = self.stateful(index) {
            stateful.transaction = None;
        }
        self.drop_state_if_over(index);
    }

    /// Nothing is queued any more; EXEC is refused.
    fn empty_transaction(&mut self, index: u32) {
        let Some(session) = self.clients.get(index) else { return };
        let key = ClientKey { index, generation: session.generation };
        let Some(transaction) = self.transaction(index) else { return };
        let taken = std::mem::take(&mut transaction.taken);
        let bytes = transaction.queued_bytes();
        transaction.spoil();
        self.cells.transaction_bytes.sub(bytes as u64);
        if taken > 0 {
            self.large_reads.unqueue(taken);
            self.large_reads.finished(key);
            self.give_back_large(taken);
        }
    }

    /// A command was refused, and EXEC will be.
    fn spoil(&mut self, index: u32, row: &'static Row, text: &str) -> Step {
        self.empty_transaction(index);
        self.say_error(index, row, text)
    }

    fn refuse_queued(&mut self, index: u32, refusal: &Refusal, args: &Args<'_>) -> Step {
        self.empty_transaction(index);
        self.refuse(index, refusal, args)
    }

    /// A command that cannot be a part of a block.
    fn not_queued(&mut self, index: u32, args: &Args<'_>) -> Step {
        match command::resolve(args) {
            Ok(row) => {
                let text = format!(
                    "ERR slotway does not take '{}' inside a transaction: it is not a matter of \
                     one node's data",
                    row.name
                );
                self.spoil(index, row, &text)
            }
            Err(refusal) => self.refuse_queued(index, &refusal, args),
        }
    }

    fn say_ok(&mut self, index: u32, row: &'static Row) -> Step {
        self.note_command(index, row);
        self.cells.request_done(row.id.index(), Outcome::Ok, 0);
        self.answer(index, |out| write::simple(out, "OK"));
        Step::Taken
    }

    pub(super) fn say_error(&mut self, index: u32, row: &'static Row, text: &str) -> Step {
        self.note_command(index, row);
        let outcome =
            if text.starts_with("OVERLOADED") { Outcome::Overloaded } else { Outcome::Refused };
        self.cells.request_done(row.id.index(), outcome, 0);
        self.answer(index, |out| write::error(out, text));
        Step::Taken
    }
}
