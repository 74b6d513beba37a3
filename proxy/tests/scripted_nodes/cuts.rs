//! The connection to the node is reset at every byte of a request and of a reply.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use testbed::{Answer, Port, Proxy, ScriptedNode, wait_until};

use super::measure::PATIENCE;
use super::play::{Sound, bulk, everybody_gets_their_own, peer};

/// Where the stream that begins with a mark is cut.
#[derive(Clone, Copy)]
struct Cut {
    /// In the replies instead of the requests.
    replies: bool,
    mark: &'static [u8],
    /// Bytes that still pass, from the mark's first on.
    at: usize,
}

/// Stands between the proxy and the node, and cuts once when it is told to.
struct Relay {
    port: Port,
    cut: Arc<Mutex<Option<Cut>>>,
}

impl Relay {
    fn start(node: String) -> Relay {
        let port = Port::free().unwrap();
        let listener = TcpListener::bind(port.addr()).unwrap();
        let cut = Arc::new(Mutex::new(None));
        let armed = cut.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for proxy in listener.incoming().flatten() {
                let Ok(node) = TcpStream::connect(&node) else { continue };
                for (from, to, replies) in [(&proxy, &node, false), (&node, &proxy, true)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let armed = armed.clone();
                    thread::spawn(move || pass(from, to, replies, &armed));
                }
            }
        });
        Relay { port, cut }
    }

    fn cut(&self, cut: Cut) {
        *self.cut.lock().unwrap() = Some(cut);
    }

    fn has_cut(&self) -> bool {
        self.cut.lock().unwrap().is_none()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, replies: bool, armed: &Mutex<Option<Cut>>) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..len];
        let mut armed = armed.lock().unwrap();
        let here = armed.filter(|cut| cut.replies == replies).and_then(|cut| {
            let start = bytes.windows(cut.mark.len()).position(|part| part == cut.mark)?;
            Some(start + cut.at)
        });
        if let Some(end) = here {
            *armed = None;
            let _ = to.write_all(&bytes[..end]);
            // To the node an end, so that it reads what came; to the proxy a reset.
            let (proxy, node) = if replies { (&to, &from) } else { (&from, &to) };
            if !replies || end == 0 {
                let _ = SockRef::from(proxy).set_linger(Some(Duration::ZERO));
            }
            let _ = node.shutdown(Shutdown::Both);
            let _ = proxy.shutdown(Shutdown::Both);
            return;
        }
        drop(armed);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

#[test]
fn a_connection_cut_at_any_byte_executes_nothing_twice_and_hides_no_read() {
    let sound = Sound::default();
    let executing = sound.clone();
    let node = ScriptedNode::start(move |request| executing.answer(request)).unwrap();
    let relay = Relay::start(node.addr());
    let map = format!("{}={}", node.addr(), relay.port.addr());
    let proxy = Proxy::builder([relay.port.addr()]).binary(env!("CARGO_BIN_EXE_slotway"));
    let proxy = proxy.args(["--address-map", &map]).start().unwrap();
    everybody_gets_their_own(&proxy);

    let incr = &b"*2\r\n$4\r\nINCR\r\n$3\r\ncut\r\n"[..];
    let get = &b"*2\r\n$3\r\nGET\r\n$3\r\ncut\r\n"[..];
    let got = &b"$3\r\ncut\r\n"[..];
    let requests =
        |mark: &'static [u8]| (0..=mark.len()).map(move |at| Cut { replies: false, mark, at });
    let mut client = peer(&proxy);
    client.set_deadline(PATIENCE);
    for cut in requests(incr) {
        let before = sound.executed();
        relay.cut(cut);
        client.send_command(&["INCR", "cut"]).unwrap();
        let reply = String::from_utf8(client.read_line().unwrap()).unwrap();
        assert!(reply.starts_with("-UNKNOWNRESULT "), "cut at {}: {reply}", cut.at);
        assert!(relay.has_cut());
        // A whole request reached the node, which may not have looked at it yet.
        let whole = usize::from(cut.at == incr.len());
        let executed = || sound.executed() - before >= whole;
        wait_until("the node to execute what it got", PATIENCE, executed).unwrap();
        assert_eq!(sound.executed() - before, whole, "cut at {}", cut.at);
    }
    // The reply's number is known before: nobody else counts.
    for at in 0..=4 {
        let next = sound.executed() + 1;
        let reply: &'static [u8] = format!(":{next}\r\n").into_bytes().leak();
        let at = if at == 4 { reply.len() } else { at };
        relay.cut(Cut { replies: true, mark: reply, at });
        client.send_command(&["INCR", "cut"]).unwrap();
        let line = client.read_line().unwrap();
        let acked = line == reply[..reply.len() - 2];
        assert_eq!(acked, at == reply.len(), "cut at {at}: {}", line.escape_ascii());
        assert!(acked || line.starts_with(b"-UNKNOWNRESULT "), "{}", line.escape_ascii());
        assert!(relay.has_cut());
        assert_eq!(sound.executed(), next, "cut at {at}: executed once");
    }
    let replies = (0..=got.len()).map(|at| Cut { replies: true, mark: got, at });
    for cut in requests(get).chain(replies) {
        relay.cut(cut);
        client.send_command(&["GET", "cut"]).unwrap();
        client.expect(bulk("cut")).unwrap_or_else(|e| panic!("cut at {}: {e:#}", cut.at));
        assert!(relay.has_cut());
    }
    everybody_gets_their_own(&proxy);
}

/// MULTI, INCRs and EXEC as a node takes them, which has a thread for each connection. All replies
/// leave with the last one: an earlier one might find that nobody reads, and end it before EXEC.
fn transact(sound: &Sound, request: &[Vec<u8>]) -> Answer {
    thread_local!(static QUEUED: Cell<Option<usize>> = const { Cell::new(None) });
    match (QUEUED.get(), request[0].as_slice()) {
        (None, b"MULTI") => {
            QUEUED.set(Some(0));
            Answer::Silence
        }
        (Some(count), b"INCR") => {
            QUEUED.set(Some(count + 1));
            Answer::Silence
        }
        (Some(count), b"EXEC") => {
            QUEUED.set(None);
            let before = sound.executed.fetch_add(count, Ordering::SeqCst);
            let replies = (1..=count).map(|n| format!(":{}\r\n", before + n));
            let (queued, replies) = ("+QUEUED\r\n".repeat(count), replies.collect::<String>());
            Answer::Bytes(format!("+OK\r\n{queued}*{count}\r\n{replies}").into_bytes())
        }
        _ => sound.answer(request),
    }
}

#[test]
fn a_transaction_cut_at_any_byte_is_executed_once_as_a_whole_or_not_at_all() {
    let sound = Sound::default();
    let executing = sound.clone();
    let node = ScriptedNode::start(move |request| transact(&executing, request)).unwrap();
    let relay = Relay::start(node.addr());
    let map = format!("{}={}", node.addr(), relay.port.addr());
    let proxy = Proxy::builder([relay.port.addr()]).binary(env!("CARGO_BIN_EXE_slotway"));
    let proxy = proxy.args(["--address-map", &map]).start().unwrap();
    everybody_gets_their_own(&proxy);

    let block =
        &b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$3\r\ncut\r\n*2\r\n$4\r\nINCR\r\n$3\r\ncut\r\n\
        *1\r\n$4\r\nEXEC\r\n"[..];
    let queued = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n";
    let mut client = peer(&proxy);
    client.set_deadline(PATIENCE);
    let replies_to = |next: usize| -> &'static [u8] {
        format!("*2\r\n:{}\r\n:{}\r\n", next + 1, next + 2).into_bytes().leak()
    };
    let requests = (0..=block.len()).map(|at| (false, Some(block), at));
    let last = (0..=replies_to(1000).len()).map(|at| (true, None, at));
    for (replies, mark, at) in requests.chain(last) {
        let before = sound.executed();
        let reply = replies_to(before);
        // The reply's numbers are known before: nobody else counts.
        let mark = mark.unwrap_or(reply);
        let at = at.min(mark.len());
        relay.cut(Cut { replies, mark, at });
        client.send(block).unwrap();
        client.expect(queued).unwrap();
        let line = client.read_line().unwrap();
        let what = format!("cut at {at} of {}: {}", mark.escape_ascii(), line.escape_ascii());
        // All of it was handed over to the relay. What came through is a part, which is nothing, or
        // the whole.
        let whole = if mark == block && at < block.len() { 0 } else { 2 };
        if mark == reply && at == reply.len() {
            assert_eq!([&line, &b"\r\n"[..]].concat(), reply[..4], "{what}");
            client.expect(&reply[4..]).unwrap();
        } else {
            assert!(line.starts_with(b"-UNKNOWNRESULT "), "{what}");
        }
        assert!(relay.has_cut(), "{what}");
        let done = || sound.executed() >= before + whole;
        wait_until("the node to execute what it got", PATIENCE, done).unwrap();
        assert_eq!(sound.executed(), before + whole, "{what}");
        // Not one reply too many.
        client.send_command(&["GET", "cut"]).unwrap();
        client.expect(bulk("cut")).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    }
    everybody_gets_their_own(&proxy);
}
