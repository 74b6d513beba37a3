//! Replies for tests, written as JSON and spelled out in RESP2, and maps for them.

use serde_json::{Value, json};

use super::reply::{Frame, decode_whole};
use super::{Answers, Draft, Endpoint, Node, NodeId, Role, View};

/// The reply that this JSON stands for: arrays, strings (bulk), integers, null; `{"err": text}`
/// is an error.
pub(super) fn frame(value: Value) -> Frame {
    let mut bytes = Vec::new();
    encode(&value, &mut bytes);
    decode_whole(&bytes).unwrap()
}

fn encode(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.extend_from_slice(b"$-1\r\n"),
        Value::String(text) => {
            bytes.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
        }
        Value::Array(items) => {
            bytes.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
            items.iter().for_each(|item| encode(item, bytes));
        }
        Value::Object(map) => {
            let text = map["err"].as_str().unwrap();
            bytes.extend_from_slice(format!("-{text}\r\n").as_bytes());
        }
        other => bytes.extend_from_slice(format!(":{other}\r\n").as_bytes()),
    }
}

/// The id that has this digit 40 times.
pub(crate) fn id(digit: char) -> NodeId {
    NodeId::parse(digit.to_string().repeat(40).as_bytes()).unwrap()
}

/// Nodes by the digit of their ids, with their ports and whom they follow; nobody owns a slot.
pub(crate) fn draft(nodes: &[(char, u16, Option<char>)]) -> Draft {
    let mut draft = Draft::default();
    for &(digit, port, follows) in nodes {
        let role = if follows.is_some() { Role::Replica } else { Role::Primary };
        let mut node = Node::new(id(digit), Endpoint::new("h", port), role);
        node.follows = follows.map(id);
        draft.nodes.push(node);
    }
    draft
}

pub(super) fn at(text: &str) -> Endpoint {
    text.parse().unwrap()
}

/// What a node at port 7000 + n that has `id` says, given lines of CLUSTER NODES in which `@a`
/// stands for the id of forty `a`s.
pub(super) fn view(asked: &str, state: &str, epoch: u64, nodes: &str) -> View {
    View::read(&at(asked), true, &answers(state, epoch, nodes)).unwrap()
}

pub(super) fn answers(state: &str, epoch: u64, nodes: &str) -> Answers {
    let info = format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n");
    Answers {
        info: Some(frame(json!(info))),
        nodes: Some(frame(json!(spelled(nodes)))),
        ..Answers::default()
    }
}

/// Lines as servers write them, from lines in which `@a` stands for an id.
pub(super) fn spelled(nodes: &str) -> String {
    let mut lines = String::new();
    for line in nodes.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words = line.split(' ').map(|word| match word.strip_prefix('@') {
            Some(digit) if digit.len() == 1 => digit.repeat(40),
            _ => word.to_owned(),
        });
        lines.push_str(&words.collect::<Vec<_>>().join(" "));
        lines.push('\n');
    }
    lines
}
