//! The arguments of one request, as ranges of its raw bytes.

use std::ops::Range;

use super::write;

/// Where one argument lies in its frame, in bytes from the frame's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte of the argument.
    pub start: u32,
    /// One past its last byte.
    pub end: u32,
}

/// A request's arguments: its raw bytes beside where each argument lies in them. Argument 0 is
/// the command's name. There is always at least one.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    frame: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Joins a frame and the spans that the scanner found in it. `spans` must not be empty and
    /// must lie inside `frame`.
    #[inline]
    pub fn new(frame: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        debug_assert!(!spans.is_empty());
        Args { frame, spans }
    }

    /// The raw bytes of the whole request: a canonical array of bulk strings.
    #[inline]
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// How many arguments there are, the command's name included: at least 1.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The argument at this index, or `None` past the last.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        Some(&self.frame[span.start as usize..span.end as usize])
    }

    /// The raw bytes of a range of arguments, their `$` lines and CRLFs included. Empty if there
    /// are no such arguments.
    #[inline]
    pub fn bulks(&self, range: Range<usize>) -> &'a [u8] {
        &self.frame[self.place_of(range)]
    }

    /// [`Args::bulks`] of `count` arguments from `at` on as a short piece, if it is one.
    #[inline(always)]
    pub fn short_bulks(&self, at: usize, count: usize) -> Option<write::Short<'a>> {
        let before = self.spans.get(at.wrapping_sub(1))?;
        let last = self.spans.get(at.wrapping_add(count).wrapping_sub(1))?;
        write::short(self.frame, before.end as usize + 2..last.end as usize + 2)
    }

    #[inline(always)]
    fn place_of(&self, range: Range<usize>) -> Range<usize> {
        let (Some(last), false) = (self.spans.get(range.end.wrapping_sub(1)), range.is_empty())
        else {
            return 0..0;
        };
        let start = match range.start.checked_sub(1) {
            Some(before) => self.spans[before].end as usize + 2,
            // Behind the array's own line.
            None => self.frame.iter().position(|&byte| byte == b'$').unwrap_or_default(),
        };
        start..last.end as usize + 2
    }

    /// The command's name as the client spelled it.
    #[inline]
    pub fn name(&self) -> &'a [u8] {
        self.get(0).unwrap_or_default()
    }

    /// All arguments in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone + use<'a> {
        let frame = self.frame;
        self.spans.iter().map(move |s| &frame[s.start as usize..s.end as usize])
    }
}
