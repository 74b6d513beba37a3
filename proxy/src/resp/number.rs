//! The decimals of header lines, read the way the servers read them: canonical or not at all.

/// Reads `12\r\n` at `buf[at..]`: the number and where the next line starts. Only the lines that
/// nearly all traffic consists of: 1 to 7 canonical digits, the whole line there. `None` says
/// nothing but "look closely": [`canonical`] and its caller decide.
///
/// The longest accepted number is far below every integer limit, so nothing here can overflow.
///
/// The way of a request is a chain of these: the next line is where the last length says. That is
/// why numbers of one and two digits, which most are, are told by their line ends first.
#[inline(always)]
pub(super) fn short_line(buf: &[u8], at: usize) -> Option<(u32, usize)> {
    let line = buf.get(at..)?;
    match line.first_chunk() {
        Some([a @ b'0'..=b'9', b'\r', b'\n', _]) => Some((u32::from(a - b'0'), at + 3)),
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n']) => {
            Some((u32::from(a - b'0') * 10 + u32::from(b - b'0'), at + 4))
        }
        _ => longer_line(line, at),
    }
}

/// The same for any number of digits, also at the end of what is there.
#[inline(always)]
fn longer_line(line: &[u8], at: usize) -> Option<(u32, usize)> {
    let mut value = u32::from(line.first()?.wrapping_sub(b'0'));
    if value > 9 {
        return None;
    }
    let mut digits = 1;
    loop {
        let byte = *line.get(digits)?;
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            let ends = byte == b'\r' && *line.get(digits + 1)? == b'\n';
            return ends.then_some((value, at + digits + 2));
        }
        // A zero in front of another digit is not canonical.
        if value == 0 || digits == SHORT_DIGITS_MAX {
            return None;
        }
        value = value * 10 + digit;
        digits += 1;
    }
}

/// A `$` line that was read. The next one often says the same, and needs no reading then; nor does
/// anything wait for its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// The line in the lower bytes.
    line: u64,
    /// Which of eight bytes belong to it.
    mask: u64,
    /// Its length.
    line_bytes: usize,
    /// How many bytes it says that follow.
    bytes: usize,
}

impl Again {
    /// None was read: nothing is like it.
    pub(super) const NONE: Again = Again { line: 1, mask: 0, line_bytes: 0, bytes: 0 };

    /// The line at `buf[at..start]`, which announces `bytes`.
    #[inline]
    pub(super) fn of(buf: &[u8], at: usize, start: usize, bytes: usize) -> Again {
        let line_bytes = start - at;
        let mut line = [0; 8];
        if line_bytes > line.len() {
            return Again::NONE;
        }
        line[..line_bytes].copy_from_slice(&buf[at..start]);
        let mask = u64::MAX >> (64 - 8 * line_bytes);
        Again { line: u64::from_le_bytes(line), mask, line_bytes, bytes }
    }

    /// Where the bytes behind the same line at `buf[at..]` begin and end, if their CRLF follows.
    /// `None` says nothing but "look closely".
    #[inline(always)]
    pub(super) fn at(&self, buf: &[u8], at: usize) -> Option<(usize, usize)> {
        let word = u64::from_le_bytes(*buf.get(at..)?.first_chunk()?);
        if word & self.mask != self.line {
            return None;
        }
        let start = at + self.line_bytes;
        let end = start + self.bytes;
        (buf.get(end..end + 2)? == b"\r\n").then_some((start, end))
    }
}

/// The number that `text` is, if it is what `string2ll` of the servers takes: digits without a
/// leading zero or plus sign, a minus sign only before a number that is not zero, within `i64`.
pub fn canonical(text: &[u8]) -> Option<i64> {
    if text == b"0" {
        return Some(0);
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !matches!(digits.first()?, b'1'..=b'9') || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Only digits and a minus sign are left: the one thing that can still go wrong is the range.
    std::str::from_utf8(text).ok()?.parse().ok()
}

const SHORT_DIGITS_MAX: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_takes_what_string2ll_takes() {
        for (text, value) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999999999", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("+1", None),
            ("01", None),
            ("-01", None),
            ("1 ", None),
            (" 1", None),
            ("1e3", None),
            ("abc", None),
        ] {
            assert_eq!(canonical(text.as_bytes()), value, "{text:?}");
        }
    }

    #[test]
    fn the_short_way_never_disagrees_with_the_long_one() {
        let numbers = [
            "", "0", "1", "9", "10", "99", "100", "007", "00", "01", "-1", "+1", "1234567",
            "12345678", "1x", "x1",
        ];
        for number in numbers {
            for ending in ["\r\n", "\r", "\rx", "\n", "", "\r\nrest", "\r\r\n", "\n\r"] {
                let line = format!("*{number}{ending}");
                let Some((value, next)) = short_line(line.as_bytes(), 1) else { continue };
                assert_eq!(canonical(number.as_bytes()), Some(i64::from(value)), "{line:?}");
                assert_eq!(next, 1 + number.len() + 2, "{line:?}");
                assert!(ending.starts_with("\r\n"), "{line:?}");
            }
        }
        assert_eq!(short_line(b"1234567\r\n", 0), Some((1_234_567, 9)));
        assert_eq!(short_line(b"12345678\r\n", 0), None);
        assert_eq!(short_line(b"0\r\n", 0), Some((0, 3)));
        assert_eq!(short_line(b"42\r\n", 0), Some((42, 4)));
        assert_eq!(short_line(b"0\r\n", 4), None);
    }
}
