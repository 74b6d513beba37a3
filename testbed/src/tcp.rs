//! A raw connection for hostile inputs: exact bytes out, exact bytes expected, nothing waits for ever.

use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// One side of a TCP connection. Every read ends after a deadline, 5 s unless it is set.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    deadline: Duration,
    /// What was read and not asked for yet.
    read: Vec<u8>,
}

impl Peer {
    /// Connects to `addr`.
    ///
    /// # Errors
    /// Nobody accepts there.
    pub fn connect(addr: &str) -> Result<Peer> {
        let context = || format!("cannot connect to {addr}");
        let mut addrs = addr.to_socket_addrs().with_context(context)?;
        let first = addrs.next().with_context(context)?;
        let stream = TcpStream::connect_timeout(&first, DEADLINE).with_context(context)?;
        Ok(Peer::new(stream))
    }

    pub(crate) fn new(stream: TcpStream) -> Peer {
        // Small writes are sent as they are made: tests cut messages on purpose.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(DEADLINE));
        Peer { stream, deadline: DEADLINE, read: Vec::new() }
    }

    /// How long each later read may take. Default 5 s.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The other side has closed, or takes nothing for 5 s.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).context("cannot write to the peer")
    }

    /// Writes a request as an array of bulk strings.
    ///
    /// # Errors
    /// As [`Peer::send`].
    pub fn send_command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<()> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
            bytes.extend_from_slice(arg.as_ref());
            bytes.extend_from_slice(b"\r\n");
        }
        self.send(bytes)
    }

    /// Says that nothing more will be written; reading goes on.
    ///
    /// # Errors
    /// The connection has gone.
    pub fn shut_write(&mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("cannot shut the writing side")
    }

    /// Closes both sides, whoever else holds the connection.
    pub(crate) fn shut(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Reads as many bytes as `expected` has, and compares.
    ///
    /// # Errors
    /// Other bytes come, or the end, or not enough within the deadline; the error shows them.
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) -> Result<()> {
        let expected = expected.as_ref();
        let end = Instant::now() + self.deadline;
        while self.read.len() < expected.len() && expected.starts_with(&self.read) {
            let more = self.fill(end).with_context(|| self.got(expected))?;
            ensure!(more, "{}, and then the end", self.got(expected));
        }
        ensure!(self.read.starts_with(expected), "{}", self.got(expected));
        self.read.drain(..expected.len());
        Ok(())
    }

    /// Reads a line; its CRLF is not part of what is returned.
    ///
    /// # Errors
    /// The end comes first, or no whole line within the deadline.
    pub fn read_line(&mut self) -> Result<Vec<u8>> {
        let end = Instant::now() + self.deadline;
        loop {
            if let Some(length) = self.read.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.read.drain(..length + 2).take(length).collect();
                return Ok(line);
            }
            ensure!(self.fill(end)?, "the end came instead of a line, after {}", show(&self.read));
        }
    }

    /// Reads `count` bytes.
    ///
    /// # Errors
    /// The end comes first, or not enough within the deadline.
    pub fn read_exact(&mut self, count: usize) -> Result<Vec<u8>> {
        let end = Instant::now() + self.deadline;
        while self.read.len() < count {
            ensure!(self.fill(end)?, "the end came after {} of {count} bytes", self.read.len());
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Reads all that comes until the other side closes, in order or not.
    ///
    /// # Errors
    /// It does not close within the deadline.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let end = Instant::now() + self.deadline;
        while self.fill(end)? {}
        Ok(std::mem::take(&mut self.read))
    }

    /// Waits until the other side has closed, without a byte more.
    ///
    /// # Errors
    /// Bytes come, or it does not close within the deadline.
    pub fn expect_end(&mut self) -> Result<()> {
        let rest = self.read_to_end()?;
        ensure!(rest.is_empty(), "{} came instead of the end", show(&rest));
        Ok(())
    }

    /// Makes sure that nothing comes for as long as `duration`.
    ///
    /// # Errors
    /// Bytes or the end come.
    pub fn expect_silence(&mut self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        ensure!(self.read.is_empty(), "{} had come already", show(&self.read));
        match self.fill(end) {
            Err(error) if error.is::<TimedOut>() => Ok(()),
            Err(error) => Err(error),
            Ok(true) => bail!("{} came", show(&self.read)),
            Ok(false) => bail!("the end came"),
        }
    }

    /// Reads the next request, an array of bulk strings as everybody sends them to a node; `None`
    /// at the end.
    ///
    /// # Errors
    /// Something else comes, or no whole request within the deadline.
    pub fn read_command(&mut self) -> Result<Option<Vec<Vec<u8>>>> {
        if self.read.is_empty() && !self.fill(Instant::now() + self.deadline)? {
            return Ok(None);
        }
        let count = self.read_size(b'*')?;
        ensure!(count <= MAX_ARGS, "a request with {count} arguments");
        let mut args = Vec::with_capacity(count);
        for _ in 0..count {
            let length = self.read_size(b'$')?;
            args.push(self.read_exact(length)?);
            self.expect("\r\n")?;
        }
        Ok(Some(args))
    }

    fn read_size(&mut self, kind: u8) -> Result<usize> {
        let line = self.read_line()?;
        let size = line.strip_prefix(&[kind]).and_then(|size| str::from_utf8(size).ok());
        let size = size.and_then(|size| size.parse().ok());
        size.with_context(|| {
            format!("{} where {} and a number should be", show(&line), kind as char)
        })
    }

    /// Reads what is there, waiting until `end` at most; false at the end of the stream, which a
    /// reset is too.
    fn fill(&mut self, end: Instant) -> Result<bool> {
        let left = end.saturating_duration_since(Instant::now());
        // Zero would mean no timeout at all.
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(length) => {
                self.read.extend_from_slice(&chunk[..length]);
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(TimedOut.into()),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(false),
                ErrorKind::Interrupted => Ok(true),
                _ => Err(error.into()),
            },
        }
    }

    fn got(&self, expected: &[u8]) -> String {
        format!("expected {}, got {}", show(expected), show(&self.read))
    }
}

/// Told apart from the other errors of reading: for one who expects silence it is success.
#[derive(Debug)]
struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing more came in time")
    }
}

impl std::error::Error for TimedOut {}

/// Bytes as text with escapes, the middle of a long one left out.
fn show(bytes: &[u8]) -> String {
    if bytes.len() <= 400 {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    let (head, tail) = (&bytes[..200], &bytes[bytes.len() - 200..]);
    let (head, tail) = (head.escape_ascii(), tail.escape_ascii());
    format!("\"{head}\" … \"{tail}\" ({} bytes)", bytes.len())
}

const DEADLINE: Duration = Duration::from_secs(5);

const MAX_ARGS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Peer, Peer) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = Peer::connect(&listener.local_addr().unwrap().to_string()).unwrap();
        (near, Peer::new(listener.accept().unwrap().0))
    }

    #[test]
    fn bytes_are_expected_exactly() {
        let (mut a, mut b) = pair();
        a.send("+OK\r\n:1\r\n").unwrap();
        b.expect("+OK\r\n").unwrap();
        let error = b.expect(":2\r\n").unwrap_err().to_string();
        assert_eq!(error, r#"expected ":2\r\n", got ":1\r\n""#);
        b.expect(":1\r\n").unwrap();
        b.expect_silence(Duration::from_millis(5)).unwrap();
        a.send("x").unwrap();
        assert!(b.expect_silence(Duration::from_secs(5)).is_err());
    }

    #[test]
    fn commands_are_read_as_they_were_sent_and_the_end_is_seen() {
        let (mut a, mut b) = pair();
        a.send_command(&["GET", "a\r\n"]).unwrap();
        a.shut_write().unwrap();
        let command = b.read_command().unwrap().unwrap();
        assert_eq!(command, [b"GET".to_vec(), b"a\r\n".to_vec()]);
        assert_eq!(b.read_command().unwrap(), None);
        drop(b);
        a.expect_end().unwrap();
    }

    #[test]
    fn a_missing_answer_ends_in_an_error() {
        let (mut a, b) = pair();
        a.set_deadline(Duration::from_millis(5));
        assert!(a.expect("+").is_err() && a.read_line().is_err() && a.expect_end().is_err());
        drop(b);
        assert!(a.expect("+").is_err());
    }
}
