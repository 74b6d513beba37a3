//! Options from a TOML file, each with the line it stands on.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::declaration::{Given, Origin, Row, find, nearest};
use super::forms::Kind;
use super::{options, secret};

/// Reads a file of options: in the order of its lines, each value or what is wrong with the line.
pub(super) fn read(path: &Path) -> Vec<Result<Given, String>> {
    let shown = path.display();
    let mut text = match text_of(path) {
        Ok(text) => text,
        Err(why) => return vec![Err(why)],
    };
    // So that an error at the end of the text is on its last line and not behind it.
    text.truncate(text.trim_end().len());
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();

    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        // What the parser made of the rest is a guess: no complaints about guesses.
        let line = |e: &toml::de::Error| line_of(e.span().map_or(0, |span| span.start));
        let mut errors: Vec<_> = errors.iter().map(|e| (line(e), e.message())).collect();
        errors.sort();
        errors.truncate(ERRORS_MAX);
        let sentence = |(line, message): (usize, &str)| {
            Err(format!("{shown}:{line}: {}", message.replace('\n', ", ")))
        };
        return errors.into_iter().map(sentence).collect();
    }

    let mut settings: Vec<_> = table.get_ref().iter().collect();
    settings.sort_by_key(|(key, _)| key.span().start);
    let given = settings.into_iter().map(|(key, value)| {
        let line = line_of(key.span().start);
        match setting(key.get_ref(), value) {
            Ok((row, text)) => Ok(Given { row, text, origin: Origin::File { line } }),
            Err(why) => Err(format!("{shown}:{line}: {why}")),
        }
    });
    given.collect()
}

fn text_of(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = secret::read_at_most(path, BYTES_MAX + 1)
        .map_err(|why| format!("{shown} is to be the configuration, but {why}"))?;
    if bytes.len() > BYTES_MAX {
        return Err(format!("{shown} is larger than {BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let sound = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = sound.split(|b| *b == b'\n').count();
        format!("{shown}:{line}: this is not UTF-8 text")
    })
}

/// What is no TOML at all has an error in each line; nobody reads more of them.
const ERRORS_MAX: usize = 20;

/// Far above what the longest sensible file has.
const BYTES_MAX: usize = 1 << 20;

/// The option that a key names and its value as text, or a sentence about what is wrong.
fn setting(
    key: &DeString<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<(&'static Row, String), String> {
    let Some(row) = find(key) else {
        let known = options().iter().filter(|row| row.has_key()).map(|row| row.name.as_str());
        let hint = nearest(key, known).map(|meant| format!(", did you mean {meant}?"));
        return Err(format!("{key} is not an option{}", hint.unwrap_or_default()));
    };
    let Row { name, variable, expected, .. } = row;
    if !row.has_key() {
        return Err(format!("{name} cannot stand in the file: give --{name} or {variable}"));
    }
    let text = match value.get_ref() {
        DeValue::Array(items) if row.kind == Kind::Many => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Option<Vec<_>>>()
            .map(|t| t.join(",")),
        value => scalar(value),
    };
    let kind = value.get_ref().type_str();
    text.map(|text| (row, text))
        .ok_or_else(|| format!("{name} is of type {kind}, but must be {expected}"))
}

/// A single value as it would stand on a command line.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
        }
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}
