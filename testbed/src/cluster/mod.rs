//! A real cluster: its nodes, who owns what now, and waiting for it to be so.

mod build;
mod faults;
mod heartbeats;
mod node;
mod reshape;
mod view;

pub use build::Builder;
pub use faults::FailoverKind;
pub use node::Node;
pub use reshape::Migration;
pub use view::{NodeView, Role, View};

use crate::folder::Folder;
use crate::output::last_lines;
use crate::report;
use crate::server::Recipe;
use crate::wait;
use crate::{SLOTS, key_in_slot};
use anyhow::{Context, Result, ensure};
use redis::Connection;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A running cluster. Dropping it kills every node and removes their folder; if the test fails,
/// what the nodes believed and logged last is printed first.
///
/// The shards are numbered from 0 in the order of their first slots; a node stays in its shard.
#[derive(Debug)]
pub struct Cluster {
    recipe: Recipe,
    nodes: Mutex<Vec<Node>>,
    unheard: heartbeats::Unheard,
    folder: Folder,
}

impl Cluster {
    /// Starts 3 primaries with a replica each, with the defaults of [`Builder`].
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start() -> Result<Cluster> {
        Cluster::builder().start()
    }

    /// Starts one to wish.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// All nodes, alive or not, in the order they joined: first the primaries it started with.
    pub fn nodes(&self) -> Vec<Node> {
        self.lock().clone()
    }

    /// The nodes whose process runs and is not frozen.
    pub fn live_nodes(&self) -> Vec<Node> {
        self.nodes().into_iter().filter(Node::is_live).collect()
    }

    /// The addresses of all nodes, for a proxy's or a client's start.
    pub fn seeds(&self) -> Vec<String> {
        self.nodes().iter().map(Node::addr).collect()
    }

    /// A new connection to one node; reading and writing give up after 10 s.
    ///
    /// # Errors
    /// The node does not answer.
    pub fn client(&self, node: &Node) -> Result<Connection> {
        node.client()
    }

    /// The primary that owns `slot` now: the live node that claims it with the highest epoch.
    ///
    /// # Errors
    /// No live node claims it.
    pub fn primary_of(&self, slot: u16) -> Result<Node> {
        newest(self.live_nodes(), |myself| myself.role == Role::Primary && myself.owns(slot))
            .with_context(|| format!("no live node owns slot {slot}"))
    }

    /// The shard with this number.
    pub fn shard(&self, number: usize) -> Shard<'_> {
        Shard { cluster: self, number }
    }

    /// One `CONFIG SET` on every live node.
    ///
    /// # Errors
    /// A node refuses it.
    pub fn config_set(&self, name: &str, value: &str) -> Result<()> {
        for node in self.live_nodes() {
            node.query::<()>(redis::cmd("CONFIG").arg("SET").arg(name).arg(value))?;
        }
        Ok(())
    }

    /// Waits until `condition` holds, at most for `deadline`; `what` completes the sentence "waited
    /// 5s for …".
    ///
    /// # Errors
    /// It does not hold in time.
    pub fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        mut condition: impl FnMut(&Cluster) -> bool,
    ) -> Result<()> {
        wait::wait_until(what, deadline, || condition(self))
    }

    /// Waits until the cluster is whole and calm: every slot is owned by a live node, every live
    /// node sees the state ok, all have the same view of one another, and every replica is linked
    /// to its primary. So it is not fooled by the moment before a dead node is found dead.
    ///
    /// # Errors
    /// It is not so in time; the error says which node differs in what.
    pub fn wait_ok(&self, deadline: Duration) -> Result<()> {
        wait::wait_for("the cluster to be whole and calm", deadline, || self.check_ok())
    }

    fn check_ok(&self) -> Result<()> {
        let live = self.live_nodes();
        let mut agreed: Option<(Node, Shape)> = None;
        for node in &live {
            ensure!(node.sees_cluster_ok()?, "{node} does not see cluster_state:ok");
            let view = node.view()?;
            let shape = shape(&view, &live).with_context(|| format!("as {node} sees it"))?;
            if let Role::Replica(primary) = &view.myself()?.role
                && live.iter().any(|other| other.id() == primary)
            {
                let link = node.info("master_link_status")?;
                ensure!(link.as_deref() == Some("up"), "{node} is not linked to its primary");
            }
            match &agreed {
                None => agreed = Some((node.clone(), shape)),
                Some((first, same)) => ensure!(shape == *same, "{node} and {first} disagree"),
            }
        }
        agreed.map(|_| ()).context("no node is alive")
    }

    /// What every live node believes, and the end of every log: for a failed test.
    pub fn report(&self) -> String {
        let mut report = String::new();
        for node in self.nodes() {
            let state = if node.is_live() { "live" } else { "dead or frozen" };
            report.push_str(&format!("---- node {node} ({state}), its log's end:\n"));
            report.push_str(last_lines(&node.log(), 15));
            if node.is_live() {
                let view = node.query::<String>(redis::cmd("CLUSTER").arg("NODES"));
                report.push_str("---- and its view:\n");
                report.push_str(&view.unwrap_or_else(|error| format!("{error:#}\n")));
            }
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if report::wanted() {
            eprintln!("{}", self.report());
        }
        // Explicitly, and before the folder is removed: a handle to a node that somebody kept must
        // not keep its process.
        for node in self.nodes() {
            node.server().kill();
        }
    }
}

/// One shard of a [`Cluster`]: a primary and its replicas, whoever is which at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Shard<'a> {
    cluster: &'a Cluster,
    number: usize,
}

impl Shard<'_> {
    /// Its nodes, alive or not, in the order they joined.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes = self.cluster.nodes();
        nodes.retain(|node| node.shard() == self.number);
        nodes
    }

    /// The live node that is its primary now: the one with the highest epoch that says so.
    ///
    /// # Errors
    /// No live node of the shard is a primary.
    pub fn primary(&self) -> Result<Node> {
        newest(self.live_nodes(), |myself| myself.role == Role::Primary)
            .with_context(|| format!("shard {} has no live primary", self.number))
    }

    /// Its live replicas.
    pub fn replicas(&self) -> Vec<Node> {
        let is_replica = |node: &Node| node.myself().is_ok_and(|my| my.role != Role::Primary);
        self.live_nodes().into_iter().filter(is_replica).collect()
    }

    /// Its first live replica.
    ///
    /// # Errors
    /// It has none.
    pub fn replica(&self) -> Result<Node> {
        let first = self.replicas().into_iter().next();
        first.with_context(|| format!("shard {} has no live replica", self.number))
    }

    /// The slots that its primary owns now.
    ///
    /// # Errors
    /// It has no live primary.
    pub fn slots(&self) -> Result<Vec<u16>> {
        Ok(self.primary()?.myself()?.slots.into_iter().flatten().collect())
    }

    /// A key whose slot this shard owns now; the same one for the same name and slots.
    ///
    /// # Errors
    /// It has no live primary, or no slot.
    pub fn key(&self, name: &str) -> Result<String> {
        let first = self.slots()?.first().copied();
        let slot = first.with_context(|| format!("shard {} owns no slot", self.number))?;
        Ok(key_in_slot(slot, name))
    }

    fn live_nodes(&self) -> Vec<Node> {
        self.nodes().into_iter().filter(Node::is_live).collect()
    }
}

/// The node with the highest epoch among those of whose own entry `claims` is true.
fn newest(nodes: Vec<Node>, claims: impl Fn(&NodeView) -> bool) -> Option<Node> {
    let claimants = nodes.into_iter().filter_map(|node| {
        let myself = node.myself().ok()?;
        claims(&myself).then_some((myself.config_epoch, node))
    });
    claimants.max_by_key(|(epoch, _)| *epoch).map(|(_, node)| node)
}

/// Each live node's id with its role and slots: what live nodes must agree about.
type Shape = BTreeMap<String, (Role, Vec<std::ops::RangeInclusive<u16>>)>;

fn shape(view: &View, live: &[Node]) -> Result<Shape> {
    let mut shape = Shape::new();
    let mut served = 0;
    for node in live {
        let seen = view.node(node.id()).with_context(|| format!("{node} is unknown"))?;
        for flag in ["handshake", "noaddr", "fail?", "fail"] {
            ensure!(!seen.has_flag(flag), "{node} has the flag {flag}");
        }
        served += seen.slot_count();
        shape.insert(seen.id.clone(), (seen.role.clone(), seen.slots.clone()));
    }
    ensure!(served == usize::from(SLOTS), "only {served} slots are owned by live nodes");
    Ok(shape)
}
