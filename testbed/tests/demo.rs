//! The demo as a person runs it: started, used, ended; and nothing is left of it.

use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testbed::{Output, Process, wait_for, wait_until};

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
fn the_demo_refuses_arguments_that_it_does_not_know() -> Result<()> {
    let mut demo = demo(&["--no-such-thing"])?;
    assert_eq!(demo.wait(SOON)?.code(), Some(1));
    assert!(demo.output().contains("its only argument is --cluster-only"), "{}", demo.output());
    Ok(())
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
