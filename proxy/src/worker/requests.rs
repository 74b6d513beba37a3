//! From a client's bytes to requests, and from a request to the node that executes it.

use slab::Slab;

use super::pool::Pool;
use super::{NO_POOL, Settings, Worker};
use crate::command::{self, Class, Refusal, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Connection, Mode, Phase, Ticket, Way};
use crate::resp::request::{Frame, canonical_inline};
use crate::resp::{Args, write};
use crate::routing::{Plan, anyway, plan};
use crate::session::{self, Answer, ClientEnd, Closing, Facts, Offer, Special};
use crate::slot::Slot;

pub(super) use super::large_requests::LargeReads;

/// While any of this is the case with a client, nothing further of it is taken.
const MUST_WAIT: Special = Special::ALONE.and(Special::ASKING);

/// What became of a request that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It was taken: sent, queued, answered or refused.
    Taken,
    /// The client has to wait; the request is understood again later.
    Later,
}

impl Worker {
    /// Takes as many requests out of `input` as the client may have under way, and returns how
    /// many bytes they were. What is left stays the client's.
    pub(super) fn understand(&mut self, index: u32, input: &[u8]) -> usize {
        let mut used = 0;
        let mut spans = std::mem::take(&mut self.spans);
        while used < input.len() {
            let Some(session) = self.clients.get(index) else { break };
            if session.closing != Closing::No {
                break;
            }
            let rest = &input[used..];
            match session.scanner.scan(rest, &self.settings.limits, &mut spans) {
                Frame::Request { len } => {
                    match self.request(index, &Args::new(&rest[..len], &spans)) {
                        Step::Taken => used += len,
                        Step::Later => break,
                    }
                    if len > self.settings.large_request {
                        self.release_unsent_large(index);
                    }
                }
                Frame::Inline { len } => {
                    let mut inline = std::mem::take(&mut self.inline);
                    let step = match canonical_inline(&rest[..len], &mut inline, &mut spans) {
                        // Nothing but quotes around nothing is still an argument, so there is
                        // always a first word here.
                        Ok(()) => self.request(index, &Args::new(&inline, &spans)),
                        Err(error) => {
                            self.refuse_protocol(index, &error);
                            Step::Taken
                        }
                    };
                    self.inline = inline;
                    match step {
                        Step::Taken => used += len,
                        Step::Later => break,
                    }
                }
                Frame::Nothing { len } => used += len,
                Frame::Partial => {
                    self.partial_request(index);
                    break;
                }
                Frame::Refused(error) => {
                    self.refuse_protocol(index, &error);
                    break;
                }
            }
        }
        spans.clear();
        spans.shrink_to(1024);
        self.spans = spans;
        used
    }

    /// One request. The fast path of everything: a routed command whose node is there, of a
    /// client that has nothing to wait for, costs one table lookup for the command, one for the
    /// slot, one copy of its bytes and two queue entries.
    fn request(&mut self, index: u32, args: &Args<'_>) -> Step {
        let len = args.frame().len();
        let Some(session) = self.clients.get_with_flow(index) else { return Step::Taken };
        let Some(flow) = &mut session.flow else { return Step::Taken };
        if flow.in_flight() >= session.window.requests()
            || (session.in_flight_bytes + len > self.settings.request_bytes_max
                && session.in_flight_bytes > 0)
            || flow.reply_bytes() > self.settings.output_pause
            || session.special.has(MUST_WAIT)
            || self.pause.is_some_and(|pause| pause.holds(args))
        {
            session.blocked = true;
            return Step::Later;
        }
        if !session.special.is_empty() {
            return self.stateful_request(index, args);
        }
        self.plain_request(index, args)
    }

    /// One request of a client that need not wait, and whose state makes nothing else of it.
    #[inline(always)]
    pub(super) fn plain_request(&mut self, index: u32, args: &Args<'_>) -> Step {
        let len = args.frame().len();
        let (row, slot) = match plan(args) {
            Plan::Slot(row, slot) => (row, Some(slot)),
            Plan::AnyPrimary(row) => (row, None),
            Plan::Local(row, local) => return self.local(index, row, local, args),
            Plan::Publish(row, _, slot) if self.settings.audience.is_empty() => (row, Some(slot)),
            Plan::Publish(row, channels, slot) => {
                return self.publish(index, row, channels, slot, args);
            }
            Plan::Subscribe(row, channels) => return self.subscribe(index, row, channels, args),
            Plan::Unsubscribe(row, channels) => {
                return self.unsubscribe(index, row, channels, args);
            }
            Plan::Subscribers(row) => return self.ask_subscribers(index, row, args),
            Plan::Split(row) => return self.split(index, row, args),
            Plan::Shards(row) => return self.ask_shards(index, row, args),
            Plan::Nodes(row) => return self.ask_nodes(index, row, args),
            Plan::Scan(row) => return self.scan(index, row, args),
            Plan::RandomKey(row) => return self.random_key(index, row, args),
            Plan::Wait(row) => match self.wait(index, row, args) {
                Some(step) => return step,
                None => (row, None),
            },
            Plan::CrossSlot(row) => return self.refuse_cross_slot(index, row),
            Plan::AskKeys(row) => return self.ask_keys(index, row, args),
            Plan::Transaction(row) => return self.transaction_command(index, row, args),
            Plan::Refuse(refusal) => match allowed(&self.settings, &refusal, args) {
                Some(Plan::Slot(row, slot)) => (row, Some(slot)),
                Some(Plan::AnyPrimary(row)) => (row, None),
                Some(Plan::Nodes(row)) => return self.ask_nodes(index, row, args),
                Some(Plan::Shards(row)) => return self.ask_shards(index, row, args),
                Some(Plan::CrossSlot(row)) => return self.refuse_cross_slot(index, row),
                _ => return self.refuse(index, &refusal, args),
            },
        };
        let Some(session) = self.clients.get(index) else { return Step::Taken };
        let alone = session.in_flight() == 0;
        let way = way(row, args, &self.settings);
        let is_large = len > self.settings.large_request || way.is_own();
        if session.would_overtake(slot) || (is_large && !alone) {
            session.blocked = true;
            if len > self.settings.large_request {
                let key = ClientKey { index, generation: session.generation };
                self.large_reads.finished(key);
            }
            return Step::Later;
        }
        session.last_command = Some(row.id);
        let Some(flow) = &mut session.flow else { return Step::Taken };
        let class = command::class(row, args);
        let mut strict = false;
        if session.manners.strict_order
            && class != Class::R
            && let Some(slot) = slot
        {
            if flow.writes.contains(&slot) {
                session.blocked = true;
                return Step::Later;
            }
            flow.writes.push(slot);
            strict = true;
        }
        if row.may_forge_errors() {
            self.seen_scripts.note(&self.settings.scripts, row, args);
        }
        let client = ClientKey { index, generation: session.generation };
        let muted = session.take_mute();
        let Some(flow) = &mut session.flow else { return Step::Taken };
        let ticket = Ticket {
            sequence: if muted { flow.push_muted() } else { flow.push() },
            len: len as u32,
            arrival: self.next_arrival,
            slot,
            replayable: command::repeatable(row, class, self.settings.retry_unknown),
            reads_only: class == Class::R,
            forgeable: row.may_forge_errors(),
            way,
            strict,
            ..Ticket::new(client, session.mode, session.manners.patience, row.id, self.now)
        };
        self.next_arrival += 1;
        session.in_flight_bytes += len;
        if is_large {
            if way == Way::Blocking {
                self.note_blocking(client, row, args);
            }
            self.send_alone(index, ticket, args.frame());
            return Step::Taken;
        }
        self.send(ticket, args.frame());
        Step::Taken
    }

    /// Sends a request or a part of one: straight to its node if that is there.
    #[inline(always)]
    pub(super) fn send(&mut self, ticket: Ticket, frame: &[u8]) {
        let mut pool = self.pool_for(&ticket);
        if !ticket.mode.is_base() {
            pool = self.in_mode(pool, ticket.mode).unwrap_or(NO_POOL);
        }
        if let Some((shared, connection, pool)) = ready(&self.pools, &mut self.connections, pool)
            && connection.unsent_bytes() <= self.settings.park_max_bytes
            && frame.len() <= self.settings.large_request
            && !ticket.way.is_own()
        {
            if !ticket.reads_only {
                self.clients.note_write(ticket.client.index, pool.base);
            }
            connection.push_plain(ticket, frame);
            pool.cells.requests_total.add(1);
            if !connection.dirty {
                connection.dirty = true;
                self.outbox.dirty_nodes.push(shared);
            }
        } else {
            self.dispatch(ticket, frame.to_vec());
        }
    }

    /// Adds an answer of ours at this request's place among the client's replies.
    pub(super) fn answer(&mut self, index: u32, reply: impl FnOnce(&mut Vec<u8>)) {
        let Some(session) = self.clients.get_with_flow(index) else { return };
        let muted = session.take_mute();
        let Some(flow) = &mut session.flow else { return };
        if muted {
            flow.answer(|_| ());
        } else if flow.answer(reply) {
            self.clients.mark_dirty(index);
        }
    }

    /// This is the last request of its client, as CLIENT LIST shows it.
    pub(super) fn note_command(&mut self, index: u32, row: &'static Row) {
        if let Some(session) = self.clients.get(index) {
            session.last_command = Some(row.id);
        }
    }

    fn local(
        &mut self,
        index: u32,
        row: &'static Row,
        local: command::Local,
        args: &Args<'_>,
    ) -> Step {
        if local == command::Local::ClientTracking {
            self.note_command(index, row);
            return self.client_tracking(index, row, args);
        }
        let mut reply = Vec::new();
        let Some(session) = self.clients.get(index) else { return Step::Taken };
        if session::changes_mode(local) && session.in_flight() > 0 {
            // On other connections later requests would overtake earlier ones.
            session.blocked = true;
            return Step::Later;
        }
        session.last_command = Some(row.id);
        if local == command::Local::Reset && self.ends_many_subscriptions(index) {
            return Step::Later;
        }
        let Some(session) = self.clients.get(index) else { return Step::Taken };
        let facts = &self.around.facts;
        let answer = match session::question(local, args, session, facts) {
            None if local == command::Local::Proxy => self.operator(row, args, &mut reply),
            None if local == command::Local::Command => {
                let Facts { server_version, valkey_version, .. } = facts();
                let offer = Offer {
                    redis: release(&server_version),
                    valkey: valkey_version.as_deref().map(release),
                    resp3: session.mode.is_resp3(),
                    allowed: &self.settings.allowed,
                };
                session::commands(args, offer, &mut reply)
            }
            None => session::answer(local, args, session, facts, &mut reply),
            Some(Ok(question)) => return self.ask(index, row, question),
            Some(Err(text)) => {
                write::error(&mut reply, text);
                Answer::Failed
            }
        };
        let outcome = match answer {
            Answer::Served | Answer::Close | Answer::Silent => Outcome::Ok,
            Answer::Failed => Outcome::Refused,
            Answer::Unknown => return self.refuse(index, &Refusal::unknown(row), args),
        };
        if local == command::Local::Reset {
            self.end_stateful(index);
        }
        self.cells.request_done(row.id.index(), outcome, 0);
        if answer != Answer::Silent {
            self.answer(index, |out| out.extend_from_slice(&reply));
        }
        if answer == Answer::Close {
            self.end_client(index, ClientEnd::Quit);
        }
        Step::Taken
    }

    pub(super) fn refuse_cross_slot(&mut self, index: u32, row: &'static Row) -> Step {
        self.note_command(index, row);
        self.cells.request_done(row.id.index(), Outcome::Refused, 0);
        self.answer(index, |out| {
            write::error(out, "CROSSSLOT Keys in request don't hash to the same slot");
        });
        Step::Taken
    }

    pub(super) fn refuse(&mut self, index: u32, refusal: &Refusal, args: &Args<'_>) -> Step {
        // A name that is in no table has no row: one label for them all.
        self.cells.request_done(usize::MAX, Outcome::Refused, 0);
        if let Some(session) = self.clients.get(index) {
            session.last_command = match refusal {
                Refusal::Unknown | Refusal::UnknownSubcommand(_) => None,
                Refusal::WrongArity(row) | Refusal::NotPassedOn(row, _) => Some(row.id),
            };
        }
        if matches!(refusal, Refusal::WrongArity(row) if row.id == command::EXEC) {
            // A server discards all the same, also what is watched without MULTI.
            self.end_transaction(index);
            self.end_watch(index);
        }
        let mut text = Vec::new();
        refusal.write(args, &mut text);
        self.answer(index, |out| write::error(out, &text));
        Step::Taken
    }

    /// A primary for a request without keys: the one of a random slot, so that large shards get
    /// more; if it is away, one that is there.
    pub(super) fn any_primary(&mut self, mode: Mode) -> u16 {
        let start = ((self.around.random)() * Slot::COUNT as f64) as usize;
        let chosen = self.routes.get(start).copied().unwrap_or(NO_POOL);
        let is_open = |&base: &u16| {
            let node = self.pools.get(usize::from(base));
            let twin = node.and_then(|node| node.twin(mode));
            twin.map_or(node, |twin| self.pools.get(usize::from(twin))).is_some_and(Pool::is_open)
        };
        if is_open(&chosen) {
            return chosen;
        }
        let other = self.routes.iter().copied().find(is_open);
        other.or_else(|| self.routes.iter().copied().find(|&p| p != NO_POOL)).unwrap_or(NO_POOL)
    }
}

/// Where a request goes that policy refuses and the operator has allowed.
pub(super) fn allowed(settings: &Settings, refusal: &Refusal, args: &Args<'_>) -> Option<Plan> {
    match *refusal {
        Refusal::NotPassedOn(row, _) if settings.allowed.contains(row) => Some(anyway(row, args)),
        _ => None,
    }
}

/// The connection of this pool that takes requests at once, and the pool, if there is one.
#[inline(always)]
pub(super) fn ready<'a>(
    pools: &'a Slab<Pool>,
    connections: &'a mut Slab<Connection>,
    pool: u16,
) -> Option<(u32, &'a mut Connection, &'a Pool)> {
    let pool = pools.get(usize::from(pool)).filter(|pool| pool.is_open())?;
    let connection = connections.get_mut(pool.shared? as usize)?;
    matches!(connection.phase, Phase::Ready).then_some((pool.shared?, connection, pool))
}

/// Major and minor of a version.
fn release(version: &str) -> command::Version {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Which connections a command may travel on. Some servers repeat line ends of their
/// arguments, or of a script's own words, in an error: one request gets two replies then, and the
/// second would be taken for that of another client (failure-masking contract, §1.7). FUNCTION of
/// all servers does so, scripts of those for which [`Settings::scripts_apart`] is set. And a node
/// reads nothing behind a script while it runs, so that SCRIPT KILL must not stand there.
#[inline(always)]
pub(super) fn way(row: &Row, args: &Args<'_>, settings: &Settings) -> Way {
    if row.is_plain() { Way::Shared } else { way_of_few(row, args, settings) }
}

#[inline(never)]
fn way_of_few(row: &Row, args: &Args<'_>, settings: &Settings) -> Way {
    if command::blocks(row, args) {
        return Way::Blocking;
    }
    let by_name = row.name.starts_with("function|") || row.name == "script|kill";
    let apart = (matches!(row.keys, command::Keys::None) && by_name)
        || (settings.scripts_apart && row.may_forge_errors());
    if apart { Way::Apart } else { Way::Shared }
}
