//! The replies of a transaction: its client has been told long ago that its commands are queued,
//! so that only the reply to EXEC counts, and of what comes before it the first error.

use super::{Connection, Expected};
use crate::routing::{Outcome, outcome_of_exec};
use crate::scripts::Sha;

/// The code and the words with which a server says why it refused EXEC.
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of: ";

/// The replies of a transaction that come before the one to its EXEC.
#[derive(Debug)]
pub struct Block {
    /// So many are still to come.
    left: u32,
    /// None has come.
    untouched: bool,
    /// MULTI itself was refused, so that the commands were executed one by one.
    refused: bool,
    /// The first error among them that says that another node, or the same one later, may take
    /// what it refuses; else the first one. Without its `-` and the line end.
    error: Option<Box<[u8]>>,
}

impl Connection {
    /// The replies of a transaction that come before the one to its EXEC.
    pub(super) fn expect_block(&mut self, frame: &[u8]) {
        self.queue.push_back(Expected::Block(Block::of(frame)));
    }

    /// Has a script loaded in front of the transaction that is queued next, unless it is being
    /// loaded already: of however many transactions that name it, its body is here once.
    pub fn push_load(&mut self, sha: Sha, body: &[u8]) {
        if !self.loading.contains(&sha) {
            self.loading.push_back(sha);
            self.push_own(&[b"SCRIPT", b"LOAD", body], |len| Expected::Load { len });
        }
    }

    /// Takes a load off the head: its reply was read.
    pub fn pop_load(&mut self) {
        self.loading.pop_front();
        self.pop();
    }

    /// The transaction of which a reply is read now.
    pub fn head_block(&mut self) -> Option<&mut Block> {
        match self.queue.front_mut() {
            Some(Expected::Block(block)) if self.sent > self.answered => Some(block),
            _ => None,
        }
    }
}

impl Block {
    /// Those to the requests in `frame`, canonical arrays of which the last is EXEC.
    fn of(frame: &[u8]) -> Block {
        let left = requests(frame).saturating_sub(1);
        Block { left, untouched: true, refused: false, error: None }
    }

    /// All have come: the next one is that to EXEC.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// There was no error among them.
    pub fn is_clean(&self) -> bool {
        self.error.is_none()
    }

    /// One of them was read; `error` is its text, if it is one.
    pub fn take(&mut self, error: Option<&[u8]>) {
        self.left = self.left.saturating_sub(1);
        if let Some(text) = error {
            self.refused |= self.untouched;
            let passes = |text| matches!(outcome_of_exec(text, [], None), Outcome::Rejected(_));
            if self.error.as_deref().is_none_or(|error| !passes(error) && passes(text)) {
                self.error = Some(text.into());
            }
        }
        self.untouched = false;
    }

    /// Whether the commands were executed one by one. Who must not say MULTI may still say SET;
    /// who is not known says nothing.
    pub fn was_no_transaction(&self) -> bool {
        self.refused && self.error.as_ref().is_some_and(|error| !error.starts_with(b"NOAUTH"))
    }

    /// The error with which EXEC was answered, with the reason if the server gives none: what was
    /// said when the first command was refused.
    pub fn explain(&self, reply: &[u8]) -> Vec<u8> {
        match &self.error {
            Some(error) if reply.starts_with(b"-EXECABORT ") && !reply.starts_with(ABORTED) => {
                [ABORTED, error, b"\r\n"].concat()
            }
            _ => reply.to_vec(),
        }
    }
}

/// How many requests there are in these canonical arrays.
fn requests(mut frame: &[u8]) -> u32 {
    let mut count = 0;
    while let Some((words, mut rest)) = header(frame) {
        for _ in 0..words {
            let Some((len, word)) = header(rest) else { return count };
            rest = word.get(len + 2..).unwrap_or_default();
        }
        frame = rest;
        count += 1;
    }
    count
}

/// The number of a header line, and what follows it.
fn header(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            b'0'..=b'9' => value = value * 10 + usize::from(byte - b'0'),
            _ => return Some((value, bytes.get(at + 2..)?)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::write;

    fn block(requests: &[&[&[u8]]]) -> Vec<u8> {
        let mut frame = Vec::new();
        for words in requests {
            write::command(&mut frame, words);
        }
        frame
    }

    #[test]
    fn the_requests_are_counted_whatever_is_in_them() {
        let long = vec![b'x'; 100_000];
        let frame = block(&[&[b"MULTI"], &[b"SET", b"*1\r\n$4\r\nPING\r\n", &long], &[b"EXEC"]]);
        assert_eq!(requests(&frame), 3);
        assert_eq!(requests(&frame[..frame.len() - 14]), 2);
        assert_eq!((requests(b""), requests(b"*1")), (0, 0));
        assert_eq!(requests(&block(&[&[&b""[..]; 12], &[b"", b"a"]])), 2);
    }

    #[test]
    fn the_first_error_explains_the_last() {
        let mut block = Block::of(&block(&[&[b"MULTI"], &[b"A"], &[b"B"], &[b"C"], &[b"EXEC"]]));
        block.take(None);
        block.take(Some(b"ERR wrong number of arguments for 'get' command"));
        assert!(!block.is_over());
        block.take(Some(b"MOVED 1 a:1"));
        block.take(Some(b"CLUSTERDOWN The cluster is down"));
        assert!(block.is_over() && !block.is_clean() && !block.was_no_transaction());
        let plain = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
        let explained = block.explain(plain);
        assert_eq!(explained, b"-EXECABORT Transaction discarded because of: MOVED 1 a:1\r\n");
        assert_eq!(block.explain(b"-MOVED 2 b:2\r\n"), b"-MOVED 2 b:2\r\n");
    }

    #[test]
    fn without_multi_it_is_no_transaction() {
        for (error, was_none) in [(&b"NOPERM no"[..], true), (b"NOAUTH who?", false)] {
            let mut block = Block::of(b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n");
            block.take(Some(error));
            assert_eq!(block.was_no_transaction(), was_none);
        }
    }
}
