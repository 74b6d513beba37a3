use super::*;

/// One frame and its arguments, read at once.
fn scan(buf: &[u8]) -> (Frame, Vec<Vec<u8>>) {
    scan_within(buf, &Limits::default())
}

fn scan_within(buf: &[u8], limits: &Limits) -> (Frame, Vec<Vec<u8>>) {
    let mut spans = vec![Span { start: 7, end: 7 }];
    let frame = Scanner::default().scan(buf, limits, &mut spans);
    let arguments = match frame {
        Frame::Request { .. } => {
            spans.iter().map(|s| buf[s.start as usize..s.end as usize].to_vec()).collect()
        }
        _ => Vec::new(),
    };
    (frame, arguments)
}

fn refused(buf: &[u8]) -> ProtocolError {
    match scan(buf).0 {
        Frame::Refused(error) => error,
        other => panic!("{}: {other:?}", buf.escape_ascii()),
    }
}

#[test]
fn an_array_of_bulk_strings_is_a_request() {
    for (buf, len, arguments) in [
        (&b"*1\r\n$4\r\nPING\r\n"[..], 14, &[&b"PING"[..]][..]),
        (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n", 20, &[b"GET", b"k"]),
        (b"*2\r\n$0\r\n\r\n$2\r\n\r\n\r\nrest", 18, &[b"", b"\r\n"]),
        (b"*1\r\n$12\r\n$3\r\nabc\r\n\0\xff\x80\r\n", 23, &[b"$3\r\nabc\r\n\0\xff\x80"]),
    ] {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|a| a.to_vec()).collect();
        assert_eq!(scan(buf), (Frame::Request { len }, arguments), "{}", buf.escape_ascii());
    }
}

#[test]
fn what_asks_for_nothing_is_skipped() {
    for (buf, len) in [
        (&b"*0\r\n*1\r\n"[..], 4),
        (b"*-1\r\n", 5),
        (b"*-9223372036854775808\r\n", 23),
        (b"\n", 1),
        (b"\r\nPING\r\n", 2),
        (b" \t\x0b\x0c\r \r\n", 8),
    ] {
        assert_eq!(scan(buf).0, Frame::Nothing { len }, "{}", buf.escape_ascii());
    }
}

#[test]
fn a_line_is_an_inline_request() {
    assert_eq!(scan(b"PING\r\nrest").0, Frame::Inline { len: 6 });
    assert_eq!(scan(b"PING\nrest").0, Frame::Inline { len: 5 });
    assert_eq!(scan(b"$3\r\nGET\r\n").0, Frame::Inline { len: 4 });
    assert_eq!(scan(b" *1\r\n").0, Frame::Inline { len: 5 });
}

#[test]
fn every_proper_prefix_is_partial_and_announces_no_more_than_comes() {
    for whole in [
        &b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nxx"[..],
        b"*0\r\n",
        b"PING\r\n",
        b"*2\r\n$0\r\n\r\n$5\r\nhello\r\n",
    ] {
        let whole = match whole.strip_suffix(b"xx") {
            Some(start) => [start, &[b'x'; 100], b"\r\n"].concat(),
            None => whole.to_vec(),
        };
        let mut resumed = Scanner::default();
        for length in 1..whole.len() {
            let mut spans = Vec::new();
            for scanner in [&mut Scanner::default(), &mut resumed] {
                let frame = scanner.scan(&whole[..length], &Limits::default(), &mut spans);
                assert_eq!(frame, Frame::Partial);
                assert!(!scanner.is_fresh());
                assert!((length + 1..=whole.len()).contains(&scanner.announced_bytes()));
            }
        }
        let (mut spans, mut spans_at_once) = (Vec::new(), Vec::new());
        let frame = resumed.scan(&whole, &Limits::default(), &mut spans);
        let at_once = Scanner::default().scan(&whole, &Limits::default(), &mut spans_at_once);
        assert_eq!((frame, spans), (at_once, spans_at_once));
        assert!(resumed.is_fresh());
    }
}

#[test]
fn an_announced_bulk_is_known_and_costs_nothing() {
    let (mut scanner, mut spans) = (Scanner::default(), Vec::new());
    let buf = b"*1048576\r\n$536870912\r\nabc";
    assert_eq!(scanner.scan(buf, &Limits::default(), &mut spans), Frame::Partial);
    assert_eq!(scanner.announced_bytes(), 22 + 536_870_912 + 2);
    assert!(spans.capacity() <= 4);
    assert!(size_of::<Scanner>() <= 24);
}

#[test]
fn no_byte_is_looked_at_again_while_a_bulk_comes() {
    // Bytes that were seen are overwritten: whoever read them again would refuse them.
    let (mut scanner, mut spans) = (Scanner::default(), Vec::new());
    let mut buf = b"*2\r\n$1\r\na\r\n$9\r\n12345".to_vec();
    assert_eq!(scanner.scan(&buf, &Limits::default(), &mut spans), Frame::Partial);
    buf[..11].fill(b'!');
    buf[0] = b'*';
    buf.extend_from_slice(b"678");
    assert_eq!(scanner.scan(&buf, &Limits::default(), &mut spans), Frame::Partial);
    assert_eq!(scanner.announced_bytes(), buf.len() + 3);
}

#[test]
fn limits_hold_to_the_byte() {
    let limits =
        Limits { arguments_max: 2, bulk_bytes_max: 3, inline_bytes_max: 4, authenticated: true };
    for (buf, expected) in [
        (&b"*2\r\n$3\r\nabc\r\n$1\r\na\r\n"[..], Frame::Request { len: 20 }),
        (b"*3\r\n", Frame::Refused(ProtocolError::InvalidArrayLength)),
        (b"*1\r\n$4\r\n", Frame::Refused(ProtocolError::InvalidBulkLength)),
        (b"abcd\n", Frame::Inline { len: 5 }),
        (b"abcd", Frame::Partial),
        (b"abcde", Frame::Refused(ProtocolError::TooBigInline)),
        (b"abcde\n", Frame::Refused(ProtocolError::TooBigInline)),
    ] {
        assert_eq!(scan_within(buf, &limits).0, expected, "{}", buf.escape_ascii());
    }
    assert_eq!(scan(b"*1048576\r\n").0, Frame::Partial);
    assert_eq!(refused(b"*1048577\r\n"), ProtocolError::InvalidArrayLength);
    assert_eq!(scan(b"*1\r\n$536870912\r\n").0, Frame::Partial);
    assert_eq!(refused(b"*1\r\n$536870913\r\n"), ProtocolError::InvalidBulkLength);

    let strangers = Limits { authenticated: false, ..Limits::default() };
    for (buf, expected) in [
        (&b"*10\r\n"[..], Frame::Partial),
        (b"*11\r\n", Frame::Refused(ProtocolError::UnauthenticatedArrayLength)),
        (b"*1\r\n$16384\r\n", Frame::Partial),
        (b"*1\r\n$16385\r\n", Frame::Refused(ProtocolError::UnauthenticatedBulkLength)),
    ] {
        assert_eq!(scan_within(buf, &strangers).0, expected, "{}", buf.escape_ascii());
    }
}

#[test]
fn header_lines_are_bounded() {
    for (start, error, number_error) in [
        ("*", ProtocolError::TooBigArrayHeader, ProtocolError::InvalidArrayLength),
        ("*1\r\n$", ProtocolError::TooBigBulkHeader, ProtocolError::InvalidBulkLength),
        ("*1\r\nX", ProtocolError::TooBigBulkHeader, ProtocolError::ExpectedBulk(b'X')),
    ] {
        let longest = format!("{start}{}", "1".repeat(64 * 1024 - 1));
        assert_eq!(scan(longest.as_bytes()).0, Frame::Partial);
        assert_eq!(refused(format!("{longest}\r\n").as_bytes()), number_error);
        assert_eq!(refused(format!("{longest}1").as_bytes()), error);
        assert_eq!(refused(format!("{longest}1\r\n").as_bytes()), error);
    }
}

#[test]
fn a_frame_that_32_bits_cannot_measure_is_refused() {
    let limits = Limits { bulk_bytes_max: u32::MAX, ..Limits::default() };
    let frame = scan_within(b"*1\r\n$4294967295\r\n", &limits).0;
    assert_eq!(frame, Frame::Refused(ProtocolError::InvalidBulkLength));
    assert_eq!(scan_within(b"*1\r\n$4294000000\r\n", &limits).0, Frame::Partial);
}

#[test]
fn every_crlf_is_verified() {
    for buf in [
        &b"*1\rX"[..],
        b"*1\r\n$4\rX",
        b"*1\r\n$4\r\nPINGxx",
        b"*1\r\n$4\r\nPING\rx",
        b"*1\r\n$4\r\nPING\n\n",
        b"*1\r\n$4\r\nPINGS\r\n",
        b"*x\r\r",
    ] {
        assert_eq!(refused(buf), ProtocolError::InvalidCrlf, "{}", buf.escape_ascii());
    }
}

#[test]
fn only_bulk_strings_are_arguments() {
    for (buf, got) in [
        (&b"*1\r\n+4\r\n"[..], b'+'),
        (b"*1\r\n*1\r\n", b'*'),
        (b"*1\r\n\r\n", b'\r'),
        (b"*1\r\n\n\r\n", b'\n'),
        (b"*2\r\n$1\r\na\r\n\xff\r\n", 0xff),
    ] {
        assert_eq!(refused(buf), ProtocolError::ExpectedBulk(got), "{}", buf.escape_ascii());
    }
    let text = ProtocolError::ExpectedBulk(b'X').text();
    assert_eq!(text.unwrap().as_ref(), b"ERR Protocol error: expected '$', got 'X'");
}

#[test]
fn a_nul_in_a_line_is_refused_at_once() {
    assert_eq!(refused(b"GET\0"), ProtocolError::TooBigInline);
    assert_eq!(refused(b"\x16\x03\x01\x02\0\x01"), ProtocolError::TooBigInline);
    assert_eq!(refused(b"*1\0\r\n"), ProtocolError::InvalidArrayLength);
}

#[test]
fn http_is_closed_without_a_word() {
    for name in ["POST", "post", "Host:", "hOST:", "post\0x"] {
        let buf = format!("*2\r\n${}\r\n{name}\r\n$1\r\n/\r\n", name.len());
        assert_eq!(refused(buf.as_bytes()), ProtocolError::CrossProtocol, "{name:?}");
    }
    assert_eq!(ProtocolError::CrossProtocol.text(), None);
    for name in ["POS", "POSTS", "Host", "HOST::", "hget", "\0post"] {
        let buf = format!("*1\r\n${}\r\n{name}\r\n", name.len());
        assert_eq!(scan(buf.as_bytes()).0, Frame::Request { len: buf.len() }, "{name:?}");
    }
    assert!(matches!(scan(b"*2\r\n$3\r\nGET\r\n$4\r\nPOST\r\n").0, Frame::Request { .. }));
}

/// Of many arguments one is often as long as the one before, and its line is not read again then.
#[test]
fn many_arguments_are_read_like_few() {
    let lengths = [16, 16, 16, 0, 0, 1, 1, 16, 1, 150, 150, 16, 9_999, 9_999, 16];
    let arguments: Vec<Vec<u8>> = lengths.iter().map(|&len| vec![b'\n'; len]).collect();
    let (mut buf, words) = (Vec::new(), arguments.iter().map(Vec::as_slice));
    crate::resp::write::command(&mut buf, &words.collect::<Vec<_>>());
    assert_eq!(scan(&buf), (Frame::Request { len: buf.len() }, arguments));
    for broken in [&b"$16\n\n"[..], b"$16\r\r", b"$16 \r", b"$016\r", b"$17\r\n"] {
        let mut all = Vec::new();
        crate::resp::write::command(&mut all, &[&[b'x'; 16][..]; 12]);
        let at = all.len() - 23;
        all.splice(at..at + 5, broken.iter().copied());
        assert!(matches!(scan(&all).0, Frame::Refused(_) | Frame::Partial), "{broken:?}");
    }
    let limits = Limits { authenticated: false, ..Limits::default() };
    let refused = Frame::Refused(ProtocolError::UnauthenticatedArrayLength);
    assert_eq!(scan_within(&buf, &limits).0, refused);
}
