//! The load generator: many client connections on one thread, closed-loop.
//!
//! It has to cost little, because it shares the cores with what it measures: one `epoll`, one
//! read and one write a batch, no allocation while it runs, and a reply is found by its known
//! length. Each reply is still compared with the key it was asked for.

mod client;
mod script;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};
use testbed::Peer;

use crate::interrupt;
use crate::loads::{Action, Keys, Load};

use client::Client;
use script::Script;

/// Without any reply for so long, a load has failed.
const STALL_LIMIT: Duration = Duration::from_secs(10);

/// Larger than any batch of small replies, and four values of 16 KiB.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// How much is under way at once while keys are loaded.
const LOADING_BATCH_BYTES: usize = 64 * 1024;

/// Connected clients, ready to run a load any number of times.
#[derive(Debug)]
pub struct Clients {
    poll: Poll,
    clients: Vec<Client>,
    script: Script,
    random: fastrand::Rng,
    buffer: Vec<u8>,
}

/// What a load came to.
#[derive(Debug)]
pub struct Outcome {
    /// Requests answered, every one of them checked.
    pub requests: u64,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// From the writing of a batch to each of its replies, in nanoseconds.
    pub latency_ns: Histogram<u64>,
}

impl Clients {
    /// Connects all clients of a load.
    pub fn connect(address: SocketAddr, load: &Load) -> Result<Self> {
        Self::connect_many(address, load.connections, load.pipeline, load.action, load.keys)
    }

    /// Connects `count` clients that send `pipeline` requests at a time.
    pub fn connect_many(
        address: SocketAddr,
        count: usize,
        pipeline: usize,
        action: Action,
        keys: &Keys,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let script = Script::new(action, keys, pipeline);
        let mut clients = Vec::with_capacity(count);
        for index in 0..count {
            let mut client = Client::connect(address, &script, pipeline)
                .with_context(|| format!("connection {index} of {count}"))?;
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut client.stream, Token(index), interest)?;
            clients.push(client);
            interrupt::check()?;
        }
        let buffer = vec![0; READ_BUFFER_BYTES];
        Ok(Clients { poll, clients, script, random: fastrand::Rng::new(), buffer })
    }

    /// Keeps every connection busy for `duration`, then waits for the last replies.
    pub fn run(&mut self, duration: Duration) -> Result<Outcome> {
        let deadline = Instant::now() + duration;
        let everybody = (0..self.clients.len()).collect();
        self.drive(everybody, |now| now < deadline)
    }

    /// Sends one batch on every connection, on at most `at_once` of them at a time.
    pub fn use_each_once(&mut self, at_once: usize) -> Result<()> {
        let mut left: VecDeque<usize> = (0..self.clients.len()).collect();
        while !left.is_empty() {
            let wave = left.drain(..at_once.min(left.len())).collect();
            self.drive(wave, |_| false)?;
        }
        Ok(())
    }

    /// Begins a batch on each of `starters`, and a further one on each that has finished as long
    /// as `go_on` says so; ends when all replies are there.
    fn drive(&mut self, starters: Vec<usize>, go_on: impl Fn(Instant) -> bool) -> Result<Outcome> {
        let mut latency_ns = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        let mut events = Events::with_capacity(1024);
        let mut requests = 0;
        let mut running = starters.len();
        let start = Instant::now();
        for index in starters {
            self.clients[index].begin(&self.script, &mut self.random, start)?;
        }
        let mut progress = start;
        while running > 0 {
            match self.poll.poll(&mut events, Some(Duration::from_millis(200))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            interrupt::check()?;
            for event in &events {
                let client = &mut self.clients[event.token().0];
                if event.is_writable() {
                    client.write()?;
                }
                if !(event.is_readable() || event.is_read_closed() || event.is_error()) {
                    continue;
                }
                let was_idle = client.idle();
                let completed = client.read(&self.script, &mut self.buffer)?;
                if completed == 0 {
                    continue;
                }
                let now = Instant::now();
                let latency = now.duration_since(client.began());
                latency_ns.saturating_record_n(latency.as_nanos() as u64, completed as u64);
                requests += completed as u64;
                progress = now;
                if client.idle() && !was_idle {
                    if go_on(now) {
                        client.begin(&self.script, &mut self.random, now)?;
                    } else {
                        running -= 1;
                    }
                }
            }
            if progress.elapsed() > STALL_LIMIT {
                bail!("no reply for {STALL_LIMIT:?}; {running} connections wait");
            }
        }
        Ok(Outcome { requests, elapsed: progress - start, latency_ns })
    }
}

/// Writes all keys of a set through the server or proxy at `address`.
pub fn load_keys(address: SocketAddr, keys: &Keys) -> Result<()> {
    let script = Script::new(Action::Set, keys, 1);
    let mut peer = Peer::connect(&address.to_string())?;
    let request_bytes = script.batch(1).len();
    let batch_size = (LOADING_BATCH_BYTES / request_bytes).max(1) as u32;
    let mut next = 0;
    while next < script.key_count() {
        let count = batch_size.min(script.key_count() - next);
        let mut batch = script.batch(count as usize);
        script.enumerate(&mut batch, next);
        peer.send(&batch)?;
        peer.expect(b"+OK\r\n".repeat(count as usize)).context("loading keys")?;
        next += count;
        interrupt::check()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use testbed::{Standalone, redis};

    use super::*;
    use crate::loads::{LARGE, by_name};

    /// Few enough to load in no time; loads choose among them by number alone.
    static KEYS: Keys = Keys { prefix: b"key:", count: 500, value_bytes: 32 };

    fn server() -> (Standalone, SocketAddr) {
        let server = Standalone::start().unwrap();
        let address = server.addr().parse().unwrap();
        (server, address)
    }

    #[test]
    fn every_reply_is_counted_on_a_real_server() {
        let (server, address) = server();
        load_keys(address, &KEYS).unwrap();
        assert_eq!(server.query::<usize>(&redis::cmd("DBSIZE")).unwrap(), 500);

        let loads = [(Action::Get, 16), (Action::Set, 16), (Action::Mget, 1), (Action::Multi, 18)];
        for (action, commands) in loads {
            server.query::<()>(redis::cmd("CONFIG").arg("RESETSTAT")).unwrap();
            let mut clients = Clients::connect_many(address, 7, 16, action, &KEYS).unwrap();
            let outcome = clients.run(Duration::from_millis(50)).unwrap();
            assert!(outcome.requests >= 7 * 16, "{}", outcome.requests);
            assert_eq!(outcome.latency_ns.len(), outcome.requests);
            clients.use_each_once(3).unwrap();
            let info: String = server.query(redis::cmd("INFO").arg("stats")).unwrap();
            // RESETSTAT counts itself among the commands that follow it.
            let expected = (outcome.requests + 7 * 16) * commands / 16 + 1;
            let line = format!("total_commands_processed:{expected}\r\n");
            assert!(info.contains(&line), "expected {line} in {info}");
        }
    }

    #[test]
    fn a_missing_key_fails_the_load() {
        let (_server, address) = server();
        let mut clients = Clients::connect(address, by_name("c50").unwrap()).unwrap();
        let error = clients.run(Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("$-1"), "{error}");
    }

    #[test]
    fn a_large_value_arrives_in_pieces() {
        let (_server, address) = server();
        load_keys(address, &LARGE).unwrap();
        let mut clients = Clients::connect(address, by_name("c50-16k").unwrap()).unwrap();
        assert!(clients.run(Duration::from_millis(50)).unwrap().requests >= 50);
    }
}
