//! What clients ask: to be subscribed, and not to be any more.

use std::collections::BTreeSet;

use super::Subject;
use crate::command::{Channels, Local, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Ticket};
use crate::resp::{Args, write};
use crate::routing::{Plan, plan};
use crate::session::{Special, Stateful, Subscriptions, subscriptions};
use crate::slot::Slot;
use crate::time::Moment;
use crate::worker::Worker;
use crate::worker::requests::Step;

/// So many subscriptions are ended in one turn; others do not wait for more than the millisecond or
/// two that this takes. A hundred thousand at once took a quarter of a second.
const AT_ONCE: usize = 1000;

const NOWHERE: &str = "no node has confirmed the subscription";

/// A SUBSCRIBE that is not confirmed yet: nothing further of its client is looked at.
#[derive(Debug)]
pub(super) struct Waiting {
    ticket: Ticket,
    channels: Channels,
    /// What it names, in its order.
    subjects: Vec<u32>,
    /// How many of these are confirmed, from the first on.
    confirmed: usize,
    /// How long it waits at most.
    until: Moment,
}

impl Worker {
    /// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE.
    pub(in crate::worker) fn subscribe(
        &mut self,
        index: u32,
        row: &'static Row,
        channels: Channels,
        args: &Args<'_>,
    ) -> Step {
        let names = || args.iter().skip(1);
        if channels == Channels::Shard
            && names().map(Slot::of_key).any(|slot| slot != first_slot(args))
        {
            return self.refuse_cross_slot(index, row);
        }
        if self.has_too_many(index, channels, args) {
            self.cells.subscriptions_refused.add(1);
            self.cells.request_done(row.id.index(), Outcome::Overloaded, 0);
            let max = self.settings.subscriptions_max;
            let text = format!(
                "OVERLOADED not executed: a client has at most {max} subscriptions \
                 (client-subscriptions-max)"
            );
            self.answer(index, |out| write::error(out, text));
            return Step::Taken;
        }
        let subjects: Vec<u32> = names().map(|name| self.subject(channels, name)).collect();
        let confirmed = subjects.iter().all(|&id| self.is_confirmed(id));
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        let key = ClientKey { index, generation: session.generation };
        session.last_command = Some(row.id);
        // It is told whether it wants replies or not (CLIENT REPLY), as on a server.
        session.take_mute();
        session.stateful.get_or_insert_default();
        session.special.set(Special::STATEFUL, true);
        if confirmed {
            let mut reply = Vec::new();
            self.join(key, channels, &subjects, &mut reply);
            self.cells.request_done(row.id.index(), Outcome::Ok, 0);
            self.answer_pushing(index, &reply);
            return Step::Taken;
        }
        let number = self.next_arrival;
        self.next_arrival += 1;
        let Some(flow) = &mut session.flow else { return Step::Taken };
        let sequence = flow.push();
        let patience = session.manners.patience;
        let ticket = Ticket::new(key, session.mode, patience, row.id, self.now);
        let ticket = Ticket { sequence, arrival: number, ..ticket };
        session.special.set(Special::ASKING, true);
        if let Some(stateful) = &mut session.stateful {
            stateful.subscriptions.waiting = Some(number);
        }
        for &id in &subjects {
            if let Some(subject) = self.pubsub.get(id) {
                subject.holds += 1;
            }
        }
        let until = self.now + self.settings.deadlines.of(patience);
        self.pubsub.deadlines.insert((until, number));
        let waiting = Waiting { ticket, channels, subjects, confirmed: 0, until };
        self.pubsub.waiting.insert(number, waiting);
        self.go_on_subscribing(number);
        Step::Taken
    }

    /// Whether the client would have more subscriptions than it may.
    fn has_too_many(&mut self, index: u32, channels: Channels, args: &Args<'_>) -> bool {
        let max = self.settings.subscriptions_max;
        let Some(session) = self.clients.get(index) else { return false };
        let own = session.stateful.as_deref().map(|stateful| &stateful.subscriptions);
        let total = own.map_or(0, Subscriptions::total);
        if total + args.len() - 1 <= max {
            return false;
        }
        let has = |name: &[u8]| {
            let id = self.pubsub.find(channels, name);
            id.is_some_and(|id| own.is_some_and(|own| own.of(channels).contains(&id)))
        };
        let mut names: Vec<&[u8]> = args.iter().skip(1).filter(|name| !has(name)).collect();
        names.sort_unstable();
        names.dedup();
        total + names.len() > max
    }

    /// The subject of this name; a new one is asked for upstream.
    fn subject(&mut self, channels: Channels, name: &[u8]) -> u32 {
        if let Some(id) = self.pubsub.find(channels, name) {
            return id;
        }
        let subject = Subject::new(channels, name);
        let name = subject.name.clone();
        let id = self.pubsub.subjects.insert(subject) as u32;
        self.pubsub.names[channels as usize].insert(name, id);
        self.place(id);
        id
    }

    fn is_confirmed(&self, id: u32) -> bool {
        self.pubsub.subjects.get(id as usize).is_some_and(Subject::is_confirmed)
    }

    /// A client is subscribed to these from now on; appends how it is told.
    fn join(&mut self, key: ClientKey, channels: Channels, subjects: &[u32], out: &mut Vec<u8>) {
        let Some(session) = self.clients.find(key) else { return };
        let resp3 = session.mode.is_resp3();
        let Some(stateful) = &mut session.stateful else { return };
        for &id in subjects {
            let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { continue };
            if stateful.subscriptions.add(channels, id) {
                subject.clients.insert(key);
                self.settings.audience.join(channels, &subject.name);
                self.cells.subscriptions.add(1);
            }
            let count = stateful.subscriptions.count(channels);
            subscriptions::subscribed(out, resp3, channels, Some(&subject.name), count);
        }
    }

    /// A SUBSCRIBE of this client waits to be confirmed.
    pub(in crate::worker) fn is_subscribing(&mut self, index: u32) -> bool {
        let stateful = self.clients.get(index).and_then(|session| session.stateful.as_ref());
        stateful.is_some_and(|stateful| stateful.subscriptions.waiting.is_some())
    }

    /// A SUBSCRIBE is answered if all that it names is confirmed; else it waits for the next.
    pub(super) fn go_on_subscribing(&mut self, number: u64) {
        let Some(waiting) = self.pubsub.waiting.get_mut(&number) else { return };
        while let Some(&id) = waiting.subjects.get(waiting.confirmed) {
            let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { break };
            if !subject.is_confirmed() {
                subject.pending.insert(number);
                return;
            }
            waiting.confirmed += 1;
        }
        let Some(waiting) = self.end_waiting_to_subscribe(number) else { return };
        let mut reply = Vec::new();
        self.join(waiting.ticket.client, waiting.channels, &waiting.subjects, &mut reply);
        self.clients.settle(&waiting.ticket, &reply, Outcome::Ok, self.now);
    }

    /// Takes a SUBSCRIBE out of those that wait: it is about to be answered, or its client has
    /// gone. What it named is held by it no more.
    fn end_waiting_to_subscribe(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.pubsub.waiting.remove(&number)?;
        self.pubsub.deadlines.remove(&(waiting.until, number));
        if let Some(session) = self.clients.find(waiting.ticket.client) {
            session.special.set(Special::ASKING, false);
            if let Some(stateful) = &mut session.stateful {
                stateful.subscriptions.waiting = None;
            }
        }
        for &id in &waiting.subjects {
            if let Some(subject) = self.pubsub.get(id) {
                subject.holds -= 1;
                subject.pending.remove(&number);
            }
        }
        Some(waiting)
    }

    /// A SUBSCRIBE was not confirmed: its client is told so, and subscribed to nothing of it.
    fn give_up_subscribing(&mut self, number: u64, answer: impl FnOnce(&mut Worker, &Ticket)) {
        let Some(waiting) = self.end_waiting_to_subscribe(number) else { return };
        for id in waiting.subjects {
            self.end_if_unused(id);
        }
        answer(self, &waiting.ticket);
        if let Some(session) = self.clients.find(waiting.ticket.client) {
            session.drop_state_if_over();
        }
    }

    /// A node refused what these wait for.
    pub(super) fn refuse_subscribing(&mut self, numbers: BTreeSet<u64>, error: &[u8]) {
        for number in numbers {
            self.give_up_subscribing(number, |worker, ticket| {
                worker.clients.settle(ticket, error, Outcome::ServerError, worker.now);
            });
        }
    }

    pub(super) fn end_overdue_subscribing(&mut self) {
        while let Some(&(until, number)) = self.pubsub.deadlines.first()
            && until <= self.now
        {
            self.give_up_subscribing(number, |worker, ticket| {
                worker.give_up_waiting(ticket, NOWHERE);
            });
        }
    }

    /// Nobody can wait any longer to be subscribed.
    pub(in crate::worker) fn cut_off_subscribing(&mut self, why: &'static str) {
        while let Some((&number, _)) = self.pubsub.waiting.first_key_value() {
            self.give_up_subscribing(number, |worker, ticket| worker.give_up_waiting(ticket, why));
        }
    }

    /// UNSUBSCRIBE, PUNSUBSCRIBE, SUNSUBSCRIBE.
    pub(in crate::worker) fn unsubscribe(
        &mut self,
        index: u32,
        row: &'static Row,
        channels: Channels,
        args: &Args<'_>,
    ) -> Step {
        if self.waits_for_next_turn(index) || self.has_to_hear_out(index) {
            return Step::Later;
        }
        let over = |s: &Stateful| s.subscriptions.is_over();
        let more = self.has_more_to_end(index, channels, args);
        let session = self.clients.get(index);
        let has_none = session.is_none_or(|s| s.stateful.as_deref().is_none_or(over));
        let is_wrong = has_none && self.is_valkey_8_0();
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        let key = ClientKey { index, generation: session.generation };
        let resp3 = session.mode.is_resp3();
        session.last_command = Some(row.id);
        let own = session.stateful.as_deref().map(|stateful| &stateful.subscriptions);
        if is_wrong {
            self.cells.request_done(row.id.index(), Outcome::Refused, 0);
            let text = format!("NOSUB '{}' command executed not in subscribed mode", row.name);
            self.answer(index, |out| write::error(out, text));
            return Step::Taken;
        }
        let mut reply = Vec::new();
        if args.len() > 1 {
            let ended = own.map_or(0, |own| own.ended);
            for name in args.iter().skip(1 + ended).take(AT_ONCE) {
                let id = self.pubsub.find(channels, name);
                let count = self.leave(key, channels, id);
                subscriptions::unsubscribed(&mut reply, resp3, channels, Some(name), count);
            }
        } else {
            let all = own.map(|own| own.of(channels).iter().copied().take(AT_ONCE).collect());
            let all: Option<Vec<u32>> = all;
            for &id in all.iter().flatten() {
                let name = self.pubsub.subjects.get(id as usize).map(|s| s.name.clone());
                let count = self.leave(key, channels, Some(id));
                let name = name.as_deref().or(Some(b""));
                subscriptions::unsubscribed(&mut reply, resp3, channels, name, count);
            }
            if reply.is_empty() {
                let count = self.leave(key, channels, None);
                subscriptions::unsubscribed(&mut reply, resp3, channels, None, count);
            }
        }
        self.answer_pushing(index, &reply);
        let Some(session) = self.clients.get(index) else { return Step::Taken };
        if more {
            if args.len() > 1 {
                session.stateful.get_or_insert_default().subscriptions.ended += AT_ONCE;
            }
            session.blocked = true;
            self.pubsub.unfinished.push_back(key);
            return Step::Later;
        }
        if let Some(stateful) = &mut session.stateful {
            stateful.subscriptions.ended = 0;
        }
        session.drop_state_if_over();
        session.take_mute();
        self.cells.request_done(row.id.index(), Outcome::Ok, 0);
        Step::Taken
    }

    /// Whether this client has done its step of this turn: that it can be written to, or that
    /// something else has happened, is no reason to go on.
    fn waits_for_next_turn(&mut self, index: u32) -> bool {
        let Some(session) = self.clients.get(index) else { return false };
        let key = ClientKey { index, generation: session.generation };
        let waits = self.pubsub.unfinished.contains(&key);
        session.blocked |= waits;
        waits
    }

    /// Whether this UNSUBSCRIBE ends more subscriptions than are ended in one turn.
    fn has_more_to_end(&mut self, index: u32, channels: Channels, args: &Args<'_>) -> bool {
        let stateful = self.stateful(index);
        let own = stateful.map(|stateful| &stateful.subscriptions);
        let left = match args.len() {
            1 => own.map_or(0, |own| own.of(channels).len()),
            words => words - 1 - own.map_or(0, |own| own.ended),
        };
        left > AT_ONCE
    }

    /// RESET ends all subscriptions of a client: if they are many, some are ended now, and it is to
    /// be looked at again in the next turn.
    pub(in crate::worker) fn ends_many_subscriptions(&mut self, index: u32) -> bool {
        if self.waits_for_next_turn(index) {
            return true;
        }
        let Some(session) = self.clients.get(index) else { return false };
        let key = ClientKey { index, generation: session.generation };
        let Some(stateful) = &mut session.stateful else { return false };
        if stateful.subscriptions.total() <= AT_ONCE {
            return false;
        }
        session.blocked = true;
        self.pubsub.unfinished.push_back(key);
        let mut left = AT_ONCE;
        for channels in Channels::ALL {
            let own = self.stateful(index).map(|stateful| stateful.subscriptions.of(channels));
            let some: Vec<u32> = own.into_iter().flatten().copied().take(left).collect();
            left -= some.len();
            for id in some {
                self.leave(key, channels, Some(id));
            }
        }
        true
    }

    /// Ends some more of the subscriptions of those who have left, and lets one that is in the
    /// middle of an UNSUBSCRIBE go on.
    pub(super) fn go_on_ending(&mut self) {
        if let Some((key, mut ids)) = self.pubsub.leaving.pop_front() {
            let rest = ids.split_off(ids.len().saturating_sub(AT_ONCE));
            for id in rest {
                self.part(key, id);
            }
            if !ids.is_empty() {
                self.pubsub.leaving.push_back((key, ids));
            }
        }
        if let Some(key) = self.pubsub.unfinished.pop_front()
            && self.clients.find(key).is_some()
        {
            self.clients.unblock(key.index);
        }
    }

    fn is_valkey_8_0(&self) -> bool {
        (self.around.facts)().valkey_version.is_some_and(|version| version.starts_with("8.0."))
    }

    /// Ends one subscription of a client, if it has it. Returns the number it is told.
    fn leave(&mut self, key: ClientKey, channels: Channels, id: Option<u32>) -> usize {
        let Some(session) = self.clients.find(key) else { return 0 };
        let Some(stateful) = &mut session.stateful else { return 0 };
        let had = id.filter(|&id| stateful.subscriptions.remove(channels, id));
        let count = stateful.subscriptions.count(channels);
        if let Some(id) = had {
            self.part(key, id);
        }
        count
    }

    /// A client is among those of a subject no more.
    fn part(&mut self, key: ClientKey, id: u32) {
        if let Some(subject) = self.pubsub.subjects.get_mut(id as usize)
            && subject.clients.remove(&key)
        {
            self.settings.audience.leave(subject.channels, &subject.name);
            self.cells.subscriptions.sub(1);
        }
        self.end_if_unused(id);
    }

    /// A client leaves, or starts anew: all its subscriptions end.
    pub(in crate::worker) fn end_subscriptions(&mut self, key: ClientKey) {
        let Some(session) = self.clients.find(key) else { return };
        let Some(stateful) = &mut session.stateful else { return };
        let Subscriptions { waiting, .. } = stateful.subscriptions;
        let all = std::mem::take(&mut stateful.subscriptions);
        if let Some(waiting) = waiting.and_then(|number| self.end_waiting_to_subscribe(number)) {
            for id in waiting.subjects {
                self.end_if_unused(id);
            }
            self.count_dropped(&waiting.ticket);
        }
        let mut ids: Vec<u32> = Channels::ALL.iter().flat_map(|&c| all.of(c)).copied().collect();
        if ids.len() > AT_ONCE {
            // It has left (see `ends_many_subscriptions`): it gets nothing more, and when they end
            // is nobody's concern.
            ids.shrink_to_fit();
            return self.pubsub.leaving.push_back((key, ids));
        }
        for id in ids {
            self.part(key, id);
        }
    }

    /// Adds what a client gets whether it wants replies or not.
    fn answer_pushing(&mut self, index: u32, reply: &[u8]) {
        if let Some(session) = self.clients.get_with_flow(index)
            && let Some(flow) = &mut session.flow
            && flow.answer(|out| out.extend_from_slice(reply))
        {
            self.clients.mark_dirty(index);
        }
    }

    /// A request of a client that speaks RESP2 and is subscribed: there is little that it may
    /// ask, because what it gets would not be told from messages. `None`: it may ask this.
    pub(in crate::worker) fn subscriber_request(
        &mut self,
        index: u32,
        args: &Args<'_>,
    ) -> Option<Step> {
        let session = self.clients.get(index)?;
        let own = &session.stateful.as_ref()?.subscriptions;
        if session.mode.is_resp3() || own.total() == 0 {
            return None;
        }
        let row = match plan(args) {
            Plan::Subscribe(..) | Plan::Unsubscribe(..) | Plan::Refuse(_) => return None,
            Plan::Local(_, Local::Quit | Local::Reset) => return None,
            Plan::Local(_, Local::Ping) if args.len() > 2 => return None,
            Plan::Local(row, Local::Ping) => {
                session.last_command = Some(row.id);
                self.cells.request_done(row.id.index(), Outcome::Ok, 0);
                let text = args.get(1).unwrap_or_default();
                self.answer(index, |out| subscriptions::pong(out, text));
                return Some(Step::Taken);
            }
            plan => plan.row()?,
        };
        self.cells.request_done(row.id.index(), Outcome::Refused, 0);
        let text = subscriptions::out_of_context(row.name);
        self.answer(index, |out| write::error(out, text));
        Some(Step::Taken)
    }
}

fn first_slot(args: &Args<'_>) -> Slot {
    Slot::of_key(args.get(1).unwrap_or_default())
}
