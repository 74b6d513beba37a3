//! What discovery tells the operator: each thing once, when it begins and when it ends.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::connection::AskError;
use crate::topology::{Change, Endpoint, NodeId, Topology};

/// Least time between two lines that say that there is no map yet.
const WAITING_EVERY: Duration = Duration::from_secs(1);
/// Most lines of one refresh; how many more there would have been is said in the last.
const CHANGES_MAX: usize = 32;
/// Most addresses of other clusters remembered.
const FOREIGN_MAX: usize = 256;
/// Most addresses named in the line that says that no seed answers.
const SEEDS_SHOWN_MAX: usize = 4;

/// What is wrong at the moment, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Addresses that do not answer. Never more than are asked: seeds and known nodes.
    lost: HashMap<Endpoint, AskError>,
    /// Addresses where another node answered than was expected.
    mistaken: HashMap<Endpoint, NodeId>,
    /// Addresses whose views speak of another cluster.
    foreign: Vec<Endpoint>,
    waiting_said: Option<Instant>,
}

impl Report {
    /// Whether this address did not answer when it was last asked.
    pub(super) fn is_lost(&self, endpoint: &Endpoint) -> bool {
        self.lost.contains_key(endpoint)
    }

    pub(super) fn failed(&mut self, endpoint: &Endpoint, error: AskError, has_map: bool) {
        let before = self.lost.insert(endpoint.clone(), error.clone());
        // Without a map the line that is said every second names everybody who fails.
        if before.is_none() && has_map {
            tracing::warn!("node lost: {endpoint} {error}");
        }
    }

    pub(super) fn answered(&mut self, endpoint: &Endpoint, has_map: bool) {
        if self.lost.remove(endpoint).is_some() && has_map {
            tracing::info!("node back: {endpoint} answers again");
        }
    }

    /// There is a map now: says which seeds have failed so far, each in a line of its own.
    pub(super) fn begin(&self) {
        for (endpoint, error) in &self.lost {
            tracing::warn!("node lost: {endpoint} {error}");
        }
    }

    /// Compares who answered with who was expected there.
    pub(super) fn identified(
        &mut self,
        endpoint: &Endpoint,
        expected: Option<NodeId>,
        found: Option<NodeId>,
    ) {
        match (expected, found) {
            (Some(expected), Some(found)) if expected != found => {
                if self.mistaken.insert(endpoint.clone(), found) != Some(found) {
                    let (expected, found) = (expected.short(), found.short());
                    tracing::warn!("at {endpoint} node {found} answers instead of {expected}");
                }
            }
            _ => {
                self.mistaken.remove(endpoint);
            }
        }
    }

    /// Notes whose views were set aside, of all that answered.
    pub(super) fn foreign<'a>(
        &mut self,
        answered: impl Iterator<Item = &'a Endpoint>,
        foreign: &[Endpoint],
    ) {
        for endpoint in foreign.iter().filter(|endpoint| !self.foreign.contains(endpoint)) {
            tracing::warn!("{endpoint} belongs to another cluster; what it says is not used");
        }
        for endpoint in answered {
            self.foreign.retain(|known| known != endpoint);
        }
        self.foreign.extend_from_slice(foreign);
        if self.foreign.len() > FOREIGN_MAX {
            // Names behind which ever new addresses show up: rather say it twice than keep all.
            self.foreign.clear();
        }
    }

    pub(super) fn changes(&self, changes: &[Change]) {
        for change in changes.iter().take(CHANGES_MAX) {
            if change.is_warning() {
                tracing::warn!("{change}");
            } else {
                tracing::info!("{change}");
            }
        }
        let more = changes.len().saturating_sub(CHANGES_MAX);
        if more > 0 {
            tracing::info!("and {more} more changes of the cluster");
        }
    }

    /// Says that there is no map yet, at most once a second, and returns why in words.
    pub(super) fn waiting(&mut self, seeds: &[Endpoint], now: Instant) -> String {
        let why = self.why(seeds);
        let due = |said: Instant| now.duration_since(said) >= WAITING_EVERY;
        if self.waiting_said.is_none_or(due) {
            self.waiting_said = Some(now);
            tracing::warn!("waiting for the cluster: {why}");
        }
        why
    }

    /// Forgets addresses that nobody asks any more.
    pub(super) fn retain(&mut self, seeds: &[Endpoint], topology: &Topology) {
        let asked = |endpoint: &Endpoint| {
            seeds.contains(endpoint)
                || topology.node_by_endpoint(&endpoint.host, endpoint.port).is_some()
        };
        self.lost.retain(|endpoint, _| asked(endpoint));
        self.mistaken.retain(|endpoint, _| asked(endpoint));
    }

    fn why(&self, seeds: &[Endpoint]) -> String {
        let failures = seeds.iter().filter_map(|seed| Some((seed, self.lost.get(seed)?)));
        let mut reasons: Vec<String> =
            failures.map(|(seed, error)| format!("{seed} {error}")).collect();
        if reasons.is_empty() {
            return "no seed has answered yet".to_owned();
        }
        let more = reasons.len().saturating_sub(SEEDS_SHOWN_MAX);
        reasons.truncate(SEEDS_SHOWN_MAX);
        let reasons = reasons.join("; ");
        if more > 0 { format!("{reasons}; and {more} more seeds fail") } else { reasons }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::topology::ViewError;

    #[test]
    fn the_reason_to_wait_is_said_in_words_and_stays_short() {
        let (_lines, _guard) = logging();
        let seeds: Vec<Endpoint> = (1..=6).map(|port| Endpoint::new("h", port)).collect();
        let mut report = Report::default();
        assert_eq!(report.waiting(&seeds, Instant::now()), "no seed has answered yet");
        report.failed(&seeds[0], ViewError::NotACluster.into(), false);
        assert_eq!(
            report.waiting(&seeds, Instant::now()),
            "h:1 is not a cluster node; slotway needs cluster mode"
        );
        for seed in &seeds[1..] {
            report.failed(seed, AskError::Closed, false);
        }
        let why = report.waiting(&seeds, Instant::now());
        assert!(why.ends_with("h:4 closed the connection; and 2 more seeds fail"), "{why}");
    }

    #[test]
    fn what_is_wrong_is_said_once() {
        let (lines, _guard) = logging();
        let [seed, node] = [1, 2].map(|port| Endpoint::new("h", port));
        let id = |digit: &str| NodeId::parse(digit.repeat(40).as_bytes());
        let mut report = Report::default();
        let start = Instant::now();
        report.failed(&seed, AskError::Closed, false);
        for millis in [0, 500, 999, 1000, 1700] {
            report.waiting(std::slice::from_ref(&seed), start + Duration::from_millis(millis));
        }
        report.begin();
        for _ in 0..2 {
            report.failed(&node, AskError::Closed, true);
            report.identified(&seed, id("a"), id("b"));
            report.foreign([&node].into_iter(), std::slice::from_ref(&node));
            report.foreign([&seed].into_iter(), &[]);
        }
        for _ in 0..2 {
            report.answered(&node, true);
            report.identified(&seed, id("a"), id("a"));
        }
        assert_eq!(
            lines.take(),
            [
                " WARN waiting for the cluster: h:1 closed the connection",
                " WARN waiting for the cluster: h:1 closed the connection",
                " WARN node lost: h:1 closed the connection",
                " WARN node lost: h:2 closed the connection",
                " WARN at h:1 node bbbbbbbb answers instead of aaaaaaaa",
                " WARN h:2 belongs to another cluster; what it says is not used",
                " INFO node back: h:2 answers again",
            ]
        );
    }

    /// Catches what this thread logs. Every test here does, because `tracing` remembers of each
    /// place in the code whether anybody listened when it was first reached.
    fn logging() -> (Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn take(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            String::from_utf8(bytes).unwrap().lines().map(String::from).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_address_that_nobody_asks_any_more_is_forgotten() {
        let (_lines, _guard) = logging();
        let seeds = [Endpoint::new("h", 1)];
        let mut report = Report::default();
        for port in 1..=3 {
            report.failed(&Endpoint::new("h", port), AskError::Closed, true);
        }
        report.retain(&seeds, &Topology::empty());
        assert!(report.is_lost(&seeds[0]) && !report.is_lost(&Endpoint::new("h", 2)));
        report.answered(&seeds[0], true);
        assert!(!report.is_lost(&seeds[0]));
    }
}
