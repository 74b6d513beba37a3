//! After each thing that happens to a request: what next?

use super::outcome::{Outcome, Rejection};

/// What is to be done with a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The reply is the client's: hand it over as it is.
    Deliver,
    /// Send it to the node that the redirect names.
    Follow {
        /// `ASKING` goes right before it.
        asking: bool,
    },
    /// Route it anew and send it at once.
    Resend,
    /// Let it wait, then route it anew.
    Park(Place),
    /// Answer the client with an error of ours.
    GiveUp(GiveUp),
}

/// What has to wait when a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The requests of this slot that were rejected; others may pass.
    Slot,
    /// Everything that goes to the same node: the node is away or not ready.
    Node,
}

/// Why there is nothing more to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// It may have been executed, and once more would be twice.
    Unknown,
}

/// The facts beside the outcome that the verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// It may be sent a second time although it may have been executed: it only reads, or the
    /// operator wants it.
    pub replayable: bool,
    /// It runs code of a client, which can forge error texts.
    pub forgeable: bool,
    /// The node that a redirect names is listed in a view of a known node.
    pub target_known: bool,
    /// That node brings nothing new: this request came from there, or was sent around before.
    pub target_tried: bool,
}

/// What to do after `outcome`. Deadlines are the business of whoever carries a `Park` out.
pub fn verdict(outcome: &Outcome<'_>, situation: Situation) -> Verdict {
    match outcome {
        Outcome::Done => Verdict::Deliver,
        Outcome::NotSent => Verdict::Resend,
        Outcome::Unknown if situation.replayable => Verdict::Resend,
        Outcome::Unknown => Verdict::GiveUp(GiveUp::Unknown),
        Outcome::Rejected(rejection) => after_rejection(rejection, situation),
    }
}

fn after_rejection(rejection: &Rejection<'_>, situation: Situation) -> Verdict {
    match rejection {
        Rejection::Moved(_) | Rejection::Ask(_) => {
            if situation.target_known && !situation.target_tried {
                Verdict::Follow { asking: matches!(rejection, Rejection::Ask(_)) }
            } else if !situation.target_known && situation.forgeable {
                // A script's text naming a stranger is a text, not a redirect.
                Verdict::Deliver
            } else if situation.forgeable {
                // A true redirect leads somewhere new. One that does not may be a script's own
                // words after it has written: once more could be twice, and "not executed" a lie.
                Verdict::GiveUp(GiveUp::Unknown)
            } else {
                Verdict::Park(Place::Slot)
            }
        }
        Rejection::TryAgain | Rejection::SlotNotServed => Verdict::Park(Place::Slot),
        // The node that was demoted says where to, and the waiting goes on there at once: whoever
        // waits in a parking lot cannot be handed anything.
        Rejection::NoScript | Rejection::Unblocked => Verdict::Resend,
        Rejection::ClusterDown
        | Rejection::Loading
        | Rejection::MasterDown
        | Rejection::ReadOnly
        | Rejection::NoAuth => Verdict::Park(Place::Node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Class, RetryUnknown, blocks, class, repeatable, resolve};
    use crate::resp::{Args, Span};
    use crate::routing::outcome_of_error;
    use crate::slot::Slot;

    const PLAIN: Situation =
        Situation { replayable: false, forgeable: false, target_known: true, target_tried: false };

    fn after(error: &str, situation: Situation) -> Verdict {
        let outcome = outcome_of_error(error.as_bytes(), Slot::new(7), situation.forgeable, false);
        verdict(&outcome, situation)
    }

    #[test]
    fn a_lost_reply_is_sent_again_only_if_it_changes_nothing() {
        let write = PLAIN;
        let read = Situation { replayable: true, ..PLAIN };
        assert_eq!(verdict(&Outcome::Unknown, write), Verdict::GiveUp(GiveUp::Unknown));
        assert_eq!(verdict(&Outcome::Unknown, read), Verdict::Resend);
        assert_eq!(verdict(&Outcome::NotSent, write), Verdict::Resend);
        assert_eq!(verdict(&Outcome::Done, write), Verdict::Deliver);
    }

    #[test]
    fn redirects_with_news_are_followed_and_circles_wait() {
        let tried = Situation { target_tried: true, ..PLAIN };
        let stranger = Situation { target_known: false, ..PLAIN };
        for (error, asking) in [("MOVED 7 a:1", false), ("ASK 7 a:1", true)] {
            assert_eq!(after(error, PLAIN), Verdict::Follow { asking });
            assert_eq!(after(error, tried), Verdict::Park(Place::Slot));
            assert_eq!(after(error, stranger), Verdict::Park(Place::Slot));
        }
    }

    #[test]
    fn a_script_cannot_name_a_stranger() {
        let script = Situation { forgeable: true, target_known: false, ..PLAIN };
        assert_eq!(after("MOVED 7 evil.example:6379", script), Verdict::Deliver);
        assert_eq!(after("CLUSTERDOWN The cluster is down", script), Verdict::Deliver);
        let known = Situation { target_known: true, ..script };
        assert_eq!(after("MOVED 7 a:1", known), Verdict::Follow { asking: false });
        let circle = Situation { target_tried: true, ..known };
        assert_eq!(after("MOVED 7 a:1", circle), Verdict::GiveUp(GiveUp::Unknown));
    }

    #[test]
    fn waiting_is_for_the_slot_or_for_the_node() {
        for (error, place) in [
            ("TRYAGAIN Multiple keys request during rehashing of slot", Place::Slot),
            ("CLUSTERDOWN Hash slot not served", Place::Slot),
            ("CLUSTERDOWN The cluster is down", Place::Node),
            ("LOADING Redis is loading the dataset in memory", Place::Node),
            ("READONLY You can't write against a read only replica.", Place::Node),
            ("NOAUTH Authentication required.", Place::Node),
        ] {
            assert_eq!(after(error, PLAIN), Verdict::Park(place), "{error}");
        }
    }
    /// Of what blocks, each form: with `retry-unknown = "blocking"`, what is popped and goes nowhere
    /// is popped once more after a lost reply; nothing else that takes ever is. What was not sent or
    /// was rejected goes out again in any case.
    #[test]
    fn what_blocks_is_sent_again_unless_it_may_have_taken_something() {
        let retry = |blocking| RetryUnknown { idempotent: true, blocking };
        for (line, expected, with_blocking) in [
            ("BLPOP a 0", Class::B, true),
            ("BRPOP a 0", Class::B, true),
            ("BZPOPMIN a 0", Class::B, true),
            ("BZPOPMAX a 0", Class::B, true),
            ("BLMPOP 0 1 a LEFT", Class::B, true),
            ("BZMPOP 0 1 a MIN", Class::B, true),
            ("BLMOVE a b LEFT LEFT 0", Class::B, false),
            ("BRPOPLPUSH a b 0", Class::B, false),
            ("XREADGROUP GROUP g c BLOCK 0 STREAMS a >", Class::B, false),
            ("WAIT 1 0", Class::B, false),
            ("WAITAOF 0 1 0", Class::B, false),
        ] {
            let unknown = |retry| after_loss_of(line, expected, retry);
            let again = if with_blocking { Verdict::Resend } else { GIVEN_UP };
            assert_eq!(unknown(retry(false)), GIVEN_UP, "{line}");
            assert_eq!(unknown(retry(true)), again, "{line}");
        }
        // It takes nothing away, so that it is class R.
        let read = after_loss_of("XREAD BLOCK 0 STREAMS a 0", Class::R, retry(false));
        assert_eq!(read, Verdict::Resend);
        for (error, expected) in [
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed (x)",
                Verdict::Resend,
            ),
            ("UNBLOCKED client unblocked via CLIENT UNBLOCK", Verdict::Deliver),
            ("MOVED 7 a:1", Verdict::Follow { asking: false }),
            ("TRYAGAIN Multiple keys request during rehashing of slot", PARKED),
        ] {
            assert_eq!(after(error, PLAIN), expected, "{error}");
        }
        assert_eq!(verdict(&Outcome::NotSent, PLAIN), Verdict::Resend);
    }

    const GIVEN_UP: Verdict = Verdict::GiveUp(GiveUp::Unknown);
    const PARKED: Verdict = Verdict::Park(Place::Slot);

    /// What next for a request that blocks and of which the reply was lost.
    fn after_loss_of(line: &str, expected: Class, retry: RetryUnknown) -> Verdict {
        let mut spans: Vec<Span> = Vec::new();
        for word in line.split(' ') {
            let start = spans.last().map_or(0, |last| last.end + 1);
            spans.push(Span { start, end: start + word.len() as u32 });
        }
        let args = Args::new(line.as_bytes(), &spans);
        let row = resolve(&args).expect("a command");
        let class = class(row, &args);
        assert!(blocks(row, &args), "{line}");
        assert_eq!(class, expected, "{line}");
        let replayable = repeatable(row, class, retry);
        verdict(&Outcome::Unknown, Situation { replayable, ..PLAIN })
    }
}
