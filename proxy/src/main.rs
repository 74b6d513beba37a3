//! The story of the process: options, logging, serve, drain, exit code.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use slotway::config::{self, Config, Invocation, Refusal, logging};
use slotway::server;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
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
fn serve(config: Config) -> anyhow::Result<()> {
    let settings = config::settings(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let result = runtime.block_on(async {
        tokio::spawn(stop_on_signal(stop.clone())?);
        server::serve(settings, stop).await
    });
    // A name that is being resolved cannot be stopped, and is not worth waiting for.
    runtime.shutdown_background();
    result
}

/// Cancels at the first SIGTERM or SIGINT. The second one ends the process at once: who sends it
/// does not want to wait for the drain.
fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for told_before in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if told_before {
                warn!("{name} again: ending at once");
                std::process::exit(1);
            }
            info!("{name}: ending");
            stop.cancel();
        }
    })
}

/// Prints to standard output. Who closes it early, like `slotway --help | head`, has what they
/// wanted.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
