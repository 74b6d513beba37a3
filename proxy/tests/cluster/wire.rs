//! A plain RESP2 client: requests in, replies out, errors as replies like any other. redis-rs makes
//! one error of a whole pipeline; here each reply of it is looked at.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

impl Reply {
    pub(crate) fn ok() -> Reply {
        Reply::Simple("OK".into())
    }

    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(bytes.as_ref().to_vec())
    }

    /// The error, if it is one.
    pub(crate) fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => Some(text),
            _ => None,
        }
    }
}

/// A request: its arguments.
pub(crate) type Request = Vec<Vec<u8>>;

/// The request of these words.
pub(crate) fn request<A: AsRef<[u8]>>(words: &[A]) -> Request {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

/// Appends a request as an array of bulk strings.
pub(crate) fn write(request: &[impl AsRef<[u8]>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
    for word in request {
        let word = word.as_ref();
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A connection. Reading gives up after 60 s: nothing that is masked takes as long.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(addr: &str) -> Result<Client> {
        let stream = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Client { reader: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// The connection itself, to be written to by another thread.
    pub(crate) fn stream(&self) -> Result<TcpStream> {
        Ok(self.reader.get_ref().try_clone()?)
    }

    pub(crate) fn send(&mut self, request: &[impl AsRef<[u8]>]) -> Result<()> {
        let mut bytes = Vec::new();
        write(request, &mut bytes);
        Ok(self.reader.get_mut().write_all(&bytes)?)
    }

    /// The next reply.
    pub(crate) fn read(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.reader.read_line(&mut line).context("reading a reply")?;
        let Some(line) = line.strip_suffix("\r\n") else {
            bail!("the connection ended before a reply: {line:?}");
        };
        let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
        Ok(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(rest.parse()?),
            "$" | "*" if rest == "-1" => Reply::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                self.reader.read_exact(&mut bytes).context("reading a bulk string")?;
                bytes.truncate(bytes.len() - 2);
                Reply::Bulk(bytes)
            }
            "*" => Reply::Array((0..rest.parse()?).map(|_| self.read()).collect::<Result<_>>()?),
            _ => bail!("not a reply: {line:?}"),
        })
    }

    /// One request, its reply.
    pub(crate) fn ask(&mut self, request: &[impl AsRef<[u8]>]) -> Result<Reply> {
        self.send(request)?;
        self.read()
    }

    /// Requests sent at once, then their replies. For what fits into the sockets' buffers.
    pub(crate) fn pipeline(&mut self, requests: &[Request]) -> Result<Vec<Reply>> {
        let mut bytes = Vec::new();
        for request in requests {
            write(request, &mut bytes);
        }
        self.reader.get_mut().write_all(&bytes)?;
        requests.iter().map(|_| self.read()).collect()
    }

    /// True when the other side has closed and there is nothing left to read.
    pub(crate) fn at_end(&mut self) -> bool {
        // A reset is an end too.
        self.reader.fill_buf().map_or(true, <[u8]>::is_empty)
    }
}
