//! The table itself, joined from its groups when this is compiled.

use super::learned;
use super::row::{CommandId, Row};

mod arrays;
mod bitmaps;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hashes;
mod hyperloglogs;
mod lists;
mod proxy;
mod pubsub;
mod scripting;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod transactions;
mod vectors;
mod words;

/// The row with this identity.
#[inline]
pub fn row(id: CommandId) -> &'static Row {
    ROWS.get(id.index()).unwrap_or_else(|| learned::by_id(id))
}

/// All rows, in the order of their identities. Subcommands follow their family.
pub fn rows() -> impl ExactSizeIterator<Item = &'static Row> {
    ROWS.iter()
}

/// The rows from one place to another; none beyond the table.
pub(super) fn slice((start, end): (u16, u16)) -> &'static [Row] {
    ROWS.get(usize::from(start)..usize::from(end)).unwrap_or_default()
}

/// EXEC's row: what stands for a whole transaction on its way.
pub const EXEC: CommandId = id_of(b"exec");

const fn id_of(name: &[u8]) -> CommandId {
    let mut row = 0;
    while !is_same(ROWS[row].name.as_bytes(), name) {
        row += 1;
    }
    CommandId(row as u16)
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// How many rows there are.
pub(super) const COUNT: usize = count();

pub(super) static ROWS: [Row; COUNT] = join();

/// The groups, each with the ACL category that a server has for it, if any.
const GROUPS: &[(&str, &[Row])] = &[
    ("@string", strings::ROWS),
    ("@hash", hashes::ROWS),
    ("@list", lists::ROWS),
    ("@set", sets::ROWS),
    ("@sortedset", sorted_sets::ROWS),
    ("@stream", streams::ROWS),
    ("@bitmap", bitmaps::ROWS),
    ("@hyperloglog", hyperloglogs::ROWS),
    ("@geo", geo::ROWS),
    ("", vectors::ROWS),
    ("", arrays::ROWS),
    ("@keyspace", generic::ROWS),
    ("@scripting", scripting::ROWS),
    ("@pubsub", pubsub::ROWS),
    ("@transaction", transactions::ROWS),
    ("@connection", connection::ROWS),
    ("", server::ROWS),
    ("", cluster::ROWS),
    ("", proxy::ROWS),
];

const fn count() -> usize {
    let mut count = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        count += GROUPS[group].1.len();
        group += 1;
    }
    count
}

const fn join() -> [Row; COUNT] {
    let mut rows = [GROUPS[0].1[0]; COUNT];
    let mut next = 0;
    let mut group = 0;
    while group < GROUPS.len() {
        let mut place = 0;
        while place < GROUPS[group].1.len() {
            rows[next] = GROUPS[group].1[place];
            rows[next].category = GROUPS[group].0;
            rows[next].id = CommandId(next as u16);
            next += 1;
            place += 1;
        }
        group += 1;
    }
    let mut family = 0;
    while family < COUNT {
        let mut end = family + 1;
        while end < COUNT && is_member(rows[end].name.as_bytes(), rows[family].name.as_bytes()) {
            end += 1;
        }
        rows[family].members = (family as u16 + 1, end as u16);
        family += 1;
    }
    rows
}

/// Whether `name` is `family`, a bar, and more.
const fn is_member(name: &[u8], family: &[u8]) -> bool {
    if name.len() <= family.len() || name[family.len()] != b'|' {
        return false;
    }
    let mut i = 0;
    while i < family.len() {
        if name[i] != family[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Flags, Handling, Keys, Reason};

    #[test]
    fn identities_are_dense_and_names_unique_and_in_lower_case() {
        let mut names = std::collections::HashSet::new();
        for (place, row) in rows().enumerate() {
            assert_eq!(row.id.index(), place);
            assert_eq!(super::row(row.id).name, row.name);
            assert_eq!(row.name, row.name.to_ascii_lowercase());
            assert!(names.insert(row.name), "{} has two rows", row.name);
        }
        assert_eq!(names.len(), CommandId::COUNT);
    }

    #[test]
    fn every_subcommand_belongs_to_exactly_one_family() {
        let members: Vec<_> = rows().flat_map(|r| r.subcommands()).map(|r| r.name).collect();
        let named: Vec<_> = rows().filter(|r| r.name.contains('|')).map(|r| r.name).collect();
        assert_eq!(members, named);
    }

    /// A family is refused as such (COMMAND alone is a command too), and nothing else is.
    #[test]
    fn only_families_are_handled_as_families() {
        for row in rows() {
            let refused = row.handling == Handling::Refused(Reason::Family);
            assert_eq!(refused, row.is_family() && row.name != "command", "{}", row.name);
        }
    }

    #[test]
    fn what_is_routed_has_keys_and_harms_no_connection() {
        for row in rows() {
            match row.handling {
                Handling::Routed => assert_ne!(row.keys, Keys::None, "{}", row.name),
                Handling::AnyNode | Handling::BySlot => {
                    assert_eq!(row.keys, Keys::None, "{}", row.name);
                }
                Handling::Shards
                | Handling::Nodes
                | Handling::Scan
                | Handling::Wait
                | Handling::RandomKey => {
                    assert_eq!(row.keys, Keys::None, "{}", row.name);
                }
                Handling::Local(_) | Handling::Transaction | Handling::Refused(_) => {}
                Handling::Publish(_) => {}
                Handling::Subscribe(_) | Handling::Unsubscribe(_) | Handling::Subscribers => {}
            }
            for never in [Flags::ADMIN, Flags::ASKING, Flags::NO_AUTH, Flags::NO_MULTI] {
                assert!(
                    !(row.handling == Handling::Routed && row.flags.contains(never)),
                    "{} is {never:?} and must not enter a shared connection",
                    row.name
                );
            }
        }
    }
}
