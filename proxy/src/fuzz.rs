//! What must hold for whatever bytes come in: the entry points of the fuzzers.
//!
//! Plain functions that panic when a claim is broken. `tests/framing.rs` runs them on a stable
//! compiler from a corpus with mutations, `fuzz/` hands them to libFuzzer.

use crate::resp::{Args, Span, reply, request, write};

/// Reads `data` as what a client sends.
///
/// Claims: any way of cutting it into reads gives the same frames; no frame exceeds the buffer or
/// the limits; a request is canonical (its arguments encoded again are its bytes) and names no
/// command that nodes answer by closing; an inline line becomes such a request or is refused;
/// what is announced after a partial frame is more than is there and no more than comes; memory
/// is bounded by what came in, not by what was announced.
pub fn requests(data: &[u8]) {
    let small = request::Limits {
        arguments_max: 12,
        bulk_bytes_max: 100,
        inline_bytes_max: 50,
        authenticated: true,
    };
    let unauthenticated = request::Limits { authenticated: false, ..request::Limits::default() };
    for limits in [request::Limits::default(), small, unauthenticated] {
        let at_once = requests_in_reads(data, &limits, |rest| rest);
        let mut random = cutter(data);
        for _ in 0..2 {
            let cut = requests_in_reads(data, &limits, |rest| random.usize(1..=rest.min(40)));
            assert_eq!(at_once, cut);
        }
        assert_eq!(at_once, requests_in_reads(data, &limits, |_| 1));
    }
}

/// Reads `data` as what a node sends.
///
/// Claims: any way of cutting it into chunks gives the same replies, ends and errors; no reply
/// exceeds the chunk; what is announced to be missing is more than nothing and no more than comes.
pub fn replies(data: &[u8]) {
    let at_once = replies_in_chunks(data, |rest| rest);
    let mut random = cutter(data);
    for _ in 0..2 {
        assert_eq!(at_once, replies_in_chunks(data, |rest| random.usize(1..=rest.min(40))));
    }
    assert_eq!(at_once, replies_in_chunks(data, |_| 1));
}

/// What was found in a stream, and where in it it ended.
type Seen<T> = Vec<(usize, T)>;

/// A request stream in reads of `next(bytes that are left)` bytes.
fn requests_in_reads(
    data: &[u8],
    limits: &request::Limits,
    mut next: impl FnMut(usize) -> usize,
) -> Seen<Result<Vec<u8>, request::ProtocolError>> {
    let mut seen = Vec::new();
    let mut scanner = request::Scanner::default();
    let mut spans = Vec::new();
    let (mut start, mut read, mut announced) = (0, 0, 0);
    loop {
        assert!(scanner.is_fresh() || start < read);
        let buf = &data[start..read];
        let frame = scanner.scan(buf, limits, &mut spans);
        assert!(spans.capacity() <= 4 + data.len() / 3, "spans grew by announcement");
        let (len, found) = match frame {
            request::Frame::Partial => {
                assert_eq!(scanner.is_fresh(), buf.is_empty());
                assert!(buf.is_empty() || scanner.announced_bytes() > buf.len());
                announced = announced.max(scanner.announced_bytes());
                if read == data.len() {
                    return seen;
                }
                read += next(data.len() - read);
                continue;
            }
            request::Frame::Refused(error) => {
                assert!(scanner.is_fresh());
                seen.push((start, Err(error)));
                return seen;
            }
            request::Frame::Nothing { len } => (len, Ok(Vec::new())),
            request::Frame::Request { len } => {
                check_request(&buf[..len], &spans, limits);
                (len, Ok(buf[..len].to_vec()))
            }
            request::Frame::Inline { len } => (len, inline(&buf[..len], limits)),
        };
        assert!(scanner.is_fresh());
        assert!(0 < len && len <= buf.len());
        assert!(announced <= len, "announced {announced} bytes of {len}");
        announced = 0;
        start += len;
        seen.push((start, found));
    }
}

/// A canonical frame with these arguments, within the limits and harmless to a node.
fn check_request(frame: &[u8], spans: &[Span], limits: &request::Limits) {
    let arguments: Vec<&[u8]> = Args::new(frame, spans).iter().collect();
    let mut again = Vec::new();
    write::command(&mut again, &arguments);
    assert_eq!(again.escape_ascii().to_string(), frame.escape_ascii().to_string());
    assert!(arguments.len() <= limits.arguments_max as usize);
    assert!(arguments.iter().all(|a| a.len() <= limits.bulk_bytes_max as usize));
    if !limits.authenticated {
        assert!(arguments.len() <= 10 && arguments.iter().all(|a| a.len() <= 16384));
    }
    let name = arguments[0].split(|byte| *byte == 0).next().unwrap_or_default();
    assert!(!name.eq_ignore_ascii_case(b"post") && !name.eq_ignore_ascii_case(b"host:"));
}

/// The canonical form of an inline line, found to be what the scanner calls a request.
fn inline(line: &[u8], limits: &request::Limits) -> Result<Vec<u8>, request::ProtocolError> {
    assert!(line.ends_with(b"\n") && line.len() <= limits.inline_bytes_max as usize + 2);
    assert!(!line.iter().all(u8::is_ascii_whitespace));
    let (mut frame, mut spans) = (Vec::new(), Vec::new());
    request::canonical_inline(line, &mut frame, &mut spans)?;
    // Quoted or not, a word is never longer than what stands for it.
    assert!(spans.iter().map(|span| (span.end - span.start) as usize).sum::<usize>() < line.len());

    let limits = request::Limits::default();
    let mut spans_again = Vec::new();
    let again = request::Scanner::default().scan(&frame, &limits, &mut spans_again);
    assert_eq!(again, request::Frame::Request { len: frame.len() });
    assert_eq!(spans_again, spans);
    check_request(&frame, &spans, &limits);
    Ok(frame)
}

/// What a reply stream holds.
#[derive(Debug, PartialEq)]
enum Piece {
    Reply(reply::Kind),
    /// It ends here, with so many bytes missing at least: 0 between two replies.
    End {
        missing: u64,
    },
    Bad(reply::BadReply),
}

/// A reply stream in chunks of `next(bytes that are left)` bytes.
fn replies_in_chunks(data: &[u8], mut next: impl FnMut(usize) -> usize) -> Seen<Piece> {
    let mut seen = Vec::new();
    let mut scanner = reply::Scanner::default();
    let (mut fed, mut read, mut promised) = (0, 0, 0);
    loop {
        let chunk = &data[fed..read];
        match scanner.feed(chunk) {
            reply::Progress::Complete { used, kind } => {
                assert!(scanner.is_fresh());
                assert!(0 < used && used <= chunk.len());
                fed += used;
                assert!(promised <= fed as u64, "promised {promised} at {fed}");
                promised = 0;
                seen.push((fed, Piece::Reply(kind)));
            }
            reply::Progress::Bad(bad) => {
                seen.push((0, Piece::Bad(bad)));
                return seen;
            }
            reply::Progress::More => {
                fed = read;
                assert_eq!(scanner.is_fresh(), scanner.missing_bytes() == 0);
                if !scanner.is_fresh() {
                    promised = promised.max(fed as u64 + scanner.missing_bytes());
                }
                if read == data.len() {
                    seen.push((fed, Piece::End { missing: scanner.missing_bytes() }));
                    return seen;
                }
                read += next(data.len() - read);
            }
        }
    }
}

/// Random cuts that are the same for the same bytes, so that a failure can be seen again.
fn cutter(data: &[u8]) -> fastrand::Rng {
    let seed = data.iter().fold(data.len() as u64, |seed, byte| {
        (seed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    });
    fastrand::Rng::with_seed(seed)
}
