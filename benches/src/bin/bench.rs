//! `make bench`: slotway beside its peers, in one go, with a report under `target/bench/`.

#![allow(clippy::print_stdout, reason = "the summary is what this program prints")]

use std::process::ExitCode;

use anyhow::Result;
use benches::host::raise_open_files;
use benches::interrupt;
use benches::options::Options;
use benches::run::Run;
use benches::targets::{Kind, OPEN_FILES_WANTED};

fn main() -> ExitCode {
    bench().unwrap_or_else(|error| {
        say(&format!("bench: {error:#}"));
        ExitCode::FAILURE
    })
}

fn bench() -> Result<ExitCode> {
    let mut options = Options::from_command_line()?;
    interrupt::watch()?;
    let files = raise_open_files(OPEN_FILES_WANTED)?;
    if files < OPEN_FILES_WANTED {
        say(&format!(
            "only {files} open files are allowed; the memory rows want {OPEN_FILES_WANTED}"
        ));
    }
    if let Some(load) = options.profile {
        if options.kinds == Kind::ALL {
            options.kinds = vec![Kind::Slotway];
        }
        for file in Run::set_up(&options, say)?.profile_all(load)? {
            println!("{}", options.output.join(file).display());
        }
        return Ok(ExitCode::SUCCESS);
    }

    let mut run = Run::set_up(&options, say)?;
    run.measure(say)?;
    run.explain_misses(say)?;
    println!("{}", run.report()?);
    println!("The report: {}", options.output.join("report.md").display());
    // A missed goal is a result; a measurement that failed is none.
    Ok(if run.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Progress goes where it does not mix with the result.
fn say(words: &str) {
    eprintln!("{words}");
}
