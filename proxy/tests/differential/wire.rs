//! Requests and replies as bytes, on a connection that gives up after a while. Replies are read by
//! a reader of our own: slotway's must not judge itself.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The words of a request.
pub(crate) type Request = Vec<Vec<u8>>;

/// A request from one line of plain words.
pub(crate) fn words(line: &str) -> Request {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// A request as a person would type it.
pub(crate) fn show(request: &Request) -> String {
    let word = |word: &Vec<u8>| match word.iter().all(u8::is_ascii_graphic) && !word.is_empty() {
        _ if word.len() > 400 => format!("({} bytes)", word.len()),
        true => String::from_utf8_lossy(word).into_owned(),
        false => format!("\"{}\"", word.escape_ascii()),
    };
    request.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A reply; equal ones are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reply {
    /// The first byte of it: what kind it is.
    pub(crate) kind: u8,
    /// The rest of its first line: a length, or all there is.
    pub(crate) line: Vec<u8>,
    /// What a length announced.
    pub(crate) body: Vec<u8>,
    /// What a count announced; of a map, names and values in turns.
    pub(crate) items: Vec<Reply>,
}

impl Reply {
    pub(crate) fn is_error(&self) -> bool {
        matches!(self.kind, b'-' | b'!')
    }

    /// The number that it is, in either protocol.
    pub(crate) fn number(&self) -> Option<i64> {
        let digits = if self.kind == b'$' { &self.body } else { &self.line };
        let is_number = matches!(self.kind, b':' | b'$');
        is_number.then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten()
    }

    /// The text of a string or an error.
    pub(crate) fn text(&self) -> &[u8] {
        if matches!(self.kind, b'$' | b'=' | b'!') { &self.body } else { &self.line }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind as char, self.line.escape_ascii())?;
        if matches!(self.kind, b'$' | b'=' | b'!') {
            let shown = &self.body[..self.body.len().min(300)];
            write!(f, " \"{}\"", shown.escape_ascii())?;
        }
        if !self.items.is_empty() {
            let items: Vec<String> = self.items.iter().map(ToString::to_string).collect();
            write!(f, " [{}]", items.join(", "))?;
        }
        Ok(())
    }
}

/// A client's connection.
pub(crate) struct Client {
    input: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(addr: &str) -> Result<Client> {
        let stream = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { input: BufReader::new(stream) })
    }

    /// The replies to requests that are sent at once.
    pub(crate) fn ask_all<'a>(
        &mut self,
        requests: impl Iterator<Item = &'a Request> + Clone,
    ) -> Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        for request in requests.clone() {
            write!(bytes, "*{}\r\n", request.len())?;
            for word in request {
                write!(bytes, "${}\r\n", word.len())?;
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.input.get_mut().write_all(&bytes)?;
        requests.map(|request| self.read().with_context(|| show(request))).collect()
    }

    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply> {
        let mut replies = self.ask_all(std::iter::once(request))?;
        replies.pop().context("one reply")
    }

    fn read(&mut self) -> Result<Reply> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).context("no reply")?;
        let [kind, rest @ .., b'\r', b'\n'] = line.as_slice() else {
            bail!("this is no reply: {}", line.escape_ascii());
        };
        let mut reply =
            Reply { kind: *kind, line: rest.to_vec(), body: Vec::new(), items: Vec::new() };
        let announced = || -> Result<usize> {
            let number: i64 = str::from_utf8(rest)?.parse().context("a length")?;
            Ok(number.max(0) as usize)
        };
        let has_body = matches!(kind, b'$' | b'=' | b'!') && rest != b"-1";
        match kind {
            _ if has_body => {
                reply.body = vec![0; announced()? + 2];
                self.input.read_exact(&mut reply.body)?;
                anyhow::ensure!(reply.body.ends_with(b"\r\n"), "no end of line behind a body");
                reply.body.truncate(reply.body.len() - 2);
            }
            b'*' | b'~' | b'>' | b'%' => {
                let count = announced()? * if *kind == b'%' { 2 } else { 1 };
                reply.items = (0..count).map(|_| self.read()).collect::<Result<_>>()?;
            }
            b'+' | b'-' | b':' | b'$' | b'_' | b',' | b'#' | b'(' => {}
            other => bail!("a reply of kind {}", *other as char),
        }
        Ok(reply)
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
