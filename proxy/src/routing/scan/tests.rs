use proptest::prelude::*;

use super::*;
use crate::resp::request::{Frame, Limits, Scanner};

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn cursors() -> impl Strategy<Value = Cursor> {
    let server = prop_oneof![0..1u64 << 28, 0..1u64 << SERVER_BITS, any::<u64>()];
    (0..16_384u16, any::<bool>(), 1..1u16 << FINGERPRINT_BITS, server).prop_map(
        |(first, at_target, fingerprint, server)| Cursor {
            first: slot(first),
            at_target,
            fingerprint,
            server,
        },
    )
}

proptest! {
    #[test]
    fn a_cursor_comes_back_as_it_went_out(cursor in cursors()) {
        match cursor.number() {
            Some(number) => {
                prop_assert_eq!(Cursor::parse(number.to_string().as_bytes()), Some(cursor));
                prop_assert!(number != 0 && number <= i64::MAX as u64);
                prop_assert!(cursor.server >= 1 << 28 || number < 1 << 53);
            }
            None => prop_assert!(cursor.server >= 1 << SERVER_BITS),
        }
    }

    #[test]
    fn what_is_taken_is_what_is_given_out(number: u64, short in 0..1u64 << 25, text in "[ -~]{0,25}") {
        for text in [number.to_string(), (number >> 1).to_string(), short.to_string(), text] {
            if let Some(cursor) = Cursor::parse(text.as_bytes()) {
                let number = cursor.number().map(|number| number.to_string());
                prop_assert!(text == "0" || number.as_ref() == Some(&text));
                prop_assert!(cursor.fingerprint > 0, "every one given out has one");
            }
        }
    }

    #[test]
    fn whatever_a_node_says_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let stretch = Stretch::from(slot(0), 1, false, |_| true);
        let _ = stretch.page(&bytes, &mut Vec::new());
        let _ = Holdings::read(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let line = format!("x :0@0 myself,master - 0 0 1 connected {text}");
        let _ = Holdings::read(format!("${}\r\n{line}\r\n", line.len()).as_bytes());
    }
}

#[test]
fn the_start_and_what_no_slotway_gave_out() {
    assert_eq!(Cursor::parse(b"0").map(|c| (c.first, c.server)), Some((slot(0), 0)));
    assert_eq!(Cursor::start(slot(7)).number(), Some(32_775));
    assert_eq!(Cursor::parse(b"32775"), Some(Cursor::start(slot(7))));
    for invalid in [
        "",
        "x",
        "-1",
        " 1",
        "1 ",
        "1.0",
        "18446744073709551616",
        "1",
        "12345",
        "+0",
        "00",
        "+32775",
        "032775",
        "9223372036854808583",
    ] {
        assert_eq!(Cursor::parse(invalid.as_bytes()), None, "{invalid:?}");
    }
}

#[test]
fn a_stretch_ends_where_another_owner_begins() {
    let mine = |slot: Slot| slot.number() < 3000;
    assert_eq!(Stretch::from(slot(10), 1, false, mine).last, slot(2999));
    assert_eq!(Stretch::from(slot(10), 1, true, mine).last, slot(1023));
    assert_eq!(Stretch::from(slot(1024), 1, true, mine).last, slot(2047));
    assert_eq!(Stretch::from(slot(2048), 1, true, mine).last, slot(2999));
    assert_eq!(Stretch::from(slot(3000), 1, false, |_| true).last, slot(16_383));
}

#[test]
fn a_cursor_of_another_process_stretch_or_epoch_begins_again() {
    let stretch = Stretch { first: slot(5), last: slot(99), epoch: 3, by_slot: false };
    let fingerprint = stretch.fingerprint("abc");
    let cursor = Cursor { fingerprint, server: 77, ..Cursor::start(slot(5)) };
    assert_eq!(stretch.server_cursor(&cursor, "abc"), 77);
    assert_eq!(stretch.server_cursor(&cursor, "abd"), 0);
    let others = [Stretch { last: slot(98), ..stretch }, Stretch { epoch: 4, ..stretch }];
    for other in others {
        assert_eq!(other.server_cursor(&cursor, "abc"), 0, "{other:?}");
    }
    let by_slot = Stretch { by_slot: true, ..stretch };
    assert_eq!(by_slot.server_cursor(&cursor, "abc"), 77);
    assert_eq!(by_slot.server_cursor(&cursor, "abd"), 5, "the slot's own cursor");
    assert!(!stretch.is_over(100 | 3 << 14) && by_slot.is_over(100 | 3 << 14));
    assert!(!by_slot.is_over(99 | 3 << 14) && by_slot.is_over(0) && stretch.is_over(0));
}

#[test]
fn only_keys_of_the_stretch_count() {
    // foo is in slot 12182, bar in 5061.
    let reply = b"*2\r\n$2\r\n17\r\n*3\r\n$3\r\nfoo\r\n$3\r\nbar\r\n$3\r\nfoo\r\n";
    let stretch = Stretch { first: slot(5062), last: slot(16_383), epoch: 0, by_slot: false };
    let mut keys = Vec::new();
    assert_eq!(stretch.page(reply, &mut keys), Ok((17, 2)));
    assert_eq!(keys, b"$3\r\nfoo\r\n$3\r\nfoo\r\n");
    for bad in
        ["+OK\r\n", "*2\r\n$1\r\nx\r\n*0\r\n", "*1\r\n$1\r\n0\r\n", "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n"]
    {
        assert_eq!(stretch.page(bad.as_bytes(), &mut Vec::new()), Err(Surprise), "{bad:?}");
    }
}

#[test]
fn a_stretch_is_read_as_far_as_its_owner_still_has_it() {
    let id = "07c37dfeb235213a872192d90877d0cd55635b91";
    let text = format!(
        "{id} 127.0.0.1:1@2,host slave x 0 0 9 connected 0-1\n\
         e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca :0@0 myself,master - 0 0 3 connected \
         10-20 22 30-40 [15->-{id}] [99-<-{id}] [77->-{id}]\n"
    );
    for reply in [format!("${}\r\n{text}\r\n", text.len()), format!("=0\r\ntxt:{text}\r\n")] {
        let has = Holdings::read(reply.as_bytes()).unwrap();
        let after = |first, last, epoch| {
            let (first, last) = (slot(first), slot(last));
            Stretch { first, last, epoch, by_slot: false }.after(&has)
        };
        assert_eq!(after(16, 20, 3), After::From(21));
        assert_eq!(after(16, 20, 4), After::Again, "something has come back meanwhile");
        assert_eq!(after(16, 24, 3), After::From(21), "as far as it goes");
        assert_eq!(after(21, 22, 3), After::Again);
        assert_eq!(after(10, 20, 3), After::Target(slot(15)));
        assert_eq!(has.target_of(slot(15)), NodeId::parse(id.as_bytes()));
        assert_eq!((has.target_of(slot(16)), has.target_of(slot(77))), (None, None));
    }
}

#[test]
fn a_literal_tag_needs_one_slot_only() {
    let of = |words: &[&str]| {
        let mut frame = Vec::new();
        write::command(&mut frame, &words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        let mut spans = Vec::new();
        let scanned = Scanner::default().scan(&frame, &Limits::default(), &mut spans);
        assert_eq!(scanned, Frame::Request { len: frame.len() });
        slot_of_pattern(&Args::new(&frame, &spans))
    };
    let tag = Some(Slot::of_key(b"tag"));
    for pattern in ["{tag}*", "a{tag}?", "{tag}", "{tag}{*}", "{tag}\\*"] {
        assert_eq!(of(&["SCAN", "0", "COUNT", "5", "match", pattern]), tag, "{pattern}");
    }
    assert_eq!(of(&["SCAN", "0", "MATCH", "plain"]), Some(Slot::of_key(b"plain")));
    for pattern in ["*", "*{tag}", "{t*}", "{}*", "{tag", "a?{tag}", "{tag\\}x}*", "[a]{tag}"] {
        let expected = (pattern == "{tag").then(|| Slot::of_key(b"{tag"));
        assert_eq!(of(&["SCAN", "0", "MATCH", pattern]), expected, "{pattern}");
    }
    assert_eq!(of(&["SCAN", "0", "MATCH", "{a}*", "MATCH", "{tag}*"]), tag, "the last one counts");
    assert_eq!(of(&["SCAN", "0"]), None);
    assert_eq!(of(&["SCAN", "0", "MATCH"]), None);
}
