//! Scripts that a node does not have: loaded there from what clients have sent before, and the
//! request is sent again (failure-masking contract, §5, NOSCRIPT).
//!
//! A script can say NOSCRIPT of itself after it has written. So the node is asked whether it has
//! it (`SCRIPT EXISTS`), right in front of the `SCRIPT LOAD`: it is sent again only if it was
//! missing. Where others have loaded it meanwhile, behind another request for the same script or
//! over another connection, it is enough that it was missing at some moment since the request was
//! read.
//!
//! In a transaction it would be too late: what stands beside the script is executed then. So the
//! scripts that it names are loaded right in front of it, wherever it goes, whether they are there
//! or not: the node may have lost them a moment ago. It costs the bytes of the bodies.

use std::sync::Arc;

use super::doubt::{Asks, Doubt, spans_of};
use super::{NO_POOL, Worker};
use crate::command::{Row, Script, names_script, resolve, row, script};
use crate::node::{Expected, Ticket};
use crate::resp::Args;
use crate::resp::reply::Kind;
use crate::resp::request::{Frame, Limits, Scanner};
use crate::scripts::{Known, Scripts, Sha};

/// A request is sent again so often because of a script that was missing: once for each node that
/// it comes to, unless scripts are flushed all the time.
const LOADS_MAX: u8 = 3;

/// What is loaded in front of one transaction, at most: scripts, and bytes of them.
const WITH_BLOCK_MAX: usize = 64;
const WITH_BLOCK_BYTES_MAX: usize = 1024 * 1024;

/// Which scripts this worker has told of in this epoch. A script that is not found here, because
/// there were too many others, is told of once more.
#[derive(Debug, Default)]
pub(super) struct SeenScripts {
    epoch: u64,
    /// Empty before the first script, then [`SETS`].
    sets: Vec<[Seen; 4]>,
}

/// Room for 1,024 scripts: 24 KiB. The bodies are those that all workers share, and of those that
/// are not shared any more what goes in an epoch, a quarter of `script-cache-max`.
const SETS: usize = 256;

#[derive(Clone, Debug, Default)]
struct Seen {
    mark: u64,
    /// `None` of a script that was named only.
    body: Option<Arc<[u8]>>,
}

impl SeenScripts {
    /// A request that has to do with a script passes by. On the way of every EVAL and EVALSHA: a
    /// comparison with the body, no hash of it.
    #[inline(never)] // away from the way of all other requests
    pub(super) fn note(&mut self, scripts: &Scripts, row: &Row, args: &Args<'_>) {
        let (text, is_body) = match script(row, args) {
            Some(Script::Body(body)) => (body, true),
            Some(Script::Named(sha)) => (sha, false),
            Some(Script::Flush) => return scripts.forget(),
            None => return,
        };
        if self.epoch != scripts.epoch() {
            self.epoch = scripts.epoch();
            self.sets.clear();
            self.sets.resize(SETS, <[Seen; 4]>::default());
        }
        let mark = mark_of(text);
        let set = &mut self.sets[mark as usize % SETS];
        let is_it =
            |seen: &Seen| seen.mark == mark && seen.body.as_deref() == is_body.then_some(text);
        if set.iter().any(is_it) {
            return;
        }
        let body = if is_body { scripts.saw(text) } else { None };
        if let (false, Some(sha)) = (is_body, Sha::parse(text)) {
            scripts.used(&sha);
        }
        if is_body == body.is_some() {
            set.rotate_right(1);
            set[0] = Seen { mark, body };
        }
    }
}

/// A number made of the length and of some bytes here and there: where to look for a script. A
/// name is a hash already, so that its mark stands for it.
fn mark_of(text: &[u8]) -> u64 {
    let room = text.len().saturating_sub(8);
    let words = (0..8).filter_map(|n| text[room * n / 7..].first_chunk::<8>());
    let mixed = words.zip(0..).fold(text.len() as u64, |mixed, (word, n)| {
        mixed.wrapping_add(u64::from_le_bytes(*word).rotate_left(9 * n))
    });
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

/// Whether this error may say that the script of this request is not known where it came to.
pub(super) fn is_about_script(ticket: &Ticket, text: &[u8]) -> bool {
    text.starts_with(b"NOSCRIPT No matching script.")
        && memchr::memmem::find(text, b" script: ").is_none()
        && names_script(row(ticket.command))
}

impl Worker {
    /// A node does not know the script of the request at the head of this connection, or the
    /// script says so.
    pub(super) fn ask_for_script(&mut self, index: u32, reply: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let (serial, pool) = (connection.serial, connection.pool);
        let loads = match connection.head() {
            Some(Expected::Request(head)) => head.loads,
            _ => LOADS_MAX,
        };
        let frame = connection.head_frame().to_vec();
        let spans = spans_of(&self.settings.limits, &frame);
        let name = spans.get(1).map(|span| &frame[span.start as usize..span.end as usize]);
        let known = name
            .and_then(Sha::parse)
            .and_then(|sha| Some((sha, self.settings.scripts.body(&sha)?)));
        let node = self.pools.get(usize::from(pool)).map(|node| node.id);
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let (Some((sha, body)), Some(node), true) = (known, node, loads < LOADS_MAX) else {
            return self.odd_reply(index, Kind::Error, reply);
        };
        let Some(Expected::Request(mut ticket)) = connection.pop() else { return };
        connection.push_own(&exists(&sha), |len| Expected::Question { about: ticket.arrival, len });
        // Not twice behind one another: whoever is the first has it loaded.
        let is_loading =
            |doubt: &Doubt| doubt.connection == serial && doubt.asks.loads_script(&sha);
        let leads = !self.doubts.iter().any(is_loading);
        if leads {
            connection.push_own(&[b"SCRIPT", b"LOAD", &body], |len| Expected::Abandoned { len });
            self.settings.scripts.ask(node, sha, self.now);
        }
        self.divert(&mut ticket);
        self.doubts.push(Doubt {
            connection: serial,
            pool,
            ticket,
            frame,
            asks: Asks::Script { sha, leads },
            reply: reply.to_vec(),
        });
        self.touch(index);
    }

    /// A transaction that names scripts is about to go out on this connection: those that are known
    /// are loaded in front of it. If the node does not take one, the transaction is answered as if
    /// it had not been tried.
    pub(super) fn load_scripts(&mut self, index: u32, block: &[u8]) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let mut room = WITH_BLOCK_BYTES_MAX;
        for sha in named_in(&self.settings.limits, block) {
            let Some(body) = self.settings.scripts.body(&sha) else { continue };
            if let Some(left) = room.checked_sub(body.len()) {
                room = left;
                connection.push_load(sha, &body);
            }
        }
    }

    /// Whether a node's answer to `SCRIPT EXISTS` says that the request was not executed. `None`:
    /// it was asked once more.
    pub(super) fn was_missing(&mut self, index: u32, at: usize, answer: &[u8]) -> Option<bool> {
        let doubt = self.doubts.get_mut(at)?;
        let Asks::Script { sha, leads } = &mut doubt.asks else { return Some(false) };
        let Some(node) = self.pools.get(usize::from(doubt.pool)) else { return Some(false) };
        let (about, has_it) = ((node.id, *sha), answer != b"*1\r\n:0\r\n");
        let (ticket, asked) = (&mut doubt.ticket, std::mem::take(leads));
        let known = self.settings.scripts.answer(about, asked, has_it, ticket.received, self.now);
        match known {
            _ if !has_it || ticket.reads_only => {}
            // It was sent again once it was loaded: what is known is about the time before.
            _ if ticket.loads > 0 => return Some(false),
            Known::Missing => {}
            Known::There => return Some(false),
            Known::Asked => {
                let about = ticket.arrival;
                let connection = self.connections.get_mut(index as usize)?;
                connection.push_own(&exists(sha), |len| Expected::Question { about, len });
                self.touch(index);
                return None;
            }
        }
        ticket.loads += 1;
        ticket.hops = 0;
        ticket.previous = NO_POOL;
        Some(true)
    }
}

/// The scripts that these requests name, each once.
fn named_in(limits: &Limits, mut requests: &[u8]) -> Vec<Sha> {
    let (mut named, mut spans) = (Vec::new(), Vec::new());
    while let Frame::Request { len } = Scanner::default().scan(requests, limits, &mut spans)
        && named.len() < WITH_BLOCK_MAX
    {
        let (first, rest) = requests.split_at(len);
        let args = Args::new(first, &spans);
        if let Ok(row) = resolve(&args)
            && let Some(Script::Named(name)) = script(row, &args)
            && let Some(sha) = Sha::parse(name)
            && !named.contains(&sha)
        {
            named.push(sha);
        }
        requests = rest;
    }
    named
}

fn exists(sha: &Sha) -> [&[u8]; 3] {
    [b"SCRIPT", b"EXISTS", sha.as_bytes()]
}
