//! The network between slotway and a node: a forwarder that can be cut. Cut, it carries nothing and
//! says nothing, and what is under way arrives when it heals, as with a real cable.

use crate::Cluster;
use anyhow::Result;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The way to one node; its end, for those who go it, is another address than the node's.
#[derive(Debug)]
pub struct Link {
    node: String,
    addr: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    cut: AtomicBool,
    /// What nodes answer is held, what they are asked is not.
    mute: AtomicBool,
    /// All that was carried, to be ended.
    pairs: Mutex<Vec<Arc<Pair>>>,
    /// Bytes for the node that wait here.
    held: AtomicUsize,
    ended: AtomicBool,
}

/// Both ends of one connection.
#[derive(Debug)]
struct Pair {
    near: TcpStream,
    far: TcpStream,
    /// The near end has gone; what it sent last waits here, as in a network that is slow.
    stranded: AtomicBool,
}

impl Link {
    /// Begins to forward to `node`.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(node: &str) -> Result<Link> {
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

    /// One to each node of `cluster`.
    ///
    /// # Errors
    /// As [`Link::start`].
    pub fn to_all(cluster: &Cluster) -> Result<Vec<Link>> {
        cluster.nodes().iter().map(|node| Link::start(&node.addr())).collect()
    }

    /// All of `links`, as `--address-map` wants them.
    pub fn map(links: &[Link]) -> String {
        let map: Vec<_> = links.iter().map(|link| format!("{}={}", link.node, link.addr)).collect();
        map.join(",")
    }

    /// It leads to this node.
    pub fn leads_to(&self, addr: &str) -> bool {
        self.node == addr
    }

    /// Nothing passes any more.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// Holds back what the node answers, until the next [`Link::reset`].
    pub fn mute(&self) {
        self.state.mute.store(true, Ordering::SeqCst);
    }

    /// Ends every connection; the node executes what has arrived, and answers nobody.
    pub fn reset(&self) {
        for pair in std::mem::take(&mut *self.state.pairs()) {
            pair.end();
        }
        self.state.mute.store(false, Ordering::SeqCst);
    }

    /// All passes again, first what was held.
    pub fn heal(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// How many bytes for the node wait here.
    pub fn held(&self) -> usize {
        self.state.held.load(Ordering::SeqCst)
    }

    /// Ends every connection for those who opened it, not for the node: what was held stays so
    /// until [`Link::deliver`]. New connections are carried.
    pub fn strand(&self) {
        for pair in &*self.state.pairs() {
            pair.stranded.store(true, Ordering::SeqCst);
            let _ = pair.near.shutdown(Shutdown::Both);
        }
        self.heal();
    }

    /// What [`Link::strand`] has kept from the node arrives there, late.
    pub fn deliver(&self) {
        for pair in &*self.state.pairs() {
            pair.stranded.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.addr);
    }
}

fn carry(near: TcpStream, node: &str, state: &Arc<State>) -> Result<()> {
    state.wait_whole(None);
    let far = match TcpStream::connect(node) {
        Ok(far) => far,
        Err(_) => return Ok(near.shutdown(Shutdown::Both)?),
    };
    let (near_twin, far_twin) = (near.try_clone()?, far.try_clone()?);
    let stranded = AtomicBool::new(false);
    let pair = Pair { near: near.try_clone()?, far: far.try_clone()?, stranded };
    let pair = Arc::new(pair);
    state.pairs().push(pair.clone());
    let (back, twin) = (state.clone(), pair.clone());
    thread::spawn(move || pump(far_twin, near_twin, &back, &twin, true));
    pump(near, far, state, &pair, false);
    state.pairs().retain(|other| !Arc::ptr_eq(other, &pair));
    Ok(())
}

/// Carries bytes one way until either side ends.
fn pump(mut from: TcpStream, mut to: TcpStream, state: &State, pair: &Pair, replies: bool) {
    let _ = (from.set_nodelay(true), from.set_read_timeout(Some(Duration::from_millis(20))));
    let mut chunk = [0; 16 << 10];
    while !state.ended.load(Ordering::SeqCst) {
        let read = match from.read(&mut chunk) {
            // It goes on reading after a cut too: only what it has read is seen to be held.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            read => read.unwrap_or(0),
        };
        let length = if replies { 0 } else { read };
        state.held.fetch_add(length, Ordering::SeqCst);
        // What arrives after the cut, its end too, waits for the healing.
        state.wait_whole(Some(pair));
        while replies && state.mute.load(Ordering::SeqCst) && !state.ended.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        let goes_on = read > 0 && to.write_all(&chunk[..read]).is_ok();
        state.held.fetch_sub(length, Ordering::SeqCst);
        if !goes_on {
            break;
        }
    }
    pair.end();
}

impl Pair {
    fn end(&self) {
        let _ = (self.near.shutdown(Shutdown::Both), self.far.shutdown(Shutdown::Both));
    }
}

impl State {
    fn pairs(&self) -> MutexGuard<'_, Vec<Arc<Pair>>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_whole(&self, pair: Option<&Pair>) {
        let stranded = || pair.is_some_and(|pair| pair.stranded.load(Ordering::SeqCst));
        while (self.cut.load(Ordering::SeqCst) || stranded()) && !self.ended.load(Ordering::SeqCst)
        {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_until;

    #[test]
    fn what_comes_long_after_the_cut_is_seen_to_be_held() -> Result<()> {
        let node = TcpListener::bind("127.0.0.1:0")?;
        let link = Link::start(&node.local_addr()?.to_string())?;
        let mut near = TcpStream::connect(&link.addr)?;
        let (mut far, _) = node.accept()?;
        let mut got = [0; 1];
        near.write_all(b"a")?;
        far.read_exact(&mut got)?;
        link.cut();
        // Nothing is sent for longer than a read waits.
        thread::sleep(Duration::from_millis(60));
        near.write_all(b"b")?;
        wait_until("it to be held", Duration::from_secs(10), || link.held() == 1)?;
        link.heal();
        far.read_exact(&mut got)?;
        assert_eq!(&got, b"b");
        wait_until("nothing to be held", Duration::from_secs(10), || link.held() == 0)
    }
}
