//! What we know about a request once something happened to it (failure-masking contract, §2).

use crate::slot::Slot;
use crate::topology::{Redirect, RedirectKind, parse_redirect};

/// What is known about the execution of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No node can have seen the whole request.
    NotSent,
    /// A node refused it before executing any of it.
    Rejected(Rejection<'a>),
    /// It was handed over whole and no reply was read: it may have been executed.
    Unknown,
    /// A node answered it: the reply is the client's.
    Done,
}

/// Why a node refused a request before execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection<'a> {
    /// Another node owns the slot.
    Moved(Redirect<'a>),
    /// This one request belongs to the node that is taking the slot over.
    Ask(Redirect<'a>),
    /// Keys of a slot that is on its way are on both sides.
    TryAgain,
    /// The slot has no owner in that node's eyes.
    SlotNotServed,
    /// The cluster is down in that node's eyes.
    ClusterDown,
    /// The node is reading its data set from disk.
    Loading,
    /// A replica without a link to its primary.
    MasterDown,
    /// The node was demoted.
    ReadOnly,
    /// The node was demoted while the request was blocked: it has taken nothing.
    Unblocked,
    /// The node does not know who we are (any more).
    NoAuth,
    /// The node did not have the script that is asked for. No text says so by itself.
    NoScript,
}

/// What an error reply says about the request. `text` is the reply without the leading `-` and
/// the line end; `slot` is that of the request's keys; `forgeable` says that the command runs
/// code of a client (scripts, functions, modules), which can return any text after having
/// written: of its errors only a redirect of the request's own slot is believed, and the caller
/// must still check that the redirect names a known node. `reads_only` says that it changes
/// nothing (EVAL_RO): then it may be sent again because of what a node that does not serve says,
/// forged or not.
pub fn outcome_of_error(
    text: &[u8],
    slot: Option<Slot>,
    forgeable: bool,
    reads_only: bool,
) -> Outcome<'_> {
    let code = text.split(|&b| b == b' ').next().unwrap_or_default();
    let rejection = match code {
        b"MOVED" | b"ASK" => match parse_redirect(text) {
            Some(redirect) if !forgeable || Some(redirect.slot) == slot => match redirect.kind {
                RedirectKind::Moved => Rejection::Moved(redirect),
                RedirectKind::Ask => Rejection::Ask(redirect),
            },
            _ => return Outcome::Done,
        },
        b"TRYAGAIN" | b"CLUSTERDOWN" | b"LOADING" | b"MASTERDOWN" if forgeable && !reads_only => {
            return Outcome::Done;
        }
        b"READONLY" | b"UNBLOCKED" | b"NOAUTH" if forgeable => return Outcome::Done,
        b"TRYAGAIN" => Rejection::TryAgain,
        b"CLUSTERDOWN" if text == b"CLUSTERDOWN Hash slot not served" => Rejection::SlotNotServed,
        b"CLUSTERDOWN" => Rejection::ClusterDown,
        b"LOADING" => Rejection::Loading,
        b"MASTERDOWN" => Rejection::MasterDown,
        b"READONLY" => Rejection::ReadOnly,
        // Not what CLIENT UNBLOCK says: somebody wanted that.
        b"UNBLOCKED" if text.starts_with(b"UNBLOCKED force unblock") => Rejection::Unblocked,
        b"NOAUTH" => Rejection::NoAuth,
        _ => return Outcome::Done,
    };
    Outcome::Rejected(rejection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str, forgeable: bool) -> Outcome<'_> {
        outcome_of_error(text.as_bytes(), Slot::new(12182), forgeable, false)
    }

    #[test]
    fn errors_raised_before_execution_are_rejections() {
        for (text, rejection) in [
            ("TRYAGAIN Multiple keys request during rehashing of slot", Rejection::TryAgain),
            ("CLUSTERDOWN Hash slot not served", Rejection::SlotNotServed),
            ("CLUSTERDOWN The cluster is down", Rejection::ClusterDown),
            (
                "CLUSTERDOWN The cluster is down and only accepts read commands",
                Rejection::ClusterDown,
            ),
            ("LOADING Redis is loading the dataset in memory", Rejection::Loading),
            ("LOADING Valkey is loading the dataset in memory", Rejection::Loading),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Rejection::MasterDown,
            ),
            ("READONLY You can't write against a read only replica.", Rejection::ReadOnly),
            (
                "UNBLOCKED force unblock from blocking operation, instance state changed \
                 (master -> replica?)",
                Rejection::Unblocked,
            ),
            ("NOAUTH Authentication required.", Rejection::NoAuth),
        ] {
            assert_eq!(outcome(text, false), Outcome::Rejected(rejection), "{text}");
            assert_eq!(outcome(text, true), Outcome::Done, "a script can forge: {text}");
        }
    }

    #[test]
    fn a_script_that_only_reads_is_sent_again_to_a_node_that_serves() {
        let of = |text: &'static str| outcome_of_error(text.as_bytes(), Slot::new(7), true, true);
        let down = Outcome::Rejected(Rejection::ClusterDown);
        assert_eq!(of("CLUSTERDOWN The cluster is down"), down);
        assert_eq!(of("READONLY You can't write against a read only replica."), Outcome::Done);
        assert_eq!(of("MOVED 8 127.0.0.1:7001"), Outcome::Done, "not its own slot");
    }

    #[test]
    fn other_errors_are_the_clients() {
        for text in [
            "ERR unknown command 'x'",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "NOSCRIPT No matching script. Please use EVAL.",
            "MOVEDX 1 a:1",
            "MOVED nonsense",
            "BUSY Redis is busy running a script.",
            "UNBLOCKED client unblocked via CLIENT UNBLOCK",
            "",
        ] {
            assert_eq!(outcome(text, false), Outcome::Done, "{text}");
        }
    }

    #[test]
    fn a_script_is_believed_only_about_its_own_slot() {
        let own = outcome("MOVED 12182 127.0.0.1:7001", true);
        assert!(matches!(own, Outcome::Rejected(Rejection::Moved(_))), "{own:?}");
        assert_eq!(outcome("MOVED 1 127.0.0.1:7001", true), Outcome::Done);
        assert_eq!(outcome("ASK 1 127.0.0.1:7001", true), Outcome::Done);
        let plain = outcome("ASK 12182 127.0.0.1:7001", false);
        assert!(matches!(plain, Outcome::Rejected(Rejection::Ask(_))), "{plain:?}");
    }
}
