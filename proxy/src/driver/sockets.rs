//! Sockets in the places of their clients and node connections.

use std::sync::Arc;
use std::task::Waker;

use tokio::net::TcpStream;

use super::ready::{Place, ReadyList, SocketWaker};

/// One socket and its waker.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) waker: Waker,
    pub(super) listing: Arc<SocketWaker>,
    /// A write found the kernel's buffer full: write again when it is ready.
    pub(super) write_blocked: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, place: Place, list: &Arc<ReadyList>) -> Socket {
        let listing = SocketWaker::new(place, list);
        // The first look for readiness also registers the waker.
        listing.list();
        Socket { stream, waker: Waker::from(Arc::clone(&listing)), listing, write_blocked: false }
    }
}

/// Sockets by index: `None` where a connection is being dialed or nothing is.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    table: Vec<Option<Box<Socket>>>,
}

impl Sockets {
    pub(super) fn put(&mut self, index: u32, socket: Socket) {
        let index = index as usize;
        if self.table.len() <= index {
            self.table.resize_with(index + 1, || None);
        }
        self.table[index] = Some(Box::new(socket));
    }

    #[inline]
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Socket> {
        self.table.get_mut(index as usize)?.as_deref_mut()
    }

    /// Gives back the room behind the last socket.
    pub(super) fn shrink(&mut self) {
        let used = self.table.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if self.table.capacity() > 1024 && used < self.table.capacity() / 4 {
            self.table.truncate(used);
            self.table.shrink_to_fit();
        }
    }

    /// Takes the socket at this place, if there is one.
    pub(super) fn take(&mut self, index: u32) -> Option<Box<Socket>> {
        self.table.get_mut(index as usize)?.take()
    }

    /// Closes the socket at this place, if there is one.
    pub(super) fn close(&mut self, index: u32) {
        if let Some(place) = self.table.get_mut(index as usize) {
            *place = None;
        }
    }
}
