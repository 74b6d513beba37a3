//! Every single measurement as JSON, for whoever wants to compute something else.

use serde_json::{Value, json};

use crate::cell::Cell;
use crate::environment::Environment;
use crate::fanout::BURSTS;
use crate::goals::GOALS;
use crate::idle::Memory;
use crate::loads::{IDLE_CONNECTIONS, LOADS};
use crate::results::Results;
use crate::targets::Kind;
use crate::usage::Resident;

/// The whole run.
pub fn render(results: &Results, environment: &Environment) -> Value {
    let facts: serde_json::Map<String, Value> =
        environment.facts.iter().map(|(name, fact)| ((*name).into(), json!(fact))).collect();
    let mut cells = Vec::new();
    for load in &LOADS {
        for kind in Kind::ALL {
            let measured = results.cells(load.name, kind);
            cells.extend(measured.map(|(round, cell)| render_cell(load.name, kind, round, cell)));
        }
    }
    let mut memory = Vec::new();
    for kind in Kind::ALL {
        memory.extend(results.memory(kind).map(|(round, it)| render_memory(kind, round, it)));
    }
    let mut deliveries = Vec::new();
    for (burst, kind) in BURSTS.iter().flat_map(|burst| Kind::ALL.map(|kind| (*burst, kind))) {
        let figures: Vec<f64> = results.deliveries(burst, kind).map(|(_, us)| us).collect();
        deliveries
            .push(json!({ "target": kind.name(), "published_at_once": burst, "us": figures }));
    }
    let goals: Vec<Value> = GOALS
        .iter()
        .map(|goal| {
            let (verdict, measured) = goal.judge(results);
            json!({
                "goal": goal.measure.title(),
                "bound": goal.bound.show(goal.measure),
                "median": measured.map(|it| it.median),
                "min": measured.map(|it| it.min),
                "max": measured.map(|it| it.max),
                "figures": measured.map(|it| it.count),
                "verdict": verdict.show(),
            })
        })
        .collect();
    json!({
        "environment": facts,
        "cells": cells,
        "memory": memory,
        "us_per_delivery": deliveries,
        "goals": goals,
        "failures": results.failures,
    })
}

fn render_cell(load: &str, kind: Kind, round: usize, cell: &Cell) -> Value {
    json!({
        "load": load,
        "target": kind.name(),
        "round": round,
        "requests": cell.requests,
        "seconds": cell.elapsed.as_secs_f64(),
        "per_second": cell.per_second(),
        "p50_us": cell.p50_us,
        "p99_us": cell.p99_us,
        "proxy_cpu_us": cell.proxy_us,
        "proxy_kernel_share": cell.proxy_kernel_share,
        "nodes_cpu_us": cell.nodes_us,
        "client_cpu_us": cell.client_us,
        "resident_bytes": cell.resident_bytes,
        "foreign_cores": cell.foreign_cores,
    })
}

fn render_memory(kind: Kind, round: usize, memory: &Memory) -> Value {
    let resident = |it: Resident| json!({"total": it.total_bytes, "anonymous": it.anonymous_bytes});
    json!({
        "target": kind.name(),
        "round": round,
        "connections": IDLE_CONNECTIONS,
        "start_bytes": resident(memory.start),
        "open_bytes": resident(memory.open),
        "used_bytes": resident(memory.used),
        "closed_bytes": resident(memory.closed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell;

    #[test]
    fn every_cell_and_every_goal_is_there() {
        let mut results = Results::default();
        results.add_cell("c50", Kind::Slotway, 1, cell(100, 1.5, 10.0));
        results.add_cell("c50", Kind::Slotway, 2, cell(100, 2.5, 10.0));
        let raw = render(&results, &Environment { facts: vec![("kernel", "Linux".into())] });
        assert_eq!(raw["cells"][1]["proxy_cpu_us"], 2.5);
        assert_eq!(raw["cells"].as_array().unwrap().len(), 2);
        assert_eq!(raw["goals"].as_array().unwrap().len(), GOALS.len());
        assert_eq!(raw["environment"]["kernel"], "Linux");
    }
}
