//! Cuts a request over many slots into one request a slot.
//!
//! Nothing of it is atomic any more, as in every proxy: another client may see a part of it done.

use std::ops::Range;

use crate::command::{self, Keys, Row};
use crate::resp::{Args, write};
use crate::slot::Slot;

/// A request's keys, by slot.
#[derive(Debug)]
pub struct Split {
    /// The keys by slot, in a slot in the order given.
    keys: Vec<Placed>,
    /// Where the first key stands.
    first: usize,
    /// Arguments for each key, itself included.
    step: usize,
    /// A count goes before the keys.
    counted: bool,
}

/// The slot of a key, and in the low half its place among the keys: numbers sort twice as fast as
/// pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Placed(u64);

impl Placed {
    fn new(slot: Slot, place: usize) -> Placed {
        Placed(u64::from(slot.number()) << 32 | place as u64)
    }

    fn slot(self) -> Slot {
        Slot::new((self.0 >> 32) as u16).unwrap_or_default()
    }

    fn place(self) -> u32 {
        self.0 as u32
    }
}

/// Why a request is not split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSplit {
    /// Its parts depend on each other, or nothing is known of how to split it.
    Whole,
    /// A key without its value.
    Arity,
}

/// The slots of a request's keys; the command must be one that can be split
/// ([`RequestPolicy::MultiShard`](command::RequestPolicy)).
///
/// # Errors
/// Says why it cannot be.
pub fn split(row: &Row, args: &Args<'_>) -> Result<Split, NoSplit> {
    let (first, step, counted) = match row.keys {
        Keys::Range { first, last: -1, step } => (usize::from(first), usize::from(step), false),
        Keys::Counted { first, step, destination: false, .. } => {
            (usize::from(first), usize::from(step), true)
        }
        _ => return Err(NoSplit::Whole),
    };
    let mut keys = Vec::with_capacity(args.len() / step.max(1));
    let mut last = first;
    command::key_positions(row, args, |index| {
        if let Some(key) = args.get(index) {
            keys.push(Placed::new(Slot::of_key(key), keys.len()));
        }
        last = index;
    });
    let end = last + step;
    // A count that promises more than there is: no server calls that a wrong number of arguments.
    if counted && end > args.len() {
        return Err(NoSplit::Whole);
    }
    if !counted && end != args.len() {
        return Err(NoSplit::Arity);
    }
    // NX and XX of MSETEX: all of the keys or none.
    let ties =
        |option: &[u8]| option.eq_ignore_ascii_case(b"NX") || option.eq_ignore_ascii_case(b"XX");
    if args.iter().skip(end).any(ties) {
        return Err(NoSplit::Whole);
    }
    keys.sort_unstable();
    Ok(Split { keys, first, step, counted })
}

impl Split {
    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The slot of each part, and which of the keys are its own.
    pub fn parts(&self) -> impl Iterator<Item = (Slot, Range<usize>)> {
        let mut start = 0;
        self.keys.chunk_by(|a, b| a.0 >> 32 == b.0 >> 32).map(move |keys| {
            let range = start..start + keys.len();
            start = range.end;
            (keys[0].slot(), range)
        })
    }

    /// The place among all keys of each key of a part.
    pub fn places(&self, part: Range<usize>) -> impl Iterator<Item = u32> {
        self.keys[part].iter().map(|key| key.place())
    }

    /// Appends the request of one part.
    pub fn write_part(&self, args: &Args<'_>, part: Range<usize>, out: &mut Vec<u8>) {
        let options = self.first + self.keys.len() * self.step..args.len();
        let words = self.first + part.len() * self.step + options.len();
        write::array_header(out, words);
        out.extend_from_slice(args.bulks(0..self.first - usize::from(self.counted)));
        if self.counted {
            write::bulk(out, part.len().to_string());
        }
        for place in self.places(part) {
            let at = self.first + place as usize * self.step;
            out.extend_from_slice(args.bulks(at..at + self.step));
        }
        out.extend_from_slice(args.bulks(options));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::{Frame, Limits, Scanner};

    fn with_args<T>(request: &str, f: impl Fn(&Args<'_>) -> T) -> T {
        let words: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        write::command(&mut frame, &words);
        let scanned = Scanner::default().scan(&frame, &Limits::default(), &mut spans);
        assert!(matches!(scanned, Frame::Request { .. }));
        f(&Args::new(&frame, &spans))
    }

    /// The parts as words, in the order of their slots.
    fn parts(request: &str) -> Result<Vec<String>, NoSplit> {
        with_args(request, |args| {
            let row = command::resolve(args).unwrap();
            let split = split(row, args)?;
            let part = |(slot, range): (Slot, Range<usize>)| {
                let mut out = Vec::new();
                split.write_part(args, range, &mut out);
                let mut spans = Vec::new();
                let scanned = Scanner::default().scan(&out, &Limits::default(), &mut spans);
                assert_eq!(scanned, Frame::Request { len: out.len() }, "canonical");
                let args = Args::new(&out, &spans);
                assert_eq!(command::slot(row, &args), command::KeysInSlots::One(slot));
                let words: Vec<_> = args.iter().map(String::from_utf8_lossy).collect();
                words.join(" ")
            };
            Ok(split.parts().map(part).collect())
        })
    }

    #[test]
    fn one_slot_is_one_request_and_keys_keep_their_order() {
        // {a} is slot 15495, {b} 3300, {c} 7365.
        assert_eq!(
            parts("mget {a}1 {b}1 {a}2 {a}1 {c}1").unwrap(),
            ["mget {b}1", "mget {c}1", "mget {a}1 {a}2 {a}1"]
        );
        assert_eq!(
            parts("MSET {a}1 x {b}1 y {a}1 z").unwrap(),
            ["MSET {b}1 y", "MSET {a}1 x {a}1 z"]
        );
        assert_eq!(
            parts("MSETEX 3 {a}1 x {b}1 y {a}2 z EX 10").unwrap(),
            ["MSETEX 1 {b}1 y EX 10", "MSETEX 2 {a}1 x {a}2 z EX 10"]
        );
    }

    #[test]
    fn what_belongs_together_stays_whole() {
        assert_eq!(parts("MSETEX 2 {a}1 x {b}1 y NX"), Err(NoSplit::Whole));
        assert_eq!(parts("MSETEX 2 {a}1 x {b}1 y EX 10 xx"), Err(NoSplit::Whole));
        assert_eq!(parts("MSET {a}1 x {b}1"), Err(NoSplit::Arity));
        assert_eq!(parts("MSETEX 2 {a}1 x {b}1"), Err(NoSplit::Whole));
        assert_eq!(parts("SUNION {a}1 {b}1").map(|parts| parts.len()), Ok(2), "the caller asks");
    }
}
