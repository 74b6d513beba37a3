//! What is known of a transaction, and what next: its fate is decided as one (failure-masking
//! contract, §3, class T).
//!
//! A block MULTI … EXEC that was certainly not executed is sent again whole. Behind a WATCH that
//! cannot be, for only the connection that is lost or was left knew what was watched: then EXEC is
//! answered with null, which every client handles as a lost optimistic lock.

use super::outcome::{Outcome, outcome_of_error};
use super::verdict::{Situation, Verdict, verdict};
use crate::slot::Slot;

/// What EXEC says when commands were refused while they were queued.
const REFUSED: &[u8] = b"EXECABORT ";
/// What it says when it was refused itself and is no matter of slots; the error follows.
const REFUSED_ITSELF: &[u8] = b"EXECABORT Transaction discarded because of: ";

/// What is to be done with a transaction now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterBlock {
    /// As with a request, with the whole block: from MULTI on, if anything is sent again.
    As(Verdict),
    /// EXEC is answered with null: nothing of it was executed.
    NullExec,
}

/// What the error that EXEC was answered with says about the block; `exec` and `refusals` are
/// without the leading `-` and the line end, `refusals` being the errors that its commands were
/// answered with while they were queued. Nothing here can be forged: no script has run.
pub fn outcome_of_exec<'a>(
    exec: &'a [u8],
    refusals: impl IntoIterator<Item = &'a [u8]>,
    slot: Option<Slot>,
) -> Outcome<'a> {
    let said = |text| outcome_of_error(text, slot, false, false);
    if let Some(reason) = exec.strip_prefix(REFUSED_ITSELF) {
        return said(reason);
    }
    if !exec.starts_with(REFUSED) {
        return said(exec);
    }
    // A refusal that is the client's own fault beside it is repeated wherever the block goes.
    let mut outcomes = refusals.into_iter().map(said);
    outcomes.find(|outcome| matches!(outcome, Outcome::Rejected(_))).unwrap_or(Outcome::Done)
}

/// What to do with a block after `outcome`: [`Outcome::NotSent`] as long as the last byte of EXEC
/// was not handed over, whatever else was. `watched`: there was a WATCH before it, on the same
/// connection. A block that may have been executed is repeated only if all of it only reads, which
/// the situation says, and nothing was watched.
pub fn after_block(outcome: &Outcome<'_>, watched: bool, situation: Situation) -> AfterBlock {
    match outcome {
        Outcome::NotSent | Outcome::Rejected(_) if watched => AfterBlock::NullExec,
        _ => {
            let replayable = situation.replayable && !watched;
            let situation = Situation { replayable, forgeable: false, ..situation };
            AfterBlock::As(verdict(outcome, situation))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{GiveUp, Place};

    const SITUATION: Situation =
        Situation { replayable: false, forgeable: true, target_known: true, target_tried: false };

    const BECAUSE: &str = "EXECABORT Transaction discarded because of previous errors.";
    const MOVED: &str = "MOVED 7 a:1";

    fn after(exec: &str, refusals: &[&str], watched: bool) -> AfterBlock {
        let refusals = refusals.iter().map(|text| text.as_bytes());
        let outcome = outcome_of_exec(exec.as_bytes(), refusals, Slot::new(7));
        after_block(&outcome, watched, SITUATION)
    }

    #[test]
    fn a_block_that_was_not_executed_is_sent_again_or_answered_with_null_behind_a_watch() {
        let follow = |asking| Verdict::Follow { asking };
        let (slot, node) = (Verdict::Park(Place::Slot), Verdict::Park(Place::Node));
        for (exec, refusals, expected) in [
            (MOVED, &[][..], follow(false)),
            ("ASK 7 a:1", &[], follow(true)),
            ("TRYAGAIN Multiple keys request during rehashing of slot", &[], slot),
            ("CLUSTERDOWN Hash slot not served", &[], slot),
            ("CLUSTERDOWN The cluster is down", &[], node),
            (BECAUSE, &[MOVED], follow(false)),
            (BECAUSE, &["ASK 7 a:1", MOVED], follow(true)),
            (BECAUSE, &["CLUSTERDOWN The cluster is down"], node),
            (BECAUSE, &["ERR wrong number of arguments for 'get' command", MOVED], follow(false)),
            (
                "EXECABORT Transaction discarded because of: LOADING Redis is loading the dataset \
                 in memory",
                &[],
                node,
            ),
            (
                "EXECABORT Transaction discarded because of: MASTERDOWN Link with MASTER is down",
                &[],
                node,
            ),
        ] {
            assert_eq!(after(exec, refusals, false), AfterBlock::As(expected), "{exec}");
            assert_eq!(after(exec, refusals, true), AfterBlock::NullExec, "{exec}");
        }
    }

    #[test]
    fn a_block_that_the_client_got_wrong_is_its_own() {
        for (exec, refusals) in [
            (BECAUSE, &["ERR unknown command 'x'"][..]),
            (BECAUSE, &["OOM command not allowed when used memory > 'maxmemory'."]),
            (BECAUSE, &[]),
            ("EXECABORT Transaction discarded because of: OOM command not allowed …", &[]),
            ("EXECABORT Transaction discarded because of: NOREPLICAS Not enough …", &[]),
            ("CROSSSLOT Keys in request don't hash to the same slot", &[]),
            ("ERR EXEC without MULTI", &[]),
        ] {
            for watched in [false, true] {
                let delivered = AfterBlock::As(Verdict::Deliver);
                assert_eq!(after(exec, refusals, watched), delivered, "{exec}");
            }
        }
    }

    #[test]
    fn a_loss_counts_from_the_last_byte_of_exec() {
        let unknown = AfterBlock::As(Verdict::GiveUp(GiveUp::Unknown));
        for (outcome, watched, expected) in [
            (Outcome::NotSent, false, AfterBlock::As(Verdict::Resend)),
            (Outcome::NotSent, true, AfterBlock::NullExec),
            (Outcome::Unknown, false, unknown),
            (Outcome::Unknown, true, unknown),
            (Outcome::Done, false, AfterBlock::As(Verdict::Deliver)),
            (Outcome::Done, true, AfterBlock::As(Verdict::Deliver)),
        ] {
            assert_eq!(after_block(&outcome, watched, SITUATION), expected, "{outcome:?}");
        }
        let reads = Situation { replayable: true, ..SITUATION };
        let again = AfterBlock::As(Verdict::Resend);
        assert_eq!(after_block(&Outcome::Unknown, false, reads), again);
        assert_eq!(after_block(&Outcome::Unknown, true, reads), unknown);
    }
}
