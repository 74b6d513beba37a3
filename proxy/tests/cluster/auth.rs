//! Logging in at the nodes; and that this is never the clients' business.

use std::fs;

use anyhow::{Result, ensure};
use redis::cmd;
use testbed::{Cluster, Proxy, wait_until};

use crate::stage::{DEADLINE, slotway};
use crate::wire::{Client, Reply};

/// One cluster for all of it.
#[test]
fn slotway_logs_in_at_the_nodes_and_clients_never_see_how() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).password("se cret").start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    let path = file.to_str().unwrap_or_default();

    // The default user, by a file and by the environment.
    fs::write(&file, "se cret\n")?;
    let proxy = slotway(cluster.seeds()).args(["--node-password-file", path]).start()?;
    serves(&proxy)?;
    let proxy = slotway(cluster.seeds()).env("SLOTWAY_NODE_PASSWORD", "se cret").start()?;
    serves(&proxy)?;
    ensure!(!proxy.log().contains("se cret"), "it tells the password: {}", proxy.log());

    // A user of the ACL, with no more than is needed.
    for node in cluster.nodes() {
        let mut set = cmd("ACL");
        set.arg(&["SETUSER", "app", "on", ">other", "~*", "&*", "+@all", "-@dangerous"]);
        set.arg(&["+cluster|slots", "+cluster|shards", "+cluster|nodes", "+cluster|info"]);
        set.arg(&["+cluster|myid", "+info", "+command"]);
        node.query::<()>(&set)?;
    }
    fs::write(&file, "other")?;
    let proxy = slotway(cluster.seeds())
        .args(["--node-user", "app", "--node-password-file", path])
        .start()?;
    serves(&proxy)?;
    ensure!(!proxy.log().contains("other"), "it tells the password: {}", proxy.log());

    a_wrong_password(&cluster, path)
}

fn serves(proxy: &Proxy) -> Result<()> {
    let mut client = Client::connect(&proxy.addr())?;
    for n in 0..30 {
        let reply = client.ask(&["SET", &format!("auth:{n}"), "1"])?;
        ensure!(reply == Reply::ok(), "{reply:?}; {}", proxy.log());
    }
    Ok(())
}

fn a_wrong_password(cluster: &Cluster, path: &str) -> Result<()> {
    fs::write(path, "wrong")?;
    for (arguments, why) in [(vec!["--node-password-file", path], "WRONGPASS"), (vec![], "NOAUTH")]
    {
        let proxy = slotway(cluster.seeds()).args(arguments).args(["--mask-deadline", "500ms"]);
        let proxy = proxy.launch()?;
        wait_until("its port", DEADLINE, || proxy.peer().is_ok())?;
        let mut client = Client::connect(&proxy.addr())?;
        let reply = client.ask(&["SET", "auth:wrong", "1"])?;
        let told = reply.error().unwrap_or_default();
        ensure!(told.starts_with("CLUSTERDOWN not executed: "), "{reply:?}");
        ensure!(!told.contains("AUTH") && !told.contains("PASS"), "{reply:?}");
        wait_until("the log to say why", DEADLINE, || proxy.log().contains(why))?;
        ensure!(proxy.http_get("/readyz")?.0 == 503);
    }

    // The file is read anew: who waits is served once it is right.
    let proxy = slotway(cluster.seeds()).args(["--node-password-file", path]).launch()?;
    wait_until("its refusal", DEADLINE, || proxy.log().contains("WRONGPASS"))?;
    let mut client = Client::connect(&proxy.addr())?;
    client.send(&["SET", "auth:mended", "1"])?;
    fs::write(path, "se cret")?;
    let reply = client.read()?;
    ensure!(reply == Reply::ok(), "{reply:?}");
    Ok(())
}
