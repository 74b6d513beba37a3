//! Order: each reply belongs to its request, whatever the depth of the pipeline, whoever else is
//! there, whatever stands in between.

use std::collections::HashMap;
use std::io::Write;
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::stage::{shared, slotway};
use crate::wire::{Client, Reply, Request, request, write};

const CLIENTS: usize = 24;

/// Each client sends pipelines of these depths. Above 1024 (`client-requests-max`) the proxy stops
/// reading in between.
const DEPTHS: [usize; 7] = [1, 2, 17, 300, 1024, 1500, 6000];

#[test]
fn every_reply_answers_its_request_with_many_clients_and_pipelines_of_any_depth() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let addr = proxy.addr();
                scope.spawn(move || {
                    let mut model = Model::new(number as u64);
                    let mut client = Client::connect(&addr)?;
                    DEPTHS.iter().try_for_each(|&depth| exchange(&mut client, &mut model, depth))
                })
            })
            .collect();
        let results = clients.into_iter().map(|client| client.join().expect("it does not panic"));
        results.collect::<Result<()>>()
    })
}

/// Sends `depth` requests in pieces of odd sizes while it reads and compares the replies.
fn exchange(client: &mut Client, model: &mut Model, depth: usize) -> Result<()> {
    let (mut bytes, mut asked) = (Vec::new(), Vec::new());
    for _ in 0..depth {
        let (request, expected) = model.next();
        if request.len() == 1 && model.random(2) == 0 {
            // PING alone, inline.
            bytes.extend_from_slice(&request[0]);
            bytes.extend_from_slice(b"\r\n");
        } else {
            write(&request, &mut bytes);
        }
        asked.push((request, expected));
    }
    let piece = 1 + model.random(40_000);
    let mut stream = client.stream()?;
    thread::scope(|scope| {
        let writer =
            scope.spawn(move || bytes.chunks(piece).try_for_each(|piece| stream.write_all(piece)));
        for (at, (request, expected)) in asked.iter().enumerate() {
            let reply = client.read().with_context(|| format!("reply {at} of {depth}"))?;
            ensure!(
                reply == *expected,
                "client {}, reply {at} of {depth}: asked {:?}, got {reply:?}, not {expected:?}",
                model.client,
                request.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>(),
            );
        }
        Ok(writer.join().expect("it does not panic")?)
    })
}

/// What one client asks, and what it must be answered: its keys are its own.
struct Model {
    client: u64,
    random: u64,
    sent: u64,
    strings: HashMap<u64, String>,
    counters: HashMap<u64, i64>,
    lists: HashMap<u64, Vec<String>>,
}

impl Model {
    fn new(client: u64) -> Model {
        Model {
            client,
            random: client * 2 + 0x9e37_79b9_7f4a_7c15,
            sent: 0,
            strings: HashMap::new(),
            counters: HashMap::new(),
            lists: HashMap::new(),
        }
    }

    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % below
    }

    fn next(&mut self) -> (Request, Reply) {
        self.sent += 1;
        // Fresh in every request, so that no reply can pass for another one.
        let token = format!("{}-{}", self.client, self.sent);
        // Sixty keys lie in all three shards.
        let number = self.random(60) as u64;
        let string = format!("order:{}:{number}:string", self.client);
        let counter = format!("order:{}:{number}:counter", self.client);
        let list = format!("order:{}:{number}:list", self.client);
        match self.random(14) {
            0 => (request(&["PING"]), Reply::Simple("PONG".into())),
            1 => (request(&["PING", &token]), Reply::bulk(token)),
            2 => (request(&["ECHO", &token]), Reply::bulk(token)),
            3 | 4 => {
                self.strings.insert(number, token.clone());
                (request(&["SET", &string, &token]), Reply::ok())
            }
            5 | 6 => {
                let held = self.strings.get(&number);
                (request(&["GET", &string]), held.map_or(Reply::Nil, Reply::bulk))
            }
            7 | 8 => {
                let value = self.counters.entry(number).or_default();
                *value += 1;
                (request(&["INCR", &counter]), Reply::Integer(*value))
            }
            9 => {
                let held = self.lists.entry(number).or_default();
                held.push(token.clone());
                (request(&["RPUSH", &list, &token]), Reply::Integer(held.len() as i64))
            }
            10 => {
                let held = self.lists.get(&number).map_or(&[][..], Vec::as_slice);
                let all = held.iter().map(Reply::bulk).collect();
                (request(&["LRANGE", &list, "0", "-1"]), Reply::Array(all))
            }
            11 => self.wrong_type(number, &string, &counter),
            12 => {
                let text = format!(
                    "ERR unknown command 'NOSUCH', with args beginning with: '{token}' 'x' "
                );
                (request(&["NOSUCH", &token, "x"]), Reply::Error(text))
            }
            _ => {
                let text = "ERR wrong number of arguments for 'get' command";
                (request(&["GET", &string, &token]), Reply::Error(text.into()))
            }
        }
    }

    /// A list's command at a key that holds a string, if it does by now.
    fn wrong_type(&self, number: u64, string: &str, counter: &str) -> (Request, Reply) {
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        if self.counters.contains_key(&number) {
            (request(&["RPUSH", counter, "x"]), Reply::Error(wrong.into()))
        } else if self.strings.contains_key(&number) {
            let text = "ERR value is not an integer or out of range";
            (request(&["INCR", string]), Reply::Error(text.into()))
        } else {
            (request(&["LLEN", string]), Reply::Integer(0))
        }
    }
}
