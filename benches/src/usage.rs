//! What processes used: CPU time in nanoseconds and resident memory, from its clock and `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// CPU time of a process since it began, in nanoseconds: user and system, all its threads,
/// those that have ended too.
///
/// From the process's CPU clock, which is exact at the moment it is read. `/proc/PID/stat` counts
/// ticks of 10 ms, half a percent of a cell; `/proc/PID/task/*/schedstat` forgets ended threads.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let read = || clock_gettime(clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))?);
    let time = read().with_context(|| format!("no CPU clock of process {pid}"))?;
    Ok(Duration::from(time).as_nanos() as u64)
}

/// The same for several processes together.
pub fn cpu_ns_of_all(pids: &[u32]) -> Result<u64> {
    pids.iter().map(|pid| cpu_ns(*pid)).sum()
}

/// User and system time of a process in ticks of 10 ms: coarse, but it tells the two apart.
pub fn user_and_system_ticks(pid: u32) -> Result<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_ticks(&stat).with_context(|| format!("/proc/{pid}/stat is not understood"))
}

fn parse_ticks(stat: &str) -> Option<(u64, u64)> {
    // The name stands in parentheses and may hold anything; the fields count from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |index| fields.split_whitespace().nth(index)?.parse().ok();
    Some((field(11)?, field(12)?))
}

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resident {
    /// All of it: `VmRSS`.
    pub total_bytes: u64,
    /// What is the process's own and not a mapped file: `RssAnon`.
    pub anonymous_bytes: u64,
}

/// What is resident of a process now.
pub fn resident(pid: u32) -> Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("no process {pid}"))?;
    parse_resident(&status).with_context(|| format!("/proc/{pid}/status has no VmRSS"))
}

fn parse_resident(status: &str) -> Option<Resident> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        first_number(line.trim_start_matches(':'))
    };
    Some(Resident { total_bytes: kib("VmRSS")? * 1024, anonymous_bytes: kib("RssAnon")? * 1024 })
}

/// How many files and sockets a process has open.
pub fn open_files(pid: u32) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What the whole machine did since it began, in ticks of 10 ms over all cores.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// User, nice, system, and interrupts.
    pub busy_ticks: u64,
    /// Taken away by the hypervisor.
    pub stolen_ticks: u64,
}

/// Reads the machine's counters, to tell whether something else ran beside a measurement.
pub fn machine() -> Result<Machine> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu "));
    let ticks: Vec<u64> = line
        .context("/proc/stat has no cpu line")?
        .split_whitespace()
        .filter_map(|text| text.parse().ok())
        .collect();
    let &[user, nice, system, _idle, _wait, irq, soft, stolen, ..] = ticks.as_slice() else {
        anyhow::bail!("/proc/stat has too few fields");
    };
    Ok(Machine { busy_ticks: user + nice + system + irq + soft, stolen_ticks: stolen })
}

/// How long a tick of `/proc/stat` is: `USER_HZ` is 100 on every Linux of today.
pub const TICK_NS: u64 = 10_000_000;

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use testbed::{Output, Process, wait_until};

    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    1752 kB\nRssAnon:\t     112 kB\n";
        let expected = Resident { total_bytes: 1752 * 1024, anonymous_bytes: 112 * 1024 };
        assert_eq!(parse_resident(status), Some(expected));
        assert_eq!(parse_resident("Name:\tx\n"), None);
    }

    #[test]
    fn cpu_time_that_a_child_burns_is_seen() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]);
        let child = Process::start("a shell", &shell, Output::Kept).unwrap();
        let pid = child.pid();
        let before = cpu_ns(pid).unwrap();
        let moved = || cpu_ns(pid).unwrap() > before + 2 * TICK_NS;
        wait_until("CPU time to be spent", Duration::from_secs(20), moved).unwrap();
        let (user, system) = user_and_system_ticks(pid).unwrap();
        assert!(user + system >= 1, "{user} + {system}");
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 41 42 0 0";
        assert_eq!(parse_ticks(stat), Some((41, 42)));
        assert_eq!(parse_ticks("7 (short) R 1"), None);
    }

    #[test]
    fn our_open_files_are_counted() {
        let before = open_files(process::id()).unwrap();
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile, but not this many.
        assert!(open_files(process::id()).unwrap() >= before + held.len() - 25);
    }
}
