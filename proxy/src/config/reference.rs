//! Writes `conf/slotway.toml`: every option at its default, with its help.

use super::declaration::Row;
use super::forms::Kind;
use super::options;

/// The text of `conf/slotway.toml`. `tests/config.rs` keeps the file equal to it.
pub fn reference() -> String {
    let mut text = String::from(PREAMBLE);
    let mut heading = "";
    for row in options().iter().filter(|row| row.has_key()) {
        if row.heading != heading {
            heading = row.heading;
            text += &format!("\n\n# ==== {heading} ====\n");
        }
        text += &entry(row);
    }
    text
}

const PREAMBLE: &str = "\
# Every option of slotway at its default. Made from the same declarations as `slotway --help`.
#
# Use it by `slotway --config conf/slotway.toml`, and check it by
# `slotway check --config conf/slotway.toml`. A key that is not here is an error.
#
# Where nothing else is said, each is also a flag (--drain-timeout 5s) and an environment variable
# (SLOTWAY_DRAIN_TIMEOUT=5s; an empty one counts as not given). A flag wins over the environment,
# the environment over this file. Durations are written like \"500ms\" or \"10s\", sizes like \"64KiB\"
# or in plain bytes. An empty value means that the option is not given.
";

fn entry(row: &Row) -> String {
    let Row { name, help, expected, default, .. } = row;
    let comment = wrap(&format!("{help} Value: {expected}."));
    format!("\n{comment}{name} = {}\n", value(row.kind, default))
}

/// A value as TOML writes it.
fn value(kind: Kind, text: &str) -> String {
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match kind {
        Kind::Many => {
            let items = text.split(',').filter(|item| !item.is_empty());
            format!("[{}]", items.map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", "))
        }
        Kind::Switch => text.to_owned(),
        Kind::One if number => text.to_owned(),
        Kind::One => format!("{text:?}"),
    }
}

/// Breaks a sentence into comment lines.
fn wrap(text: &str) -> String {
    const WIDTH: usize = 98;
    let mut lines = String::from("#");
    let mut column = 1;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column + 1 + length > WIDTH {
            lines += "\n#";
            column = 1;
        }
        lines += " ";
        lines += word;
        column += 1 + length;
    }
    lines + "\n"
}
