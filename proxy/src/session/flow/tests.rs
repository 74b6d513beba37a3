//! The order of replies, and of what stands between them.

use super::*;
use proptest::prelude::*;

proptest! {
    /// Whatever the order in which replies come and whatever the client takes at a time,
    /// it sees them in the order of its requests.
    #[test]
    fn replies_leave_in_request_order(
        order in Just((0u32..40).collect::<Vec<_>>()).prop_shuffle(),
        sizes in proptest::collection::vec(0usize..9000, 40),
        takes in proptest::collection::vec(0usize..20_000, 40),
    ) {
        let mut flow = Flow::default();
        let reply = |n: u32| format!("{n}:{}\n", "x".repeat(sizes[n as usize])).into_bytes();
        let numbers: Vec<u32> = (0..40).map(|_| flow.push()).collect();
        let mut seen = Vec::new();
        for (n, take) in order.into_iter().zip(takes) {
            prop_assert_eq!(flow.settle(numbers[n as usize], &reply(n)).is_ok(), true);
            let take = take.min(flow.output().len());
            seen.extend_from_slice(&flow.output()[..take]);
            flow.wrote(take);
        }
        seen.extend_from_slice(flow.output());
        let rest = flow.output().len();
        flow.wrote(rest);
        prop_assert_eq!(seen, (0..40).flat_map(reply).collect::<Vec<u8>>());
        prop_assert!(flow.is_idle());
    }
}

#[test]
fn a_request_is_settled_once_and_only_if_it_is_there() {
    let mut flow = Flow::default();
    let (a, b) = (flow.push(), flow.push());
    assert_eq!(flow.settle(b, b"b"), Ok(false));
    assert_eq!(flow.settle(b, b"again"), Err(Misplaced));
    assert_eq!(flow.settle(a, b"a"), Ok(true));
    assert_eq!(flow.settle(a, b"again"), Err(Misplaced));
    assert_eq!(flow.settle(b.wrapping_add(1), b"never asked"), Err(Misplaced));
    assert_eq!(flow.output(), b"ab");
}

#[test]
fn local_answers_keep_their_place() {
    let mut flow = Flow::default();
    assert!(flow.answer(|out| out.extend_from_slice(b"1")));
    let two = flow.push();
    assert!(!flow.answer(|out| out.extend_from_slice(b"3")));
    assert_eq!(flow.output(), b"1");
    flow.settle(two, b"2").unwrap();
    assert_eq!(flow.output(), b"123");
}

#[test]
fn a_large_reply_waits_for_its_turn_and_passes_through() {
    let mut flow = Flow::default();
    let (a, b, c) = (flow.push(), flow.push(), flow.push());
    assert_eq!(flow.begin_large(b, 9), Ok(false));
    assert_eq!(flow.settle(c, b"c"), Ok(false));
    assert_eq!(flow.large_front(), None);
    flow.settle(a, b"a").unwrap();
    assert_eq!(flow.large_front(), Some(9));
    flow.pass(b"b1");
    flow.pass(b"b2");
    flow.end_large();
    assert_eq!(flow.output(), b"ab1b2c");
}

#[test]
fn what_is_muted_and_comes_early_leaves_nothing_to_look_for() {
    let mut flow = Flow::default();
    let (a, b, c) = (flow.push(), flow.push(), flow.push_muted());
    flow.settle(b, b"+b\r\n").unwrap();
    flow.settle(c, b"+c\r\n").unwrap();
    let d = flow.push();
    assert!(flow.settle(a, b"+a\r\n").unwrap());
    flow.settle(d, b"+d\r\n").unwrap();
    assert_eq!(flow.output(), b"+a\r\n+b\r\n+d\r\n");
    let (a, b, c, d) = (flow.push(), flow.push(), flow.push(), flow.push_muted());
    flow.settle(b, b"+b\r\n").unwrap();
    flow.settle(d, b"+d\r\n").unwrap();
    flow.settle(a, b"+a\r\n").unwrap();
    flow.settle(c, b"+c\r\n").unwrap();
    assert_eq!((flow.in_flight(), flow.output().len()), (0, 24));
}

#[test]
fn what_is_muted_has_its_turn_and_says_nothing() {
    let mut flow = Flow::default();
    let (a, b, c, d) = (flow.push_muted(), flow.push(), flow.push_muted(), flow.push());
    flow.settle(b, b"b").unwrap();
    assert_eq!(flow.output(), b"", "its turn has not come");
    flow.settle(a, b"a").unwrap();
    assert_eq!(flow.begin_large(c, 9), Ok(true));
    flow.pass(b"c");
    flow.end_large();
    flow.settle(d, b"d").unwrap();
    assert_eq!(flow.output(), b"bd");
}

/// What was held before it had gone by then, and the place it pointed to with it: a panic.
#[test]
fn what_is_muted_behind_a_held_reply_waits_for_its_turn_too() {
    let mut flow = Flow::default();
    let (a, b, c, d) = (flow.push(), flow.push(), flow.push(), flow.push_muted());
    flow.settle(b, b"b").unwrap();
    flow.settle(d, b"d").unwrap();
    flow.answer(|_| ());
    flow.settle(a, b"a").unwrap();
    flow.settle(c, b"c").unwrap();
    assert_eq!((flow.output(), flow.in_flight()), (&b"abc"[..], 0));
}

#[test]
fn a_recycled_flow_takes_no_late_reply() {
    let mut flow = Flow::default();
    let late = flow.push();
    flow.recycle(1024);
    flow.push();
    assert_eq!(flow.settle(late, b"late"), Err(Misplaced));
}

#[test]
fn held_replies_do_not_pile_up_behind_a_slow_one() {
    let mut flow = Flow::default();
    let mut slow = flow.push();
    let mut most = 0;
    for _ in 0..1000 {
        let quick: Vec<u32> = (0..8).map(|_| flow.push()).collect();
        let next_slow = flow.push();
        for n in quick {
            flow.settle(n, &[b'x'; 1000]).unwrap();
        }
        // The next slow one holds the ring, so `held` never becomes empty at this point.
        flow.settle(slow, b"s").unwrap();
        slow = next_slow;
        most = most.max(flow.held.capacity());
        let len = flow.output().len();
        flow.wrote(len);
    }
    assert!(most < 4 * COMPACT_BYTES, "{most} bytes for 8,000 live ones");
}

/// A client's requests, and what is done to its flow, at random. `n` chooses among what is there.
#[derive(Clone, Debug)]
enum Act {
    Push { muted: bool },
    Answer,
    Settle { n: usize },
    BeginLarge { n: usize },
    ForgetLarge { n: usize },
    Pass,
    EndLarge,
    Interject { len: usize },
    Write { len: usize },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => any::<bool>().prop_map(|muted| Act::Push { muted }),
        1 => Just(Act::Answer),
        3 => any::<usize>().prop_map(|n| Act::Settle { n }),
        1 => any::<usize>().prop_map(|n| Act::BeginLarge { n }),
        1 => any::<usize>().prop_map(|n| Act::ForgetLarge { n }),
        2 => Just(Act::Pass),
        2 => Just(Act::EndLarge),
        3 => (1usize..300).prop_map(|len| Act::Interject { len }),
        1 => (0usize..2000).prop_map(|len| Act::Write { len }),
    ];
    proptest::collection::vec(act, 1..120)
}

/// What has become of a request of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Come,
    Large { passed: usize },
    Out,
}

proptest! {
    /// Messages that are no replies: each goes out once, in their order, whole, never inside a
    /// reply, behind each reply that had come (or had begun to) before it, and, if no large reply
    /// was lost meanwhile, in front of those that come behind the last of these.
    #[test]
    fn a_message_goes_out_behind_the_replies_that_have_come(acts in acts()) {
        let mut flow = Flow::default();
        // By request: its number, whether it is muted, its state.
        let mut requests: Vec<(u32, bool, State)> = Vec::new();
        // By message: the requests that it must follow, and those that it must not.
        let mut messages: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        let mut forgot = false;
        let mut out = Vec::new();
        let reply = |n: usize| format!("<{n}>").into_bytes();
        for act in acts {
            let pick = |n: usize, requests: &[(u32, bool, State)], f: fn(State) -> bool| {
                let fit: Vec<usize> =
                    (0..requests.len()).filter(|&i| f(requests[i].2)).collect();
                (!fit.is_empty()).then(|| fit[n % fit.len()])
            };
            match act {
                Act::Push { muted } => {
                    let number = if muted { flow.push_muted() } else { flow.push() };
                    requests.push((number, muted, State::Waiting));
                }
                Act::Answer => {
                    let n = requests.len();
                    flow.answer(|out| out.extend_from_slice(&reply(n)));
                    requests.push((0, false, State::Come));
                }
                Act::Settle { n } => {
                    if let Some(i) = pick(n, &requests, |s| s == State::Waiting) {
                        flow.settle(requests[i].0, &reply(i)).unwrap();
                        requests[i].2 = State::Come;
                    }
                }
                Act::BeginLarge { n } => {
                    if let Some(i) = pick(n, &requests, |s| s == State::Waiting) {
                        flow.begin_large(requests[i].0, i as u32).unwrap();
                        requests[i].2 = State::Large { passed: 0 };
                    }
                }
                Act::ForgetLarge { n } => {
                    if let Some(i) = pick(n, &requests, |s| s == State::Large { passed: 0 }) {
                        flow.forget_large(requests[i].0);
                        requests[i].2 = State::Waiting;
                        forgot = true;
                    }
                }
                Act::Pass => {
                    let front = flow.large_front().map(|front| front as usize);
                    if let Some(front) = front
                        && let State::Large { passed: passed @ 0..2 } = &mut requests[front].2
                    {
                        flow.pass(&reply(front)[*passed..*passed + 1]);
                        *passed += 1;
                    }
                }
                Act::EndLarge => {
                    if let Some(front) = flow.large_front()
                        && let State::Large { passed } = requests[front as usize].2
                    {
                        flow.pass(&reply(front as usize)[passed..]);
                        flow.end_large();
                        requests[front as usize].2 = State::Out;
                    }
                }
                Act::Interject { len } => {
                    let n = messages.len();
                    let has_come = |i: &usize| requests[*i].2 != State::Waiting;
                    let (come, mut coming): (Vec<usize>, Vec<usize>) =
                        (0..requests.len()).partition(has_come);
                    coming.retain(|&i| come.last().is_none_or(|&last| i > last));
                    messages.push((come, coming));
                    flow.interject(format!("[{n}{}]", "m".repeat(len)).as_bytes());
                }
                Act::Write { len } => {
                    let len = len.min(flow.output().len());
                    out.extend_from_slice(&flow.output()[..len]);
                    flow.wrote(len);
                }
            }
        }
        // The rest comes, the first first.
        for (i, &(number, _, state)) in requests.iter().enumerate() {
            match state {
                State::Waiting => {
                    flow.settle(number, &reply(i)).unwrap();
                }
                State::Large { passed } => {
                    prop_assert_eq!(flow.large_front(), Some(i as u32));
                    flow.pass(&reply(i)[passed..]);
                    flow.end_large();
                }
                State::Come | State::Out => {}
            }
        }
        prop_assert_eq!(flow.reply_bytes(), flow.output().len());
        out.extend_from_slice(flow.output());
        flow.wrote(flow.output().len());
        prop_assert!(flow.is_idle());
        // Taken apart again: replies and messages are whole, each in its own order.
        let text = String::from_utf8(out).unwrap();
        let places = |open: char, close: char| -> Vec<(usize, usize)> {
            text.split_inclusive(close)
                .scan(0, |at, piece| {
                    let start = *at + piece.find(open)?;
                    *at += piece.len();
                    let digits: String =
                        text[start + 1..].chars().take_while(char::is_ascii_digit).collect();
                    Some((digits.parse().ok()?, start))
                })
                .collect()
        };
        let told = places('<', '>');
        let wanted: Vec<usize> = (0..requests.len()).filter(|&i| !requests[i].1).collect();
        prop_assert_eq!(told.iter().map(|&(n, _)| n).collect::<Vec<_>>(), wanted);
        let said = places('[', ']');
        prop_assert_eq!(said.len(), messages.len());
        for (n, ((number, at), (behind, before))) in said.iter().zip(&messages).enumerate() {
            prop_assert_eq!(*number, n);
            for &(reply, place) in &told {
                prop_assert!(!behind.contains(&reply) || place < *at, "{n} of {text}");
                prop_assert!(!before.contains(&reply) || place > *at || forgot, "{n} of {text}");
            }
        }
        let whole = text.replace(|c: char| c.is_ascii_digit() || c == 'm', "");
        prop_assert_eq!(whole.replace("<>", "").replace("[]", ""), "");
    }
}

#[test]
fn a_recycled_flow_has_no_message_of_another_client() {
    let mut flow = Flow::default();
    let (a, b) = (flow.push(), flow.push());
    flow.settle(b, b"b").unwrap();
    assert!(!flow.interject(b"m"));
    assert_eq!(flow.reply_bytes(), 2);
    flow.recycle(1024);
    assert_eq!((flow.reply_bytes(), flow.settle(a, b"a")), (0, Err(Misplaced)));
    let c = flow.push();
    assert!(flow.interject(b"n"), "it waits for nobody");
    flow.settle(c, b"c").unwrap();
    assert_eq!(flow.output(), b"nc");
}

/// A reply that nobody wants is held nowhere, also once the others have been moved together.
#[test]
fn replies_are_moved_together_around_those_that_are_not_wanted() {
    let mut flow = Flow::default();
    let (a, big, b) = (flow.push(), flow.push(), flow.push());
    flow.answer(|out| out.extend_from_slice(b"answer"));
    let (c, muted, d) = (flow.push(), flow.push_muted(), flow.push());
    flow.settle(big, &vec![b'x'; 2 * COMPACT_BYTES]).unwrap();
    flow.settle(muted, b"unwanted").unwrap();
    flow.settle(a, b"a").unwrap(); // the large one goes out, and the answer is moved
    flow.wrote(flow.output().len());
    flow.settle(b, b"b").unwrap(); // nothing is held any more
    assert_eq!((flow.output(), flow.reply_bytes()), (&b"banswer"[..], 7));
    flow.settle(d, b"d").unwrap();
    flow.settle(c, b"c").unwrap();
    assert_eq!(flow.output(), b"banswercd");
}
