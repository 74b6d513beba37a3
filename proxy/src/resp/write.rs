//! Writes replies and commands: every function appends to a buffer and nothing else.

use std::ops::Range;

/// `+text`. CR and LF in `text` become blanks, because they would end the line.
pub fn simple(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    line(out, b'+', text.as_ref());
}

/// `-text`; `text` begins with the error's code, as in `ERR no such key`. CR and LF become blanks,
/// as the servers do it.
pub fn error(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    line(out, b'-', text.as_ref());
}

/// `:value`.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    out.push(b':');
    number(out, value);
}

/// `$length`, the bytes, CRLF. `data` can be any bytes.
pub fn bulk(out: &mut Vec<u8>, data: impl AsRef<[u8]>) {
    let data = data.as_ref();
    bulk_header(out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// `$length` alone: the caller appends that many bytes and a CRLF.
pub fn bulk_header(out: &mut Vec<u8>, length: usize) {
    out.push(b'$');
    number(out, length);
}

/// A piece of up to [`SHORT_BYTES`] bytes with as many behind it as make up this number, so that it
/// can be copied without a call: what is too much is written over by the next.
pub type Short<'a> = (&'a [u8; SHORT_BYTES], usize);

/// What a [`Short`] piece is.
pub const SHORT_BYTES: usize = 64;

/// A range of `bytes` as such a piece; `None` if it is longer, or too near to their end.
#[inline(always)]
pub fn short(bytes: &[u8], range: Range<usize>) -> Option<Short<'_>> {
    let piece = bytes.get(range.start..)?.first_chunk()?;
    let len = range.end.wrapping_sub(range.start);
    (len <= SHORT_BYTES).then_some((piece, len))
}

/// Appends many pieces, most of them short. Room is made for many of them at a time.
#[derive(Debug)]
pub struct Pieces<'a> {
    /// What is behind `end` is room.
    out: &'a mut Vec<u8>,
    end: usize,
}

impl<'a> Pieces<'a> {
    /// They come behind what is in `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Pieces<'a> {
        Pieces { end: out.len(), out }
    }

    /// Appends a range of `from`.
    #[inline(always)]
    pub fn push(&mut self, from: &[u8], range: Range<usize>) {
        if let Some((piece, len)) = short(from, range.clone())
            && let Some(room) = self.out.get_mut(self.end..).and_then(|r| r.first_chunk_mut())
        {
            *room = *piece;
            self.end += len;
        } else {
            self.push_slowly(|out| out.extend_from_slice(&from[range]));
        }
    }

    /// Appends two pieces. Returns whether there was room.
    #[inline(always)]
    pub fn push_two(&mut self, first: Short<'_>, second: Short<'_>) -> bool {
        const BYTES: usize = 2 * SHORT_BYTES;
        let room = self.out.get_mut(self.end..).and_then(|r| r.first_chunk_mut::<BYTES>());
        let (Some(room), true) = (room, first.1 <= SHORT_BYTES) else { return false };
        room[..SHORT_BYTES].copy_from_slice(first.0);
        room[first.1..first.1 + SHORT_BYTES].copy_from_slice(second.0);
        self.end += first.1 + second.1;
        true
    }

    /// Appends what `write` writes, and makes room.
    #[inline(always)]
    pub fn push_slowly(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.end = push_slowly(self.out, self.end, write);
    }

    /// The end of all that was appended.
    #[inline]
    pub fn end(&self) -> usize {
        self.end
    }
}

#[inline(never)]
fn push_slowly(out: &mut Vec<u8>, end: usize, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    out.truncate(end);
    write(out);
    let end = out.len();
    // As much as is there anyway, if that is not too little.
    let room = (out.capacity() - end).clamp(4 * SHORT_BYTES, PIECES_BYTES);
    out.resize(end + room, 0);
    end
}

impl Drop for Pieces<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.end);
    }
}

/// Room that is made for pieces at a time, at most.
const PIECES_BYTES: usize = 2048;

/// `$-1`: RESP2's "no such value".
pub fn null_bulk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

/// `*-1`: RESP2's "no such list", of an EXEC that did not run or a blocking pop that timed out.
pub fn null_array(out: &mut Vec<u8>) {
    out.extend_from_slice(b"*-1\r\n");
}

/// `_`: RESP3's one null.
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"_\r\n");
}

/// `=length`, `txt:` and the text in RESP3, [`bulk`] in RESP2: text for a person.
pub fn verbatim(out: &mut Vec<u8>, resp3: bool, text: &str) {
    if !resp3 {
        return bulk(out, text);
    }
    out.push(b'=');
    number(out, text.len() + 4);
    out.extend_from_slice(b"txt:");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `*length`: the caller appends that many values.
pub fn array_header(out: &mut Vec<u8>, length: usize) {
    out.push(b'*');
    number(out, length);
}

/// `%pairs` in RESP3, `*` with twice as many in RESP2: the caller appends that many keys, each
/// followed by its value.
pub fn map_header(out: &mut Vec<u8>, resp3: bool, pairs: usize) {
    if !resp3 {
        return array_header(out, 2 * pairs);
    }
    out.push(b'%');
    number(out, pairs);
}

/// `~length` in RESP3, an array in RESP2: the caller appends that many values.
pub fn set_header(out: &mut Vec<u8>, resp3: bool, length: usize) {
    out.push(if resp3 { b'~' } else { b'*' });
    number(out, length);
}

/// A canonical request: an array of bulk strings, the command's name first.
pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    array_header(out, arguments.len());
    for argument in arguments {
        bulk(out, argument);
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(text);
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_appends_its_form() {
        let mut out = b"before".to_vec();
        simple(&mut out, "OK");
        error(&mut out, "ERR no");
        integer(&mut out, i64::MIN);
        bulk(&mut out, b"a\r\nb\0");
        bulk(&mut out, "");
        null_bulk(&mut out);
        null_array(&mut out);
        null(&mut out);
        array_header(&mut out, 0);
        map_header(&mut out, true, 12);
        map_header(&mut out, false, 12);
        verbatim(&mut out, true, "a\r\n");
        verbatim(&mut out, false, "a");
        command(&mut out, &[b"GET", b"k"]);
        let expected = "before+OK\r\n-ERR no\r\n:-9223372036854775808\r\n$5\r\na\r\nb\0\r\n$0\r\n\r\n\
             $-1\r\n*-1\r\n_\r\n*0\r\n%12\r\n*24\r\n=7\r\ntxt:a\r\n\r\n$1\r\na\r\n\
             *2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_line_cannot_be_ended_by_its_text() {
        let mut out = Vec::new();
        error(&mut out, "ERR a\r\n+OK\nb\rc");
        simple(&mut out, "\n");
        assert_eq!(out, b"-ERR a  +OK b c\r\n+ \r\n");
    }
}
