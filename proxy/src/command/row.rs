//! One command's row.

use super::blocking::TimeoutAt;
use super::class::{Class, Shift};
use super::flags::Flags;
use super::handling::Handling;
use super::keys::Keys;
use super::policy::{RequestPolicy, ResponsePolicy};
use super::table;

/// What is known of one command or subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// In lower case; of a subcommand both words, as `config|set`.
    pub name: &'static str,
    /// Which row this is.
    pub id: CommandId,
    /// How many arguments it takes, its name (and subcommand) included; negative: at least so
    /// many. The loosest of all versions.
    pub arity: i16,
    /// Every flag that some version sets.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: Keys,
    /// Its class without options; [`class`](super::class()) looks at those.
    pub class: Class,
    /// To whom it goes if not to one slot's owner.
    pub request_policy: RequestPolicy,
    /// How several replies become one.
    pub response_policy: ResponsePolicy,
    /// What the proxy does with it.
    pub handling: Handling,
    /// Which versions have it.
    pub since: Since,
    /// The ACL category of its group, with its @; empty: none.
    pub category: &'static str,
    /// Where its timeout stands, if it blocks.
    pub(super) timeout: TimeoutAt,
    /// How options change the class.
    pub(super) shift: Shift,
    /// Where its subcommands lie in the table: right behind it.
    pub(super) members: (u16, u16),
}

impl Row {
    /// Its subcommands in the table; none if it is no family.
    pub fn subcommands(&self) -> &'static [Row] {
        table::slice(self.members)
    }

    /// Whether it is a family, whose first argument names the command.
    #[inline]
    pub fn is_family(&self) -> bool {
        self.members.0 < self.members.1
    }

    /// Whether it takes this many arguments, its name included.
    #[inline]
    pub fn takes(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        count == wanted || (self.arity < 0 && count > wanted)
    }

    /// Whether it has keys, and neither blocks nor runs code: nearly all that is ever asked.
    #[inline]
    pub fn is_plain(&self) -> bool {
        !self.flags.has_any(&[Flags::BLOCKING, Flags::RUNS_CODE, Flags::MODULE])
            && !matches!(self.keys, Keys::None)
    }

    /// Whether an error of its reply may have been made up by a caller's or a module's code, so
    /// that its text alone proves nothing (contract §2, the trap).
    #[inline]
    pub fn may_forge_errors(&self) -> bool {
        self.flags.has_any(&[Flags::RUNS_CODE, Flags::MODULE])
    }
}

/// Which row of the table a command has: dense, so that it indexes arrays of counters. Those of
/// [learned](super::learn) commands follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub(super) u16);

impl CommandId {
    /// How many rows the table has.
    pub const COUNT: usize = table::COUNT;

    /// From 0 to [`CommandId::COUNT`] − 1; of a learned command above.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Major and minor version of a server.
pub type Version = (u8, u8);

/// Which versions of each product have a command. `(0, 0)` is "as far back as we look": Redis
/// 6.2, Valkey 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Redis has it from this version on, or never.
    pub redis: Option<Version>,
    /// Redis has it no more from this version on.
    pub redis_before: Option<Version>,
    /// Valkey has it from this version on, or never.
    pub valkey: Option<Version>,
}

impl Since {
    /// Whether a server has it: a Valkey of the second version, or a Redis of the first.
    pub fn includes(self, redis: Version, valkey: Option<Version>) -> bool {
        match valkey {
            Some(version) => self.valkey.is_some_and(|first| first <= version),
            None => {
                self.redis.is_some_and(|first| first <= redis)
                    && self.redis_before.is_none_or(|end| redis < end)
            }
        }
    }

    /// Whether no server has it: it is a command of the proxy.
    pub fn is_ours(self) -> bool {
        self.redis.is_none() && self.valkey.is_none()
    }
}
