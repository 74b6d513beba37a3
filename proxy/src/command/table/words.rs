//! The words that the table is written in.

pub(super) use crate::command::class::Class::{self, B, I, N, R, T};
pub(super) use crate::command::handling::Local;
pub(super) use crate::command::keys::Keys;
pub(super) use crate::command::policy::{RequestPolicy as Request, ResponsePolicy as Response};
pub(super) use crate::command::row::Row;

use crate::command::blocking::TimeoutAt;
use crate::command::class::Shift;
use crate::command::flags::Flags;
use crate::command::handling::{Channels, Handling, Reason};
use crate::command::row::{CommandId, Since, Version};

/// A row: name, arity, flags, keys, class, handling. Everything else by the methods below.
pub(super) const fn row(
    name: &'static str,
    arity: i16,
    flags: u32,
    keys: Keys,
    class: Class,
    handling: Handling,
) -> Row {
    Row {
        name,
        id: CommandId(0),
        arity,
        flags: Flags::from_bits(flags),
        keys,
        class,
        request_policy: Request::Default,
        response_policy: Response::Default,
        handling,
        since: Since { redis: Some(OLDEST), redis_before: None, valkey: Some(OLDEST) },
        timeout: TimeoutAt::Nowhere,
        shift: Shift::Never,
        category: "",
        members: (0, 0),
    }
}

impl Row {
    pub(super) const fn policy(mut self, request: Request, response: Response) -> Row {
        self.request_policy = request;
        self.response_policy = response;
        self
    }

    /// It blocks for so many seconds as its last argument says.
    pub(super) const fn timeout_last(mut self) -> Row {
        self.timeout = TimeoutAt::Last;
        self
    }

    /// It blocks for so many milliseconds as its last argument says.
    pub(super) const fn millis_last(mut self) -> Row {
        self.timeout = TimeoutAt::LastMillis;
        self
    }

    /// It blocks for so many seconds as its first argument says.
    pub(super) const fn timeout_first(mut self) -> Row {
        self.timeout = TimeoutAt::First;
        self
    }

    /// With more arguments than this it is of another class.
    pub(super) const fn longer_than(mut self, count: u8, class: Class) -> Row {
        self.shift = Shift::LongerThan(count, class);
        self
    }

    /// With BLOCK it is of another class.
    pub(super) const fn with_block(mut self, class: Class) -> Row {
        self.shift = Shift::Block(class);
        self.timeout = TimeoutAt::Block;
        self
    }

    /// Redis has it since this version.
    pub(super) const fn redis(mut self, major: u8, minor: u8) -> Row {
        self.since.redis = Some((major, minor));
        self
    }

    /// Valkey has it since this version.
    pub(super) const fn valkey(mut self, major: u8, minor: u8) -> Row {
        self.since.valkey = Some((major, minor));
        self
    }

    pub(super) const fn redis_only(mut self, major: u8, minor: u8) -> Row {
        self.since.valkey = None;
        self.redis(major, minor)
    }

    pub(super) const fn redis_only_before(mut self, major: u8, minor: u8) -> Row {
        self.since.redis_before = Some((major, minor));
        self.redis_only(OLDEST.0, OLDEST.1)
    }

    /// No server has it.
    pub(super) const fn ours(mut self) -> Row {
        self.since.redis = None;
        self.since.valkey = None;
        self
    }

    pub(super) const fn valkey_only(mut self, major: u8, minor: u8) -> Row {
        self.since.redis = None;
        self.valkey(major, minor)
    }
}

const OLDEST: Version = (0, 0);

pub(super) const NO_KEY: Keys = Keys::None;
pub(super) const KEY_1: Keys = Keys::One(1);
pub(super) const KEY_2: Keys = Keys::One(2);

pub(super) const fn keys(first: u8, last: i8, step: u8) -> Keys {
    Keys::Range { first, last, step }
}

pub(super) const fn counted(count: u8, first: u8, step: u8) -> Keys {
    Keys::Counted { count, first, step, destination: false }
}

/// A destination at 1, then as [`counted`].
pub(super) const fn store_counted(count: u8, first: u8, step: u8) -> Keys {
    Keys::Counted { count, first, step, destination: true }
}

pub(super) const fn streams(from: u8) -> Keys {
    Keys::Streams { from }
}

pub(super) const ROUTED: Handling = Handling::Routed;
pub(super) const ANY_NODE: Handling = Handling::AnyNode;
pub(super) const SHARDS: Handling = Handling::Shards;
pub(super) const NODES: Handling = Handling::Nodes;
pub(super) const SCAN: Handling = Handling::Scan;
pub(super) const RANDOM_KEY: Handling = Handling::RandomKey;
pub(super) const WAIT: Handling = Handling::Wait;
pub(super) const SUBSCRIBERS: Handling = Handling::Subscribers;
pub(super) const CONNECTION: Handling = Handling::Refused(Reason::ChangesConnection);
pub(super) const DEBUGGING: Handling = Handling::Refused(Reason::Debugging);
pub(super) const OF_NODES: Handling = Handling::Refused(Reason::OfNodes);
pub(super) const RESHAPES: Handling = Handling::Refused(Reason::Reshapes);
pub(super) const TAKES_OVER: Handling = Handling::Refused(Reason::TakesOver);
pub(super) const TRANSACTION: Handling = Handling::Transaction;
pub(super) const BY_SLOT: Handling = Handling::BySlot;
pub(super) const FAMILY: Handling = Handling::Refused(Reason::Family);

pub(super) const fn local(command: Local) -> Handling {
    Handling::Local(command)
}

pub(super) const fn subscribe(channels: Channels) -> Handling {
    Handling::Subscribe(channels)
}

pub(super) const fn unsubscribe(channels: Channels) -> Handling {
    Handling::Unsubscribe(channels)
}

pub(super) const fn publish(channels: Channels) -> Handling {
    Handling::Publish(channels)
}

/// Flags as plain bits, because `|` of a type of our own cannot be used in a constant.
macro_rules! bits {
    ($($name:ident)*) => { $(pub(super) const $name: u32 = Flags::$name.bits();)* };
}

pub(super) const NO_FLAG: u32 = 0;
bits! {
    WRITE READONLY DENYOOM FAST BLOCKING PUBSUB ADMIN NOSCRIPT LOADING STALE NO_AUTH NO_MULTI
    MOVABLEKEYS ASKING ALLOW_BUSY NO_MANDATORY_KEYS NO_ASYNC_LOADING SKIP_MONITOR SKIP_COMMANDLOG
    MODULE NOT_KEY RUNS_CODE
}
