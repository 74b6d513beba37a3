//! Clients that do nothing wrong, on the slots and node connections of those that do: every reply
//! of theirs is checked, all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use testbed::{Peer, wait_until};

use super::measure::PATIENCE;
use super::stage::Stage;

/// One client a shard.
pub(crate) struct Innocents {
    threads: Vec<JoinHandle<Duration>>,
    /// Replies that each has checked.
    checked: Vec<Arc<AtomicUsize>>,
    stop: Arc<AtomicBool>,
}

impl Innocents {
    pub(crate) fn start(stage: &Stage) -> Innocents {
        let stop = Arc::new(AtomicBool::new(false));
        let mut innocents = Innocents { threads: vec![], checked: vec![], stop: stop.clone() };
        for shard in 0..3 {
            let key = stage.key(shard, "innocent");
            let mut peer = stage.proxy.peer().unwrap();
            peer.set_deadline(PATIENCE);
            let (stop, checked) = (stop.clone(), Arc::new(AtomicUsize::new(0)));
            innocents.checked.push(checked.clone());
            innocents.threads.push(std::thread::spawn(move || run(peer, &key, &stop, &checked)));
        }
        innocents
    }

    /// Waits until each has checked 100 replies more.
    pub(crate) fn next_hundred(&self, after: &str) {
        let goals: Vec<usize> =
            self.checked.iter().map(|checked| checked.load(Ordering::SeqCst) + 100).collect();
        wait_until("the innocents", PATIENCE, || {
            assert!(
                self.threads.iter().all(|t| !t.is_finished()),
                "one got a wrong reply: {after}"
            );
            let mut pairs = self.checked.iter().zip(&goals);
            pairs.all(|(checked, goal)| checked.load(Ordering::SeqCst) >= *goal)
        })
        .unwrap_or_else(|e| panic!("after {after}: {e:#}"));
    }

    /// Ends them; returns how long one of them waited at most for its replies.
    pub(crate) fn end(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        let longest = self.threads.into_iter().map(|thread| thread.join().unwrap());
        longest.max().unwrap()
    }
}

fn run(mut peer: Peer, key: &str, stop: &AtomicBool, checked: &AtomicUsize) -> Duration {
    let counter = format!("{key}-n");
    let mut longest = Duration::ZERO;
    peer.send_command(&["SET", &counter, "0"]).unwrap();
    peer.expect("+OK\r\n").unwrap();
    for n in 1.. {
        let began = Instant::now();
        let value = format!("{key}-{n}");
        peer.send_command(&["SET", key, &value]).unwrap();
        peer.send_command(&["GET", key]).unwrap();
        peer.send_command(&["INCR", &counter]).unwrap();
        peer.send_command(&["ECHO", &value]).unwrap();
        let bulk = format!("${}\r\n{value}\r\n", value.len());
        for expected in ["+OK\r\n", &bulk, &format!(":{n}\r\n"), &bulk] {
            peer.expect(expected).unwrap();
            checked.fetch_add(1, Ordering::SeqCst);
        }
        longest = longest.max(began.elapsed());
        if stop.load(Ordering::SeqCst) {
            break;
        }
    }
    longest
}
