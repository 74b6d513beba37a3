//! Options from environment variables.

use std::ffi::OsString;

use super::Findings;
use super::declaration::{Given, Origin, nearest};
use super::options;

/// Picks the options out of an environment. A `SLOTWAY_` variable that belongs to no option is a
/// warning and no error, since an environment is written by many hands.
pub(super) fn read(
    environment: impl Iterator<Item = (OsString, OsString)>,
    findings: &mut Findings,
) -> Vec<Given> {
    let mut given = Vec::new();
    for (variable, value) in environment {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        // Compose files and unit files pass variables on that nobody set: those are empty.
        if value.is_empty() {
            continue;
        }
        match (options().iter().find(|row| row.variable == variable), value.into_string()) {
            (Some(row), Ok(text)) => given.push(Given { row, text, origin: Origin::Environment }),
            (Some(_), Err(_)) => findings.problems.push(format!("{variable} is not UTF-8 text")),
            (None, _) if is_somebody_elses(variable) => {}
            (None, _) => findings.warnings.push(unknown(variable)),
        }
    }
    given
}

const PREFIX: &str = "SLOTWAY_";

fn unknown(variable: &str) -> String {
    // Compared without what all of them begin with, since that alone makes them alike.
    let bare = |variable: &'static str| variable.trim_start_matches(PREFIX);
    let known = options().iter().map(|row| bare(&row.variable));
    let meant = nearest(variable.trim_start_matches(PREFIX), known);
    let hint = meant.map(|meant| format!(", did you mean {PREFIX}{meant}?"));
    format!("{variable} is not an option{}", hint.unwrap_or_default())
}

/// Ours, but for the tests and the build; or Kubernetes', which sets `SLOTWAY_SERVICE_HOST`,
/// `SLOTWAY_PORT_6379_TCP` and so on in each pod beside a service that is called slotway.
fn is_somebody_elses(variable: &str) -> bool {
    let prefixes = ["SLOTWAY_TEST_", "SLOTWAY_SERVICE_", "SLOTWAY_PORT_"];
    ["SLOTWAY_BIN", "SLOTWAY_UPDATE", "SLOTWAY_PORT"].contains(&variable)
        || prefixes.iter().any(|prefix| variable.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_is_hidden_by_what_is_ignored() {
        for row in options() {
            assert!(!is_somebody_elses(&row.variable), "{}", row.variable);
        }
    }
}
