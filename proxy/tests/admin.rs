//! The admin HTTP over real sockets on loopback: what it answers, and what a bad visitor can do.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use slotway::events::Told;
use slotway::metrics::{NodeCells, Outcome, Registry, WorkerCells};
use slotway::server::admin::{self, Limits, Sources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; only a hanging test sees it.
const PATIENCE: Duration = Duration::from_secs(20);

/// An admin server with one worker's cells behind it.
struct Admin {
    address: SocketAddr,
    registry: Arc<Registry>,
    worker: Arc<WorkerCells>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// A server that is ready for clients. Asking for the topology makes the worker turn once.
async fn admin(limits: Limits) -> Admin {
    admin_missing(vec![], limits).await
}

/// A server that misses these things.
async fn admin_missing(not_ready: Vec<String>, limits: Limits) -> Admin {
    let registry = Registry::new(2);
    let worker = Arc::new(WorkerCells::new(2));
    registry.register_worker(worker.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let revision = AtomicU64::new(0);
    let turning = worker.clone();
    let sources = Sources {
        registry: registry.clone(),
        command_name: Box::new(|row| ["get", "set"][row]),
        topology: Box::new(move || {
            turning.turns.add(1);
            json!({"revision": revision.fetch_add(1, Ordering::Relaxed), "shards": []})
        }),
        events: Box::new(|| vec![told()]),
        not_ready: Box::new(move || not_ready.clone()),
        started: Instant::now(),
    };
    let stop = CancellationToken::new();
    let served = tokio::spawn(admin::serve(listener, sources, limits, stop.clone()));
    Admin { address, registry, worker, stop, served }
}

/// Something that happened.
fn told() -> Told {
    let text = "h:1 cannot be reached".to_owned();
    Told { at: "2026-02-28T23:59:59.999Z".into(), text }
}

/// The defaults, but nobody is put out for being slow: a test that needs that says so.
fn limits() -> Limits {
    Limits { head_time: 10 * PATIENCE, connection_time: 10 * PATIENCE, ..Limits::default() }
}

/// Fails instead of hanging.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("took too long")
}

impl Admin {
    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    /// Sends a whole request; returns the status, the head in lower case, and the body.
    async fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        let mut stream = self.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        let mut all = String::new();
        soon(stream.read_to_string(&mut all)).await.unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {all:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.ask("GET", path).await;
        (status, body)
    }
}

/// Reads until the other side closes; a reset counts as closing.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = soon(stream.read_to_end(&mut all)).await;
    all
}

#[tokio::test]
async fn metrics_are_those_of_the_registry() {
    let admin = admin(limits()).await;
    admin.worker.request_done(1, Outcome::Ok, 70);
    let (status, head, body) = admin.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nslotway_requests_total{command=\"set\",outcome=\"ok\"} 1\n"));
    assert!(body.contains("\nslotway_request_duration_seconds_bucket{le=\"0.0001\"} 1\n"));
}

#[tokio::test]
async fn readiness_is_told_a_sentence_a_line() {
    let ready = admin(limits()).await;
    assert_eq!(ready.get("/readyz").await, (200, "ready\n".into()));
    let missing = ["3 of 16384 slots have no owner".into(), "the seed said\r\nHTTP/1.1".into()];
    let waiting = admin_missing(missing.into(), limits()).await;
    let expected = "3 of 16384 slots have no owner\nthe seed said  HTTP/1.1\n";
    assert_eq!(waiting.get("/readyz").await, (503, expected.into()));
}

#[tokio::test]
async fn livez_fails_while_a_worker_makes_no_turns() {
    let limits = Limits { liveness_interval: Duration::from_millis(2), ..limits() };
    let admin = admin(limits).await;
    let stuck = (503, "worker 0 makes no turns any more\n".into());
    soon(async { while admin.get("/livez").await != stuck {} }).await;
    soon(async {
        while admin.get("/livez").await != (200, "alive\n".into()) {
            admin.get("/topology").await;
        }
    })
    .await;
}

#[tokio::test]
async fn topology_and_status_are_json_and_fresh() {
    let admin = admin(limits()).await;
    for revision in 0..2 {
        let (status, head, body) = admin.ask("GET", "/topology").await;
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/json"), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body, json!({"revision": revision, "shards": []}));
    }
    admin.worker.clients.set(4);
    admin.worker.request_done(0, Outcome::Ok, 1);
    let node = Arc::new(NodeCells::default());
    admin.registry.register_node("127.0.0.1:7000", node.clone());
    node.connections.set(2);
    let body: Value = serde_json::from_str(&admin.get("/status").await.1).unwrap();
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&body["clients"], &body["requests_total"]), (&json!(4), &json!(1)));
    let of_node = json!({"connections": 2, "in_flight": 0, "requests_total": 0});
    assert_eq!(body["nodes"], json!({"127.0.0.1:7000": of_node}));
    assert_eq!((&body["not_ready"], &body["stuck_workers"]), (&json!([]), &json!([])));
    assert!(body["uptime_seconds"].is_u64());
}

#[tokio::test]
async fn events_are_json() {
    let admin = admin(limits()).await;
    let (status, head, body) = admin.ask("GET", "/events").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!([{"at": told().at, "text": told().text}]));
}

/// The page must work where nothing but the admin port is reachable.
#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let admin = admin(limits()).await;
    let (status, head, body) = admin.ask("GET", "/").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    let without_names = body.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["http:", "https:", "src=", "@import", "url(", "innerHTML"] {
        assert!(!without_names.contains(foreign), "the page has {foreign}");
    }
    let asked: Vec<_> =
        body.split("ask(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(asked, ["/status", "/topology"]);
    for path in asked {
        assert_eq!(admin.get(path).await.0, 200, "{path}, which the page asks for");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body_and_other_methods_are_refused() {
    let admin = admin(limits()).await;
    for path in ["/", "/metrics", "/livez", "/readyz", "/topology", "/events", "/status"] {
        let (status, head, body) = admin.ask("HEAD", path).await;
        assert_eq!((status, body.as_str()), (200, ""), "{path}");
        assert!(head.contains("content-length: "), "{path}: {head}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "FLUSHALL"] {
            let (status, head, body) = admin.ask(method, path).await;
            assert_eq!((status, body.as_str()), (405, "only GET and HEAD\n"), "{method} {path}");
            assert!(head.contains("allow: get,head"), "{head}");
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_told_the_known_ones() {
    let admin = admin(limits()).await;
    for path in ["/metric", "/metrics/", "//", "/../etc/passwd", "/%00"] {
        let (status, body) = admin.get(path).await;
        assert_eq!(status, 404, "{path}");
        let told: Vec<&str> =
            body.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        let paths = ["/", "/metrics", "/livez", "/readyz", "/topology", "/events", "/status"];
        assert_eq!(told, paths);
    }
}

#[tokio::test]
async fn a_request_head_is_bounded() {
    let admin = admin(limits()).await;
    let mut stream = admin.connect().await;
    let _ = soon(stream.write_all(b"GET / HTTP/1.1\r\nx: ")).await;
    // It may close before it has read all of this.
    let _ = soon(stream.write_all(&[b'y'; 64 * 1024])).await;
    let said = closed(&mut stream).await;
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 431 "), "{}", said.escape_ascii());
    assert_eq!(admin.get("/livez").await.0, 200);
}

#[tokio::test]
async fn garbage_is_refused() {
    let admin = admin(limits()).await;
    for garbage in
        ["*1\r\n$4\r\nPING\r\n", "\0\0\0\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/9\r\n\r\n"]
    {
        let mut stream = admin.connect().await;
        soon(stream.write_all(garbage.as_bytes())).await.unwrap();
        let said = closed(&mut stream).await;
        let refused = said.is_empty() || said.starts_with(b"HTTP/1.1 400 ");
        assert!(refused, "{garbage:?}: {}", said.escape_ascii());
    }
    assert_eq!(admin.get("/livez").await.0, 200);
}

/// Whoever sends nothing, half a head or a byte at a time is put out, and its place is free again.
#[tokio::test]
async fn a_visitor_that_never_finishes_its_request_is_put_out() {
    let limits = Limits { connections: 2, head_time: Duration::from_millis(50), ..limits() };
    let admin = admin(limits).await;
    let mut silent = admin.connect().await;
    let mut half = admin.connect().await;
    soon(half.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ")).await.unwrap();
    // Both places are taken: this one is answered once one of them is put out.
    assert_eq!(admin.get("/livez").await.0, 200);
    closed(&mut silent).await;
    closed(&mut half).await;
    let mut drip = admin.connect().await;
    soon(drip.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ")).await.unwrap();
    soon(async {
        while drip.write_all(b"x").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(admin.get("/livez").await.0, 200);
}

/// The revision that `/topology` tells grows with each answer, so it shows who was answered when.
#[tokio::test]
async fn whoever_finds_no_place_waits_for_one() {
    let admin = admin(Limits { connections: 1, ..limits() }).await;
    let request = b"GET /topology HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = admin.connect().await;
    let mut second = admin.connect().await;
    soon(second.write_all(request)).await.unwrap();
    for revision in 0..3 {
        soon(first.write_all(request)).await.unwrap();
        assert_eq!(one_json(&mut first).await["revision"], revision);
    }
    drop(first);
    assert_eq!(one_json(&mut second).await["revision"], 3);
}

/// Reads one answer with a JSON object in it.
async fn one_json(stream: &mut TcpStream) -> Value {
    let mut said = Vec::new();
    while !said.ends_with(b"}") {
        assert_ne!(soon(stream.read_buf(&mut said)).await.unwrap(), 0, "closed");
    }
    let body = said.iter().position(|&byte| byte == b'{').unwrap();
    serde_json::from_slice(&said[body..]).unwrap()
}

/// One that keeps asking and never reads holds its place for a bounded time too.
#[tokio::test]
async fn a_visitor_that_does_not_read_is_put_out() {
    let limits = Limits {
        connections: 1,
        connection_time: Duration::from_millis(50),
        last_answer_time: Duration::from_millis(50),
        ..limits()
    };
    let admin = admin(limits).await;
    let mut deaf = admin.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    soon(async { while deaf.write_all(request).await.is_ok() {} }).await;
    assert_eq!(admin.get("/livez").await.0, 200);
}

#[tokio::test]
async fn a_connection_is_used_again_for_a_bounded_time() {
    let limits = Limits { connection_time: Duration::from_millis(300), ..limits() };
    let admin = admin(limits).await;
    let mut stream = admin.connect().await;
    let mut answers = 0;
    // Asks again and again on one connection until it is closed, always after a whole answer.
    let last = soon(async {
        loop {
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let mut said = Vec::new();
            while !said.ends_with(b"alive\n") {
                if stream.read_buf(&mut said).await.unwrap_or(0) == 0 {
                    return said;
                }
            }
            answers += 1;
        }
    })
    .await;
    assert_eq!(last.escape_ascii().to_string(), "", "closed within an answer");
    assert!(answers >= 2, "{answers} answers on one connection");
}

#[tokio::test]
async fn stop_ends_it_and_frees_the_port() {
    let admin = admin(limits()).await;
    let mut idle = admin.connect().await;
    assert_eq!(admin.get("/livez").await.0, 200);
    admin.stop.cancel();
    soon(admin.served).await.unwrap();
    assert_eq!(closed(&mut idle).await, b"");
    TcpListener::bind(admin.address).await.expect("the port is free again");
}

/// The page is not compiled with what it reads; a field of another name would leave it empty.
#[test]
fn the_page_reads_the_fields_that_the_topology_has() {
    use slotway::slot::Slot;
    use slotway::topology::{self, Draft, Endpoint, Node, NodeId, Role};

    let node = |digit: &str, role| {
        let id = NodeId::parse(digit.repeat(40).as_bytes()).unwrap();
        Node::new(id, Endpoint::new("127.0.0.1", 7000), role)
    };
    let mut replica = node("b", Role::Replica);
    replica.follows = Some(node("a", Role::Primary).id);
    let mut draft = Draft { revision: 1, ..Draft::default() };
    draft.nodes = vec![node("a", Role::Primary), replica, node("c", Role::Primary)];
    let owner = draft.nodes[0].id;
    draft.own(Slot::new(0).unwrap(), Slot::new(5).unwrap(), owner, 1);
    let json = topology::json(&draft.finish());
    let page = include_str!("../src/server/admin/page.html");
    for pointer in [
        "/shards/0/slots",
        "/shards/0/primary/endpoint",
        "/shards/0/primary/role",
        "/shards/0/replicas/0/health",
        "/other_nodes/0/endpoint",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer} in {json}");
        let names = pointer.split('/').filter(|name| name.parse::<u32>().is_err());
        for name in names.filter(|name| !name.is_empty()) {
            assert!(page.contains(&format!(".{name}")), "the page does not read {name}");
        }
    }
}
