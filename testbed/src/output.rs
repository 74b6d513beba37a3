//! What a child process writes, read all the time and kept within a bound.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Where the output of a process goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Both streams into one buffer of bounded size, oldest bytes dropped first.
    Kept,
    /// To where this process writes.
    Inherited,
}

/// The kept output of one process; clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<(Mutex<Buffer>, Condvar)>);

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes were dropped at the front to stay within the bound.
    dropped_bytes: u64,
    /// How many of the process's streams have not ended yet.
    open: usize,
}

impl Kept {
    /// Reads `stream` to its end on a thread of its own, so that its writer never blocks.
    pub(crate) fn collect(&self, mut stream: impl Read + Send + 'static) {
        self.change(|buffer| buffer.open += 1);
        let kept = self.clone();
        thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(length @ 1..) = stream.read(&mut chunk) {
                kept.change(|buffer| buffer.push(&chunk[..length]));
            }
            kept.change(|buffer| buffer.open -= 1);
        });
    }

    /// All that is kept, as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.change(|buffer| {
            if buffer.dropped_bytes > 0 {
                text = format!("[{} bytes before this are dropped]\n", buffer.dropped_bytes);
            }
            text.push_str(&String::from_utf8_lossy(&buffer.bytes));
        });
        text
    }

    /// Waits until all streams have ended, for a moment: what a process wrote last may still be in
    /// the pipe when its exit is seen, and a grandchild may hold the pipe open for ever.
    pub(crate) fn settle(&self) {
        let (buffer, changed) = &*self.0;
        let guard = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = changed.wait_timeout_while(guard, Duration::from_millis(500), |b| b.open > 0);
    }

    fn change(&self, f: impl FnOnce(&mut Buffer)) {
        let (buffer, changed) = &*self.0;
        f(&mut buffer.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }
}

impl Buffer {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        // Twice the bound before anything moves: each byte is moved at most once.
        if self.bytes.len() > 2 * BOUND_BYTES {
            let surplus = self.bytes.len() - BOUND_BYTES;
            self.bytes.drain(..surplus);
            self.dropped_bytes += surplus as u64;
        }
    }
}

/// The last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> &str {
    let start = text.trim_end().rmatch_indices('\n').nth(count.saturating_sub(1));
    start.map_or(text, |(at, _)| &text[at + 1..])
}

/// At least so much of the end is kept, at most twice as much.
const BOUND_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_the_rest_counted() {
        let mut buffer = Buffer::default();
        for n in 0..100_000 {
            buffer.push(format!("line {n}\n").as_bytes());
            assert!(buffer.bytes.len() <= 2 * BOUND_BYTES);
        }
        assert!(buffer.bytes.ends_with(b"line 99999\n"));
        assert!(buffer.bytes.len() >= BOUND_BYTES);
        let all: usize = (0..100_000).map(|n| format!("line {n}\n").len()).sum();
        assert_eq!(buffer.dropped_bytes as usize + buffer.bytes.len(), all);
    }

    #[test]
    fn the_last_lines_of_a_text() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last_lines("a\nb", 5), "a\nb");
        assert_eq!(last_lines("", 3), "");
    }
}
