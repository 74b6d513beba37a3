//! To whom a command without a single slot goes, and how the replies become one.
//!
//! The servers' tips (`request_policy`, `response_policy`) with the corrections that
//! `spec/cluster-semantics.md` §4.3 asks for: the tips differ by version and have mistakes.

/// Who gets the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestPolicy {
    /// The owner of its slot; any node if it has no keys.
    Default,
    /// Every primary and replica.
    AllNodes,
    /// Every primary.
    AllShards,
    /// Split by slot, each part to the slot's owner. (The servers' name is misleading: two slots
    /// of one shard are still two parts.) Never when a condition ties the parts together, as NX
    /// and XX of MSETEX do.
    MultiShard,
    /// Has a way of its own: SCAN, CLUSTERSCAN, WAIT, WAITAOF.
    Special,
}

/// How the replies become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponsePolicy {
    /// Arrays are joined: in the order of the keys if it has keys, else in any order.
    Default,
    /// The first that is no error; if all are errors, one of them.
    OneSucceeded,
    /// An error if there is one, else any reply.
    AllSucceeded,
    /// The sum, by element if the replies are arrays.
    AggSum,
    /// The smallest, by element if the replies are arrays.
    AggMin,
    /// The largest, by element if the replies are arrays.
    AggMax,
    /// 1 if all are 1, by element if the replies are arrays.
    AggLogicalAnd,
    /// 1 if one is 1, by element if the replies are arrays.
    AggLogicalOr,
    /// Ours: the newest entries of all, as many as the third word says, or ten.
    Log,
    /// Ours: as [`ResponsePolicy::Log`], of ACL LOG, whose entries tell their age; with RESET
    /// as [`ResponsePolicy::AllSucceeded`].
    AclLog,
    /// Ours: all entries, by time.
    History,
    /// Ours: one row for each event.
    Events,
    /// Ours: entries for slots, by slot or as ORDERBY and LIMIT say.
    SlotStats,
    /// Ours: the one that tells of a script that runs, else any.
    Running,
    /// Has a merge of its own, or none.
    Special,
}
