//! A new topology: pools for its nodes, routes for its slots, another way for what waits.

use std::sync::Arc;

use super::pool::{Gate, Pool};
use super::{NO_POOL, Worker};
use crate::node::Kind;
use crate::slot::Slot;
use crate::time::Moment;
use crate::topology::{NodeId, Topology};

impl Worker {
    /// The topology has changed. Connections to nodes that are still in it stay; requests that
    /// wait are routed anew.
    pub fn topology_changed(&mut self, topology: Arc<Topology>, now: Moment) {
        self.now = now;
        self.tell_tallies();
        for (_, pool) in &mut self.pools {
            pool.listed = false;
        }
        let mut moved_away = Vec::new();
        for (_, node) in topology.nodes() {
            match self.pool_of(&node.id) {
                Some(base) => {
                    for index in self.pools_of_node(base) {
                        let Some(pool) = self.pools.get_mut(usize::from(index)) else { continue };
                        pool.listed = true;
                        if pool.endpoint != node.endpoint {
                            pool.endpoint = node.endpoint.clone();
                            moved_away.push(index);
                        }
                    }
                }
                // Tickets and tables name pools by 16 bits; a cluster has at most 1,000 nodes.
                None if self.pools.len() < usize::from(NO_POOL) => {
                    let cells = (self.around.node_cells)(&node.endpoint.to_string());
                    let base = self.pools.vacant_key() as u16;
                    self.pools.insert(Pool::new(node.id, node.endpoint.clone(), cells, base));
                }
                None => {}
            }
        }
        let old = std::mem::replace(&mut self.topology, topology);
        let by_map = self.routes_of(&old);
        let before = self.reroute_slots(&by_map, &old);
        self.follow_writes(&before);
        self.note_owners(&before);
        let gone = self.pools.iter().filter(|(_, pool)| !pool.listed).map(|(i, _)| i as u16);
        for index in gone.chain(moved_away).collect::<Vec<_>>() {
            self.leave_node(index);
        }
        self.place_subjects();
        self.tend_watchers();
        self.remove_dead_pools();
        let now = self.routes.clone();
        self.call_back_moved(|base, slot| {
            let was = |routes: &[u16; Slot::COUNT]| routes[slot.index()] == base;
            !was(&now) && (was(&before) || was(&by_map))
        });
        self.abandon_superseded();
        self.reroute_parked();
        self.end_waits();
        self.watch_routes();
    }

    /// The nodes that requests wait for, because they are away, silent or do not serve.
    pub fn waited_for(&self) -> Vec<NodeId> {
        let is_trying = |gate| matches!(gate, Gate::Closed { trying: true, .. });
        let waits = |node: &Pool| !node.lot.is_empty() || is_trying(node.gate);
        let pools = self.pools.iter().filter(|(_, node)| waits(node)).map(|(_, node)| node.id);
        let silent = self.connections.iter().filter(|(_, c)| c.suspect);
        let silent = silent.filter_map(|(_, c)| Some(self.pools.get(usize::from(c.pool))?.id));
        let mut nodes: Vec<NodeId> = pools.chain(silent).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    /// Routes as the map has them. Returns those before; `by_map` is what the map before (`old`) said,
    /// without what redirects have taught since.
    fn reroute_slots(
        &mut self,
        by_map: &[u16; Slot::COUNT],
        old: &Topology,
    ) -> Box<[u16; Slot::COUNT]> {
        let now = self.routes_of(&self.topology);
        let before = std::mem::replace(&mut self.routes, now.clone());
        self.divert_in_flight(|slot| before[slot.index()] != now[slot.index()]);
        // A slot that has come back to its owner, too, is news of another epoch.
        let epoch = |slot| self.topology.epoch_of(slot) > old.epoch_of(slot);
        let news = |slot: Slot| by_map[slot.index()] != now[slot.index()] || epoch(slot);
        let outdated = std::mem::take(&mut self.outdated);
        let under_way = self.connections.iter_mut().flat_map(|(_, c)| c.tickets_mut());
        self.outdated = under_way
            .filter(|t| t.slot.is_some_and(news) || outdated.contains(&t.arrival))
            .map(|ticket| ticket.arrival)
            .collect();
        before
    }

    /// Slot → base pool of its owner by this map.
    fn routes_of(&self, map: &Topology) -> Box<[u16; Slot::COUNT]> {
        let mut routes = Box::new([NO_POOL; Slot::COUNT]);
        for (_, shard) in map.shards() {
            let Some(pool) = self.pool_of(&map.node(shard.primary).id) else { continue };
            for range in &shard.ranges {
                routes[range.first.index()..=range.last.index()].fill(pool);
            }
        }
        routes
    }

    /// A node has left the cluster or is at another address: its connections only finish what
    /// was handed over, what was not is routed anew.
    fn leave_node(&mut self, index: u16) {
        self.close_watcher(index);
        self.retire_shared(index);
        self.retire_extra(index);
        if self.pools.get(usize::from(index)).is_some_and(|node| node.listed) {
            self.drop_upstream(index); // it is at another address
        }
        if let Some(pool) = self.pools.get_mut(usize::from(index)) {
            let lots = pool.lots().map(std::mem::take);
            for lot in lots {
                self.release(lot);
            }
            self.end_waits();
        }
    }

    /// Opens the shared connection to each primary before anybody needs it.
    pub fn connect_to_primaries(&mut self, now: Moment) {
        self.now = now;
        let primaries: Vec<u16> = self
            .topology
            .primaries()
            .filter_map(|node| self.pool_of(&self.topology.node(node).id))
            .collect();
        for index in primaries {
            if self.pools.get(usize::from(index)).is_some_and(|pool| pool.shared.is_none()) {
                self.open(index, Kind::Shared);
            }
        }
    }
}
