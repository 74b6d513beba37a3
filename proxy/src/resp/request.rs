//! Finds requests in the bytes that a client sends, in place and without keeping any of them.
//!
//! Strict where a byte could make a node's connection unusable for others: what [`Scanner`] calls
//! a request is canonical, so encoding its arguments again gives exactly the bytes that came in.
//! Limits and error texts are those of the servers (`processMultibulkBuffer` and
//! `processInlineBuffer`); `tests/framing.rs` holds them against a real one. Where the servers
//! differ we do as the strictest (Valkey 9.1: every CRLF is verified), and two things are refused
//! at once that a server would only refuse, in the same words, when 64 KiB of them have come: a
//! NUL in an inline line, and a NUL in a header line (refused as the bad number that it is).

use memchr::{memchr, memchr2};

use super::Span;
pub use super::inline::canonical_inline;
use super::number::{Again, canonical, short_line};
pub use super::protocol_error::ProtocolError;

/// What a client may ask for at most. Above, the request is refused and the connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments of one request, its name included. Redis 6.2 allows 1,048,576, newer servers
    /// 2,147,483,647: the lowest that any node accepts has to be used.
    pub arguments_max: u32,
    /// Bytes of one argument (`proto-max-bulk-len` of the nodes).
    pub bulk_bytes_max: u32,
    /// Bytes of an inline request before its newline.
    pub inline_bytes_max: u32,
    /// `false` while a client still owes its password: it gets no more than 10 arguments of
    /// 16 KiB, so that strangers cannot make the proxy hold memory.
    pub authenticated: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            arguments_max: 1024 * 1024,
            bulk_bytes_max: 512 * 1024 * 1024,
            inline_bytes_max: 64 * 1024,
            authenticated: true,
        }
    }
}

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `buf[..len]` is one canonical array request; `spans` holds its arguments, at least one.
    Request {
        /// Length of the frame in bytes.
        len: usize,
    },
    /// `buf[..len]` is an inline request including its newline; it is not blank. Give it to
    /// [`canonical_inline`].
    Inline {
        /// Length of the line in bytes.
        len: usize,
    },
    /// `buf[..len]` asks for nothing and gets no reply: `*0`, `*-1`, a blank inline line.
    Nothing {
        /// Length of what has to be skipped in bytes.
        len: usize,
    },
    /// The frame is not complete; nothing is wrong with it yet.
    Partial,
    /// The client is to be answered with [`ProtocolError::text`], if there is one, and closed.
    Refused(ProtocolError),
}

/// Where the search for the end of one frame stands. 16 bytes, because every client has one while
/// it idles in the middle of a request.
///
/// It remembers places, never bytes: the caller keeps what belongs to a partial frame, and a frame
/// that comes in a thousand pieces is still looked at only twice (once for its end, once for its
/// arguments).
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// Start of the first line that is not done: 0 is the frame's first.
    line: u32,
    /// Up to here that line is known to hold no terminator.
    searched: u32,
    /// Below this length of the buffer nothing new can be found; 0 between frames.
    need: u32,
    /// Arguments from `line` on; 0 while the array's own header, or an inline line, is read.
    arguments: u32,
}

impl Scanner {
    /// Looks for one frame at the start of `buf`.
    ///
    /// `buf` starts at the frame's first byte; on later calls for the same frame it holds what it
    /// held before, and more. After anything but [`Frame::Partial`] the scanner is ready for the
    /// next frame. `spans` is cleared first and means something only beside [`Frame::Request`]; it
    /// grows with the bytes that are there (8 bytes an argument, which takes at least 6 on the
    /// wire), never with what a header announces.
    ///
    /// Cost, in a release build on one core of a 2.6 GHz EPYC over 64 KiB of requests back to
    /// back: `GET key:000000000001` 7.6 ns, `SET` of 100 bytes 11.0 ns, any further argument 3.3 ns
    /// (`redis-protocol` 6.0 without limits: 50 and 65 ns). Bound by latency: where an argument
    /// begins is known only when the length of the one before it was read.
    #[inline(always)]
    pub fn scan(&mut self, buf: &[u8], limits: &Limits, spans: &mut Vec<Span>) -> Frame {
        spans.clear();
        if buf.len() < (self.need as usize).max(1) {
            return Frame::Partial;
        }
        let found =
            if buf[0] == b'*' { self.array(buf, limits, spans) } else { self.inline(buf, limits) };
        match found {
            Ok(frame) => {
                *self = Scanner::default();
                frame
            }
            Err(Stop::Refused(error)) => {
                *self = Scanner::default();
                Frame::Refused(error)
            }
            Err(Stop::Partial { searched, need }) => {
                // Neither exceeds `FRAME_BYTES_MAX` by more than a header line.
                self.searched = searched as u32;
                self.need = need as u32;
                Frame::Partial
            }
        }
    }

    /// After [`Frame::Partial`]: the frame will be at least this many bytes long, an announced
    /// argument included. A claim of the client: to be compared with limits, not to be allocated.
    pub fn announced_bytes(&self) -> usize {
        self.need as usize
    }

    /// Whether the scanner stands between two frames.
    pub fn is_fresh(&self) -> bool {
        self.need == 0
    }

    /// An array request. On the way out by [`Stop::Partial`], `line` and `arguments` are set.
    #[inline(always)]
    fn array(&mut self, buf: &[u8], limits: &Limits, spans: &mut Vec<Span>) -> Found {
        let mut at = self.line as usize;
        let mut left = self.arguments;
        // What stands before `line` was seen in another call: spans are found once all is there.
        let resumed = at > 0;
        if !resumed {
            let (count, next) = header(buf, 0, self.searched as usize, Header::Array)?;
            if count > UNAUTHENTICATED_ARGUMENTS_MAX {
                return self.many(buf, limits, spans, count, next);
            }
            left = limits.arguments(count)?;
            if left == 0 {
                return Ok(Frame::Nothing { len: next });
            }
            at = next;
        }
        while left > 0 {
            match bulk(buf, at, self.searched as usize, limits) {
                Ok(span) => {
                    if !resumed {
                        spans.push(span);
                    }
                    at = span.end as usize + 2;
                    left -= 1;
                }
                Err(stop) => {
                    self.line = at as u32;
                    self.arguments = left;
                    return Err(stop);
                }
            }
        }
        if resumed {
            spans_again(&buf[..at], limits, spans)?;
        }
        refuse_cross_protocol(&buf[spans[0].start as usize..spans[0].end as usize])?;
        Ok(Frame::Request { len: at })
    }

    /// The arguments of an array that announces more of them than most have, from `at` on: keys
    /// above all, which are often of one length.
    #[inline(never)]
    fn many(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        spans: &mut Vec<Span>,
        count: i64,
        mut at: usize,
    ) -> Found {
        let mut left = limits.many_arguments(count)?;
        let mut again = Again::NONE;
        while left > 0 {
            let span = match again.at(buf, at) {
                Some((start, end)) if end <= FRAME_BYTES_MAX => {
                    Span { start: start as u32, end: end as u32 }
                }
                _ => match bulk(buf, at, self.searched as usize, limits) {
                    Ok(span) => {
                        let (start, end) = (span.start as usize, span.end as usize);
                        again = Again::of(buf, at, start, end - start);
                        span
                    }
                    Err(stop) => {
                        self.line = at as u32;
                        self.arguments = left;
                        return Err(stop);
                    }
                },
            };
            spans.push(span);
            at = span.end as usize + 2;
            left -= 1;
        }
        refuse_cross_protocol(&buf[spans[0].start as usize..spans[0].end as usize])?;
        Ok(Frame::Request { len: at })
    }

    /// An inline request, or a blank line.
    #[cold]
    fn inline(&mut self, buf: &[u8], limits: &Limits) -> Found {
        let searched = self.searched as usize;
        let line_bytes_max = limits.inline_bytes_max as usize;
        match memchr2(b'\n', 0, &buf[searched..]).map(|found| searched + found) {
            Some(end) if buf[end] == b'\n' && end <= line_bytes_max => {
                let line = &buf[..end];
                let len = end + 1;
                if line.iter().all(|byte| is_blank(*byte)) {
                    return Ok(Frame::Nothing { len });
                }
                Ok(Frame::Inline { len })
            }
            // The servers look for the newline with `strchr`, which a NUL stops: they would wait
            // for more until the limit is reached.
            Some(_) => Err(ProtocolError::TooBigInline.into()),
            None if buf.len() > line_bytes_max => Err(ProtocolError::TooBigInline.into()),
            None => Err(Stop::Partial { searched: buf.len(), need: buf.len() + 1 }),
        }
    }
}

impl Limits {
    /// How many arguments follow a `*` line, or why they may not. Zero and less is nothing.
    #[inline(always)]
    fn arguments(&self, count: i64) -> Result<u32, Stop> {
        if count > i64::from(self.arguments_max) {
            return Err(ProtocolError::InvalidArrayLength.into());
        }
        Ok(count.max(0) as u32)
    }

    /// The same, where they are more than who has not logged in may send.
    fn many_arguments(&self, count: i64) -> Result<u32, Stop> {
        let count = self.arguments(count)?;
        if !self.authenticated {
            return Err(ProtocolError::UnauthenticatedArrayLength.into());
        }
        Ok(count)
    }

    /// How many bytes follow a `$` line, or why they may not.
    #[inline(always)]
    fn bulk_bytes(&self, bytes: i64) -> Result<usize, Stop> {
        if bytes < 0 || bytes > i64::from(self.bulk_bytes_max) {
            return Err(ProtocolError::InvalidBulkLength.into());
        }
        if bytes > UNAUTHENTICATED_BULK_BYTES_MAX && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength.into());
        }
        Ok(bytes as usize)
    }
}

/// Fails if this is the first word of an HTTP request. Compared as the servers compare it
/// (`strcasecmp`), which ends a word at a NUL: `post\0x` would make a node close the connection.
#[inline(always)]
pub(super) fn refuse_cross_protocol(name: &[u8]) -> Result<(), ProtocolError> {
    match name.first() {
        Some(b'p' | b'P' | b'h' | b'H') => refuse_cross_protocol_closely(name),
        _ => Ok(()),
    }
}

fn refuse_cross_protocol_closely(name: &[u8]) -> Result<(), ProtocolError> {
    let word = name.split(|byte| *byte == 0).next().unwrap_or_default();
    if word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:") {
        return Err(ProtocolError::CrossProtocol);
    }
    Ok(())
}

/// What `isspace` of the C locale says.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What came of looking for one frame.
type Found = Result<Frame, Stop>;

/// Why no frame was found.
enum Stop {
    /// The line in work holds no terminator before `searched`; `need` bytes would tell more.
    Partial { searched: usize, need: usize },
    /// It is not a request.
    Refused(ProtocolError),
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Stop {
        Stop::Refused(error)
    }
}

/// One argument: its `$` line, its bytes, its CRLF.
#[inline(always)]
fn bulk(buf: &[u8], at: usize, searched: usize, limits: &Limits) -> Result<Span, Stop> {
    let (bytes, start) = header(buf, at, searched, Header::Bulk)?;
    let end = start.saturating_add(limits.bulk_bytes(bytes)?);
    if end > FRAME_BYTES_MAX {
        return Err(ProtocolError::InvalidBulkLength.into());
    }
    match buf.get(end..end + 2) {
        Some(b"\r\n") => Ok(Span { start: start as u32, end: end as u32 }),
        Some(_) => Err(ProtocolError::InvalidCrlf.into()),
        None => Err(Stop::Partial { searched: at, need: end + 2 }),
    }
}

/// Which of the two header lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Array,
    Bulk,
}

/// The number in the header line that starts at `at`, and where the next line starts.
#[inline(always)]
fn header(buf: &[u8], at: usize, searched: usize, kind: Header) -> Result<(i64, usize), Stop> {
    // The first byte of an array was looked at by the caller.
    let tagged = kind == Header::Array || buf.get(at) == Some(&b'$');
    if tagged && let Some((number, next)) = short_line(buf, at + 1) {
        return Ok((i64::from(number), next));
    }
    header_closely(buf, at, searched, kind)
}

/// The same for every line there can be, in the order in which the servers look: is there an end,
/// is it a CRLF, is it the right type, is it a number.
#[cold]
#[inline(never)]
fn header_closely(
    buf: &[u8],
    at: usize,
    searched: usize,
    kind: Header,
) -> Result<(i64, usize), Stop> {
    let searched = searched.clamp(at, buf.len());
    let end = memchr(b'\r', &buf[searched..]).map_or(buf.len(), |found| searched + found);
    if end - at > HEADER_BYTES_MAX {
        return Err(Stop::Refused(match kind {
            Header::Array => ProtocolError::TooBigArrayHeader,
            Header::Bulk => ProtocolError::TooBigBulkHeader,
        }));
    }
    let line = &buf[at..end];
    match buf.get(end + 1) {
        Some(b'\n') => {}
        Some(_) => return Err(ProtocolError::InvalidCrlf.into()),
        None => return Err(Stop::Partial { searched: end, need: buf.len() + 1 }),
    }
    if kind == Header::Bulk && line.first() != Some(&b'$') {
        return Err(ProtocolError::ExpectedBulk(buf[at]).into());
    }
    match canonical(&line[1..]) {
        Some(number) => Ok((number, end + 2)),
        None => Err(Stop::Refused(match kind {
            Header::Array => ProtocolError::InvalidArrayLength,
            Header::Bulk => ProtocolError::InvalidBulkLength,
        })),
    }
}

/// Finds the arguments of a frame that was complete only after several calls.
#[cold]
fn spans_again(frame: &[u8], limits: &Limits, spans: &mut Vec<Span>) -> Result<(), Stop> {
    let (count, mut at) = header(frame, 0, 0, Header::Array)?;
    for _ in 0..count {
        let span = bulk(frame, at, 0, limits)?;
        spans.push(span);
        at = span.end as usize + 2;
    }
    Ok(())
}

/// Bytes of a header line before its CR (`PROTO_INLINE_MAX_SIZE` of the servers).
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Where the last argument of a frame has to end, so that its places and those of one more header
/// line fit in 32 bits. Reached only by many huge arguments together; the session's limit for a
/// whole request is far below.
const FRAME_BYTES_MAX: usize = u32::MAX as usize - 2 * HEADER_BYTES_MAX;

const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;

#[cfg(test)]
mod tests;
