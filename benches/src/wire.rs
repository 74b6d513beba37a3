//! The little of the protocol that setting up needs: one command, one reply, blocking.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long the other side may take for one reply while the stage is being set.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes of a command as a client sends it.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A blocking connection for setting up and asking questions, never for measuring.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects, with a bound on every later read and write.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::with_capacity(64 * 1024, stream) })
    }

    /// Sends a command and gives its reply as text: a simple string, a number, or a bulk string.
    ///
    /// An error reply, a null and a reply of any other shape are errors.
    pub fn ask(&mut self, words: &[&str]) -> Result<String> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.send(&command(&words))?;
        self.reply()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").context("the connection ended within a reply")?;
        match line.split_at_checked(1) {
            Some(("+" | ":", text)) => Ok(text.to_owned()),
            Some(("$", length)) => {
                let length: usize = length.parse().with_context(|| format!("bulk of {length}"))?;
                let mut body = vec![0; length + 2];
                self.stream.read_exact(&mut body)?;
                body.truncate(length);
                Ok(String::from_utf8(body)?)
            }
            _ => bail!("answered {line:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        assert_eq!(command(&[b"GET", b"key"]), b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n");
    }

    #[test]
    fn replies_are_text_and_errors_are_errors() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"+OK\r\n:12\r\n$4\r\na\r\nb\r\n-ERR no\r\n$-1\r\n").unwrap();
        });
        let mut connection = Connection::open(address).unwrap();
        assert_eq!(connection.reply().unwrap(), "OK");
        assert_eq!(connection.reply().unwrap(), "12");
        assert_eq!(connection.reply().unwrap(), "a\r\nb");
        assert!(connection.reply().unwrap_err().to_string().contains("-ERR no"));
        assert!(connection.reply().is_err(), "a null is not text");
        assert!(connection.reply().is_err(), "the end is not text");
        server.join().unwrap();
    }
}
