//! Finds where replies end in the bytes that a node sends, without keeping any of them.
//!
//! A machine over the stream and not over a buffer: a reply of a gigabyte is passed on while it
//! comes, and only its end has to be known. Nesting costs nothing, because an aggregate of `n`
//! values is just `n` more values still to come before the reply is over: one counter, no stack.
//!
//! All of RESP2 and RESP3. The streamed forms (`$?`, `*?`, `;`, `.`) are bad replies: no server
//! sends them. So are counts and lengths that are not canonical, a push inside another value, and
//! anything but a CRLF where one has to be. Simple strings, errors and big numbers end at their
//! first CRLF; a CR or LF alone inside one is left to the client, as every client reads it so.
//!
//! What is not looked at: the bytes of strings, the digits of big numbers, the format of a
//! verbatim string, whether the keys of a map differ. They cannot move the end of a reply.

mod whole;

use memchr::memchr;
use thiserror::Error;

use super::number::{canonical, short_line};
pub use whole::{Alike, count_line, value_len};
use whole::{SMALL_ARRAY, whole};

/// What a reply is, by its outermost value. An attribute before the value does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `+`
    Simple,
    /// `-`, and RESP3's `!`
    Error,
    /// `:`
    Integer,
    /// `$`
    Bulk,
    /// `$-1`, `*-1` and RESP3's `_`
    Null,
    /// `*`
    Array,
    /// `>`: not an answer to anything.
    Push,
    /// What only RESP3 has: `,` `#` `(` `=` `%` `~`
    Other,
}

/// What a chunk brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The reply ends with `chunk[..used]`; what follows belongs to the next one.
    Complete {
        /// Bytes of the chunk that belong to the reply.
        used: usize,
        /// What the whole reply is.
        kind: Kind,
    },
    /// The whole chunk belongs to the reply, which goes on.
    More,
    /// These are not replies: the connection cannot be understood any more.
    Bad(BadReply),
}

/// Why a node's bytes are not a reply: the reason in the log line of a closed node connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadReply {
    /// No type begins with this byte.
    #[error("no reply begins with '{}'", .0.escape_ascii())]
    Type(u8),
    /// The line of this type holds something else than it has to.
    #[error("malformed '{}' line", .0.escape_ascii())]
    Line(u8),
    /// The line of this type is longer than allowed.
    #[error("'{}' line too long", .0.escape_ascii())]
    LineTooLong(u8),
    /// Something else where a CRLF has to be.
    #[error("no CRLF after a line or a string")]
    Crlf,
    /// More values or bytes announced than any server can hold.
    #[error("announces more than a server can hold")]
    TooLarge,
    /// A push inside another value.
    #[error("push inside another value")]
    NestedPush,
}

/// Where in the stream of replies a node connection stands. About 100 bytes; a worker has one for
/// each of its node connections.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Values that have to end before the reply is over, the one in work included; 0 between
    /// replies.
    left: u64,
    /// The reply's kind, once its outermost value has begun.
    kind: Option<Kind>,
    state: State,
    /// The start of a line with a number, from its type byte, if a chunk ended within it.
    held: Held,
}

impl Scanner {
    /// Takes the next bytes of the stream, which were never fed before.
    ///
    /// After [`Progress::Complete`] the next call begins a new reply: feed it what follows `used`.
    /// After [`Progress::Bad`] nothing more can be learnt from this connection.
    ///
    /// Cost, measured as for [`request::Scanner::scan`](super::request::Scanner::scan): `+OK`
    /// 1.1 ns, `$-1` 1.6 ns, a bulk string of 3 bytes 2.6 ns and of 100 bytes 3.6 ns, in an array
    /// 3.5 ns each; errors and other lines of text 10 ns.
    #[inline]
    pub fn feed(&mut self, chunk: &[u8]) -> Progress {
        if self.left == 0 {
            if let Some((used, kind)) = whole(chunk) {
                return Progress::Complete { used, kind };
            }
            if chunk.is_empty() {
                return Progress::More;
            }
            self.left = 1;
        }
        self.feed_closely(chunk)
    }

    /// After [`Progress::More`]: at least so many bytes are still to come, the rest of announced
    /// strings and the shortest form of announced values included. What the node claims: to be
    /// compared with limits, not to be allocated.
    pub fn missing_bytes(&self) -> u64 {
        let Some(others) = self.left.checked_sub(1) else { return 0 };
        let this = match &self.state {
            State::Value => VALUE_BYTES_MIN.saturating_sub(u64::from(self.held.len)).max(1),
            State::Text(text) => 2 - u64::from(text.cr),
            State::Bytes { left } => *left,
        };
        this + others * VALUE_BYTES_MIN
    }

    /// After [`Progress::More`]: what the reply is, once its outermost value has begun.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Whether the scanner stands between two replies.
    pub fn is_fresh(&self) -> bool {
        self.left == 0
    }

    fn feed_closely(&mut self, chunk: &[u8]) -> Progress {
        match self.advance(chunk) {
            Ok(None) => Progress::More,
            Ok(Some(used)) => {
                // Without an outermost value there would be values to come.
                let kind = self.kind.unwrap_or(Kind::Other);
                *self = Scanner::default();
                Progress::Complete { used, kind }
            }
            Err(bad) => {
                *self = Scanner::default();
                Progress::Bad(bad)
            }
        }
    }

    /// Goes through the chunk value by value: where the reply ends, if it does.
    fn advance(&mut self, chunk: &[u8]) -> Result<Option<usize>, BadReply> {
        let mut at = 0;
        while self.left > 0 {
            let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) else {
                return Ok(None);
            };
            at += match self.state {
                State::Value => self.value(rest)?,
                State::Text(text) => self.text(rest, text)?,
                State::Bytes { left } => self.bytes(rest, left)?,
            };
        }
        Ok(Some(at))
    }

    /// The first line of a value, or as much of it as is there. Returns what it took.
    fn value(&mut self, rest: &[u8]) -> Result<usize, BadReply> {
        if self.held.len > 0 {
            return self.held_line(rest);
        }
        // Close to the bound the values of a small array are counted one by one, as they are when it
        // comes in pieces.
        if self.left <= VALUES_MAX - u64::from(SMALL_ARRAY)
            && let Some((used, kind)) = whole(rest)
        {
            self.scalar(kind);
            return Ok(used);
        }
        let tag = rest[0];
        if matches!(tag, b'+' | b'-' | b'(') {
            self.begin(match tag {
                b'+' => Kind::Simple,
                b'-' => Kind::Error,
                _ => Kind::Other,
            });
            self.state = State::Text(Text { tag, bytes: 0, cr: false });
            return Ok(1);
        }
        if let Some((number, next)) = short_line(rest, 1) {
            self.number(tag, i64::from(number))?;
            return Ok(next);
        }
        self.held_line(rest)
    }

    /// A line with a number that is not of the simplest form, or not there as a whole: at most
    /// `Held::MAX` bytes, put together and then read as one.
    #[cold]
    fn held_line(&mut self, rest: &[u8]) -> Result<usize, BadReply> {
        let mut line = self.held;
        if line.len == 0 && !is_type(rest[0]) {
            return Err(BadReply::Type(rest[0]));
        }
        for (index, byte) in rest.iter().enumerate() {
            if !line.push(*byte) {
                return Err(BadReply::LineTooLong(line.bytes[0]));
            }
            let line = &line.bytes[..line.len as usize];
            if let [tag, content @ .., b'\r', last] = line {
                if *last != b'\n' {
                    return Err(BadReply::Crlf);
                }
                self.held = Held::default();
                self.line(*tag, content)?;
                return Ok(index + 1);
            }
        }
        self.held = line;
        Ok(rest.len())
    }

    /// A whole line of a type whose first line is short; `content` is without tag and CRLF.
    fn line(&mut self, tag: u8, content: &[u8]) -> Result<(), BadReply> {
        let text = || std::str::from_utf8(content).ok();
        match (tag, content) {
            (b'_', b"") => self.scalar(Kind::Null),
            (b'$' | b'*', b"-1") => self.scalar(Kind::Null),
            (b'#', b"t" | b"f") => self.scalar(Kind::Other),
            (b':', _) if text().is_some_and(|text| text.parse::<i64>().is_ok()) => {
                self.scalar(Kind::Integer)
            }
            (b',', _) if text().is_some_and(|text| text.parse::<f64>().is_ok()) => {
                self.scalar(Kind::Other)
            }
            (b'_' | b'#' | b':' | b',', _) => return Err(BadReply::Line(tag)),
            _ => match canonical(content) {
                Some(number) => return self.number(tag, number),
                None => return Err(BadReply::Line(tag)),
            },
        }
        Ok(())
    }

    /// A whole line that holds a canonical number.
    #[inline]
    fn number(&mut self, tag: u8, number: i64) -> Result<(), BadReply> {
        match (tag, u64::try_from(number)) {
            (b'$', Ok(length)) => self.string(Kind::Bulk, length),
            (b'*', Ok(values)) => self.aggregate(Kind::Array, values, 1),
            (b'%', Ok(pairs)) => self.aggregate(Kind::Other, pairs, 2),
            (b'~', Ok(values)) => self.aggregate(Kind::Other, values, 1),
            (b'!', Ok(length)) => self.string(Kind::Error, length),
            // Three letters of format and a colon are part of the length.
            (b'=', Ok(length)) if length >= 4 => self.string(Kind::Other, length),
            (b':', _) => {
                self.scalar(Kind::Integer);
                Ok(())
            }
            (b',', _) => {
                self.scalar(Kind::Other);
                Ok(())
            }
            (b'>', Ok(values)) => {
                if self.left > 1 || self.kind.is_some() {
                    return Err(BadReply::NestedPush);
                }
                self.aggregate(Kind::Push, values, 1)
            }
            // Its pairs come before the value that is still to come anyway.
            (b'|', Ok(pairs)) => self.expect(pairs, 2),
            (tag, _) if is_type(tag) => Err(BadReply::Line(tag)),
            (tag, _) => Err(BadReply::Type(tag)),
        }
    }

    /// A simple string, an error or a big number: to the first CRLF.
    fn text(&mut self, rest: &[u8], mut text: Text) -> Result<usize, BadReply> {
        if text.cr && rest[0] == b'\n' {
            self.end();
            return Ok(1);
        }
        let mut searched = 0;
        let (taken, ends) = loop {
            match memchr(b'\r', &rest[searched..]).map(|found| searched + found) {
                None => break (rest.len(), false),
                Some(found) if rest.get(found + 1) == Some(&b'\n') => break (found + 2, true),
                Some(found) => searched = found + 1,
            }
        };
        let line_end = if ends { 2 } else { usize::from(rest[taken - 1] == b'\r') };
        // A CR that turned out to be ordinary counts as text.
        text.bytes += u64::from(text.cr) + (taken - line_end) as u64;
        if text.bytes > TEXT_BYTES_MAX {
            return Err(BadReply::LineTooLong(text.tag));
        }
        text.cr = line_end > 0;
        self.state = State::Text(text);
        if ends {
            self.end();
        }
        Ok(taken)
    }

    /// The rest of a string of known length, and its CRLF: the bytes at which 2 and 1 are left.
    fn bytes(&mut self, rest: &[u8], left: u64) -> Result<usize, BadReply> {
        for (position, expected) in [(2, b'\r'), (1, b'\n')] {
            let index = left.checked_sub(position).and_then(|index| usize::try_from(index).ok());
            let byte = index.and_then(|index| rest.get(index));
            if byte.is_some_and(|byte| *byte != expected) {
                return Err(BadReply::Crlf);
            }
        }
        let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        self.state = State::Bytes { left: left - taken as u64 };
        if taken as u64 == left {
            self.end();
        }
        Ok(taken)
    }

    /// A value begins. The outermost one is that which begins when nothing else is to come.
    #[inline]
    fn begin(&mut self, kind: Kind) {
        if self.left == 1 && self.kind.is_none() {
            self.kind = Some(kind);
        }
    }

    /// The value in work has ended.
    #[inline]
    fn end(&mut self) {
        self.state = State::Value;
        self.left -= 1;
    }

    #[inline]
    fn scalar(&mut self, kind: Kind) {
        self.begin(kind);
        self.end();
    }

    #[inline]
    fn string(&mut self, kind: Kind, length: u64) -> Result<(), BadReply> {
        if length > STRING_BYTES_MAX {
            return Err(BadReply::TooLarge);
        }
        self.begin(kind);
        self.state = State::Bytes { left: length + 2 };
        Ok(())
    }

    #[inline]
    fn aggregate(&mut self, kind: Kind, count: u64, values_each: u64) -> Result<(), BadReply> {
        self.begin(kind);
        self.expect(count, values_each)?;
        self.end();
        Ok(())
    }

    /// So many more values have to end before the reply is over.
    #[inline]
    fn expect(&mut self, count: u64, values_each: u64) -> Result<(), BadReply> {
        let values =
            count.checked_mul(values_each).and_then(|values| self.left.checked_add(values));
        match values {
            Some(values) if values <= VALUES_MAX => {
                self.left = values;
                Ok(())
            }
            _ => Err(BadReply::TooLarge),
        }
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// The first line of a value (its beginning may be in `Scanner::held`).
    #[default]
    Value,
    /// A line of text.
    Text(Text),
    /// A string of known length.
    Bytes {
        /// Bytes still to come, its CRLF included.
        left: u64,
    },
}

/// A line of text after its type byte.
#[derive(Clone, Copy, Debug)]
struct Text {
    tag: u8,
    /// Length up to here, without a CR at the end.
    bytes: u64,
    /// Whether a CR was the last byte.
    cr: bool,
}

/// A line with a number that a chunk ended in.
#[derive(Clone, Copy, Debug)]
struct Held {
    bytes: [u8; Held::MAX],
    len: u8,
}

impl Held {
    /// The type byte, 64 bytes of number, CRLF.
    const MAX: usize = 1 + 64 + 2;

    /// `false` if it is full.
    fn push(&mut self, byte: u8) -> bool {
        let Some(place) = self.bytes.get_mut(self.len as usize) else { return false };
        *place = byte;
        self.len += 1;
        true
    }
}

impl Default for Held {
    fn default() -> Held {
        Held { bytes: [0; Held::MAX], len: 0 }
    }
}

fn is_type(tag: u8) -> bool {
    b"+-:$*_,#!=(%~|>".contains(&tag)
}

/// The shortest value: `_\r\n`, `+\r\n`.
const VALUE_BYTES_MIN: u64 = 3;

/// Bytes of a simple string, an error or a big number. Errors carry the client's own words; the
/// servers cut them at a few hundred bytes, scripts and modules need not.
const TEXT_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of one string: a server's limit (`proto-max-bulk-len`) can be set to anything, its memory
/// cannot.
const STRING_BYTES_MAX: u64 = 1 << 40;

/// Values of one reply that are still to come, at any time.
const VALUES_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests;
