//! Errors that a script may have made up, and how to find out (failure-masking contract, §2, the
//! trap).
//!
//! A script, function or module command can return any text, also after it has written. If it
//! says that the node did not execute it, because the cluster is down or the node not ready, the
//! node is asked something harmless right after it: a node in that state says so again.

use super::outcome::{Outcome, Rejection, outcome_of_error};
use crate::slot::Slot;

/// What to ask a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// `EXISTS` of the request's own keys: refused for whatever the request is refused for, but
    /// for writing. With `ASKING` before it, which means nothing where the slot is not arriving.
    Exists,
    /// `PING`: without keys there is no slot, and only the state of the node itself refuses.
    Ping,
    /// `CLUSTER INFO`: the cluster is down and the node answers reads all the same
    /// (`cluster-allow-reads-when-down`), so that it would not refuse `EXISTS`.
    ClusterInfo,
}

/// What to ask about this error, `text` as for [`outcome_of_error`], of a request that runs code
/// of a client. `None` if it is the client's in any case: it says nothing of the kind, or it has
/// the tail of an error that was raised in the midst of a script, or there are no keys and it
/// says what is said about keys only.
pub fn question(text: &[u8], slot: Option<Slot>) -> Option<Question> {
    if memchr::memmem::find(text, b" script: ").is_some() {
        return None;
    }
    match (code(text), slot) {
        (b"NOAUTH", _) | (b"LOADING" | b"MASTERDOWN", None) => Some(Question::Ping),
        (b"CLUSTERDOWN", Some(_)) if text.ends_with(b"only accepts read commands") => {
            Some(Question::ClusterInfo)
        }
        (b"TRYAGAIN" | b"CLUSTERDOWN" | b"LOADING" | b"MASTERDOWN", Some(_)) => {
            Some(Question::Exists)
        }
        _ => None,
    }
}

/// Whether the answer to `question` agrees with the error `said`: the request was refused before
/// it was executed. `answer` is the whole reply, `several` says that the request has more than one
/// key, without which nothing is to be tried again for a slot on its way.
pub fn agrees(
    question: Question,
    said: &[u8],
    answer: &[u8],
    slot: Option<Slot>,
    several: bool,
) -> bool {
    let Some(error) = answer.strip_prefix(b"-") else {
        let down = || memchr::memmem::find(answer, b"cluster_state:fail").is_some();
        return question == Question::ClusterInfo && down();
    };
    // A slot of which the last key has just left, or whose new owner is known by now, was on its
    // way when the request came.
    let on_its_way = || {
        matches!(
            outcome_of_error(error.trim_ascii_end(), slot, false, false),
            Outcome::Rejected(Rejection::Moved(to) | Rejection::Ask(to)) if Some(to.slot) == slot
        )
    };
    code(error.trim_ascii_end()) == code(said)
        || (several && code(said) == b"TRYAGAIN" && on_its_way())
}

fn code(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == b' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refuses_a_request_is_asked_about_and_nothing_else() {
        use Question::{ClusterInfo, Exists, Ping};
        for (text, with_keys, without) in [
            ("CLUSTERDOWN The cluster is down", Some(Exists), None),
            ("CLUSTERDOWN Hash slot not served", Some(Exists), None),
            (
                "CLUSTERDOWN The cluster is down and only accepts read commands",
                Some(ClusterInfo),
                None,
            ),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Some(Exists), None),
            ("LOADING Redis is loading the dataset in memory", Some(Exists), Some(Ping)),
            ("MASTERDOWN Link with MASTER is down", Some(Exists), Some(Ping)),
            ("CLUSTERDOWN The cluster is down script: 9f, on @user_script:1.", None, None),
            ("LOADING x script: 9f, on @user_script:1.", None, None),
            ("READONLY You can't write against a read only replica.", None, None),
            ("NOAUTH Authentication required.", Some(Ping), Some(Ping)),
            ("MOVED 7 a:1", None, None),
            ("LOADINGS", None, None),
            ("", None, None),
        ] {
            assert_eq!(question(text.as_bytes(), Slot::new(7)), with_keys, "{text}");
            assert_eq!(question(text.as_bytes(), None), without, "{text}");
        }
    }

    #[test]
    fn the_node_agrees_if_it_refuses_for_the_same_reason() {
        use Question::{ClusterInfo, Exists, Ping};
        for (question, said, answer, expected) in [
            (Exists, "CLUSTERDOWN x", "-CLUSTERDOWN The cluster is down\r\n", true),
            (Exists, "CLUSTERDOWN x", "-LOADING x\r\n", false),
            (Exists, "CLUSTERDOWN x", "-MOVED 7 a:1\r\n", false),
            (Exists, "CLUSTERDOWN x", ":1\r\n", false),
            (Exists, "CLUSTERDOWN x", "$18\r\ncluster_state:fail\r\n", false),
            (Exists, "TRYAGAIN x", "-TRYAGAIN x\r\n", true),
            (Exists, "TRYAGAIN x", "-ASK 7 a:1\r\n", true),
            (Exists, "TRYAGAIN x", "-MOVED 7 a:1\r\n", true),
            (Exists, "TRYAGAIN x", "-MOVED 8 a:1\r\n", false),
            (Exists, "TRYAGAIN x", "-NOPERM x\r\n", false),
            (Ping, "LOADING x", "-LOADING y\r\n", true),
            (Ping, "LOADING x", "+PONG\r\n", false),
            (ClusterInfo, "CLUSTERDOWN x", "$18\r\ncluster_state:fail\r\n", true),
            (ClusterInfo, "CLUSTERDOWN x", "$16\r\ncluster_state:ok\r\n", false),
        ] {
            let (said, answer) = (said.as_bytes(), answer.as_bytes());
            let found = agrees(question, said, answer, Slot::new(7), true);
            assert_eq!(found, expected, "{}", answer.escape_ascii());
        }
        let ask = b"-ASK 7 a:1\r\n";
        assert!(!agrees(Exists, b"TRYAGAIN x", ask, Slot::new(7), false), "the script deleted it");
    }
}
