//! A client that caches, as a library would do it: what it has read stays until it is told.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use slotway::resp::reply::{self, Progress, Scanner};
use slotway::resp::write;

/// A connection in RESP3, or in RESP2 while it has not said otherwise.
pub(crate) struct Line {
    stream: TcpStream,
    scanner: Scanner,
    /// What was read and is no whole message yet.
    read: Vec<u8>,
    /// How much of it the scanner has seen.
    seen: usize,
    pub(crate) pushes: VecDeque<Vec<u8>>,
}

impl Line {
    pub(crate) fn connect(addr: &str) -> Result<Line> {
        let stream = TcpStream::connect(addr).context("cannot connect")?;
        stream.set_nodelay(true)?;
        let (scanner, pushes) = (Scanner::default(), VecDeque::new());
        Ok(Line { stream, scanner, read: Vec::new(), seen: 0, pushes })
    }

    pub(crate) fn send(&mut self, line: &str) -> Result<()> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut bytes = Vec::new();
        write::command(&mut bytes, &words);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// The reply to one request; pushes that come before it are kept.
    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        self.send(line)?;
        loop {
            let message = self.next(Duration::from_secs(30))?;
            let message = message.with_context(|| format!("no reply to {line}"))?;
            if !message.starts_with(b">") {
                return Ok(String::from_utf8_lossy(&message).into_owned());
            }
            self.pushes.push_back(message);
        }
    }

    /// The next message, if it is whole within this time.
    pub(crate) fn next(&mut self, within: Duration) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + within;
        loop {
            match self.scanner.feed(&self.read[self.seen..]) {
                Progress::Complete { used, .. } => {
                    let rest = self.read.split_off(self.seen + used);
                    self.seen = 0;
                    return Ok(Some(std::mem::replace(&mut self.read, rest)));
                }
                Progress::More => self.seen = self.read.len(),
                Progress::Bad(why) => bail!("{why}: {}", self.read.escape_ascii()),
            }
            let left = end.saturating_duration_since(Instant::now());
            self.stream.set_nonblocking(left.is_zero())?;
            if !left.is_zero() {
                self.stream.set_read_timeout(Some(left))?;
            }
            let mut buffer = [0; 16 * 1024];
            let result = self.stream.read(&mut buffer);
            self.stream.set_nonblocking(false)?;
            match result {
                Ok(0) => bail!("the connection was closed"),
                Ok(len) => self.read.extend_from_slice(&buffer[..len]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What a push or a message says is no longer good: these keys, or all.
pub(crate) fn invalid(message: &[u8]) -> Result<Option<Vec<String>>> {
    let heads: [&[u8]; 2] =
        [b">2\r\n$10\r\ninvalidate\r\n", b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"];
    let payload = heads.iter().find_map(|head| message.strip_prefix(*head));
    let payload = payload.with_context(|| format!("unknown: {}", message.escape_ascii()))?;
    if payload == b"_\r\n" || payload == b"$-1\r\n" {
        return Ok(None);
    }
    strings(payload).map(Some)
}

/// The strings of an array; a null is an empty one.
pub(crate) fn strings(array: &[u8]) -> Result<Vec<String>> {
    let wrong = || format!("no array of strings: {}", array.escape_ascii());
    let (count, mut at) = reply::count_line(array).with_context(wrong)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let len = reply::value_len(&array[at..]).with_context(wrong)?;
        all.push(string(&array[at..at + len]));
        at += len;
    }
    Ok(all)
}

/// What a bulk or simple string says.
pub(crate) fn string(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let body =
        if text.starts_with('$') { text.split_once("\r\n").map_or("", |t| t.1) } else { &text };
    body.trim_end().to_owned()
}

/// How a reader reads and is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Each key by its own GET, several at once.
    Gets,
    /// Keys of all shards by one MGET.
    Mget,
    /// GETs, each behind CLIENT CACHING YES.
    OptIn,
    /// GETs; told by prefix.
    Prefix,
    /// GETs; another connection is told.
    Redirected,
}

/// A client with a cache.
pub(crate) struct Reader {
    pub(crate) style: Style,
    line: Line,
    /// Where messages come if not on `line`.
    side: Option<Line>,
    /// Keys that are being read, in the order of the replies, and whether one was told invalid
    /// meanwhile: of use only where messages come on another connection.
    pending: VecDeque<Vec<(String, bool)>>,
    pub(crate) cache: HashMap<String, String>,
    pub(crate) hits: u64,
    pub(crate) told: u64,
}

impl Reader {
    pub(crate) fn connect(addr: &str, style: Style) -> Result<Reader> {
        let mut line = Line::connect(addr)?;
        line.ask("HELLO 3")?;
        let mut side = None;
        let tracking = match style {
            Style::Gets | Style::Mget => "CLIENT TRACKING ON".to_owned(),
            Style::OptIn => "CLIENT TRACKING ON OPTIN".to_owned(),
            Style::Prefix => "CLIENT TRACKING ON BCAST PREFIX k PREFIX other".to_owned(),
            Style::Redirected => {
                let mut other = Line::connect(addr)?;
                other.ask("HELLO 3")?;
                let id = other.ask("CLIENT ID")?;
                side = Some(other);
                format!("CLIENT TRACKING ON REDIRECT {}", id.trim_start_matches(':').trim_end())
            }
        };
        let reply = line.ask(&tracking)?;
        ensure!(reply == "+OK\r\n", "{tracking}: {reply}");
        let (pending, cache) = (VecDeque::new(), HashMap::new());
        Ok(Reader { style, line, side, pending, cache, hits: 0, told: 0 })
    }

    /// Reads these keys: from the cache what is there, after all that has come was heard.
    pub(crate) fn read(&mut self, keys: &[String]) -> Result<()> {
        self.hear(Duration::ZERO)?;
        let missing: Vec<String> =
            keys.iter().filter(|key| !self.cache.contains_key(*key)).cloned().collect();
        self.hits += (keys.len() - missing.len()) as u64;
        if self.style == Style::Mget && !missing.is_empty() {
            self.line.send(&format!("MGET {}", missing.join(" ")))?;
            self.pending.push_back(missing.into_iter().map(|key| (key, false)).collect());
        } else {
            for key in missing {
                if self.style == Style::OptIn {
                    self.line.send("CLIENT CACHING YES")?;
                    self.pending.push_back(Vec::new());
                }
                self.line.send(&format!("GET {key}"))?;
                self.pending.push_back(vec![(key, false)]);
            }
        }
        let end = Instant::now() + Duration::from_secs(60);
        while !self.pending.is_empty() {
            ensure!(Instant::now() < end, "no replies: {:?}", self.pending);
            self.hear(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Takes what has come.
    pub(crate) fn hear(&mut self, within: Duration) -> Result<()> {
        while let Some(side) = &mut self.side
            && let Some(message) = side.next(Duration::ZERO)?
        {
            self.take(invalid(&message)?);
        }
        let mut within = within;
        while let Some(message) = self.line.next(within)? {
            within = Duration::ZERO;
            if message.starts_with(b">") {
                self.take(invalid(&message)?);
            } else {
                self.keep(&message)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, invalid: Option<Vec<String>>) {
        self.told += 1;
        let says = |key: &String| invalid.as_ref().is_none_or(|keys| keys.contains(key));
        self.cache.retain(|key, _| !says(key));
        if self.side.is_some() {
            for (key, spoiled) in self.pending.iter_mut().flatten() {
                *spoiled |= says(key);
            }
        }
    }

    fn keep(&mut self, reply: &[u8]) -> Result<()> {
        let keys = self.pending.pop_front().context("a reply that nobody asked for")?;
        if reply.starts_with(b"-") || keys.is_empty() {
            return Ok(());
        }
        let values = match reply.first() {
            Some(b'*') => strings(reply)?,
            _ => vec![string(reply)],
        };
        ensure!(values.len() == keys.len(), "{keys:?}: {values:?}");
        for ((key, spoiled), value) in keys.into_iter().zip(values) {
            if !spoiled {
                self.cache.insert(key, value);
            }
        }
        Ok(())
    }
}
