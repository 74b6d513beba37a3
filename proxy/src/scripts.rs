//! The bodies of scripts that clients have sent, for nodes that do not have them: a server keeps
//! them to itself, and a replica that is promoted, a node that was restarted or one that has just
//! joined knows none of them.
//!
//! One for the whole process. Workers come here when they see a script for the first time, and
//! when a node says that it does not know one; never for each request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use sha1::{Digest, Sha1};

use crate::time::Moment;
use crate::topology::NodeId;

/// A larger body is not kept: loading it would hold up what others send to that node.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What a body costs beside its own bytes, so that the bound on bytes bounds their number too.
const OVERHEAD_BYTES: usize = 256;

/// How long it is remembered what a node was asked about a script.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// Of more such questions than this the later ones are not remembered.
const ASKED_MAX: usize = 1024;

/// The SHA1 of a body, as 40 hexadecimal digits in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sha([u8; 40]);

impl Sha {
    /// Reads 40 hexadecimal digits in any case, as servers do.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let digits: [u8; 40] = text.try_into().ok()?;
        digits
            .iter()
            .all(u8::is_ascii_hexdigit)
            .then(|| Sha(digits.map(|d| d.to_ascii_lowercase())))
    }

    /// Of this body.
    pub fn of(body: &[u8]) -> Sha {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 40];
        for (pair, byte) in text.chunks_exact_mut(2).zip(Sha1::digest(body)) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Sha(text)
    }

    /// Its digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bodies of scripts, up to a bound; those that were not used for the longest time go first.
#[derive(Debug)]
pub struct Scripts {
    bytes_max: usize,
    epoch: AtomicU64,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    bodies: HashMap<Sha, Kept>,
    /// Who was used when, the longest ago first.
    by_use: BTreeMap<u64, Sha>,
    next_use: u64,
    bytes: usize,
    /// Bytes of bodies that have come since the epoch began.
    fresh_bytes: usize,
    /// What nodes were asked about scripts of late.
    asked: HashMap<(NodeId, Sha), Asked>,
}

#[derive(Debug)]
struct Kept {
    body: Arc<[u8]>,
    used: u64,
}

/// What a node was asked about a script, by any worker.
#[derive(Debug, Default)]
struct Asked {
    /// Questions without an answer.
    open: u32,
    /// When it last said that it did not have it.
    missing: Option<Moment>,
    /// When it was last asked, or said so.
    at: Moment,
}

/// Whether a node had a script when a request for it came there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It did not have it, at some moment since the request was read.
    Missing,
    /// It has it now; another worker has asked as well, and will know more.
    Asked,
    /// It has it.
    There,
}

impl Scripts {
    /// Keeps bodies of up to this many bytes in all; 0: none.
    pub fn new(bytes_max: usize) -> Scripts {
        Scripts { bytes_max, epoch: AtomicU64::new(1), shelf: Mutex::default() }
    }

    /// Whoever has told of a script need not tell of it again before this number changes. Never 0.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// A body was seen: it is kept, if it is not too large. Returns it as it is kept.
    pub fn saw(&self, body: &[u8]) -> Option<Arc<[u8]>> {
        let size = body.len() + OVERHEAD_BYTES;
        if body.len() > BODY_BYTES_MAX || size > self.bytes_max {
            return None;
        }
        let sha = Sha::of(body);
        let mut shelf = self.shelf();
        if shelf.touch(&sha) {
            return shelf.bodies.get(&sha).map(|kept| Arc::clone(&kept.body));
        }
        let body: Arc<[u8]> = body.into();
        while shelf.bytes + size > self.bytes_max && shelf.drop_oldest() {}
        let used = shelf.next_use;
        shelf.next_use += 1;
        shelf.by_use.insert(used, sha);
        shelf.bodies.insert(sha, Kept { body: Arc::clone(&body), used });
        shelf.bytes += size;
        shelf.fresh_bytes += size;
        // Well before those that are used all the time could be the oldest, all are told of again.
        if shelf.fresh_bytes > self.bytes_max / 4 {
            shelf.fresh_bytes = 0;
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
        Some(body)
    }

    /// A script was asked for by its SHA1.
    pub fn used(&self, sha: &Sha) {
        self.shelf().touch(sha);
    }

    /// The body of this script, if it is known.
    pub fn body(&self, sha: &Sha) -> Option<Arc<[u8]>> {
        let mut shelf = self.shelf();
        shelf.touch(sha);
        shelf.bodies.get(sha).map(|kept| Arc::clone(&kept.body))
    }

    /// Clients want no script to be known any more.
    pub fn forget(&self) {
        *self.shelf() = Shelf::default();
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// This node is asked whether it has this script, which it then gets.
    pub fn ask(&self, node: NodeId, sha: Sha, now: Moment) {
        let mut shelf = self.shelf();
        if shelf.asked.len() >= ASKED_MAX {
            shelf.asked.retain(|_, asked| now.since(asked.at) <= ASKED_FOR);
        }
        if shelf.asked.len() < ASKED_MAX {
            let asked = shelf.asked.entry((node, sha)).or_default();
            asked.open += 1;
            asked.at = now;
        }
    }

    /// What is known now that this node has said whether it has this script. `asked` says that this
    /// answers [`Scripts::ask`]; `since` is when the request was read that the script is for.
    pub fn answer(
        &self,
        (node, sha): (NodeId, Sha),
        asked: bool,
        has_it: bool,
        since: Moment,
        now: Moment,
    ) -> Known {
        let mut shelf = self.shelf();
        let Some(about) = shelf.asked.get_mut(&(node, sha)) else {
            return if has_it { Known::There } else { Known::Missing };
        };
        about.open = about.open.saturating_sub(u32::from(asked));
        if !has_it {
            (about.missing, about.at) = (Some(now), now);
        }
        let recent = now.since(about.at) <= ASKED_FOR;
        match about.missing {
            Some(at) if recent && at >= since => Known::Missing,
            _ if recent && about.open > 0 => Known::Asked,
            _ => Known::There,
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// Notes that a script is used; returns whether it is here.
    fn touch(&mut self, sha: &Sha) -> bool {
        let Some(kept) = self.bodies.get_mut(sha) else { return false };
        self.by_use.remove(&kept.used);
        kept.used = self.next_use;
        self.next_use += 1;
        self.by_use.insert(kept.used, *sha);
        true
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, sha)) = self.by_use.pop_first() else { return false };
        if let Some(kept) = self.bodies.remove(&sha) {
            self.bytes -= kept.body.len() + OVERHEAD_BYTES;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(n: usize) -> Vec<u8> {
        format!("return {n:>993}").into_bytes() // with the overhead, 1,256 bytes
    }

    fn has(scripts: &Scripts, n: usize) -> bool {
        scripts.shelf().bodies.contains_key(&Sha::of(&body(n)))
    }

    #[test]
    fn a_script_is_found_by_the_name_that_servers_give_it() {
        let scripts = Scripts::new(10_000);
        scripts.saw(b"return 1");
        let sha = Sha::of(b"return 1");
        assert_eq!(sha.as_bytes(), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::parse(b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB"), Some(sha));
        assert_eq!(scripts.body(&sha).as_deref(), Some(&b"return 1"[..]));
        for odd in [&b""[..], b"e0e1", b"g0e1f9fabfc9d4800c877a703b823ac0578ff8db", &[b'0'; 41]] {
            assert_eq!(Sha::parse(odd), None);
        }
        scripts.forget();
        assert_eq!(scripts.body(&sha), None);
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let scripts = Scripts::new(3 * 1256);
        (1..=3).for_each(|n| drop(scripts.saw(&body(n))));
        scripts.used(&Sha::of(&body(1)));
        scripts.saw(&body(2));
        scripts.saw(&body(4));
        assert_eq!([1, 2, 3, 4].map(|n| has(&scripts, n)), [true, true, false, true]);
        assert!(scripts.shelf().bytes <= 3 * 1256);
    }

    #[test]
    fn large_bodies_and_all_bodies_of_a_cache_without_room_are_not_kept() {
        let large = vec![b'x'; BODY_BYTES_MAX + 1];
        for (scripts, body) in [(Scripts::new(1 << 30), &large[..]), (Scripts::new(0), b"return 1")]
        {
            scripts.saw(body);
            assert_eq!(scripts.body(&Sha::of(body)), None);
        }
    }

    /// Workers tell of a script once an epoch: so it must not be the oldest before the next one.
    #[test]
    fn a_script_that_is_told_of_once_an_epoch_outlives_any_number_of_others() {
        let scripts = Scripts::new(40 * 1256);
        let mut epoch = 0;
        for n in 1..1000 {
            if epoch != scripts.epoch() {
                epoch = scripts.epoch();
                scripts.saw(&body(0));
            }
            scripts.saw(&body(n));
            assert!(has(&scripts, 0), "after {n} others");
        }
        assert!(epoch > 10, "it was told of again");
        let before = scripts.epoch();
        scripts.forget();
        assert_ne!(scripts.epoch(), before);
    }

    #[test]
    fn that_a_script_was_missing_is_true_of_that_node_and_moment() {
        let [a, b] = ["a", "b"].map(|d| NodeId::parse(d.repeat(40).as_bytes()).unwrap());
        let at = Moment::from_micros;
        let (scripts, sha) = (Scripts::new(0), Sha::of(b"x"));
        scripts.ask(a, sha, at(500));
        scripts.ask(a, sha, at(500));
        let has = |node, sha, since, now| scripts.answer((node, sha), false, true, since, now);
        assert_eq!(has(a, sha, at(400), at(550)), Known::Asked);
        assert_eq!(has(b, sha, at(400), at(550)), Known::There, "another node");
        assert_eq!(scripts.answer((a, sha), true, true, at(400), at(550)), Known::Asked);
        assert_eq!(scripts.answer((a, sha), true, false, at(400), at(600)), Known::Missing);
        assert_eq!(has(a, sha, at(400), at(700)), Known::Missing);
        assert_eq!(has(b, sha, at(400), at(700)), Known::There, "another node");
        assert_eq!(has(a, Sha::of(b"y"), at(400), at(700)), Known::There, "another script");
        assert_eq!(has(a, sha, at(601), at(700)), Known::There, "not since then");
        assert_eq!(has(a, sha, at(400), at(1_700_000)), Known::There, "long ago");
    }

    #[test]
    fn questions_are_remembered_up_to_a_bound_and_not_for_long() {
        let node = NodeId::parse("a".repeat(40).as_bytes()).unwrap();
        let scripts = Scripts::new(0);
        let sha = |n: u64| Sha::of(&n.to_le_bytes());
        (0..5000).for_each(|n| scripts.ask(node, sha(n), Moment::from_micros(n)));
        assert_eq!(scripts.shelf().asked.len(), ASKED_MAX);
        let later = Moment::from_micros(2_000_000);
        let known = |n| scripts.answer((node, sha(n)), false, true, later, later);
        assert_eq!(known(3), Known::There, "whoever asked has gone");
        scripts.ask(node, sha(9000), later);
        assert_eq!(known(9000), Known::Asked);
        assert_eq!(scripts.shelf().asked.len(), 1);
    }
}
