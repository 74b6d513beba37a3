//! The bytes of a batch of requests, and whether a reply is the one expected.

use std::ops::Range;

use anyhow::{Result, bail};

use crate::loads::{Action, Keys};

/// Length of a key: the prefix and twelve digits.
const KEY_BYTES: usize = 16;

/// A reply that is not the expected one is quoted up to this length.
const QUOTE_BYTES: usize = 120;

/// How one request looks and what its reply must be.
#[derive(Debug)]
pub(super) struct Script {
    /// What a batch begins with, before its requests: the first words of a request of several
    /// keys.
    opening: Vec<u8>,
    /// What a batch ends with, behind its requests.
    closing: Vec<u8>,
    /// What goes before the first reply of a batch.
    reply_opening: Vec<u8>,
    /// One request, or one key of the request, with key 0.
    request: Vec<u8>,
    /// Where the key's bytes stand in the request: once in a GET, twice in a SET.
    key_at: Vec<usize>,
    /// What every reply begins with.
    head: Vec<u8>,
    /// Length of a value behind the head; none if the head is the whole reply.
    value_bytes: Option<usize>,
    key_count: u32,
}

impl Script {
    /// The script of one command over a set of keys, in batches of `count`.
    pub(super) fn new(action: Action, keys: &Keys, count: usize) -> Self {
        let key = [keys.prefix.as_slice(), b"000000000000"].concat();
        let value_head = || format!("${}\r\n", keys.value_bytes).into_bytes();
        let (mut opening, mut closing, mut reply_opening) = (Vec::new(), Vec::new(), Vec::new());
        let (request, head, value_bytes) = match action {
            Action::Get => (command(&[b"GET", &key]), value_head(), Some(keys.value_bytes)),
            Action::Mget => {
                opening = format!("*{}\r\n$4\r\nMGET\r\n", count + 1).into_bytes();
                reply_opening = format!("*{count}\r\n").into_bytes();
                (command(&[&key])[4..].to_vec(), value_head(), Some(keys.value_bytes))
            }
            Action::Set | Action::Multi => {
                if action == Action::Multi {
                    opening = command(&[b"MULTI"]);
                    closing = command(&[b"EXEC"]);
                    let queued = "+QUEUED\r\n".repeat(count);
                    reply_opening = format!("+OK\r\n{queued}*{count}\r\n").into_bytes();
                }
                // Begins with the key, so that a reader can tell whose value it is.
                let mut value = key.clone();
                value.resize(keys.value_bytes, b'.');
                (command(&[b"SET", &key, &value]), b"+OK\r\n".to_vec(), None)
            }
        };
        let key_at = (0..=request.len() - KEY_BYTES)
            .filter(|at| request[*at..at + KEY_BYTES] == key)
            .collect();
        let key_count = keys.count;
        Script { opening, closing, reply_opening, request, key_at, head, value_bytes, key_count }
    }

    /// A batch of `count` requests, all with key 0.
    pub(super) fn batch(&self, count: usize) -> Vec<u8> {
        [self.opening.clone(), self.request.repeat(count), self.closing.clone()].concat()
    }

    /// Gives every request of a batch a random key.
    pub(super) fn shuffle(&self, batch: &mut [u8], random: &mut fastrand::Rng) {
        for request in self.requests_of(batch) {
            self.set_key(request, random.u32(..self.key_count));
        }
    }

    /// Gives the requests of a batch the keys from `first` on; for loading.
    pub(super) fn enumerate(&self, batch: &mut [u8], first: u32) {
        for (number, request) in (first..).zip(self.requests_of(batch)) {
            self.set_key(request, number);
        }
    }

    fn requests_of<'a>(&self, batch: &'a mut [u8]) -> impl Iterator<Item = &'a mut [u8]> {
        let end = batch.len() - self.closing.len();
        batch[self.opening.len()..end].chunks_exact_mut(self.request.len())
    }

    /// How many keys there are.
    pub(super) fn key_count(&self) -> u32 {
        self.key_count
    }

    fn set_key(&self, request: &mut [u8], number: u32) {
        for at in &self.key_at {
            let mut left = number;
            for digit in request[at + 4..at + KEY_BYTES].iter_mut().rev() {
                *digit = b'0' + (left % 10) as u8;
                left /= 10;
            }
        }
    }

    /// The length of the right reply to request `index` of a batch.
    pub(super) fn reply_bytes(&self, index: usize) -> usize {
        let opening = if index == 0 { self.reply_opening.len() } else { 0 };
        opening + self.head.len() + self.value_bytes.map_or(0, |length| length + 2)
    }

    /// Looks for the reply to request `index` of `batch` at the start of `bytes`.
    ///
    /// Gives false while it is not there in full; fails as soon as it cannot be the right one: an
    /// error, a null, another length, or the value of another key.
    pub(super) fn check(&self, mut bytes: &[u8], batch: &[u8], index: usize) -> Result<bool> {
        if index == 0 {
            let seen = bytes.len().min(self.reply_opening.len());
            if bytes[..seen] != self.reply_opening[..seen] {
                bail!("a reply that nobody expected: {}", quote(bytes));
            }
            bytes = &bytes[seen..];
        }
        let seen = bytes.len().min(self.head.len());
        if bytes[..seen] != self.head[..seen] {
            bail!("a reply that nobody expected: {}", quote(bytes));
        }
        let length = self.reply_bytes(index.max(1));
        if bytes.len() < length {
            return Ok(false);
        }
        if self.value_bytes.is_some() {
            let value = &bytes[self.head.len()..length];
            let key = &batch[self.key_of(index)];
            if &value[..KEY_BYTES] != key {
                bail!("{} got the value of another key: {}", quote(key), quote(value));
            }
            if !value.ends_with(b"\r\n") {
                bail!("a value of another length: {}", quote(bytes));
            }
        }
        Ok(true)
    }

    fn key_of(&self, index: usize) -> Range<usize> {
        let at = self.opening.len() + index * self.request.len() + self.key_at[0];
        at..at + KEY_BYTES
    }
}

/// The bytes of a command as a client sends it.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn quote(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(QUOTE_BYTES)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    static KEYS: Keys = Keys { prefix: b"key:", count: 1_000, value_bytes: 20 };

    #[test]
    fn requests_carry_their_keys() {
        let get = Script::new(Action::Get, &KEYS, 2);
        let mut batch = get.batch(2);
        get.enumerate(&mut batch, 41);
        let expected = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000041\r\n\
                        *2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n";
        assert_eq!(batch, expected.as_bytes());

        let mget = Script::new(Action::Mget, &KEYS, 2);
        let mut batch = mget.batch(2);
        mget.enumerate(&mut batch, 41);
        let expected = "*3\r\n$4\r\nMGET\r\n$16\r\nkey:000000000041\r\n\
                        $16\r\nkey:000000000042\r\n";
        assert_eq!(batch, expected.as_bytes());

        let set = Script::new(Action::Set, &KEYS, 1);
        let mut batch = set.batch(1);
        set.enumerate(&mut batch, 7);
        let expected =
            "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000007\r\n$20\r\nkey:000000000007....\r\n";
        assert_eq!(batch, expected.as_bytes());

        let multi = Script::new(Action::Multi, &KEYS, 1);
        let mut batch = multi.batch(1);
        multi.enumerate(&mut batch, 7);
        let block = format!("*1\r\n$5\r\nMULTI\r\n{expected}*1\r\n$4\r\nEXEC\r\n");
        assert_eq!(batch, block.as_bytes());
    }

    #[test]
    fn shuffled_keys_stay_within_the_set_and_differ() {
        let get = Script::new(Action::Get, &KEYS, 2);
        let mut batch = get.batch(64);
        get.shuffle(&mut batch, &mut fastrand::Rng::with_seed(7));
        let keys: std::collections::HashSet<&[u8]> =
            (0..64).map(|index| &batch[get.key_of(index)]).collect();
        assert!(keys.len() > 32, "{}", keys.len());
        assert!(keys.iter().all(|key| key.starts_with(b"key:000000000")));
    }

    #[test]
    fn only_the_right_reply_passes() {
        let get = Script::new(Action::Get, &KEYS, 2);
        let mut batch = get.batch(2);
        get.enumerate(&mut batch, 41);
        let right = b"$20\r\nkey:000000000042....\r\n";
        for end in 0..right.len() {
            assert!(!get.check(&right[..end], &batch, 1).unwrap(), "{end}");
        }
        assert!(get.check(right, &batch, 1).unwrap());
        assert!(get.check(&[right.as_slice(), b"$20"].concat(), &batch, 1).unwrap());
        assert_eq!(get.reply_bytes(0), right.len());

        let wrong: [&[u8]; 5] = [
            b"-ERR no",
            b"$-1\r\n",
            b"$21\r\nkey:000000000042.....\r\n",
            b"$20\r\nkey:000000000041....\r\n",
            b"$20\r\nkey:000000000042......",
        ];
        for reply in wrong {
            assert!(get.check(reply, &batch, 1).is_err(), "{}", quote(reply));
        }

        let mget = Script::new(Action::Mget, &KEYS, 2);
        let mut batch = mget.batch(2);
        mget.enumerate(&mut batch, 42);
        let first = [b"*2\r\n".as_slice(), right].concat();
        assert!(!mget.check(&first[..9], &batch, 0).unwrap());
        assert!(mget.check(&first, &batch, 0).unwrap());
        assert_eq!((mget.reply_bytes(0), mget.reply_bytes(1)), (first.len(), right.len()));
        assert!(mget.check(right, &batch, 0).is_err() && mget.check(b"*3", &batch, 0).is_err());

        let multi = Script::new(Action::Multi, &KEYS, 1);
        assert!(multi.check(b"+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n", &multi.batch(1), 0).unwrap());
        assert!(multi.check(b"+OK\r\n+QUEUED\r\n*-1\r\n", &multi.batch(1), 0).is_err());

        let set = Script::new(Action::Set, &KEYS, 1);
        assert!(set.check(b"+OK\r\n", &set.batch(1), 0).unwrap());
        assert!(!set.check(b"+O", &set.batch(1), 0).unwrap());
        assert!(set.check(b"+NO\r\n", &set.batch(1), 0).is_err());
    }
}
