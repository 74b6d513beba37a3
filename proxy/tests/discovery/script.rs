//! Nodes of a cluster that the test plays: each says what the test has it say, and notes when it
//! was asked for what.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use anyhow::Result;
use testbed::{Answer, ScriptedNode};

/// One of them. Its id is its letter forty times.
pub(crate) struct Actor {
    pub(crate) node: ScriptedNode,
    lines: Arc<Mutex<Lines>>,
}

/// What it says, and what it was asked.
pub(crate) struct Lines {
    pub(crate) letter: char,
    /// Its CLUSTER NODES.
    pub(crate) nodes: String,
    pub(crate) cluster_state: &'static str,
    pub(crate) role: &'static str,
    /// It loads its data: it has nothing else to say.
    pub(crate) loading: bool,
    /// What it answers to what clients ask.
    pub(crate) data: &'static str,
    asked: Vec<(String, Instant)>,
}

impl Actor {
    /// One for each letter, which know nothing yet.
    pub(crate) fn start(letters: &str) -> Result<Vec<Actor>> {
        letters.chars().map(Actor::one).collect()
    }

    fn one(letter: char) -> Result<Actor> {
        let lines = Arc::new(Mutex::new(Lines {
            letter,
            nodes: String::new(),
            cluster_state: "ok",
            role: "master",
            loading: false,
            data: "+OK",
            asked: Vec::new(),
        }));
        let told = lines.clone();
        let node = ScriptedNode::start(move |request| told.lock().unwrap().answer(request))?;
        Ok(Actor { node, lines })
    }

    pub(crate) fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap()
    }

    /// When it was asked for this.
    pub(crate) fn asked(&self, question: &str) -> Vec<Instant> {
        let lines = self.lines();
        let asked = lines.asked.iter().filter(|(asked, _)| asked == question);
        asked.map(|(_, at)| *at).collect()
    }

    /// Its line in CLUSTER NODES.
    pub(crate) fn line(&self, follows: Option<&Actor>, epoch: u64, slots: &str) -> String {
        let id = |actor: &Actor| actor.lines().letter.to_string().repeat(40);
        let (port, role) = (self.node.port(), if follows.is_some() { "slave" } else { "master" });
        let follows = follows.map_or_else(|| "-".to_owned(), id);
        let id = id(self);
        format!("{id} 127.0.0.1:{port}@1 {role} {follows} 0 0 {epoch} connected {slots}\n")
    }
}

impl Lines {
    fn answer(&mut self, request: &[Vec<u8>]) -> Answer {
        let words: Vec<String> =
            request.iter().map(|word| String::from_utf8_lossy(word).to_uppercase()).collect();
        let bulk = |text: &str| Answer::Bytes(format!("${}\r\n{text}\r\n", text.len()).into());
        let word = |at| words.get(at).map(String::as_str).unwrap_or_default();
        let question = if word(0) == "CLUSTER" { word(1) } else { word(0) };
        self.asked.push((question.to_owned(), Instant::now()));
        match (word(0), word(1)) {
            ("CLUSTER", "MYID") => bulk(&self.letter.to_string().repeat(40)),
            ("CLUSTER", _) if self.loading => Answer::Bytes(b"-LOADING wait\r\n".to_vec()),
            ("CLUSTER", "NODES") => bulk(&self.nodes),
            ("CLUSTER", "INFO") => {
                let state = self.cluster_state;
                bulk(&format!("cluster_state:{state}\r\ncluster_current_epoch:9\r\n"))
            }
            ("CLUSTER", _) => Answer::Bytes(b"-ERR no\r\n".to_vec()),
            ("ROLE", _) => {
                let role = self.role;
                Answer::Bytes(format!("*1\r\n${}\r\n{role}\r\n", role.len()).into())
            }
            ("GET", _) => Answer::Bytes(format!("{}\r\n", self.data).into()),
            _ => Answer::Default,
        }
    }
}
