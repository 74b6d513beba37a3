//! The same requests to one server and through slotway to a cluster: the replies are the same
//! bytes, but for what `differs.rs` lists, and the README with it.

mod differs;
mod grammar;
mod misuse;
mod play;
mod readme;
mod templates;
mod transactions;
mod wire;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use play::{Stage, Tally};

#[test]
fn what_one_server_says_slotway_says() -> Result<()> {
    // The same sequences each time: what fails here fails again.
    run(1, Duration::from_secs(5))
}

#[test]
#[ignore = "soak: 5 minutes of new sequences"]
fn what_one_server_says_slotway_says_for_long() -> Result<()> {
    run(fastrand::u64(1 << 32..1 << 48), Duration::from_secs(300))
}

/// Seed after seed. `SLOTWAY_DIFFERENTIAL_SEED` plays that one alone,
/// `SLOTWAY_DIFFERENTIAL_SECONDS` says how long.
fn run(first_seed: u64, duration: Duration) -> Result<()> {
    let of = |name: &str| -> Result<Option<u64>> {
        let Ok(text) = std::env::var(name) else { return Ok(None) };
        text.parse().map(Some).with_context(|| format!("{name}={text}"))
    };
    let stage = Stage::start()?;
    let mut tally = Tally::default();
    if let Some(seed) = of("SLOTWAY_DIFFERENTIAL_SEED")? {
        return stage.compare(seed, &mut tally);
    }
    let duration = of("SLOTWAY_DIFFERENTIAL_SECONDS")?.map_or(duration, Duration::from_secs);
    let end = Instant::now() + duration;
    let mut seed = first_seed;
    while Instant::now() < end {
        stage.compare(seed, &mut tally)?;
        seed += 1;
    }
    eprintln!("{} sequences from seed {first_seed}: {tally:#?}", seed - first_seed);
    ensure!(tally.requests > 1000, "hardly anything was compared: {tally:?}");
    ensure!(tally.errors * 2 < tally.requests, "most replies are errors: {tally:?}");
    Ok(())
}
