//! Transactions of one client, sent at once or one by one: slotway says what the server says.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;

use super::differs::same_but_for;
use super::grammar::transaction;
use super::play::Stage;
use super::wire::{Client, Reply, Request, show};

#[test]
fn transactions_end_as_at_one_server() -> Result<()> {
    play_for(Duration::from_secs(4), 1)
}

#[test]
#[ignore = "soak: 2 minutes of new transactions"]
fn transactions_end_as_at_one_server_for_long() -> Result<()> {
    play_for(Duration::from_secs(120), fastrand::u64(1 << 32..1 << 48))
}

/// What became of them, so that nothing is proved by nothing.
#[derive(Debug, Default)]
struct Ends {
    executed: usize,
    aborted: usize,
    null: usize,
}

fn play_for(duration: Duration, first_seed: u64) -> Result<()> {
    let stage = Stage::start()?;
    let mut ends = Ends::default();
    let end = Instant::now() + duration;
    let only = std::env::var("SLOTWAY_DIFFERENTIAL_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in only.unwrap_or(first_seed).. {
        play(&stage, seed, &mut ends).with_context(|| format!("seed {seed}"))?;
        if Instant::now() >= end || only.is_some() {
            break;
        }
    }
    eprintln!("{ends:?}");
    let enough = ends.executed > 50 && ends.aborted > 5 && ends.null > 0;
    ensure!(enough || only.is_some(), "hardly anything was compared: {ends:?}");
    Ok(())
}

fn play(stage: &Stage, seed: u64, ends: &mut Ends) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let protocol = if rng.bool() { "HELLO 3" } else { "HELLO 2" };
    let (mut server, mut slotway) = stage.fresh_clients(protocol)?;
    let tag = ["{t}", "{u}", "{v}"][rng.usize(..3)];
    // A transaction may go on from one round to the next.
    let mut queued: Vec<Request> = Vec::new();
    for _ in 0..rng.usize(1..10) {
        let mut requests = transaction(&mut rng, tag, stage.payloads());
        if protocol == "HELLO 3" {
            // Of a client in the other protocol, which would be another one's from then on.
            requests.retain(|request| request != &[b"RESET".to_vec()]);
        }
        let at_once = rng.bool();
        let expected = ask(&mut server, &requests, at_once).context("server")?;
        let replies = ask(&mut slotway, &requests, at_once).context("slotway")?;
        for (at, (request, (one, other))) in
            requests.iter().zip(expected.iter().zip(&replies)).enumerate()
        {
            let is_exec = request[0].eq_ignore_ascii_case(b"EXEC");
            if is_exec {
                ends.executed += usize::from(!other.items.is_empty());
                ends.aborted += usize::from(other.is_error());
                ends.null += usize::from(other.kind == b'_' || other.line == b"-1");
            }
            let same = one == other
                || (is_exec && all_same(&queued, one, other))
                || same_but_for(request, one, other).is_some();
            if !same {
                let told: Vec<String> = requests[..=at].iter().map(show).collect();
                bail!("{}\n  one server: {one}\n  slotway:    {other}", told.join("\n    "));
            }
            match other.line.as_slice() {
                b"QUEUED" => queued.push(request.clone()),
                _ if request[0].eq_ignore_ascii_case(b"MULTI") && !other.is_error() => {
                    queued.clear()
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn ask(client: &mut Client, requests: &[Request], at_once: bool) -> Result<Vec<Reply>> {
    if at_once {
        return client.ask_all(requests.iter());
    }
    requests.iter().map(|request| client.ask(request)).collect()
}

/// The replies that EXEC gives are those of its commands.
fn all_same(queued: &[Request], one: &Reply, other: &Reply) -> bool {
    let lengths = [one.items.len(), other.items.len(), queued.len()];
    let mut each = queued.iter().zip(one.items.iter().zip(&other.items));
    lengths == [queued.len(); 3]
        && each.all(|(request, (a, b))| a == b || same_but_for(request, a, b).is_some())
}
