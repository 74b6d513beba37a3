//! Makes one reply of several, by splicing ranges of them: no value is parsed that is only passed
//! on.

mod ordered;

use std::ops::Range;

use crate::command::{ResponsePolicy, Row};
use crate::resp::write::{self, Pieces};
use crate::resp::{Args, reply};
use ordered::Order;

/// How the replies of a request's parts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Arrays with one element for each key: in the order of the request's keys.
    ByKey,
    /// Arrays, one behind the other.
    Join,
    /// Numbers, or arrays of them: added up.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Any of them: they say the same.
    Any,
    /// The first that is no error; if all are, the first that is not `NOTBUSY`.
    FirstSuccess,
    /// Arrays of entries: in order, and no more than were asked for.
    Ordered(Order),
    /// Arrays with a row for each event: one for each of all.
    Events,
    /// The first that tells of a script that runs ([`tells_of_running`]), else any.
    Running,
}

impl Merge {
    /// Whether each part has to be there once: with one asked twice it would be wrong.
    pub fn adds_up(self) -> bool {
        matches!(self, Merge::Sum | Merge::Join | Merge::Ordered(_) | Merge::Events)
    }

    /// The reply has all bytes of all parts, or may have.
    pub fn is_of_all(self) -> bool {
        matches!(self, Merge::ByKey | Merge::Join | Merge::Ordered(_) | Merge::Events)
    }
}

/// How the replies of this request's parts become one; `None` if it has a way of its own.
pub fn merge_of(row: &Row, args: &Args<'_>) -> Option<Merge> {
    Some(match row.response_policy {
        ResponsePolicy::Default if row.keys == crate::command::Keys::None => Merge::Join,
        ResponsePolicy::Default => Merge::ByKey,
        ResponsePolicy::OneSucceeded => Merge::FirstSuccess,
        ResponsePolicy::AllSucceeded => Merge::Any,
        ResponsePolicy::AggSum => Merge::Sum,
        ResponsePolicy::AggMin | ResponsePolicy::AggLogicalAnd => Merge::Min,
        ResponsePolicy::AggMax | ResponsePolicy::AggLogicalOr => Merge::Max,
        ResponsePolicy::Log => Merge::Ordered(Order::of_log(args)),
        ResponsePolicy::AclLog => Order::of_acl_log(args).map_or(Merge::Any, Merge::Ordered),
        ResponsePolicy::History => Merge::Ordered(Order::OF_HISTORY),
        ResponsePolicy::Events => Merge::Events,
        ResponsePolicy::SlotStats => Merge::Ordered(Order::of_slot_stats(args)),
        ResponsePolicy::Running => Merge::Running,
        ResponsePolicy::Special => return None,
    })
}

/// A reply is not of the kind that its command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surprise;

/// Appends the one reply. `replies` has those of the parts as raw values, none of them an error;
/// `place` tells where in it that of each of the `parts` parts lies, `order` for [`Merge::ByKey`]
/// which part has the first key's element, which the second's, and so on.
///
/// # Errors
/// [`Surprise`] if a reply is of another kind than expected; `out` is as before then.
pub fn merge(
    merge: Merge,
    replies: &[u8],
    parts: usize,
    place: impl Fn(usize) -> Range<usize> + Copy,
    order: &[u16],
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    let start = out.len();
    let mut each = (0..parts).map(|part| &replies[place(part)]);
    let done = match merge {
        Merge::ByKey => by_key(replies, parts, place, order, out),
        Merge::Join => join(each, out),
        Merge::Sum => fold(each, i64::saturating_add, out),
        Merge::Min => fold(each, i64::min, out),
        Merge::Max => fold(each, i64::max, out),
        Merge::Running if let Some(reply) = each.clone().find(|reply| tells_of_running(reply)) => {
            out.extend_from_slice(reply);
            Ok(())
        }
        Merge::Any | Merge::FirstSuccess | Merge::Running => {
            each.next().map(|reply| out.extend_from_slice(reply)).ok_or(Surprise)
        }
        Merge::Ordered(order) => ordered::sort(order, each, out),
        Merge::Events => ordered::events(each, out),
    };
    if done.is_err() {
        out.truncate(start);
    }
    done
}

/// Whether this reply to FUNCTION STATS, in either protocol, tells of a script that runs: what it
/// begins with, `running_script`, is not null.
pub fn tells_of_running(reply: &[u8]) -> bool {
    let behind_name = || {
        let mut rest = reply.get(reply::count_line(reply)?.1..)?;
        take_value(&mut rest).ok()?;
        Some(rest)
    };
    let tells = |rest: &[u8]| match rest.first() {
        Some(b'%') => true,
        Some(b'*') => !rest.starts_with(b"*-"),
        _ => false,
    };
    matches!(reply.first(), Some(b'*' | b'%')) && behind_name().is_some_and(tells)
}

/// How many elements an array (or set) has, and their bytes.
///
/// # Errors
/// [`Surprise`] if it is another kind of reply.
pub fn elements(reply: &[u8]) -> Result<(usize, &[u8]), Surprise> {
    if !matches!(reply.first(), Some(b'*' | b'~')) {
        return Err(Surprise);
    }
    let (count, start) = reply::count_line(reply).ok_or(Surprise)?;
    Ok((count, reply.get(start..).ok_or(Surprise)?))
}

/// The elements of an array, each a raw value.
///
/// # Errors
/// [`Surprise`] if it is another kind of reply.
pub fn values(reply: &[u8]) -> Result<Vec<&[u8]>, Surprise> {
    let (count, mut rest) = elements(reply)?;
    (0..count).map(|_| take_value(&mut rest)).collect()
}

/// Takes the first value off.
pub(super) fn take_value<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Surprise> {
    let (value, behind) = rest.split_at(reply::value_len(rest).ok_or(Surprise)?);
    *rest = behind;
    Ok(value)
}

fn by_key(
    replies: &[u8],
    parts: usize,
    place: impl Fn(usize) -> Range<usize>,
    order: &[u16],
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    write::array_header(out, order.len());
    let start = out.len();
    if parts == order.len() && one_by_key(replies, &place, order, out).is_ok() {
        return Ok(());
    }
    out.truncate(start);
    // Some parts have several keys. Where in each reply the next value begins; 0: at its start.
    let mut next = vec![0; parts];
    let mut out = Pieces::new(out);
    for &part in order {
        let (place, next) = (place(part.into()), next.get_mut(usize::from(part)).ok_or(Surprise)?);
        let reply = &replies[place.clone()];
        if *next == 0 {
            // Nearly all parts have one key, and what is left is its value.
            if let Some(value) = only_value(replies, &place) {
                *next = reply.len();
                out.push(replies, value);
                continue;
            }
            let (_, behind) = elements(reply)?;
            *next = reply.len() - behind.len();
        }
        let mut rest = &reply[*next..];
        let value = take_value(&mut rest)?;
        let start = place.start + *next;
        *next = reply.len() - rest.len();
        out.push(replies, start..start + value.len());
    }
    let all_taken = (0..parts).all(|part| next[part] == place(part).len());
    if all_taken { Ok(()) } else { Err(Surprise) }
}

/// Each part has one key.
#[inline(always)]
fn one_by_key(
    replies: &[u8],
    place: impl Fn(usize) -> Range<usize>,
    order: &[u16],
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    let mut out = Pieces::new(out);
    for &part in order {
        let value = only_value(replies, &place(part.into())).ok_or(Surprise)?;
        out.push(replies, value);
    }
    Ok(())
}

/// Where the value lies, if the reply that lies there is an array with one.
#[inline(always)]
fn only_value(replies: &[u8], place: &Range<usize>) -> Option<Range<usize>> {
    const ONE: &[u8] = b"*1\r\n";
    let value = place.start + ONE.len()..place.end;
    (value.start < value.end && replies.get(place.start..value.start)? == ONE).then_some(value)
}

fn join<'a>(
    replies: impl Iterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    let mut total = 0;
    for reply in replies.clone() {
        total += elements(reply)?.0;
    }
    // All of them are of one protocol.
    let kind = replies.clone().next().and_then(|reply| reply.first()).copied().unwrap_or(b'*');
    let start = out.len();
    write::array_header(out, total);
    out[start] = kind;
    for reply in replies {
        out.extend_from_slice(elements(reply)?.1);
    }
    Ok(())
}

/// Numbers, or arrays of equally many numbers.
fn fold<'a>(
    replies: impl Iterator<Item = &'a [u8]>,
    with: fn(i64, i64) -> i64,
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    let mut totals: Vec<i64> = Vec::new();
    let mut is_array = false;
    for (at, reply) in replies.enumerate() {
        let (count, mut rest) = match reply.first() {
            Some(b':') => (1, reply),
            _ => elements(reply)?,
        };
        if at == 0 {
            is_array = reply.first() != Some(&b':');
        } else if count != totals.len() || is_array == (reply.first() == Some(&b':')) {
            return Err(Surprise);
        }
        for nth in 0..count {
            let value = number(take_value(&mut rest)?)?;
            match totals.get_mut(nth) {
                Some(total) => *total = with(*total, value),
                None => totals.push(value),
            }
        }
    }
    if is_array {
        write::array_header(out, totals.len());
    }
    totals.iter().for_each(|&total| write::integer(out, total));
    Ok(())
}

/// `:12\r\n`.
pub fn number(reply: &[u8]) -> Result<i64, Surprise> {
    let digits = reply.strip_prefix(b":").ok_or(Surprise)?.trim_ascii_end();
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or(Surprise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(how: Merge, replies: &[&str], order: &[u16]) -> Result<String, Surprise> {
        let mut out = b"before".to_vec();
        let start = |part: usize| replies[..part].iter().map(|reply| reply.len()).sum();
        let place = |part| start(part)..start(part) + replies[part].len();
        let all = replies.concat();
        let done = merge(how, all.as_bytes(), replies.len(), place, order, &mut out);
        let text = String::from_utf8(out).unwrap();
        let added = text.strip_prefix("before").unwrap().to_owned();
        assert!(done.is_ok() || added.is_empty(), "nothing is left of a failed merge");
        done.map(|()| added)
    }

    #[test]
    fn whatever_has_several_parts_has_a_merge() {
        use crate::command::{Handling, RequestPolicy, rows};
        use crate::resp::Span;
        for row in rows() {
            let of_all = matches!(row.handling, Handling::Shards | Handling::Nodes);
            if of_all || row.request_policy == RequestPolicy::MultiShard {
                assert!(
                    merge_of(row, &Args::new(b"x", &[Span { start: 0, end: 1 }])).is_some(),
                    "{}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn values_come_in_the_order_of_the_keys() {
        let replies = ["*1\r\n$1\r\nb\r\n", "*3\r\n$2\r\na1\r\n$-1\r\n$2\r\n\r\n\r\n"];
        assert_eq!(
            merged(Merge::ByKey, &replies, &[1, 0, 1, 1]).unwrap(),
            "*4\r\n$2\r\na1\r\n$1\r\nb\r\n$-1\r\n$2\r\n\r\n\r\n"
        );
        assert_eq!(merged(Merge::ByKey, &replies, &[1, 0, 1]), Err(Surprise), "one too many");
        assert_eq!(merged(Merge::ByKey, &["*1\r\n_\r\n"], &[0]).unwrap(), "*1\r\n_\r\n");
    }

    #[test]
    fn values_of_any_length_are_put_in_order() {
        let value = |n: usize| format!("${}\r\n{}\r\n", n * 7, "v".repeat(n * 7));
        let replies: Vec<String> = (0..100).map(|n| format!("*1\r\n{}", value(n))).collect();
        let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
        let order: Vec<u16> = (0..100).map(|n| n * 37 % 100).collect();
        let values: String = order.iter().map(|&n| value(n.into())).collect();
        assert_eq!(merged(Merge::ByKey, &replies, &order).unwrap(), format!("*100\r\n{values}"));
        assert_eq!(merged(Merge::ByKey, &replies, &order[1..]), Err(Surprise), "one too many");
    }

    #[test]
    fn arrays_are_joined_and_numbers_added() {
        let keys = ["*0\r\n", "*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*1\r\n$1\r\nc\r\n"];
        assert_eq!(
            merged(Merge::Join, &keys, &[]).unwrap(),
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
        );
        assert_eq!(merged(Merge::Join, &["~1\r\n:1\r\n", "~0\r\n"], &[]).unwrap(), "~1\r\n:1\r\n");
        assert_eq!(merged(Merge::Sum, &[":1\r\n", ":-3\r\n", ":4\r\n"], &[]).unwrap(), ":2\r\n");
        let exists = ["*2\r\n:1\r\n:1\r\n", "*2\r\n:0\r\n:1\r\n"];
        assert_eq!(merged(Merge::Min, &exists, &[]).unwrap(), "*2\r\n:0\r\n:1\r\n");
        assert_eq!(merged(Merge::Max, &exists, &[]).unwrap(), "*2\r\n:1\r\n:1\r\n");
        assert_eq!(merged(Merge::Any, &["+OK\r\n", "+OK\r\n"], &[]).unwrap(), "+OK\r\n");
    }

    #[test]
    fn the_script_that_runs_is_told_of_wherever_it_runs() {
        for (map, null) in [("*4", "$-1"), ("*4", "*-1"), ("%2", "_")] {
            let stats = |running: &str| {
                format!("{map}\r\n$14\r\nrunning_script\r\n{running}\r\n$7\r\nengines\r\n*0\r\n")
            };
            let script = |map: &str| stats(&format!("{map}\r\n$4\r\nname\r\n$4\r\nspin"));
            let (none, runs) = (stats(null), script(if map == "%2" { "%1" } else { "*2" }));
            assert_eq!(merged(Merge::Running, &[&none, &runs, &none], &[]).unwrap(), runs);
            assert_eq!(merged(Merge::Running, &[&none, &none], &[]).unwrap(), none);
        }
        for odd in
            ["*-1\r\n", "*0\r\n", "$14\r\nrunning_script\r\n", "*1\r\n$1\r\na\r\n", "_\r\n", ""]
        {
            assert!(!tells_of_running(odd.as_bytes()), "{odd}");
        }
    }

    #[test]
    fn what_no_server_says_is_a_surprise_and_no_panic() {
        for replies in
            [&["$1\r\na\r\n"][..], &["+OK\r\n", ":1\r\n"], &["*2\r\n:1\r\n"], &["*-1\r\n"]]
        {
            for how in [Merge::ByKey, Merge::Join, Merge::Sum] {
                let order = [0; 2];
                let result = merged(how, replies, &order);
                assert!(result.is_err() || how == Merge::Join, "{how:?} of {replies:?}");
            }
        }
        assert_eq!(merged(Merge::Sum, &[":1\r\n", "*1\r\n:1\r\n"], &[]), Err(Surprise));
        assert_eq!(merged(Merge::Sum, &["*2\r\n:1\r\n:1\r\n", "*1\r\n:1\r\n"], &[]), Err(Surprise));
    }
}
