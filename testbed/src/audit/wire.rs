//! RESP2 as the audit speaks it: requests out, replies in, on a plain socket.

use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// A reply. The audit sends ASCII alone, so text is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR …`, without the dash.
    Error(String),
    /// `:1`.
    Int(i64),
    /// `$1`.
    Bulk(String),
    /// `$-1` or `*-1`.
    Nil,
    /// `*2`.
    Array(Vec<Reply>),
}

impl Reply {
    /// `+OK`.
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Simple(text) if text == "OK")
    }

    /// The text of an error.
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The bulk string.
    pub fn bulk(&self) -> Option<&str> {
        match self {
            Reply::Bulk(text) => Some(text),
            _ => None,
        }
    }

    /// Its bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let line = match self {
            Reply::Simple(text) => format!("+{text}\r\n"),
            Reply::Error(text) => format!("-{text}\r\n"),
            Reply::Int(number) => format!(":{number}\r\n"),
            Reply::Bulk(text) => format!("${}\r\n{text}\r\n", text.len()),
            Reply::Nil => "$-1\r\n".to_owned(),
            Reply::Array(items) => format!("*{}\r\n", items.len()),
        };
        out.extend_from_slice(line.as_bytes());
        if let Reply::Array(items) = self {
            items.iter().for_each(|item| item.write(out));
        }
    }

    /// The reply at the front of `bytes` and its length; `None` while it is not whole.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
        let Some(length) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let line = String::from_utf8_lossy(&bytes[1.min(length)..length]).into_owned();
        let end = length + 2;
        let number = || line.parse::<i64>().with_context(|| format!("not a number: {line:?}"));
        let reply = match bytes[0] {
            b'+' => Reply::Simple(line),
            b'-' => Reply::Error(line),
            b':' => Reply::Int(number()?),
            b'$' | b'*' if number()? < 0 => Reply::Nil,
            b'$' => {
                let size = usize::try_from(number()?)?;
                let Some(text) = bytes.get(end..end + size + 2) else { return Ok(None) };
                let text = String::from_utf8_lossy(&text[..size]).into_owned();
                return Ok(Some((Reply::Bulk(text), end + size + 2)));
            }
            b'*' => {
                let mut at = end;
                let mut items = Vec::new();
                for _ in 0..number()? {
                    let Some((item, length)) = Reply::parse(&bytes[at..])? else { return Ok(None) };
                    items.push(item);
                    at += length;
                }
                return Ok(Some((Reply::Array(items), at)));
            }
            other => bail!("no reply begins with {:?}", other as char),
        };
        Ok(Some((reply, end)))
    }
}

/// A request as an array of bulk strings.
pub fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        bytes.extend_from_slice(arg.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The request at the front of `bytes` and its length; `None` while it is not whole.
pub(super) fn parse_request(bytes: &[u8]) -> Result<Option<(Vec<String>, usize)>> {
    match Reply::parse(bytes)? {
        Some((Reply::Array(words), length)) => {
            let words = words.into_iter().map(|word| match word {
                Reply::Bulk(text) => Ok(text),
                other => bail!("{other:?} is no argument"),
            });
            Ok(Some((words.collect::<Result<_>>()?, length)))
        }
        Some((other, _)) => bail!("{other:?} is no request"),
        None => Ok(None),
    }
}

/// A connection with what was read of it and not asked for yet.
#[derive(Debug)]
pub struct Conn {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Conn {
    /// Connects; `timeout` bounds connecting and each write.
    ///
    /// # Errors
    /// Nobody accepts there.
    pub fn connect(addr: &str, timeout: Duration) -> Result<Conn> {
        let first = addr.to_socket_addrs()?.next().context("no address")?;
        Conn::new(TcpStream::connect_timeout(&first, timeout)?, timeout)
    }

    pub(super) fn new(stream: TcpStream, timeout: Duration) -> Result<Conn> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Conn { stream, read: Vec::new() })
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The other side has closed, or takes nothing.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads what is there, waiting until `end` at most.
    ///
    /// # Errors
    /// The other side has closed.
    pub fn fill(&mut self, end: Instant) -> Result<()> {
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("the connection was closed"),
            Ok(length) => self.read.extend_from_slice(&chunk[..length]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                _ => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// The next reply that was read whole already.
    ///
    /// # Errors
    /// What was read is no reply.
    pub fn next_reply(&mut self) -> Result<Option<Reply>> {
        Ok(Reply::parse(&self.read)?.map(|(reply, length)| {
            self.read.drain(..length);
            reply
        }))
    }

    /// The next request that was read whole already, for one who plays a server.
    pub(super) fn next_request(&mut self) -> Result<Option<Vec<String>>> {
        Ok(parse_request(&self.read)?.map(|(request, length)| {
            self.read.drain(..length);
            request
        }))
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// The connection fails, or nothing comes within `timeout`.
    pub fn ask<A: AsRef<[u8]>>(&mut self, args: &[A], timeout: Duration) -> Result<Reply> {
        self.send(&request(args))?;
        let end = Instant::now() + timeout;
        loop {
            if let Some(reply) = self.next_reply()? {
                return Ok(reply);
            }
            if Instant::now() >= end {
                bail!("no reply within {timeout:?}");
            }
            self.fill(end)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_whole_or_not_at_all() {
        let bytes = b"*4\r\n+OK\r\n-ERR no\r\n:-7\r\n*2\r\n$2\r\nhi\r\n$-1\r\n";
        let (reply, length) = Reply::parse(bytes).unwrap().unwrap();
        let pair = Reply::Array(vec![Reply::Bulk("hi".into()), Reply::Nil]);
        let error = Reply::Error("ERR no".into());
        let all = vec![Reply::Simple("OK".into()), error, Reply::Int(-7), pair];
        assert_eq!((reply, length), (Reply::Array(all), bytes.len()));
        for end in 0..bytes.len() {
            assert_eq!(Reply::parse(&bytes[..end]).unwrap(), None, "{end}");
        }
        assert!(Reply::parse(b"?\r\n").is_err());
    }
}
