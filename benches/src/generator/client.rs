//! One client connection of the load generator: sends a batch, counts and checks its replies.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;

use super::script::Script;

/// A connection and the batch it has under way.
#[derive(Debug)]
pub(super) struct Client {
    /// Registered for reading and writing, edge-triggered.
    pub stream: TcpStream,
    /// The requests of the present batch; kept until answered, because replies are checked by it.
    batch: Vec<u8>,
    batch_size: usize,
    /// How many bytes of the batch the kernel has taken.
    sent: usize,
    /// How many requests of the batch have their reply.
    answered: usize,
    /// When the batch was begun.
    began: Instant,
    /// The beginning of a reply whose rest has not arrived.
    partial: Vec<u8>,
}

impl Client {
    /// Connects, with a batch of `batch_size` requests per turn.
    pub(super) fn connect(address: SocketAddr, script: &Script, batch_size: usize) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Client {
            stream: TcpStream::from_std(stream),
            batch: script.batch(batch_size),
            batch_size,
            sent: 0,
            answered: batch_size,
            began: Instant::now(),
            partial: Vec::new(),
        })
    }

    /// Begins a new batch with random keys.
    pub(super) fn begin(
        &mut self,
        script: &Script,
        random: &mut fastrand::Rng,
        now: Instant,
    ) -> Result<()> {
        script.shuffle(&mut self.batch, random);
        self.sent = 0;
        self.answered = 0;
        self.began = now;
        self.write()
    }

    /// Writes what is left of the batch as far as the kernel takes it.
    pub(super) fn write(&mut self) -> Result<()> {
        while self.sent < self.batch.len() && self.answered < self.batch_size {
            match self.stream.write(&self.batch[self.sent..]) {
                Ok(0) => bail!("the connection takes no more bytes"),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing"),
            }
        }
        Ok(())
    }

    /// Reads what is there, through the `shared` buffer; gives how many replies that completed.
    pub(super) fn read(&mut self, script: &Script, shared: &mut [u8]) -> Result<usize> {
        let mut completed = 0;
        loop {
            match self.stream.read(shared) {
                Ok(0) => bail!("the connection was closed"),
                Ok(count) => {
                    completed += self.take(script, &shared[..count])?;
                    // A short read has emptied the socket: what comes later is a new edge.
                    if count < shared.len() {
                        return Ok(completed);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(completed),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("reading"),
            }
        }
    }

    /// Whether every request has its reply.
    pub(super) fn idle(&self) -> bool {
        self.answered == self.batch_size
    }

    /// When the present batch was begun.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    fn take(&mut self, script: &Script, mut bytes: &[u8]) -> Result<usize> {
        let mut completed = 0;
        if !self.partial.is_empty() {
            let missing = script.reply_bytes(self.answered) - self.partial.len();
            let (rest, behind) = bytes.split_at(missing.min(bytes.len()));
            self.partial.extend_from_slice(rest);
            if !script.check(&self.partial, &self.batch, self.answered)? {
                return Ok(0);
            }
            self.partial.clear();
            self.answered += 1;
            completed += 1;
            bytes = behind;
        }
        while !bytes.is_empty() {
            if self.idle() {
                bail!("{} bytes that nobody asked for", bytes.len());
            }
            if !script.check(bytes, &self.batch, self.answered)? {
                self.partial.extend_from_slice(bytes);
                break;
            }
            bytes = &bytes[script.reply_bytes(self.answered)..];
            self.answered += 1;
            completed += 1;
        }
        Ok(completed)
    }
}
