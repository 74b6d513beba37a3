//! What can befall a node: death, a stop, a restart, a failover.

use super::{Cluster, Node, Role};
use crate::wait::wait_for;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How a replica is told to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverKind {
    /// With the primary's help, which pauses its writes meanwhile: nothing is lost.
    Normal,
    /// Without the primary, by a vote of the others.
    Force,
    /// Without anybody's consent.
    Takeover,
}

impl Cluster {
    /// Kills `node` (SIGKILL) and waits until its process is gone.
    ///
    /// # Errors
    /// It has ended already.
    pub fn kill(&self, node: &Node) -> Result<()> {
        ensure!(node.server().is_running(), "{node} does not run");
        node.server().kill();
        Ok(())
    }

    /// Ends `node` in order (SIGTERM) and waits until its process is gone.
    ///
    /// # Errors
    /// It has ended already, or does not end in 15 s.
    pub fn terminate(&self, node: &Node) -> Result<ExitStatus> {
        node.server().end(Signal::SIGTERM)
    }

    /// As [`Cluster::terminate`], with SIGINT: what Ctrl-C at its terminal does.
    ///
    /// # Errors
    /// As [`Cluster::terminate`].
    pub fn interrupt(&self, node: &Node) -> Result<ExitStatus> {
        node.server().end(Signal::SIGINT)
    }

    /// Stops `node` in the middle of what it does (SIGSTOP): connections stay open, nothing answers.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&self, node: &Node) -> Result<()> {
        node.server().freeze()
    }

    /// Lets `node` continue after [`Cluster::freeze`].
    ///
    /// # Errors
    /// It has ended.
    pub fn thaw(&self, node: &Node) -> Result<()> {
        node.server().thaw()
    }

    /// Starts `node` again on its port and with its files, ending it first (SIGTERM) if it runs; it
    /// answers when this returns. Without persistence its data are gone until it copied a primary.
    ///
    /// # Errors
    /// It does not end, or not come up again.
    pub fn restart(&self, node: &Node) -> Result<()> {
        node.server().restart()
    }

    /// Restarts every node, one after the other, each as soon as the one before it answers.
    ///
    /// # Errors
    /// As [`Cluster::restart`].
    pub fn restart_all(&self) -> Result<()> {
        self.nodes().iter().try_for_each(|node| self.restart(node))
    }

    /// Makes `replica` the primary of its shard, and waits until it is and all live nodes that can
    /// be asked have heard of it.
    ///
    /// The order is given when all of them take it for a replica: who takes it for a primary still,
    /// because it was one a moment ago, gives it no vote, and it asks again after two node timeouts
    /// only. It is given again when it came to nothing: a vote is refused while the voters' last one
    /// for this shard is younger than that, too.
    ///
    /// # Errors
    /// It is a primary already, refuses the order, or does not become the primary in 30 s.
    pub fn failover(&self, replica: &Node, kind: FailoverKind) -> Result<()> {
        let is_replica = replica.myself()?.role != Role::Primary;
        ensure!(is_replica, "{replica} is a primary already");
        self.wait_until_known(replica, "replica")?;
        let end = Instant::now() + FAILOVER_DEADLINE;
        loop {
            match kind {
                FailoverKind::Normal => replica.cluster(&["FAILOVER"])?,
                FailoverKind::Force => replica.cluster(&["FAILOVER", "FORCE"])?,
                FailoverKind::Takeover => replica.cluster(&["FAILOVER", "TAKEOVER"])?,
            }
            let promoted = wait_for("the replica to be promoted", FAILOVER_TRY, || {
                ensure!(replica.myself()?.role == Role::Primary, "{replica} is a replica still");
                Ok(())
            });
            match promoted {
                Ok(()) => break,
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => {}
            }
        }
        self.wait_until_known(replica, "primary")
    }

    /// Waits until all live nodes that can be asked take this one for a `"primary"`, or `"replica"`.
    fn wait_until_known(&self, subject: &Node, role: &str) -> Result<()> {
        wait_for("all nodes to hear of a role", FAILOVER_DEADLINE, || {
            for node in self.live_nodes() {
                let view = node.view()?;
                let seen = match view.node(subject.id()).context("it is unknown")?.role {
                    Role::Primary => "primary",
                    Role::Replica(_) => "replica",
                };
                ensure!(seen == role, "{node} takes {subject} for a {seen}");
            }
            Ok(())
        })
    }
}

const FAILOVER_DEADLINE: Duration = Duration::from_secs(30);

/// A server gives up a manual failover after 5 s.
const FAILOVER_TRY: Duration = Duration::from_millis(5500);
