//! A Dockerfile taken apart into its instructions.

/// One instruction: its word in capitals, and the rest as one line.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub(crate) word: String,
    pub(crate) rest: String,
}

impl Instruction {
    /// The rest in words.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.rest.split_whitespace().collect()
    }

    /// The list of strings that the rest is, from its first `[`.
    pub(crate) fn list(&self) -> Vec<String> {
        let start = self.rest.find('[').unwrap_or_else(|| panic!("no list: {self:?}"));
        serde_json::from_str(&self.rest[start..]).unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }
}

/// The instructions of each stage, each beginning with FROM.
pub(crate) fn stages(text: &str) -> Vec<Vec<Instruction>> {
    let mut stages: Vec<Vec<Instruction>> = Vec::new();
    for instruction in instructions(text) {
        if instruction.word == "FROM" {
            stages.push(Vec::new());
        }
        stages.last_mut().expect("begins with FROM").push(instruction);
    }
    stages
}

fn instructions(text: &str) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut open = String::new();
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        if let Some(continued) = line.strip_suffix('\\') {
            open.push_str(continued);
            continue;
        }
        let whole = std::mem::take(&mut open) + line;
        let (word, rest) = whole.split_once(' ').unwrap_or_else(|| panic!("{whole:?}"));
        found.push(Instruction { word: word.to_uppercase(), rest: rest.trim().to_owned() });
    }
    assert!(open.is_empty(), "the last line is continued: {open:?}");
    found
}
