//! The clients at work: a thread a connection, sending by the clock.

use super::history::{Base, Heard, History, Op, Outcome};
use super::mix::{Mix, Part};
use super::what::What;
use super::wire::{Conn, Reply};
use anyhow::{Context, Result, ensure};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Clients at work until [`Load::finish`].
#[derive(Debug)]
pub struct Load {
    began: Instant,
    /// When to stop sending, in milliseconds since the beginning.
    stop: Arc<AtomicU64>,
    /// When to stop waiting for answers.
    give_up: Arc<AtomicU64>,
    /// How many operations were acknowledged so far.
    acked: Arc<AtomicU64>,
    threads: Vec<JoinHandle<History>>,
    history: History,
}

impl Load {
    /// Prepares the keys and starts the clients of `mix` at `addr`; `shards` are the slots of each.
    ///
    /// # Errors
    /// A key cannot be prepared, or a client cannot connect.
    pub fn start(addr: &str, shards: &[RangeInclusive<u16>], mix: &Mix) -> Result<Load> {
        let parts = mix.parts(shards);
        let bases: Vec<_> = parts.iter().flat_map(Part::bases).collect();
        let mut conn = Conn::connect(addr, PREPARE)?;
        for (key, base) in &bases {
            let value = match base {
                Base::Count(count) => count.to_string(),
                Base::Pad(length) => ".".repeat(*length),
            };
            let reply = conn.ask(&["SET", key, &value], PREPARE)?;
            ensure!(reply.is_ok(), "{key} cannot be prepared: {reply:?}");
        }
        let conns = parts.iter().map(|_| Conn::connect(addr, PREPARE));
        let conns = conns.collect::<Result<Vec<_>>>().context("a client cannot connect")?;
        let never = || Arc::new(AtomicU64::new(u64::MAX));
        let (stop, give_up, acked) = (never(), never(), Arc::new(AtomicU64::new(0)));
        let talking = parts.iter().filter(|part| !part.listens()).count() as u64;
        let talking = Arc::new(AtomicU64::new(talking));
        let began = Instant::now();
        let count = parts.len() as u32;
        let clients = parts.into_iter().zip(conns).enumerate().map(|(number, (part, conn))| {
            let mut client = Client {
                addr: addr.to_owned(),
                began,
                due: part.every * number as u32 / count,
                part,
                conn: Some(conn),
                done: History::default(),
                open: VecDeque::new(),
                replies: Vec::new(),
                quiet: Duration::ZERO,
                stop: stop.clone(),
                give_up: give_up.clone(),
                acked: acked.clone(),
                talking: talking.clone(),
            };
            thread::spawn(move || {
                client.run();
                if !client.part.listens() {
                    client.talking.fetch_sub(1, Ordering::Relaxed);
                }
                client.done
            })
        });
        let threads = clients.collect();
        let history = History { bases, ..History::default() };
        Ok(Load { began, stop, give_up, acked, threads, history })
    }

    /// The time since the beginning: the clock of all operations.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The beginning.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How many operations were acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Lets the clients work for so long: an open load has no other measure than time.
    pub fn run_for(&self, time: Duration) {
        thread::sleep(time);
    }

    /// Stops the clients, waits for the answers that are missing, at most for `grace`, and gives
    /// out what happened.
    ///
    /// # Panics
    /// A client did.
    pub fn finish(mut self, grace: Duration) -> History {
        let now = self.now();
        self.give_up.store((now + grace).as_millis() as u64, Ordering::Relaxed);
        self.stop.store(now.as_millis() as u64, Ordering::Relaxed);
        for thread in self.threads {
            let done = thread.join().expect("a client does not panic");
            self.history.ops.extend(done.ops);
            self.history.heard.extend(done.heard);
            self.history.surplus.extend(done.surplus);
        }
        self.history
    }
}

struct Client {
    addr: String,
    part: Part,
    /// When it sends next.
    due: Duration,
    /// None: it was closed, and is to be opened again.
    conn: Option<Conn>,
    done: History,
    /// The operations without an answer, as places in what is done.
    open: VecDeque<usize>,
    /// The first replies to the first of them, if that gets several.
    replies: Vec<Reply>,
    /// Since when nothing was heard.
    quiet: Duration,
    began: Instant,
    stop: Arc<AtomicU64>,
    give_up: Arc<AtomicU64>,
    acked: Arc<AtomicU64>,
    /// How many clients are at work that do not listen only.
    talking: Arc<AtomicU64>,
}

impl Client {
    fn run(&mut self) {
        loop {
            let now = self.began.elapsed();
            let passed =
                |limit: &AtomicU64| now.as_millis() as u64 >= limit.load(Ordering::Relaxed);
            let stopping = passed(&self.stop);
            if stopping && (self.is_done(now) || passed(&self.give_up)) {
                return;
            }
            if self.conn.is_none() {
                // A client that was thrown out comes again, and is in no hurry.
                thread::sleep(PATIENCE);
                self.conn = Conn::connect(&self.addr, PATIENCE).ok();
                continue;
            }
            let may_send = self.open.is_empty() || !self.part.closed;
            if !stopping && may_send && now >= self.due {
                let batch = self.part.next();
                self.send(batch, now);
                self.next_due(now);
            } else if stopping {
                let batch = self.part.last();
                self.send(batch, now);
            }
            let waits = stopping || !may_send;
            let until = if waits { now + PATIENCE } else { self.due.min(now + PATIENCE) };
            if self.read(self.began + until).is_err() {
                self.lost();
            }
        }
    }

    /// Nothing more comes. One that listens hears what others say to the end.
    fn is_done(&self, now: Duration) -> bool {
        let all_said = || self.talking.load(Ordering::Relaxed) == 0 && now > self.quiet + LISTENS;
        self.open.is_empty() && (!self.part.listens() || all_said())
    }

    /// When it sends again.
    fn next_due(&mut self, now: Duration) {
        self.due += self.part.every;
        if self.part.closed {
            // What was missed is not made up for: each waits for the one before it.
            self.due = self.due.max(now);
        }
    }

    fn send(&mut self, batch: Vec<What>, now: Duration) {
        let bytes: Vec<u8> = batch.iter().flat_map(What::request).collect();
        for what in batch {
            self.open.push_back(self.done.ops.len());
            self.done.ops.push(Op {
                client: self.part.client,
                shard: self.part.shard,
                what,
                sent: now,
                replied: Duration::MAX,
                outcome: Outcome::Unanswered,
            });
        }
        if let Some(conn) = &mut self.conn
            && conn.send(&bytes).is_err()
        {
            self.lost();
        }
    }

    fn read(&mut self, end: Instant) -> Result<()> {
        let Some(conn) = &mut self.conn else { return Ok(()) };
        conn.fill(end)?;
        let now = self.began.elapsed();
        while let Some(reply) = conn.next_reply()? {
            if self.part.listens()
                && let Some(heard) = Heard::of(self.part.client, &reply)
            {
                self.done.heard.push(heard);
                self.quiet = now;
                continue;
            }
            let Some(&at) = self.open.front() else {
                self.done.surplus.push((self.part.client, reply));
                continue;
            };
            let op = &mut self.done.ops[at];
            self.replies.push(reply);
            if self.replies.len() < op.what.replies() {
                continue;
            }
            op.replied = now;
            op.outcome = Outcome::of_all(&op.what, std::mem::take(&mut self.replies));
            self.part.told(&op.what, &op.outcome);
            self.open.pop_front();
            if op.outcome.is_acked() {
                self.acked.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn lost(&mut self) {
        let now = self.began.elapsed();
        self.conn = None;
        self.replies.clear();
        for at in self.open.drain(..) {
            let op = &mut self.done.ops[at];
            op.replied = now;
            op.outcome = Outcome::Closed;
        }
        if let Some(what) = self.part.begin_again() {
            self.done.ops.push(Op {
                client: self.part.client,
                shard: self.part.shard,
                what,
                sent: now,
                replied: now,
                outcome: Outcome::Closed,
            });
        }
    }
}

const PREPARE: Duration = Duration::from_secs(10);

/// How long nothing comes to one that listens before it believes that nothing does.
const LISTENS: Duration = Duration::from_millis(300);

/// How long a client looks for an answer before it looks at the clock again.
const PATIENCE: Duration = Duration::from_millis(20);
