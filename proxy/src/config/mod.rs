//! Configuration: every option is declared once, in `options.rs`, and read from flags, the
//! environment and a file.
//!
//! [`Config::load`] turns a command line and an environment into an [`Invocation`]: what `main`
//! is to do. A flag wins over the environment, the environment over the file, the file over the
//! default. All problems are gathered before any is reported, each with its place.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

mod address;
mod command_line;
mod declaration;
mod environment;
mod file;
mod forms;
mod listener;
pub mod logging;
mod parts;
mod options;
mod reference;
mod rules;
mod secret;

pub use address::{HostPort, Mapping};
pub use declaration::Row;
pub use listener::Listener;
pub use logging::LogFormat;
pub use options::{Config, options};
pub use parts::{ClientOrder, CrossSlot, settings};
pub use reference::reference;
pub use secret::Secret;

use command_line::Asked;
use declaration::{Given, Origin, find};

/// What the command line asks `main` to do.
#[derive(Debug)]
pub enum Invocation {
    /// Run the proxy; log the warnings once logging is set up.
    Run {
        /// The options in force.
        config: Box<Config>,
        /// What somebody should look at, in sentences.
        warnings: Vec<String>,
    },
    /// Say that the configuration is valid, and end.
    Check {
        /// The sentence that says so.
        verdict: String,
        /// What somebody should look at, in sentences.
        warnings: Vec<String>,
    },
    /// Print this text, help or version, and end.
    Print(String),
}

/// Why a command line or a configuration is not accepted. Its `Display` is the whole message for
/// the user: a line for each problem.
#[derive(Debug)]
pub struct Refusal(String);

impl Refusal {
    /// The exit code that says so: EX_USAGE of `sysexits.h`.
    pub const EXIT_CODE: u8 = 64;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for Refusal {}

impl Config {
    /// Reads the command line (the program's name first), the environment and the file that they
    /// name. Of the world it sees only the files that the options name, and how many cores there
    /// are.
    pub fn load(
        args: impl Iterator<Item = OsString>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Invocation, Refusal> {
        let (check, flags) = match command_line::read(args).map_err(Refusal)? {
            Asked::Print(text) => return Ok(Invocation::Print(text)),
            Asked::Load { check, given } => (check, given),
        };
        let mut findings = Findings::default();
        let variables = environment::read(environment, &mut findings);
        let path = config_file(&flags, &variables);
        if check && path.is_none() {
            return Err(Refusal("error: check needs a file to check: give --config FILE".into()));
        }
        let keys = path.as_deref().map(file::read).unwrap_or_default();

        let mut chosen = Chosen { file: path.unwrap_or_default(), origins: HashMap::new() };
        let mut config = Config::default();
        for given in keys.into_iter().chain(variables.into_iter().chain(flags).map(Ok)) {
            match given {
                Ok(given) => chosen.put(given, &mut config, &mut findings),
                Err(problem) => findings.problems.push(problem),
            }
        }
        // While some values could not be read, to compare them or to miss them means nothing.
        if findings.problems.is_empty() {
            rules::apply(&mut config, &chosen, &mut findings);
        }
        if findings.problems.is_empty() {
            let missing = rules::missing(&config);
            if check { &mut findings.warnings } else { &mut findings.problems }.extend(missing);
        }
        findings.into_invocation(check, config)
    }
}

fn config_file(flags: &[Given], variables: &[Given]) -> Option<PathBuf> {
    let given = flags.iter().chain(variables).find(|given| given.row.name == "config")?;
    Some(PathBuf::from(&given.text)).filter(|path| !path.as_os_str().is_empty())
}

/// What was found wrong, and what somebody should look at; sentences without their full stop.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn into_invocation(self, check: bool, config: Config) -> Result<Invocation, Refusal> {
        let Findings { problems, warnings } = self;
        if !problems.is_empty() {
            let lines = [("error", problems), ("warning", warnings)].map(|(kind, sentences)| {
                sentences.iter().map(|s| format!("{kind}: {s}\n")).collect::<String>()
            });
            return Err(Refusal(lines.concat()));
        }
        Ok(match &config.config {
            Some(path) if check => {
                Invocation::Check { verdict: format!("{} is valid", path.display()), warnings }
            }
            _ => Invocation::Run { config: Box::new(config), warnings },
        })
    }
}

/// Where each value in force came from.
struct Chosen {
    file: PathBuf,
    origins: HashMap<&'static str, Origin>,
}

impl Chosen {
    /// Puts a value into its field, over one from a source of less weight.
    fn put(&mut self, given: Given, config: &mut Config, findings: &mut Findings) {
        let Given { row, text, origin } = given;
        self.origins.insert(&row.name, origin);
        if let Err(why) = (row.set)(config, &text) {
            findings.problems.push(format!("{} {why}", self.subject(&row.name)));
        }
    }

    fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).copied().unwrap_or(Origin::Default)
    }

    /// An option as the beginning of a sentence: named as it was given, with its place.
    fn subject(&self, name: &str) -> String {
        let variable = || find(name).map_or_else(String::new, |row| row.variable.clone());
        match self.origin(name) {
            Origin::Default => name.to_owned(),
            Origin::File { line } => format!("{}:{line}: {name}", self.file.display()),
            Origin::Environment => variable(),
            Origin::Flag => format!("--{name}"),
        }
    }

    /// An option in the middle of a sentence.
    fn mention(&self, name: &str) -> String {
        match self.origin(name) {
            Origin::Default => format!("the default of {name}"),
            Origin::File { line } => format!("{name} in {}:{line}", self.file.display()),
            Origin::Environment | Origin::Flag => self.subject(name),
        }
    }
}
