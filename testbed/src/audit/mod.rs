//! The fault audit: clients at work while something happens to what they talk to, a history of
//! what they were told, and a checker that holds it against what the servers have afterwards
//! (failure-masking contract, §7).
//!
//! ```no_run
//! use std::time::Duration;
//! use testbed::audit::{Final, Load, Lost, Mix, Rules, check};
//!
//! # fn main() -> anyhow::Result<()> {
//! let server = testbed::Standalone::start()?;
//! let shards = testbed::audit::even_shards(3);
//! let load = Load::start(&server.addr(), &shards, &Mix::default())?;
//! load.run_for(Duration::from_secs(2));
//! let history = load.finish(Duration::from_secs(5));
//! let end = Final::read(&history, |_| Ok(server.addr()))?;
//! let findings = check(&history, &end, &Lost::default(), &Rules::default());
//! assert!(findings.is_empty(), "{findings:?}");
//! # Ok(())
//! # }
//! ```
//!
//! **What is counted how.** Every write carries a token that no other write of the run carries
//! (counters: a range of values that no other counter has), and every key has one client that
//! writes it. So what a reply, a list or a string shows can be traced to the one request that may
//! have caused it; everything else is a finding.
//!
//! **Open loop.** Clients send by the clock, not by the answer, so that a stall shows as the
//! latency of all that was sent meanwhile. The exception are the clients that push each number
//! after the one before it was answered.
//!
//! **Lost by the servers** is told from lost by the proxy with the append-only files of all nodes
//! (`appendfsync no` writes each command to the file before its reply leaves, so they hold every
//! acknowledged write of a killed process): see [`Lost`].

mod aof;
mod blocks;
mod channels;
mod check;
mod double;
mod history;
mod last;
mod load;
mod lost;
mod mix;
mod order;
mod over;
mod queues;
mod registers;
mod report;
mod timeline;
mod watch;
mod what;
mod wire;

pub use channels::Gaps;
pub use check::{Finding, Kind, Rules, check};
pub use double::{Double, Fault};
pub use history::{Base, Heard, History, Key, Op, Outcome};
pub use last::Final;
pub use load::Load;
pub use lost::{Lost, evidence_options};
pub use mix::{Mix, even_shards};
pub use report::{Report, ShardTimes};
pub use timeline::Timeline;
pub use watch::{Outage, Seen, Watch};
pub use what::{TAKE, What};
pub use wire::{Conn, Reply, request};
