//! What is answered under which path.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::Sources;
use super::liveness::Liveness;
use crate::metrics::BUILD;

/// Every path and what it gives; shown to whoever asks for another one.
const PATHS: &str = "\
/          a page to look at
/metrics   all metrics, for Prometheus
/livez     200 as long as the workers make turns
/readyz    200 if clients are served, else 503 and what is missing
/topology  the cluster as it is seen now (JSON)
/events    what happened, the newest last (JSON)
/status    the numbers of the page (JSON)
";

const PAGE: &str = include_str!("page.html");

/// The page draws what the cluster says about itself: should a name ever get the better of its
/// script, it can load nothing, send nothing elsewhere and be framed by nobody.
const PAGE_POLICY: &str = "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; \
                           style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// What all answers share.
pub(super) struct State {
    sources: Sources,
    liveness: Mutex<Liveness>,
}

type Shared = extract::State<Arc<State>>;

impl State {
    pub(super) fn new(sources: Sources) -> State {
        State { sources, liveness: Mutex::default() }
    }

    /// Takes note of the workers' turns.
    pub(super) fn look_at_workers(&self) {
        let turns = self.sources.registry.turns();
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner).look(&turns);
    }

    fn stuck_workers(&self) -> Vec<usize> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner).stuck()
    }
}

/// The paths; GET and HEAD only.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/topology", get(topology))
        .route("/events", get(events))
        .route("/status", get(status))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
}

async fn page() -> Response {
    let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
    let policy = HeaderValue::from_static(PAGE_POLICY);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

async fn metrics(extract::State(state): Shared) -> Response {
    let text = state.sources.registry.render(&*state.sources.command_name);
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

async fn livez(extract::State(state): Shared) -> Response {
    let mut why = String::new();
    for worker in state.stuck_workers() {
        // Writing to a String cannot fail.
        let _ = writeln!(why, "worker {worker} makes no turns any more");
    }
    verdict(why, "alive\n")
}

async fn readyz(extract::State(state): Shared) -> Response {
    let mut why = String::new();
    for sentence in (state.sources.not_ready)() {
        let _ = writeln!(why, "{}", one_line(&sentence));
    }
    verdict(why, "ready\n")
}

async fn topology(extract::State(state): Shared) -> Response {
    answer(StatusCode::OK, JSON, (state.sources.topology)().to_string())
}

async fn events(extract::State(state): Shared) -> Response {
    let told = (state.sources.events)();
    let events: Vec<Value> =
        told.into_iter().map(|told| json!({"at": told.at, "text": told.text})).collect();
    answer(StatusCode::OK, JSON, Value::from(events).to_string())
}

async fn status(extract::State(state): Shared) -> Response {
    let sources = &state.sources;
    let summary = sources.registry.summary();
    let node = |(address, node): (&String, &crate::metrics::NodeSummary)| {
        let numbers = json!({
            "connections": node.connections,
            "in_flight": node.in_flight,
            "requests_total": node.requests_total,
        });
        (address.clone(), numbers)
    };
    let status = json!({
        "version": BUILD.version,
        "commit": BUILD.commit,
        "uptime_seconds": sources.started.elapsed().as_secs(),
        "not_ready": (sources.not_ready)(),
        "stuck_workers": state.stuck_workers(),
        "clients": summary.clients,
        "requests_total": summary.requests_total,
        "nodes": Value::Object(summary.nodes.iter().map(node).collect()),
    });
    answer(StatusCode::OK, JSON, status.to_string())
}

async fn not_found() -> Response {
    answer(StatusCode::NOT_FOUND, TEXT, format!("not found; there is:\n{PATHS}"))
}

async fn wrong_method() -> Response {
    answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned())
}

/// 503 and the reasons, or 200 and the good news.
fn verdict(why_not: String, yes: &str) -> Response {
    if why_not.is_empty() {
        answer(StatusCode::OK, TEXT, yes.to_owned())
    } else {
        answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why_not)
    }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

/// A sentence a line is what readers of `/readyz` count on, and reasons quote other hosts.
fn one_line(sentence: &str) -> String {
    sentence.replace(|c: char| c.is_control(), " ")
}
