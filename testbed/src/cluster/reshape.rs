//! Changing the shape of a live cluster: nodes join and leave, slots move with their keys.

use super::{Cluster, Node, Role};
use crate::wait::wait_for;
use anyhow::{Context, Result, bail, ensure};
use std::time::Duration;

impl Cluster {
    /// Adds a primary without slots, as a new shard; every live node knows it when this returns,
    /// and it sees the cluster as they do.
    ///
    /// # Errors
    /// It does not come up, or not together with the others in 30 s.
    pub fn add_node(&self) -> Result<Node> {
        let shard = self.nodes().iter().map(Node::shard).max().map_or(0, |last| last + 1);
        let up = self.live_nodes().first().map(Node::sees_cluster_ok).transpose()?;
        let node = self.join(shard)?;
        // A fresh primary takes the cluster for down during its first 2 s, and would refuse what
        // is sent to it for a slot that it just got.
        wait_for("the new node to see the cluster", DEADLINE, || {
            ensure!(Some(node.sees_cluster_ok()?) == up, "{node} sees another state than others");
            Ok(())
        })?;
        Ok(node)
    }

    /// Adds a replica of `primary` to its shard; it has copied its primary, and every live node
    /// knows it as a replica, when this returns.
    ///
    /// # Errors
    /// It does not come up, or not together with the others in 30 s.
    pub fn add_replica(&self, primary: &Node) -> Result<Node> {
        let replica = self.join(primary.shard())?;
        replica.cluster(&["REPLICATE", primary.id()])?;
        let role = Role::Replica(primary.id().to_owned());
        wait_for("the new replica to be known as one", DEADLINE, || {
            let link = replica.info("master_link_status")?;
            ensure!(link.as_deref() == Some("up"), "{replica} is not linked to {primary}");
            for node in self.live_nodes() {
                let view = node.view()?;
                let seen = view.node(replica.id()).map(|seen| &seen.role);
                ensure!(seen == Some(&role), "{node} does not know {replica} as a replica");
            }
            Ok(())
        })?;
        Ok(replica)
    }

    /// Takes `node` out of the cluster and ends it: all live nodes forget it.
    ///
    /// # Errors
    /// It owns slots (move them first), it has a live replica, or a node does not answer.
    pub fn remove_node(&self, node: &Node) -> Result<()> {
        let others = self.live_nodes().into_iter().filter(|other| other != node);
        let others: Vec<_> = others.collect();
        for other in &others {
            let view = other.view()?;
            let slots = view.node(node.id()).map_or(0, super::NodeView::slot_count);
            ensure!(slots == 0, "{node} owns {slots} slots as {other} sees it");
            let follows = view.myself()?.role == Role::Replica(node.id().to_owned());
            ensure!(!follows, "{other} is a replica of {node}");
        }
        // It ends first, so that it cannot introduce itself again to those that have forgotten it.
        node.server().kill();
        for other in &others {
            other.cluster(&["FORGET", node.id()])?;
        }
        self.lock().retain(|other| other != node);
        Ok(())
    }

    /// Moves `slots` with their keys from one primary to another, live, one after the other, as
    /// `redis-cli --cluster reshard` does.
    ///
    /// # Errors
    /// As the steps of [`Migration`]; the slot of the failure stays open.
    pub fn move_slots(
        &self,
        slots: impl IntoIterator<Item = u16>,
        from: &Node,
        to: &Node,
    ) -> Result<()> {
        for slot in slots {
            let migration = self.open_migration(slot, from, to)?;
            migration.move_all_keys()?;
            migration.finish()?;
        }
        Ok(())
    }

    /// Opens `slot` for its way from one primary to another: keys that `from` lacks are asked of
    /// `to` from now on (`ASK`), commands whose keys are torn apart get `TRYAGAIN`. A slot that was
    /// moved a moment ago waits until all nodes have heard of that.
    ///
    /// # Errors
    /// `from` does not own the slot, or one of them does not answer.
    pub fn open_migration(&self, slot: u16, from: &Node, to: &Node) -> Result<Migration<'_>> {
        self.wait_heard(slot)?;
        let number = slot.to_string();
        // The target first: between the two orders nobody is sent where nothing is known.
        to.cluster(&["SETSLOT", &number, "IMPORTING", from.id()])?;
        from.cluster(&["SETSLOT", &number, "MIGRATING", to.id()])?;
        Ok(Migration { cluster: self, slot, from: from.clone(), to: to.clone() })
    }
}

/// A slot on its way between two primaries; it stays open until it is finished or cancelled.
#[derive(Debug)]
pub struct Migration<'a> {
    cluster: &'a Cluster,
    slot: u16,
    from: Node,
    to: Node,
}

impl Migration<'_> {
    /// The slot.
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// Moves these keys, which must be of the slot; those that do not exist are passed over.
    ///
    /// # Errors
    /// A key exists at the target already, or one of the nodes does not answer.
    pub fn move_keys<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(self.to.port()).arg("").arg(0).arg(MIGRATE_TIMEOUT_MS);
        if let Some(password) = &self.cluster.recipe.password {
            migrate.arg("AUTH").arg(password);
        }
        migrate.arg("KEYS");
        for key in keys {
            migrate.arg(key.as_ref());
        }
        let reply: String = self.from.query(&migrate)?;
        match reply.as_str() {
            "OK" | "NOKEY" => Ok(()),
            other => bail!("MIGRATE answered {other}"),
        }
    }

    /// Moves every key that the source has in the slot.
    ///
    /// # Errors
    /// As [`Migration::move_keys`].
    pub fn move_all_keys(&self) -> Result<()> {
        loop {
            let mut get = redis::cmd("CLUSTER");
            get.arg("GETKEYSINSLOT").arg(self.slot).arg(MIGRATE_KEYS);
            let keys: Vec<Vec<u8>> = self.from.query(&get)?;
            if keys.is_empty() {
                return Ok(());
            }
            self.move_keys(&keys)?;
        }
    }

    /// Gives the slot to its target and closes it; all live primaries have been told.
    ///
    /// # Errors
    /// The source has keys in it still, or one of the two nodes does not answer.
    pub fn finish(self) -> Result<()> {
        self.cluster.unheard.insert(self.slot);
        let slot = self.slot.to_string();
        let order = ["SETSLOT", slot.as_str(), "NODE", self.to.id()];
        // The target first: if we are interrupted then, two nodes claim the slot and the newer
        // claim wins; the other way round nobody would.
        self.to.cluster(&order)?;
        self.from.cluster(&order)?;
        for node in self.cluster.live_nodes() {
            if node != self.to && node != self.from && node.myself()?.role == Role::Primary {
                node.cluster(&order).with_context(|| format!("{node} does not hear of it"))?;
            }
        }
        Ok(())
    }

    /// Closes the slot where it was; keys that were moved already stay at the target, unreachable.
    ///
    /// # Errors
    /// One of the nodes does not answer.
    pub fn cancel(self) -> Result<()> {
        let slot = self.slot.to_string();
        self.from.cluster(&["SETSLOT", &slot, "STABLE"])?;
        self.to.cluster(&["SETSLOT", &slot, "STABLE"])
    }
}

const DEADLINE: Duration = Duration::from_secs(30);

/// How many keys travel in one command: the source answers nobody meanwhile.
const MIGRATE_KEYS: usize = 100;

/// Below the time that our own connections wait for an answer.
const MIGRATE_TIMEOUT_MS: usize = 1500;
