//! What one row of the option table says, and the macro that turns the table into [`Config`].
//!
//! [`Config`]: super::Config

use super::Config;
use super::forms::{Form, Kind};

/// One option, as it is declared in `options.rs`. The flag, the key in the file, the environment
/// variable, `--help` and `conf/slotway.toml` are all read from this row.
pub struct Row {
    /// The group it stands in, in the help and in the file.
    pub heading: &'static str,
    /// Its name as a key in the file; the flag is this behind `--`.
    pub name: String,
    /// Its environment variable.
    pub variable: String,
    /// What it does, for the operator: full sentences on one line.
    pub help: String,
    /// What is in force when nobody says otherwise, as it would be written. Empty: nothing.
    pub default: &'static str,
    /// The ways in which it can **not** be given.
    pub(super) barred: Option<Way>,
    /// Whether its value is a list, a switch or neither.
    pub(super) kind: Kind,
    /// What stands for its value in the help, for example `SIZE`.
    pub(super) word: String,
    /// What a value must be; completes a sentence that ends in "must be".
    pub(super) expected: String,
    /// Parses a value and puts it into its field. The error is the rest of a sentence that begins
    /// with the option's name.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

impl Row {
    /// Whether there is a flag for it.
    pub fn has_flag(&self) -> bool {
        self.barred != Some(Way::Flag)
    }

    /// Whether the file may set it.
    pub fn has_key(&self) -> bool {
        self.barred != Some(Way::File)
    }

    pub(super) fn new<F: Form>(
        (heading, field, help): (&'static str, &'static str, &[&str]),
        default: &'static str,
        form: F,
        barred: Option<Way>,
        set: fn(&mut Config, &str) -> Result<(), String>,
    ) -> Row {
        Row {
            heading,
            name: field.replace('_', "-"),
            variable: format!("SLOTWAY_{}", field.to_uppercase()),
            help: help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
            default,
            barred,
            kind: F::KIND,
            word: form.word(),
            expected: form.expected(),
            set,
        }
    }
}

/// A way to give an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Flag,
    File,
}

/// Where a value in force came from. Later ones win over earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Default,
    File { line: usize },
    Environment,
    Flag,
}

/// One value that a source gives. Not `Debug`: `text` may be a password.
pub(super) struct Given {
    pub row: &'static Row,
    pub text: String,
    pub origin: Origin,
}

/// The option with this name, if there is one.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    super::options().iter().find(|row| row.name == name)
}

/// Of these names the one that was probably meant by `name`.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The measure and the bound with which clap suggests flags.
    known
        .map(|candidate| (strsim::jaro(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Declares `Config` and its table. A row reads:
///
/// ```text
/// /// What it does, in words for the operator.
/// field_name: Type = "default as it would be written", Form(bounds) [, not as Way];
/// ```
///
/// The comment is the option's help and the field's documentation, the field's name is the
/// option's name, and the default goes through the same parser as everything else.
macro_rules! declare_options {
    ($($heading:literal { $(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty = $default:literal, $form:expr $(, not as $barred:ident)?;
    )* })*) => {
        /// Everything that can be configured, parsed and checked. Made by [`Config::load`].
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $($( $(#[doc = $help])+ pub $field: $type, )*)*
        }

        impl Default for Config {
            /// Every option at its declared default; `seeds` is empty.
            fn default() -> Config {
                Config { $($( $field: Form::parse(&$form, $default)
                    .expect("a declared default is of its form: see tests/config.rs"), )*)* }
            }
        }

        /// The table: every option, in the order of the help and of `conf/slotway.toml`.
        pub fn options() -> &'static [Row] {
            static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| vec![$($( Row::new(
                ($heading, stringify!($field), &[$($help),+]),
                $default,
                $form,
                None$(.or(Some(Way::$barred)))?,
                |config, text| {
                    config.$field = parse(&$form, text)?;
                    Ok(())
                },
            ), )*)*]);
            &ROWS
        }
    };
}
pub(super) use declare_options;
