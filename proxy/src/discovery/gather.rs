//! Gathering views: how many are wanted, how long each is waited for, whom to ask when one fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::ask::{Answer, Target, ask};
use super::connection::{AskError, Connection, Told};
use super::settings::Settings;
use crate::topology::{Endpoint, SeedsAsked, Topology, View};

/// Most questions under way at once.
const ASKS_MAX: usize = 64;
/// Most connections kept open between refreshes.
const IDLE_MAX: usize = 8;
/// One more node is asked whenever this time passes without enough views.
const HEDGE: Duration = Duration::from_millis(25);
/// How long a good view waits for a second opinion: nodes answer within a few milliseconds.
const SECOND_OPINION: Duration = Duration::from_millis(20);
/// How long a view that should not stand alone waits for others.
const BETTER_OPINION: Duration = Duration::from_millis(100);
/// How long a refresh waits for its first view. What answers later counts for the next one.
const FIRST_OPINION: Duration = Duration::from_secs(1);
/// How many views are compared when none of them is good.
const OPINIONS_ON_BAD_NEWS: usize = 3;

/// The questions under way and the connections that are open. A node is never asked twice at
/// once.
pub(super) struct Asks {
    settings: Arc<Settings>,
    running: JoinSet<Answer>,
    asked: HashMap<Id, (Endpoint, Instant)>,
    idle: HashMap<Endpoint, Connection>,
}

/// A question that came to its end.
pub(super) struct Finished {
    pub(super) target: Target,
    /// The answer was given after this moment.
    pub(super) asked_at: Instant,
    pub(super) result: Result<Told, AskError>,
}

impl Asks {
    pub(super) fn new(settings: Arc<Settings>) -> Asks {
        Asks { settings, running: JoinSet::new(), asked: HashMap::new(), idle: HashMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn is_full(&self) -> bool {
        self.running.len() >= ASKS_MAX
    }

    /// Asks a node, unless it is being asked already.
    fn start(&mut self, target: Target) {
        if self.asked.values().any(|(endpoint, _)| *endpoint == target.endpoint) {
            return;
        }
        let endpoint = target.endpoint.clone();
        let open = self.idle.remove(&endpoint);
        let task = self.running.spawn(ask(target, open, self.settings.clone()));
        self.asked.insert(task.id(), (endpoint, Instant::now()));
    }

    /// The next question that comes to its end; `None` when none is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Finished> {
        loop {
            match self.running.join_next_with_id().await? {
                Ok((id, answer)) => return Some(self.finish(id, answer)),
                Err(error) => drop(self.asked.remove(&error.id())),
            }
        }
    }

    /// The next question that is at its end already.
    pub(super) fn finished(&mut self) -> Option<Finished> {
        loop {
            match self.running.try_join_next_with_id()? {
                Ok((id, answer)) => return Some(self.finish(id, answer)),
                Err(error) => drop(self.asked.remove(&error.id())),
            }
        }
    }

    fn finish(&mut self, id: Id, Answer { target, result }: Answer) -> Finished {
        let asked_at = self.asked.remove(&id).map_or_else(Instant::now, |(_, asked_at)| asked_at);
        let result = result.map(|(told, connection)| {
            if self.idle.len() >= IDLE_MAX {
                let other = self.idle.keys().next().cloned();
                other.and_then(|other| self.idle.remove(&other));
            }
            self.idle.insert(target.endpoint.clone(), connection);
            told
        });
        Finished { target, asked_at, result }
    }

    /// Closes the connections to addresses that nobody asks any more.
    pub(super) fn retain(&mut self, asked: impl Fn(&Endpoint) -> bool) {
        self.idle.retain(|endpoint, _| asked(endpoint));
    }
}

/// Whom to ask, in order, and how many at once to begin with.
pub(super) struct Plan {
    pub(super) targets: VecDeque<Target>,
    pub(super) at_once: usize,
    /// How many views are enough if they are good.
    pub(super) enough: usize,
}

/// Views, and whether all seeds had their say.
pub(super) struct Gathered {
    pub(super) views: Vec<View>,
    pub(super) seeds: SeedsAsked,
}

/// Asks until there are enough views, until waiting for more is not worth it, or until a node that
/// was promoted has told its own, which nobody else knows better. Questions that are still open then
/// go on. `book` sees every one that ends, and gives its view.
pub(super) async fn gather(
    asks: &mut Asks,
    promoted: &mut mpsc::Receiver<Finished>,
    plan: Plan,
    previous: &Topology,
    mut book: impl FnMut(Finished) -> Option<View>,
) -> Gathered {
    let Plan { mut targets, mut at_once, enough } = plan;
    let mut seeds_open = targets.iter().filter(|target| target.seed).count();
    let mut open: HashSet<Endpoint> = HashSet::new();
    let mut views: Vec<View> = Vec::new();
    let begun = Instant::now();
    let (mut hedge, mut first_view) = (begun + HEDGE, None);
    loop {
        let wanted = need(previous, &views, enough);
        if views.len() >= wanted {
            break;
        }
        while open.len() < at_once.max(wanted - views.len()) && !asks.is_full() {
            let Some(target) = targets.pop_front() else { break };
            open.insert(target.endpoint.clone());
            asks.start(target);
        }
        at_once = 0;
        if open.is_empty() && targets.is_empty() {
            break;
        }
        let give_up = match first_view {
            None => Some(begun + FIRST_OPINION),
            Some(at) => patience(previous, &views, enough).map(|patience| at + patience),
        };
        tokio::select! {
            Some(finished) = asks.next(), if !asks.is_empty() => {
                if open.remove(&finished.target.endpoint) && finished.target.seed {
                    seeds_open -= 1;
                }
                views.extend(book(finished));
                if !views.is_empty() {
                    first_view.get_or_insert_with(Instant::now);
                }
            }
            Some(finished) = promoted.recv() => {
                views.extend(book(finished));
                break;
            }
            () = sleep_until(hedge), if !targets.is_empty() && !asks.is_full() => {
                hedge += HEDGE;
                at_once = open.len() + 1;
            }
            () = sleep_until(give_up.unwrap_or(begun)), if give_up.is_some() => break,
        }
    }
    let seeds = if seeds_open == 0 { SeedsAsked::All } else { SeedsAsked::Some };
    Gathered { views, seeds }
}

/// How many views are needed, in the light of those at hand.
fn need(previous: &Topology, views: &[View], enough: usize) -> usize {
    if views.iter().any(|view| is_foreign(previous, view)) || contradict(views) {
        usize::MAX
    } else if !views.is_empty() && !views.iter().any(View::is_good) {
        enough.max(OPINIONS_ON_BAD_NEWS)
    } else {
        enough
    }
}

/// How long to wait after the first view; `None` until everybody has answered or failed.
fn patience(previous: &Topology, views: &[View], enough: usize) -> Option<Duration> {
    if views.iter().all(|view| is_foreign(previous, view)) {
        // Whether the cluster was replaced must not depend on who answers first.
        None
    } else if need(previous, views, enough) == enough {
        Some(SECOND_OPINION)
    } else {
        Some(BETTER_OPINION)
    }
}

/// Whether a view shares no node with the map.
fn is_foreign(previous: &Topology, view: &View) -> bool {
    !previous.is_empty() && !view.nodes.iter().any(|node| previous.node_by_id(&node.id).is_some())
}

fn contradict(views: &[View]) -> bool {
    // Comparing with the first is enough to see that there is a contradiction somewhere, unless
    // the first knows nothing of a slot: merging settles that by epochs.
    views
        .split_first()
        .is_some_and(|(first, rest)| rest.iter().any(|view| !first.agrees_with(view)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::Slot;
    use crate::topology::{AddressMap, Health, NodeId, Owned, Role, Seen, State, merge};

    fn view(owner: &str, state: State) -> View {
        let id = NodeId::parse(owner.repeat(40).as_bytes()).unwrap();
        let endpoint = Endpoint::new("h", 1);
        let other = NodeId::parse("f".repeat(40).as_bytes()).unwrap();
        let seen = |id| Seen {
            id,
            dial: Some(endpoint.clone()),
            names: vec![endpoint.clone()],
            role: Role::Primary,
            follows: None,
            health: Health::Online,
            zone: None,
            config_epoch: 1,
        };
        let slot = |number| Slot::new(number).unwrap();
        View {
            asked: endpoint.clone(),
            seed: true,
            myself: Some(id),
            state,
            current_epoch: 1,
            epochs_known: true,
            nodes: vec![seen(id), seen(other)],
            owned: vec![Owned { first: slot(0), last: slot(16383), owner: id }],
        }
    }

    #[test]
    fn bad_news_and_contradictions_need_more_opinions() {
        let none = Topology::empty();
        let ok = |owner| view(owner, State::Ok);
        let fail = |owner| view(owner, State::Fail);
        let everybody = usize::MAX;
        let cases = [
            (vec![], 2),
            (vec![ok("a")], 2),
            (vec![ok("a"), ok("a")], 2),
            (vec![fail("a")], OPINIONS_ON_BAD_NEWS),
            (vec![fail("a"), ok("a")], 2),
            (vec![ok("a"), ok("b")], everybody),
        ];
        for (views, expected) in cases {
            assert_eq!(need(&none, &views, 2), expected, "{views:?}");
        }
    }

    #[tokio::test]
    async fn the_view_of_a_promoted_node_ends_the_waiting_for_others() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::new("127.0.0.1", silent.local_addr().unwrap().port());
        let target = Target { endpoint, seed: false, expected: None };
        let told = Told { view: view("a", State::Ok), facts: Default::default() };
        let finished =
            Finished { target: target.clone(), asked_at: Instant::now(), result: Ok(told) };
        let (sender, mut promoted) = mpsc::channel(1);
        sender.try_send(finished).ok().unwrap();
        let plan = Plan { targets: [target].into(), at_once: 1, enough: 2 };
        let mut asks = Asks::new(Arc::default());
        let book = |finished: Finished| finished.result.ok().map(|told| told.view);
        let begun = Instant::now();
        let gathered = gather(&mut asks, &mut promoted, plan, &Topology::empty(), book).await;
        assert_eq!(gathered.views.len(), 1);
        assert!(begun.elapsed() < FIRST_OPINION && !asks.is_empty());
    }

    #[test]
    fn another_cluster_is_believed_only_when_everybody_was_heard() {
        let ours = [view("a", State::Ok)];
        let map = merge(&Topology::empty(), &ours, &AddressMap::default(), SeedsAsked::All);
        let map = map.topology.unwrap();
        let mut foreign = view("b", State::Ok);
        foreign.nodes.pop();
        assert_eq!(need(&map, std::slice::from_ref(&foreign), 2), usize::MAX);
        assert_eq!(patience(&map, std::slice::from_ref(&foreign), 2), None);
        let mixed = [ours[0].clone(), foreign];
        assert_eq!(patience(&map, &mixed, 2), Some(BETTER_OPINION));
        assert_eq!(patience(&map, &ours, 2), Some(SECOND_OPINION));
    }
}
