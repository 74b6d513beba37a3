//! The demo: a real cluster of 3 primaries and 3 replicas, and slotway before it, until Ctrl-C.
//!
//! `--cluster-only` leaves slotway out: a cluster to try other programs against.

use anyhow::{Context, Result, bail};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use testbed::{Cluster, Output, Proxy, key_slot};
use tokio::signal::unix::{Signal, SignalKind, signal};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The demo has ended: {error:#}.");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let cluster_only = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [arg] if arg == "--cluster-only" => true,
        _ => bail!("its only argument is --cluster-only"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything is started: from here on Ctrl-C cleans up, at whatever moment it comes.
    let mut stop = {
        let _inside = runtime.enter();
        Stop::new()?
    };
    say("Starting a cluster of 3 primaries and 3 replicas …");
    let cluster = Cluster::builder().first_port(7000).start()?;
    if cluster_only {
        say(&describe(&cluster)?);
        return runtime.block_on(stop.ended(|| Ok(())));
    }
    let proxy = Proxy::builder(cluster.seeds())
        .first_ports(6379, 9121)
        .output(Output::Inherited)
        .start()?;
    say(&describe(&cluster)?);
    say(&invite(&cluster, &proxy)?);
    runtime.block_on(stop.ended(|| match proxy.exited() {
        None => Ok(()),
        Some(status) => bail!("slotway has ended by itself ({status})"),
    }))?;
    say("Ending …");
    let code = proxy.terminate()?;
    if code != 0 {
        bail!("slotway has ended with the exit code {code}");
    }
    Ok(())
}

/// The cluster, a line for each shard.
fn describe(cluster: &Cluster) -> Result<String> {
    let mut text = String::from("\nThe cluster:\n");
    for number in 0..3 {
        let shard = cluster.shard(number);
        let (primary, replica) = (shard.primary()?, shard.replica()?);
        let slots = shard.slots()?;
        let first = slots.first().context("a shard without slots")?;
        let last = slots.last().context("a shard without slots")?;
        text.push_str(&format!(
            "  slots {first:>5}-{last:<5}  primary {primary} (process {})  replica {replica} (process {})\n",
            primary.pid(),
            replica.pid(),
        ));
    }
    Ok(text)
}

/// What to try.
fn invite(cluster: &Cluster, proxy: &Proxy) -> Result<String> {
    let port = proxy.port();
    let victim = cluster.primary_of(key_slot("a"))?.pid();
    Ok(format!(
        "slotway makes it look like one server: {addr} (process {pid}).\n\n\
         Try, in another terminal:\n  \
         redis-cli -p {port} set a 1\n  \
         redis-cli -p {port} get a\n  \
         redis-cli -p {port}              and type on, while you kill the primary of a:\n  \
         kill -9 {victim}\n  \
         curl http://{admin}/readyz     what slotway says of itself; /metrics has the figures\n\n\
         Ctrl-C ends everything and removes it.\n",
        addr = proxy.addr(),
        pid = proxy.pid(),
        admin = proxy.admin_addr(),
    ))
}

/// The signals that end the demo.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> Result<Stop> {
        let [int, term, hup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Stop([int?, term?, hup?]))
    }

    /// Waits for a signal, or for the moment when `check` fails.
    async fn ended(&mut self, check: impl Fn() -> Result<()>) -> Result<()> {
        let [int, term, hup] = &mut self.0;
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = int.recv() => return Ok(()),
                _ = term.recv() => return Ok(()),
                _ = hup.recv() => return Ok(()),
                _ = look.tick() => check()?,
            }
        }
    }
}

/// Prints; whoever closed our output does not want to read it.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
