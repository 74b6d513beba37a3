//! The discovery task against real clusters, and against nodes that misbehave.

mod start;
mod change;
mod names;
mod access;
mod hostile;
mod script;
mod partition;
mod promotion;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use slotway::discovery::{DiscoveryError, Handle, Settings, run};
use slotway::slot::Slot;
use slotway::topology::{Node, State, Topology};
use testbed::wait_for;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, short of a hang.
const DEADLINE: Duration = Duration::from_secs(30);
/// A period that never comes: what is seen is seen because it was asked for.
const NEVER: Duration = Duration::from_secs(3600);

/// The task on a thread of its own; it ends with this.
struct Discovery {
    handle: Handle,
    cancel: CancellationToken,
    thread: Option<JoinHandle<Result<(), DiscoveryError>>>,
}

impl Discovery {
    fn start(settings: Settings) -> Result<Discovery> {
        let (handle, cancel) = (Handle::new(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let task = run(settings, handle.clone(), cancel.clone());
        let thread = Some(std::thread::spawn(move || runtime.block_on(task)));
        Ok(Discovery { handle, cancel, thread })
    }

    fn map(&self) -> Arc<Topology> {
        self.handle.topology().load_full()
    }

    /// Waits for a map that `accept` finds nothing wrong with.
    fn wait_map(
        &self,
        what: &str,
        mut accept: impl FnMut(&Topology) -> Result<()>,
    ) -> Result<Arc<Topology>> {
        wait_for(what, DEADLINE, || {
            let map = self.map();
            let missing =
                || format!("{:?}, counts {:?}", self.handle.missing(), self.handle.counts());
            accept(&map).with_context(missing).map(|()| map)
        })
    }

    fn wait_whole(&self) -> Result<Arc<Topology>> {
        self.wait_map("a map of all slots", |map| {
            ensure!(map.is_complete() && map.state == State::Ok, "{} slots", map.slots_covered());
            Ok(())
        })
    }

    /// Waits until every node was asked about itself: without replicas, from then on, nothing is
    /// refreshed before the period passes or somebody asks.
    fn wait_settled(&self) -> Result<()> {
        wait_for("facts of all nodes", DEADLINE, || {
            let (facts, nodes) = (self.handle.facts(), self.map().nodes().len());
            ensure!(facts.nodes == nodes, "{facts:?} of {nodes} nodes");
            Ok(())
        })
    }

    fn wait_missing(&self, words: &str) -> Result<()> {
        wait_for(&format!("\"{words}\" to be missing"), DEADLINE, || {
            let missing = self.handle.missing().unwrap_or_default();
            ensure!(missing.contains(words), "{missing:?}");
            Ok(())
        })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert_eq!(ended.map(Result::unwrap), Some(Ok(())), "cancelling ends it well");
        }
    }
}

fn settings<S: AsRef<str>>(seeds: impl IntoIterator<Item = S>) -> Settings {
    let seeds = seeds.into_iter().map(|seed| seed.as_ref().parse().unwrap()).collect();
    Settings { seeds, refresh_period: NEVER, ..Settings::default() }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn primary(map: &Topology, number: u16) -> Option<&Node> {
    map.primary_of(slot(number)).map(|node| map.node(node))
}

fn is_primary(map: &Topology, number: u16, node: &testbed::Node) -> Result<()> {
    let found = primary(map, number).map(|node| node.id.to_string());
    ensure!(found.as_deref() == Some(node.id()), "slot {number} is of {found:?}, not of {node}");
    Ok(())
}
