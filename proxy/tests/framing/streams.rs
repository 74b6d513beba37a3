//! Valid streams, made at random and cut at random: the frames are those that went in.

use proptest::collection::vec;
use proptest::prelude::*;
use slotway::resp::request::{Frame, Limits, Scanner, canonical_inline};
use slotway::resp::{Args, write};

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_cut_of_a_request_stream_gives_the_requests_that_went_in(
        requests in vec(request(), 1..12),
        cuts in vec(1..60_usize, 1..40),
    ) {
        let stream: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
        let expected: Vec<Vec<Vec<u8>>> =
            requests.into_iter().map(Request::arguments).filter(|a| !a.is_empty()).collect();
        prop_assert_eq!(read(&stream, cuts.iter().copied().cycle()), expected.clone());
        prop_assert_eq!(read(&stream, std::iter::repeat(1)), expected.clone());
        prop_assert_eq!(read(&stream, std::iter::once(stream.len())), expected);
    }
}

/// One thing that a client can send.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Array(Vec<Vec<u8>>),
    Inline { words: Vec<Vec<u8>>, newline: &'static str },
    Nothing(&'static str),
}

impl Request {
    /// As it is on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Request::Array(arguments) => encoded(arguments),
            Request::Inline { words, newline } => {
                let words: Vec<Vec<u8>> = words.iter().map(|word| quoted(word)).collect();
                [words.join(&b" "[..]), newline.as_bytes().to_vec()].concat()
            }
            Request::Nothing(bytes) => bytes.as_bytes().to_vec(),
        }
    }

    /// What it asks for; nothing is no argument.
    fn arguments(self) -> Vec<Vec<u8>> {
        match self {
            Request::Array(arguments) => arguments,
            Request::Inline { words, .. } => words,
            Request::Nothing(_) => Vec::new(),
        }
    }
}

/// Any valid request: arguments of any bytes, sometimes long, names that nodes do not close for.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let argument = prop_oneof![
        8 => vec(any::<u8>(), 0..20),
        2 => "[a-zA-Z0-9:{}]{1,12}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 90..2000),
    ];
    let arguments = vec(argument, 1..8).prop_map(|mut arguments| {
        arguments[0].splice(0..0, *b"X");
        arguments
    });
    let nothing =
        prop_oneof![Just("*0\r\n"), Just("*-1\r\n"), Just("\n"), Just("\r\n"), Just(" \t \r\n")];
    prop_oneof![
        6 => arguments.clone().prop_map(Request::Array),
        2 => (arguments, prop_oneof![Just("\n"), Just("\r\n")])
            .prop_map(|(words, newline)| Request::Inline { words, newline }),
        1 => nothing.prop_map(Request::Nothing),
    ]
}

/// A word as `sdscatrepr` of the servers writes it, or in one of the other ways they read.
fn quoted(word: &[u8]) -> Vec<u8> {
    if !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric) {
        return word.to_vec();
    }
    let mut quoted = b"\"".to_vec();
    for byte in word {
        match byte {
            b'\\' | b'"' => quoted.extend_from_slice(&[b'\\', *byte]),
            b'\n' => quoted.extend_from_slice(b"\\n"),
            b'\r' => quoted.extend_from_slice(b"\\r"),
            b'\t' => quoted.extend_from_slice(b"\\t"),
            0x07 => quoted.extend_from_slice(b"\\a"),
            0x08 => quoted.extend_from_slice(b"\\b"),
            b' '..=b'~' | 0x80.. => quoted.push(*byte),
            _ => quoted.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    quoted.push(b'"');
    quoted
}

fn encoded(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write::command(&mut out, &arguments.iter().map(Vec::as_slice).collect::<Vec<_>>());
    out
}

/// Reads a stream as a connection does: a buffer that grows by each read and shrinks by each frame.
fn read(stream: &[u8], mut reads: impl Iterator<Item = usize>) -> Vec<Vec<Vec<u8>>> {
    let (mut scanner, mut spans, limits) = (Scanner::default(), Vec::new(), Limits::default());
    let (mut requests, mut buffer, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut inline = Vec::new();
    loop {
        let used = match scanner.scan(&buffer, &limits, &mut spans) {
            Frame::Partial if rest.is_empty() => {
                assert!(buffer.is_empty(), "{} is left", buffer.escape_ascii());
                return requests;
            }
            Frame::Partial => {
                let (now, later) = rest.split_at(reads.next().unwrap_or(1).min(rest.len()));
                buffer.extend_from_slice(now);
                rest = later;
                continue;
            }
            Frame::Nothing { len } => len,
            Frame::Request { len } => {
                let arguments = Args::new(&buffer[..len], &spans);
                requests.push(arguments.iter().map(<[u8]>::to_vec).collect());
                len
            }
            Frame::Inline { len } => {
                canonical_inline(&buffer[..len], &mut inline, &mut spans).expect("balanced");
                requests.push(Args::new(&inline, &spans).iter().map(<[u8]>::to_vec).collect());
                len
            }
            Frame::Refused(error) => panic!("{error}: {}", buffer.escape_ascii()),
        };
        buffer.drain(..used);
    }
}
