//! Requests over several slots: the one answer has to be true of each part.

use super::cluster::Cluster;
use super::history::Kind;
use super::world::World;
use crate::resp::reply::{Progress, Scanner};

impl Cluster {
    /// A request and its parts.
    pub(super) fn with_parts(&self, op: usize) -> Vec<usize> {
        [&[op], self.ops[op].parts.as_slice()].concat()
    }
}

impl World {
    /// The answer to a request of several parts says of each what became of it.
    pub(super) fn tell_parts(&mut self, whole: usize, text: &str, now: u64) {
        if self.cluster.ops[whole].kind != Kind::Split {
            return;
        }
        let parts = self.cluster.ops[whole].parts.clone();
        let ops = &self.cluster.ops;
        let writes = ops[parts[0]].kind.writes();
        let back = parts.iter().map(|&part| ops[part].back).max();
        self.cluster.ops[whole].back = back.expect("parts");
        let ops = &self.cluster.ops;
        let said = |part: &usize| ops[*part].was_answered(text);
        let told: Vec<&str> = match text.as_bytes()[0] {
            b'*' => {
                self.check_values(&parts, text);
                vec!["+"; parts.len()]
            }
            b'-' if text.starts_with("-UNKNOWNRESULT partly executed: ") => {
                assert!(writes, "t{whole} only reads: {text}");
                self.fates(&parts, text)
            }
            b'-' if text.starts_with("-CLUSTERDOWN not executed: ") => {
                assert!(self.had_to_end(whole, text), "t{whole} had not to end: {text}");
                vec![text; parts.len()]
            }
            b'-' => {
                let ours = text.starts_with("-OVERLOADED not executed: ");
                assert!(ours || parts.iter().any(said), "t{whole} was answered {text}");
                vec!["-not executed"; parts.len()]
            }
            _ => {
                let count = format!(":{}\r\n", parts.len());
                assert!(writes && (text == "+OK\r\n" || text == count), "t{whole}: {text}");
                vec!["+"; parts.len()]
            }
        };
        for (&part, told) in parts.iter().zip(told) {
            let op = &self.cluster.ops[part];
            let acknowledged = told.starts_with('+') && writes;
            assert!(!(op.doomed && acknowledged), "t{part} is lost and acknowledged: {op:?}");
            if told.starts_with("-UNKNOWN") {
                assert!(op.handed, "t{part} is not unknown: {op:?} {text}");
                self.cluster.ops[part].set_back(now, self.bench.now);
            }
            let op = &mut self.cluster.ops[part];
            (op.answered_at, op.answer) = (now, Some(told.to_owned()));
        }
    }

    /// Each value is one that a node gave to this part.
    fn check_values(&self, parts: &[usize], text: &str) {
        let (count, mut rest) = text.split_once("\r\n").expect("an array");
        assert_eq!(count, format!("*{}", parts.len()));
        for &part in parts {
            let Progress::Complete { used, .. } = Scanner::default().feed(rest.as_bytes()) else {
                panic!("{text}");
            };
            let (value, behind) = rest.split_at(used);
            rest = behind;
            let op = &self.cluster.ops[part];
            assert!(op.was_answered(value), "t{part} {op:?} was answered {value}");
            self.check_read(part, value);
        }
    }

    /// What a partly executed request says of its parts.
    fn fates(&self, parts: &[usize], text: &str) -> Vec<&'static str> {
        let text = text.strip_prefix("-UNKNOWNRESULT partly executed: ").expect("looked at");
        let (counts, rest) = text.split_once(" slots applied").expect("counts");
        let (named, _) = rest.split_once(": ").expect("a reason");
        let fate = |part: &usize| {
            let slot = self.cluster.ops[*part].slot.expect("a slot").to_string();
            let of_slot = |list: &&str| list.split([' ', ',']).any(|word| word == slot);
            match named.split("slots ").find(of_slot) {
                None => "+",
                Some(list) if list.contains("not executed") => "-not executed",
                Some(list) => {
                    assert!(list.ends_with(" unknown"), "{text}");
                    "-UNKNOWN"
                }
            }
        };
        let fates: Vec<&str> = parts.iter().map(fate).collect();
        let applied = fates.iter().filter(|fate| **fate == "+").count();
        assert_eq!(counts, format!("{applied} of {}", parts.len()), "{text}");
        assert!(applied < parts.len() && (applied > 0 || fates.contains(&"-UNKNOWN")), "{text}");
        fates
    }
}
