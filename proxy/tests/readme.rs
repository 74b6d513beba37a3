//! What the README says of each command is what the command table says.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use slotway::command::{Handling, Reason, RequestPolicy, Row, rows};

const BEGIN: &str =
    "<!-- Generated from the command table by proxy/tests/readme.rs: do not edit. -->\n";
const END: &str = "<!-- End of the generated table. -->\n";

/// What happens to a command, in words; `None` for the head of a family, which is nothing by
/// itself.
fn what_happens(row: &Row) -> Option<&'static str> {
    Some(match row.handling {
        Handling::Routed | Handling::BySlot if row.request_policy == RequestPolicy::MultiShard => {
            "goes to the owner of its keys' slot; over several slots it is split, a part for each"
        }
        Handling::Routed | Handling::BySlot => "goes to the owner of its keys' slot",
        Handling::Shards => "goes to every primary, and the replies become one",
        Handling::Nodes => "goes to every node, and the replies become one",
        Handling::Subscribe(_) | Handling::Unsubscribe(_) => {
            "is answered by slotway, which is subscribed for all its clients"
        }
        Handling::Publish(_) => "goes to the owner of its channel's slot",
        Handling::Subscribers => "goes to every node, and the counts become one",
        Handling::Scan => "goes to one primary after the other, as its cursor says",
        Handling::RandomKey => "goes to a primary that is chosen by its number of keys",
        Handling::Transaction => "is queued by slotway until EXEC, which goes to one node",
        Handling::AnyNode => "goes to any primary",
        Handling::Wait => "asks every primary that its client has written to",
        Handling::Local(_) => "is answered by slotway",
        Handling::Refused(Reason::Family) => return None,
        Handling::Refused(reason) => match reason {
            Reason::OfNodes => "is refused, but can be allowed: it would stop or change nodes",
            Reason::Debugging => "is refused, but can be allowed: it is for debugging a server",
            Reason::Reshapes => "is refused, but can be allowed: it would change the cluster",
            Reason::TakesOver => "is refused: it would take over a connection that others use",
            Reason::ChangesConnection => "is refused for now: it changes its connection",
            _ => "is refused for now",
        },
    })
}

/// The table: one line for each thing that can happen, in the order of the command table.
fn table() -> String {
    let mut kinds: Vec<(&str, Vec<String>)> = Vec::new();
    for row in rows() {
        let Some(what) = what_happens(row) else { continue };
        let name = row.name.replace('|', " ").to_uppercase();
        match kinds.iter_mut().find(|(kind, _)| *kind == what) {
            Some((_, names)) => names.push(name),
            None => kinds.push((what, vec![name])),
        }
    }
    kinds.sort_by_key(|(what, names)| (what.starts_with("is refused"), usize::MAX - names.len()));
    let mut text = String::from("| what happens | commands |\n|---|---|\n");
    for (what, mut names) in kinds {
        names.sort();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {what} | {} |", names.join(", "));
    }
    text
}

#[test]
fn the_table_of_commands_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(&path).expect("there is a README");
    let (before, rest) = readme.split_once(BEGIN).expect("the table begins somewhere");
    let (found, after) = rest.split_once(END).expect("and ends somewhere");
    if std::env::var_os("SLOTWAY_UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}\n{}\n{END}{after}", table()))
            .expect("it is ours");
        return;
    }
    assert_eq!(
        found.trim(),
        table().trim(),
        "the README's table of commands is not that of the code: \
         SLOTWAY_UPDATE=1 cargo test -p slotway --test readme"
    );
}
