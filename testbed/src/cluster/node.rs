//! One node of a cluster, as a handle that can be kept and shared.

use super::view::{NodeView, View};
use crate::server::Server;
use anyhow::{Context, Result};
use redis::{Cmd, Connection, FromRedisValue};
use std::fmt;
use std::sync::Arc;

/// A node of a [`Cluster`](super::Cluster), alive or not. Clones are the same node; its process is
/// killed by the cluster, however long handles to it are kept.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    server: Server,
    id: String,
    /// The number of its shard, given when it joined; a failover does not change it.
    shard: usize,
}

impl Node {
    /// The node that a running server is.
    pub(crate) fn new(server: Server, shard: usize) -> Result<Node> {
        let id = server.query(redis::cmd("CLUSTER").arg("MYID"))?;
        Ok(Node(Arc::new(Inner { server, id, shard })))
    }

    /// `127.0.0.1:<port>`.
    pub fn addr(&self) -> String {
        self.server().addr()
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.server().port()
    }

    /// Its id in the cluster: 40 hex digits.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The id of its process, of the last one if none runs.
    pub fn pid(&self) -> u32 {
        self.server().pid()
    }

    /// The number of the shard it belongs to.
    pub fn shard(&self) -> usize {
        self.0.shard
    }

    /// Its process runs and is not frozen.
    pub fn is_live(&self) -> bool {
        self.server().is_live()
    }

    /// A new connection to it; reading and writing give up after 10 s.
    ///
    /// # Errors
    /// It does not answer.
    pub fn client(&self) -> Result<Connection> {
        self.server().connect()
    }

    /// Runs one command on a connection of our own, the same for all callers.
    ///
    /// # Errors
    /// It does not answer within 2 s, or with an error, or with something else than `T`.
    pub fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.server().query(command)
    }

    /// The value of `field` in its INFO; `None` when there is no such field.
    ///
    /// # Errors
    /// As [`Node::query`].
    pub fn info(&self, field: &str) -> Result<Option<String>> {
        self.server().info(field)
    }

    /// What it believes about the cluster.
    ///
    /// # Errors
    /// As [`Node::query`].
    pub fn view(&self) -> Result<View> {
        View::parse(&self.query::<String>(redis::cmd("CLUSTER").arg("NODES"))?)
    }

    /// What it believes about itself: its role, its slots, its epoch.
    ///
    /// # Errors
    /// As [`Node::query`].
    pub fn myself(&self) -> Result<NodeView> {
        Ok(self.view()?.myself()?.clone())
    }

    /// It takes the cluster for up (`cluster_state:ok`).
    ///
    /// # Errors
    /// As [`Node::query`].
    pub fn sees_cluster_ok(&self) -> Result<bool> {
        let info: String = self.query(redis::cmd("CLUSTER").arg("INFO"))?;
        let state = info.lines().find_map(|line| line.strip_prefix("cluster_state:"));
        Ok(state.context("CLUSTER INFO without cluster_state")? == "ok")
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        self.server().log()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.0.server
    }

    /// Runs a CLUSTER subcommand that answers OK.
    pub(crate) fn cluster(&self, args: &[&str]) -> Result<()> {
        self.query(redis::cmd("CLUSTER").arg(args))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Node {}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({}, shard {}, id {:.8})", self.addr(), self.shard(), self.id())
    }
}
