//! Patterns of channels, as servers understand them (`stringmatchlen`).

/// Whether a name matches a pattern of `*`, `?`, `[a-z]`, `[^a]` and `\`. In time of the one's
/// length times the other's, whatever the pattern.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where to go on if what follows the last star does not match: behind the star, and with
    // that star standing for one more byte.
    let mut star = None;
    loop {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, here));
                at += 1;
                continue;
            }
            None if here == name.len() => return true,
            _ => {}
        }
        let step = name.get(here).and_then(|&byte| one(&pattern[at..], byte));
        match (step, star) {
            (Some(len), _) => (at, here) = (at + len, here + 1),
            (None, Some((behind, from))) if from < name.len() => {
                star = Some((behind, from + 1));
                (at, here) = (behind, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// Whether the first element of a pattern matches a byte: how long the element is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => class(pattern, byte),
        b'\\' if pattern.len() >= 2 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// One of `[…]`; without a `]` it goes on to the end.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let not = pattern.get(1) == Some(&b'^');
    let mut at = if not { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern.get(at..).unwrap_or_default() {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [from, b'-', to, ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= *literal == byte;
                at += 1;
            }
        }
    }
    (found != not).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::matches;

    /// `tests/pubsub` compares it with a server.
    #[test]
    fn names_match_as_on_a_server() {
        for (pattern, name, is_so) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("a*c", "abcbc", true),
            ("a*d", "abcbc", false),
            ("a?c", "abc", true),
            ("?", "", false),
            ("h[ae]llo", "hello", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h\\*", "h*", true),
            ("h\\*", "hx", false),
            ("[abc", "c", true),
            ("[", "a", false),
            ("[^", "a", true),
            ("a\\", "a\\", true),
            ("*?*?*", "ab", true),
            ("*a*b*c", "xxaxxbxxd", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), is_so, "{pattern} {name}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let (pattern, name) = ("*a".repeat(2000), "a".repeat(1999) + &"b".repeat(100_000));
        assert!(!matches(pattern.as_bytes(), name.as_bytes()));
    }
}
