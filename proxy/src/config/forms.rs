//! The forms a value can have: how each is written, what it must be, how it is parsed.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use crate::command::Allowed;

/// A form of values, with its bounds.
pub(super) trait Form {
    /// What a value of this form is inside the program.
    type Out;

    /// How many values it takes.
    const KIND: Kind = Kind::One;

    /// What stands for a value in the help.
    fn word(&self) -> String;

    /// Completes "must be …", bounds included.
    fn expected(&self) -> String;

    /// The value, or `None` if the text is not of this form or out of bounds.
    fn parse(&self, text: &str) -> Option<Self::Out>;

    /// What is wrong with a text that `parse` refused; follows the option's name in a sentence.
    fn fault(&self, text: &str) -> String {
        format!("is {}, but must be {}", quoted(text), self.expected())
    }

    /// What is wrong with an item of a list that `parse` refused; follows the item in a sentence.
    fn fault_of_item(&self, _text: &str) -> String {
        format!(", but each must be {}", self.expected())
    }
}

/// How many values an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One value.
    One,
    /// Several: separated by commas, repeated flags, or a list in the file.
    Many,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
}

/// Parses a value, or says in the rest of a sentence what is wrong with it.
pub(super) fn parse<F: Form>(form: &F, text: &str) -> Result<F::Out, String> {
    form.parse(text).ok_or_else(|| form.fault(text))
}

/// A whole number.
pub(super) struct Count(pub RangeInclusive<usize>);

impl Form for Count {
    type Out = usize;

    fn word(&self) -> String {
        "NUMBER".into()
    }

    fn expected(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }

    fn parse(&self, text: &str) -> Option<usize> {
        text.parse().ok().filter(|number| self.0.contains(number))
    }
}

/// The number of worker threads, or `auto`: the cores this process may use, up to `auto_max`.
pub(super) struct Cores {
    pub auto_max: usize,
    pub range: RangeInclusive<usize>,
}

impl Form for Cores {
    type Out = usize;

    fn word(&self) -> String {
        "NUMBER|auto".into()
    }

    fn expected(&self) -> String {
        format!("auto or {}", Count(self.range.clone()).expected())
    }

    fn parse(&self, text: &str) -> Option<usize> {
        if text != "auto" {
            return Count(self.range.clone()).parse(text);
        }
        // Unknown only where the system hides it: then one worker is never wrong.
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Some(cores.min(self.auto_max))
    }
}

/// A number of bytes, plain or with a unit.
pub(super) struct Size(pub RangeInclusive<usize>);

impl Form for Size {
    type Out = usize;

    fn word(&self) -> String {
        "SIZE".into()
    }

    fn expected(&self) -> String {
        format!("a size from {} to {}", size(*self.0.start()), size(*self.0.end()))
    }

    fn parse(&self, text: &str) -> Option<usize> {
        let bytes = text.parse::<ByteSize>().ok()?.as_u64();
        usize::try_from(bytes).ok().filter(|bytes| self.0.contains(bytes))
    }
}

/// A number of bytes as it would be written: in the largest unit that divides it.
pub(super) fn size(bytes: usize) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = |(shift, _): &&(u32, &str)| bytes.trailing_zeros() >= *shift && bytes > 0;
    match UNITS.iter().find(exact) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// A length of time, with its unit.
pub(super) struct Time(pub RangeInclusive<Duration>);

impl Form for Time {
    type Out = Duration;

    fn word(&self) -> String {
        "DURATION".into()
    }

    fn expected(&self) -> String {
        let [least, most] = [self.0.start(), self.0.end()].map(|d| humantime::format_duration(*d));
        format!("a duration from {least} to {most}, with its unit")
    }

    fn parse(&self, text: &str) -> Option<Duration> {
        humantime::parse_duration(text).ok().filter(|length| self.0.contains(length))
    }
}

/// One word that stands for `None`, or another form.
pub(super) struct Or<F>(pub &'static str, pub F);

impl<F: Form> Form for Or<F> {
    type Out = Option<F::Out>;

    fn word(&self) -> String {
        format!("{}|{}", self.1.word(), self.0)
    }

    fn expected(&self) -> String {
        format!("{} or {}", self.0, self.1.expected())
    }

    fn parse(&self, text: &str) -> Option<Self::Out> {
        if text == self.0 { Some(None) } else { self.1.parse(text).map(Some) }
    }
}

/// Empty, which stands for `None`, or another form.
pub(super) struct Optional<F>(pub F);

impl<F: Form> Form for Optional<F> {
    type Out = Option<F::Out>;

    fn word(&self) -> String {
        self.0.word()
    }

    fn expected(&self) -> String {
        self.0.expected()
    }

    fn parse(&self, text: &str) -> Option<Self::Out> {
        if text.is_empty() { Some(None) } else { self.0.parse(text).map(Some) }
    }

    fn fault(&self, text: &str) -> String {
        self.0.fault(text)
    }
}

/// Several values of one form, separated by commas.
pub(super) struct List<F> {
    pub of: F,
    pub at_least: usize,
}

/// Nobody lists more by hand; a generator gone wild is refused instead of dialled.
const ITEMS_MAX: usize = 1000;

impl<F> List<F> {
    fn items(text: &str) -> impl Iterator<Item = &str> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty())
    }
}

impl<F: Form> Form for List<F> {
    type Out = Vec<F::Out>;

    const KIND: Kind = Kind::Many;

    fn word(&self) -> String {
        format!("{},…", self.of.word())
    }

    fn expected(&self) -> String {
        let least = if self.at_least == 0 { "up".into() } else { self.at_least.to_string() };
        format!("a list of {least} to {ITEMS_MAX}, each {}", self.of.expected())
    }

    fn parse(&self, text: &str) -> Option<Self::Out> {
        let items: Vec<F::Out> = Self::items(text)
            .take(ITEMS_MAX + 1)
            .map(|item| self.of.parse(item))
            .collect::<Option<_>>()?;
        (self.at_least..=ITEMS_MAX).contains(&items.len()).then_some(items)
    }

    fn fault(&self, text: &str) -> String {
        match Self::items(text).find(|item| self.of.parse(item).is_none()) {
            Some(item) => {
                format!("has the item {}{}", quoted(item), self.of.fault_of_item(item))
            }
            None => {
                let number = Self::items(text).count();
                format!("has {number} items, but must have {} to {ITEMS_MAX}", self.at_least)
            }
        }
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Form for Switch {
    type Out = bool;

    const KIND: Kind = Kind::Switch;

    fn word(&self) -> String {
        "true|false".into()
    }

    fn expected(&self) -> String {
        "true or false".into()
    }

    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub &'static [(&'static str, T)]);

impl<T> Choice<T> {
    fn words(&self, between: &str) -> String {
        self.0.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(between)
    }
}

impl<T: Copy> Form for Choice<T> {
    type Out = T;

    fn word(&self) -> String {
        self.words("|")
    }

    fn expected(&self) -> String {
        self.words(" or ")
    }

    fn parse(&self, text: &str) -> Option<T> {
        self.0.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }
}

/// A name: no spaces, no control characters.
pub(super) struct Word {
    pub bytes_max: usize,
}

impl Form for Word {
    type Out = String;

    fn word(&self) -> String {
        "NAME".into()
    }

    fn expected(&self) -> String {
        format!("a name without spaces of at most {} bytes", self.bytes_max)
    }

    fn parse(&self, text: &str) -> Option<String> {
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        (clean && text.len() <= self.bytes_max).then(|| text.to_owned())
    }
}

/// A command that policy refuses, and that can be allowed. In lower case.
pub(super) struct Allowable;

impl Form for Allowable {
    type Out = String;

    fn word(&self) -> String {
        "COMMAND".into()
    }

    fn expected(&self) -> String {
        "a command that is refused by policy and can be allowed".into()
    }

    fn parse(&self, text: &str) -> Option<String> {
        Allowed::knows(text).then(|| text.to_ascii_lowercase())
    }
}

/// The path of a file. Whether it is there is seen when it is read.
pub(super) struct File;

impl Form for File {
    type Out = PathBuf;

    fn word(&self) -> String {
        "FILE".into()
    }

    fn expected(&self) -> String {
        "the path of a file".into()
    }

    fn parse(&self, text: &str) -> Option<PathBuf> {
        (!text.contains('\0')).then(|| PathBuf::from(text))
    }
}

/// A value in a message: quoted, so that its ends are seen and control characters harmless, and
/// cut where nobody reads on.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_in_the_unit_that_divides_them() {
        let table = [
            (0, "0"),
            (1, "1"),
            (1000, "1000"),
            (1024, "1KiB"),
            (1536, "1536"),
            (64 << 20, "64MiB"),
            (3 << 30, "3GiB"),
            (1 << 40, "1TiB"),
        ];
        for (bytes, written) in table {
            assert_eq!(size(bytes), written);
            assert_eq!(Size(0..=usize::MAX).parse(written), Some(bytes));
        }
    }

    #[test]
    fn numbers_that_overflow_or_are_none_are_refused() {
        for text in ["", "-1", "1.5", "18446744073709551616", " 7", "7 ", "0x10", "NaN", "+"] {
            assert_eq!(Count(0..=usize::MAX).parse(text), None, "{text:?}");
        }
        for text in ["", "-1", "KiB", "1 parsec", "999999999999EiB", "NaN", "inf", "1..2"] {
            assert_eq!(Size(0..=1 << 40).parse(text), None, "{text:?}");
        }
        for text in ["", "10", "-1s", "1 parsec", "99999999999999999999s", "s", "1e3s"] {
            assert_eq!(Time(Duration::ZERO..=Duration::MAX).parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_list_takes_its_items_one_by_one_and_names_the_bad_one() {
        let list = List { of: Count(1..=9), at_least: 1 };
        assert_eq!(list.parse("1, 2,3,"), Some(vec![1, 2, 3]));
        assert_eq!(list.parse(""), None);
        assert_eq!(list.fault(""), "has 0 items, but must have 1 to 1000");
        assert_eq!(
            list.fault("1,12,x"),
            "has the item \"12\", but each must be a whole number from 1 to 9"
        );
        let many = "1,".repeat(1001);
        assert_eq!(list.parse(&many), None);
        assert_eq!(list.fault(&many), "has 1001 items, but must have 1 to 1000");
    }

    #[test]
    fn long_and_hostile_values_are_cut_and_escaped() {
        assert_eq!(quoted("a\u{1b}[2J\n"), r#""a\u{1b}[2J\n""#);
        assert_eq!(quoted(&"é".repeat(1000)), format!("\"{}\"…", "é".repeat(80)));
    }
}
