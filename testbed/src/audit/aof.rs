//! Append-only files as evidence: which writes a node executed, in their order.

use super::mix::TOKEN;
use super::wire::parse_request;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// One append-only file of a node.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) node: String,
    /// Which of the node's files: later ones have higher numbers.
    pub(super) number: u64,
    pub(super) writes: Vec<Write>,
}

/// One command of it, as far as the audit goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// The tokens that it wrote.
    Tokens(Vec<String>),
    /// A counter was incremented.
    Count { key: String, by: i64 },
    /// An element was taken off a list.
    Taken { key: String },
}

impl Write {
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        let tokens: &[String] = match self {
            Write::Tokens(tokens) => tokens,
            Write::Count { .. } | Write::Taken { .. } => &[],
        };
        tokens.iter().map(String::as_str)
    }

    fn of(command: &[String]) -> Option<Write> {
        let [name, args @ ..] = command else { return None };
        match (name.to_uppercase().as_str(), args) {
            ("INCR", [key]) => Some(Write::Count { key: key.clone(), by: 1 }),
            ("INCRBY", [key, by]) => Some(Write::Count { key: key.clone(), by: by.parse().ok()? }),
            // BLPOP is written as that.
            ("LPOP", [key, ..]) => Some(Write::Taken { key: key.clone() }),
            // What servers write of their own accord may hold anything.
            ("RESTORE" | "RESTORE-ASKING" | "DEL" | "UNLINK" | "SELECT" | "MULTI" | "EXEC", _) => {
                None
            }
            (_, args) => {
                let tokens: Vec<_> = args.iter().filter_map(|arg| token(arg)).collect();
                (!tokens.is_empty()).then_some(Write::Tokens(tokens))
            }
        }
    }
}

/// The token that an argument is.
fn token(arg: &str) -> Option<String> {
    let arg = arg.strip_suffix(';').unwrap_or(arg);
    let bytes = arg.as_bytes();
    let shape = bytes.len() == TOKEN && bytes[0] == b'c' && bytes[4] == b'.';
    shape.then(|| arg.to_owned())
}

/// Every file in `folder`, named `<node>-<number>`.
pub(super) fn read_all(folder: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (node, number) = name.rsplit_once('-').context("a file of another name")?;
        let bytes = fs::read(&path)?;
        let writes = parse(&bytes).with_context(|| path.display().to_string())?;
        files.push(File { node: node.to_owned(), number: number.parse()?, writes });
    }
    files.sort_by(|a, b| (&a.node, a.number).cmp(&(&b.node, b.number)));
    Ok(files)
}

/// The writes of a file; a command that was cut off by its writer's death is not one.
fn parse(mut bytes: &[u8]) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    while let Some((command, length)) = parse_request(bytes)? {
        writes.extend(Write::of(&command));
        bytes = &bytes[length..];
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::request;

    #[test]
    fn tokens_increments_and_pops_are_read_and_a_cut_end_is_not() {
        let mut bytes = request(&["SELECT", "0"]);
        bytes.extend(request(&["rpush", "k", "c001.000002"]));
        bytes.extend(request(&["INCR", "n"]));
        bytes.extend(request(&["INCRBY", "n", "3"]));
        bytes.extend(request(&["LPOP", "q"]));
        bytes.extend(request(&["APPEND", "s", "c001.000003;"]));
        bytes.extend(request(&["MSET", "a", "c001.000004", "b", "c001.000004"]));
        bytes.extend(&request(&["SET", "r", "c001.000005"])[..20]);
        let token = |number: u32| format!("c001.{number:06}");
        let expected = vec![
            Write::Tokens(vec![token(2)]),
            Write::Count { key: "n".to_owned(), by: 1 },
            Write::Count { key: "n".to_owned(), by: 3 },
            Write::Taken { key: "q".to_owned() },
            Write::Tokens(vec![token(3)]),
            Write::Tokens(vec![token(4), token(4)]),
        ];
        assert_eq!(parse(&bytes).unwrap(), expected);
    }
}
