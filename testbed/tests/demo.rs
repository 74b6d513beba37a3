//! The demo as a person runs it: started, used, ended; and nothing is left of it.

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testbed::{Output, Process, redis, wait_for, wait_until};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_killed_demo_leaves_no_server() -> Result<()> {
    let mut demo = demo(&["--cluster-only"])?;
    let servers = wait_for("the demo to say what runs", SOON, || {
        let servers = processes(&demo.output());
        ensure!(servers.len() == 6, "it names {servers:?}:\n{}", demo.output());
        Ok(servers)
    })?;
    assert!(servers.iter().all(|&pid| runs(pid)));
    demo.kill();
    wait_until("its servers to be gone", SOON, || !servers.iter().any(|&pid| runs(pid)))
}

#[test]
fn the_demo_serves_through_slotway_and_ends_clean_on_ctrl_c() -> Result<()> {
    let (mut demo, started) = whole_demo()?;
    let mut client = redis::Client::open(format!("redis://{}/", started.addr))?.get_connection()?;
    redis::cmd("SET").arg("a").arg("1").exec(&mut client)?;
    assert_eq!(redis::cmd("GET").arg("a").query::<String>(&mut client)?, "1");
    demo.signal(Signal::SIGINT)?;
    assert_eq!(demo.wait(SOON)?.code(), Some(0), "{}", demo.output());
    assert!(!started.processes.iter().any(|&pid| runs(pid)), "{}", demo.output());
    Ok(())
}

#[test]
fn the_demo_ends_with_a_sentence_when_slotway_dies() -> Result<()> {
    let (mut demo, started) = whole_demo()?;
    kill(Pid::from_raw(started.slotway.try_into()?), Signal::SIGKILL)?;
    assert_eq!(demo.wait(SOON)?.code(), Some(1));
    assert!(demo.output().contains("slotway has ended by itself"), "{}", demo.output());
    assert!(!started.processes.iter().any(|&pid| runs(pid)), "{}", demo.output());
    Ok(())
}

#[test]
fn the_demo_refuses_arguments_that_it_does_not_know() -> Result<()> {
    let mut demo = demo(&["--no-such-thing"])?;
    assert_eq!(demo.wait(SOON)?.code(), Some(1));
    assert!(demo.output().contains("its only argument is --cluster-only"), "{}", demo.output());
    Ok(())
}

/// What a whole demo says that it has started.
struct Started {
    /// Where slotway listens.
    addr: String,
    slotway: u32,
    /// The servers and slotway.
    processes: Vec<u32>,
}

fn whole_demo() -> Result<(Process, Started)> {
    let mut demo = demo(&[])?;
    let started = wait_for("the demo to invite", SOON, || {
        let (output, exited) = (demo.output(), demo.exited());
        if exited.is_some() {
            return Ok(Err(anyhow!("it has ended:\n{output}")));
        }
        ensure!(output.contains("Ctrl-C ends everything"), "it says so far:\n{output}");
        let (_, after) = output.split_once("like one server: ").context("no address")?;
        let addr = after.split(' ').next().context("no address")?.to_owned();
        let processes = processes(&output);
        ensure!(processes.len() == 7, "it names {processes:?}:\n{output}");
        let slotway = *processes.last().context("no process")?;
        Ok(Ok(Started { addr, slotway, processes }))
    })??;
    Ok((demo, started))
}

fn demo(args: &[&str]) -> Result<Process> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(args);
    Process::start("the demo", &command, Output::Kept)
}

/// The process ids that the demo names: `(process 1234)`.
fn processes(output: &str) -> Vec<u32> {
    let after = output.split("(process ").skip(1);
    after.filter_map(|text| text.split(')').next()?.parse().ok()).collect()
}

/// It is there and not only waiting to be collected by its parent.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
