//! The task itself: refresh, publish, tell, rest.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ask::Target;
use super::commands::Commands;
use super::facts::KnownFacts;
use super::gather::{Asks, Finished, Gathered, Plan, gather};
use super::handle::{Handle, Look};
use super::pace::{Pace, Standing};
use super::probes::probe_replicas;
use super::report::Report;
use super::settings::Settings;
use crate::topology::{Change, Endpoint, Health, Node, SeedsAsked, State, Topology, View, merge};

/// Why discovery gave up.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// There is nobody to ask.
    #[error("no seeds are given")]
    NoSeeds,
    /// The start took longer than `startup_timeout`.
    #[error("no seed gave a cluster map within {}: {why}", humantime::format_duration(*.waited))]
    NoAnswer {
        /// How long it waited.
        waited: Duration,
        /// What the seeds said, or did not.
        why: String,
    },
}

/// Keeps the handle's topology fresh until it is cancelled, which is the only way to `Ok`.
///
/// Errors only before the first map: when there are no seeds, and when none answers within the
/// startup timeout. Afterwards it goes on for ever, whatever happens to the cluster.
pub async fn run(
    settings: Settings,
    handle: Handle,
    cancel: CancellationToken,
) -> Result<(), DiscoveryError> {
    if settings.seeds.is_empty() {
        return Err(DiscoveryError::NoSeeds);
    }
    let begun = Instant::now();
    let overdue = overdue(handle.clone(), settings.startup_timeout.map(|timeout| begun + timeout));
    tokio::pin!(overdue);
    let (found, promoted) = mpsc::channel(PROMOTED_MAX);
    let mut task = Task::new(settings, handle, promoted);
    let probes = probe_replicas(task.settings.clone(), task.handle.clone(), found);
    tokio::pin!(probes);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = task.round() => {}
            never = &mut probes => match never {},
            () = &mut overdue => {
                let why = task.report.waiting(&task.settings.seeds, Instant::now().into_std());
                return Err(DiscoveryError::NoAnswer { waited: begun.elapsed(), why });
            }
        }
    }
}

/// Ends when the deadline passes without a map, and never otherwise.
async fn overdue(handle: Handle, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
    if !handle.topology().load().is_empty() {
        pending().await
    }
}

/// How many views a refresh is content with, if they are good and agree.
const OPINIONS: usize = 2;
/// How many seeds are asked at once at the start; more follow while none answers.
const SEEDS_AT_ONCE: usize = 8;
/// Most nodes that one refresh asks, beside the seeds.
const NODES_ASKED_MAX: usize = 32;
/// Views of promoted nodes that may wait to be taken; who has another one waits with it.
const PROMOTED_MAX: usize = 16;

struct Task {
    settings: Arc<Settings>,
    handle: Handle,
    asks: Asks,
    /// What nodes have told that were promoted while requests waited.
    promoted: mpsc::Receiver<Finished>,
    facts: KnownFacts,
    commands: Commands,
    report: Report,
    pace: Pace,
}

impl Task {
    fn new(mut settings: Settings, handle: Handle, promoted: mpsc::Receiver<Finished>) -> Task {
        let mut seeds: Vec<Endpoint> = Vec::with_capacity(settings.seeds.len());
        for seed in settings.seeds {
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        settings.seeds = seeds;
        let settings = Arc::new(settings);
        Task {
            pace: Pace::new(settings.refresh_period, Instant::now().into_std()),
            asks: Asks::new(settings.clone()),
            settings,
            handle,
            promoted,
            facts: KnownFacts::default(),
            commands: Commands::default(),
            report: Report::default(),
        }
    }

    fn topology(&self) -> Arc<Topology> {
        self.handle.topology().load_full()
    }

    async fn round(&mut self) {
        self.refresh().await;
        self.rest().await;
    }

    async fn refresh(&mut self) {
        self.pace.begin(Instant::now().into_std(), fastrand::f64());
        let previous = self.topology();
        while let Some(finished) = self.asks.finished() {
            book(&mut self.report, &mut self.facts, &previous, finished);
        }
        let plan = self.plan(&previous);
        let (report, facts) = (&mut self.report, &mut self.facts);
        let mut looks = Vec::new();
        let gathered = gather(&mut self.asks, &mut self.promoted, plan, &previous, |finished| {
            let asked_at = finished.asked_at.into_std();
            let view = book(report, facts, &previous, finished)?;
            looks.extend(view.myself.map(|node| Look { node, asked_at }));
            Some(view)
        })
        .await;
        self.take(&previous, gathered, looks);
    }

    /// Takes over the map of a node that was promoted.
    fn promoted(&mut self, finished: Finished) {
        let previous = self.topology();
        let asked_at = finished.asked_at.into_std();
        let view = book(&mut self.report, &mut self.facts, &previous, finished);
        let views: Vec<View> = view.into_iter().collect();
        let looks = views.iter().filter_map(|view| Some(Look { node: view.myself?, asked_at }));
        let looks = looks.collect();
        self.take(&previous, Gathered { views, seeds: SeedsAsked::Some }, looks);
    }

    /// Makes a map of views and publishes it.
    fn take(&mut self, previous: &Topology, gathered: Gathered, looks: Vec<Look>) {
        let Gathered { views, seeds } = gathered;
        let merged = merge(previous, &views, &self.settings.address_map, seeds);
        self.report.foreign(views.iter().map(|view| &view.asked), &merged.foreign);
        if let Some(topology) = merged.topology {
            self.publish(previous, topology, merged.replaced);
        }
        // Only now: whoever hears of the look finds what it showed in the map.
        self.handle.publish_looks(looks);
        self.handle.count_refresh(!views.is_empty());
        let standing = self.standing(&views);
        self.pace.end(standing);
    }

    /// Whom to ask: at the start all seeds; later the nodes that are likely to know and to
    /// answer, and the seeds that are not among them.
    fn plan(&self, topology: &Topology) -> Plan {
        let seeds = &self.settings.seeds;
        let mut nodes: Vec<_> = topology.nodes().map(|(_, node)| node).collect();
        fastrand::shuffle(&mut nodes);
        let hints = self.handle.take_hints();
        let is_hinted = |endpoint: &Endpoint| hints.contains(endpoint);
        nodes.sort_by_key(|node| {
            (
                !is_hinted(&node.endpoint) && !node.announced.iter().any(is_hinted),
                self.report.is_lost(&node.endpoint),
                node.health != Health::Online,
                self.facts.has(&node.id),
            )
        });
        let target = |node: &&Node| {
            let seed = seeds.contains(&node.endpoint);
            // Who answers at a seed's address is for the seed to say.
            let expected = Some(node.id).filter(|_| !seed);
            Target { endpoint: node.endpoint.clone(), seed, expected }
        };
        let mut targets: VecDeque<Target> =
            nodes.iter().take(NODES_ASKED_MAX).map(target).collect();
        // One that is lost is asked as well, to find out when it is back; nobody waits for it.
        let lost =
            nodes.iter().filter(|node| self.report.is_lost(&node.endpoint)).map(target).next();
        let mut at_once = OPINIONS;
        if let Some(lost) = lost {
            targets.retain(|target| target.endpoint != lost.endpoint);
            targets.insert(OPINIONS.min(targets.len()), lost);
            at_once += 1;
        }
        for seed in seeds {
            if !targets.iter().any(|target| target.endpoint == *seed) {
                targets.push_back(Target { endpoint: seed.clone(), seed: true, expected: None });
            }
        }
        if topology.is_empty() {
            Plan { targets, at_once: SEEDS_AT_ONCE, enough: 1 }
        } else {
            Plan { targets, at_once, enough: OPINIONS }
        }
    }

    fn publish(&mut self, previous: &Topology, topology: Topology, replaced: bool) {
        let (shards, nodes) = (topology.shards().len(), topology.nodes().len());
        let changes = if replaced {
            vec![Change::Replaced { shards, nodes }]
        } else {
            previous.diff(&topology)
        };
        let seeds = &self.settings.seeds;
        self.asks.retain(|endpoint| {
            let is_node = topology.node_by_endpoint(&endpoint.host, endpoint.port).is_some();
            is_node || seeds.contains(endpoint)
        });
        self.report.retain(seeds, &topology);
        self.handle.publish(topology);
        self.report.changes(&changes);
        if previous.is_empty() {
            self.report.begin();
        }
    }

    /// How things stand after a refresh that gathered these views.
    fn standing(&mut self, views: &[View]) -> Standing {
        let topology = self.topology();
        if topology.is_empty() {
            let why = self.report.waiting(&self.settings.seeds, Instant::now().into_std());
            self.handle.set_problem(why);
            return Standing::Failing;
        }
        self.facts.retain(&topology);
        self.handle.publish_facts(self.facts.of_cluster());
        for (id, kind) in self.facts.kinds() {
            if let Some(node) = topology.node_by_id(id) {
                self.commands.ask(kind, &topology.node(node).endpoint, &self.settings);
            }
        }
        // A node that loads will be ready soon; one that is down may stay so for ever.
        let unsettled = topology.nodes().any(|(_, node)| match node.health {
            Health::Online => self.report.is_lost(&node.endpoint) || !self.facts.has(&node.id),
            Health::Loading => true,
            Health::Suspect | Health::Failed => false,
        });
        if views.is_empty() || !topology.is_complete() || topology.state == State::Fail {
            Standing::Failing
        } else if unsettled {
            Standing::Settling
        } else {
            Standing::Settled
        }
    }

    /// Waits until the next refresh is due. Questions that end meanwhile are booked; their views
    /// are not used, since what is older than a refresh is no news for it.
    async fn rest(&mut self) {
        let mut wished = self.topology().is_empty();
        let mut urgent = None;
        loop {
            let due = if wished { self.pace.on_demand() } else { self.pace.periodic() };
            let rush = urgent.filter(|&urgent| urgent < due);
            tokio::select! {
                () = sleep_until(rush.unwrap_or(due).into()) => {
                    if let Some(rush) = rush {
                        self.pace.rush(rush);
                    }
                    return;
                }
                () = self.handle.wished_at_once(), if urgent.is_none() => {
                    urgent = Some(self.pace.urgent(Instant::now().into_std()));
                }
                () = self.handle.wished(), if !wished => wished = true,
                Some(finished) = self.promoted.recv() => self.promoted(finished),
                Some(finished) = self.asks.next(), if !self.asks.is_empty() => {
                    book(&mut self.report, &mut self.facts, &self.handle.topology().load(), finished);
                }
            }
        }
    }
}

/// Notes what a question that has ended says of the node that was asked, and gives its view.
fn book(
    report: &mut Report,
    facts: &mut KnownFacts,
    topology: &Topology,
    Finished { target, result, .. }: Finished,
) -> Option<View> {
    let has_map = !topology.is_empty();
    match result {
        Ok(told) => {
            report.answered(&target.endpoint, has_map);
            report.identified(&target.endpoint, target.expected, told.view.myself);
            let Endpoint { host, port } = &target.endpoint;
            let listed = || Some(topology.node(topology.node_by_endpoint(host, *port)?).id);
            if let Some(id) = told.view.myself.or(target.expected).or_else(listed) {
                facts.learn(id, told.facts);
            }
            Some(told.view)
        }
        Err(error) => {
            report.failed(&target.endpoint, error, has_map);
            None
        }
    }
}
