//! Messages to a thousand subscribers: the CPU time that one delivery costs, when each message is
//! published after the one before has come, and when many are published at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::stage::Stage;
use crate::targets::{Kind, Target};
use crate::usage;

/// The name by which `--only` chooses this row.
pub const FAN_OUT: &str = "fanout-1000";

/// How many are subscribed.
pub const SUBSCRIBERS: usize = 1_000;

/// How many messages are published at once: one, which costs a send for each delivery, and as many
/// as a busy channel has in a turn, which share one.
pub const BURSTS: [usize; 2] = [1, 16];

const MESSAGE: &[u8] =
    b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n";
const PUBLISH: &[u8] =
    b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nc\r\n$32\r\n0123456789abcdef0123456789abcdef\r\n";

/// Whether this row is measured on a target: proxies that know no subscriptions are left out.
pub fn runs(kind: Kind) -> bool {
    matches!(kind, Kind::Direct | Kind::Slotway)
}

/// The CPU time, in microseconds, that a fresh target (a server alone is one too) spends on one
/// delivery; bursts of so many messages follow each other for `time`, each when all have got the
/// one before.
pub fn measure(kind: Kind, stage: &Stage, burst: usize, time: Duration) -> Result<f64> {
    let mut target = Target::start(kind, stage)?;
    let outcome = run(&target, burst, time);
    let ended = target.check();
    ended.and(outcome).with_context(|| format!("{FAN_OUT} on {}", kind.name()))
}

fn run(target: &Target, burst: usize, time: Duration) -> Result<f64> {
    let pid = target.proxy_pid().or(target.node_pids.first().copied());
    let pid = pid.context("there is nobody to look at")?;
    let connect = || -> Result<TcpStream> {
        let stream = TcpStream::connect(target.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(stream)
    };
    let mut subscribers = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let mut stream = connect()?;
        stream.write_all(b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n")?;
        let mut confirmed = [0; b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".len()];
        stream.read_exact(&mut confirmed)?;
        subscribers.push(stream);
    }
    let mut publisher = BufReader::new(connect()?);
    let (request, expected) = (PUBLISH.repeat(burst), MESSAGE.repeat(burst));
    let mut got = vec![0; expected.len()];
    let mut publish = || -> Result<()> {
        publisher.get_mut().write_all(&request)?;
        for _ in 0..burst {
            let mut receivers = String::new();
            publisher.read_line(&mut receivers)?;
            ensure!(receivers == format!(":{SUBSCRIBERS}\r\n"), "receivers: {receivers}");
        }
        for subscriber in &mut subscribers {
            subscriber.read_exact(&mut got)?;
            ensure!(got == expected, "a subscriber got {}", got.escape_ascii());
        }
        Ok(())
    };
    publish()?;
    let (before, start, mut messages) = (usage::cpu_ns(pid)?, Instant::now(), 0);
    while start.elapsed() < time {
        publish()?;
        messages += burst;
    }
    let spent = usage::cpu_ns(pid)? - before;
    Ok(spent as f64 / 1e3 / (messages * SUBSCRIBERS) as f64)
}
