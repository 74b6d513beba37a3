//! Flags, `--help` and `--version`, built from the table of options.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::declaration::{Given, Origin, Row, find};
use super::forms::Kind;
use super::options;

/// What the command line asks for.
pub(super) enum Asked {
    /// To print this and end.
    Print(String),
    /// To run, or only to check, with these options.
    Load { check: bool, given: Vec<Given> },
}

/// Reads a command line, the program's name first. The error is a message for the user.
pub(super) fn read(args: impl Iterator<Item = OsString>) -> Result<Asked, String> {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Asked::Print(e.render().to_string()));
        }
        Err(e) => return Err(usage_error(&e)),
    };
    // Flags are global, so that they may stand before `check` and behind it.
    let given = |matches: &ArgMatches| {
        options().iter().filter(|row| row.has_flag()).filter_map(|row| flag(matches, row)).collect()
    };
    Ok(match matches.subcommand() {
        Some((CHECK, matches)) => Asked::Load { check: true, given: given(matches) },
        _ => Asked::Load { check: false, given: given(&matches) },
    })
}

const CHECK: &str = "check";

fn flag(matches: &ArgMatches, row: &'static Row) -> Option<Given> {
    let values: Vec<&str> = matches.get_many::<String>(&row.name)?.map(String::as_str).collect();
    // Lists may be given in pieces; every other flag at most once, which clap sees to.
    Some(Given { row, text: values.join(","), origin: Origin::Flag })
}

fn usage_error(error: &clap::Error) -> String {
    if let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && let Some(row) = flag.strip_prefix("--").and_then(find)
        && !row.has_flag()
    {
        let Row { name, variable, .. } = row;
        return format!(
            "error: there is no flag --{name}, since everybody on the machine sees flags in `ps`: \
             use {variable} or --node-password-file"
        );
    }
    error.render().to_string()
}

fn command() -> Command {
    let check = Command::new(CHECK)
        .about("Checks the configuration, says what is wrong and where, and ends")
        .after_help("Exit code: 0 if it is valid, 64 if not.");
    let command = Command::new("slotway")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Makes a Redis or Valkey Cluster look like one Redis server.")
        .after_help(after_help())
        .override_usage("slotway --seeds HOST:PORT,… [OPTIONS]\n       slotway check --config FILE")
        .max_term_width(100)
        .next_line_help(true)
        .disable_help_subcommand(true)
        .subcommand(check);
    options()
        .iter()
        .filter(|row| row.has_flag())
        .fold(command, |command, row| command.arg(arg(row)))
}

fn arg(row: &'static Row) -> Arg {
    let help = match row.default {
        "" => row.help.clone(),
        default => format!("{} [default: {default}]", row.help),
    };
    let arg = Arg::new(row.name.as_str())
        .long(row.name.as_str())
        .help(help)
        .help_heading(row.heading)
        .value_name(row.word.as_str())
        .global(true)
        .allow_negative_numbers(true);
    match row.kind {
        Kind::One => arg.action(ArgAction::Set),
        Kind::Many => arg.action(ArgAction::Append),
        Kind::Switch => arg
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .hide_possible_values(true)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

fn after_help() -> String {
    let rows = options().iter().filter(|row| !row.has_flag());
    let flagless =
        rows.map(|row| format!("  {}\n      {}\n", row.variable, row.help)).collect::<String>();
    format!(
        "Environment:\n{flagless}\n\
         Where nothing else is said, an option is a flag (--drain-timeout 5s), an environment\n\
         variable (SLOTWAY_DRAIN_TIMEOUT=5s; an empty one counts as not given) and a key in the\n\
         file of --config (drain-timeout = \"5s\"). A flag wins over the environment, the\n\
         environment over the file, the file over the default. Durations are written like 500ms\n\
         or 10s, sizes like 64KiB or in plain bytes.\n\
         \n\
         Exit code: 0 if all went well, 64 for a wrong flag or configuration, 1 for anything else."
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_is_sound() {
        super::command().debug_assert();
    }
}
