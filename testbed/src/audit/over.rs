//! Requests over several slots, and blocks, as what they are for each key: a split write is applied
//! or not in each slot, as its client was told.

use super::blocks;
use super::history::{History, Op, Outcome};
use super::what::What;
use super::wire::Reply;
use crate::key_slot;
use std::collections::HashSet;

/// The same history with a SET or GET for each key of a request over slots, and with what a block
/// consists of in its place.
pub(super) fn by_key(history: &History) -> History {
    let ops = history.ops.iter().flat_map(|op| match &op.what {
        What::SetOver { pairs } => {
            let each = pairs.iter().map(|(key, token)| Op {
                what: What::Set { key: key.clone(), token: token.clone() },
                outcome: in_slot(&op.outcome, key_slot(key.as_bytes())),
                ..op.clone()
            });
            each.collect()
        }
        What::GetOver { keys } => {
            let each = keys.iter().enumerate().map(|(at, key)| Op {
                what: What::Get { key: key.clone() },
                outcome: match &op.outcome {
                    Outcome::Acked(Reply::Array(values)) => match values.get(at) {
                        Some(value) => Outcome::Acked(value.clone()),
                        None => Outcome::Closed,
                    },
                    other => other.clone(),
                },
                ..op.clone()
            });
            each.collect()
        }
        _ => blocks::parts(op),
    });
    History { ops: ops.collect(), ..history.clone() }
}

/// How a split write ended in one of its slots, by what was said of the whole.
fn in_slot(outcome: &Outcome, slot: u16) -> Outcome {
    let Outcome::Unknown(text) = outcome else { return outcome.clone() };
    let Some((_, told)) = text.split_once(" slots applied, ") else { return outcome.clone() };
    // The reason behind the colon may speak of slots too.
    let told = told.split(": ").next().unwrap_or_default();
    if named(told, " not executed").contains(&slot) {
        Outcome::Refused(text.clone())
    } else if named(told, " unknown").contains(&slot) || told.contains(" more ") {
        outcome.clone()
    } else {
        Outcome::Acked(Reply::Simple("OK".to_owned()))
    }
}

/// The numbers before a word: `slots 5, 12 not executed, slots 7 unknown`.
fn named(told: &str, word: &str) -> HashSet<u16> {
    let list = told.split("slots ").find_map(|part| part.split_once(word)).map(|(list, _)| list);
    list.into_iter()
        .flat_map(|list| list.split(", "))
        .filter_map(|slot| slot.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_slot_of_a_split_write_ended_as_told() {
        let text = "UNKNOWNRESULT partly executed: 1 of 4 slots applied, slots 5, 12 not executed, \
                    slots 7 unknown: sent, reply lost: x (slot 5)";
        let whole = Outcome::Unknown(text.to_owned());
        let refused = |slot| matches!(in_slot(&whole, slot), Outcome::Refused(_));
        assert!(refused(5) && refused(12));
        assert_eq!(in_slot(&whole, 7), whole);
        assert!(in_slot(&whole, 9).is_acked());
        let lost = Outcome::Unknown("UNKNOWNRESULT sent, reply lost: x (slot 9)".to_owned());
        assert_eq!(in_slot(&lost, 9), lost);
        assert_eq!(in_slot(&Outcome::Closed, 9), Outcome::Closed);
    }
}
