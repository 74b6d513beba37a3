//! Transactions while the cluster changes under them: money goes from account to account of one
//! hash tag, with WATCH and without, and whatever happens the sum stays the same, nothing is done
//! twice, and nothing is done of which its client was told that it was not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use testbed::{Cluster, FailoverKind, key_in_slot, wait_for, wait_until};

use crate::stage::{DEADLINE, metric, metric_sum, slotway};
use crate::wire::{Client, Reply, Request, request};

/// A bank has so many accounts, each with so much at first.
const ACCOUNTS: usize = 4;
const START: i64 = 1000;
const SUM: i64 = ACCOUNTS as i64 * START;

/// What clients were told of their transfers, by number.
#[derive(Default)]
struct Told {
    done: Vec<String>,
    not_done: Vec<String>,
    unknown: Vec<String>,
}

struct Banks {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<Told>>>,
    readers: Vec<JoinHandle<Result<()>>>,
    slots: Vec<u16>,
    addr: String,
}

fn account(slot: u16, number: usize) -> String {
    key_in_slot(slot, &format!("account{number}"))
}

fn book(slot: u16) -> String {
    key_in_slot(slot, "book")
}

impl Banks {
    /// A bank in each of these slots, and clients at work.
    fn start(addr: &str, slots: &[u16], clients: usize) -> Result<Banks> {
        let mut first = Client::connect(addr)?;
        for &slot in slots {
            for number in 0..ACCOUNTS {
                let set = first.ask(&["SET", &account(slot, number), &START.to_string()])?;
                ensure!(set == Reply::ok(), "{set:?}");
            }
        }
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut banks = Banks {
            stop,
            rounds,
            clients: vec![],
            readers: vec![],
            slots: slots.to_vec(),
            addr: addr.into(),
        };
        for client in 0..clients {
            let mut own = Client::connect(addr)?;
            let (stop, rounds) = (banks.stop.clone(), banks.rounds.clone());
            let slots = slots.to_vec();
            banks.clients.push(std::thread::spawn(move || {
                let mut told = Told::default();
                let mut rng = Rng::with_seed(client as u64);
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let slot = slots[rng.usize(..slots.len())];
                    let name = format!("{client}:{number}");
                    let watches = client.is_multiple_of(2);
                    transfer(&mut own, &mut rng, slot, watches, name, &mut told)
                        .with_context(|| format!("client {client}"))?;
                    rounds.fetch_add(1, Ordering::SeqCst);
                }
                Ok(told)
            }));
        }
        let mut own = Client::connect(addr)?;
        let (stop, slots) = (banks.stop.clone(), slots.to_vec());
        banks.readers.push(std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                for &slot in &slots {
                    let sum = sum_of(&mut own, slot)?;
                    ensure!(sum == SUM, "the sum of slot {slot} was seen as {sum}");
                }
            }
            Ok(())
        }));
        Ok(banks)
    }

    /// Waits for so many transfers more.
    fn wait(&self, transfers: u64) -> Result<()> {
        let goal = self.rounds.load(Ordering::SeqCst) + transfers;
        let ended = || {
            self.clients.iter().any(JoinHandle::is_finished)
                || self.readers.iter().any(JoinHandle::is_finished)
        };
        wait_until("transfers", DEADLINE, || ended() || self.rounds.load(Ordering::SeqCst) >= goal)
    }

    /// Ends the clients and audits the books. Returns how many transfers are unknown, and how many
    /// were told to be done and are not in the books.
    fn finish(self) -> Result<(usize, usize)> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Told::default();
        for client in self.clients {
            let told = client.join().expect("it does not panic")?;
            all.done.extend(told.done);
            all.not_done.extend(told.not_done);
            all.unknown.extend(told.unknown);
        }
        for reader in self.readers {
            reader.join().expect("it does not panic")?;
        }
        let mut client = Client::connect(&self.addr)?;
        let mut written: HashMap<String, usize> = HashMap::new();
        for slot in self.slots {
            let sum = sum_of(&mut client, slot)?;
            ensure!(sum == SUM, "at the end the sum of slot {slot} is {sum}");
            let Reply::Array(names) = client.ask(&["LRANGE", &book(slot), "0", "-1"])? else {
                bail!("no list");
            };
            for name in names {
                let Reply::Bulk(name) = name else { bail!("{name:?}") };
                *written.entry(String::from_utf8(name)?).or_default() += 1;
            }
        }
        ensure!(!written.values().any(|times| *times > 1), "done twice: {written:?}");
        let in_books = |name: &&String| written.contains_key(*name);
        let liar = all.not_done.iter().find(in_books);
        ensure!(liar.is_none(), "told not to be done, and done: {liar:?}");
        ensure!(all.done.len() > 100 && !all.not_done.is_empty(), "too few to mean anything");
        let lost = all.done.iter().filter(|name| !in_books(name)).count();
        Ok((all.unknown.len(), lost))
    }
}

/// From one account to another, written into the book by its name.
fn transfer(
    client: &mut Client,
    rng: &mut Rng,
    slot: u16,
    watches: bool,
    name: String,
    told: &mut Told,
) -> Result<()> {
    let (from, to) = (rng.usize(..ACCOUNTS), rng.usize(..ACCOUNTS - 1));
    let to = if to >= from { to + 1 } else { to };
    let (from, to, amount) = (account(slot, from), account(slot, to), rng.i64(1..50));
    let mut changes: Vec<Request> = vec![request(&["RPUSH", &book(slot), &name])];
    if watches {
        let watched = client.ask(&["WATCH", &from, &to])?;
        ensure!(watched == Reply::ok(), "WATCH: {watched:?}");
        let mut balance = |account: &str| -> Result<i64> {
            match client.ask(&["GET", account])? {
                Reply::Bulk(digits) => Ok(str::from_utf8(&digits)?.parse()?),
                other => bail!("GET: {other:?}"),
            }
        };
        let (has, gets) = (balance(&from)?, balance(&to)?);
        if rng.u8(..10) == 0 {
            let unwatched = client.ask(&["UNWATCH"])?;
            ensure!(unwatched == Reply::ok(), "UNWATCH: {unwatched:?}");
            return Ok(());
        }
        changes.push(request(&["SET", &from, &(has - amount).to_string()]));
        changes.push(request(&["SET", &to, &(gets + amount).to_string()]));
    } else {
        changes.push(request(&["DECRBY", &from, &amount.to_string()]));
        changes.push(request(&["INCRBY", &to, &amount.to_string()]));
    }
    let mut block = vec![request(&["MULTI"])];
    block.extend(changes);
    block.push(request(&["EXEC"]));
    let replies = if rng.bool() {
        client.pipeline(&block)?
    } else {
        block.iter().map(|words| client.ask(words)).collect::<Result<_>>()?
    };
    for reply in &replies[1..block.len() - 1] {
        ensure!(*reply == Reply::Simple("QUEUED".into()), "{reply:?}");
    }
    match replies.last() {
        Some(Reply::Array(items)) if items.len() == 3 => told.done.push(name),
        Some(Reply::Nil) if watches => told.not_done.push(name),
        Some(Reply::Error(text)) if text.starts_with("UNKNOWNRESULT ") => told.unknown.push(name),
        other => bail!("EXEC: {other:?}"),
    }
    Ok(())
}

/// What the accounts of a bank have together, seen at one moment.
fn sum_of(client: &mut Client, slot: u16) -> Result<i64> {
    let accounts: Vec<String> = (0..ACCOUNTS).map(|number| account(slot, number)).collect();
    let mut block = vec![request(&["MULTI"])];
    block.extend(accounts.iter().map(|account| request(&["GET", account])));
    block.push(request(&["EXEC"]));
    let Some(Reply::Array(balances)) = client.pipeline(&block)?.pop() else { bail!("no EXEC") };
    let balance = |reply: &Reply| match reply {
        Reply::Bulk(digits) => str::from_utf8(digits).ok()?.parse::<i64>().ok(),
        _ => None,
    };
    let sum: Option<i64> = balances.iter().map(balance).sum();
    sum.with_context(|| format!("{balances:?}"))
}

#[test]
fn transfers_keep_the_sum_while_primaries_change_places_and_slots_move() -> Result<()> {
    let timeout = Duration::from_secs(2);
    let cluster = Cluster::builder().node_timeout(timeout).full_coverage(false).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (first, second) = (cluster.shard(0).slots()?, cluster.shard(1).slots()?);
    let slots = [first[7], first[8], second[9]];
    let banks = Banks::start(&proxy.addr(), &slots, 6)?;
    banks.wait(300)?;
    for _ in 0..2 {
        cluster.failover(&cluster.shard(0).replica()?, FailoverKind::Normal)?;
        cluster.wait_ok(DEADLINE)?;
        banks.wait(300)?;
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, to) = (cluster.shard(from).primary()?, cluster.shard(to).primary()?);
        wait_for("the slots to be moved", DEADLINE, || {
            let owned = from.view()?;
            let left = slots[..2]
                .iter()
                .copied()
                .filter(|&slot| owned.myself().is_ok_and(|myself| myself.owns(slot)));
            cluster.move_slots(left.collect::<Vec<_>>(), &from, &to)
        })?;
        banks.wait(300)?;
    }
    let (unknown, lost) = banks.finish()?;
    ensure!((unknown, lost) == (0, 0), "{unknown} unknown, {lost} lost, and nothing died");
    let ends = |end| metric(&proxy, &format!("slotway_transactions_total{{end=\"{end}\"}}"));
    ensure!(ends("exec")? > 500 && ends("null")? > 0, "the faults were not met");
    ensure!(metric_sum(&proxy, "slotway_transaction_bytes")? == 0, "bytes are left");
    Ok(())
}

#[test]
fn transfers_keep_the_sum_when_a_primary_is_killed() -> Result<()> {
    let timeout = Duration::from_secs(1);
    let cluster = Cluster::builder().node_timeout(timeout).full_coverage(false).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (first, second) = (cluster.shard(0).slots()?, cluster.shard(1).slots()?);
    let slots = [first[7], second[9]];
    let banks = Banks::start(&proxy.addr(), &slots, 6)?;
    banks.wait(300)?;
    for shard in [0, 1] {
        let primary = cluster.shard(shard).primary()?;
        cluster.kill(&primary)?;
        cluster.wait_ok(DEADLINE)?;
        banks.wait(300)?;
        cluster.restart(&primary)?;
        cluster.wait_ok(DEADLINE)?;
        banks.wait(100)?;
    }
    // What a primary acknowledged just before it died, its replica may not have.
    let (unknown, lost) = banks.finish()?;
    ensure!(unknown < 50 && lost < 50, "{unknown} unknown, {lost} lost");
    Ok(())
}
