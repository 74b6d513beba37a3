//! Our framing against the `redis-protocol` crate: both find the same end of the same bytes.
//!
//! What the crate cannot be asked about, because it defines it otherwise:
//! - it does not look at the CRLF after a string, takes counts like `+5` and `05`, any text after
//!   `_`, the streamed forms (`$?`, `;`, `.`), its own `HELLO` form and pushes inside other values:
//!   all of these are bad replies to us;
//! - it refuses sets with aggregates in them, maps with such keys, attributes before
//!   attributes or nulls and verbatim strings of other formats than `txt` and `mkd`, which are
//!   replies to us;
//! - it recurses: inputs are kept small.
//!
//! Its ranges are used, not its frames: those refuse errors that are not UTF-8.

use proptest::collection::vec;
use proptest::prelude::*;
use redis_protocol::{resp2, resp3};
use slotway::resp::reply::{Kind, Progress, Scanner};
use slotway::resp::{Span, request};

use super::streams;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn resp2_replies_end_where_the_crate_sees_their_end(reply in resp2_reply(), next in any::<u8>()) {
        let stream = [&reply.bytes[..], &[next]].concat();
        let (_, crate_used) = resp2::decode::decode_range(&stream).unwrap().unwrap();
        let expected = Progress::Complete { used: crate_used, kind: reply.kind };
        prop_assert_eq!(crate_used, reply.bytes.len());
        prop_assert_eq!(Scanner::default().feed(&stream), expected);
        let before = Scanner::default().feed(&stream[..crate_used - 1]);
        prop_assert_eq!(before, Progress::More);
    }

    #[test]
    fn resp3_replies_end_where_the_crate_sees_their_end(reply in resp3_reply(), next in any::<u8>()) {
        let stream = [&reply.bytes[..], &[next]].concat();
        let (_, crate_used) = resp3::decode::complete::decode_range(&stream).unwrap().unwrap();
        let expected = Progress::Complete { used: crate_used, kind: reply.kind };
        prop_assert_eq!(crate_used, reply.bytes.len());
        prop_assert_eq!(Scanner::default().feed(&stream), expected);
    }

    #[test]
    fn on_bytes_of_any_kind_two_ends_are_never_different(
        reply in resp3_reply(),
        places in vec(any::<prop::sample::Index>(), 0..4),
        bytes in vec(prop_oneof![any::<u8>(), prop::sample::select(b"*$%|>~:+-_,#0123\r\n".to_vec())], 4),
    ) {
        let mut stream = reply.bytes;
        for (place, byte) in places.iter().zip(bytes) {
            let place = place.index(stream.len());
            stream[place] = byte;
        }
        stream.truncate(512);
        let ours = Scanner::default().feed(&stream);
        match (ours, resp3::decode::complete::decode_range(&stream)) {
            (Progress::Complete { used, .. }, Ok(Some((_, crate_used)))) => {
                prop_assert_eq!(used, crate_used);
            }
            (Progress::Complete { .. }, Ok(None)) => prop_assert!(false, "we see an end"),
            (Progress::More, Ok(Some(_))) => prop_assert!(false, "the crate sees an end"),
            // Either of us is stricter somewhere: see above.
            (Progress::Bad(_), _) | (_, Err(_)) | (Progress::More, Ok(None)) => {}
        }
    }

    #[test]
    fn array_requests_are_the_arrays_that_the_crate_sees(request in streams::request()) {
        let streams::Request::Array(arguments) = &request else { return Ok(()) };
        let stream = request.bytes();
        let (frame, crate_used) = resp2::decode::decode_range(&stream).unwrap().unwrap();
        let resp2::types::RangeFrame::Array(elements) = frame else { panic!("{frame:?}") };
        let crate_spans: Vec<Span> = elements
            .iter()
            .map(|element| match element {
                resp2::types::RangeFrame::BulkString((start, end)) => {
                    Span { start: *start as u32, end: *end as u32 }
                }
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(crate_spans.len(), arguments.len());

        let (mut scanner, mut spans) = (request::Scanner::default(), Vec::new());
        let frame = scanner.scan(&stream, &request::Limits::default(), &mut spans);
        prop_assert_eq!(frame, request::Frame::Request { len: crate_used });
        prop_assert_eq!(spans, crate_spans);
    }
}

/// A reply that both of us can read.
#[derive(Clone, Debug)]
struct Reply {
    bytes: Vec<u8>,
    kind: Kind,
}

impl Reply {
    fn new(kind: Kind, text: impl Into<Vec<u8>>) -> Reply {
        Reply { bytes: text.into(), kind }
    }

    /// An aggregate of `count` as its header says it.
    fn of(kind: Kind, tag: char, count: usize, values: &[Reply]) -> Reply {
        let mut bytes = format!("{tag}{count}\r\n").into_bytes();
        values.iter().for_each(|value| bytes.extend_from_slice(&value.bytes));
        Reply { bytes, kind }
    }

    fn string(kind: Kind, tag: char, data: &[u8]) -> Reply {
        let start = format!("{tag}{}\r\n", data.len()).into_bytes();
        Reply { bytes: [&start, data, b"\r\n"].concat(), kind }
    }
}

/// Values of RESP2 that have no values inside.
fn resp2_value() -> BoxedStrategy<Reply> {
    let text = || vec(prop_oneof![b' '..=b'~', 0x80..=0xff_u8, Just(b'\n')], 0..30);
    prop_oneof![
        text().prop_map(|text| Reply::new(Kind::Simple, [b"+", &text[..], b"\r\n"].concat())),
        text().prop_map(|text| Reply::new(Kind::Error, [b"-", &text[..], b"\r\n"].concat())),
        any::<i64>().prop_map(|n| Reply::new(Kind::Integer, format!(":{n}\r\n"))),
        (0..100_i64).prop_map(|n| Reply::new(Kind::Integer, format!(":{n}\r\n"))),
        vec(any::<u8>(), 0..200).prop_map(|data| Reply::string(Kind::Bulk, '$', &data)),
    ]
    .boxed()
}

fn resp2_reply() -> BoxedStrategy<Reply> {
    let nulls = prop_oneof![Just("$-1\r\n"), Just("*-1\r\n")];
    let values =
        prop_oneof![4 => resp2_value(), 1 => nulls.prop_map(|n| Reply::new(Kind::Null, n))];
    let nested = values.prop_recursive(6, 60, 8, |inner| {
        vec(inner, 0..8).prop_map(|values| Reply::of(Kind::Array, '*', values.len(), &values))
    });
    nested.boxed()
}

/// Values of RESP3 that have no values inside: those that the crate takes as keys of a map.
fn resp3_value() -> BoxedStrategy<Reply> {
    prop_oneof![
        5 => resp2_value(),
        1 => Just(Reply::new(Kind::Null, "_\r\n")),
        1 => any::<bool>().prop_map(|b| Reply::new(Kind::Other, if b { "#t\r\n" } else { "#f\r\n" })),
        1 => any::<f64>().prop_map(|n| Reply::new(Kind::Other, format!(",{n:e}\r\n"))),
        1 => prop::sample::select(vec![",inf\r\n", ",-inf\r\n", ",nan\r\n", ",10\r\n"])
            .prop_map(|text| Reply::new(Kind::Other, text)),
        1 => "-?[1-9][0-9]{0,80}".prop_map(|n| Reply::new(Kind::Other, format!("({n}\r\n"))),
        1 => vec(any::<u8>(), 0..40).prop_map(|data| Reply::string(Kind::Error, '!', &data)),
        1 => vec(any::<u8>(), 0..40).prop_map(|data| {
            Reply::string(Kind::Other, '=', &[b"txt:", &data[..]].concat())
        }),
    ]
    .boxed()
}

fn resp3_reply() -> BoxedStrategy<Reply> {
    let pairs = |inner: BoxedStrategy<Reply>| {
        vec((resp3_value(), inner), 0..4).prop_map(|pairs| {
            let values: Vec<Reply> = pairs.into_iter().flat_map(|(key, v)| [key, v]).collect();
            (values.len() / 2, values)
        })
    };
    let nested = resp3_value().prop_recursive(5, 60, 6, move |inner| {
        let inner = inner.boxed();
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|v| Reply::of(Kind::Array, '*', v.len(), &v)),
            vec(resp3_value(), 0..6).prop_map(|v| Reply::of(Kind::Other, '~', v.len(), &v)),
            pairs(inner.clone()).prop_map(|(n, v)| Reply::of(Kind::Other, '%', n, &v)),
        ]
    });
    let attribute = pairs(nested.clone().boxed());
    let attributed = nested.clone().prop_filter("no null", |value| value.kind != Kind::Null);
    let push = vec(nested.clone(), 0..4).prop_map(|v| Reply::of(Kind::Push, '>', v.len(), &v));
    prop_oneof![
        6 => nested,
        1 => push,
        1 => (attribute, attributed).prop_map(|((pairs, values), value)| {
            let mut reply = Reply::of(value.kind, '|', pairs, &values);
            reply.bytes.extend_from_slice(&value.bytes);
            reply
        }),
    ]
    .boxed()
}
