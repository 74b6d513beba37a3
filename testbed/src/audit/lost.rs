//! What the servers lost themselves: writes that a primary acknowledged and its heir never had.

use super::aof::{self, File, Write};
use super::history::Key;
use super::last::Final;
use crate::key_slot;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// What servers lost, as their own files show it.
///
/// Nodes run with [`evidence_options`]: every command is in the file of the node that executed it
/// before its reply leaves. A primary and its replica write the same commands in the same order.
/// So of each file of each node, what was lost is its *tail*: everything after the last command
/// whose token is also known elsewhere (in a file of another node, or at the end in the data). In
/// the newest file of a node that is a primary at the end nothing is lost. Counters carry no
/// tokens; increments in a tail are counted, so of increments between the last command that is
/// known elsewhere and the first that is not (commonly none or one) servers get the benefit. The
/// same goes for what was taken off a list: its heir delivers it again.
///
/// That a write is in a tail excuses it only if it was acknowledged before the primary was seen to
/// be replaced (and a little after: nodes hear of it, and so do we, by asking): see
/// [`Kind::LateAck`](super::Kind::LateAck).
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// The tokens of lost writes.
    pub tokens: HashSet<String>,
    /// By how much counters fell behind, by key.
    pub counts: HashMap<String, i64>,
    /// How many elements are back in a list from which they had been taken, by key.
    pub taken: HashMap<String, usize>,
    /// When the owner of these slots was seen to be another one.
    pub replaced: Vec<(RangeInclusive<u16>, Duration)>,
}

/// The configuration that makes nodes keep what [`Lost`] needs, for
/// [`ClusterBuilder::config`](crate::ClusterBuilder::config).
pub fn evidence_options() -> [(&'static str, &'static str); 4] {
    [
        ("appendonly", "yes"),
        // Written at once and never held back by a slow disk, as `everysec` may be.
        ("appendfsync", "no"),
        ("auto-aof-rewrite-percentage", "0"),
        ("aof-use-rdb-preamble", "yes"),
    ]
}

impl Lost {
    /// Reads what `folder` holds: files named `<node>-<anything>`, each an append-only file of
    /// that node. `owners` are the nodes that are primaries at the end.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(folder: &Path, owners: &HashSet<String>, end: &Final) -> anyhow::Result<Lost> {
        Ok(Lost::of(&aof::read_all(folder)?, owners, end))
    }

    fn of(files: &[File], owners: &HashSet<String>, end: &Final) -> Lost {
        let at_end: HashSet<&str> = end.words().collect();
        let mut nodes_with: HashMap<&str, HashSet<&str>> = HashMap::new();
        for file in files {
            for token in file.writes.iter().flat_map(Write::tokens) {
                nodes_with.entry(token).or_default().insert(&file.node);
            }
        }
        let elsewhere = |token: &str, node: &str| {
            let nodes = nodes_with.get(token);
            at_end.contains(token)
                || nodes.is_some_and(|nodes| nodes.iter().any(|other| *other != node))
        };
        let mut lost = Lost::default();
        for file in files {
            let newest = files.iter().filter(|other| other.node == file.node);
            let newest = newest.map(|other| other.number).max();
            if owners.contains(&file.node) && newest == Some(file.number) {
                continue;
            }
            let known = |write: &Write| write.tokens().any(|token| elsewhere(token, &file.node));
            let tail = file.writes.iter().rposition(known).map_or(0, |last| last + 1);
            let any = file.writes[..tail].iter().any(|write| write.tokens().next().is_some());
            for write in &file.writes[tail..] {
                match write {
                    // A file of which nothing is known elsewhere is no successor's past.
                    Write::Count { .. } | Write::Taken { .. } if !any => {}
                    Write::Taken { key } => *lost.taken.entry(key.clone()).or_default() += 1,
                    Write::Count { key, by } => *lost.counts.entry(key.clone()).or_default() += by,
                    Write::Tokens(tokens) => lost.tokens.extend(tokens.iter().cloned()),
                }
            }
        }
        lost
    }

    /// The owner of the key's slot was replaced after `moment`, or just before it.
    pub(super) fn replaced_after(&self, key: &Key, moment: Duration) -> bool {
        let slot = key_slot(key.as_bytes());
        self.replaced.iter().any(|(slots, at)| slots.contains(&slot) && moment <= *at + SLACK)
    }
}

/// Between a promotion and our seeing it, and the old primary's hearing of it.
const SLACK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Write {
        Write::Tokens(vec![text.to_owned()])
    }

    fn count(key: &str) -> Write {
        Write::Count { key: key.to_owned(), by: 1 }
    }

    fn file(node: &str, number: u64, writes: Vec<Write>) -> File {
        File { node: node.to_owned(), number, writes }
    }

    #[test]
    fn what_the_heir_never_had_is_lost_and_what_came_later_is_not() {
        let taken = || Write::Taken { key: "q".to_owned() };
        let mut old = vec![token("a"), count("k"), taken(), token("b"), count("k")];
        let mut heir = old.clone();
        old.extend([token("c"), count("k"), taken()]);
        heir.push(token("d"));
        let back = vec![token("d")];
        let files = [file("old", 1, old), file("old", 2, back), file("heir", 1, heir)];
        let lost = Lost::of(&files, &HashSet::from(["heir".to_owned()]), &Final::default());
        assert_eq!(lost.tokens, HashSet::from(["c".to_owned()]));
        // One is the benefit of the doubt: it stands between `b` and `c`.
        assert_eq!(lost.counts, HashMap::from([("k".to_owned(), 2)]));
        assert_eq!(lost.taken, HashMap::from([("q".to_owned(), 1)]));
    }

    #[test]
    fn an_owner_without_a_replica_loses_nothing() {
        let files = [file("owner", 1, vec![token("a"), token("b"), count("k")])];
        let lost = Lost::of(&files, &HashSet::from(["owner".to_owned()]), &Final::default());
        assert!(lost.tokens.is_empty() && lost.counts.is_empty());
    }
}
