//! What is said on a new node connection before any request goes out on it.
//!
//! The last of it is the fence: a process may still hold bytes of a connection that was lost (a
//! busy script, a cut network that heals) and would execute them later, behind or in front of
//! what is sent now. So what is left of the old connection is killed by its id first
//! (failure-masking contract, §5).

use super::Mode;
use crate::resp::write;

/// Who answered on this connection. Kept, because a later connection to the same process must
/// be able to have this one killed by its id (failure-masking contract, the fence).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `CLIENT ID` of this connection at the node, if the node lets us ask.
    pub client_id: Option<u64>,
    /// The node's 40 hex digits, as `CLUSTER MYID` says.
    pub node_id: Option<Box<str>>,
    /// The process, as `INFO server` says: another one after each restart.
    pub run_id: Option<Box<str>>,
    /// It keeps a table of keys for each slot, and SCAN's cursors hold the slot in their low
    /// bits: Redis 7.4 and Valkey 8 and later, as their versions in `INFO server` say.
    pub scans_by_slot: bool,
}

impl Identity {
    /// Tells processes apart in a byte: two of them have the same by chance once in 256.
    pub fn process(&self) -> u8 {
        let run_id = self.run_id.as_deref().unwrap_or_default();
        run_id.bytes().fold(0, |sum: u8, digit| sum.wrapping_mul(31).wrapping_add(digit))
    }
}

/// A connection that was lost with requests on it: which process holds what is left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// Its `CLIENT ID` at the node.
    pub client_id: u64,
    /// The process.
    pub run_id: Box<str>,
}

/// What became of the connections that had to be fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// The node was told to kill them, or is another process by now.
    pub done: bool,
    /// It did not permit that for at least one.
    pub refused: bool,
}

/// The questions, in the order in which they are asked and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Auth,
    /// Changes to the protocol of the clients.
    Hello,
    /// Changes to the database of the clients.
    Select,
    ClientId,
    MyId,
    Info,
    Kill,
}

/// The state of one handshake.
#[derive(Debug)]
pub struct Handshake {
    open: std::collections::VecDeque<Question>,
    /// What has been learned so far.
    pub identity: Identity,
    to_fence: Vec<Fenced>,
    /// Those that were dealt with: killed, or of another process.
    pub fenced: Vec<Fenced>,
    /// What became of the connections to fence.
    pub fence: Fence,
}

/// Where a handshake stands after one more reply.
#[derive(Debug, PartialEq, Eq)]
pub enum HandshakeStep {
    /// More replies are to come.
    More,
    /// Requests may go out.
    Ready,
    /// The node does not let us in; the text is its error.
    Refused(String),
}

impl Handshake {
    /// Writes the questions to `out`, all at once, and waits for the answers; the connection is
    /// in `mode` then. If the process that answers holds connections of `to_fence`, it is told to
    /// kill them.
    pub fn start(
        credentials: Option<(&[u8], &[u8])>,
        mode: Mode,
        to_fence: Vec<Fenced>,
        out: &mut Vec<u8>,
    ) -> Handshake {
        let mut open = std::collections::VecDeque::new();
        match credentials {
            Some((b"", password)) => write::command(out, &[b"AUTH", password]),
            Some((user, password)) => write::command(out, &[b"AUTH", user, password]),
            None => {}
        }
        if credentials.is_some() {
            open.push_back(Question::Auth);
        }
        if mode.is_resp3() {
            write::command(out, &[b"HELLO", b"3"]);
            open.push_back(Question::Hello);
        }
        if mode.database() != 0 {
            let database = mode.database().to_string();
            write::command(out, &[b"SELECT", database.as_bytes()]);
            open.push_back(Question::Select);
        }
        write::command(out, &[b"CLIENT", b"ID"]);
        open.push_back(Question::ClientId);
        write::command(out, &[b"CLUSTER", b"MYID"]);
        open.push_back(Question::MyId);
        write::command(out, &[b"INFO", b"server"]);
        open.push_back(Question::Info);
        let (identity, fence) = (Identity::default(), Fence::default());
        Handshake { open, identity, to_fence, fenced: Vec::new(), fence }
    }

    /// More connections were lost since it began. Returns whether there is more to say.
    pub fn fence_too(&mut self, more: Vec<Fenced>, out: &mut Vec<u8>) -> bool {
        self.to_fence = more;
        self.kill(out);
        !self.open.is_empty()
    }

    /// Takes the reply to the next question: the raw bytes of one value. What is to be said then
    /// is appended to `out`.
    pub fn reply(&mut self, raw: &[u8], out: &mut Vec<u8>) -> HandshakeStep {
        let Some(question) = self.open.pop_front() else {
            return HandshakeStep::Refused("it answers what nobody asked".into());
        };
        if let Some(error) = raw.strip_prefix(b"-") {
            let error = String::from_utf8_lossy(error.trim_ascii_end()).into_owned();
            // Without permission for a question we do without its answer. What says that no
            // request can succeed on this connection, or that it is not in the mode of its
            // clients, ends it.
            let code = error.split(' ').next().unwrap_or_default();
            let fatal = matches!(question, Question::Auth | Question::Hello | Question::Select)
                || matches!(code, "NOAUTH" | "DENIED" | "WRONGPASS")
                || error.starts_with("ERR max number of clients");
            if fatal {
                return HandshakeStep::Refused(error);
            }
            self.fence.refused |= question == Question::Kill;
        } else {
            self.learn(question, raw);
        }
        if question == Question::Info {
            self.kill(out);
        }
        if self.open.is_empty() { HandshakeStep::Ready } else { HandshakeStep::More }
    }

    /// Has what is left of lost connections killed, where the same process has them: ids are used
    /// once by a process, and mean somebody else in the next one.
    fn kill(&mut self, out: &mut Vec<u8>) {
        self.fence.done = true;
        let run_id = self.identity.run_id.as_deref();
        for fenced in std::mem::take(&mut self.to_fence) {
            if run_id == Some(&*fenced.run_id) {
                let id = fenced.client_id.to_string();
                write::command(out, &[b"CLIENT", b"KILL", b"ID", id.as_bytes()]);
                self.open.push_back(Question::Kill);
            }
            self.fenced.push(fenced);
        }
    }

    fn learn(&mut self, question: Question, raw: &[u8]) {
        match question {
            Question::Auth | Question::Hello | Question::Select | Question::Kill => {}
            Question::ClientId => {
                self.identity.client_id = raw
                    .strip_prefix(b":")
                    .and_then(|digits| str::from_utf8(digits.trim_ascii_end()).ok())
                    .and_then(|digits| digits.parse().ok());
            }
            Question::MyId => {
                self.identity.node_id = text(raw).map(Into::into);
            }
            Question::Info => {
                let info = text(raw).unwrap_or_default();
                let field = |name| info.lines().find_map(|line| line.strip_prefix(name));
                self.identity.run_id = field("run_id:").map(Into::into);
                let release = |version: &str| {
                    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
                    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
                };
                // Valkey's redis_version stays at 7.2.4.
                self.identity.scans_by_slot = field("redis_version:")
                    .is_some_and(|version| release(version) >= (7, 4))
                    || field("valkey_version:").is_some_and(|version| release(version) >= (8, 0));
            }
        }
    }
}

/// The text of a bulk string or, in RESP3, of a verbatim string: header and line end removed.
fn text(raw: &[u8]) -> Option<&str> {
    let header = memchr::memchr(b'\n', raw)?;
    let body = raw.get(header + 1..raw.len().checked_sub(2)?)?;
    let body = match raw.first()? {
        b'$' => body,
        b'=' => body.strip_prefix(b"txt:")?,
        _ => return None,
    };
    str::from_utf8(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_who_answered() {
        let mut out = Vec::new();
        let mut handshake = Handshake::start(None, Mode::BASE, vec![], &mut out);
        assert_eq!(
            out,
            b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n*2\r\n$7\r\nCLUSTER\r\n$4\r\nMYID\r\n\
              *2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n"
        );
        assert_eq!(handshake.reply(b":17\r\n", &mut Vec::new()), HandshakeStep::More);
        assert_eq!(handshake.reply(b"$4\r\nabcd\r\n", &mut Vec::new()), HandshakeStep::More);
        let info = b"$35\r\n# Server\r\nrun_id:0123\r\ntcp_port:7000\r\n\r\n";
        assert_eq!(handshake.reply(info, &mut Vec::new()), HandshakeStep::Ready);
        let identity = handshake.identity;
        assert_eq!(identity.client_id, Some(17));
        assert_eq!(identity.node_id.as_deref(), Some("abcd"));
        assert_eq!(identity.run_id.as_deref(), Some("0123"));
    }

    #[test]
    fn does_without_what_it_may_not_ask() {
        let mut handshake =
            Handshake::start(Some((b"u", b"p")), Mode::BASE, vec![], &mut Vec::new());
        let noperm = b"-NOPERM User u has no permissions to run the 'client|id' command\r\n";
        assert_eq!(handshake.reply(b"+OK\r\n", &mut Vec::new()), HandshakeStep::More);
        assert_eq!(handshake.reply(noperm, &mut Vec::new()), HandshakeStep::More);
        assert_eq!(handshake.reply(noperm, &mut Vec::new()), HandshakeStep::More);
        assert_eq!(handshake.reply(noperm, &mut Vec::new()), HandshakeStep::Ready);
        assert_eq!(handshake.identity, Identity::default());
    }

    #[test]
    fn changes_to_the_mode_of_the_clients_and_understands_what_comes_then() {
        let mode = Mode::BASE.with_resp3(true).with_database(11);
        let mut out = Vec::new();
        let mut handshake = Handshake::start(Some((b"", b"p")), mode, vec![], &mut out);
        let begin = "*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n\
                     *2\r\n$6\r\nSELECT\r\n$2\r\n11\r\n*2\r\n$6\r\nCLIENT\r\n";
        assert!(String::from_utf8(out).unwrap().starts_with(begin));
        for reply in ["+OK\r\n", "%1\r\n$5\r\nproto\r\n:3\r\n", "+OK\r\n", ":17\r\n"] {
            assert_eq!(handshake.reply(reply.as_bytes(), &mut Vec::new()), HandshakeStep::More);
        }
        handshake.reply(b"$4\r\nabcd\r\n", &mut Vec::new());
        let info = b"=27\r\ntxt:# Server\r\nrun_id:0123\r\n\r\n";
        assert_eq!(handshake.reply(info, &mut Vec::new()), HandshakeStep::Ready);
        assert_eq!(handshake.identity.client_id, Some(17));
        assert_eq!(handshake.identity.node_id.as_deref(), Some("abcd"));
        assert_eq!(handshake.identity.run_id.as_deref(), Some("0123"));
    }

    #[test]
    fn a_node_that_does_not_change_to_the_mode_refuses() {
        let mode = Mode::BASE.with_resp3(true).with_database(11);
        for (replies, error) in [
            (&["-ERR unknown command `HELLO`\r\n"][..], "ERR unknown command `HELLO`"),
            (&["%0\r\n", "-ERR DB index is out of range\r\n"], "ERR DB index is out of range"),
        ] {
            let mut handshake = Handshake::start(None, mode, vec![], &mut Vec::new());
            let steps = replies.iter().map(|r| handshake.reply(r.as_bytes(), &mut Vec::new()));
            assert_eq!(steps.last(), Some(HandshakeStep::Refused(error.into())));
        }
    }

    #[test]
    fn a_closed_door_is_a_refusal() {
        for error in [
            "WRONGPASS invalid username-password pair or user is disabled.",
            "ERR max number of clients reached",
            "DENIED Redis is running in protected mode",
            "NOAUTH Authentication required.",
        ] {
            let mut handshake = Handshake::start(None, Mode::BASE, vec![], &mut Vec::new());
            let step = handshake.reply(format!("-{error}\r\n").as_bytes(), &mut Vec::new());
            assert_eq!(step, HandshakeStep::Refused(error.into()));
        }
        let mut handshake =
            Handshake::start(Some((b"", b"p")), Mode::BASE, vec![], &mut Vec::new());
        let error = "ERR AUTH <password> called without any password configured";
        let step = handshake.reply(format!("-{error}\r\n").as_bytes(), &mut Vec::new());
        assert_eq!(step, HandshakeStep::Refused(error.into()));
    }

    #[test]
    fn what_is_left_of_a_lost_connection_is_killed_in_the_process_that_holds_it() {
        let fenced = |client_id, run_id: &str| Fenced { client_id, run_id: run_id.into() };
        let to_fence = vec![fenced(7, "before"), fenced(8, "now"), fenced(9, "now")];
        let mut out = Vec::new();
        let mut handshake = Handshake::start(None, Mode::BASE, to_fence, &mut out);
        out.clear();
        assert_eq!(handshake.reply(b":17\r\n", &mut out), HandshakeStep::More);
        assert_eq!(handshake.reply(b"$4\r\nabcd\r\n", &mut out), HandshakeStep::More);
        let info = b"$12\r\nrun_id:now\r\n\r\n";
        assert_eq!(handshake.reply(info, &mut out), HandshakeStep::More);
        let kill = "*4\r\n$6\r\nCLIENT\r\n$4\r\nKILL\r\n$2\r\nID\r\n$1\r\n";
        assert_eq!(String::from_utf8(out.clone()).unwrap(), format!("{kill}8\r\n{kill}9\r\n"));
        assert_eq!(handshake.reply(b":0\r\n", &mut out), HandshakeStep::More);
        assert!(!handshake.fence.refused);
        let noperm = b"-NOPERM User u has no permissions to run the 'client|kill' command\r\n";
        assert_eq!(handshake.reply(noperm, &mut out), HandshakeStep::Ready);
        assert_eq!(handshake.fence, Fence { done: true, refused: true });
    }
}
