//! Key specs: where the keys of a command are, as a server tells it (`COMMAND`, from Redis 7.0 on).
//! The table's own commands need none: their shapes are in [`Keys`](super::Keys).

use std::ops::ControlFlow::{self, Continue};

use smallvec::SmallVec;

use super::keys::is_word;
use crate::resp::Args;

/// One way in which a command's keys are found. All numbers are the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Where to begin.
    pub begin: Begin,
    /// Which of the arguments from there on are keys.
    pub find: Find,
    /// What is found is no key, but routed like one.
    pub not_key: bool,
    /// It may miss keys.
    pub incomplete: bool,
}

/// Where a key spec begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(i64),
    /// Behind this word, looked for from this argument on; from a negative one, which counts from
    /// the end, backwards. Without the word there are no keys of this spec.
    Word(String, i64),
    /// Nobody but the server knows.
    Unknown,
}

/// Which arguments a key spec finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// Up to so many behind the first, or by a negative number up to the end.
    Range {
        /// The last one, from the first; negative: from the end, -1 is the last argument.
        last: i64,
        /// From one to the next.
        step: i64,
        /// With `last` -1 and more than 1 here: only the first 1/n of what is there.
        limit: i64,
    },
    /// As many as an argument says. All places count from where the spec begins.
    Counted {
        /// Where the count stands.
        count: i64,
        /// Where the first key stands.
        first: i64,
        /// From one to the next.
        step: i64,
    },
    /// Nobody but the server knows.
    Unknown,
}

impl KeySpec {
    /// Whether it tells where the keys are.
    pub(super) fn tells_all(&self) -> bool {
        let steps = match self.find {
            Find::Range { step, last, limit } => step > 0 && (limit <= 1 || last == -1),
            Find::Counted { step, count, first } => step > 0 && count >= 0 && first > 0,
            Find::Unknown => false,
        };
        steps && self.begin != Begin::Unknown && !self.incomplete
    }

    /// The first position, one past the last, and the step. `None`: the arguments are wrong.
    fn range(&self, args: &Args<'_>) -> Option<(usize, usize, usize)> {
        let len = args.len() as i64;
        let begin = match &self.begin {
            Begin::Index(at) => *at,
            Begin::Word(word, from) => match behind(args, word.as_bytes(), *from) {
                Some(at) => at,
                None => return Some((0, 0, 1)),
            },
            Begin::Unknown => return None,
        };
        let (first, last, step) = match self.find {
            Find::Range { last, step, .. } if last >= 0 => (begin, begin.checked_add(last)?, step),
            Find::Range { step, limit, .. } if limit > 1 => {
                (begin, begin + (len - begin).max(0) / limit - 1, step)
            }
            Find::Range { last, step, .. } => (begin, len.checked_add(last)?, step),
            Find::Counted { count, first, step } => {
                let text = args.get(usize::try_from(begin.checked_add(count)?).ok()?)?;
                let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
                let first = begin.checked_add(first)?;
                (first, number.checked_sub(1)?.checked_mul(step)?.checked_add(first)?, step)
            }
            Find::Unknown => return None,
        };
        let fits = first > 0 && first <= last && last < len;
        fits.then(|| (first as usize, last as usize + 1, step as usize))
    }
}

/// The place behind a word.
fn behind(args: &Args<'_>, word: &[u8], from: i64) -> Option<i64> {
    let len = args.len() as i64;
    let is_it = |&at: &i64| {
        let arg = usize::try_from(at).ok().and_then(|at| args.get(at));
        arg.is_some_and(|arg| arg.eq_ignore_ascii_case(word) || is_word(arg, word))
    };
    let found = match from > 0 {
        true => (from..len - 1).find(is_it),
        false => (1..=(len + from).min(len - 1)).rev().find(is_it),
    };
    found.map(|at| at + 1)
}

/// Shows every position to `each` until it breaks off, in the order of the specs. If the arguments
/// do not fit one of them there are none: the server will report it.
pub(super) fn visit<B>(
    specs: &[KeySpec],
    args: &Args<'_>,
    mut each: impl FnMut(usize) -> ControlFlow<B>,
) -> ControlFlow<B> {
    let ranges: Option<SmallVec<[_; 4]>> = specs.iter().map(|spec| spec.range(args)).collect();
    for (first, end, step) in ranges.into_iter().flatten() {
        (first..end).step_by(step).try_for_each(&mut each)?;
    }
    Continue(())
}
