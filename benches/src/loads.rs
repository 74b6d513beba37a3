//! What is sent: one row a load, and the keys it works on.

/// One load: what every target is put under in each round.
#[derive(Debug)]
pub struct Load {
    /// Short name, for `--only` and the files.
    pub name: &'static str,
    /// What it is, in words for the report.
    pub title: &'static str,
    /// Client connections.
    pub connections: usize,
    /// Requests that a connection sends in one write, before it waits for all their replies; keys of
    /// one request, where the action has several.
    pub pipeline: usize,
    /// The command.
    pub action: Action,
    /// The keys, which exist before the load begins.
    pub keys: &'static Keys,
}

/// The command of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Reads a random key.
    Get,
    /// Writes a random key, with the value it has already.
    Set,
    /// Reads as many random keys in one request as else a pipeline would. Each of them counts as a
    /// request, so that the figures stand beside those of the pipeline.
    Mget,
    /// Writes as many random keys in one transaction, MULTI to EXEC in one write, as else a pipeline
    /// would. Each of them counts as a request.
    Multi,
}

/// A set of keys, all with values of one length.
#[derive(Debug, PartialEq, Eq)]
pub struct Keys {
    /// Key `n` is this and `n` in twelve digits: 16 bytes, as in the design's measurements.
    pub prefix: &'static [u8; 4],
    /// How many there are.
    pub count: u32,
    /// Length of each value; it begins with the key, so that every reply can be checked.
    pub value_bytes: usize,
}

/// Values as caches hold them.
pub static SMALL: Keys = Keys { prefix: b"key:", count: 100_000, value_bytes: 32 };

/// Values of 16 KiB, few enough that all backends stay small.
pub static LARGE: Keys = Keys { prefix: b"big:", count: 1_000, value_bytes: 16 * 1024 };

/// All in one slot, which the tag in their names says.
pub static ONE_SLOT: Keys = Keys { prefix: b"{s}:", count: 1_000, value_bytes: 32 };

/// Connections of the memory rows.
pub const IDLE_CONNECTIONS: usize = 9_000;

/// The name by which `--only` chooses the memory rows.
pub const IDLE: &str = "idle-9000";

/// All loads, in the order of a round.
pub static LOADS: [Load; 12] = [
    Load {
        name: "single",
        title: "1 connection, GET",
        connections: 1,
        pipeline: 1,
        action: Action::Get,
        keys: &SMALL,
    },
    Load {
        name: "c50",
        title: "50 connections, GET",
        connections: 50,
        pipeline: 1,
        action: Action::Get,
        keys: &SMALL,
    },
    Load {
        name: "c50-p16",
        title: "50 connections, pipeline 16, GET",
        connections: 50,
        pipeline: 16,
        action: Action::Get,
        keys: &SMALL,
    },
    Load {
        name: "c50-p16-set",
        title: "50 connections, pipeline 16, SET",
        connections: 50,
        pipeline: 16,
        action: Action::Set,
        keys: &SMALL,
    },
    Load {
        name: "c50-p16-set-slot",
        title: "50 connections, pipeline 16, SET, one slot",
        connections: 50,
        pipeline: 16,
        action: Action::Set,
        keys: &ONE_SLOT,
    },
    Load {
        name: "c50-p5-set-slot",
        title: "50 connections, pipeline 5, SET, one slot",
        connections: 50,
        pipeline: 5,
        action: Action::Set,
        keys: &ONE_SLOT,
    },
    Load {
        name: "c50-multi5",
        title: "50 connections, MULTI, 5 SETs, EXEC (per SET)",
        connections: 50,
        pipeline: 5,
        action: Action::Multi,
        keys: &ONE_SLOT,
    },
    Load {
        name: "c8-p64",
        title: "8 connections, pipeline 64, GET",
        connections: 8,
        pipeline: 64,
        action: Action::Get,
        keys: &SMALL,
    },
    Load {
        name: "c8-p100",
        title: "8 connections, pipeline 100, GET",
        connections: 8,
        pipeline: 100,
        action: Action::Get,
        keys: &SMALL,
    },
    Load {
        name: "c8-mget100",
        title: "8 connections, MGET of 100 keys (per key)",
        connections: 8,
        pipeline: 100,
        action: Action::Mget,
        keys: &SMALL,
    },
    Load {
        name: "c1000",
        title: "1,000 connections, GET",
        connections: 1_000,
        pipeline: 1,
        action: Action::Get,
        keys: &SMALL,
    },
    Load {
        name: "c50-16k",
        title: "50 connections, GET of 16 KiB",
        connections: 50,
        pipeline: 1,
        action: Action::Get,
        keys: &LARGE,
    },
];

/// The load of that name.
pub fn by_name(name: &str) -> Option<&'static Load> {
    LOADS.iter().find(|load| load.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: HashSet<&str> = LOADS.iter().map(|load| load.name).chain([IDLE]).collect();
        assert_eq!(names.len(), LOADS.len() + 1);
        assert!(LOADS.iter().all(|load| by_name(load.name).is_some_and(|it| it.name == load.name)));
        assert!(by_name("c5").is_none());
    }
}
