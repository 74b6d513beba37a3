//! Passwords and permissions.

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use redis::cmd;
use slotway::discovery::{Credentials, CredentialsSource, Password, Reason};
use slotway::topology::State;
use testbed::{Cluster, wait_for};

use super::{DEADLINE, Discovery, is_primary, settings, slot};

#[test]
fn a_wrong_password_is_told_and_the_right_one_taken_when_it_comes() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).password("se cret").start()?;
    let password = Arc::new(Mutex::new("wrong".to_owned()));
    let current = password.clone();
    let mut settings = settings(cluster.seeds());
    settings.credentials = CredentialsSource::new(move || {
        let password = Password::new(current.lock().unwrap().as_bytes());
        Some(Credentials { user: None, password })
    });
    let discovery = Discovery::start(settings)?;
    discovery.wait_missing("does not let us in: WRONGPASS")?;
    *password.lock().unwrap() = "se cret".to_owned();
    discovery.wait_whole()?;
    discovery.wait_settled()
}

#[test]
fn a_user_who_may_only_ask_for_slots_gets_a_map_and_fills_no_log() -> Result<()> {
    if !testbed::ServerVersion::of_default_server()?.at_least(7, 0) {
        return Ok(());
    }
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    for node in cluster.nodes() {
        let rules = ["SETUSER", "thin", "on", ">pw", "+cluster|slots"];
        node.query::<()>(cmd("ACL").arg(&rules))?;
    }
    let thin = Credentials { user: Some("thin".into()), password: Password::new(b"pw") };
    let mut settings = settings(cluster.seeds());
    settings.credentials = CredentialsSource::fixed(thin);
    let discovery = Discovery::start(settings)?;
    let map = discovery.wait_map("a map of all slots", |map| {
        ensure!(map.is_complete());
        Ok(())
    })?;
    assert_eq!((map.state, map.epoch_of(slot(0))), (State::Unknown, 0));
    discovery.wait_settled()?;
    assert_eq!(discovery.handle.facts().server_version, None);

    let refused = || -> Result<u64> {
        let mut sum = 0;
        for node in cluster.nodes() {
            let stats: String = node.query(cmd("INFO").arg("commandstats"))?;
            let counts = stats.split("rejected_calls=").skip(1);
            sum +=
                counts.filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(sum)
    };
    let (before, first) = (refused()?, discovery.handle.counts().refreshes);
    wait_for("five refreshes", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        ensure!(discovery.handle.counts().refreshes >= first + 5);
        Ok(())
    })?;
    assert!(before > 0, "each was refused once");
    assert_eq!(refused()?, before);

    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    cluster.move_slots([0], from, to)?;
    wait_for("the moved slot, without epochs", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Moved);
        is_primary(&discovery.map(), 0, to)
    })
}
