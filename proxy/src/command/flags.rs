//! A command's flags, as `COMMAND` names them.

use std::fmt;

/// A set of flags. All but [`Flags::NOT_KEY`] and [`Flags::RUNS_CODE`] are the server's own, by
/// the server's names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Flags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl Flags {
            $($(#[$doc])* pub const $name: Flags = Flags(1 << $bit);)*

            /// Every flag beside its name.
            pub const NAMED: &[(&str, Flags)] = &[$(($text, Flags::$name)),*];
        }
    };
}

flags! {
    /// May change data: only a primary takes it.
    WRITE = 0, "write";
    /// Changes no data: a replica may answer it.
    READONLY = 1, "readonly";
    /// Refused when the server is out of memory.
    DENYOOM = 2, "denyoom";
    /// Constant or logarithmic time.
    FAST = 3, "fast";
    /// May hold up its connection (XREAD and XREADGROUP only with BLOCK: ask
    /// [`blocks`](super::blocks)).
    BLOCKING = 4, "blocking";
    /// Publishes, subscribes, or reports about it.
    PUBSUB = 5, "pubsub";
    /// For operators.
    ADMIN = 6, "admin";
    /// Not from scripts.
    NOSCRIPT = 7, "noscript";
    /// Answered while the data set is loaded.
    LOADING = 8, "loading";
    /// Answered by a replica that has lost its primary.
    STALE = 9, "stale";
    /// Answered before authentication.
    NO_AUTH = 10, "no_auth";
    /// Not inside MULTI.
    NO_MULTI = 11, "no_multi";
    /// The old first, last and step do not say where the keys are.
    MOVABLEKEYS = 12, "movablekeys";
    /// Taken as if ASKING stood before it.
    ASKING = 13, "asking";
    /// Answered while a script runs too long.
    ALLOW_BUSY = 14, "allow_busy";
    /// May have no keys at all.
    NO_MANDATORY_KEYS = 15, "no_mandatory_keys";
    /// Refused while a replica loads its data set beside the old one.
    NO_ASYNC_LOADING = 16, "no_async_loading";
    /// Not shown to MONITOR.
    SKIP_MONITOR = 17, "skip_monitor";
    /// Not in the slow log, which Valkey 8.1 calls the command log.
    SKIP_COMMANDLOG = 18, "skip_commandlog";
    /// Comes from a module.
    MODULE = 19, "module";
    /// Ours, from the key specs: what is routed are no keys but shard channels or a cursor.
    /// `COMMAND GETKEYS` does not list them, the router must.
    NOT_KEY = 20, "not_key";
    /// Ours: runs code of a caller, which may make its errors look like the server's (contract
    /// §2, the trap).
    RUNS_CODE = 21, "runs_code";
}

impl Flags {
    pub(super) const fn from_bits(bits: u32) -> Flags {
        Flags(bits)
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    pub const fn has_any(self, flags: &[Flags]) -> bool {
        let (mut all, mut at) = (0, 0);
        while at < flags.len() {
            all |= flags[at].0;
            at += 1;
        }
        self.0 & all != 0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(
                Self::NAMED.iter().filter(|(_, flag)| self.contains(*flag)).map(|(name, _)| name),
            )
            .finish()
    }
}
