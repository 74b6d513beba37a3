//! The process around the workers: listeners, worker threads, what the workers share, drain.

pub mod admin;
mod crew;
mod descriptors;
mod facts;
mod limits;
mod listeners;
mod memory;
mod settings;
mod survey;
mod watch;

pub use settings::{Listen, Settings};

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::command;
use crate::discovery::{self, Census, Handle};
use crate::events::Events;
use crate::metrics::Registry;
use crate::topology;
use crew::Crew;

/// Serves until `stop` is cancelled, then drains. Must run on a current-thread runtime, which
/// carries all but the clients' and nodes' bytes.
///
/// # Errors
/// If a listener cannot be bound, no seed answers within the startup timeout, or a worker fails.
pub async fn serve(mut settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let started = Instant::now();
    settings.clients_max = descriptors::room_for(settings.clients_max);
    let registry = Registry::new(command::CommandId::COUNT);
    registry.process.start_timestamp_seconds.set(watch::unix_seconds());
    let listeners = listeners::bind(&settings.listen).await?;
    let admin = match &settings.admin {
        Some(address) => Some(listeners::bind_admin(address).await?),
        None => None,
    };
    let handle = Handle::new();
    let events = Arc::new(Events::new(watch::since_1970));
    let facts = facts::Source {
        handle: handle.clone(),
        registry: Arc::clone(&registry),
        started,
        run_id: (0..40).map(|_| fastrand::char('a'..='f')).collect::<String>().into(),
        tcp_port: listeners.first_port(),
        clients_max: settings.clients_max,
    };
    let (ask_nodes, nodes_asked) = mpsc::unbounded_channel();
    let (crew, mut roll) = Crew::start(&settings, &handle, &registry, &events, &facts, &ask_nodes)?;
    // Ends the tasks below; not cancelled before the drain is over, so that a drain can be
    // watched.
    let over = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let discovery = discovery::run(settings.discovery.clone(), handle.clone(), over.clone());
    tasks.spawn(async move { discovery.await.map_err(anyhow::Error::from) });
    let census = Census::new(settings.discovery.clone(), handle.clone());
    let (survey, ended) = (survey::answer(nodes_asked, census, facts), over.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = survey => {}
            () = ended.cancelled() => {}
        }
        Ok(())
    });
    if let Some(listener) = admin {
        let sources = sources(&registry, &handle, &events, &stop, started);
        let serve = admin::serve(listener, sources, admin::Limits::default(), over.clone());
        tasks.spawn(async move {
            serve.await;
            Ok(())
        });
    }
    let memory = memory::give_back(Arc::clone(&registry), over.clone());
    tasks.spawn(async move {
        memory.await;
        Ok(())
    });
    tasks.spawn(watch::topology(
        settings.limits(),
        handle.clone(),
        Arc::clone(&registry),
        Arc::clone(&events),
        crew.senders(),
        started,
        over.clone(),
    ));
    let result = tokio::select! {
        () = stop.cancelled() => Ok(()),
        failed = roll.failed() => Err(failed),
        ended = tasks.join_next() => match ended {
            Some(ended) => ended.context("a task of the process failed").and_then(|result| result),
            None => Ok(()),
        },
        never = listeners.accept(&crew, &registry) => match never {},
    };
    drop(listeners);
    registry.process.draining.set(1);
    crew.drain(roll, settings.drain_timeout).await;
    over.cancel();
    while tasks.join_next().await.is_some() {}
    result
}

fn sources(
    registry: &Arc<Registry>,
    handle: &Handle,
    events: &Arc<Events>,
    stop: &CancellationToken,
    started: Instant,
) -> admin::Sources {
    let events = Arc::clone(events);
    let (map, missing, stop) = (handle.clone(), handle.clone(), stop.clone());
    admin::Sources {
        registry: Arc::clone(registry),
        command_name: Box::new(|index| command::rows().nth(index).map_or("", |row| row.name)),
        topology: Box::new(move || topology::json(&map.topology().load())),
        events: Box::new(move || events.recent(usize::MAX)),
        not_ready: Box::new(move || {
            let draining = stop.is_cancelled().then(|| "draining".to_owned());
            missing.missing().into_iter().chain(draining).collect()
        }),
        started,
    }
}
