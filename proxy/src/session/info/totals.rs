//! What the nodes say of themselves, made into what one server with all their data would say.
//!
//! Numbers of primaries are added up, since each has its part of the data. A field that a primary
//! lacks is left out, not taken for 0; and how many primaries the sums are of is told with them.

use std::collections::BTreeMap;

use crate::topology::{NodeSays, Role};

/// What nodes have said, each text read once.
#[derive(Debug, Default)]
pub struct Totals {
    /// Of each node that was asked, in the order of the map: the node, and what it said.
    pub(super) nodes: Vec<(NodeSays, Option<BTreeMap<String, String>>)>,
}

/// A database: how many keys it has, and so on, by the names that the servers give.
pub(super) type Database = BTreeMap<String, f64>;

impl Totals {
    /// Reads what they said.
    pub fn new(nodes: Vec<NodeSays>) -> Totals {
        let read = |mut says: NodeSays| {
            let fields = says.info.take().map(|text| fields(&text));
            (says, fields)
        };
        Totals { nodes: nodes.into_iter().map(read).collect() }
    }

    /// How many primaries there are, and how many of them had an answer.
    pub(super) fn primaries(&self) -> [usize; 2] {
        [self.owners().count(), self.answers().count()]
    }

    fn owners(&self) -> impl Iterator<Item = &(NodeSays, Option<BTreeMap<String, String>>)> {
        self.nodes.iter().filter(|(says, _)| says.node.role == Role::Primary && says.slots > 0)
    }

    fn answers(&self) -> impl Iterator<Item = &BTreeMap<String, String>> {
        self.owners().filter_map(|(_, fields)| fields.as_ref())
    }

    /// The field of each primary that answered; `None` if one lacks it, or none answered.
    fn each(&self, field: &str) -> Option<Vec<&str>> {
        let each: Option<Vec<&str>> =
            self.answers().map(|fields| fields.get(field).map(String::as_str)).collect();
        each.filter(|each| !each.is_empty())
    }

    fn numbers(&self, field: &str) -> Option<Vec<f64>> {
        self.each(field)?.into_iter().map(|value| value.parse().ok()).collect()
    }

    /// The field of all primaries, added up.
    pub(super) fn sum(&self, field: &str) -> Option<f64> {
        Some(self.numbers(field)?.into_iter().fold(0.0, |all, number| all + number))
    }

    /// A bound: 0 means that there is none, so one that has none makes it none for all.
    pub(super) fn bound(&self, field: &str) -> Option<f64> {
        let all = self.numbers(field)?;
        Some(if all.contains(&0.0) { 0.0 } else { all.into_iter().sum() })
    }

    /// The largest of all primaries.
    pub(super) fn max(&self, field: &str) -> Option<f64> {
        self.numbers(field)?.into_iter().reduce(f64::max)
    }

    /// The smallest of all primaries.
    pub(super) fn min(&self, field: &str) -> Option<f64> {
        self.numbers(field)?.into_iter().reduce(f64::min)
    }

    /// What all primaries say if they say the same; of several words the first that is not
    /// `usual`.
    pub(super) fn word(&self, field: &str, usual: &str) -> Option<&str> {
        let all = self.each(field)?;
        all.iter().find(|word| **word != usual).or(all.first()).copied()
    }

    /// The databases, by their numbers.
    pub(super) fn databases(&self) -> BTreeMap<u64, Database> {
        let mut all: BTreeMap<u64, Database> = BTreeMap::new();
        for fields in self.answers() {
            for (name, value) in fields {
                let number = name.strip_prefix("db").and_then(|number| number.parse().ok());
                if let Some(number) = number {
                    add(all.entry(number).or_default(), &database(value));
                }
            }
        }
        all
    }
}

/// `name:value` of each line.
fn fields(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = pairs.filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect()
}

/// `keys=1,expires=0,avg_ttl=0`
pub(super) fn database(value: &str) -> Database {
    let pairs = value.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

const EXPIRES: &str = "expires";
const AVERAGE: &str = "avg_ttl";

/// Adds one to the other; the mean time to live by how many keys have one.
fn add(all: &mut Database, one: &Database) {
    let of = |database: &Database, name| database.get(name).copied().unwrap_or(0.0);
    let expires = [of(all, EXPIRES), of(one, EXPIRES)];
    let average = [of(all, AVERAGE), of(one, AVERAGE)];
    let weight = (expires[0] + expires[1]).max(1.0);
    let mean = ((average[0] * expires[0] + average[1] * expires[1]) / weight).round();
    for (name, value) in one {
        *all.entry(name.clone()).or_default() += value;
    }
    if one.contains_key(AVERAGE) {
        all.insert(AVERAGE.to_owned(), mean);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::topology::{Endpoint, Node, NodeId};

    /// Primaries with a slot each, as they say these texts, or nothing.
    pub(in crate::session::info) fn said(texts: &[Option<&str>]) -> Totals {
        let nodes = texts.iter().zip(1..).map(|(text, number)| {
            let id = NodeId::parse(format!("{number:040x}").as_bytes()).unwrap();
            let node = Node::new(id, Endpoint::new("h", number), Role::Primary);
            NodeSays { node, slots: 1, info: text.map(str::to_owned) }
        });
        Totals::new(nodes.collect())
    }

    #[test]
    fn numbers_are_added_up_and_never_invented() {
        let both = said(&[
            Some("# Memory\r\na:1\r\nb:2.5\r\nmax:0\r\nw:ok\r\nonly:1\r\n"),
            Some("a:2\r\nb:1\r\nmax:7\r\nw:err\r\n"),
            None,
        ]);
        assert_eq!(both.primaries(), [3, 2]);
        assert_eq!((both.sum("a"), both.sum("b")), (Some(3.0), Some(3.5)));
        assert_eq!((both.max("a"), both.min("a")), (Some(2.0), Some(1.0)));
        assert_eq!(both.bound("max"), Some(0.0), "one of them has no bound");
        assert_eq!(both.bound("a"), Some(3.0));
        assert_eq!(both.word("w", "ok"), Some("err"));
        assert_eq!(both.word("w", "err"), Some("ok"));
        for lacking in ["only", "none", "w"] {
            assert_eq!(both.sum(lacking), None, "{lacking}");
        }
        let nobody = said(&[None]);
        assert_eq!((nobody.sum("a"), nobody.word("w", "ok")), (None, None));
    }

    #[test]
    fn databases_are_added_up_and_their_mean_is_weighted() {
        let both = said(&[
            Some("db0:keys=3,expires=1,avg_ttl=100\r\ndb2:keys=1,expires=0,avg_ttl=0\r\n"),
            Some("db0:keys=4,expires=3,avg_ttl=500,subexpiry=2\r\ndbsize:1\r\n"),
        ]);
        let all = both.databases();
        let of = |number: u64, name: &str| all[&number][name];
        assert_eq!(all.keys().collect::<Vec<_>>(), [&0, &2]);
        assert_eq!([of(0, "keys"), of(0, "expires"), of(0, "avg_ttl")], [7.0, 4.0, 400.0]);
        assert_eq!([of(0, "subexpiry"), of(2, "keys")], [2.0, 1.0]);
    }
}
