//! Where log messages go: to standard error, as text or JSON, from a level on.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::Config;
use super::forms::Form;

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Sends every message of this process to standard error, as `log-level` and `log-format` say.
///
/// An error if it has been done before in this process.
pub fn start(config: &Config) -> Result<(), TryInitError> {
    // The form has refused what cannot be parsed, so nothing is lost by being lenient here.
    let filter = EnvFilter::builder().parse_lossy(&config.log_level);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match config.log_format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
}

/// The form of `log-level`: a level, or directives as the `tracing` crates take them.
pub(super) struct Directives;

impl Form for Directives {
    type Out = String;

    fn word(&self) -> String {
        "LEVEL".into()
    }

    fn expected(&self) -> String {
        "off, error, warn, info, debug, trace or directives like info,slotway::discovery=debug"
            .into()
    }

    fn parse(&self, text: &str) -> Option<String> {
        // `tracing` takes a directive without "=" for a module's name if it is no level, so that
        // the typing error "inof" would silence everything but a module that does not exist; and
        // it takes an empty one for "error".
        let known = |directive: &str| {
            directive.contains('=')
                || !directive.is_empty() && directive.parse::<LevelFilter>().is_ok()
        };
        let sound = text.split(',').all(|directive| known(directive.trim()))
            && EnvFilter::builder().parse(text).is_ok();
        sound.then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_typing_errors_are_not() {
        for text in
            ["off", "error", "warn", "info", "DEBUG", "trace", "info,slotway::x=debug", "a=off"]
        {
            assert_eq!(Directives.parse(text).as_deref(), Some(text));
        }
        for text in ["", "inof", "info,", "slotway", "slotway=loud", "info,debgu", "[{=info"] {
            assert_eq!(Directives.parse(text), None, "{text:?}");
        }
    }
}
