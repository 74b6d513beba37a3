//! A listener as an operator writes it: `host:port?option=value&option=value`.

use std::fmt;

use super::Config;
use super::address::{Address, HostPort};
use super::declaration::{Row, find, nearest};
use super::forms::{Form, quoted};

/// Options that a listener may have of its own; what it does not say is the process'.
const OWN: [&str; 3] = ["client-order", "cross-slot", "mask-deadline"];

/// Where clients connect, and how those who do are treated.
#[derive(Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub at: HostPort,
    /// Options of its own with their values, which are sound.
    own: Vec<(String, String)>,
}

impl Listener {
    /// The options that hold for its clients, where those of the process are `config`.
    pub fn options(&self, config: &Config) -> Config {
        let mut options = config.clone();
        for (name, value) in &self.own {
            // They were set once already, when the listener was parsed.
            let _ = find(name).map(|row| (row.set)(&mut options, value));
        }
        options
    }

    /// The listener, or what is wrong with it: the rest of a sentence that has its text.
    fn parse(text: &str) -> Result<Listener, String> {
        let (at, options) = match text.split_once('?') {
            Some((at, options)) => (at, Some(options)),
            None => (text, None),
        };
        let at = Address::TO_LISTEN.parse(at);
        let at = at.ok_or_else(|| format!(", but each must be {}", Listens.expected()))?;
        let mut listener = Listener { at, own: Vec::new() };
        for option in options.into_iter().flat_map(|options| options.split('&')) {
            listener.take(option).map_err(|why| format!(": {why}"))?;
        }
        Ok(listener)
    }

    fn take(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let row = OWN.into_iter().find(|own| *own == name).and_then(find);
        let Row { set, .. } = row.ok_or_else(|| unknown(name))?;
        if self.own.iter().any(|(known, _)| known == name) {
            return Err(format!("{name} is given twice"));
        }
        set(&mut Config::default(), value).map_err(|why| format!("{name} {why}"))?;
        self.own.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

fn unknown(name: &str) -> String {
    let hint = match nearest(name, OWN.into_iter()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("those are {}", OWN.join(", ")),
    };
    format!("{} is not an option of a listener, {hint}", quoted(name))
}

/// Written as it is read.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at)?;
        for (n, (name, value)) in self.own.iter().enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// As `Display`.
impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The form of a listener.
pub(super) struct Listens;

impl Form for Listens {
    type Out = Listener;

    fn word(&self) -> String {
        format!("{}[?OPTION=VALUE&…]", Address::TO_LISTEN.word())
    }

    fn expected(&self) -> String {
        format!("{}, its own options behind a question mark", Address::TO_LISTEN.expected())
    }

    fn parse(&self, text: &str) -> Option<Listener> {
        Listener::parse(text).ok()
    }

    fn fault_of_item(&self, text: &str) -> String {
        Listener::parse(text).err().unwrap_or_default()
    }
}
