//! A client that nothing happens to: it asks another shard, one question after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::audit::{Conn, Reply};

/// It at work until [`Neighbour::finish`].
pub(crate) struct Neighbour {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Answer>>>,
}

/// When it asked and how long that took.
#[derive(Clone, Copy)]
pub(crate) struct Answer {
    at: Instant,
    took: Duration,
}

impl Neighbour {
    /// Begins to ask `addr` for `key`, which does not exist.
    pub(crate) fn start(addr: &str, key: String) -> Result<Neighbour> {
        let mut conn = Conn::connect(addr, PATIENCE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut answers = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let at = Instant::now();
                let reply = conn.ask(&["GET", &key], PATIENCE)?;
                ensure!(reply == Reply::Nil, "GET was answered {reply:?}");
                answers.push(Answer { at, took: at.elapsed() });
                // Its own load must not be what is measured.
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(answers)
        });
        Ok(Neighbour { stop, thread })
    }

    /// Stops, and gives out its answers.
    pub(crate) fn finish(self) -> Result<Vec<Answer>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

/// The slowest answer to a question that was asked in this time.
pub(crate) fn worst(answers: &[Answer], from: Instant, to: Instant) -> Duration {
    let asked = answers.iter().filter(|answer| from <= answer.at && answer.at < to);
    asked.map(|answer| answer.took).max().unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(20);
