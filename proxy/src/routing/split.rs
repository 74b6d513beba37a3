//! Cuts a request over many slots into one request a slot.
//!
//! Nothing of it is atomic any more, as in every proxy: another client may see a part of it done.

use crate::command::{self, Keys, Row};
use crate::resp::{Args, write};
use crate::slot::Slot;

/// A request's keys, by slot.
#[derive(Debug)]
pub struct Split {
    /// The keys by slot, in a slot in the order given.
    keys: Vec<Placed>,
    /// What is asked of each slot, in the order of the slots.
    parts: Vec<SlotKeys>,
    /// For each key in the order given: which part has it.
    order: Vec<u16>,
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

/// The keys of a request that are in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotKeys {
    /// The slot.
    pub slot: Slot,
    /// Where they lie in [`Split::keys`].
    start: u32,
    end: u32,
}

impl SlotKeys {
    /// How many they are.
    fn count(self) -> usize {
        (self.end - self.start) as usize
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
    let mut last = None;
    command::key_positions(row, args, |index| last = Some(index));
    let Some(last) = last else { return Err(NoSplit::Whole) };
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
    let mut keys = Vec::with_capacity(args.len() / step.max(1));
    for (place, at) in (first..=last).step_by(step.max(1)).enumerate() {
        if let Some(key) = args.get(at) {
            keys.push(Placed::new(Slot::of_key(key), place));
        }
    }
    keys.sort_unstable();
    let (mut parts, mut order) = (Vec::<SlotKeys>::with_capacity(keys.len()), vec![0; keys.len()]);
    for (at, key) in keys.iter().enumerate() {
        let (slot, start) = (key.slot(), at as u32);
        match parts.last_mut() {
            Some(last) if last.slot == slot => last.end = start + 1,
            _ => parts.push(SlotKeys { slot, start, end: start + 1 }),
        }
        order[key.place() as usize] = (parts.len() - 1) as u16;
    }
    Ok(Split { keys, parts, order, first, step, counted })
}

impl Split {
    /// The parts, in the order of their slots.
    pub fn parts(&self) -> &[SlotKeys] {
        &self.parts
    }

    /// For each key in the order given: which part has it.
    pub fn take_order(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.order)
    }

    /// What writes the requests of the parts; `args` is the request that was split.
    pub fn writer<'a>(&'a self, args: &'a Args<'a>) -> PartWriter<'a> {
        let options = args.bulks(self.first + self.keys.len() * self.step..args.len());
        PartWriter { split: self, args, beginning: Vec::new(), keys: 0, options }
    }
}

/// Writes the requests of the parts.
#[derive(Debug)]
pub struct PartWriter<'a> {
    split: &'a Split,
    args: &'a Args<'a>,
    /// What stands in front of the keys. It is the same for all parts that have as many of them,
    /// and most have one.
    beginning: Vec<u8>,
    /// So many.
    keys: usize,
    /// What follows the keys.
    options: &'a [u8],
}

impl PartWriter<'_> {
    /// Appends the request of one part. It is not longer than the whole.
    #[inline(always)]
    pub fn write(&mut self, part: SlotKeys, out: &mut Vec<u8>) {
        if part.count() != self.keys {
            self.begin(part.count());
        }
        out.extend_from_slice(&self.beginning);
        let Split { keys, first, step, .. } = self.split;
        for key in &keys[part.start as usize..part.end as usize] {
            let at = first + key.place() as usize * step;
            out.extend_from_slice(self.args.bulks(at..at + step));
        }
        if !self.options.is_empty() {
            out.extend_from_slice(self.options);
        }
    }

    fn begin(&mut self, keys: usize) {
        let Split { first, step, counted, .. } = *self.split;
        let options = self.args.len() - (first + self.split.keys.len() * step);
        self.keys = keys;
        self.beginning.clear();
        write::array_header(&mut self.beginning, first + keys * step + options);
        self.beginning.extend_from_slice(self.args.bulks(0..first - usize::from(counted)));
        if counted {
            write::bulk(&mut self.beginning, keys.to_string());
        }
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
            let mut writer = split.writer(args);
            let part = |&part: &SlotKeys| {
                let mut out = Vec::new();
                writer.write(part, &mut out);
                let mut spans = Vec::new();
                let scanned = Scanner::default().scan(&out, &Limits::default(), &mut spans);
                assert_eq!(scanned, Frame::Request { len: out.len() }, "canonical");
                let args = Args::new(&out, &spans);
                assert_eq!(command::slot(row, &args), command::KeysInSlots::One(part.slot));
                let words: Vec<_> = args.iter().map(String::from_utf8_lossy).collect();
                words.join(" ")
            };
            Ok(split.parts().iter().map(part).collect())
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
