//! Lists that a server gives in an order of its own (logs, events, statistics): those of several
//! nodes become one in that order, and no longer than was asked for.

use super::{Surprise, elements, number, take_value, values};
use crate::resp::{Args, canonical_integer, reply, write};

/// The order of a list, and how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    by: By,
    descending: bool,
    limit: usize,
}

/// The number that a list is in the order of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// An entry's element at this index.
    Element(usize),
    /// The field of an entry that has names for its values.
    Field(&'static str),
    /// The field of an entry's second element; the first one's order where it is the same.
    Metric(&'static str),
}

impl Order {
    /// SLOWLOG GET and COMMANDLOG GET: the newest first.
    pub(super) fn of_log(args: &Args<'_>) -> Order {
        // All of them if that is negative.
        let limit = count(args).map_or(10, |count| usize::try_from(count).unwrap_or(usize::MAX));
        Order { by: By::Element(1), descending: true, limit }
    }

    /// ACL LOG: the newest first; `None` if it is ACL LOG RESET.
    pub(super) fn of_acl_log(args: &Args<'_>) -> Option<Order> {
        if args.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"RESET")) {
            return None;
        }
        let limit = count(args).map_or(10, |count| usize::try_from(count).unwrap_or(0));
        Some(Order { by: By::Field("age-seconds"), descending: false, limit })
    }

    /// LATENCY HISTORY: the oldest first.
    pub(super) const OF_HISTORY: Order =
        Order { by: By::Element(0), descending: false, limit: usize::MAX };

    /// CLUSTER SLOT-STATS: by slot, or as ORDERBY says.
    pub(super) fn of_slot_stats(args: &Args<'_>) -> Order {
        const METRICS: [&str; 5] =
            ["key-count", "cpu-usec", "memory-bytes", "network-bytes-in", "network-bytes-out"];
        let mut order = Order { by: By::Element(0), descending: false, limit: usize::MAX };
        let is = |at: usize, word: &str| {
            args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
        };
        let metric = METRICS.into_iter().find(|metric| is(3, metric));
        let Some(metric) = metric.filter(|_| is(2, "ORDERBY")) else { return order };
        (order.by, order.descending) = (By::Metric(metric), true);
        for at in 4..args.len() {
            if is(at, "ASC") {
                order.descending = false;
            } else if is(at, "LIMIT") {
                order.limit = count_at(args, at + 1).map_or(usize::MAX, |n| n.max(0) as usize);
            }
        }
        order
    }
}

/// How many entries a log is asked for.
fn count(args: &Args<'_>) -> Option<i64> {
    count_at(args, 2)
}

fn count_at(args: &Args<'_>, at: usize) -> Option<i64> {
    canonical_integer(args.get(at)?)
}

/// All entries in order, as many as are wanted. Entries of one node that are alike stay as they
/// were.
pub(super) fn sort<'a>(
    order: Order,
    replies: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    let mut entries: Vec<(f64, f64, &[u8])> = Vec::new();
    for reply in replies {
        for entry in values(reply)? {
            let (first, second) = order.by.of(entry)?;
            entries.push((if order.descending { -first } else { first }, second, entry));
        }
    }
    entries.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    entries.truncate(order.limit);
    write::array_header(out, entries.len());
    entries.iter().for_each(|(.., entry)| out.extend_from_slice(entry));
    Ok(())
}

impl By {
    /// What an entry is compared by, and what where that is the same.
    fn of(self, entry: &[u8]) -> Result<(f64, f64), Surprise> {
        let element = |at: usize| values(entry)?.get(at).copied().ok_or(Surprise);
        // Times in seconds and counters: exact up to 2^53.
        let integer = |value: &[u8]| number(value).map(|number| number as f64);
        Ok(match self {
            By::Element(at) => (integer(element(at)?)?, 0.0),
            By::Field(name) => (decimal(field(entry, name)?)?, 0.0),
            By::Metric(name) => (integer(field(element(1)?, name)?)?, integer(element(0)?)?),
        })
    }
}

/// The value that has this name in a map, or in an array of names and values.
fn field<'a>(map: &'a [u8], name: &str) -> Result<&'a [u8], Surprise> {
    let (pairs, mut rest) = match map.first() {
        Some(b'%') => {
            let (pairs, start) = reply::count_line(map).ok_or(Surprise)?;
            (pairs, map.get(start..).ok_or(Surprise)?)
        }
        _ => elements(map).map(|(count, rest)| (count / 2, rest))?,
    };
    for _ in 0..pairs {
        let (key, value) = (take_value(&mut rest)?, take_value(&mut rest)?);
        if text(key) == name.as_bytes() {
            return Ok(value);
        }
    }
    Err(Surprise)
}

/// A number that may have a fraction: a string in RESP2.
fn decimal(value: &[u8]) -> Result<f64, Surprise> {
    let text = std::str::from_utf8(text(value)).map_err(|_| Surprise)?;
    text.parse().map_err(|_| Surprise)
}

/// What a string or a number says.
fn text(value: &[u8]) -> &[u8] {
    let start = match value.first() {
        Some(b'$') => memchr::memchr(b'\n', value).map_or(value.len(), |end| end + 1),
        _ => 1,
    };
    value.get(start..).unwrap_or_default().trim_ascii_end()
}

/// An event of LATENCY LATEST at several nodes.
struct Event<'a> {
    name: &'a [u8],
    /// Its last time, the latency then, the largest, and what newer servers add: sums.
    numbers: Vec<i64>,
}

/// One row an event: what was last anywhere, the largest anywhere, and the sums of all.
pub(super) fn events<'a>(
    replies: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Surprise> {
    let mut events: Vec<Event<'_>> = Vec::new();
    for reply in replies {
        for row in values(reply)? {
            let row = values(row)?;
            let (name, numbers) = row.split_first().ok_or(Surprise)?;
            let numbers: Vec<i64> =
                numbers.iter().map(|of| number(of)).collect::<Result<_, _>>()?;
            if numbers.len() < 3 {
                return Err(Surprise);
            }
            match events.iter_mut().find(|event| event.name == *name) {
                Some(event) => event.add(&numbers),
                None => events.push(Event { name, numbers }),
            }
        }
    }
    write::array_header(out, events.len());
    for Event { name, numbers } in events {
        write::array_header(out, 1 + numbers.len());
        out.extend_from_slice(name);
        numbers.iter().for_each(|&number| write::integer(out, number));
    }
    Ok(())
}

impl Event<'_> {
    fn add(&mut self, other: &[i64]) {
        // Of an older and a newer server: what both tell.
        self.numbers.truncate(other.len());
        if other[..2] > self.numbers[..2] {
            self.numbers[..2].copy_from_slice(&other[..2]);
        }
        self.numbers[2] = self.numbers[2].max(other[2]);
        for (sum, more) in self.numbers.iter_mut().zip(other).skip(3) {
            *sum = sum.saturating_add(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::resolve;
    use crate::resp::Span;
    use crate::routing::{Surprise, merge, merge_of};

    /// The one reply to this command, where nodes have said these.
    fn merged(command: &str, replies: &[&str]) -> Result<String, Surprise> {
        let (mut frame, mut spans) = (Vec::new(), Vec::new());
        for word in command.split(' ') {
            let start = frame.len() as u32;
            frame.extend_from_slice(word.as_bytes());
            spans.push(Span { start, end: frame.len() as u32 });
        }
        let args = crate::resp::Args::new(&frame, &spans);
        let how = merge_of(resolve(&args).unwrap(), &args).unwrap();
        // Words, for the sake of reading: numbers are numbers, others are strings.
        let encode = |reply: &&str| {
            let word = |word: &str| match word.as_bytes() {
                [b'*' | b'%' | b'~' | b',' | b'+', ..] => format!("{word}\r\n"),
                _ if word.parse::<i64>().is_ok() => format!(":{word}\r\n"),
                _ => format!("${}\r\n{word}\r\n", word.len()),
            };
            reply.split(' ').map(word).collect::<String>()
        };
        let encoded: Vec<String> = replies.iter().map(encode).collect();
        let start = |part: usize| encoded[..part].iter().map(String::len).sum::<usize>();
        let place = |part| start(part)..start(part) + encoded[part].len();
        let (all, mut out) = (encoded.concat(), Vec::new());
        merge(how, all.as_bytes(), encoded.len(), place, &[], &mut out)?;
        let lines = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = lines
            .split_terminator("\r\n")
            .filter(|line| !line.starts_with('$'))
            .map(|line| line.trim_start_matches(':'))
            .collect();
        Ok(lines.join(" "))
    }

    #[test]
    fn a_log_has_the_newest_entries_of_all_nodes_and_no_more_than_were_asked_for() {
        let nodes = ["*3 *3 7 103 c1 *3 6 101 a1 *3 5 101 a2", "*0", "*2 *3 9 102 b1 *3 8 100 z1"];
        for name in ["SLOWLOG GET #", "COMMANDLOG GET # slow"] {
            for (count, expected) in [
                ("2", "*2 *3 7 103 c1 *3 9 102 b1"),
                ("4", "*4 *3 7 103 c1 *3 9 102 b1 *3 6 101 a1 *3 5 101 a2"),
                ("-1", "*5 *3 7 103 c1 *3 9 102 b1 *3 6 101 a1 *3 5 101 a2 *3 8 100 z1"),
                ("0", "*0"),
            ] {
                let command = name.replace('#', count);
                assert_eq!(merged(&command, &nodes).as_deref(), Ok(expected), "{command}");
            }
        }
        let long = format!("*8 {}", ["*2 1 5"; 8].join(" "));
        let ten = format!("*10 {}", ["*2 1 5"; 10].join(" "));
        assert_eq!(merged("SLOWLOG GET", &[&long, &long]), Ok(ten), "ten by default");
    }

    #[test]
    fn the_acl_log_is_by_age_in_both_protocols() {
        let entry = |age: &str| format!("*4 count 1 age-seconds {age}");
        let nodes =
            [format!("*2 {} {}", entry("0.5"), entry("7.25")), format!("*1 {}", entry("3.1"))];
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let two = format!("*2 {} {}", entry("0.5"), entry("3.1"));
        assert_eq!(merged("ACL LOG 2", &nodes), Ok(two));
        assert_eq!(merged("ACL LOG -1", &nodes).as_deref(), Ok("*0"), "as a server has it");
        let nodes = ["*1 %1 age-seconds ,10", "*1 %1 age-seconds ,9.5"];
        let both = "*2 %1 age-seconds ,9.5 %1 age-seconds ,10";
        assert_eq!(merged("ACL LOG", &nodes).as_deref(), Ok(both));
        assert_eq!(merged("ACL LOG reset", &["+OK", "+OK"]).as_deref(), Ok("+OK"));
    }

    #[test]
    fn an_event_has_one_row_with_its_last_time_its_largest_latency_and_its_sums() {
        let nodes = ["*2 *4 command 100 5 9 *4 fork 90 1 1", "*1 *4 command 101 3 20"];
        let expected = "*2 *4 command 101 3 20 *4 fork 90 1 1";
        assert_eq!(merged("LATENCY LATEST", &nodes).as_deref(), Ok(expected));
        let nodes = ["*1 *6 command 100 5 9 14 2", "*0", "*1 *6 command 99 30 30 60 3"];
        let expected = "*1 *6 command 100 5 30 74 5";
        assert_eq!(merged("LATENCY LATEST", &nodes).as_deref(), Ok(expected));
        let nodes = ["*1 *6 command 100 5 9 14 2", "*1 *4 command 99 30 30"];
        let expected = "*1 *4 command 100 5 30";
        assert_eq!(merged("LATENCY LATEST", &nodes).as_deref(), Ok(expected), "two versions");
    }

    #[test]
    fn a_history_is_by_time() {
        let nodes = ["*2 *2 100 5 *2 103 7", "*1 *2 101 1"];
        let expected = "*3 *2 100 5 *2 101 1 *2 103 7";
        assert_eq!(merged("LATENCY HISTORY command", &nodes).as_deref(), Ok(expected));
    }

    #[test]
    fn slot_statistics_are_in_the_order_and_number_that_was_asked_for() {
        for map in ["*4", "%2"] {
            let of = |slot: u16, keys: u16| format!("*2 {slot} {map} key-count {keys} cpu-usec 1");
            let nodes = [
                format!("*3 {} {} {}", of(1, 9), of(3, 2), of(2, 0)),
                format!("*2 {} {}", of(9000, 5), of(8000, 2)),
            ];
            let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
            let ask = |rest: &str| merged(&format!("CLUSTER SLOT-STATS {rest}"), &nodes);
            let list = |entries: &[(u16, u16)]| {
                let entries: Vec<String> = entries.iter().map(|&(s, k)| of(s, k)).collect();
                Ok(format!("*{} {}", entries.len(), entries.join(" ")))
            };
            let falling = [(1, 9), (9000, 5), (3, 2), (8000, 2), (2, 0)];
            assert_eq!(ask("ORDERBY key-count"), list(&falling));
            assert_eq!(ask("ORDERBY key-count LIMIT 3"), list(&falling[..3]));
            assert_eq!(ask("orderby key-count limit 3 asc"), list(&[(2, 0), (3, 2), (8000, 2)]));
            assert_eq!(ask("ORDERBY key-count DESC LIMIT 1"), list(&falling[..1]));
            let by_slot = [(1, 9), (2, 0), (3, 2), (8000, 2), (9000, 5)];
            assert_eq!(ask("SLOTSRANGE 0 16383"), list(&by_slot));
            assert_eq!(merged("CLUSTER SLOT-STATS ORDERBY memory-bytes", &nodes), Err(Surprise));
        }
    }

    #[test]
    fn what_no_server_says_is_a_surprise() {
        for (command, reply) in [
            ("SLOWLOG GET", "+OK"),
            ("SLOWLOG GET", "*1 *1 5"),
            ("SLOWLOG GET", "*1 *2 5 x"),
            ("SLOWLOG GET", "*1 7"),
            ("ACL LOG", "*1 *2 count 1"),
            ("ACL LOG", "*1 *1 age-seconds"),
            ("ACL LOG", "*1 *2 age-seconds x"),
            ("LATENCY LATEST", "*1 *3 command 1 2"),
            ("LATENCY LATEST", "*1 *4 command 1 2 x"),
            ("LATENCY LATEST", "*1 *0"),
            ("LATENCY HISTORY x", "*1 *2 x 1"),
            ("CLUSTER SLOT-STATS ORDERBY key-count", "*1 *2 1 %1 x 1"),
            ("CLUSTER SLOT-STATS SLOTSRANGE 0 1", "*1 *2 x %0"),
        ] {
            assert_eq!(merged(command, &[reply]), Err(Surprise), "{command}: {reply}");
        }
    }
}
