//! A client that is subscribed, a client that publishes, and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use slotway::resp::reply::{Progress, Scanner};
use testbed::{Peer, Proxy, ProxyBuilder};

/// Longer than anything here takes, short of a hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn slotway(seeds: Vec<String>) -> ProxyBuilder {
    Proxy::builder(seeds).binary(env!("CARGO_BIN_EXE_slotway"))
}

/// The number behind `series` on the page of metrics; 0 if it is not there.
pub(crate) fn metric(proxy: &Proxy, series: &str) -> Result<u64> {
    let (_, page) = proxy.http_get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(Ok(0), |number| number.parse().with_context(|| format!("{series} {number}")))
}

/// A connection that reads what comes value by value.
pub(crate) struct Client {
    pub(crate) peer: Peer,
}

impl Client {
    pub(crate) fn connect(addr: &str) -> Result<Client> {
        let mut peer = Peer::connect(addr)?;
        peer.set_deadline(DEADLINE);
        Ok(Client { peer })
    }

    pub(crate) fn send(&mut self, line: &str) -> Result<()> {
        self.peer.send_command(&line.split(' ').collect::<Vec<_>>())
    }

    /// The next value, as it came.
    pub(crate) fn value(&mut self) -> Result<Vec<u8>> {
        let (mut scanner, mut value) = (Scanner::default(), Vec::new());
        loop {
            let mut piece = self.peer.read_line()?;
            piece.extend_from_slice(b"\r\n");
            let mut rest = &piece[..];
            while !rest.is_empty() {
                match scanner.feed(rest) {
                    Progress::Complete { used, .. } => {
                        value.extend_from_slice(&rest[..used]);
                        ensure!(used == rest.len(), "a value ends amid a line");
                        return Ok(value);
                    }
                    Progress::More => {
                        value.extend_from_slice(rest);
                        rest = &[];
                    }
                    Progress::Bad(why) => bail!("{why}: {}", value.escape_ascii()),
                }
            }
        }
    }

    /// The next value as words, without headers: `message c m`.
    pub(crate) fn words(&mut self) -> Result<String> {
        let value = String::from_utf8(self.value()?)?;
        let is_word = |line: &&str| !line.starts_with(['$', '*', '>']);
        Ok(value.lines().filter(is_word).collect::<Vec<_>>().join(" "))
    }

    pub(crate) fn ask(&mut self, line: &str) -> Result<String> {
        self.send(line)?;
        self.words()
    }
}

/// Publishes 1, 2, 3 … to a channel until it is told to stop; every one must be taken.
pub(crate) struct Publisher {
    stop: Arc<AtomicBool>,
    /// The last that was answered.
    pub(crate) sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<u64>>,
}

impl Publisher {
    pub(crate) fn start(proxy: &Proxy, command: &'static str, channel: &str) -> Result<Publisher> {
        let mut client = Client::connect(&proxy.addr())?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, answered) = (Arc::clone(&stop), Arc::clone(&sent));
        let channel = channel.to_owned();
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                let reply = client.ask(&format!("{command} {channel} {number}"))?;
                // What a dead node took along is nobody's fault, and said so.
                let unknown = reply.starts_with("-UNKNOWNRESULT");
                ensure!(reply.starts_with(':') || unknown, "{channel} {number}: {reply}");
                answered.store(number, Ordering::Relaxed);
                // The pace of its load.
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(number)
        });
        Ok(Publisher { stop, sent, thread })
    }

    /// The last number that was published.
    pub(crate) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the publisher has panicked"))?
    }
}

/// Reads what a publisher sends, in its order and nothing twice, until its number reaches `until`;
/// returns how many did not come.
pub(crate) fn follow(
    subscriber: &mut Client,
    from: &mut u64,
    until: impl Fn(u64) -> bool,
) -> Result<u64> {
    let mut missing = 0;
    while !until(*from) {
        let message = subscriber.words()?;
        let number: u64 = message
            .rsplit(' ')
            .next()
            .filter(|_| message.contains("message "))
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no message: {message}"))?;
        ensure!(number > *from, "{message} behind {from}");
        missing += number - *from - 1;
        *from = number;
    }
    Ok(missing)
}
