//! Who is subscribed through this process, over all its workers. A node knows one subscriber for
//! each worker, however many clients are behind it; so whoever counts subscribers by what nodes
//! say has to take those off and put the clients in their place.
//!
//! One for the whole process. Workers come here when a subscription begins or ends, and for each
//! message that is published while there are any.

mod glob;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::command::Channels;
use crate::topology::NodeId;

/// The subscriptions of all clients, and the nodes that have them.
#[derive(Debug, Default)]
pub struct Audience {
    /// How many names the table has.
    names: AtomicUsize,
    table: Mutex<Table>,
}

type Table = [HashMap<Arc<[u8]>, Subscribed>; 3];

/// Who is subscribed to one name.
#[derive(Debug, Default)]
struct Subscribed {
    clients: usize,
    /// The nodes at which workers are subscribed, with how many of them.
    upstream: SmallVec<[(NodeId, usize); 1]>,
}

impl Subscribed {
    fn upstream_at(&self, node: NodeId) -> usize {
        self.upstream.iter().filter(|(at, _)| *at == node).map(|&(_, workers)| workers).sum()
    }

    fn upstream(&self) -> usize {
        self.upstream.iter().map(|&(_, workers)| workers).sum()
    }
}

/// How many are subscribed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Clients of this process.
    pub clients: usize,
    /// Workers of this process, as a node counts them.
    pub upstream: usize,
}

impl Audience {
    /// Nobody is subscribed to anything.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.names.load(Ordering::Relaxed) == 0
    }

    /// A client is subscribed from now on.
    pub fn join(&self, channels: Channels, name: &Arc<[u8]>) {
        self.change(channels, name, |subscribed| subscribed.clients += 1);
    }

    /// It is not any more.
    pub fn leave(&self, channels: Channels, name: &Arc<[u8]>) {
        self.change(channels, name, |subscribed| {
            subscribed.clients = subscribed.clients.saturating_sub(1);
        });
    }

    /// A worker is subscribed at this node from now on.
    pub fn begin(&self, channels: Channels, name: &Arc<[u8]>, node: NodeId) {
        self.change(channels, name, |subscribed| {
            match subscribed.upstream.iter_mut().find(|(at, _)| *at == node) {
                Some((_, workers)) => *workers += 1,
                None => subscribed.upstream.push((node, 1)),
            }
        });
    }

    /// It is not any more.
    pub fn end(&self, channels: Channels, name: &Arc<[u8]>, node: NodeId) {
        self.change(channels, name, |subscribed| {
            if let Some((_, workers)) = subscribed.upstream.iter_mut().find(|(at, _)| *at == node) {
                *workers = workers.saturating_sub(1);
            }
            subscribed.upstream.retain(|(_, workers)| *workers > 0);
        });
    }

    /// Of a message that was published at this node: the clients that receive it, and the workers
    /// among those that the node has counted.
    pub fn receivers(&self, channels: Channels, channel: &[u8], node: NodeId) -> Count {
        let table = self.table();
        let mut count = Count::default();
        let mut add = |subscribed: &Subscribed| {
            let here = subscribed.upstream_at(node);
            // Nodes tell one another, but not of shard channels; and what is subscribed to nowhere,
            // because its connection was lost, receives nothing.
            if here > 0 || (channels != Channels::Shard && subscribed.upstream() > 0) {
                count.clients += subscribed.clients;
            }
            count.upstream += here;
        };
        table[channels as usize].get(channel).into_iter().for_each(&mut add);
        if channels == Channels::Named {
            let patterns = table[Channels::Matching as usize].iter();
            patterns
                .filter(|(pattern, _)| glob::matches(pattern, channel))
                .for_each(|(_, subscribed)| add(subscribed));
        }
        count
    }

    /// Who is subscribed to this name.
    pub fn subscribers(&self, channels: Channels, name: &[u8]) -> Count {
        let table = self.table();
        let subscribed = table[channels as usize].get(name);
        subscribed.map_or_else(Count::default, |subscribed| Count {
            clients: subscribed.clients,
            upstream: subscribed.upstream(),
        })
    }

    /// How many patterns have subscribers here, and how often nodes count those.
    pub fn patterns(&self) -> Count {
        let table = self.table();
        let patterns = || table[Channels::Matching as usize].values();
        Count {
            clients: patterns().filter(|subscribed| subscribed.clients > 0).count(),
            // A node counts a pattern once, whoever is subscribed to it.
            upstream: patterns().map(|subscribed| subscribed.upstream.len()).sum(),
        }
    }

    fn change(&self, channels: Channels, name: &Arc<[u8]>, change: impl Fn(&mut Subscribed)) {
        let mut table = self.table();
        let names = &mut table[channels as usize];
        let subscribed = names.entry_ref(name).or_insert_with(|| {
            self.names.fetch_add(1, Ordering::Relaxed);
            Subscribed::default()
        });
        change(subscribed);
        if subscribed.clients == 0 && subscribed.upstream.is_empty() {
            names.remove(name);
            self.names.fetch_sub(1, Ordering::Relaxed);
            if names.is_empty() {
                names.shrink_to_fit();
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Channels::{Matching, Named, Shard};

    #[test]
    fn who_is_subscribed_nowhere_receives_nothing() {
        let audience = Audience::default();
        let name: Arc<[u8]> = b"news"[..].into();
        let [a, b] = ["a", "b"].map(|c| NodeId::parse(c.repeat(40).as_bytes()).unwrap());
        for channels in [Named, Shard] {
            audience.join(channels, &name);
            let received = |node| audience.receivers(channels, &name, node);
            let count = |clients, upstream| Count { clients, upstream };
            assert_eq!(received(a), count(0, 0));
            audience.begin(channels, &name, a);
            assert_eq!(received(a), count(1, 1));
            assert_eq!(received(b), count(usize::from(channels == Named), 0));
            audience.end(channels, &name, a);
            assert_eq!(received(a), count(0, 0));
            assert_eq!(audience.subscribers(channels, &name), count(1, 0), "it is all the same");
        }
    }

    #[test]
    fn who_receives_a_message_is_counted_once_for_each_subscription() {
        let audience = Audience::default();
        assert!(audience.is_empty());
        let name = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
        let [a, b] = ["a", "b"].map(|c| NodeId::parse(c.repeat(40).as_bytes()).unwrap());
        for (channels, text, node) in
            [(Named, "news", a), (Matching, "n*", a), (Matching, "*", b), (Shard, "news", a)]
        {
            audience.join(channels, &name(text));
            audience.join(channels, &name(text));
            audience.begin(channels, &name(text), node);
        }
        let count = |clients, upstream| Count { clients, upstream };
        assert_eq!(audience.receivers(Named, b"news", a), count(6, 2));
        assert_eq!(audience.receivers(Named, b"news", b), count(6, 1));
        assert_eq!(audience.receivers(Named, b"olds", a), count(2, 0));
        assert_eq!(audience.receivers(Shard, b"news", a), count(2, 1));
        assert_eq!(audience.subscribers(Named, b"news"), count(2, 1));
        assert_eq!(audience.patterns(), count(2, 2));
        for (channels, text, node) in
            [(Named, "news", a), (Matching, "n*", a), (Matching, "*", b), (Shard, "news", a)]
        {
            audience.end(channels, &name(text), node);
            audience.leave(channels, &name(text));
            assert!(!audience.is_empty());
            audience.leave(channels, &name(text));
        }
        assert!(audience.is_empty());
    }
}
