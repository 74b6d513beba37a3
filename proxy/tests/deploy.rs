//! `Dockerfile` and `docker-compose.yml`, as far as they can be tried without a container engine:
//! their form, their options by our own binary, their scripts by the real programs.

#[path = "deploy/compose.rs"]
mod compose;
#[path = "deploy/dockerfile.rs"]
mod dockerfile;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use compose::{names, strings};
use dockerfile::Instruction;
use slotway::metrics::Registry;
use slotway::server::admin::{self, Limits, Sources};
use testbed::{Port, Process};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use yaml_rust2::Yaml;

const NODES: [&str; 6] = ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn compose_file() -> Yaml {
    compose::load(&root().join("docker-compose.yml"))
}

fn stages() -> Vec<Vec<Instruction>> {
    dockerfile::stages(&std::fs::read_to_string(root().join("Dockerfile")).unwrap())
}

/// The instructions with this word in the stage that becomes the image.
fn of_image(word: &str) -> Vec<Instruction> {
    let image = stages().pop().unwrap();
    image.into_iter().filter(|instruction| instruction.word == word).collect()
}

fn told(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{}\n{out}{err}", output.status)
}

#[test]
fn docker_compose_accepts_the_file_where_there_is_one() {
    let mut checked = Vec::new();
    for program in [&["docker", "compose"][..], &["docker-compose"]] {
        let run = |args: &[&str]| {
            Command::new(program[0]).args(&program[1..]).args(args).current_dir(root()).output()
        };
        if run(&["version"]).is_ok_and(|output| output.status.success()) {
            let output = run(&["config", "-q"]).unwrap();
            assert!(output.status.success(), "{program:?}: {}", told(&output));
            checked.push(program.join(" "));
        }
    }
    eprintln!("checked by: {checked:?}");
}

#[test]
fn six_nodes_make_a_cluster_before_slotway_starts() {
    let file = compose_file();
    let services = &file["services"];
    let all: BTreeSet<&str> = names(services).into_iter().collect();
    assert_eq!(all, NODES.into_iter().chain(["cluster", "slotway"]).collect());
    let waits = |service: &str| -> Vec<(String, String)> {
        let on = &services[service]["depends_on"];
        let condition = |name: &str| on[name]["condition"].as_str().unwrap().to_owned();
        names(on).into_iter().map(|name| (name.to_owned(), condition(name))).collect()
    };
    let healthy = NODES.map(|node| (node.to_owned(), "service_healthy".to_owned()));
    assert_eq!(waits("cluster"), healthy);
    let made = ("cluster".to_owned(), "service_completed_successfully".to_owned());
    assert_eq!(waits("slotway"), [made]);
    for node in NODES {
        let test = strings(&services[node]["healthcheck"]["test"]);
        assert_eq!(test, ["CMD", "redis-cli", "ping"], "{node} becomes healthy");
    }
    assert_eq!(services["cluster"]["restart"].as_str(), Some("no"), "it makes the cluster once");
}

#[test]
fn nodes_are_reached_through_slotway_alone() {
    let file = compose_file();
    let networks = &file["networks"];
    assert_eq!(networks["nodes"]["internal"].as_bool(), Some(true));
    let subnet = networks["nodes"]["ipam"]["config"][0]["subnet"].as_str().unwrap();
    let prefix = subnet.strip_suffix("0/24").expect("a /24");
    let services = &file["services"];
    let mut addresses = BTreeSet::new();
    for node in NODES {
        let service = &services[node];
        assert!(service["ports"].is_badvalue(), "{node} publishes a port");
        assert_eq!(names(&service["networks"]), ["nodes"], "{node}");
        let address = service["networks"]["nodes"]["ipv4_address"].as_str().unwrap();
        assert!(address.starts_with(prefix), "{address} is not in {subnet}");
        assert!(addresses.insert(format!("{address}:6379")), "{address} twice");
    }
    let named = services["cluster"]["environment"]["NODES"].as_str().unwrap();
    assert_eq!(named.split_whitespace().map(String::from).collect::<BTreeSet<_>>(), addresses);
    for port in strings(&services["slotway"]["ports"]) {
        assert!(port.starts_with("127.0.0.1:"), "{port} is open to everybody");
    }
}

/// The command line of the compose file under the variables of the image, read by the binary.
#[test]
fn slotway_accepts_its_options() {
    let file = compose_file();
    let flags = strings(&file["services"]["slotway"]["command"]);
    let mut check = Command::new(env!("CARGO_BIN_EXE_slotway"));
    check.env_clear().arg("check").arg("--config").arg(root().join("conf/slotway.toml"));
    for variables in of_image("ENV") {
        for variable in variables.words() {
            let (name, value) = variable.split_once('=').unwrap();
            check.env(name, value);
        }
    }
    let output = check.args(&flags).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert!(!told(&output).contains("warning"), "{}", told(&output));
    let seeds = flags[1].split(',').map(|seed| seed.split_once(':').unwrap());
    for (host, port) in seeds {
        assert!(NODES.contains(&host), "{host} is not a service");
        assert_eq!(port, "6379");
    }
}

#[test]
fn what_is_listened_to_is_exposed_and_published() {
    let exposed: BTreeSet<String> =
        of_image("EXPOSE").iter().flat_map(|e| e.words()).map(String::from).collect();
    let listened = of_image("ENV")
        .iter()
        .flat_map(Instruction::words)
        .map(|variable| {
            let (name, address) = variable.split_once('=').unwrap();
            assert!(["SLOTWAY_LISTEN", "SLOTWAY_ADMIN"].contains(&name), "{name}");
            address.strip_prefix("0.0.0.0:").unwrap_or_else(|| panic!("{address}")).to_owned()
        })
        .collect::<BTreeSet<_>>();
    assert_eq!(listened, exposed);
    let file = compose_file();
    let published = strings(&file["services"]["slotway"]["ports"]);
    let inner = published.iter().map(|port| port.rsplit(':').next().unwrap().to_owned());
    assert_eq!(inner.collect::<BTreeSet<_>>(), exposed);
}

#[test]
fn the_image_runs_slotway_itself_as_nobody_special() {
    let user = of_image("USER").pop().expect("a user").rest;
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    // A shell between the engine and slotway would keep SIGTERM for itself.
    assert_eq!(of_image("ENTRYPOINT").pop().unwrap().list(), ["slotway"]);
    let froms: Vec<_> = stages().iter().map(|stage| stage[0].rest.clone()).collect();
    assert_eq!(froms, ["rust:1-slim-bookworm AS build", "debian:bookworm-slim"]);
}

/// Docker sees of a folder only what `.dockerignore` leaves, and fails on what is not there.
#[test]
fn everything_that_is_copied_is_there_and_not_ignored() {
    let ignore = std::fs::read_to_string(root().join(".dockerignore")).unwrap();
    let let_through: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"), "everything else stays outside");
    let mut copied = 0;
    for instruction in stages().concat().iter().filter(|instruction| instruction.word == "COPY") {
        let words = instruction.words();
        let (_, sources) = words.split_last().unwrap();
        if sources[0].starts_with("--from=") {
            continue;
        }
        for source in sources {
            assert!(root().join(source).exists(), "{source} is not there");
            let top = source.split('/').next().unwrap();
            assert!(let_through.contains(&top), "{source} is ignored");
            copied += 1;
        }
    }
    assert!(copied >= 5, "the manifests and the members of the workspace");
}

/// The image's own health check, by bash, against the admin server.
#[tokio::test]
async fn the_health_check_tells_ready_from_not_ready_and_from_nobody() {
    let command = of_image("HEALTHCHECK").pop().unwrap().list();
    assert_eq!(command[0], "bash");
    let healthy = async |port: u16| {
        let mut check = Command::new(&command[0]);
        check.args(&command[1..]).env("SLOTWAY_ADMIN", format!("0.0.0.0:{port}"));
        tokio::task::spawn_blocking(move || check.output()).await.unwrap().unwrap().status.success()
    };
    for (missing, expected) in [(vec![], true), (vec!["draining".to_owned()], false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sources = Sources {
            registry: Registry::new(0),
            command_name: Box::new(|_| "get"),
            topology: Box::new(|| serde_json::Value::Null),
            events: Box::new(Vec::new),
            not_ready: Box::new(move || missing.clone()),
            started: Instant::now(),
        };
        let stop = CancellationToken::new();
        let server = admin::serve(listener, sources, Limits::default(), stop.clone());
        let server = tokio::spawn(server);
        assert_eq!(healthy(port).await, expected);
        stop.cancel();
        server.await.unwrap();
        assert!(!healthy(port).await, "nobody listens");
    }
}

/// The nodes' own command line and the script that joins them, with real servers on loopback.
#[test]
fn the_script_makes_a_cluster_of_the_nodes_once() {
    let file = compose_file();
    let services = &file["services"];
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<Port> = NODES.iter().map(|_| Port::free_with_bus().unwrap()).collect();
    let _servers: Vec<Process> = NODES
        .iter()
        .zip(&ports)
        .map(|(node, port)| {
            start_server(node, &strings(&services[*node]["command"]), port, folder.path())
        })
        .collect();
    for port in &ports {
        let answers = || cli(port, &["ping"]).is_some_and(|said| said == "PONG\n");
        testbed::wait_until("a node answers", Duration::from_secs(20), answers).unwrap();
    }
    let cluster = &services["cluster"];
    let addresses: Vec<String> = ports.iter().map(Port::addr).collect();
    let script = || {
        let entrypoint = strings(&cluster["entrypoint"]);
        let mut sh = Command::new(entrypoint[0]);
        sh.args(&entrypoint[1..]).args(strings(&cluster["command"]));
        let output = sh.env("NODES", addresses.join(" ")).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        told(&output)
    };
    assert!(script().contains("All 16384 slots covered"));
    let nodes = cli(&ports[0], &["cluster", "nodes"]).unwrap();
    let count = |role: &str| nodes.lines().filter(|line| line.contains(role)).count();
    assert_eq!((count("master "), count("slave ")), (3, 3), "{nodes}");
    let again = script();
    assert!(!again.contains("Performing hash slots allocation"), "{again}");
    assert!(again.contains("the cluster is there"), "{again}");
}

/// A node as the compose file starts it, but on its own port and in its own folder.
fn start_server(name: &str, command: &[&str], port: &Port, folder: &Path) -> Process {
    let folder: PathBuf = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let mut server = Command::new(command[0]);
    server.args(&command[1..]).current_dir(&folder);
    server.args(["--bind", "127.0.0.1", "--port", &port.number().to_string()]);
    Process::start(name, &server, testbed::Output::Kept).unwrap()
}

/// What redis-cli prints, if it succeeds.
fn cli(port: &Port, args: &[&str]) -> Option<String> {
    let mut cli = Command::new("redis-cli");
    let output = cli.args(["-p", &port.number().to_string()]).args(args).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}
