//! What other people wrote, used against slotway at its default settings. The scripts are in
//! `clients/`; what they need is installed into `target/clients` on the first run, and who is not
//! there is skipped by name (`SLOTWAY_TEST_CLIENTS=require`: fails).

#[path = "clients/cluster.rs"]
mod cluster;
#[path = "clients/programs.rs"]
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use programs::{node, or_skip, program, python, run, scripts};
use redis::{Value, cmd};
use tempfile::TempDir;
use testbed::{Cluster, Proxy, ServerVersion, Shared};

/// A cluster of 3 primaries, and slotway before it.
struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

impl Stage {
    fn start() -> Result<Self> {
        let cluster = Cluster::builder().replicas(0).start()?;
        let proxy =
            Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
        Ok(Self { proxy, cluster })
    }

    /// Runs a script; it has to say at least `claims` times that something is as it should be.
    fn hold(&self, mut interpreter: Command, script: &Path, claims: usize) -> Result<()> {
        interpreter.arg(script).arg(self.proxy.port().to_string());
        let output = run(&script.display().to_string(), &interpreter)?;
        let held = output.lines().filter(|line| line.starts_with("ok: ")).count();
        ensure!(held >= claims, "{held} claims instead of {claims}:\n{output}");
        Ok(())
    }
}

/// One for all tests that run at the same time: each uses keys of its own.
fn stage() -> Result<Arc<Stage>> {
    static STAGE: Shared<Stage> = Shared::new();
    STAGE.get(Stage::start)
}

fn hold(interpreter: Command, script: &Path, claims: usize) -> Result<()> {
    stage()?.hold(interpreter, script, claims)
}

/// One after the other: both use the same keys.
#[test]
fn redis_py_works() -> Result<()> {
    for version in ["redis-7", "redis-8"] {
        if let Some(python) = or_skip(&format!("{version} of Python"), python(version))? {
            hold(python, &scripts().join("python/redis_py.py"), 15)?;
        }
    }
    Ok(())
}

/// Their workers block all the time, on a node that is replaced under them.
#[test]
fn huey_works_through_failovers() -> Result<()> {
    let Some(mut python) = or_skip("Huey of Python", python("huey"))? else { return Ok(()) };
    python.arg(scripts().join("python/job_queue.py"));
    through_failovers(python, "huey.redis.jobs", "done", &[300, 900, 1500])
}

#[test]
fn celery_works_through_a_failover() -> Result<()> {
    let Some(mut python) = or_skip("Celery of Python", python("celery"))? else { return Ok(()) };
    python.arg(scripts().join("python/celery_jobs.py"));
    through_failovers(python, "{celery}", "{celery}done", &[150])
}

#[test]
fn bullmq_works_through_failovers() -> Result<()> {
    let Some(folder) = or_skip("BullMQ of Node.js", node())? else { return Ok(()) };
    let (script, _place) = beside_packages(&folder, "bullmq")?;
    let mut node = program("node").map_err(anyhow::Error::msg)?;
    node.arg(script);
    through_failovers(node, "{bull}", "{bull}done", &[150, 500])
}

/// Runs a job queue, all of whose keys are in the slot of `key`; the primary of that slot is
/// replaced each time that so many jobs are in the list `done`.
fn through_failovers(
    mut program: Command,
    key: &str,
    done: &str,
    thresholds: &[usize],
) -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(2)).start()?;
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
    let mut client = proxy.client()?;
    program.arg(proxy.port().to_string());
    let (output, failovers) = std::thread::scope(|scope| {
        let failovers = scope.spawn(|| -> Result<()> {
            let slot = testbed::key_slot(key);
            for &enough in thresholds {
                testbed::wait_until("jobs to be done", Duration::from_secs(90), || {
                    cmd("LLEN").arg(done).query::<usize>(&mut client).is_ok_and(|n| n > enough)
                })?;
                let shard = cluster.shard(cluster.primary_of(slot)?.shard());
                cluster.failover(&shard.replica()?, testbed::FailoverKind::Normal)?;
            }
            Ok(())
        });
        (run("the job queue", &program), failovers.join())
    });
    ensure!(output?.contains("ok: each job is done once"));
    failovers.ok().context("the failovers panicked")?
}

/// It counts the commands that slotway has served: on a stage of its own.
#[test]
fn redis_py_keeps_what_it_reads_and_is_told_what_changes() -> Result<()> {
    for version in ["redis-7", "redis-8"] {
        if let Some(python) = or_skip(&format!("{version} of Python"), python(version))? {
            Stage::start()?.hold(python, &scripts().join("python/redis_py_caching.py"), 5)?;
        }
    }
    Ok(())
}

#[test]
fn ioredis_works() -> Result<()> {
    node_script("ioredis", 10)
}

#[test]
fn node_redis_works() -> Result<()> {
    node_script("node_redis", 22)
}

fn node_script(name: &str, claims: usize) -> Result<()> {
    let Some(folder) = or_skip(name, node())? else { return Ok(()) };
    let (script, _place) = beside_packages(&folder, name)?;
    hold(program("node").map_err(anyhow::Error::msg)?, &script, claims)
}

/// A script of Node.js, which looks for packages from where the script lies: it lies beside them
/// under a name of its own for each run, as long as the folder is held.
fn beside_packages(folder: &Path, name: &str) -> Result<(PathBuf, TempDir)> {
    let place = tempfile::Builder::new().prefix("scripts-").tempdir_in(folder)?;
    for file in ["shared.mjs", &format!("{name}.mjs")] {
        fs::copy(scripts().join("node").join(file), place.path().join(file))?;
    }
    Ok((place.path().join(format!("{name}.mjs")), place))
}

/// `redis-cli` before a terminal, with its help, as a person uses it.
#[test]
fn redis_cli_serves_a_person() -> Result<()> {
    let both = program("script").and_then(|script| program("redis-cli").map(|_| script));
    let Some(script) = or_skip("redis-cli in a terminal", both)? else { return Ok(()) };
    let stage = stage()?;
    let mut typed = tempfile::NamedTempFile::new()?;
    let lines = "set cli:a 1\nget cli:a\nmulti\nincr cli:a\nexec\nblpop cli:a 1\nhelp get\nselect 1\nget cli:a\nquit\n";
    typed.write_all(lines.as_bytes())?;
    let port = stage.proxy.port();
    let line = format!("redis-cli -p {port}");
    // The process is started without input: `sh` gives it some.
    let fed = shell(&format!("exec \"$0\" -qec '{line}' /dev/null < \"$1\""), |sh| {
        sh.arg(script.get_program()).arg(typed.path()).env("TERM", "dumb");
    });
    let output = run("redis-cli in a terminal", &fed)?;
    let prompt = format!("127.0.0.1:{port}> ");
    let answers = output.lines().filter_map(|line| line.strip_prefix(&prompt));
    let answers: Vec<&str> = answers.map(str::trim_end).filter(|line| !line.is_empty()).collect();
    assert_eq!(
        answers,
        [
            "OK",
            "\"1\"",
            "OK",
            "(error) WRONGTYPE Operation against a key holding the wrong kind of value",
            &format!("(error) {}", no_such_database()?),
            "\"2\"",
        ],
        "{output}"
    );
    assert!(output.contains("(TX)> QUEUED"), "no transaction: {output}");
    // Of the answer to COMMAND DOCS; what it says in words differs from version to version.
    assert!(output.contains("summary:") && output.contains("group:"), "no help: {output}");
    Ok(())
}

#[test]
fn redis_cli_serves_scripts() -> Result<()> {
    if or_skip("redis-cli", program("redis-cli"))?.is_none() {
        return Ok(());
    }
    let stage = stage()?;
    let port = stage.proxy.port();
    let cli = |words: &str, input: &[u8]| -> Result<String> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(input)?;
        let line = format!("exec redis-cli -p {port} {words} < \"$0\"");
        run("redis-cli", &shell(&line, |sh| _ = sh.arg(file.path())))
    };
    let lines = "set cli:b '\"q\" \\x00'\nget cli:b\nwatch a\nappend cli:b !\nhello 4\nping\n";
    let answers = cli("", lines.as_bytes())?;
    let answers: Vec<&str> = answers.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(answers[0], "OK");
    assert_eq!(answers[1], "\"q\" \\x00");
    assert_eq!(answers[2..], ["OK", "9", "NOPROTO unsupported protocol version", "PONG"]);

    let value: Vec<u8> = (0..30_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
    assert_eq!(cli("-x set cli:large", &value)?.trim(), "OK");
    assert_eq!(cli("get cli:large", b"")?.trim_end().as_bytes(), value);
    assert_eq!(cli("-r 50 incr cli:n", b"")?.lines().last(), Some("50"));
    cli("hset cli:h f v", b"")?;
    assert_eq!(cli("-3 --no-raw hgetall cli:h", b"")?.trim(), "1# \"f\" => \"v\"");
    assert!(cli("-n 1 get cli:n", b"")?.contains(no_such_database()?));
    Ok(())
}

/// What a node says to SELECT 1: from Valkey 9.0 on a cluster can have more databases.
fn no_such_database() -> Result<&'static str> {
    let version = ServerVersion::of_default_server()?;
    Ok(match version.valkey && version.at_least(9, 0) {
        true => "ERR DB index is out of range",
        false => "ERR SELECT is not allowed in cluster mode",
    })
}

#[test]
fn redis_cli_inserts_in_masses() -> Result<()> {
    if or_skip("redis-cli --pipe", program("redis-cli"))?.is_none() {
        return Ok(());
    }
    let stage = stage()?;
    let mut file = tempfile::NamedTempFile::new()?;
    for n in 0..20_000 {
        // A plain line and an array, in turns: both are what the manual shows.
        let key = format!("mass:{n}");
        if n % 2 == 0 {
            write!(file, "SET {key} {n}\r\n")?;
        } else {
            let value = n.to_string();
            write!(file, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n", key.len())?;
            write!(file, "${}\r\n{value}\r\n", value.len())?;
        }
    }
    file.flush()?;
    let line = format!("exec redis-cli -p {} --pipe < \"$0\"", stage.proxy.port());
    let output = run("redis-cli --pipe", &shell(&line, |sh| _ = sh.arg(file.path())))?;
    assert!(output.contains("errors: 0, replies: 20000"), "{output}");
    let mut client = stage.proxy.client()?;
    for n in [0, 1, 9_999, 19_999] {
        assert_eq!(cmd("GET").arg(format!("mass:{n}")).query::<i64>(&mut client)?, n);
    }
    Ok(())
}

#[test]
fn redis_benchmark_runs_all_its_default_tests() -> Result<()> {
    let Some(tests) = benchmark(&["-n", "1000"])? else { return Ok(()) };
    assert_eq!(tests.len(), 20, "{tests:?}");
    assert!(tests.contains(&"PING_INLINE".to_owned()), "{tests:?}");
    assert!(tests.contains(&"MSET (10 keys)".to_owned()), "ten times the same key: {tests:?}");
    Ok(())
}

#[test]
fn redis_benchmark_runs_with_pipelines_threads_and_many_keys() -> Result<()> {
    for args in [
        &["-n", "20000", "-P", "64", "-r", "100000", "-d", "1024"][..],
        &["-n", "5000", "-r", "1000", "--threads", "2"],
        &["-n", "500", "-k", "0"],
        &["-n", "1000", "-c", "500"],
    ] {
        let args = [&["-t", "set,get,lpush,lpop,hset,zadd"], args].concat();
        let Some(tests) = benchmark(&args)? else { return Ok(()) };
        assert_eq!(tests, ["SET", "GET", "LPUSH", "LPOP", "HSET", "ZADD"], "{args:?}");
    }
    Ok(())
}

/// The names of the tests that were run to their end; `None`: there is no redis-benchmark.
fn benchmark(args: &[&str]) -> Result<Option<Vec<String>>> {
    let Some(mut command) = or_skip("redis-benchmark", program("redis-benchmark"))? else {
        return Ok(None);
    };
    let stage = stage()?;
    command.args(["-p", &stage.proxy.port().to_string(), "--csv"]).args(args);
    let output = run("redis-benchmark", &command)?;
    ensure!(!output.contains("Error from server"), "{output}");
    // "<name>","<requests per second>",…; the first such line is the head.
    let names = output.lines().filter_map(|line| line.strip_prefix('"')?.split_once('"'));
    Ok(Some(names.map(|(name, _)| name.to_owned()).skip(1).collect()))
}

/// `sh -c line`, with what `more` adds: its first argument is `$0`.
fn shell(line: &str, more: impl FnOnce(&mut Command)) -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", line]);
    more(&mut sh);
    sh
}

#[test]
fn redis_rs_works_in_resp3() -> Result<()> {
    let stage = stage()?;
    let client = redis::Client::open(format!("redis://{}/?protocol=resp3", stage.proxy.addr()))?;
    let mut client = client.get_connection()?;
    cmd("HSET").arg("rs3:h").arg("a").arg(1).exec(&mut client)?;
    let reply: Value = cmd("HGETALL").arg("rs3:h").query(&mut client)?;
    assert!(matches!(reply, Value::Map(_)), "{reply:?}");
    cmd("ZADD").arg("rs3:z").arg(1.5).arg("one").exec(&mut client)?;
    let reply: Value = cmd("ZSCORE").arg("rs3:z").arg("one").query(&mut client)?;
    assert_eq!(reply, Value::Double(1.5));
    let mut pipe = redis::pipe();
    for n in 0..1000 {
        pipe.set(format!("rs3:{n}"), n).ignore().get(format!("rs3:{n}"));
    }
    assert_eq!(pipe.query::<Vec<u32>>(&mut client)?, (0..1000).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn redis_rs_works() -> Result<()> {
    let stage = stage()?;
    let mut client = stage.proxy.client()?;
    let key = |name: &str| format!("rs:{name}");
    cmd("SET").arg(key("s")).arg(b"\0\xff\r\n").exec(&mut client)?;
    assert_eq!(cmd("GET").arg(key("s")).query::<Vec<u8>>(&mut client)?, b"\0\xff\r\n");
    cmd("HSET").arg(key("h")).arg("a").arg(1).arg("b").arg(2).exec(&mut client)?;
    let hash: BTreeMap<String, i64> = cmd("HGETALL").arg(key("h")).query(&mut client)?;
    assert_eq!(hash, BTreeMap::from([("a".into(), 1), ("b".into(), 2)]));
    cmd("RPUSH").arg(key("l")).arg(&["x", "y"]).exec(&mut client)?;
    let list: Vec<String> = cmd("LRANGE").arg(key("l")).arg(0).arg(-1).query(&mut client)?;
    assert_eq!(list, ["x", "y"]);
    let script = "return {KEYS[1], ARGV[1]}";
    let echoed: (String, i64) =
        cmd("EVAL").arg(script).arg(1).arg(key("k")).arg(7).query(&mut client)?;
    assert_eq!(echoed, (key("k"), 7));

    // EVALSHA first; on NOSCRIPT, SCRIPT LOAD and EVALSHA again.
    let own = redis::Script::new("return ARGV[1] .. 'x'");
    for n in 0..20 {
        let reply: String = own.key(key(&n.to_string())).arg(n).invoke(&mut client)?;
        assert_eq!(reply, format!("{n}x"));
    }
    let pairs: Vec<(String, u32)> = (0..300).map(|n| (key(&format!("many:{n}")), n)).collect();
    cmd("MSET").arg(&pairs).exec(&mut client)?;
    let names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    let values: Vec<u32> = cmd("MGET").arg(&names).query(&mut client)?;
    assert_eq!(values, (0..300).collect::<Vec<_>>());
    assert_eq!(cmd("DEL").arg(&names).query::<u32>(&mut client)?, 300);

    let mut pipe = redis::pipe();
    for n in 0..2000 {
        pipe.set(key(&n.to_string()), n).ignore().get(key(&n.to_string()));
    }
    assert_eq!(pipe.query::<Vec<u32>>(&mut client)?, (0..2000).collect::<Vec<_>>());

    Ok(())
}

#[test]
fn scripts_of_redis_rs_run_on_every_node() -> Result<()> {
    let stage = stage()?;
    let client = redis::Client::open(format!("redis://{}/", stage.proxy.addr()))?;
    let mut connection = client.get_connection()?;
    let script = redis::Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    for shard in 0..3 {
        let key = stage.cluster.shard(shard).key("rs:script")?;
        let sum: i64 = script.key(&key).arg(7).invoke(&mut connection)?;
        assert_eq!(sum, 7);
    }
    Ok(())
}

/// One connection, many requests at the same time.
#[test]
fn the_multiplexed_connection_of_redis_rs_works() -> Result<()> {
    let stage = stage()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = format!("redis://{}/", stage.proxy.addr());
    let all = async {
        let client = redis::Client::open(address)?;
        let connection = client.get_multiplexed_async_connection().await?;
        let tasks: Vec<_> = (0..500)
            .map(|n: u32| {
                let mut connection = connection.clone();
                tokio::spawn(async move {
                    let key = format!("mux:{n}");
                    cmd("SET").arg(&key).arg(n).exec_async(&mut connection).await?;
                    if n.is_multiple_of(7) {
                        let refused = cmd("MONITOR").exec_async(&mut connection).await;
                        assert!(refused.is_err());
                    }
                    let mut both = redis::pipe();
                    both.atomic().incr(&key, 1).decr(&key, 1);
                    let (more, less): (u32, u32) = both.query_async(&mut connection).await?;
                    assert_eq!((more, less), (n + 1, n));
                    cmd("GET").arg(&key).query_async::<u32>(&mut connection).await
                })
            })
            .collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await??, n);
        }
        Ok(())
    };
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), all).await.context("it hangs")?
    })
}
