//! One run: a cluster that keeps evidence, slotway before it, the load, the fault, the audit.

use anyhow::{Context, Result, ensure};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use testbed::audit::{
    Final, Gaps, Load, Lost, Mix, Report, Rules, Watch, even_shards, evidence_options,
};
use testbed::{Cluster, Link, Proxy, Role};

/// A fault, and what is allowed while it lasts.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Done while the clients are at work.
    pub(crate) fault: fn(&Stage) -> Result<()>,
    /// Done before slotway starts.
    pub(crate) before: Option<fn(&Cluster) -> Result<()>>,
    /// The shards that nothing happens to.
    pub(crate) untouched: &'static [usize],
    pub(crate) rules: Rules,
    pub(crate) node_timeout: Duration,
    /// Slotway reaches the nodes through links that can be cut.
    pub(crate) linked: bool,
    /// Half of the first successes after a shard was away come within this time.
    pub(crate) back: Option<Duration>,
    /// No answer of any shard takes longer, where a direct client cannot tell.
    pub(crate) slowest: Option<Duration>,
}

impl Scenario {
    /// One in which connections are lost: writes may end unknown.
    pub(crate) fn new(name: &'static str, fault: fn(&Stage) -> Result<()>) -> Scenario {
        let rules = Rules { unknown: true, pipelined_in_order: false, ..Rules::default() };
        let node_timeout = Duration::from_secs(2);
        Scenario {
            name,
            fault,
            before: None,
            untouched: &[],
            rules,
            node_timeout,
            linked: false,
            back: None,
            slowest: None,
        }
    }

    /// No connection is lost: no result is unknown.
    pub(crate) fn flawless(mut self) -> Scenario {
        self.rules.unknown = false;
        self
    }

    pub(crate) fn untouched(mut self, shards: &'static [usize]) -> Scenario {
        self.untouched = shards;
        self
    }

    pub(crate) fn before(mut self, before: fn(&Cluster) -> Result<()>) -> Scenario {
        self.before = Some(before);
        self
    }

    pub(crate) fn node_timeout(mut self, seconds: u64) -> Scenario {
        self.node_timeout = Duration::from_secs(seconds);
        self
    }

    /// With `client-order = "strict"`, and a name that says so: what a client pipelines is executed
    /// in its order, whatever happens.
    pub(crate) fn strict(mut self, name: &'static str) -> Scenario {
        self.name = name;
        self.rules.pipelined_in_order = true;
        self
    }

    pub(crate) fn linked(mut self) -> Scenario {
        self.linked = true;
        self
    }

    pub(crate) fn back_within(mut self, limit: Duration) -> Scenario {
        self.back = Some(limit);
        self
    }

    pub(crate) fn slowest(mut self, limit: Duration) -> Scenario {
        self.slowest = Some(limit);
        self
    }

    /// Runs it: calm, the fault, calm, the audit. An untouched shard may take `margin` beyond a
    /// direct client's worst.
    pub(crate) fn run(&self, margin: Duration) -> Result<Report> {
        // One at a time: the machine's other work would be taken for slotway's slowness.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);

        let mut builder = Cluster::builder().full_coverage(false).node_timeout(self.node_timeout);
        for (name, value) in evidence_options() {
            builder = builder.config(name, value);
        }
        let cluster = Arc::new(builder.start()?);
        let seeds = cluster.seeds();
        if let Some(before) = self.before {
            before(&cluster)?;
        }
        let mut proxy = Proxy::builder(seeds).binary(env!("CARGO_BIN_EXE_slotway"));
        let mut links = Vec::new();
        if self.linked {
            links = Link::to_all(&cluster)?;
            proxy = proxy.args(["--address-map", &Link::map(&links)]);
        }
        if self.rules.pipelined_in_order {
            proxy = proxy.args(["--client-order", "strict"]);
        }
        let proxy = proxy.start()?;
        let shards = even_shards(3);
        let load = Load::start(&proxy.addr(), &shards, &Mix::default())?;
        let watch = Watch::start(&cluster, &shards, load.began())?;
        let stage = Stage { cluster, links, load };
        stage.load.run_for(CALM);
        let from = stage.load.now();
        (self.fault)(&stage).with_context(|| format!("the fault {:?} itself", self.name))?;
        stage.cluster.wait_ok(HEALED)?;
        let to = stage.load.now() + AGAIN;
        stage.load.run_for(CALM);
        let history = stage.load.finish(GRACE);
        let counted = metric(&proxy, "slotway_pubsub_gaps_total")?;
        let gaps = Some(Gaps { counted, from, to, untouched: self.untouched });
        let rules = Rules { gaps, ..self.rules };
        let seen = watch.finish()?;
        stage.cluster.wait_ok(HEALED)?;
        let (owners, addrs) = owners(&stage.cluster)?;
        let end = Final::read(&history, |slot| {
            addrs.get(&slot).cloned().with_context(|| format!("slot {slot} has no owner"))
        })?;
        let mut lost = Lost::read(&seen.evidence, &owners, &end)?;
        lost.replaced.clone_from(&seen.replaced);
        let mut report = Report::new(self.name, &history, &end, &lost, &rules, Some(&seen));
        report.hold_untouched(self.untouched, margin);
        if let Some(limit) = self.slowest {
            report.hold_slowest(limit);
        }
        if let Some(limit) = self.back {
            report.hold_back(limit);
        }
        ensure!(report.acked > 1000, "too few operations to mean anything:\n{report}");
        for name in ["MULTI", "MULTI after WATCH", "MULTI of reads", "BLPOP", "PUBLISH", "SPUBLISH"]
        {
            let done = history.done(name);
            ensure!(done > 50, "{done} times {name}, too few to mean anything:\n{report}");
        }
        Ok(report)
    }
}

/// What a fault can reach for.
pub(crate) struct Stage {
    pub(crate) cluster: Arc<Cluster>,
    /// One for each node, if slotway reaches them through links.
    pub(crate) links: Vec<Link>,
    pub(crate) load: Load,
}

/// The primaries, by port, and the address of each slot's owner.
fn owners(cluster: &Cluster) -> Result<(HashSet<String>, HashMap<u16, String>)> {
    let (mut ports, mut addrs) = (HashSet::new(), HashMap::new());
    for node in cluster.live_nodes() {
        let myself = node.myself()?;
        if myself.role == Role::Primary {
            ports.insert(node.port().to_string());
            let slots = myself.slots.into_iter().flatten();
            addrs.extend(slots.map(|slot| (slot, node.addr())));
        }
    }
    Ok((ports, addrs))
}

/// The number behind a series on the page of metrics.
fn metric(proxy: &Proxy, series: &str) -> Result<u64> {
    let (_, page) = proxy.http_get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {series}"))?.parse()?)
}

/// How soon after a cluster is well a subscription is somewhere again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the clients have before and after the fault.
const CALM: Duration = Duration::from_millis(1500);

const HEALED: Duration = Duration::from_secs(60);

/// How long an answer may be away after the end of the fault.
const GRACE: Duration = Duration::from_secs(15);
