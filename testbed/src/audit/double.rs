//! A man in the middle that is broken on purpose: what it does must be found, or the audit is
//! worth nothing.

use super::wire::{Conn, Reply};
use crate::ports::Port;
use anyhow::{Context, Result};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a [`Double`] does wrong, now and then, with one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it passes on what it gets.
    None,
    /// It answers as if the command were done, and does not do it.
    Lose,
    /// It does it twice and gives out the first answer.
    Repeat,
    /// It exchanges the answers of two connections.
    Swap,
    /// It does two requests of one connection in the wrong order; the answers are in the right one.
    Reorder,
    /// It answers with an older value of the register.
    Age,
    /// It says that the command was not executed, and executes it.
    Deny,
}

/// A listener before one server; ends when it is dropped.
#[derive(Debug)]
pub struct Double {
    port: Port,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    fault: Fault,
    /// Of these commands.
    command: &'static str,
    met: AtomicUsize,
    done: AtomicUsize,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
    /// A reply that waits for another connection's.
    swap: Mutex<Option<(usize, Reply, Sender<Reply>)>>,
}

impl Double {
    /// Starts one before the server at `server` that does `fault` to some requests of `command`.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(server: &str, fault: Fault, command: &'static str) -> Result<Double> {
        let port = Port::free()?;
        let listener = TcpListener::bind(port.addr()).context("cannot listen")?;
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            fault,
            command,
            met: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
            swap: Mutex::new(None),
        });
        let double = Double { port, shared: shared.clone() };
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(twin) = stream.try_clone() {
                    shared.streams.lock().unwrap_or_else(PoisonError::into_inner).push(twin);
                }
                let shared = shared.clone();
                thread::spawn(move || serve(stream, number, &shared));
            }
        });
        Ok(double)
    }

    /// `127.0.0.1:<port>`.
    pub fn addr(&self) -> String {
        self.port.addr()
    }

    /// How often it did it.
    pub fn done(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr());
        for stream in &*self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Serves one connection, whose requests are done one after the other.
fn serve(stream: TcpStream, number: usize, shared: &Shared) -> Result<()> {
    let mut client = Conn::new(stream, TIMEOUT)?;
    let mut server = Conn::connect(&shared.server, TIMEOUT)?;
    loop {
        let mut batch = Vec::new();
        while let Some(request) = client.next_request()? {
            batch.push(request);
        }
        let mut out = Vec::new();
        let mut at = 0;
        while at < batch.len() {
            let two = batch.get(at..at + 2).filter(|two| {
                shared.fault == Fault::Reorder && shared.is_it(&two[1]) && shared.strikes(&two[0])
            });
            if let Some([first, second]) = two {
                let late = server.ask(second, TIMEOUT)?;
                server.ask(first, TIMEOUT)?.write(&mut out);
                late.write(&mut out);
                at += 2;
                continue;
            }
            shared.answer(&mut server, &batch[at], number)?.write(&mut out);
            at += 1;
        }
        client.send(&out)?;
        client.fill(Instant::now() + TIMEOUT)?;
    }
}

impl Shared {
    fn is_it(&self, request: &[String]) -> bool {
        request[0] == self.command
    }

    /// Whether it is time: at every eighth request of the command.
    fn strikes(&self, request: &[String]) -> bool {
        let strikes = self.fault != Fault::None
            && self.is_it(request)
            && self.met.fetch_add(1, Ordering::SeqCst) % 8 == 7;
        if strikes && self.fault != Fault::Swap {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        strikes
    }

    fn answer(&self, server: &mut Conn, words: &[String], number: usize) -> Result<Reply> {
        // What prepares counters and strings before the run is a SET too.
        let prepares = words[0] == "SET" && !words[2].starts_with('c');
        if prepares || self.fault == Fault::Reorder || !self.strikes(words) {
            return server.ask(words, TIMEOUT);
        }
        match self.fault {
            Fault::None | Fault::Reorder => server.ask(words, TIMEOUT),
            Fault::Lose => pretend(server, words),
            Fault::Repeat => {
                let reply = server.ask(words, TIMEOUT)?;
                server.ask(words, TIMEOUT)?;
                Ok(reply)
            }
            Fault::Deny => {
                server.ask(words, TIMEOUT)?;
                let text = "CLUSTERDOWN not executed: a lie, gave up after 0.0 s (slot 0)";
                Ok(Reply::Error(text.to_owned()))
            }
            Fault::Age => Ok(Reply::Nil),
            Fault::Swap => {
                let reply = server.ask(words, TIMEOUT)?;
                Ok(self.swap(number, reply))
            }
        }
    }

    fn swap(&self, number: usize, reply: Reply) -> Reply {
        let mut waiting = self.swap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((other, theirs, to)) = waiting.take() {
            if other != number && to.send(reply.clone()).is_ok() {
                self.done.fetch_add(1, Ordering::SeqCst);
                return theirs;
            }
            return reply;
        }
        let (sender, receiver) = mpsc::channel();
        *waiting = Some((number, reply.clone(), sender));
        drop(waiting);
        if let Ok(theirs) = receiver.recv_timeout(PARTNER) {
            return theirs;
        }
        let mut waiting = self.swap.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.as_ref().is_some_and(|(other, ..)| *other == number) {
            *waiting = None;
        }
        receiver.try_recv().unwrap_or(reply)
    }
}

/// The answer of a server that had done it.
fn pretend(server: &mut Conn, words: &[String]) -> Result<Reply> {
    let mut number = |ask: &[&str]| -> Result<i64> {
        match server.ask(ask, TIMEOUT)? {
            Reply::Int(number) => Ok(number),
            Reply::Bulk(text) => Ok(text.parse()?),
            _ => Ok(0),
        }
    };
    Ok(match words[0].as_str() {
        "INCR" => Reply::Int(number(&["GET", &words[1]])? + 1),
        "INCRBY" => Reply::Int(number(&["GET", &words[1]])? + words[2].parse::<i64>()?),
        "EVAL" => {
            let count = Reply::Int(number(&["GET", &words[3]])? + 1);
            Reply::Array(vec![count, Reply::Bulk(words[4].clone())])
        }
        "RPUSH" => Reply::Int(number(&["LLEN", &words[1]])? + 1),
        "APPEND" => Reply::Int(number(&["STRLEN", &words[1]])? + words[2].len() as i64),
        "SADD" => Reply::Int(1),
        _ => Reply::Simple("OK".to_owned()),
    })
}

const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reply waits for another connection's to be exchanged with.
const PARTNER: Duration = Duration::from_millis(100);
