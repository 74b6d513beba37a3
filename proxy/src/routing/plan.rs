//! Decides once, in slots, what is to be done with a request. It never sees a node's address.

use crate::command::{
    self, Channels, Handling, Keys, KeysInSlots, Local, Refusal, RequestPolicy, Row,
};
use crate::resp::Args;
use crate::slot::Slot;

/// What is to be done with a request.
#[derive(Debug)]
pub enum Plan {
    /// The owner of this slot executes it.
    Slot(&'static Row, Slot),
    /// Any primary can execute it: it has no key.
    AnyPrimary(&'static Row),
    /// slotway answers it itself.
    Local(&'static Row, Local),
    /// Its client is to be subscribed.
    Subscribe(&'static Row, Channels),
    /// Subscriptions of its client are to end.
    Unsubscribe(&'static Row, Channels),
    /// The owner of this slot executes it, and who receives the message is counted.
    Publish(&'static Row, Channels, Slot),
    /// Every node is asked who is subscribed.
    Subscribers(&'static Row),
    /// Its keys are in several slots: one part a slot.
    Split(&'static Row),
    /// Every shard executes it.
    Shards(&'static Row),
    /// Every node executes it.
    Nodes(&'static Row),
    /// The owner of the slots that its cursor has come to executes it.
    Scan(&'static Row),
    /// A primary that is chosen by how many keys the primaries have executes it.
    RandomKey(&'static Row),
    /// The shards that its client has written to answer it.
    Wait(&'static Row),
    /// It begins, ends or guards a transaction.
    Transaction(&'static Row),
    /// Only a node can tell where its keys are.
    AskKeys(&'static Row),
    /// Its keys are in several slots and it cannot be split.
    CrossSlot(&'static Row),
    /// It is answered with an error as a server words it: unknown, or wrongly used.
    Refuse(Refusal),
}

impl Plan {
    /// The row of its command; `None` if it is refused.
    pub fn row(&self) -> Option<&'static Row> {
        match self {
            Plan::Slot(row, _)
            | Plan::AnyPrimary(row)
            | Plan::Local(row, _)
            | Plan::Subscribe(row, _)
            | Plan::Unsubscribe(row, _)
            | Plan::Publish(row, ..)
            | Plan::Subscribers(row)
            | Plan::Split(row)
            | Plan::Shards(row)
            | Plan::Nodes(row)
            | Plan::Scan(row)
            | Plan::RandomKey(row)
            | Plan::Wait(row)
            | Plan::Transaction(row)
            | Plan::AskKeys(row)
            | Plan::CrossSlot(row) => Some(row),
            Plan::Refuse(_) => None,
        }
    }
}

/// The plan for one request, from its row in the command table and the slots of its keys.
#[inline(always)]
pub fn plan(args: &Args<'_>) -> Plan {
    let row = match command::resolve(args) {
        Ok(row) => row,
        Err(refusal) => return Plan::Refuse(refusal),
    };
    by_handling(row, args)
}

/// As [`plan`], for a request inside a transaction, where no server lets a command block.
pub fn plan_queued(args: &Args<'_>) -> Plan {
    match command::resolve(args) {
        Err(refusal) => Plan::Refuse(refusal),
        Ok(row) if row.keys != Keys::None && command::blocks(row, args) => by_keys(row, args),
        Ok(row) => match by_handling(row, args) {
            // Every node tells all others; with its transaction it goes wherever that goes.
            Plan::Publish(row, Channels::Named, _) => Plan::AnyPrimary(row),
            Plan::Publish(row, _, slot) => Plan::Slot(row, slot),
            plan => plan,
        },
    }
}

#[inline(always)]
fn by_handling(row: &'static Row, args: &Args<'_>) -> Plan {
    match row.handling {
        Handling::Routed => by_keys(row, args),
        Handling::Local(local) => Plan::Local(row, local),
        Handling::Subscribe(channels) => Plan::Subscribe(row, channels),
        Handling::Unsubscribe(channels) => Plan::Unsubscribe(row, channels),
        Handling::Publish(channels) => {
            Plan::Publish(row, channels, Slot::of_key(args.get(1).unwrap_or_default()))
        }
        Handling::Subscribers => Plan::Subscribers(row),
        Handling::Shards => Plan::Shards(row),
        Handling::Nodes => Plan::Nodes(row),
        Handling::Scan => Plan::Scan(row),
        Handling::RandomKey => Plan::RandomKey(row),
        Handling::Wait => Plan::Wait(row),
        Handling::AnyNode => Plan::AnyPrimary(row),
        Handling::Transaction => Plan::Transaction(row),
        Handling::BySlot => match slot_named(args) {
            Some(slot) => Plan::Slot(row, slot),
            None => Plan::AnyPrimary(row),
        },
        Handling::Refused(reason) if reason.policy().is_some() => {
            Plan::Refuse(Refusal::NotPassedOn(row, reason))
        }
        Handling::Refused(_) => Plan::Refuse(Refusal::unknown(row)),
    }
}

/// The plan for what policy refuses and the operator has allowed.
pub fn anyway(row: &'static Row, args: &Args<'_>) -> Plan {
    match (by_keys(row, args), row.request_policy) {
        (Plan::AnyPrimary(row), RequestPolicy::AllNodes) => Plan::Nodes(row),
        (Plan::AnyPrimary(row), RequestPolicy::AllShards) => Plan::Shards(row),
        (plan, _) => plan,
    }
}

#[inline]
fn by_keys(row: &'static Row, args: &Args<'_>) -> Plan {
    match command::slot(row, args) {
        KeysInSlots::One(slot) => Plan::Slot(row, slot),
        KeysInSlots::None => Plan::AnyPrimary(row),
        KeysInSlots::Asked => Plan::AskKeys(row),
        KeysInSlots::Several if row.request_policy == RequestPolicy::MultiShard => Plan::Split(row),
        KeysInSlots::Several => Plan::CrossSlot(row),
    }
}

/// The slot whose number is the third word.
fn slot_named(args: &Args<'_>) -> Option<Slot> {
    Slot::new(str::from_utf8(args.get(2)?).ok()?.parse().ok()?)
}
