//! A server process on a Unix socket of its own, and a client that reads RESP2.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::request::Request;

/// Killed when it is dropped, after a failed assertion too.
pub(crate) struct Server {
    process: Child,
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Server {
        let program =
            std::env::var("SLOTWAY_TEST_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut process = Command::new(&program)
            .args(["--port", "0", "--save", "", "--daemonize", "no", "--unixsocket"])
            .arg(folder.path().join("socket"))
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{program} does not start: {e}"));
        let log = process.stdout.take().expect("its output is piped");
        let server = Server { process, folder };
        let ready = BufReader::new(log)
            .lines()
            .map_while(Result::ok)
            // "The server is now ready …" and "Ready …", by version.
            .any(|line| line.contains("to accept connections"));
        assert!(ready, "{program} ended before it was ready");
        server
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.folder.path().join("socket")).expect("a connection");
        Client { input: BufReader::new(stream) }
    }

    /// The product and its version as the rows have it.
    pub(crate) fn version(&self) -> (Product, (u8, u8)) {
        let info = self.connect().ask(&["INFO", "server"]).text();
        let of = |field: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(field))?;
            let mut numbers = line.split('.').map(|n| n.parse().expect("a number"));
            Some((numbers.next()?, numbers.next()?))
        };
        match of("valkey_version:") {
            Some(version) => (Product::Valkey, version),
            None => (Product::Redis, of("redis_version:").expect("a version")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has gone by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Product {
    Redis,
    Valkey,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Simple(String),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

impl Reply {
    /// Of a simple or a bulk string.
    pub(crate) fn text(self) -> String {
        match self {
            Reply::Simple(text) => text,
            Reply::Bulk(bytes) => String::from_utf8(bytes).expect("text"),
            other => panic!("no text: {other:?}"),
        }
    }

    pub(crate) fn integer(self) -> i64 {
        match self {
            Reply::Integer(integer) => integer,
            other => panic!("no integer: {other:?}"),
        }
    }

    /// Of an array, or of nothing where an array could be.
    pub(crate) fn array(self) -> Vec<Reply> {
        match self {
            Reply::Array(items) => items,
            Reply::Null => Vec::new(),
            other => panic!("no array: {other:?}"),
        }
    }

    /// The value beside a name in a flat list of pairs.
    pub(crate) fn field(pairs: &[Reply], name: &str) -> Reply {
        let mut pairs = pairs.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0].clone().text() == name);
        pair.unwrap_or_else(|| panic!("no {name}"))[1].clone()
    }
}

pub(crate) struct Client {
    input: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.input.get_mut().write_all(bytes).expect("the server reads");
    }

    pub(crate) fn ask<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.send(&Request::new(args).frame);
        self.read()
    }

    pub(crate) fn read(&mut self) -> Reply {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).expect("the server writes");
        let [kind, rest @ .., b'\r', b'\n'] = line.as_slice() else {
            panic!("no reply: {line:?}");
        };
        let number = || std::str::from_utf8(rest).unwrap().parse::<i64>().expect("a number");
        match kind {
            b'+' => Reply::Simple(String::from_utf8(rest.to_vec()).expect("text")),
            b'-' => Reply::Error(rest.to_vec()),
            b':' => Reply::Integer(number()),
            b'$' | b'*' if number() < 0 => Reply::Null,
            b'$' => {
                let mut body = vec![0; number() as usize + 2];
                self.input.read_exact(&mut body).expect("the body");
                body.truncate(body.len() - 2);
                Reply::Bulk(body)
            }
            b'*' => Reply::Array((0..number()).map(|_| self.read()).collect()),
            other => panic!("not RESP2: {other}"),
        }
    }

    /// Whether something has arrived, without waiting for it.
    pub(crate) fn has_reply(&mut self) -> bool {
        self.input.get_ref().set_nonblocking(true).expect("a socket option");
        let arrived = self.input.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        self.input.get_ref().set_nonblocking(false).expect("a socket option");
        arrived
    }
}
