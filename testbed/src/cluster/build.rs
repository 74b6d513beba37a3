//! Starting a cluster: all servers at once, then slots, acquaintance and replicas by hand, each
//! step as soon as the one before it can be seen.

use super::{Cluster, Node};
use crate::SLOTS;
use crate::folder::Folder;
use crate::ports::Port;
use crate::server::{Recipe, Server};
use crate::wait::wait_for;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

/// The settings of a [`Cluster`]; each has a default that suits most tests.
#[derive(Debug)]
pub struct Builder {
    recipe: Recipe,
    primaries: usize,
    replicas: usize,
    first_port: Option<u16>,
}

impl Builder {
    pub(super) fn new() -> Builder {
        let mut recipe = Recipe::new(true);
        recipe.set("cluster-node-timeout", "2000");
        Builder { recipe, primaries: 3, replicas: 1, first_port: None }
    }

    /// How many shards; each gets an equal run of slots. Default 3.
    pub fn primaries(mut self, count: usize) -> Builder {
        self.primaries = count;
        self
    }

    /// How many replicas each primary gets. Default 1.
    pub fn replicas(mut self, count: usize) -> Builder {
        self.replicas = count;
        self
    }

    /// `cluster-node-timeout`: how long a node must be silent to be suspected. Default 2 s; below
    /// half a second a busy machine makes nodes suspect one another.
    pub fn node_timeout(self, timeout: Duration) -> Builder {
        self.config("cluster-node-timeout", &timeout.as_millis().to_string())
    }

    /// `cluster-require-full-coverage`: whether a slot without an owner takes the whole cluster
    /// down. The server's default is yes.
    pub fn full_coverage(self, required: bool) -> Builder {
        self.config("cluster-require-full-coverage", if required { "yes" } else { "no" })
    }

    /// Adds a line to every node's configuration file; a later line of the same name wins, also
    /// over our own. The value is written as it is; an empty one becomes `""`.
    pub fn config(mut self, name: &str, value: &str) -> Builder {
        self.recipe.set(name, value);
        self
    }

    /// Makes clients and nodes authenticate with this password; our own connections do.
    pub fn password(mut self, password: &str) -> Builder {
        self.recipe.password = Some(password.to_owned());
        self
    }

    /// Uses this port and the ones after it if all of them are free; else any, as by default.
    pub fn first_port(mut self, port: u16) -> Builder {
        self.first_port = Some(port);
        self
    }

    /// Runs this program instead of the default server.
    pub fn server(mut self, program: impl AsRef<Path>) -> Builder {
        self.recipe.program = program.as_ref().to_owned();
        self
    }

    /// Starts it; when this returns, it is whole and calm ([`Cluster::wait_ok`]). It takes a good
    /// 2 s: so long a fresh primary refuses writes, whatever it is told.
    ///
    /// # Errors
    /// There is no server program, or the servers do not come up or together in 30 s.
    pub fn start(self) -> Result<Cluster> {
        ensure!(self.primaries > 0, "a cluster has at least one primary");
        let folder = Folder::new()?;
        let count = self.primaries * (1 + self.replicas);
        let mut launched = Vec::with_capacity(count);
        for port in self.ports(count)? {
            launched.push(Server::launch(&self.recipe, port, folder.path())?);
        }
        let mut nodes = Vec::with_capacity(count);
        for (number, server) in launched.into_iter().enumerate() {
            nodes.push(Node::new(server.into_ready()?, number % self.primaries)?);
        }
        let (nodes, unheard) = (Mutex::new(nodes), Default::default());
        let cluster = Cluster { recipe: self.recipe, nodes, unheard, folder };
        cluster.form(self.primaries)?;
        Ok(cluster)
    }

    fn ports(&self, count: usize) -> Result<Vec<Port>> {
        if let Some(first) = self.first_port {
            let numbers = (first..=u16::MAX).take(count);
            let ports: Option<Vec<_>> = numbers.map(|number| Port::take(number, true)).collect();
            if let Some(ports) = ports
                && ports.len() == count
            {
                return Ok(ports);
            }
        }
        (0..count).map(|_| Port::free_with_bus()).collect()
    }
}

impl Cluster {
    /// Makes one cluster of fresh nodes, the first `primaries` of them with slots.
    fn form(&self, primaries: usize) -> Result<()> {
        let nodes = self.nodes();
        for (number, node) in nodes[..primaries].iter().enumerate() {
            // Before they meet: an epoch can only be set while a node is alone. Epochs that differ
            // from the start spare the cluster the collisions that it would have to solve.
            node.cluster(&["SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
            let bound = |n: usize| n * usize::from(SLOTS) / primaries;
            let (first, last) = (bound(number), bound(number + 1) - 1);
            node.cluster(&["ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
        }
        // Everybody is introduced to everybody: gossip alone takes seconds.
        for (number, node) in nodes.iter().enumerate() {
            for other in &nodes[number + 1..] {
                node.meet(other)?;
            }
        }
        wait_known(&nodes, &nodes)?;
        for replica in &nodes[primaries..] {
            let primary = &nodes[replica.shard()];
            replica.cluster(&["REPLICATE", primary.id()])?;
        }
        self.wait_ok(FORM_DEADLINE)
    }

    /// Starts one more server and makes every live node know it, as a primary without slots.
    pub(super) fn join(&self, shard: usize) -> Result<Node> {
        let server = Server::start(&self.recipe, Port::free_with_bus()?, self.folder.path())?;
        let node = Node::new(server, shard)?;
        let others = self.live_nodes();
        // From here on it ends with the cluster.
        self.lock().push(node.clone());
        for other in &others {
            node.meet(other)?;
        }
        wait_known(&self.live_nodes(), std::slice::from_ref(&node))?;
        wait_known(std::slice::from_ref(&node), &others)?;
        Ok(node)
    }
}

impl Node {
    fn meet(&self, other: &Node) -> Result<()> {
        self.cluster(&["MEET", "127.0.0.1", &other.port().to_string()])
    }
}

/// Waits until each of `nodes` knows each of `members` and has spoken with it.
fn wait_known(nodes: &[Node], members: &[Node]) -> Result<()> {
    wait_for("the nodes to know one another", FORM_DEADLINE, || {
        for node in nodes {
            let view = node.view()?;
            for member in members {
                let seen = view.node(member.id());
                let seen = seen.with_context(|| format!("{node} does not know {member}"))?;
                let met = !seen.has_flag("handshake") && seen.connected;
                ensure!(met, "{node} has not met {member} yet");
            }
        }
        Ok(())
    })
}

const FORM_DEADLINE: Duration = Duration::from_secs(30);
