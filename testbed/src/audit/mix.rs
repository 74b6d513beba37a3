//! Which clients there are and what they send, by the clock.

use super::history::{Base, Key, What};
use crate::{SLOTS, key_in_slot};
use std::ops::RangeInclusive;
use std::time::Duration;

/// How many clients of each sort, and how fast they are.
#[derive(Clone, Debug)]
pub struct Mix {
    /// For each shard: clients that send registers, counters, sets, appends, scripts and pairs.
    pub walkers: usize,
    /// Between two requests of a walker.
    pub walk_every: Duration,
    /// For each shard: clients that push each number after the one before it was answered.
    pub listers: usize,
    /// Between two pushes of a lister, at least.
    pub list_every: Duration,
    /// For each shard: clients that push five numbers at once.
    pub pipers: usize,
    /// Clients that send pipelines over all shards, with PINGs, errors and requests over slots of
    /// all of them in between.
    pub crossers: usize,
    /// Between two pipelines.
    pub pipeline_every: Duration,
}

impl Default for Mix {
    /// About 1,500 requests a second for three shards: little enough for two cores that run
    /// everything, so that what is slow is not slow because of us.
    fn default() -> Mix {
        Mix {
            walkers: 4,
            walk_every: Duration::from_millis(20),
            listers: 2,
            list_every: Duration::from_millis(10),
            pipers: 1,
            crossers: 3,
            pipeline_every: Duration::from_millis(100),
        }
    }
}

/// The slots of a cluster of `count` shards as they are at its start.
pub fn even_shards(count: usize) -> Vec<RangeInclusive<u16>> {
    let bound = |n: usize| (n * usize::from(SLOTS) / count) as u16;
    (0..count).map(|number| bound(number)..=bound(number + 1) - 1).collect()
}

/// The part that one client plays.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) client: usize,
    pub(super) shard: Option<usize>,
    pub(super) every: Duration,
    /// The next request waits for the answer to the one before it.
    pub(super) closed: bool,
    sort: Sort,
    places: Vec<Place>,
    /// How many operations it made.
    made: usize,
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Walker,
    Lister,
    Piper,
    Crosser,
}

/// The keys of one client in one slot.
#[derive(Debug)]
struct Place {
    register: Key,
    counter: Key,
    scripted: Key,
    list: Key,
    set: Key,
    string: Key,
    pair: [Key; 2],
    /// Written by requests over slots.
    over: Key,
}

impl Place {
    fn new(client: usize, number: usize, slot: u16) -> Place {
        let key = |kind: &str| Key::from(key_in_slot(slot, &format!(":c{client}.{number}.{kind}")));
        Place {
            register: key("register"),
            counter: key("counter"),
            scripted: key("scripted"),
            list: key("list"),
            set: key("set"),
            string: key("string"),
            pair: [key("one"), key("other")],
            over: key("over"),
        }
    }
}

impl Mix {
    /// The parts of all clients for shards with these slots.
    pub(super) fn parts(&self, shards: &[RangeInclusive<u16>]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut add = |shard, sort, every, slots: Vec<u16>| {
            let client = parts.len();
            let place = |(number, slot): (usize, &u16)| Place::new(client, number, *slot);
            let places = slots.iter().enumerate().map(place).collect();
            let closed = matches!(sort, Sort::Lister);
            parts.push(Part { client, shard, every, closed, sort, places, made: 0, turn: 0 });
        };
        for (number, slots) in shards.iter().enumerate() {
            let shard = Some(number);
            for n in 0..self.walkers {
                add(shard, Sort::Walker, self.walk_every, spread(slots, n));
            }
            for n in 0..self.listers {
                add(shard, Sort::Lister, self.list_every, spread(slots, n + 7));
            }
            for n in 0..self.pipers {
                add(shard, Sort::Piper, self.pipeline_every, spread(slots, n + 13));
            }
        }
        for n in 0..self.crossers {
            let slots = shards.iter().map(|slots| spread(slots, n + 17)[n % 4]).collect();
            add(None, Sort::Crosser, self.pipeline_every, slots);
        }
        parts
    }
}

/// Four slots of a shard, two of them among its first thousand: those are the ones that a
/// reshard moves.
fn spread(slots: &RangeInclusive<u16>, number: usize) -> Vec<u16> {
    let (first, length) = (*slots.start(), slots.len());
    let at = |offset: usize| first + (offset % length) as u16;
    let early = length.min(1000);
    [
        number * 37 % early,
        (number * 83 + early / 2) % early,
        number * 211 + length / 2,
        length - 1 - number,
    ]
    .map(at)
    .to_vec()
}

impl Part {
    /// What its counters and strings must be before it begins.
    pub(super) fn bases(&self) -> Vec<(Key, Base)> {
        let mut bases = Vec::new();
        for (number, place) in self.places.iter().enumerate() {
            let count = (self.client * 8 + number * 2 + 1) as i64 * COUNTER_RANGE;
            bases.push((place.counter.clone(), Base::Count(count)));
            bases.push((place.scripted.clone(), Base::Count(count + COUNTER_RANGE)));
            bases.push((place.string.clone(), Base::Pad(self.client % 5 + 1)));
        }
        bases
    }

    /// What it sends next, in one write.
    pub(super) fn next(&mut self) -> Vec<What> {
        let turn = self.turn;
        self.turn += 1;
        let place = turn % self.places.len();
        let round = turn / self.places.len();
        match self.sort {
            Sort::Walker => vec![self.step(place, round)],
            Sort::Lister => vec![self.push(place)],
            Sort::Piper => (0..5).map(|_| self.push(place)).collect(),
            Sort::Crosser => {
                let mut batch = vec![self.over(turn)];
                for place in 0..self.places.len() {
                    batch.push(self.step(place, turn));
                    batch.push(self.step(place, turn + 1));
                    let token = self.token();
                    batch.push(What::Ping { token });
                    batch.push(self.step(place, turn + 5));
                }
                let token = self.token();
                let at = turn % self.places.len();
                batch.push(What::Fail { key: self.places[at].register.clone(), token });
                batch
            }
        }
    }

    /// A write or a read of a register in each of its slots.
    fn over(&mut self, turn: usize) -> What {
        let keys: Vec<Key> = self.places.iter().map(|place| place.over.clone()).collect();
        if turn % 2 == 1 {
            return What::GetOver { keys };
        }
        What::SetOver { pairs: keys.into_iter().map(|key| (key, self.token())).collect() }
    }

    fn push(&mut self, place: usize) -> What {
        let token = self.token();
        What::Push { key: self.places[place].list.clone(), token }
    }

    fn step(&mut self, place: usize, round: usize) -> What {
        let token = self.token();
        let place = &self.places[place];
        match round % 10 {
            0 | 5 => What::Set { key: place.register.clone(), token },
            1 | 6 => What::Get { key: place.register.clone() },
            2 => What::Incr { key: place.counter.clone(), by: 1 },
            3 => What::Member { key: place.set.clone(), token },
            4 => What::Append { key: place.string.clone(), token },
            7 => What::Script { key: place.scripted.clone(), token },
            8 if round % 20 == 8 => What::Incr { key: place.counter.clone(), by: 3 },
            8 => What::Push { key: place.list.clone(), token },
            _ if round % 20 == 9 => What::GetBoth { keys: place.pair.clone() },
            _ => What::SetBoth { keys: place.pair.clone(), token },
        }
    }

    /// Of the same length for all: strings are cut into tokens.
    fn token(&mut self) -> String {
        self.made += 1;
        format!("c{:03}.{:06}", self.client, self.made)
    }
}

/// No counter counts so far in a run: what it holds, or answers, tells which one it is.
pub(super) const COUNTER_RANGE: i64 = 10_000_000;

/// The length of a token.
pub(super) const TOKEN: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_slot;
    use std::collections::HashSet;

    #[test]
    fn parts_keep_to_their_shard_and_tokens_to_their_length() {
        let shards = even_shards(3);
        let mut tokens = HashSet::new();
        for mut part in Mix::default().parts(&shards) {
            let whats: Vec<_> = (0..80).flat_map(|_| part.next()).collect();
            for what in whats {
                if let Some(token) = what.written_token() {
                    assert_eq!(token.len(), TOKEN);
                    assert!(tokens.insert(token.to_owned()), "{token} twice");
                }
                if let (Some(shard), Some(key)) = (part.shard, what.key()) {
                    assert!(shards[shard].contains(&key_slot(key.as_bytes())), "{key}");
                }
            }
        }
    }

    #[test]
    fn no_two_counters_share_a_range() {
        let parts = Mix::default().parts(&even_shards(3));
        let counts = parts.iter().flat_map(Part::bases).filter_map(|(_, base)| match base {
            Base::Count(count) => Some(count / COUNTER_RANGE),
            Base::Pad(_) => None,
        });
        let counts: Vec<_> = counts.collect();
        assert_eq!(counts.iter().collect::<HashSet<_>>().len(), counts.len());
    }
}
