//! How long a request that blocks may do so, and the same request with the time that is left.

use std::time::Duration;

use super::class::last_block_option;
use super::row::Row;
use crate::resp::{Args, write};

/// Where the timeout of a command that blocks stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeoutAt {
    /// It has none, or nobody has told.
    Nowhere,
    /// Seconds, as the first argument behind the name.
    First,
    /// Seconds, as the last argument.
    Last,
    /// Milliseconds, as the last argument.
    LastMillis,
    /// Milliseconds, behind the option BLOCK.
    Block,
}

/// The timeout of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// Which argument it is.
    pub at: u16,
    /// It is in milliseconds, not in seconds.
    pub is_millis: bool,
    /// How long; `None`: for ever.
    pub time: Option<Duration>,
}

/// Nobody waits for longer than this; a server refuses more than about 290 million years.
const LONGEST: f64 = 1e11;

/// The timeout of a request that blocks. `None` if it has none that can be read: a server reports
/// the mistake, or reads what nobody writes (a hexadecimal number).
pub fn timeout(row: &Row, args: &Args<'_>) -> Option<Timeout> {
    let (at, is_millis) = match row.timeout {
        TimeoutAt::Nowhere => return None,
        TimeoutAt::First => (1, false),
        TimeoutAt::Last => (args.len().checked_sub(1)?, false),
        TimeoutAt::LastMillis => (args.len().checked_sub(1)?, true),
        TimeoutAt::Block => (last_block_option(args)? + 1, true),
    };
    let text = str::from_utf8(args.get(at)?).ok()?;
    let seconds = if is_millis {
        text.parse::<i64>().ok()? as f64 / 1000.0
    } else {
        text.parse::<f64>().ok()?
    };
    if !(0.0..=LONGEST).contains(&seconds) {
        return None;
    }
    let time = (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
    Some(Timeout { at: u16::try_from(at).ok()?, is_millis, time })
}

/// The request with `left` as its timeout: whole milliseconds, one at least, because none means
/// for ever.
pub fn with_time_left(args: &Args<'_>, timeout: Timeout, left: Duration) -> Vec<u8> {
    let millis = left.as_micros().div_ceil(1000).max(1);
    let text = if timeout.is_millis {
        millis.to_string()
    } else {
        format!("{}.{:03}", millis / 1000, millis % 1000)
    };
    let words: Vec<&[u8]> = args
        .iter()
        .enumerate()
        .map(|(at, word)| if at == usize::from(timeout.at) { text.as_bytes() } else { word })
        .collect();
    let mut frame = Vec::with_capacity(args.frame().len() + text.len());
    write::command(&mut frame, &words);
    frame
}

/// Whether this, the beginning of what a node says to a request that blocks (behind its word to
/// ASKING, if there is one), says that something was taken for it.
pub fn holds_element(reply: &[u8]) -> bool {
    let reply = reply.strip_prefix(b"+OK\r\n").unwrap_or(reply);
    matches!(reply, [b'*' | b'$' | b'%', length @ ..] if !length.starts_with(b"-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::resolve;
    use crate::resp::Span;

    fn args_of<R>(line: &str, then: impl FnOnce(&Args<'_>) -> R) -> R {
        let mut spans: Vec<Span> = Vec::new();
        for word in line.split(' ') {
            let start = spans.last().map_or(0, |last| last.end + 1);
            spans.push(Span { start, end: start + word.len() as u32 });
        }
        then(&Args::new(line.as_bytes(), &spans))
    }

    fn of(line: &str) -> Option<Timeout> {
        args_of(line, |args| timeout(resolve(args).unwrap(), args))
    }

    #[test]
    fn the_timeout_stands_where_each_command_has_it() {
        for (line, at, millis) in [
            ("BLPOP a b 2", 3, 2000),
            ("BRPOP a 0.25", 2, 250),
            ("BRPOPLPUSH a b 1", 3, 1000),
            ("BLMOVE a b LEFT RIGHT 1e1", 5, 10_000),
            ("BLMPOP 3 2 a b LEFT COUNT 9", 1, 3000),
            ("BZPOPMIN a 4", 2, 4000),
            ("BZPOPMAX a 4", 2, 4000),
            ("BZMPOP 0.5 1 a MIN", 1, 500),
            ("WAIT 1 60", 2, 60),
            ("WAITAOF 1 1 60", 3, 60),
            ("XREAD COUNT 1 BLOCK 70 STREAMS a 0", 4, 70),
            ("XREAD BLOCK 60 BLOCK 70 STREAMS BLOCK 0", 4, 70),
            ("XREADGROUP GROUP BLOCK 9 BLOCK 80 STREAMS a >", 5, 80),
        ] {
            let found = of(line).unwrap_or_else(|| panic!("{line}"));
            let time = Some(Duration::from_millis(millis));
            assert_eq!((usize::from(found.at), found.time), (at, time), "{line}");
        }
        for line in ["BLPOP a 0", "BLMPOP 0.0 1 a LEFT", "XREAD BLOCK 0 STREAMS a $"] {
            assert_eq!(of(line).map(|timeout| timeout.time), Some(None), "{line}");
        }
        for line in [
            "BLPOP a x",
            "BLPOP a -1",
            "BLPOP a inf",
            "BLPOP a nan",
            "BLPOP a 1e20",
            "XREAD BLOCK 1.5 STREAMS a $",
            "XREAD BLOCK -1 STREAMS a $",
            "XREAD STREAMS a $",
            "GET a",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn elements_are_told_from_their_absence() {
        for said in ["*2\r\n$1\r\n", "*", "+OK\r\n*2", "$0\r\n\r\n", "%1\r\n"] {
            assert!(holds_element(said.as_bytes()), "{said}");
        }
        for said in
            ["", "*-1\r\n", "$-1\r\n", "_\r\n", "-ERR x\r\n", "+OK\r\n", "+OK\r\n_\r\n", ":1\r\n"]
        {
            assert!(!holds_element(said.as_bytes()), "{said}");
        }
    }

    #[test]
    fn the_time_that_is_left_is_never_for_ever() {
        for (line, left, expected) in [
            ("BLPOP a 2", 1_500_000, "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$5\r\n1.500\r\n"),
            ("BLPOP a 2", 0, "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$5\r\n0.001\r\n"),
            ("BLPOP a 2", 100, "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$5\r\n0.001\r\n"),
            (
                "BZMPOP 9 1 a MIN",
                8_000_001,
                "*5\r\n$6\r\nBZMPOP\r\n$5\r\n8.001\r\n$1\r\n1\r\n$1\r\na\r\n$3\r\nMIN\r\n",
            ),
            (
                "XREAD BLOCK 9 STREAMS a 0",
                1,
                "*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n1\r\n$7\r\nSTREAMS\r\n$1\r\na\r\n\
                 $1\r\n0\r\n",
            ),
        ] {
            let left = Duration::from_micros(left);
            let frame = args_of(line, |args| {
                let timeout = timeout(resolve(args).unwrap(), args).unwrap();
                with_time_left(args, timeout, left)
            });
            assert_eq!(String::from_utf8(frame).unwrap(), expected);
        }
    }
}
