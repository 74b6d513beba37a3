//! The memory of thousands of connections: resident before, open and idle, used once, and after.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::generator::Clients;
use crate::interrupt::pause;
use crate::loads::{Action, IDLE_CONNECTIONS, SMALL};
use crate::stage::Stage;
use crate::targets::{Kind, Target};
use crate::usage::{self, Resident};

/// How long a proxy rests before it is read, so that what it does in the background is done.
const REST: Duration = Duration::from_secs(2);

/// From the closing of the connections to the last reading: what the goals say.
const AFTER_CLOSING: Duration = Duration::from_secs(10);

/// How many connections have a request under way at once: as in the loads.
const AT_ONCE: usize = 50;

/// Resident memory of one fresh proxy over its life.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Serving, a few requests answered, no client connected.
    pub start: Resident,
    /// With all connections open; none has sent anything.
    pub open: Resident,
    /// After one GET on each.
    pub used: Resident,
    /// Ten seconds after all were closed.
    pub closed: Resident,
}

impl Memory {
    /// Growth per connection that is open and has sent nothing.
    pub fn per_idle_connection(&self) -> f64 {
        growth(self.start, self.open) / IDLE_CONNECTIONS as f64
    }

    /// Growth per connection that was used once and is idle again.
    pub fn per_used_connection(&self) -> f64 {
        growth(self.start, self.used) / IDLE_CONNECTIONS as f64
    }

    /// What is left above the start after all have gone.
    pub fn kept_after_closing(&self) -> f64 {
        growth(self.start, self.closed)
    }
}

/// Can be negative: the kernel may reclaim pages meanwhile.
fn growth(from: Resident, to: Resident) -> f64 {
    to.total_bytes as f64 - from.total_bytes as f64
}

/// Starts a fresh proxy of a kind and follows its memory.
pub fn measure(kind: Kind, stage: &Stage) -> Result<Memory> {
    let mut target = Target::start(kind, stage)?;
    let outcome = run(&target);
    let ended = target.check();
    ended
        .and(outcome)
        .with_context(|| format!("{IDLE_CONNECTIONS} idle connections on {}", kind.name()))
}

fn run(target: &Target) -> Result<Memory> {
    let pid = target.proxy_pid().context("no proxy to look at")?;
    pause(REST)?;
    let start = usage::resident(pid)?;
    let files = usage::open_files(pid)?;

    let mut clients =
        Clients::connect_many(target.address, IDLE_CONNECTIONS, 1, Action::Get, &SMALL)?;
    // The kernel completes a connection before the proxy has taken it.
    wait_for_files(pid, "too few connections were accepted", |now| {
        now >= files + IDLE_CONNECTIONS
    })?;
    pause(REST)?;
    let open = usage::resident(pid)?;

    clients.use_each_once(AT_ONCE)?;
    pause(REST)?;
    let used = usage::resident(pid)?;

    drop(clients);
    wait_for_files(pid, "closed connections were kept", |now| now < files + 100)?;
    pause(AFTER_CLOSING)?;
    let closed = usage::resident(pid)?;
    Ok(Memory { start, open, used, closed })
}

fn wait_for_files(pid: u32, complaint: &str, reached: impl Fn(usize) -> bool) -> Result<()> {
    for _ in 0..500 {
        if reached(usage::open_files(pid)?) {
            return Ok(());
        }
        pause(Duration::from_millis(20))?;
    }
    bail!("{complaint}: the proxy has {} files open", usage::open_files(pid)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_per_connection_and_from_the_start() {
        let at = |mib: u64| Resident { total_bytes: mib << 20, anonymous_bytes: 0 };
        let memory = Memory { start: at(10), open: at(19), used: at(28), closed: at(9) };
        assert!((memory.per_idle_connection() - 1048.576).abs() < 1e-9);
        assert!((memory.per_used_connection() - 2.0 * 1048.576).abs() < 1e-9);
        assert_eq!(memory.kept_after_closing(), -1048576.0);
    }
}
