//! Which clients there are and what they send, by the clock.

use super::history::{Base, Key, Outcome};
use super::what::What;
use super::wire::Reply;
use crate::{SLOTS, key_in_slot};
use std::ops::RangeInclusive;
use std::sync::Arc;
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
    /// For each shard: groups of clients with state. One sends blocks among plain requests; three
    /// transfer between the accounts of two banks and sum them up; one offers what two take from
    /// a queue; one publishes what one is subscribed to.
    pub groups: usize,
    /// Between two requests of one of these, at least.
    pub group_every: Duration,
}

impl Default for Mix {
    /// About 2,000 requests a second for three shards: little enough for two cores that run
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
            groups: 1,
            group_every: Duration::from_millis(30),
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
    /// What it shares with others of its group.
    group: Option<Arc<Group>>,
    /// The accounts that it has looked at, and what they have.
    seen: Option<([Key; 2], [i64; 2])>,
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Walker,
    Lister,
    Piper,
    Crosser,
    Blocker,
    /// It transfers from each account to the one that stands so much behind it.
    Banker(usize),
    Auditor,
    Producer,
    Consumer,
    Publisher,
    Subscriber,
}

/// What the clients of a group share.
#[derive(Debug)]
struct Group {
    banks: Vec<Bank>,
    queue: Key,
    /// A plain one and a shard channel.
    channels: [Key; 2],
}

#[derive(Debug)]
struct Bank {
    accounts: Vec<Key>,
    book: Key,
}

impl Group {
    /// That of which this client is the first.
    fn new(client: usize, slots: &[u16]) -> Group {
        let key = |slot, kind: &str| Key::from(key_in_slot(slot, &format!(":g{client}.{kind}")));
        let bank = |slot: u16| Bank {
            accounts: (0..4).map(|n| key(slot, &format!("account{n}"))).collect(),
            book: key(slot, "book"),
        };
        Group {
            banks: vec![bank(slots[0]), bank(slots[2])],
            queue: key(slots[0], "queue"),
            channels: [key(slots[0], "channel"), key(slots[1], "shardchannel")],
        }
    }
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
            parts.push(Part::new(parts.len(), shard, sort, every, &slots))
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
        for (number, slots) in shards.iter().enumerate() {
            for n in 0..self.groups {
                let slots = spread(slots, n + 23);
                let group = Arc::new(Group::new(parts.len(), &slots));
                for sort in GROUP {
                    let part = Part::new(parts.len(), Some(number), sort, self.group_every, &slots);
                    parts.push(Part { group: Some(group.clone()), ..part });
                }
            }
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
    fn new(
        client: usize,
        shard: Option<usize>,
        sort: Sort,
        every: Duration,
        slots: &[u16],
    ) -> Part {
        let place = |(number, slot): (usize, &u16)| Place::new(client, number, *slot);
        let places = slots.iter().enumerate().map(place).collect();
        use Sort::{Auditor, Banker, Consumer, Lister, Publisher};
        let closed = matches!(sort, Lister | Banker(_) | Auditor | Consumer | Publisher);
        let (made, turn, group, seen) = (0, 0, None, None);
        Part { client, shard, every, closed, sort, places, made, turn, group, seen }
    }

    /// What it gets are not only replies.
    pub(super) fn listens(&self) -> bool {
        matches!(self.sort, Sort::Subscriber)
    }

    /// An operation of it was answered.
    pub(super) fn told(&mut self, what: &What, outcome: &Outcome) {
        let What::Look { accounts } = what else { return };
        let Outcome::Acked(Reply::Array(replies)) = outcome else { return };
        let balance = |at: usize| replies.get(at)?.bulk()?.parse().ok();
        if let (Some(from), Some(to)) = (balance(1), balance(2)) {
            self.seen = Some((accounts.clone(), [from, to]));
        }
    }

    /// Its connection is a new one. Returns what it had on the old one beside what is unanswered.
    pub(super) fn begin_again(&mut self) -> Option<What> {
        self.seen = None;
        let group = self.group.as_ref().filter(|_| self.listens() && self.turn > 0)?;
        let channel = group.channels[0].clone();
        self.turn = 0;
        Some(What::Subscribe { channel, shard: false })
    }

    /// What its counters and strings must be before it begins.
    pub(super) fn bases(&self) -> Vec<(Key, Base)> {
        let mut bases = Vec::new();
        if self.group.is_some() && !matches!(self.sort, Sort::Blocker) {
            return bases; // it counts nothing
        }
        for (number, place) in self.places.iter().enumerate() {
            let count = (self.client * 8 + number * 2 + 1) as i64 * COUNTER_RANGE;
            bases.push((place.counter.clone(), Base::Count(count)));
            bases.push((place.scripted.clone(), Base::Count(count + COUNTER_RANGE)));
            bases.push((place.string.clone(), Base::Pad(self.client % 5 + 1)));
        }
        // The first of a group prepares what they share, in ranges that are its own and not used.
        if let (Sort::Blocker, Some(group)) = (self.sort, &self.group) {
            let accounts = group.banks.iter().flat_map(|bank| &bank.accounts).enumerate();
            for (number, account) in accounts {
                let count = ((self.client + 1) * 8 + number + 1) as i64 * COUNTER_RANGE;
                bases.push((account.clone(), Base::Count(count)));
            }
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
            _ => self.in_group(place, turn),
        }
    }

    /// What it sends at the end, once: each that waits at a queue gets something.
    pub(super) fn last(&mut self) -> Vec<What> {
        let Some(group) = self.group.take().filter(|_| matches!(self.sort, Sort::Producer)) else {
            return vec![];
        };
        let consumers = GROUP.iter().filter(|sort| matches!(sort, Sort::Consumer));
        let queue = || group.queue.clone();
        consumers.map(|_| What::Offer { queue: queue(), token: self.token() }).collect()
    }

    /// What a client with state sends next.
    fn in_group(&mut self, place: usize, turn: usize) -> Vec<What> {
        let token = self.token();
        let Some(group) = self.group.clone() else { return vec![] };
        let bank = &group.banks[turn / 2 % group.banks.len()];
        match self.sort {
            Sort::Blocker => {
                let before = self.push(place);
                let keys = &self.places[place];
                let [register, list] = [keys.register.clone(), keys.list.clone()];
                let counters = [keys.counter.clone(), keys.scripted.clone()];
                let block = What::Block { counters, list, token };
                let token = self.token();
                let set = What::Set { key: register.clone(), token };
                let get = What::Get { key: register };
                let token = self.token();
                vec![before, block, self.push(place), set, get, What::Ping { token }]
            }
            Sort::Banker(step) => match self.seen.take() {
                None => {
                    let from = turn / 4 % bank.accounts.len();
                    let to = (from + step) % bank.accounts.len();
                    let accounts = [from, to].map(|at| bank.accounts[at].clone());
                    vec![What::Look { accounts }]
                }
                Some((accounts, [from, to])) => {
                    let amount = (self.made % 7 + 1) as i64;
                    let after = [from - amount, to + amount];
                    let of_it = |bank: &&Bank| bank.accounts.contains(&accounts[0]);
                    let bank = group.banks.iter().find(of_it).unwrap_or(bank);
                    let book = bank.book.clone();
                    vec![What::Transfer { accounts, amount, after, book, token }]
                }
            },
            Sort::Auditor => vec![What::Sum { accounts: bank.accounts.clone() }],
            Sort::Producer => vec![What::Offer { queue: group.queue.clone(), token }],
            Sort::Consumer => vec![What::Take { queue: group.queue.clone() }],
            Sort::Publisher => {
                let shard = turn % 2 == 1;
                let channel = group.channels[usize::from(shard)].clone();
                vec![What::Publish { channel, shard, token }]
            }
            Sort::Subscriber if turn == 0 => {
                let [plain, shard] = group.channels.clone();
                vec![
                    What::Subscribe { channel: plain, shard: false },
                    What::Subscribe { channel: shard, shard: true },
                ]
            }
            _ => vec![What::Alive { token }],
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

/// The first prepares what they share.
const GROUP: [Sort; 9] = [
    Sort::Blocker,
    Sort::Banker(1),
    Sort::Banker(2),
    Sort::Auditor,
    Sort::Producer,
    Sort::Consumer,
    Sort::Consumer,
    Sort::Publisher,
    Sort::Subscriber,
];

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
