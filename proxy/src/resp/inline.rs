//! Inline requests: a line of words as a person types it, made into the array that nodes get.

use super::request::{ProtocolError, is_blank, refuse_cross_protocol};
use super::{Span, write};

/// Encodes an inline line anew as a canonical array: `out` and `spans` are cleared and then hold
/// the frame and its arguments.
///
/// `line` is what [`Frame::Inline`](super::request::Frame::Inline) announced, with or without its
/// newline (LF or CRLF). Of a blank line, which the scanner never announces, `*0` is made.
///
/// Words are split and unquoted as `sdssplitargs` of the servers does it: blanks separate;
/// `"…"` knows `\xHH \n \r \t \b \a` and takes any other escaped byte as it is; `'…'` knows `\'`;
/// a quote may open in the middle of a word (`a"b c"` is one), but after the closing one there
/// must be a blank or the end (Valkey 9.1 has relaxed that).
///
/// # Errors
///
/// [`ProtocolError::UnbalancedQuotes`], and [`ProtocolError::CrossProtocol`] for a first word that
/// servers answer by closing. `out` and `spans` mean nothing then.
pub fn canonical_inline(
    line: &[u8],
    out: &mut Vec<u8>,
    spans: &mut Vec<Span>,
) -> Result<(), ProtocolError> {
    out.clear();
    spans.clear();
    let line = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));

    // A word's length comes before it, so the line is read twice: first for the lengths.
    let mut words = Words { rest: line };
    let mut length = 0;
    while words.next(|_| length += 1)? {
        spans.push(Span { start: 0, end: length });
        length = 0;
    }

    write::array_header(out, spans.len());
    let mut words = Words { rest: line };
    for span in &mut *spans {
        write::bulk_header(out, span.end as usize);
        span.start = out.len() as u32;
        words.next(|byte| out.push(byte))?;
        span.end = out.len() as u32;
        out.extend_from_slice(b"\r\n");
    }
    match spans.first() {
        Some(name) => refuse_cross_protocol(&out[name.start as usize..name.end as usize]),
        None => Ok(()),
    }
}

/// The words of a line, one after another.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    /// Gives the next word's bytes to `emit`, unquoted. `false` if there is no further word.
    fn next(&mut self, mut emit: impl FnMut(u8)) -> Result<bool, ProtocolError> {
        let blanks = self.rest.iter().take_while(|byte| is_blank(**byte)).count();
        self.rest = &self.rest[blanks..];
        if self.rest.is_empty() {
            return Ok(false);
        }
        while let [byte, rest @ ..] = self.rest {
            self.rest = rest;
            match byte {
                // Unlike between words, VT and FF are ordinary inside one.
                b' ' | b'\n' | b'\r' | b'\t' => break,
                b'"' => {
                    self.double_quoted(&mut emit)?;
                    break;
                }
                b'\'' => {
                    self.single_quoted(&mut emit)?;
                    break;
                }
                byte => emit(*byte),
            }
        }
        Ok(true)
    }

    /// What follows `"`, to the closing one.
    fn double_quoted(&mut self, emit: &mut impl FnMut(u8)) -> Result<(), ProtocolError> {
        loop {
            self.rest = match self.rest {
                [b'"', rest @ ..] => return self.closed(rest),
                [b'\\', b'x', high, low, rest @ ..]
                    if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
                {
                    emit(hex(*high) << 4 | hex(*low));
                    rest
                }
                [b'\\', escaped, rest @ ..] => {
                    emit(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 0x08,
                        b'a' => 0x07,
                        byte => *byte,
                    });
                    rest
                }
                [byte, rest @ ..] => {
                    emit(*byte);
                    rest
                }
                [] => return Err(ProtocolError::UnbalancedQuotes),
            };
        }
    }

    /// What follows `'`, to the closing one.
    fn single_quoted(&mut self, emit: &mut impl FnMut(u8)) -> Result<(), ProtocolError> {
        loop {
            self.rest = match self.rest {
                [b'\'', rest @ ..] => return self.closed(rest),
                [b'\\', b'\'', rest @ ..] => {
                    emit(b'\'');
                    rest
                }
                [byte, rest @ ..] => {
                    emit(*byte);
                    rest
                }
                [] => return Err(ProtocolError::UnbalancedQuotes),
            };
        }
    }

    /// After a closing quote: only a blank or the end may follow.
    fn closed(&mut self, rest: &'a [u8]) -> Result<(), ProtocolError> {
        self.rest = rest;
        match rest.first() {
            Some(byte) if !is_blank(*byte) => Err(ProtocolError::UnbalancedQuotes),
            _ => Ok(()),
        }
    }
}

/// The value of a byte that is known to be a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let (mut out, mut spans) = (b"stale".to_vec(), vec![Span { start: 9, end: 9 }]);
        canonical_inline(line, &mut out, &mut spans)?;
        let words: Vec<Vec<u8>> =
            spans.iter().map(|s| out[s.start as usize..s.end as usize].to_vec()).collect();
        let mut again = Vec::new();
        write::command(&mut again, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(out, again, "{}", line.escape_ascii());
        Ok(words)
    }

    #[test]
    fn words_are_unquoted_as_the_servers_do_it() {
        for (line, expected) in [
            (&b"PING\r\n"[..], &[&b"PING"[..]][..]),
            (b"PING\n", &[b"PING"]),
            (b"PING", &[b"PING"]),
            (b" \t get  a\x0b\x0c \r\r\n", &[b"get", b"a\x0b\x0c"]),
            (b"a\rb\n", &[b"a", b"b"]),
            (b"set a \"\"\n", &[b"set", b"a", b""]),
            (b"''\n", &[b""]),
            (b"echo \"x y\" 'x y'\n", &[b"echo", b"x y", b"x y"]),
            (b"echo a\"b c\"\n", &[b"echo", b"ab c"]),
            (br#"echo "\x00\xfF\xg0\x""#, &[b"echo", b"\0\xffxg0x"]),
            (br#"echo "\n\r\t\b\a\\\"\q""#, &[b"echo", b"\n\r\t\x08\x07\\\"q"]),
            (br"echo '\'\n\\x'", &[b"echo", br"'\n\\x"]),
            (br#"echo "it's" 'say "x"'"#, &[b"echo", b"it's", br#"say "x""#]),
            (b"\x80\xff\n", &[b"\x80\xff"]),
        ] {
            let expected: Vec<Vec<u8>> = expected.iter().map(|w| w.to_vec()).collect();
            assert_eq!(words(line), Ok(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn quotes_that_do_not_match_are_refused() {
        let lines =
            ["\"", "a \"b", "a 'b", "'\\'", "\"\\\"", "\"a\"b", "'a'b", "\"a\"\"b\"", "\"a\\"];
        for line in lines {
            assert_eq!(words(line.as_bytes()), Err(ProtocolError::UnbalancedQuotes), "{line}");
        }
    }

    #[test]
    fn a_first_word_that_nodes_answer_by_closing_is_refused() {
        for line in ["POST / HTTP/1.1\r\n", "host: x\n", "'post'\n", "\"post\\x00x\" a\n"] {
            assert_eq!(words(line.as_bytes()), Err(ProtocolError::CrossProtocol), "{line}");
        }
        for line in ["posts\n", "host\n", "get post\n", "\"\\x00post\"\n"] {
            assert!(words(line.as_bytes()).is_ok(), "{line}");
        }
    }
}
