//! Clients in another mode than RESP2 and database 0 have node connections of their own, because
//! both are states of a connection. So a node has a pool for each mode in use: the base pool,
//! which is what the routes name, and its twins. Each has its own gate, lot and connections; what
//! concerns the node itself (its address, whether it is listed or suspect, what its process may
//! still hold of lost connections) is told to all of them.

use super::Worker;
use super::pool::{Gate, Pool};
use crate::node::{Mode, Phase};

/// Modes in use at one node, the base included: two protocols for each of 16 databases.
const MODES_MAX: usize = 32;

/// Said of a request that would need one more.
pub(super) const TOO_MANY_MODES: &str = "too many databases are in use at once";

impl Worker {
    /// The pool of the node with this base pool for requests in `mode`, made if there is none yet.
    /// `None`: too many are in use.
    pub(super) fn in_mode(&mut self, base: u16, mode: Mode) -> Option<u16> {
        if mode.is_base() {
            return Some(base);
        }
        match self.pools.get(usize::from(base)).map(|node| node.twin(mode)) {
            Some(None) => self.add_twin(base, mode),
            Some(twin) => twin,
            None => Some(base), // it has gone: the request is routed anew
        }
    }

    #[cold]
    fn add_twin(&mut self, base: u16, mode: Mode) -> Option<u16> {
        let entry = self.pools.vacant_key();
        let index = u16::try_from(entry).ok().filter(|&index| index != super::NO_POOL)?;
        let node = self.pools.get_mut(usize::from(base))?;
        if node.twins.len() + 1 >= MODES_MAX {
            return None;
        }
        node.twins.push((mode, index));
        let twin = Pool::twin_of(node, mode);
        self.pools.insert(twin);
        Some(index)
    }

    /// The base pool of this pool's node.
    pub(super) fn base_of(&self, pool: u16) -> u16 {
        self.pools.get(usize::from(pool)).map_or(pool, |node| node.base)
    }

    /// All pools of this pool's node, the base first.
    pub(super) fn pools_of_node(&self, pool: u16) -> Vec<u16> {
        let base = self.base_of(pool);
        let Some(node) = self.pools.get(usize::from(base)) else { return Vec::new() };
        std::iter::once(base).chain(node.twins.iter().map(|&(_, twin)| twin)).collect()
    }

    /// How many more connections beside the shared ones there may be to this pool's node. Each
    /// shared one of a twin takes the place of one, but one may always be.
    pub(super) fn extras_free(&self, pool: u16) -> usize {
        let pools = self.pools_of_node(pool);
        let max = self.settings.dedicated_max;
        let nodes = pools.iter().filter_map(|&pool| self.pools.get(usize::from(pool)));
        let extras: usize = nodes.map(|node| node.extra.len()).sum();
        let twins = pools.len().saturating_sub(1);
        max.saturating_sub(twins).max(max.min(1)).saturating_sub(extras)
    }

    /// Takes a pool out of the table if nothing holds it any more.
    pub(super) fn remove_if_dead(&mut self, pool: u16) {
        if self.pools.get(usize::from(pool)).is_some_and(Pool::is_dead) {
            self.remove_pool(pool);
        }
    }

    fn remove_pool(&mut self, pool: u16) {
        let Some(node) = self.pools.try_remove(usize::from(pool)) else { return };
        if node.base != pool
            && let Some(base) = self.pools.get_mut(usize::from(node.base))
        {
            base.twins.retain(|&(_, twin)| twin != pool);
            self.remove_if_dead(node.base);
        }
    }

    /// Takes out all pools that nothing holds any more.
    pub(super) fn remove_dead_pools(&mut self) {
        let dead = self.pools.iter().filter(|(_, node)| node.is_dead());
        for pool in dead.map(|(index, _)| index as u16).collect::<Vec<_>>() {
            self.remove_if_dead(pool);
        }
    }

    /// Closes twins that nobody has used for a while.
    pub(super) fn close_idle_twins(&mut self) {
        let twins = self.pools.iter().filter(|(index, node)| usize::from(node.base) != *index);
        let idle = twins.filter(|&(index, node)| self.is_idle_twin(index as u16, node));
        for twin in idle.map(|(index, _)| index as u16).collect::<Vec<_>>() {
            if let Some(shared) = self.pools.get(usize::from(twin)).and_then(|node| node.shared) {
                self.close_connection(shared);
            }
            self.remove_pool(twin);
        }
    }

    fn is_idle_twin(&self, index: u16, node: &Pool) -> bool {
        let (now, timeout) = (self.now, self.settings.node_idle_timeout);
        let rests = match node.shared.and_then(|shared| self.connections.get(shared as usize)) {
            Some(shared) => {
                matches!(shared.phase, Phase::Ready)
                    && shared.is_idle()
                    && shared.unsent_bytes() == 0
                    && shared.heard + timeout <= now
            }
            None => match node.gate {
                Gate::Open => true,
                Gate::Closed { next_try, .. } => next_try + timeout <= now,
            },
        };
        rests && node.is_unused_but_shared() && !self.has_held(index)
    }
}
