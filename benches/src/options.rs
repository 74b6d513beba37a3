//! What can be asked for on the command line of `bench`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::fanout::FAN_OUT;
use crate::goals::PAIRS_WANTED;
use crate::loads::{self, IDLE, LOADS, Load};
use crate::targets::Kind;

/// What a run does.
#[derive(Debug)]
pub struct Options {
    /// How often every load is put on every target.
    pub rounds: usize,
    /// How often the memory of each proxy is followed.
    pub memory_rounds: usize,
    /// How long one measurement takes.
    pub cell: Duration,
    /// How long a load runs before it is measured.
    pub warm_up: Duration,
    /// Loads to run.
    pub loads: Vec<&'static Load>,
    /// Whether to follow memory.
    pub memory: bool,
    /// Whether to measure messages to many subscribers.
    pub fan_out: bool,
    /// Targets to measure, in the order of a round.
    pub kinds: Vec<Kind>,
    /// The slotway to measure.
    pub slotway: PathBuf,
    /// Where the report goes.
    pub output: PathBuf,
    /// Instead of measuring: the load to profile slotway under.
    pub profile: Option<&'static Load>,
}

impl Options {
    /// Reads the command line; prints and exits on `--help` or a mistake in it.
    pub fn from_command_line() -> Result<Self> {
        match Self::parse(std::env::args_os()) {
            Err(error) => Err(match error.downcast::<clap::Error>() {
                Ok(mistake) => mistake.exit(),
                Err(other) => other,
            }),
            options => options,
        }
    }

    /// Reads given words, the first of which is the program's name.
    pub fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self> {
        Self::read(&command().try_get_matches_from(words)?)
    }

    fn read(matches: &ArgMatches) -> Result<Self> {
        let quick = matches.get_flag("quick");
        let rounds =
            matches.get_one("rounds").copied().unwrap_or(if quick { 2 } else { PAIRS_WANTED });
        let seconds = matches.get_one("seconds").copied().unwrap_or(if quick { 1.0 } else { 2.5 });
        let cell = Duration::try_from_secs_f64(seconds).context("--seconds")?;

        let parts: Vec<&String> = matches.get_many("only").unwrap_or_default().collect();
        let chosen = |name: &str| parts.is_empty() || parts.iter().any(|part| selects(part, name));
        let loads: Vec<&Load> = LOADS.iter().filter(|load| chosen(load.name)).collect();
        let memory = chosen(IDLE);
        let fan_out = chosen(FAN_OUT);
        if loads.is_empty() && !memory && !fan_out {
            return Err(mistake(format!(
                "--only: no load is called so; there are {}",
                load_names()
            )));
        }

        let names: Vec<&String> = matches.get_many("targets").unwrap_or_default().collect();
        for name in &names {
            if Kind::by_name(name).is_none() {
                let all = Kind::ALL.map(Kind::name).join(", ");
                return Err(mistake(format!("--targets: no target {name}; there are {all}")));
            }
        }
        let wanted =
            |kind: &Kind| names.is_empty() || names.iter().any(|name| *name == kind.name());

        let profile = match matches.get_one::<String>("profile") {
            None => None,
            Some(name) => Some(loads::by_name(name).ok_or_else(|| {
                mistake(format!("--profile: no load {name}; there are {}", load_names()))
            })?),
        };
        let build = build_folder()?;
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        Ok(Options {
            rounds,
            memory_rounds: rounds.min(if quick { 1 } else { 3 }),
            cell,
            warm_up: cell / 5,
            loads,
            memory,
            fan_out,
            kinds: Kind::ALL.into_iter().filter(wanted).collect(),
            slotway: path("slotway").unwrap_or_else(|| build.join("release/slotway")),
            output: path("output").unwrap_or_else(|| build.join("bench")),
            profile,
        })
    }
}

/// Whether a word of `--only` means a load: by any part of its name, but a whole name means that
/// one alone, since some begin with others.
fn selects(word: &str, name: &str) -> bool {
    let whole = word == IDLE || word == FAN_OUT || loads::by_name(word).is_some();
    if whole { word == name } else { name.contains(word) }
}

/// The folder cargo builds into: this program lies in one of its profiles' folders (a test of it,
/// in a folder below).
fn build_folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let mut above = own.ancestors().skip(2);
    let folder = if own.parent().is_some_and(|it| it.ends_with("deps")) {
        above.nth(1)
    } else {
        above.next()
    };
    Ok(folder.context("this program lies in no build folder")?.to_owned())
}

fn load_names() -> String {
    let names: Vec<&str> = LOADS.iter().map(|load| load.name).chain([IDLE, FAN_OUT]).collect();
    names.join(", ")
}

fn mistake(words: String) -> anyhow::Error {
    command().error(ErrorKind::InvalidValue, words).into()
}

fn command() -> Command {
    let list = |name: &'static str| {
        Arg::new(name).long(name).value_delimiter(',').action(ArgAction::Append)
    };
    let path = |name: &'static str| Arg::new(name).long(name).value_parser(value_parser!(PathBuf));
    Command::new("bench")
        .about("Measures slotway beside nutcracker, haproxy and a server without a proxy")
        .after_help(format!(
            "Loads: {}.\nTargets: {}.",
            load_names(),
            Kind::ALL.map(Kind::name).join(", ")
        ))
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(|text: &str| match text.parse::<usize>() {
                    Ok(rounds @ 1..=1000) => Ok(rounds),
                    _ => Err("a number from 1 to 1000"),
                })
                .help("Rounds over all loads and targets [default: 5]"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .value_name("S")
                .value_parser(|text: &str| match text.parse::<f64>() {
                    Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
                    _ => Err("seconds from 0.1 to 600"),
                })
                .help("Length of one measurement, after a fifth of it as warm-up [default: 2.5]"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("2 rounds of 1 s, memory once: for trying the bench, not for figures"),
        )
        .arg(
            list("only")
                .value_name("PART,…")
                .help("Only loads with one of these as their name, or else within it"),
        )
        .arg(list("targets").value_name("NAME,…").help("Only these targets"))
        .arg(
            path("slotway")
                .value_name("PATH")
                .help("The slotway to measure [default: target/release/slotway]"),
        )
        .arg(
            path("output")
                .value_name("FOLDER")
                .help("Where the report goes [default: target/bench]"),
        )
        .arg(Arg::new("profile").long("profile").value_name("LOAD").help(
            "Do not measure: record slotway under this load with perf, into profile-LOAD.txt",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(format!("bench {line}").split_whitespace())
    }

    #[test]
    fn without_options_everything_is_measured() {
        let options = parse("").unwrap();
        assert_eq!((options.rounds, options.memory_rounds), (5, 3));
        assert_eq!(options.loads.len(), LOADS.len());
        assert_eq!(options.kinds, Kind::ALL);
        assert!(options.memory && options.profile.is_none());
        assert!(options.slotway.ends_with("release/slotway"));
        assert!(options.output.ends_with("bench"));
        assert_eq!(options.output.parent(), options.slotway.parent().unwrap().parent());
    }

    #[test]
    fn quick_is_short_and_explicit_figures_win() {
        let options = parse("--quick").unwrap();
        assert_eq!((options.rounds, options.memory_rounds), (2, 1));
        assert_eq!(options.cell, Duration::from_secs(1));
        let options = parse("--quick --rounds 7 --seconds 0.5").unwrap();
        assert_eq!((options.rounds, options.cell), (7, Duration::from_millis(500)));
    }

    #[test]
    fn parts_of_names_choose_loads_and_whole_names_targets() {
        let names = |options: &Options| -> Vec<&str> {
            options.loads.iter().map(|load| load.name).collect()
        };
        let options = parse("--only p16,p64 --targets slotway,direct").unwrap();
        assert_eq!(names(&options), ["c50-p16", "c50-p16-set", "c50-p16-set-slot", "c8-p64"]);
        assert_eq!(options.kinds, [Kind::Direct, Kind::Slotway]);
        assert!(!options.memory);
        let options = parse("--only c50,c50-p16").unwrap();
        assert_eq!(names(&options), ["c50", "c50-p16"]);
        let options = parse("--only idle").unwrap();
        assert!(options.memory && options.loads.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("--only p17", "c50-p16"),
            ("--targets slot", "no target slot"),
            ("--profile c51", "no load c51"),
            ("--rounds 0", "from 1"),
            ("--seconds 0", "from 0.1"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
