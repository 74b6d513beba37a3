//! Values that are there as a whole: the fast way of nearly all replies, and what merges take
//! apart.

use memchr::memchr;

use super::{Kind, Progress, Scanner};
use crate::resp::number::{Again, canonical, short_line};

/// The replies that nearly all traffic consists of, if `chunk` starts with a whole one.
/// `None` says nothing but "look closely".
#[inline(always)]
pub(super) fn whole(chunk: &[u8]) -> Option<(usize, Kind)> {
    match *chunk.first()? {
        b'$' => {
            let Some((length, start)) = short_line(chunk, 1) else {
                return chunk.starts_with(b"$-1\r\n").then_some((5, Kind::Null));
            };
            let end = start + length as usize;
            (chunk.get(end..end + 2)? == b"\r\n").then_some((end + 2, Kind::Bulk))
        }
        b'+' if chunk.starts_with(b"+OK\r\n") => Some((5, Kind::Simple)),
        b':' => short_line(chunk, 1).map(|(_, next)| (next, Kind::Integer)),
        b'*' => small_array(chunk).map(|used| (used, Kind::Array)),
        _ => None,
    }
}

/// Finds the ends of replies that answer the parts of a split request: they are like each other.
#[derive(Debug)]
pub struct Alike(Again);

impl Default for Alike {
    fn default() -> Alike {
        Alike(Again::NONE)
    }
}

impl Alike {
    /// Where the reply at `chunk[at..]` ends, if it is there as a whole, is one of those that parts
    /// have, and is no error. `None` says nothing but "look closely".
    #[inline(always)]
    pub fn end(&mut self, chunk: &[u8], at: usize) -> Option<usize> {
        let rest = chunk.get(at..)?;
        // Nearly always: an array of one string.
        if rest.starts_with(b"*1\r\n") {
            if let Some((_, end)) = self.0.at(rest, 4) {
                return Some(at + end + 2);
            }
            return Some(at + self.other(rest)?);
        }
        Some(at + whole(rest)?.0)
    }

    #[inline(never)]
    fn other(&mut self, reply: &[u8]) -> Option<usize> {
        let len = small_array(reply)?;
        if reply.get(4) == Some(&b'$')
            && let Some((bytes, start)) = short_line(reply, 5)
        {
            self.0 = Again::of(reply, 4, start, bytes as usize);
        }
        Some(len)
    }
}

/// Where an array of a few strings and numbers ends, if `chunk` starts with a whole one. `None`
/// says nothing but "look closely".
#[inline]
fn small_array(chunk: &[u8]) -> Option<usize> {
    let (b'*', (count, mut at)) = (*chunk.first()?, short_line(chunk, 1)?) else { return None };
    if count > SMALL_ARRAY {
        return None;
    }
    for _ in 0..count {
        let rest = chunk.get(at..)?;
        let (tag, (length, start)) = (rest.first()?, short_line(rest, 1).unwrap_or((0, 0)));
        at += match (tag, start) {
            (b':', 4..) => start,
            (b'$', 4..) => {
                let end = start + length as usize;
                if rest.get(end..end + 2)? != b"\r\n" {
                    return None;
                }
                end + 2
            }
            (b'$', _) if rest.starts_with(b"$-1\r\n") => 5,
            _ => return None,
        };
    }
    Some(at)
}

/// Length in bytes of the value at the start of `bytes`; `None` if it is not there in full, or is
/// none.
#[inline]
pub fn value_len(bytes: &[u8]) -> Option<usize> {
    match whole(bytes) {
        Some((used, _)) => Some(used),
        None => match Scanner::default().feed(bytes) {
            Progress::Complete { used, .. } => Some(used),
            Progress::More | Progress::Bad(_) => None,
        },
    }
}

/// The first line of an aggregate of values, after its type byte: how many they are, and where
/// the first begins. `None` if it is no such line.
#[inline]
pub fn count_line(bytes: &[u8]) -> Option<(usize, usize)> {
    if let Some((count, next)) = short_line(bytes, 1) {
        return Some((count as usize, next));
    }
    let end = memchr(b'\r', bytes)?;
    let count = canonical(bytes.get(1..end)?)?;
    Some((usize::try_from(count).ok()?, end + 2))
}

/// An array of more values is looked at closely: if it is not there in full, looking for its end
/// was in vain.
pub(super) const SMALL_ARRAY: u32 = 16;
