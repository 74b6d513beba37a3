//! The list of sockets that have become ready, filled by their wakers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Which socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A client, by its index in the heart.
    Client(u32),
    /// A node connection, by its index in the heart.
    Node(u32),
}

/// Sockets that are ready, in the order in which they became so. The lock is never contended on
/// the worker's own thread, which is where wakers run (15 ns); it is there because a `Waker`
/// may be used from anywhere.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    places: Vec<Place>,
    task: Option<Waker>,
}

impl ReadyList {
    /// Takes what is ready into `places`, which must be empty, and has `task` woken when the
    /// next socket becomes ready.
    pub(super) fn take(&self, places: &mut Vec<Place>, task: &Waker) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut inner.places, places);
        match &mut inner.task {
            Some(known) if known.will_wake(task) => {}
            slot => *slot = Some(task.clone()),
        }
    }

    fn push(&self, place: Place) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.places.push(place);
        if inner.places.len() == 1
            && let Some(task) = &inner.task
        {
            task.wake_by_ref();
        }
    }
}

/// One socket's waker.
#[derive(Debug)]
pub(super) struct SocketWaker {
    place: Place,
    /// It is on the list already.
    listed: AtomicBool,
    list: Arc<ReadyList>,
}

impl SocketWaker {
    pub(super) fn new(place: Place, list: &Arc<ReadyList>) -> Arc<SocketWaker> {
        Arc::new(SocketWaker { place, listed: AtomicBool::new(false), list: Arc::clone(list) })
    }

    /// The socket was taken off the list.
    pub(super) fn taken(&self) {
        self.listed.store(false, Ordering::Relaxed);
    }

    /// Puts the socket on the list, as if it had become ready.
    pub(super) fn list(&self) {
        if !self.listed.swap(true, Ordering::Relaxed) {
            self.list.push(self.place);
        }
    }
}

impl Wake for SocketWaker {
    fn wake(self: Arc<Self>) {
        self.list();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list();
    }
}
