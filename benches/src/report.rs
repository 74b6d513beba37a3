//! The report of a run in Markdown, and its short form for the terminal.

use std::fmt::Write;
use std::time::Duration;

use crate::cell::Cell;
use crate::environment::Environment;
use crate::fanout::{BURSTS, SUBSCRIBERS};
use crate::goals::{GOALS, PAIRS_WANTED, Verdict};
use crate::idle::Memory;
use crate::loads::{IDLE_CONNECTIONS, LOADS, Load};
use crate::results::{Results, Spread};
use crate::targets::Kind;

/// The load generator above this share of its core is called the bottleneck.
const CLIENT_SATURATED: f64 = 0.9;

/// More than this many cores used by others is called noise.
const FOREIGN_NOISE: f64 = 0.1;

/// How a run was done, as far as the reader of its report wants to know.
#[derive(Debug)]
pub struct Method {
    /// Rounds over everything.
    pub rounds: usize,
    /// Length of a measurement.
    pub cell: Duration,
    /// Length of its warm-up.
    pub warm_up: Duration,
    /// Targets that were left out, and why.
    pub skipped: Vec<(Kind, String)>,
    /// Profiles recorded for missed goals: the load, and the file's name or why there is none.
    pub profiles: Vec<(&'static str, Result<String, String>)>,
}

/// The whole report.
pub fn markdown(results: &Results, environment: &Environment, method: &Method) -> String {
    let mut text = String::from("# slotway beside its peers\n\n");
    text += "![CPU, requests per second, latency and memory](report.svg)\n\n";
    push(&mut text, &goals(results));
    push(&mut text, &remarks(results, method));
    for load in &LOADS {
        push(&mut text, &load_table(results, load));
    }
    push(&mut text, &ratios(results, (Kind::Slotway, Kind::Nutcracker)));
    push(&mut text, &ratios(results, (Kind::SlotwayStrict, Kind::Slotway)));
    push(&mut text, &memory_table(results));
    push(&mut text, &delivery_table(results));
    push(&mut text, &setting(environment, method));
    text
}

/// The goals and the remarks alone, for the terminal.
pub fn summary(results: &Results, method: &Method) -> String {
    let mut text = String::new();
    for goal in &GOALS {
        let (verdict, measured) = goal.judge(results);
        let show = |figure| goal.measure.show(figure);
        let measured = measured.map_or(String::new(), |it| {
            format!("{} ({} to {}, {}×)", show(it.median), show(it.min), show(it.max), it.count)
        });
        let bound = goal.bound.show(goal.measure);
        let (verdict, title) = (verdict.show(), goal.measure.title());
        writeln!(text, "{verdict:12}  {title}: {bound}  {measured}").expect(TO_MEMORY);
    }
    let remarks = remarks(results, method);
    if !remarks.is_empty() {
        text += "\n";
        text += &remarks;
    }
    text
}

const TO_MEMORY: &str = "writing into a String cannot fail";

/// Adds a section and an empty line behind it, if there is anything in it.
fn push(text: &mut String, section: &str) {
    if !section.is_empty() {
        text.push_str(section);
        text.push('\n');
    }
}

fn goals(results: &Results) -> String {
    let mut text = String::from(
        "## Goals\n\nMedians, with smallest and largest, of figures paired within a round.\n\n",
    );
    text += "| goal | bound | median (min–max) | figures | |\n|---|---|---|---|---|\n";
    for goal in &GOALS {
        let (verdict, measured) = goal.judge(results);
        let count = measured.map_or(0, |it| it.count);
        let cells = [
            goal.measure.title(),
            goal.bound.show(goal.measure),
            spread(measured, |figure| goal.measure.show(figure)),
            count.to_string(),
            match verdict {
                Verdict::Missed => "**missed**".to_owned(),
                other => other.show().to_owned(),
            },
        ];
        row(&mut text, &cells);
    }
    text
}

/// What the reader must know before believing a figure.
fn remarks(results: &Results, method: &Method) -> String {
    let mut text = String::new();
    let mut say = |words: String| text += &format!("- {words}\n");
    for failure in &results.failures {
        say(format!("Failed: {failure}"));
    }
    for (kind, why) in &method.skipped {
        say(format!("{} was not measured: {why}", kind.name()));
    }
    if method.rounds < PAIRS_WANTED {
        let rounds = method.rounds;
        say(format!("Rounds: {rounds}. A verdict should rest on {PAIRS_WANTED} pairs."));
    }
    let saturated = places(results, Cell::client_busy, CLIENT_SATURATED);
    if !saturated.is_empty() {
        let places: Vec<String> = saturated.into_iter().map(|(place, _)| place).collect();
        let places = places.join(", ");
        say(format!(
            "The load generator used its whole core, so the requests per second are its own: {places}"
        ));
    }
    let noisy = places(results, |cell| cell.foreign_cores, FOREIGN_NOISE);
    if let Some((worst, cores)) = noisy.iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
        let count = noisy.len();
        say(format!(
            "Something else used more than {FOREIGN_NOISE} cores during {count} of the rows, most \
             during {worst}: {cores:.2}. Such figures are not worth much."
        ));
    }
    for (load, profile) in &method.profiles {
        match profile {
            Ok(file) => say(format!("Where slotway's time goes under {load}: [{file}]({file})")),
            Err(why) => say(format!("No profile of {load}: {why}")),
        }
    }
    text
}

/// Each load and target on which the median of a figure is above a limit, with that median.
fn places(results: &Results, figure: fn(&Cell) -> f64, limit: f64) -> Vec<(String, f64)> {
    let mut places = Vec::new();
    for load in &LOADS {
        for kind in Kind::ALL {
            let median = results.spread(load.name, kind, |cell| Some(figure(cell)));
            if let Some(median) = median.map(|it| it.median).filter(|it| *it > limit) {
                places.push((format!("{} on {}", load.name, kind.name()), median));
            }
        }
    }
    places
}

fn load_table(results: &Results, load: &Load) -> String {
    let mut text = format!("## {}\n\n", load.title);
    text += "| | requests/s | p50 µs | p99 µs | proxy CPU µs/request | of it kernel | nodes' CPU µs/request | client's CPU µs/request | proxy resident MiB |\n";
    text += "|---|---|---|---|---|---|---|---|---|\n";
    let mut measured = false;
    for kind in Kind::ALL {
        if results.cells(load.name, kind).next().is_none() {
            continue;
        }
        measured = true;
        let of = |figure: &dyn Fn(&Cell) -> Option<f64>, show: fn(f64) -> String| {
            spread(results.spread(load.name, kind, figure), show)
        };
        let cells = [
            kind.name().to_owned(),
            of(&|cell| Some(cell.per_second()), thousands),
            of(&|cell| Some(cell.p50_us), one_decimal),
            of(&|cell| Some(cell.p99_us), one_decimal),
            of(&|cell| cell.proxy_us, two_decimals),
            of(&|cell| cell.proxy_kernel_share, |share| format!("{:.0} %", share * 100.0)),
            of(&|cell| Some(cell.nodes_us), two_decimals),
            of(&|cell| Some(cell.client_us), two_decimals),
            of(&|cell| cell.resident_bytes.map(|bytes| bytes as f64), mib),
        ];
        row(&mut text, &cells);
    }
    if load.connections == 1 {
        text += &added_latency(results, load);
    }
    if measured { text } else { String::new() }
}

/// What each proxy adds to the latency of a server without one.
fn added_latency(results: &Results, load: &Load) -> String {
    let mut text = String::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Direct) {
        let pair = (kind, Kind::Direct);
        let added =
            results.pairs(load.name, pair, |cell| Some(cell.p50_us), |its, bare| its - bare);
        if let Some(added) = Spread::of(added) {
            let shown = spread(Some(added), one_decimal);
            writeln!(text, "- {} adds {shown} µs to the median latency.", kind.name())
                .expect(TO_MEMORY);
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// One target against another, round by round.
fn ratios(results: &Results, kinds: (Kind, Kind)) -> String {
    let (ours, theirs) = (kinds.0.name(), kinds.1.name());
    let mut text = format!("## {ours} / {theirs}, paired by round\n\n");
    text += "| load | proxy CPU | proxy + node CPU | requests/s | p50 | p99 | proxy CPU in each round |\n";
    text += "|---|---|---|---|---|---|---|\n";
    let mut measured = false;
    for load in &LOADS {
        let pairs = |figure: fn(&Cell) -> Option<f64>| {
            results.pairs(load.name, kinds, figure, |ours, theirs| ours / theirs)
        };
        let cpu = pairs(|cell| cell.proxy_us);
        if cpu.is_empty() {
            continue;
        }
        measured = true;
        let each: Vec<String> = cpu.iter().copied().map(two_decimals).collect();
        let of = |figure| spread(Spread::of(pairs(figure)), two_decimals);
        let cells = [
            load.name.to_owned(),
            spread(Spread::of(cpu), two_decimals),
            of(|cell| Some(cell.proxy_and_nodes_us())),
            of(|cell| Some(cell.per_second())),
            of(|cell| Some(cell.p50_us)),
            of(|cell| Some(cell.p99_us)),
            each.join(", "),
        ];
        row(&mut text, &cells);
    }
    if measured { text } else { String::new() }
}

fn memory_table(results: &Results) -> String {
    let mut text = format!("## Memory with {IDLE_CONNECTIONS} connections\n\n");
    text += "| | at start, MiB | of it anonymous | per idle connection, B | per used connection, B | above start 10 s after closing, MiB |\n";
    text += "|---|---|---|---|---|---|\n";
    let mut measured = false;
    for kind in Kind::ALL {
        if results.memory(kind).next().is_none() {
            continue;
        }
        measured = true;
        let of = |figure: fn(&Memory) -> f64, show: fn(f64) -> String| {
            spread(results.memory_spread(kind, figure), show)
        };
        let cells = [
            kind.name().to_owned(),
            of(|memory| memory.start.total_bytes as f64, mib),
            of(|memory| memory.start.anonymous_bytes as f64, mib),
            of(Memory::per_idle_connection, |bytes| format!("{bytes:.0}")),
            of(Memory::per_used_connection, |bytes| format!("{bytes:.0}")),
            of(Memory::kept_after_closing, mib),
        ];
        row(&mut text, &cells);
    }
    if measured { text } else { String::new() }
}

fn delivery_table(results: &Results) -> String {
    let mut text = format!("## A message to {SUBSCRIBERS} subscribers\n\n");
    text += "| | published at once | CPU per delivery, µs |\n|---|---|---|\n";
    let mut measured = false;
    for (burst, kind) in BURSTS.iter().flat_map(|burst| Kind::ALL.map(|kind| (*burst, kind))) {
        if let Some(us) = Spread::of(results.deliveries(burst, kind).map(|(_, us)| us).collect()) {
            measured = true;
            let cells = [kind.name().to_owned(), burst.to_string(), spread(Some(us), two_decimals)];
            row(&mut text, &cells);
        }
    }
    if measured { text } else { String::new() }
}

fn setting(environment: &Environment, method: &Method) -> String {
    let mut text = String::from("## How it was measured\n\n");
    let (rounds, cell, warm_up) = (method.rounds, method.cell, method.warm_up);
    writeln!(
        text,
        "Rounds: {rounds}; in each, every load on every target in turn, {cell:?} after {warm_up:?} of \
         warm-up. A connection sends its pipeline in one write, and again when all replies are \
         there. Keys are random; every reply is compared with its key. Everything shares the \
         machine's cores. CPU time is that of the process's own clock, user and system together.\n"
    )
    .expect(TO_MEMORY);
    for kind in Kind::ALL {
        writeln!(text, "- **{}**: {}", kind.name(), kind.description()).expect(TO_MEMORY);
    }
    text += "\n";
    for (name, fact) in &environment.facts {
        writeln!(text, "- {name}: {fact}").expect(TO_MEMORY);
    }
    text
}

fn row(text: &mut String, cells: &[String]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect(TO_MEMORY);
}

fn spread(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    match spread {
        None => "–".to_owned(),
        Some(it) if it.count == 1 => show(it.median),
        Some(it) => format!("{} ({}–{})", show(it.median), show(it.min), show(it.max)),
    }
}

fn one_decimal(figure: f64) -> String {
    format!("{figure:.1}")
}

fn two_decimals(figure: f64) -> String {
    format!("{figure:.2}")
}

fn mib(bytes: f64) -> String {
    format!("{:.1}", bytes / (1024.0 * 1024.0))
}

/// A whole number with its thousands apart.
fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell;

    fn method() -> Method {
        let cell = Duration::from_secs(1);
        let skipped = vec![(Kind::Haproxy, "not installed".to_owned())];
        Method { rounds: 2, cell, warm_up: cell, skipped, profiles: vec![] }
    }

    #[test]
    fn a_missed_goal_is_missed_in_the_report_and_on_the_terminal() {
        let mut results = Results::default();
        for round in 1..=2 {
            results.add_cell("c50", Kind::Slotway, round, cell(120_000, 9.0, 10.0));
            results.add_cell("c50", Kind::Nutcracker, round, cell(100_000, 10.0, 10.0));
        }
        let environment = Environment { facts: vec![] };
        let report = markdown(&results, &environment, &method());
        let goal = "| c50: proxy CPU per request, slotway / nutcracker | ≤ 0.82 | 0.90 (0.90–0.90) | 2 | **missed** |";
        assert!(report.contains(goal), "{report}");
        assert!(report.contains("| slotway | 120,000 (120,000–120,000) |"), "{report}");
        assert!(report.contains("haproxy was not measured: not installed"), "{report}");
        assert!(!report.contains("## 1,000 connections"), "nothing was measured there: {report}");
        let summary = summary(&results, &method());
        assert!(summary.contains("MISSED        c50: proxy CPU"), "{summary}");
        assert!(summary.contains("met           c50: requests per second"), "{summary}");
        assert!(summary.contains("Rounds: 2."), "{summary}");
    }

    #[test]
    fn a_busy_generator_and_a_busy_machine_are_named() {
        let mut results = Results::default();
        let mut busy = cell(100_000, 1.0, 10.0);
        busy.client_us = 9.5;
        busy.foreign_cores = 0.5;
        results.add_cell("c8-p64", Kind::Direct, 1, busy);
        results.add_cell("c50", Kind::Direct, 1, cell(100_000, 1.0, 10.0));
        let remarks = remarks(&results, &method());
        assert!(remarks.contains("its own: c8-p64 on direct\n"), "{remarks}");
        assert!(remarks.contains("1 of the rows, most during c8-p64 on direct: 0.50"), "{remarks}");
    }

    #[test]
    fn the_hop_is_what_a_proxy_adds_to_no_proxy() {
        let mut results = Results::default();
        results.add_cell("single", Kind::Direct, 1, cell(1, 1.0, 15.0));
        results.add_cell("single", Kind::Haproxy, 1, cell(1, 1.0, 36.5));
        let load = crate::loads::by_name("single").unwrap();
        let table = load_table(&results, load);
        assert!(table.contains("- haproxy adds 21.5 µs"), "{table}");
        assert!(!table.contains("slotway adds"), "{table}");
    }

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0.4, 999.0, 1000.0, 1234567.0].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
