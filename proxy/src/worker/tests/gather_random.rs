//! Requests of several parts among others, while nodes reject, lose and delay them and clients
//! come and go: whatever the order, each client is told the truth, and nothing is left behind.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::bench::{Bench, encode, key_of, settings};
use crate::resp::reply;
use crate::slot::Slot;
use crate::worker::Settings;

/// Steps of one run; then everything is answered.
const STEPS: usize = 1500;

const CLIENTS: usize = 4;

/// Elements of 1,000 bytes that KEYS finds at each node: two replies are large, one is small.
const FOUND: [usize; 3] = [40, 3, 90];

struct World {
    bench: Bench,
    random: fastrand::Rng,
    keys: Vec<String>,
    /// The clients, and what each waits for.
    clients: Vec<(u32, VecDeque<String>)>,
    /// What is left of the reply that a connection (by index and serial) is sending.
    replies: HashMap<(u32, u64), Vec<u8>>,
    /// How often each part of an MSET was executed: by its token, which is the value, and slot.
    executed: HashMap<(String, u16), usize>,
    tokens: usize,
    /// Requests that were answered by what they asked for.
    served: usize,
    /// Splits that were told to be done in part.
    partly: usize,
}

impl World {
    fn new(seed: u64) -> World {
        // No client may be slow here: what a slow one gets is told elsewhere.
        let settings = Settings { output_max: 300_000, output_pause: 200_000, ..settings() };
        let mut bench = Bench::with(settings);
        let clients = (0..CLIENTS).map(|_| (bench.client(), VecDeque::new())).collect();
        let keys = (0..9).map(|n| key_of(n % 3 + 1, n as usize)).collect();
        World {
            bench,
            random: fastrand::Rng::with_seed(seed),
            keys,
            clients,
            replies: HashMap::new(),
            executed: HashMap::new(),
            tokens: 0,
            served: 0,
            partly: 0,
        }
    }

    fn step(&mut self) {
        match self.random.u8(..100) {
            0..25 => self.ask(),
            25..90 => self.serve(true),
            90..92 => {
                let port = self.random.u16(1..=3);
                let stays = self.random.bool();
                self.bench.kill(port, stays);
            }
            92..94 => (1..=3).for_each(|port| self.bench.revive(port)),
            94 => {
                let at = self.random.usize(..CLIENTS);
                self.bench.worker.client_lost(self.clients[at].0, self.bench.now);
                self.bench.turn();
                let left = self.clients[at].0;
                self.bench.closed.retain(|&closed| closed != left);
                self.clients[at] = (self.bench.client(), VecDeque::new());
            }
            _ => {
                let pause = Duration::from_millis(self.random.u64(1..200));
                self.bench.advance(pause);
            }
        }
        self.hear();
    }

    /// A client sends something.
    fn ask(&mut self) {
        let at = self.random.usize(..CLIENTS);
        let count = self.random.usize(1..6);
        let mut keys = || self.keys[self.random.usize(..self.keys.len())].clone();
        let keys: Vec<String> = (0..count).map(|_| keys()).collect();
        let request = match self.random.u8(..16) {
            0 => "KEYS *".to_owned(),
            1 => "DBSIZE".to_owned(),
            2..4 => format!("GET {}", keys[0]),
            4..7 => format!("DEL {}", keys.join(" ")),
            7 => format!("EXISTS {}", keys.join(" ")),
            8..12 => {
                self.tokens += 1;
                let pairs = keys.iter().map(|key| format!(" {key} t{}", self.tokens));
                format!("MSET{}", pairs.collect::<String>())
            }
            _ => format!("MGET {}", keys.join(" ")),
        };
        self.clients[at].1.push_back(request.clone());
        self.bench.send_raw(self.clients[at].0, &encode(&request));
    }

    /// Some node goes on with a reply, or begins the next; with `moods`, it may reject it.
    fn serve(&mut self, moods: bool) {
        let busy = |world: &World, index: &u32| {
            let key = (*index, world.bench.worker.connections[*index as usize].serial);
            world.replies.contains_key(&key) || !world.bench.wires[index].requests.is_empty()
        };
        let busy: Vec<u32> =
            self.bench.wires.keys().copied().filter(|index| busy(self, index)).collect();
        let Some(&index) = self.random.choice(&busy) else { return };
        let key = (index, self.bench.worker.connections[index as usize].serial);
        if !self.replies.contains_key(&key) {
            let wire = self.bench.wires.get_mut(&index).unwrap();
            let (port, request) = (wire.port, wire.requests.remove(0));
            let words: Vec<&str> = request.split(' ').collect();
            let reply = match self.random.u8(..100) {
                0..4 if moods && words.len() > 1 && words[0] != "KEYS" => {
                    let slot = Slot::of_key(words[1].as_bytes());
                    format!("-MOVED {slot} 10.0.0.1:{}\r\n", self.random.u16(1..=3))
                }
                4..6 if moods => "-CLUSTERDOWN The cluster is down\r\n".to_owned(),
                6..8 if moods => "-TRYAGAIN Multiple keys request during rehashing\r\n".to_owned(),
                _ => self.execute(port, &words),
            };
            self.replies.insert(key, reply.into_bytes());
        }
        let reads = self.bench.worker.reads_node(index);
        let reply = self.replies.get_mut(&key).unwrap();
        if reads {
            let len = if self.random.bool() { 60_000 } else { self.random.usize(1..20_000) };
            let piece: Vec<u8> = reply.drain(..len.min(reply.len())).collect();
            if reply.is_empty() {
                self.replies.remove(&key);
            }
            self.bench.say(index, &piece);
        }
    }

    fn execute(&mut self, port: u16, words: &[&str]) -> String {
        let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
        match words[0] {
            "GET" => bulk(&words[1]),
            "MGET" => format!("*{}\r\n{}", words.len() - 1, bulks(&words[1..])),
            "MSET" => {
                let slot = Slot::of_key(words[1].as_bytes()).number();
                *self.executed.entry((words[2].to_owned(), slot)).or_default() += 1;
                "+OK\r\n".to_owned()
            }
            "DBSIZE" => format!(":{port}\r\n"),
            "KEYS" => found(port).0,
            _ => format!(":{}\r\n", words.len() - 1),
        }
    }

    /// Every client reads what there is for it.
    fn hear(&mut self) {
        for at in 0..CLIENTS {
            let (client, _) = self.clients[at];
            if let Some(closed) = self.bench.closed.iter().position(|&closed| closed == client) {
                self.bench.closed.swap_remove(closed);
                let asked_much = self.clients[at].1.iter().any(|request| request == "KEYS *");
                assert!(asked_much, "closed: {:?}", self.clients[at].1);
                self.clients[at] = (self.bench.client(), VecDeque::new());
                continue;
            }
            let mut bytes = self.bench.received.remove(&client).unwrap_or_default();
            while let Some(len) = reply::value_len(&bytes) {
                let reply = String::from_utf8(bytes.drain(..len).collect()).unwrap();
                let request =
                    self.clients[at].1.pop_front().expect("a reply that nobody waits for");
                self.judge(&request, &reply);
            }
            self.bench.received.insert(client, bytes);
        }
    }

    fn judge(&mut self, request: &str, reply: &str) {
        let words: Vec<&str> = request.split(' ').collect();
        if let Some(error) = reply.strip_prefix('-') {
            return self.judge_error(&words, error.trim_end());
        }
        self.served += 1;
        match words[0] {
            "GET" => assert_eq!(reply, bulks(&words[1..])),
            "MGET" => {
                assert_eq!(reply, format!("*{}\r\n{}", words.len() - 1, bulks(&words[1..])));
            }
            "MSET" => {
                assert_eq!(reply, "+OK\r\n");
                let done = self.parts_executed(&words);
                assert!(done.values().all(|&times| times == 1), "{request}: {done:?}");
            }
            "DBSIZE" => assert_eq!(reply, ":6\r\n"),
            "KEYS" => {
                let (count, bodies) = reply.split_once("\r\n").unwrap();
                assert_eq!(count, format!("*{}", FOUND.iter().sum::<usize>()));
                assert_eq!(bodies.len(), (1..=3).map(|port| found(port).1.len()).sum::<usize>());
                assert!(
                    (1..=3).all(|port| bodies.contains(&found(port).1)),
                    "all, each in one piece"
                );
            }
            _ => assert_eq!(reply, format!(":{}\r\n", words.len() - 1), "{request}"),
        }
    }

    fn judge_error(&mut self, words: &[&str], error: &str) {
        let not_executed = ["CLUSTERDOWN not executed: ", "OVERLOADED not executed: "];
        let nothing = not_executed.iter().any(|begin| error.starts_with(begin));
        let writes = matches!(words[0], "MSET" | "DEL");
        assert!(nothing || (writes && error.starts_with("UNKNOWNRESULT ")), "{words:?}: {error}");
        if words[0] != "MSET" {
            return;
        }
        let done = self.parts_executed(words);
        assert!(done.values().all(|&times| times <= 1), "{words:?} twice: {done:?}");
        let executed = done.values().filter(|&&times| times == 1).count();
        assert!(!nothing || executed == 0, "{words:?}: {error}, and {done:?}");
        let Some(told) = error.strip_prefix("UNKNOWNRESULT partly executed: ") else { return };
        self.partly += 1;
        let (applied, rest) = told.split_once(" of ").unwrap();
        let (total, rest) = rest.split_once(" slots applied, ").unwrap();
        assert_eq!(total, done.len().to_string(), "{error}");
        assert!(applied.parse::<usize>().unwrap() <= executed, "{error}: {done:?}");
        if let Some((named, _)) = rest.split_once(" not executed") {
            for slot in named.trim_start_matches("slots ").split(", ") {
                assert_eq!(done[&slot.parse::<u16>().unwrap()], 0, "{error}: {done:?}");
            }
        }
    }

    /// How often each part of an MSET was executed, by slot.
    fn parts_executed(&self, words: &[&str]) -> HashMap<u16, usize> {
        let slots = words[1..].iter().step_by(2).map(|key| Slot::of_key(key.as_bytes()).number());
        let times = |slot| self.executed.get(&(words[2].to_owned(), slot)).copied();
        slots.map(|slot| (slot, times(slot).unwrap_or_default())).collect()
    }

    /// Everything heals, all is answered, and nothing is left.
    fn end(&mut self) {
        (1..=3).for_each(|port| self.bench.revive(port));
        let mut rounds = 0;
        let busy = |world: &World| {
            world.clients.iter().any(|(_, waits)| !waits.is_empty())
                || world.bench.wires.values().any(|wire| !wire.requests.is_empty())
                || !world.replies.is_empty()
        };
        while busy(self) {
            for _ in 0..50 {
                self.serve(false);
                self.hear();
            }
            self.bench.advance(Duration::from_millis(100));
            let alive = |&(index, serial): &(u32, u64)| {
                self.bench.wires.contains_key(&index)
                    && self.bench.worker.connections[index as usize].serial == serial
            };
            self.replies.retain(|key, _| alive(key));
            rounds += 1;
            assert!(rounds < 1000, "something hangs: {:?}", self.clients);
        }
        self.bench.live(Duration::from_secs(2));
        let worker = &mut self.bench.worker;
        assert_eq!(worker.clients.gathers.len(), 0);
        assert_eq!(self.bench.cells.parked_requests.get(), 0);
        assert!(worker.connections.iter().all(|(_, connection)| connection.is_idle()));
        assert!(worker.connections.iter().all(|(_, connection)| connection.partial.is_empty()));
        assert!(worker.connections.len() <= 3 + worker.pools.len() * 2);
        for &(client, _) in &self.clients {
            let session = worker.clients.get(client).unwrap();
            assert!(session.unsettled.is_empty() && session.in_flight_bytes == 0);
            assert!(session.flow.is_none(), "an idle client owns nothing");
        }
    }
}

fn bulks(words: &[&str]) -> String {
    words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect()
}

/// What KEYS finds at a node: the whole reply, and its elements.
fn found(port: u16) -> (String, String) {
    let count = FOUND[usize::from(port) - 1];
    let element = |n: usize| format!("$1000\r\n{:x>1000}\r\n", format!("{port}.{n}"));
    let body: String = (0..count).map(element).collect();
    (format!("*{count}\r\n{body}"), body)
}

/// Runs the seeds from `first` on; says how much of each kind there was.
fn run(first: u64, count: u64) -> (usize, usize) {
    let (mut served, mut partly) = (0, 0);
    for seed in first..first + count {
        let attempt = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            (0..STEPS).for_each(|_| world.step());
            world.end();
            (world.served, world.partly)
        });
        match std::panic::catch_unwind(attempt) {
            Ok(told) => (served, partly) = (served + told.0, partly + told.1),
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    (served, partly)
}

#[test]
fn whatever_happens_to_its_parts_the_whole_is_true() {
    let (served, partly) = run(1, 40);
    assert!(served > 4_000 && partly > 10, "{served} served, {partly} in part: too little");
}

#[test]
#[ignore = "soak: 4,000 seeds"]
fn whatever_happens_to_its_parts_the_whole_is_true_for_long() {
    run(1_000, 4_000);
}
