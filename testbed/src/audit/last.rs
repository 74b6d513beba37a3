//! What the servers hold at the end, read from the owners themselves and not through a proxy.

use super::history::{History, Key};
use super::what::What;
use super::wire::{Conn, Reply};
use crate::key_slot;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::time::Duration;

/// What each key of a history holds at the end; a key that does not exist is not in it.
#[derive(Clone, Debug, Default)]
pub struct Final {
    /// Registers, counters, and strings made by APPEND.
    pub strings: HashMap<Key, String>,
    /// Lists.
    pub lists: HashMap<Key, Vec<String>>,
    /// Sets, in any order.
    pub sets: HashMap<Key, Vec<String>>,
}

impl Final {
    /// Reads every key that `history` names from the server whose address `owner` gives for its
    /// slot.
    ///
    /// # Errors
    /// A slot has no owner, or the owner does not answer as one.
    pub fn read(history: &History, owner: impl Fn(u16) -> Result<String>) -> Result<Final> {
        let mut conns: HashMap<String, Conn> = HashMap::new();
        let mut ask = |command: &[&str]| -> Result<Reply> {
            let key = command[1];
            let addr = owner(key_slot(key))?;
            if !conns.contains_key(&addr) {
                conns.insert(addr.clone(), Conn::connect(&addr, TIMEOUT)?);
            }
            let conn = conns.get_mut(&addr).context("it was just opened")?;
            conn.ask(command, TIMEOUT).with_context(|| format!("{addr} was asked for {key}"))
        };
        let mut end = Final::default();
        let mut seen = std::collections::HashSet::new();
        let prepared = history.bases.iter().map(|(key, _)| (key, Sort::String));
        let used = history.ops.iter().flat_map(|op| match &op.what {
            What::Push { key, .. } => vec![(key, Sort::List)],
            What::Member { key, .. } => vec![(key, Sort::Set)],
            What::SetBoth { keys, .. } => keys.iter().map(|key| (key, Sort::String)).collect(),
            What::SetOver { pairs } => pairs.iter().map(|(key, _)| (key, Sort::String)).collect(),
            // Counters and accounts are prepared.
            What::Block { list: key, .. }
            | What::Transfer { book: key, .. }
            | What::Offer { queue: key, .. }
            | What::Take { queue: key } => vec![(key, Sort::List)],
            What::Subscribe { .. } | What::Publish { .. } => vec![],
            what => what.key().map(|key| (key, Sort::String)).into_iter().collect(),
        });
        for (key, sort) in prepared.chain(used) {
            if !seen.insert(key.clone()) {
                continue;
            }
            let command = match sort {
                Sort::String => vec!["GET", key],
                Sort::List => vec!["LRANGE", key, "0", "-1"],
                Sort::Set => vec!["SMEMBERS", key],
            };
            match (ask(&command)?, sort) {
                (Reply::Nil, Sort::String) => {}
                (Reply::Bulk(text), Sort::String) => {
                    end.strings.insert(key.clone(), text);
                }
                (Reply::Array(items), Sort::List | Sort::Set) => {
                    let items = items.iter().map(|item| item.bulk().map(str::to_owned));
                    let items = items.collect::<Option<Vec<_>>>().context("no list of strings")?;
                    let into = if sort == Sort::List { &mut end.lists } else { &mut end.sets };
                    into.insert(key.clone(), items);
                }
                (other, _) => anyhow::bail!("the owner of {key} answered {other:?}"),
            }
        }
        Ok(end)
    }

    /// Every word that stands somewhere, strings cut into their tokens.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let strings = self.strings.values().flat_map(|text| tokens(text));
        let items = self.lists.values().chain(self.sets.values()).flatten().map(String::as_str);
        strings.chain(items)
    }
}

/// The tokens of a string that APPEND made, or the one value of a register.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('.').split(';').filter(|token| !token.is_empty())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    String,
    List,
    Set,
}

const TIMEOUT: Duration = Duration::from_secs(5);
