//! Decoding of what servers answer on a control connection (RESP2), within fixed bounds.
//!
//! `redis-protocol` does the decoding. It recurses without a bound and knows no limits, so
//! [`Scan`] looks at every reply first: it also tells when a reply is whole, and does so without
//! beginning again at its first byte whenever more has arrived.

use bytes::Bytes;
pub use redis_protocol::resp2::types::BytesFrame as Frame;
use smallvec::SmallVec;
use thiserror::Error;

/// Longest reply accepted. The map of 1,000 nodes in 16,384 ranges is below it.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Deepest nesting accepted; CLUSTER SHARDS, the deepest reply asked for, needs 4.
pub const DEPTH_MAX: usize = 8;
/// Most elements of a reply, over all depths: bounds what decoding may allocate (about 40 bytes
/// each), which bytes alone do not, since an element can be 4 bytes long.
pub const ELEMENTS_MAX: usize = 1 << 21;
/// Longest header line, simple string or error.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Why a reply was refused. The connection it came from cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// More than [`BYTES_MAX`].
    #[error("the reply is longer than {BYTES_MAX} bytes")]
    TooLong,
    /// More than [`DEPTH_MAX`].
    #[error("the reply is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More than [`ELEMENTS_MAX`].
    #[error("the reply has more than {ELEMENTS_MAX} elements")]
    TooMany,
    /// Not RESP2.
    #[error("the reply is not RESP2")]
    Malformed,
}

/// Where the look through one reply stands. Starts anew with `Scan::default()`.
#[derive(Debug, Default)]
pub struct Scan {
    /// Offset of the first element that is not whole yet.
    at: usize,
    /// How many elements are still to come in each open array, outermost first.
    open: SmallVec<[usize; DEPTH_MAX]>,
    elements: usize,
}

impl Scan {
    /// Looks on through `buffer`, which holds the reply from its first byte and may hold more
    /// behind it. Returns the reply's length once it is whole. Errors are final.
    pub fn advance(&mut self, buffer: &[u8]) -> Result<Option<usize>, ReplyError> {
        loop {
            let element = match self.element(buffer)? {
                Some(element) => element,
                None if buffer.len() > BYTES_MAX => return Err(ReplyError::TooLong),
                None => return Ok(None),
            };
            if self.close(element)? {
                return if self.at > BYTES_MAX {
                    Err(ReplyError::TooLong)
                } else {
                    Ok(Some(self.at))
                };
            }
        }
    }

    /// Steps over one element, or over an array's header. `None`: it is not whole yet.
    fn element(&mut self, buffer: &[u8]) -> Result<Option<Element>, ReplyError> {
        let rest = buffer.get(self.at..).unwrap_or_default();
        let Some(line_len) = line_length(rest)? else {
            return Ok(None);
        };
        let kind = rest[0];
        let line = &rest[1..line_len];
        let mut end = self.at + line_len + 2;
        let element = match kind {
            b'+' | b'-' => Element::Leaf,
            b':' => number(line).map(|_| Element::Leaf)?,
            b'$' => {
                if let Some(len) = length(line)? {
                    if len > BYTES_MAX {
                        return Err(ReplyError::TooLong);
                    }
                    let body_end = end + len;
                    match buffer.get(body_end..body_end + 2) {
                        None => return Ok(None),
                        Some(b"\r\n") => end = body_end + 2,
                        Some(_) => return Err(ReplyError::Malformed),
                    }
                }
                Element::Leaf
            }
            b'*' => Element::Array(length(line)?.unwrap_or(0)),
            _ => return Err(ReplyError::Malformed),
        };
        self.at = end;
        Ok(Some(element))
    }

    /// Books an element with the arrays around it. True when the whole reply is through.
    fn close(&mut self, element: Element) -> Result<bool, ReplyError> {
        self.elements += 1;
        match element {
            Element::Array(count) if count > ELEMENTS_MAX => return Err(ReplyError::TooMany),
            Element::Array(count) if count > 0 => {
                if self.open.len() == DEPTH_MAX {
                    return Err(ReplyError::TooDeep);
                }
                self.open.push(count);
                return Ok(false);
            }
            Element::Array(_) | Element::Leaf => {}
        }
        if self.elements > ELEMENTS_MAX {
            return Err(ReplyError::TooMany);
        }
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return Ok(false);
            }
            self.open.pop();
        }
        Ok(true)
    }
}

/// Decodes one whole reply, whose length [`Scan`] has found.
pub fn decode(reply: &Bytes) -> Result<Frame, ReplyError> {
    match redis_protocol::resp2::decode::decode_bytes(reply) {
        Ok(Some((frame, len))) if len == reply.len() => Ok(frame),
        _ => Err(ReplyError::Malformed),
    }
}

/// Scans and decodes a buffer that holds exactly one reply: for tests and fuzzing.
pub fn decode_whole(bytes: &[u8]) -> Result<Frame, ReplyError> {
    match Scan::default().advance(bytes)? {
        Some(len) if len == bytes.len() => decode(&Bytes::copy_from_slice(bytes)),
        _ => Err(ReplyError::Malformed),
    }
}

/// The text of a string of either kind.
pub(super) fn text(frame: &Frame) -> Option<&str> {
    match frame {
        Frame::BulkString(bytes) | Frame::SimpleString(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// An integer, or a string that spells one.
pub(super) fn integer(frame: &Frame) -> Option<i64> {
    match frame {
        Frame::Integer(number) => Some(*number),
        other => text(other)?.parse().ok(),
    }
}

/// The elements of an array.
pub(super) fn array(frame: &Frame) -> Option<&[Frame]> {
    match frame {
        Frame::Array(elements) => Some(elements),
        _ => None,
    }
}

/// The value of a key in a map that RESP2 has flattened. Looked up by name: servers add keys in
/// any place.
pub(super) fn field<'a>(map: &'a [Frame], name: &str) -> Option<&'a Frame> {
    map.chunks_exact(2).find(|pair| text(&pair[0]) == Some(name)).map(|pair| &pair[1])
}

enum Element {
    Leaf,
    Array(usize),
}

/// Length of the line that begins here, without its CRLF and with its type byte.
fn line_length(rest: &[u8]) -> Result<Option<usize>, ReplyError> {
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\r', window) {
        Some(0) => Err(ReplyError::Malformed),
        Some(at) => match rest.get(at + 1) {
            Some(b'\n') => Ok(Some(at)),
            Some(_) => Err(ReplyError::Malformed),
            None => Ok(None),
        },
        None if window.len() == LINE_BYTES_MAX => Err(ReplyError::TooLong),
        None => Ok(None),
    }
}

/// A length; -1 stands for null.
fn length(line: &[u8]) -> Result<Option<usize>, ReplyError> {
    match number(line)? {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| ReplyError::Malformed),
    }
}

fn number(line: &[u8]) -> Result<i64, ReplyError> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::Malformed);
    }
    std::str::from_utf8(line).ok().and_then(|s| s.parse().ok()).ok_or(ReplyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_is_whole_at_the_same_place_however_it_arrives() {
        let reply = b"*3\r\n$3\r\na\r\n\r\n*2\r\n:-7\r\n$-1\r\n*0\r\n";
        let mut bytes = reply.to_vec();
        bytes.extend_from_slice(b"+OK\r\n");
        assert_eq!(Scan::default().advance(&bytes), Ok(Some(reply.len())));
        let mut scan = Scan::default();
        for end in 0..reply.len() {
            assert_eq!(scan.advance(&reply[..end]), Ok(None), "after {end} bytes");
        }
        assert_eq!(scan.advance(&bytes), Ok(Some(reply.len())));
    }

    #[test]
    fn bounds_hold_before_anything_is_decoded() {
        let deep = |levels: usize| format!("{}:1\r\n", "*1\r\n".repeat(levels)).into_bytes();
        let cases = [
            (deep(DEPTH_MAX + 1), Err(ReplyError::TooDeep)),
            (deep(1_000_000), Err(ReplyError::TooDeep)),
            (deep(DEPTH_MAX), Ok(Some(4 * DEPTH_MAX + 4))),
            (b"$16777217\r\n".to_vec(), Err(ReplyError::TooLong)),
            (b"*2097153\r\n".to_vec(), Err(ReplyError::TooMany)),
            (b"*99999999999999999999\r\n".to_vec(), Err(ReplyError::Malformed)),
            (b"*-2\r\n".to_vec(), Err(ReplyError::Malformed)),
            (b"$+1\r\na\r\n".to_vec(), Err(ReplyError::Malformed)),
            (b"$1\r\nabc".to_vec(), Err(ReplyError::Malformed)),
            (b"%1\r\n".to_vec(), Err(ReplyError::Malformed)),
            (b"\r\n".to_vec(), Err(ReplyError::Malformed)),
            (vec![b'+'; LINE_BYTES_MAX], Err(ReplyError::TooLong)),
        ];
        for (bytes, expected) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
            assert_eq!(Scan::default().advance(&bytes), expected, "{shown}");
        }
        let flood = format!("*{ELEMENTS_MAX}\r\n{}", "*1\r\n:1\r\n".repeat(ELEMENTS_MAX / 2 + 1));
        assert_eq!(Scan::default().advance(flood.as_bytes()), Err(ReplyError::TooMany));
        let flood =
            format!("*17\r\n{}", format!("$1048576\r\n{}\r\n", "x".repeat(1 << 20)).repeat(17));
        assert_eq!(Scan::default().advance(flood.as_bytes()), Err(ReplyError::TooLong));
    }

    fn reply() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
            "[ -~]{0,12}".prop_map(|s| format!("+{s}\r\n").into_bytes()),
            "[ -~]{1,12}".prop_map(|s| format!("-{s}\r\n").into_bytes()),
            prop::collection::vec(any::<u8>(), 0..12).prop_map(|body| {
                [format!("${}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat()
            }),
            Just(b"$-1\r\n".to_vec()),
            Just(b"*-1\r\n".to_vec()),
        ];
        leaf.prop_recursive(6, 40, 6, |inner| {
            prop::collection::vec(inner, 0..6).prop_map(|items| {
                [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat()
            })
        })
    }

    proptest! {
        #[test]
        fn scan_and_decoder_agree_on_any_reply(bytes in reply()) {
            prop_assert_eq!(Scan::default().advance(&bytes), Ok(Some(bytes.len())));
            prop_assert!(decode_whole(&bytes).is_ok());
        }

        #[test]
        fn any_bytes_are_refused_or_decoded_without_a_panic(bytes in "[*$:+-]?[0-9]{0,2}\r\n([*$:+-]?[0-9]{0,2}\r\n|[a-z]){0,8}") {
            if let Ok(Some(len)) = Scan::default().advance(bytes.as_bytes()) {
                let _ = decode(&Bytes::copy_from_slice(&bytes.as_bytes()[..len]));
            }
        }
    }
}
