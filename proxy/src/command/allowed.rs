//! What the operator has allowed of what policy refuses.

use super::handling::Handling;
use super::row::{CommandId, Row};
use super::table::rows;

/// Commands that are passed on although they are refused by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<CommandId>);

impl Allowed {
    /// The commands with these names; names that [`Allowed::knows`] does not know are left out.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Allowed {
        let mut ids: Vec<_> = names.into_iter().flat_map(named).map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        Allowed(ids)
    }

    /// Whether a name is that of something that can be allowed: a command (`debug`), a subcommand
    /// (`config|rewrite`), or a family of which some subcommand can be (`cluster`), in any case.
    pub fn knows(name: &str) -> bool {
        named(name).next().is_some()
    }

    /// Whether this command is passed on.
    pub fn contains(&self, row: &Row) -> bool {
        self.0.binary_search(&row.id).is_ok()
    }
}

/// The rows that a name stands for, of those that can be allowed.
fn named(name: &str) -> impl Iterator<Item = &'static Row> {
    rows()
        .find(|row| row.name.eq_ignore_ascii_case(name))
        .into_iter()
        .flat_map(|row| std::iter::once(row).chain(row.subcommands()))
        .filter(|row| match row.handling {
            Handling::Refused(reason) => reason.can_be_allowed(),
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Reason;

    fn row(name: &str) -> &'static Row {
        rows().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn a_family_stands_for_its_subcommands() {
        let allowed = Allowed::new(["DEBUG", "cluster", "config|rewrite"]);
        for name in ["debug", "cluster|setslot", "cluster|reset", "config|rewrite"] {
            assert!(allowed.contains(row(name)), "{name}");
        }
        for name in ["shutdown", "config|set", "cluster|syncslots", "migrate"] {
            assert!(!allowed.contains(row(name)), "{name}");
        }
    }

    #[test]
    fn only_what_policy_refuses_can_be_allowed_and_not_all_of_it() {
        for row in rows().filter(|row| !row.is_family()) {
            let can_be = matches!(
                row.handling,
                Handling::Refused(Reason::Debugging | Reason::OfNodes | Reason::Reshapes)
            );
            assert_eq!(Allowed::knows(row.name), can_be, "{}", row.name);
        }
        for name in ["monitor", "sync", "multi", "get", "nope", "", "config|get"] {
            assert!(!Allowed::knows(name), "{name}");
        }
    }
}
