//! Sequences, played against one server and through slotway against a cluster.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use testbed::{Cluster, Proxy, Standalone};

use super::differs::{not_asked, same_but_for};
use super::grammar::{Step, sequence};
use super::templates::is_left_out;
use super::wire::{Client, Reply, Request, show, words};

/// One server, and a cluster of 3 primaries behind slotway, both of the program under test.
pub(crate) struct Stage {
    pub(crate) server: Standalone,
    pub(crate) proxy: Proxy,
    _cluster: Cluster,
    /// What DUMP says of some values.
    payloads: Vec<Vec<u8>>,
}

/// What was seen: for a guard against a comparison of nothing, and for the reader.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    pub(crate) errors: usize,
    /// How often each entry of the list was needed.
    pub(crate) excused: BTreeMap<&'static str, usize>,
}

/// Two replies that should have been equal.
struct Difference {
    batch: usize,
    request: Request,
    server: Reply,
    slotway: Reply,
}

impl Stage {
    pub(crate) fn start() -> Result<Stage> {
        let cluster = Cluster::builder().replicas(0).start()?;
        let proxy =
            Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
        let server = Standalone::start()?;
        let mut client = Client::connect(&server.addr())?;
        let mut payloads = vec![b"no payload".to_vec()];
        for line in ["SET k 12", "RPUSH k a b 3", "SADD k 1 2 3", "HSET k f v", "ZADD k 1 a 2 b"] {
            client.ask(&words("DEL k"))?;
            client.ask(&words(line))?;
            payloads.push(client.ask(&words("DUMP k"))?.body);
        }
        Ok(Stage { server, proxy, _cluster: cluster, payloads })
    }

    /// What DUMP says of some values.
    pub(crate) fn payloads(&self) -> &[Vec<u8>] {
        &self.payloads
    }

    /// A client of the server and one of slotway after `line`, with nothing there.
    pub(crate) fn fresh_clients(&self, line: &str) -> Result<(Client, Client)> {
        let mut server = Client::connect(&self.server.addr())?;
        let mut slotway = Client::connect(&self.proxy.addr())?;
        for client in [&mut server, &mut slotway] {
            let lines = ["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH"];
            // Where that one is left out, the only library there is.
            client.ask(&words("FUNCTION DELETE lib"))?;
            for line in lines.into_iter().filter(|line| !is_left_out(line)) {
                let reply = client.ask(&words(line))?;
                ensure!(reply.line == b"OK", "{line}: {reply}");
            }
            client.ask(&words(line))?;
        }
        Ok((server, slotway))
    }

    /// The sequence of this seed, in the protocol that it stands for.
    ///
    /// # Errors
    /// Replies differ: with the seed, the replies and the shortest sequence found that shows it.
    pub(crate) fn compare(&self, seed: u64, tally: &mut Tally) -> Result<()> {
        let mut rng = Rng::with_seed(seed);
        let protocol = if rng.bool() { "HELLO 3" } else { "HELLO 2" };
        let batches = sequence(&mut rng, &self.payloads);
        let played = self.play(protocol, &batches, tally);
        let Some(found) = played.with_context(|| format!("seed {seed}"))? else { return Ok(()) };
        let (batches, found) = self.shrink(protocol, batches, found)?;
        let mut text = format!("seed {seed}: replies differ (SLOTWAY_DIFFERENTIAL_SEED={seed})\n");
        writeln!(text, "    {}", show(&found.request))?;
        writeln!(text, "  one server: {}", found.server)?;
        writeln!(text, "  slotway:    {}", found.slotway)?;
        writeln!(text, "after {protocol} and, sent at once where a line follows another:")?;
        for batch in batches {
            batch
                .iter()
                .flatten()
                .try_for_each(|request| writeln!(text, "    {}", show(request)))?;
            writeln!(text)?;
        }
        Err(anyhow::anyhow!(text))
    }

    /// Plays it on both sides from nothing, and gives the first difference.
    fn play(
        &self,
        protocol: &str,
        batches: &[Vec<Step>],
        tally: &mut Tally,
    ) -> Result<Option<Difference>> {
        let (mut server, mut slotway) = self.fresh_clients(protocol)?;
        for (at, batch) in batches.iter().enumerate() {
            let requests: Vec<&Request> = batch.iter().flatten().collect();
            let replies = slotway.ask_all(requests.iter().copied()).context("slotway")?;
            let mut compared = Vec::new();
            for (request, reply) in requests.into_iter().zip(replies) {
                tally.requests += 1;
                tally.errors += usize::from(reply.is_error());
                match not_asked(request, &reply, &mut server)? {
                    Some(differs) => *tally.excused.entry(differs.why).or_default() += 1,
                    None => compared.push((request, reply)),
                }
            }
            let expected = server.ask_all(compared.iter().map(|(request, _)| *request));
            for ((request, reply), expected) in
                compared.into_iter().zip(expected.context("server")?)
            {
                if reply == expected {
                    continue;
                }
                match same_but_for(request, &expected, &reply) {
                    Some(differs) => *tally.excused.entry(differs.why).or_default() += 1,
                    None => {
                        let request = request.clone();
                        let found =
                            Difference { batch: at, request, server: expected, slotway: reply };
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Leaves out what is not needed for a difference, larger pieces first.
    fn shrink(
        &self,
        protocol: &str,
        mut batches: Vec<Vec<Step>>,
        mut found: Difference,
    ) -> Result<(Vec<Vec<Step>>, Difference)> {
        batches.truncate(found.batch + 1);
        let end = Instant::now() + SHRINK_TIME;
        let mut piece = batches.iter().map(Vec::len).sum::<usize>();
        while piece > 0 {
            let mut start = 0;
            while start < batches.iter().map(Vec::len).sum() && Instant::now() < end {
                let fewer = without(&batches, start..start + piece);
                match self.play(protocol, &fewer, &mut Tally::default()) {
                    Ok(Some(difference)) => (batches, found) = (fewer, difference),
                    _ => start += piece,
                }
            }
            piece /= 2;
        }
        Ok((batches, found))
    }
}

/// All steps but these, counted over all batches.
fn without(batches: &[Vec<Step>], range: std::ops::Range<usize>) -> Vec<Vec<Step>> {
    let mut number = 0;
    let mut rest = Vec::new();
    for batch in batches {
        let mut kept = Vec::new();
        for step in batch {
            if !range.contains(&number) {
                kept.push(step.clone());
            }
            number += 1;
        }
        if !kept.is_empty() {
            rest.push(kept);
        }
    }
    rest
}

/// Enough for the longest sequence, and an end for one that fails now and then only.
const SHRINK_TIME: Duration = Duration::from_secs(20);
