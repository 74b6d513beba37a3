//! The network between slotway and a node: a forwarder that can be cut. Cut, it carries nothing and
//! says nothing, and what is under way arrives when it heals, as with a real cable.

use anyhow::Result;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The way to one node.
pub(crate) struct Link {
    node: String,
    addr: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cut: AtomicBool,
    /// What nodes answer is held, what they are asked is not.
    mute: AtomicBool,
    /// Both ends of all that was carried, to be reset.
    streams: Mutex<Vec<TcpStream>>,
    ended: AtomicBool,
}

impl Link {
    /// Begins to forward to `node`.
    pub(crate) fn start(node: &str) -> Result<Link> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?.to_string();
        let state: Arc<State> = Arc::default();
        let link = Link { node: node.to_owned(), addr, state: state.clone() };
        let node = link.node.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if state.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (node, state) = (node.clone(), state.clone());
                thread::spawn(move || carry(near, &node, &state));
            }
        });
        Ok(link)
    }

    /// As `--address-map` wants it.
    pub(crate) fn mapping(&self) -> String {
        format!("{}={}", self.node, self.addr)
    }

    /// It leads to this node.
    pub(crate) fn leads_to(&self, addr: &str) -> bool {
        self.node == addr
    }

    /// Nothing passes any more.
    pub(crate) fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// Holds back what the node answers, until the next [`Link::reset`].
    pub(crate) fn mute(&self) {
        self.state.mute.store(true, Ordering::SeqCst);
    }

    /// Ends every connection; the node executes what has arrived, and answers nobody.
    pub(crate) fn reset(&self) {
        for stream in std::mem::take(&mut *self.state.streams()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.state.mute.store(false, Ordering::SeqCst);
    }

    /// All passes again, first what was held.
    pub(crate) fn heal(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.addr);
    }
}

fn carry(near: TcpStream, node: &str, state: &Arc<State>) -> Result<()> {
    state.wait_whole();
    let far = match TcpStream::connect(node) {
        Ok(far) => far,
        Err(_) => return Ok(near.shutdown(Shutdown::Both)?),
    };
    let (near_twin, far_twin) = (near.try_clone()?, far.try_clone()?);
    state.streams().extend([near.try_clone()?, far.try_clone()?]);
    let back = state.clone();
    thread::spawn(move || pump(far_twin, near_twin, &back, true));
    pump(near, far, state, false);
    Ok(())
}

/// Carries bytes one way until either side ends.
fn pump(mut from: TcpStream, mut to: TcpStream, state: &State, replies: bool) {
    let _ = (from.set_nodelay(true), from.set_read_timeout(Some(Duration::from_millis(20))));
    let mut chunk = [0; 16 << 10];
    while !state.ended.load(Ordering::SeqCst) {
        let read = from.read(&mut chunk);
        // What arrives after the cut, its end too, waits for the healing.
        state.wait_whole();
        while replies && state.mute.load(Ordering::SeqCst) && !state.ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        match read {
            Ok(0) => break,
            Ok(length) if to.write_all(&chunk[..length]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

impl State {
    fn streams(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_whole(&self) {
        while self.cut.load(Ordering::SeqCst) && !self.ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
