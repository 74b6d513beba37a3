use super::*;

/// The first reply of a stream: where it ends and what it is, read at once.
fn feed(stream: &[u8]) -> Progress {
    Scanner::default().feed(stream)
}

#[test]
fn every_type_ends_where_it_ends() {
    for (stream, kind) in [
        (&b"+OK\r\n"[..], Kind::Simple),
        (b"+\r\n", Kind::Simple),
        (b"+a\rb\nc\r\r\n", Kind::Simple),
        (b"-ERR \xff\xfe no\r\n", Kind::Error),
        (b"!5\r\nERR x\r\n", Kind::Error),
        (b":0\r\n", Kind::Integer),
        (b":-9223372036854775808\r\n", Kind::Integer),
        (b":+07\r\n", Kind::Integer),
        (b"$0\r\n\r\n", Kind::Bulk),
        (b"$5\r\n\r\n$1\r\r\n", Kind::Bulk),
        (b"$-1\r\n", Kind::Null),
        (b"*-1\r\n", Kind::Null),
        (b"_\r\n", Kind::Null),
        (b"*0\r\n", Kind::Array),
        (b"*3\r\n:1\r\n*1\r\n$-1\r\n*0\r\n", Kind::Array),
        (b",3.14\r\n", Kind::Other),
        (b",-1.5e-9\r\n", Kind::Other),
        (b",10\r\n", Kind::Other),
        (b",inf\r\n", Kind::Other),
        (b",-inf\r\n", Kind::Other),
        (b",nan\r\n", Kind::Other),
        (b"#t\r\n", Kind::Other),
        (b"#f\r\n", Kind::Other),
        (b"(3492890328409238509324850943850943825024385\r\n", Kind::Other),
        (b"=8\r\ntxt:abcd\r\n", Kind::Other),
        (b"=4\r\ntxt:\r\n", Kind::Other),
        (b"%2\r\n+a\r\n:1\r\n%1\r\n*1\r\n_\r\n~0\r\n*0\r\n", Kind::Other),
        (b"~2\r\n*1\r\n+a\r\n%0\r\n", Kind::Other),
        (b">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", Kind::Push),
        (b"|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", Kind::Bulk),
        (b"|0\r\n|1\r\n|1\r\n+a\r\n+b\r\n+c\r\n*1\r\n+d\r\n-ERR\r\n", Kind::Error),
        (b"*2\r\n|1\r\n+k\r\n*2\r\n:1\r\n:2\r\n:3\r\n:4\r\n", Kind::Array),
        (b"|1\r\n+k\r\n+v\r\n>1\r\n+x\r\n", Kind::Push),
    ] {
        let mut longer = stream.to_vec();
        longer.extend_from_slice(b"+next\r\n");
        let expected = Progress::Complete { used: stream.len(), kind };
        assert_eq!(feed(&longer), expected, "{}", stream.escape_ascii());

        let mut scanner = Scanner::default();
        let (last, start) = stream.split_last().unwrap();
        for byte in start {
            assert_eq!(scanner.feed(&[*byte]), Progress::More, "{}", stream.escape_ascii());
            assert!(!scanner.is_fresh() && scanner.missing_bytes() > 0);
            assert_eq!(scanner.feed(b""), Progress::More);
        }
        assert_eq!(scanner.feed(&[*last]), Progress::Complete { used: 1, kind });
        assert!(scanner.is_fresh() && scanner.missing_bytes() == 0);
    }
}

#[test]
fn what_is_no_reply_is_bad() {
    for (stream, bad) in [
        (&b"x"[..], BadReply::Type(b'x')),
        (b"\r\n", BadReply::Type(b'\r')),
        (b"\0", BadReply::Type(0)),
        (b".\r\n", BadReply::Type(b'.')),
        (b";4\r\n", BadReply::Type(b';')),
        (b"*1\r\nHELLO", BadReply::Type(b'H')),
        (b"$?\r\n", BadReply::Line(b'$')),
        (b"*?\r\n", BadReply::Line(b'*')),
        (b"*-2\r\n", BadReply::Line(b'*')),
        (b"$-0\r\n", BadReply::Line(b'$')),
        (b"$03\r\n", BadReply::Line(b'$')),
        (b"$+3\r\n", BadReply::Line(b'$')),
        (b"$\r\n", BadReply::Line(b'$')),
        (b"$99999999999999999999\r\n", BadReply::Line(b'$')),
        (b"%-1\r\n", BadReply::Line(b'%')),
        (b"~-1\r\n", BadReply::Line(b'~')),
        (b">-1\r\n", BadReply::Line(b'>')),
        (b"|-1\r\n", BadReply::Line(b'|')),
        (b"!-1\r\n", BadReply::Line(b'!')),
        (b"=-1\r\n", BadReply::Line(b'=')),
        (b"=3\r\ntxt\r\n", BadReply::Line(b'=')),
        (b"_1\r\n", BadReply::Line(b'_')),
        (b"_x\r\n", BadReply::Line(b'_')),
        (b"#1\r\n", BadReply::Line(b'#')),
        (b"#true\r\n", BadReply::Line(b'#')),
        (b":\r\n", BadReply::Line(b':')),
        (b":1.5\r\n", BadReply::Line(b':')),
        (b":9223372036854775808\r\n", BadReply::Line(b':')),
        (b",1,5\r\n", BadReply::Line(b',')),
        (b",\xff\r\n", BadReply::Line(b',')),
        (b":1\rx", BadReply::Crlf),
        (b"$3\r\nabcde", BadReply::Crlf),
        (b"$3\r\nabc\n", BadReply::Crlf),
        (b"$3\r\nabc\rx", BadReply::Crlf),
        (b"$0\r\nx", BadReply::Crlf),
        (b"*1\r\n>1\r\n", BadReply::NestedPush),
        (b">1\r\n>0\r\n", BadReply::NestedPush),
        (b"|1\r\n>0\r\n", BadReply::NestedPush),
        (b"$1099511627777\r\n", BadReply::TooLarge),
        (b"*1099511627777\r\n", BadReply::TooLarge),
        (b"%9223372036854775807\r\n", BadReply::TooLarge),
        (b"|4611686018427387904\r\n", BadReply::TooLarge),
        (b"*1099511627775\r\n*1099511627775\r\n", BadReply::TooLarge),
    ] {
        assert_eq!(feed(stream), Progress::Bad(bad), "{}", stream.escape_ascii());
        let mut scanner = Scanner::default();
        let seen = stream.iter().map(|b| scanner.feed(&[*b])).find(|p| *p != Progress::More);
        let expected = match seen {
            Some(Progress::Complete { .. }) | None => panic!("{}", stream.escape_ascii()),
            Some(other) => other,
        };
        assert_eq!(expected, Progress::Bad(bad), "{}", stream.escape_ascii());
    }
}

#[test]
fn lines_are_bounded() {
    for tag in ["+", "-", "("] {
        let longest = format!("{tag}{}", "1".repeat(1024 * 1024));
        let whole = format!("{longest}\r\n");
        assert!(matches!(feed(whole.as_bytes()), Progress::Complete { .. }));
        let longer = format!("{longest}1");
        let bad = Progress::Bad(BadReply::LineTooLong(tag.as_bytes()[0]));
        assert_eq!(feed(longer.as_bytes()), bad);
    }
    // A CR that ends a chunk counts as text as soon as no LF follows it.
    for (length, fits) in [(1024 * 1024 - 1, true), (1024 * 1024, false)] {
        let (mut scanner, ones) = (Scanner::default(), "1".repeat(length - 1));
        assert_eq!(scanner.feed(b"+1\r"), Progress::More);
        let end = scanner.feed(format!("{ones}\r\n").as_bytes());
        assert_eq!(matches!(end, Progress::Complete { .. }), fits, "{end:?}");
    }
    for tag in [":", "$", "*", ",", "_"] {
        let longer = format!("{tag}{}", "1".repeat(67));
        let bad = Progress::Bad(BadReply::LineTooLong(tag.as_bytes()[0]));
        assert_eq!(feed(longer.as_bytes()), bad);
    }
    let longest = format!(":{}1\r\n", "0".repeat(63));
    let expected = Progress::Complete { used: 67, kind: Kind::Integer };
    assert_eq!(feed(longest.as_bytes()), expected);
}

#[test]
fn what_is_missing_is_known_as_far_as_it_was_announced() {
    for (stream, missing) in [
        (&b""[..], 0),
        (b"$", 2),
        (b"$10", 1),
        (b"$10\r", 1),
        (b"$10\r\n", 12),
        (b"$10\r\nabcde", 7),
        (b"$10\r\n0123456789\r", 1),
        (b"+O", 2),
        (b"+O\r", 1),
        (b"*3\r\n", 9),
        (b"*3\r\n$1000000000\r\nab", 1_000_000_000 + 6),
        (b"%2\r\n", 12),
        (b"|1\r\n", 9),
        (b"*1099511627775\r\n", 3 * 1_099_511_627_775),
    ] {
        let mut scanner = Scanner::default();
        assert_eq!(scanner.feed(stream), Progress::More);
        assert_eq!(scanner.missing_bytes(), missing, "{}", stream.escape_ascii());
    }
}

#[test]
fn a_million_levels_take_no_memory() {
    // The scanner owns nothing: its size is all there is.
    assert!(!std::mem::needs_drop::<Scanner>());
    assert!(size_of::<Scanner>() <= 112, "{}", size_of::<Scanner>());
    for level in ["*1\r\n", "%1\r\n+k\r\n", "~1\r\n", "|0\r\n"] {
        let mut stream = level.repeat(1_000_000);
        stream.push_str(":1\r\n");
        let expected = if level.starts_with('*') { Kind::Array } else { Kind::Other };
        let expected = if level.starts_with('|') { Kind::Integer } else { expected };
        let expected = Progress::Complete { used: stream.len(), kind: expected };
        assert_eq!(feed(stream.as_bytes()), expected);
    }
}

/// Three numbers look like two in an array but for the first byte, and were taken for that.
#[test]
fn what_answers_a_part_is_no_error_and_there_as_a_whole() {
    for (chunk, len) in [
        (&b"*2\r\n:2\r\n:2\r\n:2\r\n"[..], Some(12)),
        (b"*1\r\n$1\r\na\r\n+OK\r\n", Some(11)),
        (b"*1\r\n$-1\r\n", Some(9)),
        (b"*1\r\n$1\r\na\r", None),
        (b"*1\r\n$1\r\nab\n", None),
        (b":2\r\n:2\r\n:2\r\n", Some(4)),
        (b"+OK\r\n+OK\r\n", Some(5)),
        (b"-MOVED 1 a:1\r\n", None),
        (b"$1\r\n:1\r\n", None),
        (b"", None),
    ] {
        assert_eq!(Alike::default().end(chunk, 0), len, "{}", chunk.escape_ascii());
    }
}
