//! Rust source as far as the floors need it: words and marks without comments, strings apart,
//! test code left out, and the parts of the crate that are named.

/// One piece of source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// The word, the one character of a mark, the inside of a string as it is written.
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Word,
    Mark,
    Text,
}

/// Takes source apart. Comments, lifetimes and character literals are dropped.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut scan = Scan { chars: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while let Some(c) = scan.peek(0) {
        match c {
            '/' if scan.peek(1) == Some('/') => scan.skip_while(|c| c != '\n'),
            '/' if scan.peek(1) == Some('*') => scan.block_comment(),
            '"' => scan.text(),
            '\'' => scan.quote(),
            c if c.is_alphanumeric() || c == '_' => scan.word(),
            c if c.is_whitespace() => scan.skip(1),
            c => {
                scan.push(Kind::Mark, c.to_string(), scan.line);
                scan.skip(1);
            }
        }
    }
    scan.tokens
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Scan {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self, n: usize) {
        for _ in 0..n {
            self.line += usize::from(self.peek(0) == Some('\n'));
            self.at += 1;
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.skip(1);
        }
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.tokens.push(Token { kind, text, line });
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    /// A string; the scan stands on its opening quote.
    fn text(&mut self) {
        let line = self.line;
        self.skip(1);
        let start = self.at;
        while self.peek(0).is_some_and(|c| c != '"') {
            self.skip(if self.peek(0) == Some('\\') { 2 } else { 1 });
        }
        let inside = self.chars[start..self.at.min(self.chars.len())].iter().collect();
        self.push(Kind::Text, inside, line);
        self.skip(1);
    }

    /// A string behind `r` and this many `#`; the scan stands on its opening quote.
    fn raw_text(&mut self, hashes: usize) {
        let line = self.line;
        self.skip(1);
        let start = self.at;
        let ends = |scan: &Scan| {
            scan.peek(0) == Some('"') && (1..=hashes).all(|i| scan.peek(i) == Some('#'))
        };
        while self.peek(0).is_some() && !ends(self) {
            self.skip(1);
        }
        let inside = self.chars[start..self.at].iter().collect();
        self.push(Kind::Text, inside, line);
        self.skip(1 + hashes);
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == Some('\\') {
            self.skip(3);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(2) == Some('\'') {
            self.skip(3);
        } else {
            self.skip(1);
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
        }
    }

    fn word(&mut self) {
        let (start, line) = (self.at, self.line);
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let word: String = self.chars[start..self.at].iter().collect();
        if matches!(word.as_str(), "r" | "br" | "cr") {
            let hashes = (0..).take_while(|&i| self.peek(i) == Some('#')).count();
            if self.peek(hashes) == Some('"') {
                self.skip(hashes);
                return self.raw_text(hashes);
            }
            if hashes == 1 {
                return self.skip(1); // r#word
            }
        }
        let prefix = matches!(word.as_str(), "b" | "c") && self.peek(0) == Some('"');
        if prefix {
            self.text();
        } else if word == "b" && self.peek(0) == Some('\'') {
            self.quote();
        } else {
            self.push(Kind::Word, word, line);
        }
    }
}

/// The same without items under `#[cfg(test)]`.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match test_attribute(&tokens[at..]) {
            Some(len) => at = end_of_item(tokens, at + len),
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    kept
}

/// The length of a `#[cfg(…test…)]` that these tokens begin with.
fn test_attribute(tokens: &[Token]) -> Option<usize> {
    if !matches(tokens, &["#", "[", "cfg", "("]) {
        return None;
    }
    let len = tokens.iter().position(|token| token.text == "]")? + 1;
    let names = |name| tokens[..len].iter().any(|token| token.text == name);
    (names("test") && !names("not")).then_some(len)
}

/// Behind the item that begins here: its `;`, or the `}` of its first `{`.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match (token.kind, token.text.as_str()) {
            (Kind::Mark, "{" | "(" | "[") => depth += 1,
            (Kind::Mark, close @ ("}" | ")" | "]")) => {
                depth = depth.saturating_sub(1);
                if depth == 0 && close == "}" {
                    return at + 1;
                }
            }
            (Kind::Mark, ";") if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Whether the tokens begin with these words and marks.
pub(crate) fn matches(tokens: &[Token], pattern: &[&str]) -> bool {
    tokens.len() >= pattern.len()
        && tokens
            .iter()
            .zip(pattern)
            .all(|(token, text)| token.kind != Kind::Text && token.text == *text)
}

/// The names directly under the crate's root that this file uses, with their lines. `file` is
/// the path under `src/`.
pub(crate) fn roots(file: &str, tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut inside = Inside::of(file);
    for at in 0..tokens.len() {
        inside.step(&tokens[at..]);
        let behind = if matches(&tokens[at..], &["crate", ":", ":"]) {
            at + 3
        } else {
            let supers =
                (0..).take_while(|i| matches(&tokens[at + 3 * i..], &["super", ":", ":"])).count();
            // Counted from the first of them only.
            let first = at < 3 || !matches(&tokens[at - 3..], &["super", ":", ":"]);
            if supers == 0 || !first || supers != inside.depth() {
                continue;
            }
            at + 3 * supers
        };
        named(&tokens[behind..], &mut found);
    }
    found
}

/// The first names behind `crate::`: one, or one for each branch of a group.
fn named(tokens: &[Token], found: &mut Vec<(String, usize)>) {
    let Some(first) = tokens.first() else { return };
    if first.text != "{" {
        // A macro of ours stands at the root wherever it was written.
        if tokens.get(1).is_none_or(|next| next.text != "!") {
            found.push((first.text.clone(), first.line));
        }
        return;
    }
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(tokens[at - 1].text.as_str(), "{" | ",") => {
                found.push((token.text.clone(), token.line));
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Which module the scan stands in: that of the file, and those written inside it.
struct Inside {
    of_file: usize,
    /// For each open brace whether it opened a module.
    braces: Vec<bool>,
    module_next: bool,
}

impl Inside {
    fn of(file: &str) -> Inside {
        let names = file.trim_end_matches(".rs").split('/');
        let of_file = names.filter(|name| !["mod", "lib", "main"].contains(name)).count();
        Inside { of_file, braces: Vec::new(), module_next: false }
    }

    fn step(&mut self, tokens: &[Token]) {
        if tokens[0].kind == Kind::Word && tokens[0].text == "mod" {
            self.module_next = tokens.get(2).is_some_and(|token| token.text == "{");
        } else if matches(tokens, &["{"]) {
            self.braces.push(std::mem::take(&mut self.module_next));
        } else if matches(tokens, &["}"]) {
            self.braces.pop();
        }
    }

    fn depth(&self) -> usize {
        self.of_file + self.braces.iter().filter(|module| **module).count()
    }
}
