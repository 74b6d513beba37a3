//! A man in the middle that is broken on purpose: what it does must be found, or the audit is
//! worth nothing.

use super::history::Heard;
use super::wire::{Conn, Reply, request};
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
    /// It does the first half of a block and answers as if it were whole.
    Halve,
    /// It gives out an answer twice.
    Shift,
    /// It closes the connection.
    Close,
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
    /// Of these commands; of blocks that write if it is EXEC, of messages if it is `message`.
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

/// A request, or all requests of a block.
type Unit = Vec<Vec<String>>;

/// Serves one connection, whose requests are done one after the other.
fn serve(stream: TcpStream, number: usize, shared: &Shared) -> Result<()> {
    let mut client = Conn::new(stream, TIMEOUT)?;
    let mut server = Conn::connect(&shared.server, TIMEOUT)?;
    let mut block = Unit::new();
    loop {
        let mut batch: Vec<Unit> = Vec::new();
        while let Some(request) = client.next_request()? {
            let ends = request[0] == "EXEC";
            if request[0] == "MULTI" || !block.is_empty() {
                block.push(request);
                if ends {
                    batch.push(std::mem::take(&mut block));
                }
            } else {
                batch.push(vec![request]);
            }
        }
        if batch.first().is_some_and(|unit| unit[0][0] == "SUBSCRIBE") {
            return relay(client, server, batch, shared);
        }
        let mut out = Vec::new();
        let mut at = 0;
        while at < batch.len() {
            let two = batch.get(at..at + 2).filter(|two| {
                shared.fault == Fault::Reorder && shared.is_it(&two[1]) && shared.strikes(&two[0])
            });
            if let Some([first, second]) = two {
                let late = server.ask(&second[0], TIMEOUT)?;
                server.ask(&first[0], TIMEOUT)?.write(&mut out);
                late.write(&mut out);
                at += 2;
                continue;
            }
            for reply in shared.answer(&mut server, &batch[at], number)? {
                reply.write(&mut out);
            }
            at += 1;
        }
        client.send(&out)?;
        client.fill(Instant::now() + TIMEOUT)?;
    }
}

/// Serves a connection that is subscribed.
fn relay(mut client: Conn, mut server: Conn, first: Vec<Unit>, shared: &Shared) -> Result<()> {
    let mut requests: Vec<_> = first.into_iter().flatten().collect();
    // A message that is to come behind the next one of its channel.
    let mut late: Option<(Heard, Reply)> = None;
    loop {
        while let Some(words) = client.next_request()? {
            requests.push(words);
        }
        for words in requests.drain(..) {
            server.send(&request(&words))?;
        }
        let mut out = Vec::new();
        while let Some(reply) = server.next_reply()? {
            let heard = Heard::of(0, &reply);
            let strikes = heard.is_some()
                && late.is_none()
                && shared.strikes(&vec![vec!["message".to_owned()]]);
            match shared.fault {
                Fault::Lose if strikes => {}
                Fault::Close if strikes => return Ok(client.stream.shutdown(Shutdown::Both)?),
                Fault::Reorder if strikes => late = heard.map(|heard| (heard, reply)),
                fault => {
                    reply.write(&mut out);
                    if strikes && fault == Fault::Repeat {
                        reply.write(&mut out);
                    }
                    let same = |late: &mut (Heard, Reply)| {
                        heard.as_ref().is_some_and(|heard| heard.channel == late.0.channel)
                    };
                    if let Some((_, late)) = late.take_if(same) {
                        late.write(&mut out);
                    }
                }
            }
        }
        client.send(&out)?;
        client.fill(Instant::now())?;
        server.fill(Instant::now())?;
    }
}

impl Shared {
    fn is_it(&self, unit: &Unit) -> bool {
        match &unit[..] {
            [request] => request[0] == self.command,
            // One that only reads can be done as often as one likes.
            block => self.command == "EXEC" && block[1][0] != "GET",
        }
    }

    /// Whether it is time: at every eighth request of the command.
    fn strikes(&self, unit: &Unit) -> bool {
        let strikes = self.fault != Fault::None
            && self.is_it(unit)
            && self.met.fetch_add(1, Ordering::SeqCst) % 8 == 7;
        if strikes && self.fault != Fault::Swap {
            self.done.fetch_add(1, Ordering::SeqCst);
        }
        strikes
    }

    fn answer(&self, server: &mut Conn, unit: &Unit, number: usize) -> Result<Vec<Reply>> {
        let mut ask = || -> Result<Vec<Reply>> {
            unit.iter().map(|words| server.ask(words, TIMEOUT)).collect()
        };
        let words = &unit[0];
        // What prepares counters and strings before the run is a SET too.
        let prepares = words[0] == "SET" && !words[2].starts_with('c');
        if prepares || self.fault == Fault::Reorder || !self.strikes(unit) {
            return ask();
        }
        if self.fault == Fault::Halve {
            return halve(server, unit, 1);
        }
        if self.fault == Fault::Lose {
            return match words[0].as_str() {
                "MULTI" => halve(server, unit, 0),
                // The first that it takes goes nowhere.
                "BLPOP" => ask().and_then(|_| ask()),
                _ => Ok(vec![pretend(server, words)?]),
            };
        }
        let mut replies = ask()?;
        let last = replies.len() - 1;
        match self.fault {
            Fault::Repeat => match &replies[0] {
                // It is taken twice.
                Reply::Array(taken) if words[0] == "BLPOP" => {
                    server
                        .ask(&["LPUSH", &words[1], taken[1].bulk().unwrap_or_default()], TIMEOUT)?;
                }
                _ => drop(ask()?),
            },
            Fault::Deny => {
                let text = "CLUSTERDOWN not executed: a lie, gave up after 0.0 s (slot 0)";
                replies[last] = Reply::Error(text.to_owned());
            }
            Fault::Age => replies[last] = Reply::Nil,
            Fault::Shift => replies.push(replies[last].clone()),
            Fault::Swap => {
                let reply = self.swap(number, replies.remove(last));
                replies.push(reply);
            }
            _ => {}
        }
        Ok(replies)
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

/// Does so many of the commands of a block and answers as if it were done whole.
fn halve(server: &mut Conn, block: &Unit, count: usize) -> Result<Vec<Reply>> {
    let commands = &block[1..block.len() - 1];
    let (done, rest) = commands.split_at(count);
    let mut items = Vec::new();
    for words in done {
        items.push(server.ask(words, TIMEOUT)?);
    }
    for words in rest {
        items.push(pretend(server, words)?);
    }
    server.ask(&["UNWATCH"], TIMEOUT)?;
    let mut replies = vec![Reply::Simple("OK".to_owned())];
    replies.extend(commands.iter().map(|_| Reply::Simple("QUEUED".to_owned())));
    replies.push(Reply::Array(items));
    Ok(replies)
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
        "SADD" | "PUBLISH" | "SPUBLISH" => Reply::Int(1),
        _ => Reply::Simple("OK".to_owned()),
    })
}

const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a reply waits for another connection's to be exchanged with.
const PARTNER: Duration = Duration::from_millis(100);
