//! All metrics as Prometheus' text.
//!
//! Counters and gauges go through a recorder of `metrics-exporter-prometheus` that lives for one
//! page only, so a node that is gone takes its gauges with it, and equal series are added up.
//! Latencies do not: its histograms keep every sample, ours are counts already.

use std::fmt::Write;

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::latency::BOUNDS_US;
use super::registry::{Registry, Snapshot};
use super::worker::{CommandCells, WorkerCells};
use super::{BUILD, Cell, Cells, Family, Kind};

static REQUESTS: Family = Family {
    name: "slotway_requests_total",
    help: "Requests of clients that were answered, by command and by how they ended.",
    kind: Kind::Counter,
};

static WORKERS: Family =
    Family { name: "slotway_workers", help: "Workers that run.", kind: Kind::Gauge };

static BUILD_INFO: Family = Family {
    name: "slotway_build_info",
    help: "Which build this is; always 1.",
    kind: Kind::Gauge,
};

/// Needed by the recorder's interface, used by nobody.
static METADATA: Metadata<'static> = Metadata::new("slotway", Level::INFO, None);

/// The whole page.
pub(super) fn text(
    registry: &Registry,
    seen: &Snapshot,
    command_name: &dyn Fn(usize) -> &'static str,
) -> String {
    let page = Page { recorder: PrometheusBuilder::new().build_recorder() };
    page.build_info();
    page.add(&WORKERS, &[], vec![], seen.workers.len() as u64);
    page.group(&registry.process);
    page.group(&registry.cluster);
    for worker in seen.all_workers() {
        page.group(worker);
        for (command, row) in worker.commands() {
            page.command(command.map_or("unknown", command_name), row);
        }
    }
    for (node, cells) in &seen.nodes {
        page.node(node, &**cells, |_| true);
    }
    for (node, cells) in &seen.departed_nodes {
        page.node(node, &**cells, |family| family.kind == Kind::Counter);
    }
    let mut text = sorted(&page.recorder.handle().render());
    parked_oldest(&mut text, seen);
    node_recoveries(&mut text, seen);
    request_durations(&mut text, seen);
    command_durations(&mut text, seen, command_name);
    text
}

struct Page {
    recorder: PrometheusRecorder,
}

impl Page {
    fn build_info(&self) {
        let labels = [("version", BUILD.version), ("commit", BUILD.commit), ("rustc", BUILD.rustc)];
        self.add(&BUILD_INFO, &labels, vec![], 1);
    }

    fn group(&self, cells: &impl Cells) {
        cells.each(&mut |family, labels, cell: &Cell| self.add(family, labels, vec![], cell.get()));
    }

    fn node(&self, node: &str, cells: &impl Cells, wanted: impl Fn(&Family) -> bool) {
        cells.each(&mut |family, labels, cell: &Cell| {
            if wanted(family) {
                self.add(family, labels, vec![Label::new("node", node.to_owned())], cell.get());
            }
        });
    }

    fn command(&self, command: &'static str, row: &CommandCells) {
        for (outcome, requests) in row.outcomes().filter(|(_, requests)| *requests > 0) {
            let labels = [("command", command), ("outcome", outcome.label())];
            self.add(&REQUESTS, &labels, vec![], requests);
        }
    }

    /// Adds to a series, which begins at zero.
    fn add(
        &self,
        family: &'static Family,
        labels: &[(&'static str, &'static str)],
        mut all: Vec<Label>,
        value: u64,
    ) {
        all.extend(labels.iter().map(|&(name, value)| Label::from_static_parts(name, value)));
        let key = Key::from_parts(family.name, all);
        match family.kind {
            Kind::Counter => {
                self.recorder.describe_counter(family.name.into(), None, family.help.into());
                self.recorder.register_counter(&key, &METADATA).increment(value);
            }
            Kind::Gauge => {
                self.recorder.describe_gauge(family.name.into(), None, family.help.into());
                self.recorder.register_gauge(&key, &METADATA).increment(value as f64);
            }
        }
    }
}

/// The recorder's page in a fixed order. It writes one paragraph a family, comments first, and
/// both families and series as its hash tables have them; no value can hold a line break.
fn sorted(page: &str) -> String {
    let mut families: Vec<&str> = page.split("\n\n").filter(|f| !f.trim().is_empty()).collect();
    // A paragraph begins with "# HELP <name>".
    families.sort_unstable();
    let mut text = String::with_capacity(page.len() * 2);
    for family in families {
        let (comments, mut series): (Vec<_>, Vec<_>) =
            family.trim().lines().partition(|line| line.starts_with('#'));
        series.sort_unstable();
        for line in comments.into_iter().chain(series) {
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// A gauge that is not added up over the workers.
fn parked_oldest(text: &mut String, seen: &Snapshot) {
    const NAME: &str = "slotway_parked_oldest_seconds";
    let help = "How long the oldest request that waits for a shard has been waiting.";
    head(text, NAME, help, "gauge");
    line(text, NAME, "", None, seen.parked_oldest().as_secs_f64());
    text.push('\n');
}

/// Count and sum for each node that has served slots again after an outage, once by each worker
/// whose clients noticed it: failovers are rare, so that the mean over a while is that of one.
fn node_recoveries(text: &mut String, seen: &Snapshot) {
    const NAME: &str = "slotway_node_recovery_duration_seconds";
    let mut totals = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for (node, cells) in seen.nodes.iter().chain(&seen.departed_nodes) {
        let (count, sum_us) = cells.recoveries();
        if count > 0 {
            let total = totals.entry(node).or_default();
            *total = (total.0 + count, total.1 + sum_us);
        }
    }
    if totals.is_empty() {
        return;
    }
    let help = "From losing the node of some slots, or from the first request that missed it, to the \
                first success there, by the node that served it.";
    head(text, NAME, help, "summary");
    for (node, (count, sum_us)) in totals {
        // As the exposition format has it, and the recorder for its own series.
        let node = node.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        line(text, NAME, "_sum", Some(("node", &node)), seconds(sum_us));
        line(text, NAME, "_count", Some(("node", &node)), count);
    }
    text.push('\n');
}

/// The histogram of all requests together: one for each command would be 24 series a command.
fn request_durations(text: &mut String, seen: &Snapshot) {
    const NAME: &str = "slotway_request_duration_seconds";
    let mut counts = [0; BOUNDS_US.len() + 1];
    for worker in seen.all_workers() {
        counts.iter_mut().zip(worker.latency().counts()).for_each(|(sum, n)| *sum += n);
    }
    let commands = seen.all_workers().flat_map(WorkerCells::commands);
    let sum_us: u64 = commands.map(|(_, row)| row.latency_us_sum()).sum();
    head(text, NAME, "From reading a request to having its answer, all commands.", "histogram");
    let mut at_most = 0;
    for (bound, count) in BOUNDS_US.iter().zip(counts) {
        at_most += count;
        line(text, NAME, "_bucket", Some(("le", &seconds(*bound).to_string())), at_most);
    }
    at_most += counts[BOUNDS_US.len()];
    line(text, NAME, "_bucket", Some(("le", "+Inf")), at_most);
    line(text, NAME, "_sum", None, seconds(sum_us));
    line(text, NAME, "_count", None, at_most);
}

/// Count and sum for each command, enough for its mean.
fn command_durations(
    text: &mut String,
    seen: &Snapshot,
    command_name: &dyn Fn(usize) -> &'static str,
) {
    const NAME: &str = "slotway_command_duration_seconds";
    let mut totals = std::collections::BTreeMap::<&str, (u64, u64)>::new();
    for (command, row) in seen.all_workers().flat_map(WorkerCells::commands) {
        let total = totals.entry(command.map_or("unknown", command_name)).or_default();
        total.0 += row.latency_us_sum();
        total.1 += row.requests();
    }
    if totals.is_empty() {
        return;
    }
    text.push('\n');
    head(text, NAME, "From reading a request to having its answer, by command.", "summary");
    for (command, (sum_us, count)) in totals {
        line(text, NAME, "_sum", Some(("command", command)), seconds(sum_us));
        line(text, NAME, "_count", Some(("command", command)), count);
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(
    text: &mut String,
    name: &str,
    suffix: &str,
    label: Option<(&str, &str)>,
    value: impl std::fmt::Display,
) {
    let _ = match label {
        Some((label, of)) => writeln!(text, "{name}{suffix}{{{label}=\"{of}\"}} {value}"),
        None => writeln!(text, "{name}{suffix} {value}"),
    };
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{NodeCells, Outcome};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    fn name(command: usize) -> &'static str {
        ["get", "set"][command]
    }

    fn busy() -> String {
        let registry = Registry::new(2);
        let worker = Arc::new(WorkerCells::new(2));
        registry.register_worker(worker.clone());
        worker.request_done(0, Outcome::Ok, 40);
        worker.request_done(0, Outcome::Ok, 60);
        worker.request_done(0, Outcome::Unknown, 70_000_000);
        worker.request_done(77, Outcome::Refused, 1);
        worker.redirects_ask.add(4);
        let hostile = Arc::new(NodeCells::default());
        registry.register_node("a\"b\\c\n# TYPE x\n\ny 1", hostile.clone());
        hostile.requests_total.add(1);
        hostile.recovered(std::time::Duration::from_millis(2500));
        worker.set_parked_oldest(std::time::Duration::from_millis(1250));
        registry.cluster.replicas_down.set(2);
        registry.render(&name)
    }

    /// A strict reader of the text form: every series stands in one block behind its own HELP and
    /// TYPE, and once.
    fn read(page: &str) -> BTreeMap<String, (String, BTreeMap<String, f64>)> {
        let mut families = BTreeMap::<String, (String, BTreeMap<String, f64>)>::new();
        let mut current = String::new();
        for line in page.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                current = rest.split(' ').next().unwrap().to_owned();
                let new = families.insert(current.clone(), Default::default()).is_none();
                assert!(new, "{current} stands twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (of, kind) = rest.split_once(' ').unwrap();
                assert_eq!(of, current);
                families.get_mut(of).unwrap().0 = kind.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let bare = series.split('{').next().unwrap();
                let (kind, all) = families.get_mut(&current).expect("a series without HELP");
                assert!(!kind.is_empty(), "{series} without TYPE");
                let suffixes: &[&str] = match kind.as_str() {
                    "histogram" => &["_bucket", "_sum", "_count"],
                    "summary" => &["_sum", "_count"],
                    _ => &[""],
                };
                let own = suffixes.iter().any(|s| bare.strip_suffix(s) == Some(&*current));
                assert!(own, "{series} stands under {current}");
                let new = all.insert(series.to_owned(), value.parse().unwrap()).is_none();
                assert!(new, "{series} stands twice");
            }
        }
        families
    }

    #[test]
    fn names_say_what_they_are() {
        for (name, (kind, _)) in read(&busy()) {
            assert!(name.starts_with("slotway_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            for (quantity, unit) in
                [("bytes", "_bytes"), ("duration", "_seconds"), ("time", "_seconds")]
            {
                if name.contains(quantity) {
                    assert!(name.trim_end_matches("_total").ends_with(unit), "{name} without unit");
                }
            }
        }
    }

    #[test]
    fn only_commands_that_were_used_make_series() {
        let page = read(&busy());
        let requests = &page["slotway_requests_total"].1;
        let expected = [
            ("slotway_requests_total{command=\"get\",outcome=\"ok\"}", 2.0),
            ("slotway_requests_total{command=\"get\",outcome=\"unknown\"}", 1.0),
            ("slotway_requests_total{command=\"unknown\",outcome=\"refused\"}", 1.0),
        ];
        assert_eq!(*requests, expected.map(|(series, n)| (series.to_owned(), n)).into());
        let of_get = &page["slotway_command_duration_seconds"].1;
        assert_eq!(of_get["slotway_command_duration_seconds_sum{command=\"get\"}"], 70.0001);
        assert_eq!(of_get["slotway_command_duration_seconds_count{command=\"get\"}"], 3.0);
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_the_count() {
        let page = busy();
        let buckets: Vec<(&str, u64)> = page
            .lines()
            .filter_map(|line| line.strip_prefix("slotway_request_duration_seconds_bucket{le=\""))
            .map(|line| line.split_once("\"} ").unwrap())
            .map(|(bound, count)| (bound, count.parse().unwrap()))
            .collect();
        assert_eq!(buckets.len(), BOUNDS_US.len() + 1);
        assert_eq!(buckets[..3], [("0.00005", 2), ("0.0001", 3), ("0.00015", 3)]);
        assert_eq!(buckets[buckets.len() - 2..], [("60", 3), ("+Inf", 4)]);
        assert!(page.contains("\nslotway_request_duration_seconds_count 4\n"));
        assert!(page.contains("\nslotway_request_duration_seconds_sum 70.000101\n"));
    }

    #[test]
    fn a_node_cannot_write_lines_by_its_name() {
        let page = read(&busy());
        let families: BTreeSet<&str> = page.keys().map(String::as_str).collect();
        assert!(families.iter().all(|name| name.starts_with("slotway_")), "{families:?}");
        let mut series = page["slotway_node_requests_total"].1.keys();
        assert_eq!(
            series.next().map(String::as_str),
            Some(r#"slotway_node_requests_total{node="a\"b\\c\n# TYPE x\n\ny 1"}"#),
        );
        let name = "slotway_node_recovery_duration_seconds";
        let recovery = r#"_sum{node="a\"b\\c\n# TYPE x\n\ny 1"}"#;
        assert_eq!(page[name].1[&format!("{name}{recovery}")], 2.5);
    }

    #[test]
    fn the_oldest_that_waits_is_the_oldest_of_all_workers() {
        let registry = Registry::new(0);
        let workers = [3, 2].map(|seconds| {
            let worker = Arc::new(WorkerCells::new(0));
            worker.set_parked_oldest(std::time::Duration::from_secs(seconds));
            registry.register_worker(Arc::clone(&worker));
            worker
        });
        assert!(registry.render(&name).contains("\nslotway_parked_oldest_seconds 3\n"));
        drop(workers);
        assert!(registry.render(&name).contains("\nslotway_parked_oldest_seconds 0\n"));
    }

    #[test]
    fn an_idle_registry_shows_every_metric_but_those_of_commands_and_nodes() {
        let idle = Registry::new(2);
        idle.register_worker(Arc::new(WorkerCells::new(2)));
        let page = read(&idle.render(&name));
        for series in [
            "slotway_clients_closed_total{reason=\"slow\"}",
            "slotway_redirects_total{kind=\"moved\"}",
            "slotway_cluster_nodes{role=\"primary\",health=\"up\"}",
        ] {
            let family = series.split('{').next().unwrap();
            assert_eq!(page[family].1.get(series), Some(&0.0), "{series}");
        }
        assert!(!page.contains_key("slotway_requests_total"));
        assert!(!page.contains_key("slotway_command_duration_seconds"));
        assert_eq!(page["slotway_build_info"].1.len(), 1);
    }
}
