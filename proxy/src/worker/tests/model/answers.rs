//! What a node of the simulated cluster answers.

use fastrand::Rng;

use super::cluster::{Cluster, partner, slot_of};
use super::data::key_in;
use super::faults::Trouble;
use super::history::{Kind, op_of};

impl Cluster {
    /// What a request that was executed is answered: its number, and what it has seen.
    pub(super) fn answer(&self, op: usize, port: u16, words: &[&str], rng: &mut Rng) -> String {
        let padding = words.iter().find_map(|w| w.strip_prefix(&format!("t{op}:")));
        match (words[0], padding.and_then(|len| len.parse::<usize>().ok())) {
            ("HGET", Some(len)) => self.bulk(op, port, words[1], len),
            ("MGET", _) => {
                let keys = words.len() - 1;
                format!("*{keys}\r\n{}", self.bulk(op, port, words[1], 0).repeat(keys))
            }
            ("MULTI", _) => self.exec(op, port, words),
            ("DEL", _) => format!(":{}\r\n", words.len() - 1),
            ("MSET", _) if op_of(words[1]).is_some() => "+OK\r\n".into(),
            // A script has written and says whatever it likes.
            // (Not what the node itself could say a moment later: then it would be believed.)
            ("EVAL", _) if rng.u8(..4) == 0 => match rng.u8(..3) {
                0 => "-TRYAGAIN Multiple keys request during rehashing of slot\r\n".into(),
                1 => format!("-MOVED {} 6.6.6.6:6\r\n", slot_of(words[3])),
                _ => format!("-MOVED {} 10.0.0.1:{}\r\n", 7, self.nodes[&partner(port)].address),
            },
            _ => {
                let key = words.iter().find(|word| word.starts_with('{'));
                let len = key.map_or(0, |key| self.data.list(port, key).len());
                format!("+t{op} {len}\r\n")
            }
        }
    }

    pub(super) fn rejection(
        &self,
        port: u16,
        asked: bool,
        words: &[&str],
        rng: &mut Rng,
    ) -> Option<String> {
        let node = &self.nodes[&port];
        let keys = words.iter().filter(|word| word.starts_with('{'));
        let keys: Vec<String> = keys.map(|word| key_in(word)).collect();
        if node.trouble == Trouble::Loading {
            return Some("LOADING Redis is loading the dataset in memory".into());
        }
        let slot = slot_of(keys.first()?);
        match node.trouble {
            Trouble::ClusterDown => return Some("CLUSTERDOWN The cluster is down".into()),
            Trouble::MasterDown => {
                return Some("MASTERDOWN Link with MASTER is down and …".into());
            }
            _ => {}
        }
        let place = node.stale.get(&slot).unwrap_or(&self.slots[&slot]);
        let here = |key: &&String| (place.owner == port) != place.moved.contains(*key);
        let present = keys.iter().filter(here).count();
        if place.owner == port {
            return match place.target {
                Some(_) if present == keys.len() => None,
                Some(target) if present == 0 => {
                    let address = self.nodes[&target].address;
                    Some(format!("ASK {slot} 10.0.0.1:{address}"))
                }
                Some(_) => Some("TRYAGAIN Multiple keys request during rehashing of slot".into()),
                None => None,
            };
        }
        if asked && place.target == Some(port) {
            // (One that came late and would find nothing here may try again, too. Not the question
            // whether a script spoke the truth: no server says so to a request with one key.)
            return (present < keys.len() && words[0] != "EXISTS")
                .then(|| "TRYAGAIN Multiple keys request during rehashing of slot".into());
        }
        if rng.u8(..) < 4 {
            return Some("CLUSTERDOWN Hash slot not served".into());
        }
        let (heard, _) = node.view[&slot];
        let owner = if heard == port { place.owner } else { heard };
        // Without a host: the one that answers, as some servers say it.
        let host = if rng.u8(..4) == 0 { "" } else { "10.0.0.1" };
        Some(format!("MOVED {slot} {host}:{}", self.nodes[&owner].address))
    }

    /// What one key is answered: which request asked, and what it has seen.
    fn bulk(&self, op: usize, port: u16, word: &str, padding: usize) -> String {
        let list = self.data.list(port, &key_in(word));
        let text = format!("t{op}:{}:{:?}:{}", list.len(), list.last(), "y".repeat(padding));
        format!("${}\r\n{text}\r\n", text.len())
    }

    /// What the client may get of this answer; of one with several values, each alone.
    pub(super) fn note_answer(&mut self, op: usize, port: u16, words: &[&str], text: &str) {
        let reads = self.ops[op].kind == Kind::Read;
        let saw = reads.then(|| self.data.list(port, &key_in(words[1])).to_vec());
        let split = reads && text.starts_with('*');
        let value = if split { self.bulk(op, port, words[1], 0) } else { text.into() };
        self.ops[op].produce(&value, saw);
    }
}
