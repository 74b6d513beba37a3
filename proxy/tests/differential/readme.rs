//! What the README lists as differing is what the comparison lets pass.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::differs::OF_A_CLUSTER;

const BEGIN: &str = "<!-- Generated from proxy/tests/differential/differs.rs: do not edit. -->\n";
const END: &str = "<!-- End of what differs. -->\n";

#[test]
fn the_list_of_what_differs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).expect("there is a README");
    let (before, rest) = readme.split_once(BEGIN).expect("the list begins somewhere");
    let (found, after) = rest.split_once(END).expect("and ends somewhere");
    if std::env::var_os("SLOTWAY_UPDATE").is_some() {
        let text = format!("{before}{BEGIN}\n{}\n{END}{after}", list());
        return fs::write(&path, text).expect("it is ours");
    }
    assert_eq!(
        found.trim(),
        list().trim(),
        "the README's list of what differs is not that of the comparison: \
         SLOTWAY_UPDATE=1 cargo test -p slotway --test differential readme"
    );
}

/// A line for each reason, in the order of the table.
fn list() -> String {
    let mut lines: Vec<(&str, Vec<&str>)> = Vec::new();
    for differs in OF_A_CLUSTER {
        match lines.iter_mut().find(|(why, _)| *why == differs.why) {
            Some((_, names)) => names.extend(differs.commands),
            None => lines.push((differs.why, differs.commands.to_vec())),
        }
    }
    let mut text = String::from("| commands | what differs, or why |\n|---|---|\n");
    for (why, mut names) in lines {
        names.sort_unstable();
        names.dedup();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = if names.is_empty() { "any".to_owned() } else { names.join(", ") };
        let _ = writeln!(text, "| {names} | {why} |");
    }
    text
}
