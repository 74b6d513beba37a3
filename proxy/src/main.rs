//! The story of the process: options, logging, serve, drain, exit code.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use slotway::config::{Config, Invocation, Refusal, logging};
use tracing::{debug, error, info, warn};

fn main() -> ExitCode {
    match Config::load(env::args_os(), env::vars_os()) {
        Ok(Invocation::Run { config, warnings }) => run(*config, &warnings),
        Ok(Invocation::Check { verdict, warnings }) => {
            warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
            print(&format!("{verdict}\n"))
        }
        Ok(Invocation::Print(text)) => print(&text),
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::from(Refusal::EXIT_CODE)
        }
    }
}

fn run(config: Config, warnings: &[String]) -> ExitCode {
    if let Err(e) = logging::start(&config) {
        eprintln!("error: logging cannot be set up: {e}");
        return ExitCode::FAILURE;
    }
    info!(seeds = ?config.seeds, workers = config.workers, "slotway {} starting", env!("CARGO_PKG_VERSION"));
    warnings.iter().for_each(|warning| warn!("{warning}"));
    debug!(?config);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            error!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal says to drain.
fn serve(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the data plane is not linked yet")
}

/// Prints to standard output. Who closes it early, like `slotway --help | head`, has what they
/// wanted.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
