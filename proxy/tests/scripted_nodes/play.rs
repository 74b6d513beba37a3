//! What the plays have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use testbed::{Answer, Peer, Proxy, ScriptedNode};

use super::measure::PATIENCE;

/// A proxy before one node.
pub(crate) fn proxy(node: &ScriptedNode, args: &[&str]) -> Proxy {
    let proxy = Proxy::builder([node.addr()]).binary(env!("CARGO_BIN_EXE_slotway"));
    proxy.args(args.iter().copied()).start().unwrap()
}

pub(crate) fn peer(proxy: &Proxy) -> Peer {
    let mut peer = proxy.peer().unwrap();
    peer.set_deadline(PATIENCE);
    peer
}

/// One request, one line of reply.
pub(crate) fn line(peer: &mut Peer, request: &[&str]) -> String {
    peer.send_command(request).unwrap();
    String::from_utf8_lossy(&peer.read_line().unwrap()).into_owned()
}

pub(crate) fn bulk(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut bytes = format!("${}\r\n", text.len()).into_bytes();
    bytes.extend_from_slice(text);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Whether the request has these words at its start, in any case.
pub(crate) fn is(request: &[Vec<u8>], words: &[&str]) -> bool {
    let mut pairs = request.iter().zip(words);
    request.len() >= words.len() && pairs.all(|(a, b)| a.eq_ignore_ascii_case(b.as_bytes()))
}

/// What a node does that has nothing against anybody: GET gives the key back, INCR counts.
#[derive(Clone, Default)]
pub(crate) struct Sound {
    pub(crate) executed: Arc<AtomicUsize>,
}

impl Sound {
    pub(crate) fn answer(&self, request: &[Vec<u8>]) -> Answer {
        if is(request, &["GET"]) {
            Answer::Bytes(bulk(&request[1]))
        } else if is(request, &["INCR"]) {
            let count = self.executed.fetch_add(1, Ordering::SeqCst) + 1;
            Answer::Bytes(format!(":{count}\r\n").into_bytes())
        } else {
            Answer::Default
        }
    }

    pub(crate) fn executed(&self) -> usize {
        self.executed.load(Ordering::SeqCst)
    }
}

/// Ten clients ask each for what nobody else asks for.
pub(crate) fn everybody_gets_their_own(proxy: &Proxy) {
    let ask = |client: usize| {
        let mut peer = peer(proxy);
        for round in 0..4 {
            let tags: Vec<String> = (0..25).map(|n| format!("tag-{client}-{round}-{n}")).collect();
            for tag in &tags {
                peer.send_command(&["GET", tag]).unwrap();
            }
            for tag in &tags {
                peer.expect(bulk(tag)).unwrap();
            }
        }
    };
    std::thread::scope(|scope| {
        for client in 0..10 {
            scope.spawn(move || ask(client));
        }
    });
}
