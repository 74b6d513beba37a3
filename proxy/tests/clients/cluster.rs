//! Clients in cluster mode: they take slotway for a cluster.

use std::process::Command;

use anyhow::{Result, ensure};
use redis::cluster::ClusterClient;
use redis::cmd;
use testbed::Proxy;

use super::programs::{or_skip, program, python, run, scripts};
use super::{hold, node_script, stage};

#[test]
fn the_cluster_client_of_redis_py_works() -> Result<()> {
    for version in ["redis-7", "redis-8"] {
        if let Some(python) = or_skip(&format!("{version} of Python"), python(version))? {
            hold(python, &scripts().join("python/redis_py_cluster.py"), 5)?;
        }
    }
    Ok(())
}

#[test]
fn the_cluster_client_of_ioredis_works() -> Result<()> {
    node_script("ioredis_cluster", 4)
}

#[test]
fn the_cluster_client_of_redis_rs_works() -> Result<()> {
    let stage = stage()?;
    let client = ClusterClient::new(vec![format!("redis://{}/", stage.proxy.addr())])?;
    let mut connection = client.get_connection()?;
    for n in 0..200 {
        cmd("SET").arg(format!("rsc:{n}")).arg(n).exec(&mut connection)?;
    }
    for n in 0..200 {
        assert_eq!(cmd("GET").arg(format!("rsc:{n}")).query::<i64>(&mut connection)?, n);
    }
    let mut pipe = redis::cluster::cluster_pipe();
    for n in 0..200 {
        pipe.cmd("GET").arg(format!("rsc:{n}"));
    }
    assert_eq!(pipe.query::<Vec<i64>>(&mut connection)?, (0..200).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn redis_cli_follows_nothing_because_there_is_nothing_to_follow() -> Result<()> {
    let Some(mut cli) = or_skip("redis-cli -c", program("redis-cli"))? else { return Ok(()) };
    let stage = stage()?;
    let port = stage.proxy.port().to_string();
    cli.args(["-c", "-p", &port]);
    let ask = |words: &[&str]| -> Result<String> {
        let mut command = Command::new(cli.get_program());
        command.args(cli.get_args()).args(words);
        run("redis-cli -c", &command)
    };
    for key in ["clic:a", "clic:b", "clic:c"] {
        assert_eq!(ask(&["set", key, "1"])?.trim(), "OK");
        assert_eq!(ask(&["get", key])?.trim(), "1");
    }
    let nodes = ask(&["cluster", "nodes"])?;
    assert!(nodes.trim().ends_with(" myself,master - 0 0 0 connected 0-16383"), "{nodes}");
    Ok(())
}

/// It takes two nodes for a cluster at least: two slotways, which a third announces.
#[test]
fn redis_benchmark_takes_slotways_for_a_cluster() -> Result<()> {
    let Some(mut benchmark) = or_skip("redis-benchmark --cluster", program("redis-benchmark"))?
    else {
        return Ok(());
    };
    let stage = stage()?;
    let slotway = || Proxy::builder(stage.cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway"));
    let (first, second) = (slotway().start()?, slotway().start()?);
    let announce = format!("--announce={},{}", first.addr(), second.addr());
    let door = slotway().arg(announce).start()?;
    benchmark.args(["--cluster", "-p", &door.port().to_string(), "-t", "set,get", "-n", "4000"]);
    let output = run("redis-benchmark --cluster", &benchmark)?;
    ensure!(!output.contains("Error from server"), "{output}");
    ensure!(output.contains("Cluster has 2 master nodes"), "{output}");
    ensure!(output.contains("====== GET ======"), "{output}");
    // It takes the one that it has asked for the first of the two.
    let mut served = 0;
    for proxy in [&first, &second, &door] {
        let (_, page) = proxy.http_get("/metrics")?;
        let is_get = |line: &str| {
            line.starts_with("slotway_requests_total{") && line.contains("command=\"get\"")
        };
        served += usize::from(page.lines().any(is_get));
    }
    ensure!(served == 2, "{served} slotways have served it:\n{output}");
    Ok(())
}
