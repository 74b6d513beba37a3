//! Cuts a request over many slots into one request a slot.
//!
//! Nothing of it is atomic any more, as in every proxy: another client may see a part of it done.

use memchr::memchr;

use crate::command::{self, Keys, Row};
use crate::resp::Args;
use crate::resp::write::{self, Pieces, SHORT_BYTES};
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
    let tagged = memchr(b'{', args.frame()).is_some();
    let mut keys: Vec<Placed> = Vec::with_capacity(args.len() / step.max(1));
    let mut at = first;
    while at <= last
        && let Some(key) = args.get(at)
    {
        let slot = if tagged { Slot::of_key(key) } else { Slot::of_untagged(key) };
        keys.push(Placed::new(slot, keys.len()));
        at += step.max(1);
    }
    sort(&mut keys);
    let (mut parts, mut order) = (Vec::<SlotKeys>::with_capacity(keys.len()), vec![0; keys.len()]);
    let mut previous = None;
    for (at, key) in keys.iter().enumerate() {
        let (slot, start) = (key.slot(), at as u32);
        if previous != Some(slot) {
            parts.push(SlotKeys { slot, start, end: start + 1 });
            previous = Some(slot);
        } else if let Some(last) = parts.last_mut() {
            last.end = start + 1;
        }
        order[key.place() as usize] = (parts.len() - 1) as u16;
    }
    Ok(Split { keys, parts, order, first, step, counted })
}

/// Sorts by slot; those of one slot keep their order. Many are put in their places by the lower
/// half of the slot's number, then by the upper one: a third of what comparing them takes.
fn sort(keys: &mut Vec<Placed>) {
    if keys.len() < MANY {
        return keys.sort_unstable();
    }
    let mut other = vec![Placed(0); keys.len()];
    for shift in [32, 32 + HALF_BITS] {
        let half = |key: &Placed| (key.0 >> shift) as usize % HALF;
        let mut ends = [0u32; HALF];
        keys.iter().for_each(|key| ends[half(key)] += 1);
        let mut before = 0;
        for end in &mut ends {
            before += std::mem::replace(end, before);
        }
        for &key in &*keys {
            let place = &mut ends[half(&key)];
            other[*place as usize] = key;
            *place += 1;
        }
        std::mem::swap(keys, &mut other);
    }
}

/// So many keys are sorted by halves of their slots.
const MANY: usize = 48;
const HALF_BITS: u32 = Slot::COUNT.ilog2() / 2;
const HALF: usize = 1 << HALF_BITS;

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
        let mut writer = PartWriter { split: self, args, one: ([0; _], usize::MAX), options };
        let mut beginning = Vec::new();
        writer.begin(1, &mut beginning);
        if let (Some(one), true) = (writer.one.0.get_mut(..beginning.len()), options.is_empty()) {
            one.copy_from_slice(&beginning);
            writer.one.1 = beginning.len();
        }
        writer
    }
}

/// Writes the requests of the parts.
#[derive(Debug)]
pub struct PartWriter<'a> {
    split: &'a Split,
    args: &'a Args<'a>,
    /// What stands in front of the key if it is only one, as most parts have it and without
    /// options; its length is none that is possible if there are some.
    one: ([u8; SHORT_BYTES], usize),
    /// What follows the keys.
    options: &'a [u8],
}

impl PartWriter<'_> {
    /// Appends the requests of these parts, but none any more once they come to more than
    /// `bytes_max`. Returns the slot of each, and the length of its request. No request is longer
    /// than the whole.
    #[inline(never)]
    pub fn write(
        &self,
        parts: &[SlotKeys],
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Vec<(Slot, u32)> {
        let Split { keys, first, step, .. } = self.split;
        let mut out = Pieces::new(out);
        let start = out.end();
        let mut written = Vec::with_capacity(parts.len());
        for part in parts {
            let before = out.end();
            if before - start > bytes_max {
                break;
            }
            let key = keys.get(part.start as usize).filter(|_| part.count() == 1);
            let bulks = key
                .and_then(|key| self.args.short_bulks(first + key.place() as usize * step, *step));
            if !bulks.is_some_and(|bulks| out.push_two((&self.one.0, self.one.1), bulks)) {
                out.push_slowly(|out| self.write_any(*part, out));
            }
            written.push((part.slot, (out.end() - before) as u32));
        }
        written
    }

    #[inline(never)]
    fn write_any(&self, part: SlotKeys, out: &mut Vec<u8>) {
        self.begin(part.count(), out);
        let Split { keys, first, step, .. } = self.split;
        for key in &keys[part.start as usize..part.end as usize] {
            let at = first + key.place() as usize * step;
            out.extend_from_slice(self.args.bulks(at..at + step));
        }
        out.extend_from_slice(self.options);
    }

    /// What stands in front of so many keys.
    fn begin(&self, keys: usize, out: &mut Vec<u8>) {
        let Split { first, step, counted, .. } = *self.split;
        let options = self.args.len() - (first + self.split.keys.len() * step);
        write::array_header(out, first + keys * step + options);
        out.extend_from_slice(self.args.bulks(0..first - usize::from(counted)));
        if counted {
            write::bulk(out, keys.to_string());
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
            let writer = split.writer(args);
            let part = |part: &SlotKeys| {
                let mut out = Vec::new();
                writer.write(std::slice::from_ref(part), usize::MAX, &mut out);
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
    fn many_keys_are_split_like_few() {
        // Short and long ones, some with tags, and of some slots several, up to the last byte.
        for tagged in [false, true] {
            let key = |n: usize| match n % 5 {
                0 if tagged => format!("{{a{}}}{n}", n % 7),
                1 => format!("{n}{}", "y".repeat(100)),
                _ => format!("k{}", n % 150),
            };
            let keys: Vec<String> = (0..300).map(key).collect();
            let mut by_slot = std::collections::BTreeMap::<Slot, Vec<&str>>::new();
            for key in &keys {
                by_slot.entry(Slot::of_key(key.as_bytes())).or_default().push(key);
            }
            let expected: Vec<String> =
                by_slot.values().map(|keys| format!("MGET {}", keys.join(" "))).collect();
            assert_eq!(parts(&format!("MGET {}", keys.join(" "))).unwrap(), expected);
        }
    }

    #[test]
    fn parts_end_where_there_is_no_room_for_more() {
        with_args("MGET {a}1 {b}1 {c}1", |args| {
            let split = split(command::resolve(args).unwrap(), args).unwrap();
            let writer = split.writer(args);
            let mut out = b"before".to_vec();
            assert_eq!(writer.write(split.parts(), 0, &mut out).len(), 1, "one goes always");
            let one = out.len() - "before".len();
            assert_eq!(writer.write(&split.parts()[1..], one, &mut out).len(), 2);
            assert_eq!(out.len(), "before".len() + 3 * one);
        });
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
