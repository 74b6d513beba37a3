//! A node that a test plays itself: for answers that no real node gives, and for silence.

use crate::ports::Port;
use crate::tcp::Peer;
use anyhow::{Context, Result};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What a [`ScriptedNode`] does about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These bytes are written, whatever they are.
    Bytes(Vec<u8>),
    /// These bytes are written and the connection is closed.
    Last(Vec<u8>),
    /// Nothing is written; the next request is read.
    Silence,
    /// What a sound node that owns every slot would say: the control commands are answered so that
    /// a proxy takes it for a whole cluster of one; everything else with `+OK`.
    Default,
}

/// A listener on loopback that answers each request as a script says. Ends when it is dropped.
#[derive(Debug)]
pub struct ScriptedNode {
    port: Arc<Port>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    /// Every connection accepted so far, to be shut at the end.
    streams: Mutex<Vec<TcpStream>>,
    requests: AtomicUsize,
}

impl ScriptedNode {
    /// Starts it. `script` gets each request of each connection, first come first served, as its
    /// arguments; what it captures is the test's.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(
        script: impl Fn(&[Vec<u8>]) -> Answer + Send + Sync + 'static,
    ) -> Result<ScriptedNode> {
        let port = Arc::new(Port::free()?);
        let listener = TcpListener::bind(port.addr()).context("cannot listen")?;
        let node = ScriptedNode { port, shared: Arc::default() };
        let (shared, port) = (node.shared.clone(), node.port.number());
        let script: Arc<Script> = Arc::new(script);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(twin) = stream.try_clone() else { continue };
                shared.streams().push(twin);
                // Looked at after the stream is listed: whoever ended us either sees it or is seen.
                if shared.ended.load(Ordering::SeqCst) {
                    return shared.shut_all();
                }
                let (script, shared) = (script.clone(), shared.clone());
                thread::spawn(move || serve(Peer::new(stream), port, &*script, &shared));
            }
        });
        Ok(node)
    }

    /// `127.0.0.1:<port>`.
    pub fn addr(&self) -> String {
        self.port.addr()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// How many requests it has read.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.streams().len()
    }

    /// Closes every connection it has; new ones are accepted.
    pub fn close_connections(&self) {
        self.shared.shut_all();
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.addr());
        self.shared.shut_all();
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shut_all(&self) {
        for stream in &*self.streams() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

type Script = dyn Fn(&[Vec<u8>]) -> Answer + Send + Sync;

/// Answers one connection until it ends.
fn serve(mut peer: Peer, port: u16, script: &Script, shared: &Shared) {
    peer.set_deadline(IDLE);
    while let Ok(Some(request)) = peer.read_command() {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let sent = match script(&request) {
            Answer::Bytes(bytes) => peer.send(bytes),
            Answer::Silence => Ok(()),
            Answer::Default => peer.send(sound_answer(&request, port)),
            Answer::Last(bytes) => {
                let _ = peer.send(bytes);
                break;
            }
        };
        if sent.is_err() {
            break;
        }
    }
    // Shut and not only dropped: the list of streams holds a twin of this one.
    peer.shut();
}

/// What a sound primary on `port` that owns every slot answers, as far as proxies ask.
fn sound_answer(request: &[Vec<u8>], port: u16) -> Vec<u8> {
    let word = |at: usize| {
        request.get(at).map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default()
    };
    let answer = match (word(0).as_str(), word(1).as_str()) {
        ("PING", _) => "+PONG\r\n".to_owned(),
        ("CLIENT", "ID") => ":7\r\n".to_owned(),
        ("COMMAND" | "CONFIG", _) => "*0\r\n".to_owned(),
        ("ROLE", _) => "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n".to_owned(),
        ("HELLO", _) => format!(
            "*14\r\n{}{}{}:2\r\n{}:7\r\n{}{}{}{}{}*0\r\n",
            bulk("server") + &bulk("redis"),
            bulk("version") + &bulk(VERSION),
            bulk("proto"),
            bulk("id"),
            bulk("mode"),
            bulk("cluster"),
            bulk("role"),
            bulk("master"),
            bulk("modules"),
        ),
        ("INFO", _) => bulk(&format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:cluster\r\nrun_id:{ID}\r\n\
             tcp_port:{port}\r\nloading:0\r\nrole:master\r\ncluster_enabled:1\r\n"
        )),
        ("CLUSTER", "MYID") => bulk(ID),
        ("CLUSTER", "INFO") => bulk(
            "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\n\
             cluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:1\r\n",
        ),
        ("CLUSTER", "NODES") => bulk(&format!(
            "{ID} 127.0.0.1:{port}@{} myself,master - 0 0 1 connected 0-16383\n",
            u32::from(port) + 10000
        )),
        ("CLUSTER", "SLOTS") => format!(
            "*1\r\n*3\r\n:0\r\n:16383\r\n*4\r\n{}:{port}\r\n{}*0\r\n",
            bulk("127.0.0.1"),
            bulk(ID)
        ),
        ("CLUSTER", "SHARDS") => format!(
            "*1\r\n*4\r\n{}*2\r\n:0\r\n:16383\r\n{}*1\r\n*14\r\n{}{}:{port}\r\n{}{}{}{}:0\r\n{}",
            bulk("slots"),
            bulk("nodes"),
            bulk("id") + &bulk(ID),
            bulk("port"),
            bulk("ip") + &bulk("127.0.0.1"),
            bulk("endpoint") + &bulk("127.0.0.1"),
            bulk("role") + &bulk("master"),
            bulk("replication-offset"),
            bulk("health") + &bulk("online"),
        ),
        _ => "+OK\r\n".to_owned(),
    };
    answer.into_bytes()
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

const VERSION: &str = "7.0.15";

const ID: &str = "5c71b7ed00000000000000000000000000000001";

/// How long a connection may say nothing; the proxy under test keeps some idle.
const IDLE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connect;
    use redis::Value;

    #[test]
    fn the_script_answers_and_the_rest_is_sound() {
        let node = ScriptedNode::start(|request| match request[0].as_slice() {
            b"GET" => Answer::Bytes(b"$1\r\nx\r\n".to_vec()),
            b"DIE" => Answer::Last(b"-ERR dying\r\n".to_vec()),
            _ => Answer::Default,
        })
        .unwrap();
        let mut client = connect(&node.addr(), None, Duration::from_secs(5)).unwrap();
        let got: String = redis::cmd("GET").arg("a").query(&mut client).unwrap();
        assert_eq!(got, "x");
        // Every sound answer is one whole reply, of which the next one shows no remains.
        for command in ["PING", "HELLO 2", "CLIENT ID", "COMMAND", "CONFIG GET x", "ROLE", "INFO"] {
            let mut cmd = redis::Cmd::new();
            cmd.arg(command.split(' ').collect::<Vec<_>>());
            assert!(cmd.query::<Value>(&mut client).is_ok(), "{command}");
        }
        for sub in ["MYID", "INFO", "NODES", "SLOTS", "SHARDS"] {
            redis::cmd("CLUSTER").arg(sub).query::<Value>(&mut client).unwrap();
        }
        assert_eq!(redis::cmd("ECHO").query::<String>(&mut client).unwrap(), "OK");
        assert!(redis::cmd("DIE").exec(&mut client).is_err());
        assert!(redis::cmd("PING").exec(&mut client).is_err(), "the connection is closed");
    }

    #[test]
    fn its_end_closes_what_is_open() {
        let node = ScriptedNode::start(|_| Answer::Silence).unwrap();
        let mut peer = Peer::connect(&node.addr()).unwrap();
        peer.send_command(&["PING"]).unwrap();
        crate::wait_until("the request to be read", Duration::from_secs(5), || {
            node.requests() == 1
        })
        .unwrap();
        drop(node);
        peer.expect_end().unwrap();
    }
}
