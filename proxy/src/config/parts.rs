//! From options to what each part of the process is told. Bounds for the whole process become
//! each worker's share here.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};

use super::{Config, HostPort, Secret};
use crate::command::{Allowed, RetryUnknown};
use crate::discovery::{self, Credentials, CredentialsSource, Password};
use crate::node::Patience;
use crate::resp::request::Limits;
use crate::scripts::Scripts;
use crate::session::{Address, Manners};
use crate::topology::{AddressMap, Endpoint};
use crate::worker::Deadlines;
use crate::{server, worker};

/// What a client may send behind a write that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientOrder {
    /// Anything.
    Pipelined,
    /// Nothing but reads to the same slot.
    Strict,
}

/// What becomes of commands whose keys are in several slots and that can be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSlot {
    /// One part a slot.
    Split,
    /// CROSSSLOT.
    Strict,
}

/// The words for what `retry-unknown` adds.
pub(super) const RETRY_UNKNOWN: &[(&str, RetryUnknown)] = &[
    ("off", RetryUnknown { idempotent: false, blocking: false }),
    ("idempotent", RetryUnknown { idempotent: true, blocking: false }),
    ("blocking", RetryUnknown { idempotent: false, blocking: true }),
    ("both", RetryUnknown { idempotent: true, blocking: true }),
];

/// The settings of the process.
///
/// # Errors
/// If the password file cannot be read, or the address map contradicts itself.
pub fn settings(config: &Config) -> anyhow::Result<server::Settings> {
    let pair = |at: &HostPort| (at.host.clone(), at.port);
    let (listen, deadlines) = listeners(config);
    Ok(server::Settings {
        listen,
        admin: config.admin.as_ref().map(pair),
        workers: config.workers,
        clients_max: config.clients_max,
        client_keepalive: config.tcp_keepalive.unwrap_or(Duration::ZERO),
        drain_timeout: config.drain_timeout,
        connect_timeout: config.connect_timeout,
        second_look: config.second_look,
        worker: worker::Settings { deadlines, ..worker_settings(config) },
        discovery: discovery_settings(config)?,
    })
}

/// The listeners, and the deadlines that they or the process have chosen.
fn listeners(config: &Config) -> (Vec<server::Listen>, Deadlines) {
    let mut chosen = Vec::new();
    let listen = config.listen.iter().map(|listener| {
        let options = listener.options(config);
        let patience = options.mask_deadline.map_or(Patience::AUTO, |deadline| {
            let known = chosen.iter().position(|known| *known == deadline);
            Patience::chosen(known.unwrap_or_else(|| {
                chosen.push(deadline);
                chosen.len() - 1
            }))
        });
        let manners = Manners {
            split: options.cross_slot == CrossSlot::Split,
            strict_order: options.client_order == ClientOrder::Strict,
            patience,
        };
        server::Listen { host: listener.at.host.clone(), port: listener.at.port, manners }
    });
    let listen = listen.collect();
    let circuit_wait = config.circuit_wait;
    (listen, Deadlines { circuit_wait, chosen: chosen.into(), ..Deadlines::default() })
}

fn worker_settings(config: &Config) -> worker::Settings {
    let share = |whole: usize| whole / config.workers.max(1);
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    worker::Settings {
        limits: Limits {
            arguments_max: narrow(config.arguments_max),
            bulk_bytes_max: narrow(config.bulk_max),
            ..Limits::default()
        },
        requests_max: u16::try_from(config.client_requests_max).unwrap_or(u16::MAX),
        output_max: config.client_output_max,
        large_request: config.large_request,
        large_requests_max_bytes: share(config.large_requests_max_bytes).max(config.bulk_max),
        large_reply: config.large_reply,
        retry_unknown: config.retry_unknown,
        // A node that loads its data answers in bursts: more patience than for connecting.
        handshake_timeout: config.connect_timeout.saturating_mul(3),
        large_stall: config.large_stall,
        park_max_requests: share(config.park_max_requests),
        park_max_bytes: share(config.park_max_bytes),
        // One of the process learns the map, one of each worker is shared.
        dedicated_max: share(config.node_connections_max.saturating_sub(1)).saturating_sub(1),
        tracking_max_bytes: share(config.tracking_max_bytes),
        node_idle_timeout: config.node_idle_timeout,
        allowed: Allowed::new(config.allow_commands.iter().map(String::as_str)),
        subscriptions_max: config.client_subscriptions_max,
        audience: Arc::default(),
        scripts: Arc::new(Scripts::new(config.script_cache_max)),
        announce: announced(config),
        ..worker::Settings::default()
    }
}

/// In the order of their names, so that the order of the list does not matter.
fn announced(config: &Config) -> Arc<[Address]> {
    let mut all: Vec<Address> =
        config.announce.iter().map(|at| Address { host: at.host.clone(), port: at.port }).collect();
    all.sort_unstable();
    all.dedup();
    all.into()
}

fn discovery_settings(config: &Config) -> anyhow::Result<discovery::Settings> {
    let pairs: Vec<String> = config
        .address_map
        .iter()
        .map(|pair| format!("{}={}", pair.announced, pair.reachable))
        .collect();
    Ok(discovery::Settings {
        seeds: config.seeds.iter().map(|at| Endpoint::new(at.host.as_str(), at.port)).collect(),
        refresh_period: config.refresh_period,
        connect_timeout: config.connect_timeout,
        credentials: credentials(config)?,
        address_map: AddressMap::parse(pairs.iter().map(String::as_str)).context("address-map")?,
        startup_timeout: config.startup_timeout,
        ..discovery::Settings::default()
    })
}

/// How to log in at the nodes. A password file is read anew each time, so that a changed secret
/// is used by the next connection. While it cannot be read, because it is just being replaced, the
/// last one that could be is used: without one slotway would be the nodes' default user, who may
/// be permitted what slotway is not.
fn credentials(config: &Config) -> anyhow::Result<CredentialsSource> {
    let user = config.node_user.clone();
    if let Some(file) = config.node_password_file.clone() {
        let last = Mutex::new(read_password(&file)?);
        return Ok(CredentialsSource::new(move || {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            match read_password(&file) {
                Ok(password) => *last = password,
                Err(error) => tracing::warn!("{error:#}; the one before is used"),
            }
            Some(Credentials { user: user.clone(), password: last.clone() })
        }));
    }
    Ok(match &config.node_password {
        Some(password) => {
            CredentialsSource::fixed(Credentials { user, password: expose(password) })
        }
        None => CredentialsSource::none(),
    })
}

fn expose(secret: &Secret) -> Password {
    Password::new(secret.expose())
}

fn read_password(file: &Path) -> anyhow::Result<Password> {
    let bytes = fs::read(file).with_context(|| unreadable(file))?;
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("the password file {} is empty", file.display());
    }
    Ok(Password::new(line))
}

fn unreadable(file: &Path) -> String {
    format!("the password file {} cannot be read", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_to_a_node_stay_within_the_bound_and_leave_one_for_large_values() {
        for workers in 1..=64 {
            for node_connections_max in [2 * workers + 1, 3 * workers + 1, 10_000] {
                let config = Config { workers, node_connections_max, ..Config::default() };
                let extra = worker_settings(&config).dedicated_max;
                assert!(extra >= 1, "{workers} workers, {node_connections_max}: none");
                let all = 1 + workers * (1 + extra);
                assert!(all <= node_connections_max, "{workers} workers: {all}");
            }
        }
    }

    /// Who sent no AUTH then was let in as the nodes' default user, if that needs no password.
    #[test]
    fn while_a_secret_is_replaced_the_old_one_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let user = Some("app".to_owned());
        let config =
            Config { node_user: user, node_password_file: Some(file.clone()), ..Config::default() };
        assert!(credentials(&config).is_err());
        fs::write(&file, "old\n").unwrap();
        let source = credentials(&config).unwrap();
        let password = || String::from_utf8(source.get().unwrap().password.expose().to_vec());
        for (content, expected) in
            [(None, "old"), (Some(""), "old"), (Some("new"), "new"), (None, "new")]
        {
            match content {
                Some(content) => fs::write(&file, content).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            assert_eq!(password().unwrap(), expected);
        }
    }
}
