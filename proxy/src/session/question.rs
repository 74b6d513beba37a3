//! What a client asks that its worker alone cannot answer: it takes the address of a connection,
//! or all workers. Its place among the client's replies waits for the answer.

use std::fmt;
use std::time::Duration;

use super::clients::{Asker, Filter, Kill};
use super::cluster::ClusterQuestion;
use super::{Facts, InfoQuestion, Invalid, Session};
use crate::command::Local;
use crate::node::ClientKey;
use crate::resp::{Args, write};

/// One end of a connection, or where cluster clients are told to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// A name, or an address (an IPv6 one without brackets); empty: unknown.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Written as a server writes it: an IPv6 address in brackets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Both ends of a client's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Where the client is.
    pub peer: Address,
    /// Where it has connected to.
    pub local: Address,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Its own worker answers, once it knows the ends of the client's connection.
    Own(OwnQuestion),
    /// All workers answer together.
    All(CommonQuestion),
    /// Nodes are asked.
    Nodes(InfoQuestion),
}

/// What takes the ends of the asking client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnQuestion {
    /// CLIENT INFO
    Info,
    /// CLUSTER and what follows it
    Cluster(ClusterQuestion),
}

/// What takes all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommonQuestion {
    /// CLIENT LIST
    List {
        /// Whom.
        filter: Filter,
        /// In which protocol.
        resp3: bool,
    },
    /// CLIENT KILL
    Kill(Kill),
    /// CLIENT PAUSE
    Pause {
        /// How long from now.
        time: Duration,
        /// Only what may write waits, not everything.
        writes_only: bool,
    },
    /// CLIENT UNPAUSE
    Unpause,
    /// CLIENT UNBLOCK
    Unblock {
        /// Which client.
        id: u64,
        /// What it is blocked in ends with an error, not as if its time were over.
        with_error: bool,
    },
    /// CLIENT TRACKING … REDIRECT: where this client is
    Find {
        /// Its `CLIENT ID`.
        id: u64,
    },
    /// What one client is told in the place of another
    Invalidate {
        /// Its `CLIENT ID`.
        id: u64,
        /// Its place in its worker's table.
        client: ClientKey,
        /// What it is told.
        invalid: Invalid,
    },
}

/// What one worker has to say to a [`CommonQuestion`].
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Its clients: each one's id, and its line.
    Lines(Vec<(u64, String)>),
    /// So many of its clients were concerned.
    Count(usize),
    /// The client that was asked for is one of its own, and this is its place.
    Place(ClientKey),
    /// It is done.
    Done,
}

impl CommonQuestion {
    /// The reply, from what the workers have said; one that has ended says nothing.
    pub fn reply(&self, parts: Vec<Part>) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            CommonQuestion::List { resp3, .. } => {
                let lines = |part| if let Part::Lines(lines) = part { lines } else { Vec::new() };
                let mut lines: Vec<(u64, String)> = parts.into_iter().flat_map(lines).collect();
                lines.sort_unstable();
                let text: String = lines.into_iter().map(|(_, line)| line).collect();
                write::verbatim(&mut out, *resp3, &text);
            }
            CommonQuestion::Kill(kill) => kill.reply(sum(&parts), &mut out),
            CommonQuestion::Unblock { .. } => write::integer(&mut out, sum(&parts) as i64),
            CommonQuestion::Pause { .. } | CommonQuestion::Unpause => write::simple(&mut out, "OK"),
            // No replies of clients: the worker reads them that has asked.
            CommonQuestion::Find { .. } => {
                for part in parts {
                    if let Part::Place(ClientKey { index, generation }) = part {
                        out = format!("{index} {generation}").into_bytes();
                    }
                }
            }
            CommonQuestion::Invalidate { .. } => write::integer(&mut out, sum(&parts) as i64),
        }
        out
    }
}

fn sum(parts: &[Part]) -> usize {
    parts.iter().map(|part| if let Part::Count(count) = part { *count } else { 0 }).sum()
}

/// The question that a local command is, or the error it is answered with; `None` if the command
/// asks nothing: [`answer`](super::answer) answers it.
pub fn question(
    local: Local,
    args: &Args<'_>,
    session: &Session,
    facts: impl Fn() -> Facts,
) -> Option<Result<Question, Vec<u8>>> {
    let resp3 = session.mode.is_resp3();
    let asker = Asker { id: session.id, databases: || facts().databases.unwrap_or(1) };
    let common = match local {
        Local::Info => return Some(Ok(Question::Nodes(InfoQuestion::of(args, resp3)?))),
        Local::ClientInfo => return Some(Ok(Question::Own(OwnQuestion::Info))),
        Local::Cluster => {
            let question = ClusterQuestion::of(args);
            return Some(Ok(Question::Own(OwnQuestion::Cluster(question))));
        }
        Local::ClientList => {
            Filter::of_list(args, &asker).map(|filter| CommonQuestion::List { filter, resp3 })
        }
        Local::ClientKill => Kill::of(args, &asker).map(CommonQuestion::Kill),
        Local::ClientPause => pause(args),
        Local::ClientUnpause => Ok(CommonQuestion::Unpause),
        Local::ClientUnblock => unblock(args),
        _ => return None,
    };
    Some(common.map(Question::All))
}

fn unblock(args: &Args<'_>) -> Result<CommonQuestion, Vec<u8>> {
    if args.len() > 4 {
        return Err(super::connection::wrong_count(args).into());
    }
    let with_error = match args.get(3) {
        None => false,
        Some(reason) if reason.eq_ignore_ascii_case(b"TIMEOUT") => false,
        Some(reason) if reason.eq_ignore_ascii_case(b"ERROR") => true,
        Some(_) => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into()),
    };
    let id = super::connection::parse_integer(args.get(2).unwrap_or_default())
        .ok_or_else(|| b"ERR value is not an integer or out of range".to_vec())?;
    // Nobody has such an id.
    let id = u64::try_from(id).unwrap_or(0);
    Ok(CommonQuestion::Unblock { id, with_error })
}

fn pause(args: &Args<'_>) -> Result<CommonQuestion, Vec<u8>> {
    let writes_only = match args.get(3) {
        _ if args.len() > 4 => return Err(super::connection::wrong_count(args).into()),
        None => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"WRITE") => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"ALL") => false,
        Some(_) => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
    };
    let millis = super::connection::parse_integer(args.get(2).unwrap_or_default())
        .ok_or("ERR timeout is not an integer or out of range")?;
    let millis = u64::try_from(millis).map_err(|_| "ERR timeout is negative")?;
    Ok(CommonQuestion::Pause { time: Duration::from_millis(millis), writes_only })
}
