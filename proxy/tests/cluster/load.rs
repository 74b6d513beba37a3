//! Load with an audit: clients that write and read while something happens to the cluster, and
//! know afterwards what each of their keys may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use testbed::{key_in_slot, wait_until};

use crate::stage::DEADLINE;
use crate::wire::{Client, Reply, Request, request};

/// What a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// No error at all, nothing lost.
    Flawless,
    /// A write may be answered by UNKNOWNRESULT, nothing else; nothing acknowledged is lost.
    Unknowns,
    /// As that, but servers may lose what they acknowledged: a primary dies before its replica has
    /// its last writes. What the successor has acknowledged is held to the full.
    Losses,
}

/// Clients at work until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    /// How often each client went through all of its slots.
    rounds: Vec<Arc<AtomicU64>>,
    writers: Vec<JoinHandle<Result<Vec<Set>>>>,
    readers: Vec<JoinHandle<Result<()>>>,
    addr: String,
    rule: Rule,
}

impl Load {
    /// Starts `writers` clients that write and read keys of these slots, each keys of its own, and
    /// one client that only reads keys that do not change.
    pub(crate) fn start(addr: &str, rule: Rule, slots: &[u16], writers: usize) -> Result<Load> {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds: Vec<_> = (0..=writers).map(|_| Arc::new(AtomicU64::new(0))).collect();
        let mut load =
            Load { stop, rounds, writers: vec![], readers: vec![], addr: addr.into(), rule };
        let fixed: Vec<String> = slots.iter().map(|&slot| key_in_slot(slot, ":fixed")).collect();
        let mut client = Client::connect(addr)?;
        for key in &fixed {
            let reply = client.ask(&["SET", key, key])?;
            ensure!(reply == Reply::ok(), "{key}: {reply:?}");
        }
        for writer in 0..writers {
            let sets = slots.iter().map(|&slot| Set::new(slot, writer)).collect();
            let mut client = Client::connect(addr)?;
            let (stop, rounds) = (Arc::clone(&load.stop), Arc::clone(&load.rounds[writer]));
            load.writers.push(std::thread::spawn(move || {
                write_until(&mut client, &stop, &rounds, sets, rule)
                    .with_context(|| format!("writer {writer}"))
            }));
        }
        let (stop, rounds) = (Arc::clone(&load.stop), Arc::clone(&load.rounds[writers]));
        load.readers.push(std::thread::spawn(move || {
            read_until(&mut client, &stop, &rounds, &fixed).context("the reader")
        }));
        Ok(load)
    }

    /// Waits until every client went through all of its slots so often from now on.
    pub(crate) fn wait_rounds(&self, count: u64) -> Result<()> {
        let goals: Vec<u64> =
            self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed) + count).collect();
        let ended = || {
            self.writers.iter().any(JoinHandle::is_finished)
                || self.readers.iter().any(JoinHandle::is_finished)
        };
        wait_until("every client to go on", DEADLINE, || {
            let mut both = self.rounds.iter().zip(&goals);
            ended() || both.all(|(rounds, goal)| rounds.load(Ordering::Relaxed) >= *goal)
        })
    }

    /// How often each client went through all of its slots so far.
    pub(crate) fn rounds(&self) -> Vec<u64> {
        self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect()
    }

    /// Stops the clients and compares what the cluster holds with what they were told. Returns how
    /// many results were unknown. `settled`: the rounds ([`Load::rounds`]) of a moment after which
    /// nothing was lost; only [`Rule::Losses`] asks for it.
    pub(crate) fn finish(self, settled: Option<&[u64]>) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers {
            reader.join().expect("it does not panic")?;
        }
        let mut unknown = 0;
        let mut client = Client::connect(&self.addr)?;
        for (writer, thread) in self.writers.into_iter().enumerate() {
            let sets = thread.join().expect("it does not panic")?;
            let settled = settled.map_or(0, |rounds| rounds[writer] + 1);
            for set in sets {
                unknown += set.unknown();
                set.audit(&mut client, self.rule, settled)
                    .with_context(|| format!("writer {writer}, its keys {}", set.counter))?;
            }
        }
        Ok(unknown)
    }
}

/// Slots in one pipeline: enough that one pipeline is in all shards.
const SETS_AT_ONCE: usize = 6;

fn write_until(
    client: &mut Client,
    stop: &AtomicBool,
    rounds: &AtomicU64,
    mut sets: Vec<Set>,
    rule: Rule,
) -> Result<Vec<Set>> {
    let mut round = 0;
    // Slots that stand apart, in one pipeline: the list is ordered by slot.
    let stride = sets.len().div_ceil(SETS_AT_ONCE);
    while !stop.load(Ordering::Relaxed) {
        for first in 0..stride {
            let at: Vec<usize> = (first..sets.len()).step_by(stride).collect();
            let requests: Vec<Request> =
                at.iter().flat_map(|&set| sets[set].requests(round)).collect();
            let replies = client.pipeline(&requests)?;
            for (&set, replies) in at.iter().zip(replies.chunks(Set::REQUESTS)) {
                sets[set].took(round, replies, rule).with_context(|| {
                    format!("round {round}, {}: {replies:?}", sets[set].counter)
                })?;
            }
        }
        round += 1;
        rounds.store(round, Ordering::Relaxed);
    }
    Ok(sets)
}

fn read_until(
    client: &mut Client,
    stop: &AtomicBool,
    rounds: &AtomicU64,
    keys: &[String],
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        for keys in keys.chunks(50) {
            let requests: Vec<Request> = keys.iter().map(|key| request(&["GET", key])).collect();
            for (key, reply) in keys.iter().zip(client.pipeline(&requests)?) {
                ensure!(reply == Reply::bulk(key), "GET {key} was answered {reply:?}");
            }
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// The keys of one writer in one slot, and what it knows of them.
struct Set {
    counter: String,
    list: String,
    string: String,
    pair: [String; 2],
    /// Each INCR's round, with what it was answered; `None`: unknown.
    increments: Vec<(u64, Option<i64>)>,
    /// Each RPUSH's element, twice the round or one more, and whether it is known to be done.
    pushes: Vec<(u64, bool)>,
    /// What the string and the pair may hold: the last acknowledged and all unknown after it.
    string_may_be: Vec<u64>,
    pair_may_be: Vec<u64>,
    unknown_sets: u64,
}

impl Set {
    const REQUESTS: usize = 7;

    fn new(slot: u16, writer: usize) -> Set {
        let key = |kind: &str| key_in_slot(slot, &format!(":{writer}:{kind}"));
        Set {
            counter: key("counter"),
            list: key("list"),
            string: key("string"),
            pair: [key("first"), key("second")],
            increments: vec![],
            pushes: vec![],
            string_may_be: vec![],
            pair_may_be: vec![],
            unknown_sets: 0,
        }
    }

    fn requests(&self, round: u64) -> [Request; Set::REQUESTS] {
        let elements = [round * 2, round * 2 + 1].map(|element| element.to_string());
        let round = round.to_string();
        let [first, second] = &self.pair;
        [
            request(&["INCR", &self.counter]),
            request(&["RPUSH", &self.list, &elements[0]]),
            request(&["RPUSH", &self.list, &elements[1]]),
            request(&["SET", &self.string, &round]),
            request(&["GET", &self.string]),
            request(&["MGET", first, second]),
            request(&["MSET", first, &round, second, &round]),
        ]
    }

    fn took(&mut self, round: u64, replies: &[Reply], rule: Rule) -> Result<()> {
        let [incr, push, push_more, set, get, mget, mset] = replies else {
            bail!("replies are missing")
        };
        match incr {
            Reply::Integer(value) => self.increments.push((round, Some(*value))),
            other => {
                unknown(other, rule)?;
                self.increments.push((round, None));
            }
        }
        for (element, reply) in [(round * 2, push), (round * 2 + 1, push_more)] {
            let known = matches!(reply, Reply::Integer(_));
            if !known {
                unknown(reply, rule)?;
            }
            self.pushes.push((element, known));
        }
        let before = self.string_may_be.clone();
        self.unknown_sets += written(&mut self.string_may_be, round, set, rule)?;
        // A lost SET may be executed after this GET was read again, so it may show what was there.
        let may_be = [before, self.string_may_be.clone()].concat();
        let may_be = if set.error().is_some() { &may_be } else { &self.string_may_be };
        holds(get, may_be, rule)?;
        // MGET stands before MSET; a MGET that was lost with it is read again and sees it.
        let before = self.pair_may_be.clone();
        self.unknown_sets += written(&mut self.pair_may_be, round, mset, rule)?;
        let mut may_be = before;
        if rule != Rule::Flawless {
            may_be.push(round);
        }
        match mget {
            Reply::Array(pair) if pair.len() == 2 => {
                ensure!(pair[0] == pair[1], "MSET is one step, but MGET saw {pair:?}");
                holds(&pair[0], &may_be, rule)
            }
            other => bail!("MGET was answered {other:?}"),
        }
    }

    fn unknown(&self) -> u64 {
        let increments = self.increments.iter().filter(|(_, value)| value.is_none()).count();
        let pushes = self.pushes.iter().filter(|(_, known)| !known).count();
        increments as u64 + pushes as u64 + self.unknown_sets
    }

    fn audit(&self, client: &mut Client, rule: Rule, settled: u64) -> Result<()> {
        let Reply::Bulk(value) = client.ask(&["GET", &self.counter])? else {
            bail!("the counter is gone")
        };
        let value: i64 = String::from_utf8(value)?.parse()?;
        let acked = self.increments.iter().filter(|(_, value)| value.is_some()).count() as i64;
        let all = self.increments.len() as i64;
        ensure!(value <= all, "{value} after {all} INCR, {acked} of them acknowledged");
        let Reply::Array(list) = client.ask(&["LRANGE", &self.list, "0", "-1"])? else {
            bail!("the list is no list")
        };
        let list: Vec<u64> = list.iter().map(number).collect::<Result<_>>()?;
        ensure!(list.is_sorted_by(|a, b| a < b), "not in order, or twice: {list:?}");
        let held_to: u64 = if rule == Rule::Losses { settled } else { 0 };
        for (element, known) in &self.pushes {
            let there = list.binary_search(element).is_ok();
            ensure!(there || !known || *element < held_to * 2, "{element} is lost of {list:?}");
        }
        let mut told = self.increments.iter().filter(|(round, _)| *round >= held_to);
        match rule {
            Rule::Flawless => ensure!(value == all, "{value} after {all} INCR"),
            Rule::Unknowns => ensure!(acked <= value, "{value} after {acked} acknowledged INCR"),
            Rule::Losses => {
                let first = told.next().and_then(|(_, value)| *value).context("it went on")?;
                let after = told.count() as i64;
                ensure!(value == first + after, "{value} after {first} and {after} more INCR");
            }
        }
        Ok(())
    }
}

/// A write was answered by an error: only an unknown result is let pass, and not by everybody.
fn unknown(reply: &Reply, rule: Rule) -> Result<()> {
    let text = reply.error().with_context(|| format!("a reply of another request: {reply:?}"))?;
    let allowed = rule != Rule::Flawless && text.starts_with("UNKNOWNRESULT ");
    ensure!(allowed, "a write was answered {text:?}");
    Ok(())
}

/// What may be held after this reply to a write of `round`; returns how many results are unknown.
fn written(may_be: &mut Vec<u64>, round: u64, reply: &Reply, rule: Rule) -> Result<u64> {
    if *reply == Reply::ok() {
        *may_be = vec![round];
        return Ok(0);
    }
    unknown(reply, rule)?;
    may_be.push(round);
    Ok(1)
}

fn holds(reply: &Reply, may_be: &[u64], rule: Rule) -> Result<()> {
    match reply {
        Reply::Nil if may_be.is_empty() || rule == Rule::Losses => Ok(()),
        Reply::Bulk(_) if rule == Rule::Losses => number(reply).map(drop),
        Reply::Bulk(_) => {
            let held = number(reply)?;
            ensure!(may_be.contains(&held), "it holds {held}, which is none of {may_be:?}");
            Ok(())
        }
        // All writes so far were unknown.
        Reply::Nil if rule == Rule::Unknowns => Ok(()),
        other => bail!("a read was answered {other:?}, not one of {may_be:?}"),
    }
}

fn number(reply: &Reply) -> Result<u64> {
    match reply {
        Reply::Bulk(bytes) => Ok(std::str::from_utf8(bytes)?.parse()?),
        other => bail!("not a number: {other:?}"),
    }
}
