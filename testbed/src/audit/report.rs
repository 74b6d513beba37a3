//! What an audit found, for people.

use super::check::{Finding, Kind, Rules, check};
use super::history::{History, Op, Outcome};
use super::last::Final;
use super::lost::Lost;
use super::watch::Seen;
use super::what::What;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The figures and findings of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was done to the cluster.
    pub name: String,
    /// How many operations were sent.
    pub ops: usize,
    /// Of them: acknowledged.
    pub acked: usize,
    /// Of them: result unknown.
    pub unknown: usize,
    /// Of them: refused as not executed.
    pub refused: usize,
    /// Acknowledged writes (without those of counters) that servers lost themselves.
    pub lost: usize,
    /// Pairs of one connection, sent without waiting, that were executed in the other order, where
    /// that is no finding.
    pub pipelined_swaps: usize,
    /// How long each shard took to answer.
    pub shards: Vec<ShardTimes>,
    /// What must not be.
    pub findings: Vec<Finding>,
}

/// The times of one shard's clients.
#[derive(Clone, Debug, Default)]
pub struct ShardTimes {
    /// Half of the answers came sooner.
    pub median: Duration,
    /// The slowest answer.
    pub worst: Duration,
    /// The slowest answer to a direct client.
    pub direct_worst: Duration,
    /// The longest time in which no node answered for it; zero if there was none to speak of.
    pub away: Duration,
    /// After each such time: from the first node's answer to the first success of a client; none
    /// if there was no success any more.
    pub back: Vec<Option<Duration>>,
}

impl Report {
    /// Checks `history` and gathers its figures.
    pub fn new(
        name: &str,
        history: &History,
        end: &Final,
        lost: &Lost,
        rules: &Rules,
        seen: Option<&Seen>,
    ) -> Report {
        let findings = check(history, end, lost, rules);
        let in_order = Rules { pipelined_in_order: true, ..*rules };
        let swaps = |rules: &Rules| {
            let all = check(history, end, lost, rules);
            all.iter().filter(|finding| finding.kind == Kind::Reordered).count()
        };
        let pipelined_swaps =
            if rules.pipelined_in_order { 0 } else { swaps(&in_order) - swaps(rules) };
        let count = |wanted: fn(&Op) -> bool| history.ops.iter().filter(|op| wanted(op)).count();
        let is_lost = |op: &&Op| {
            let token = op.what.written_token();
            op.outcome.is_acked() && token.is_some_and(|token| lost.tokens.contains(token))
        };
        let shards = history.ops.iter().filter_map(|op| op.shard).max().map_or(0, |last| last + 1);
        Report {
            name: name.to_owned(),
            ops: history.ops.len(),
            acked: count(|op| op.outcome.is_acked()),
            unknown: count(|op| matches!(op.outcome, Outcome::Unknown(_))),
            refused: count(|op| matches!(op.outcome, Outcome::Refused(_))),
            lost: history.ops.iter().filter(is_lost).count(),
            pipelined_swaps,
            shards: (0..shards).map(|shard| ShardTimes::of(history, shard, seen)).collect(),
            findings,
        }
    }

    /// Adds a finding for each shard that nothing happened to (`untouched`) and that was slower
    /// than a direct client's slowest answer and `margin`.
    pub fn hold_untouched(&mut self, untouched: &[usize], margin: Duration) {
        for &number in untouched {
            let times = &self.shards[number];
            if times.worst > times.direct_worst + margin {
                let text = format!(
                    "shard {number} was not touched and took {}; a direct client {} at most",
                    ms(times.worst),
                    ms(times.direct_worst)
                );
                self.findings.push(Finding::new(Kind::Slow, text));
            }
        }
    }

    /// Adds a finding for each shard that took longer than `limit`, whatever happened to it.
    pub fn hold_slowest(&mut self, limit: Duration) {
        for (number, times) in self.shards.iter().enumerate() {
            if times.worst > limit {
                let text = format!("shard {number} took {}", ms(times.worst));
                self.findings.push(Finding::new(Kind::Slow, text));
            }
        }
    }

    /// Adds a finding for each shard that was away and whose clients saw later than `limit` that
    /// it serves again, in the median of all times.
    pub fn hold_back(&mut self, limit: Duration) {
        for (number, times) in self.shards.iter().enumerate() {
            let mut all: Vec<_> = times.back.iter().map(|b| b.unwrap_or(Duration::MAX)).collect();
            all.sort_unstable();
            if let Some(median) = all.get(all.len() / 2)
                && *median > limit
            {
                let text = format!("shard {number} served again; first successes {:?}", times.back);
                self.findings.push(Finding::new(Kind::Late, text));
            }
        }
    }

    /// How many findings of each kind.
    pub fn kinds(&self) -> BTreeMap<Kind, usize> {
        let mut kinds = BTreeMap::new();
        for finding in &self.findings {
            *kinds.entry(finding.kind).or_default() += 1;
        }
        kinds
    }

    /// The head of a table of several runs.
    pub fn head() -> String {
        let head = "| fault | ops | acked | unknown | refused | lost by servers | swapped in \
                    flight | slowest (direct) by shard | away → first success | findings |";
        format!("{head}\n|---|---|---|---|---|---|---|---|---|---|")
    }

    /// Its line in that table.
    pub fn row(&self) -> String {
        let slowest = self
            .shards
            .iter()
            .map(|times| format!("{} ({})", ms(times.worst), ms(times.direct_worst)));
        let away = self.shards.iter().filter(|times| !times.away.is_zero()).map(|times| {
            let back = times.back.iter().map(|back| match back {
                Some(back) => format!("+{}", ms(*back)),
                None => "never".to_owned(),
            });
            format!("{} → {}", ms(times.away), back.collect::<Vec<_>>().join(" "))
        });
        let kinds = self.kinds();
        let kinds = kinds.iter().map(|(kind, count)| format!("{count} {kind:?}"));
        let list = |items: Vec<String>| match items.is_empty() {
            true => "–".to_owned(),
            false => items.join(", "),
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.name,
            self.ops,
            self.acked,
            self.unknown,
            self.refused,
            self.lost,
            self.pipelined_swaps,
            list(slowest.collect()),
            list(away.collect()),
            list(kinds.collect()),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", Report::head(), self.row())?;
        // By what a finding begins with: mostly its command.
        let mut shown: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
        for finding in &self.findings {
            let subject = finding.text.split(' ').next().unwrap_or_default();
            let number = shown.entry((finding.kind, subject)).or_default();
            *number += 1;
            if *number <= SHOWN {
                writeln!(f, "  {finding}")?;
            }
        }
        for ((kind, subject), count) in shown.iter().filter(|(_, count)| **count > SHOWN) {
            writeln!(f, "  {kind:?}: {count} of {subject} in all")?;
        }
        Ok(())
    }
}

impl ShardTimes {
    fn of(history: &History, shard: usize, seen: Option<&Seen>) -> ShardTimes {
        let of_shard = history.ops.iter().filter(|op| op.shard == Some(shard));
        let acked: Vec<&Op> = of_shard.filter(|op| op.outcome.is_acked()).collect();
        let keyed = acked.iter().filter(|op| !matches!(op.what, What::Ping { .. }));
        let time = |op: &&Op| op.latency().saturating_sub(op.what.may_wait());
        let mut latencies: Vec<_> = keyed.map(time).collect();
        latencies.sort_unstable();
        let mut times = ShardTimes {
            median: latencies.get(latencies.len() / 2).copied().unwrap_or_default(),
            worst: latencies.last().copied().unwrap_or_default(),
            ..ShardTimes::default()
        };
        let Some(seen) = seen else { return times };
        times.direct_worst = seen.slowest.get(shard).copied().unwrap_or_default();
        let outages = seen.outages.get(shard).map(Vec::as_slice).unwrap_or_default();
        for outage in outages {
            times.away = times.away.max(outage.to - outage.from);
            // A client may see it before we did.
            let from = outage.to.saturating_sub(HEAD_START);
            let served = acked.iter().filter(|op| shows_service(op)).map(|op| op.replied);
            let after = served.filter(|replied| *replied >= from);
            times.back.push(after.min().map(|first| first.saturating_sub(outage.to)));
        }
        times
    }
}

/// Only a node can have answered it.
fn shows_service(op: &Op) -> bool {
    !matches!(op.what, What::Take { .. } | What::Transfer { .. } | What::Alive { .. })
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Findings of each kind and command that are printed.
const SHOWN: usize = 2;

/// How much sooner than we a client may see that a shard serves again.
const HEAD_START: Duration = Duration::from_millis(20);
