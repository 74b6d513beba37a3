//! The worker threads, and how the rest of the process talks to them.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::Settings;
use super::facts::Source;
use crate::command::CommandId;
use crate::discovery::{Handle, Reason};
use crate::driver::{self, Driver, Mail, Mailbox, NodesInquiry, Sender, mailbox};
use crate::events::Events;
use crate::metrics::{NodeCells, Registry, WorkerCells};
use crate::net;
use crate::session::Manners;
use crate::time::Moment;
use crate::worker::{Credentials, Operator, Surroundings, WishReason, Worker};

/// All workers.
pub(super) struct Crew {
    members: Vec<Member>,
    clients_max: usize,
    client_keepalive: Duration,
    next_client_id: AtomicU64,
}

/// Who of the crew is still at work.
pub(super) struct Roll {
    /// Each thread says here how it ended.
    ended: mpsc::UnboundedReceiver<(usize, std::thread::Result<()>)>,
    running: usize,
}

struct Member {
    sender: Sender,
    /// Clients that it has, or is about to have.
    clients: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Crew {
    /// Starts the threads.
    pub(super) fn start(
        settings: &Settings,
        handle: &Handle,
        registry: &Arc<Registry>,
        events: &Arc<Events>,
        facts: &Source,
        nodes_asked: &mpsc::UnboundedSender<NodesInquiry>,
    ) -> anyhow::Result<(Crew, Roll)> {
        let (report, ended) = mpsc::unbounded_channel();
        let mut members = Vec::new();
        let (senders, mailboxes): (Vec<Sender>, Vec<Mailbox>) =
            (0..settings.workers).map(|_| mailbox()).unzip();
        let senders: Arc<[Sender]> = senders.into();
        for (number, mail) in mailboxes.into_iter().enumerate() {
            let sender = senders[number].clone();
            let clients = Arc::new(AtomicUsize::new(0));
            let cells = Arc::new(WorkerCells::new(CommandId::COUNT));
            registry.register_worker(Arc::clone(&cells));
            let post = Post {
                mail,
                sender: sender.clone(),
                all: Arc::clone(&senders),
                clients: Arc::clone(&clients),
                cells,
                handle: handle.clone(),
                registry: Arc::clone(registry),
                events: Arc::clone(events),
                settings: settings.clone(),
                nodes_asked: nodes_asked.clone(),
                facts: facts.clone(),
            };
            let report = report.clone();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    let result =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| post.work()));
                    let _ = report.send((number, result));
                })
                .with_context(|| format!("worker thread {number} cannot be started"))?;
            members.push(Member { sender, clients, thread: Some(thread) });
        }
        let roll = Roll { ended, running: members.len() };
        let crew = Crew {
            members,
            clients_max: settings.clients_max,
            client_keepalive: settings.client_keepalive,
            next_client_id: AtomicU64::new(1),
        };
        Ok((crew, roll))
    }

    /// Where to send mail to each worker.
    pub(super) fn senders(&self) -> Vec<Sender> {
        self.members.iter().map(|member| member.sender.clone()).collect()
    }

    /// As many clients as allowed are connected.
    pub(super) fn is_full(&self) -> bool {
        let all = self.members.iter().map(|member| member.clients.load(Ordering::Relaxed));
        all.sum::<usize>() >= self.clients_max
    }

    /// Gives a client to the worker that has the fewest: a few long-lived connections would
    /// spread badly by chance.
    pub(super) fn hand_over(&self, stream: TcpStream, manners: Manners) {
        if let Err(error) = net::tune_client(&stream, self.client_keepalive) {
            return tracing::debug!(%error, "a client was gone before it was served");
        }
        let fewest = self.members.iter().min_by_key(|m| m.clients.load(Ordering::Relaxed));
        let Some(member) = fewest else { return };
        member.clients.fetch_add(1, Ordering::Relaxed);
        let id = self.next_client_id.fetch_add(1, Ordering::Relaxed);
        // A worker that has ended is noticed elsewhere.
        let _ = member.sender.send(Mail::Client { stream, id, manners });
    }

    /// Tells the workers to finish what was promised and to end; waits for them, at most so long.
    pub(super) async fn drain(mut self, mut roll: Roll, timeout: Duration) {
        info!("draining: finishing what was promised");
        let tell = |mail: fn() -> Mail| {
            for member in &self.members {
                let _ = member.sender.send(mail());
            }
        };
        tell(|| Mail::Drain);
        let all_ended = async {
            while roll.running > 0 && roll.ended.recv().await.is_some() {
                roll.running -= 1;
            }
        };
        if tokio::time::timeout(timeout, all_ended).await.is_err() {
            let left: usize = self.members.iter().map(|m| m.clients.load(Ordering::Relaxed)).sum();
            warn!("the drain timeout is over; {left} clients are cut off");
            tell(|| Mail::Stop);
        }
        for member in &mut self.members {
            if let Some(thread) = member.thread.take() {
                let _ = thread.join();
            }
        }
        info!("drained");
    }
}

impl Roll {
    /// Waits until a worker ends that was not told to; says why.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        match self.ended.recv().await {
            Some((number, result)) => {
                self.running -= 1;
                match result {
                    Ok(()) => anyhow!("worker {number} has ended"),
                    Err(panic) => anyhow!("worker {number} has failed: {}", words(&*panic)),
                }
            }
            None => anyhow!("the workers have ended"),
        }
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What a worker thread takes with it.
struct Post {
    mail: Mailbox,
    sender: Sender,
    /// Of all workers.
    all: Arc<[Sender]>,
    clients: Arc<AtomicUsize>,
    cells: Arc<WorkerCells>,
    handle: Handle,
    registry: Arc<Registry>,
    events: Arc<Events>,
    settings: Settings,
    nodes_asked: mpsc::UnboundedSender<NodesInquiry>,
    facts: Source,
}

impl Post {
    fn work(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "a worker's runtime cannot be built"),
        };
        let cells = Arc::clone(&self.cells);
        let wishes = self.handle.clone();
        let (clients, all, nodes_asked) = (self.clients, self.all, self.nodes_asked);
        let epoch = self.facts.started;
        let settings = driver::Settings {
            connect_timeout: self.settings.connect_timeout,
            second_look: self.settings.second_look,
            epoch,
            wish: Box::new(move |wish, waited_for| {
                wishes.waits_for(waited_for);
                wishes.request_refresh(reason(wish));
            }),
            ask: Box::new(move |inquiry| {
                let inquiry = Arc::new(inquiry);
                for worker in all.iter() {
                    // One that has ended drops its share, which is an answer too.
                    let _ = worker.send(Mail::Question(Arc::clone(&inquiry)));
                }
            }),
            ask_nodes: Box::new(move |inquiry| {
                // Who answers has ended: so does the process, and its clients with it.
                let _ = nodes_asked.send(inquiry);
            }),
            closed: Box::new(move |count| {
                clients.fetch_sub(count, Ordering::Relaxed);
            }),
        };
        let operator = operator(&self.registry, self.events, epoch);
        let around = surroundings(&self.registry, operator, &self.settings, self.facts);
        let worker = Worker::new(self.settings.worker, around, Arc::clone(&cells));
        runtime.block_on(async move {
            let driver = Driver::new(worker, settings, cells, self.mail, self.sender);
            // As a task of its own: waking the future of `block_on` itself costs a system call.
            // Its budget is its own too: a turn reads each socket once.
            let driver = tokio::spawn(tokio::task::unconstrained(driver));
            if let Err(error) = driver.await
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        });
        // Dropping it would wait for names that are being resolved, longer than a drain may take.
        runtime.shutdown_background();
    }
}

fn operator(registry: &Arc<Registry>, events: Arc<Events>, epoch: Instant) -> Operator {
    let (told, registry) = (Arc::clone(&events), Arc::clone(registry));
    Operator {
        tell: Box::new(move |at, event| {
            let now = Moment::default() + epoch.elapsed();
            events.record(at, now, event);
        }),
        told: Box::new(move |count| told.recent(count)),
        summary: Box::new(move || registry.summary()),
    }
}

fn surroundings(
    registry: &Arc<Registry>,
    operator: Operator,
    settings: &Settings,
    facts: Source,
) -> Surroundings {
    let nodes = Arc::clone(registry);
    let source = settings.discovery.credentials.clone();
    let mut random = fastrand::Rng::new();
    Surroundings {
        facts: Box::new(move || facts.facts()),
        node_cells: Box::new(move |label| {
            let cells = Arc::new(NodeCells::default());
            nodes.register_node(label, Arc::clone(&cells));
            cells
        }),
        credentials: Box::new(move || {
            let credentials = source.get()?;
            Some(Credentials {
                user: credentials.user.unwrap_or_default(),
                password: credentials.password.expose().to_vec(),
            })
        }),
        operator,
        random: Box::new(move || random.f64()),
    }
}

fn reason(wish: WishReason) -> Reason {
    match wish {
        WishReason::Moved | WishReason::Scan => Reason::Moved,
        WishReason::UnknownNode => Reason::UnknownNode,
        WishReason::ConnectionLost => Reason::ConnectionFailed,
        WishReason::NotServing | WishReason::NoOwner => Reason::ClusterDown,
        WishReason::Unconfirmed => Reason::Unconfirmed,
    }
}
