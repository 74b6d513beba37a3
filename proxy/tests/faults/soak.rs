//! Every fault of the contract, with a table of what was seen.

use crate::scenarios;
use crate::stage::Scenario;
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::audit::Report;

/// What an untouched shard may take beyond a direct client's worst (contract §7).
pub(crate) const MARGIN: Duration = Duration::from_millis(100);

#[test]
#[ignore = "soak: the node timeout is 10 s"]
fn a_primary_killed_with_a_node_timeout_of_10_s_is_masked() -> Result<()> {
    masked(&scenarios::timeout_of_10_s())
}

#[test]
#[ignore = "soak: the node timeout is 30 s"]
fn a_primary_killed_with_a_node_timeout_of_30_s_is_masked() -> Result<()> {
    masked(&scenarios::timeout_of_30_s())
}

fn masked(scenario: &Scenario) -> Result<()> {
    let report = scenario.run(MARGIN)?;
    eprintln!("{report}");
    ensure!(report.findings.is_empty(), "\n{report}");
    Ok(())
}

#[test]
#[ignore = "soak: every fault of the contract under load, about 6 minutes"]
fn every_fault_is_masked() -> Result<()> {
    // Names part of a scenario to run it alone.
    let wanted = std::env::var("SLOTWAY_TEST_FAULT").unwrap_or_default();
    let (mut table, mut failed) = (vec![Report::head()], Vec::new());
    for scenario in scenarios::all() {
        if !scenario.name.contains(&wanted) {
            continue;
        }
        match scenario.run(MARGIN) {
            Ok(report) => {
                eprintln!("{report}");
                table.push(report.row());
                if !report.findings.is_empty() {
                    failed.push(scenario);
                }
            }
            Err(error) => {
                eprintln!("{}: {error:?}", scenario.name);
                table.push(format!("| {} | – | {error} |", scenario.name));
                failed.push(scenario);
            }
        }
    }
    eprintln!("\n{}", table.join("\n"));
    let failed: Vec<&str> = failed.iter().map(|scenario| scenario.name).collect();
    ensure!(failed.is_empty(), "not masked: {}", failed.join("; "));
    Ok(())
}
