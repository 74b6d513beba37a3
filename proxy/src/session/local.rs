//! The commands that slotway answers itself, with a server's own words.

use super::{Facts, Replies, Session, Totals, connection, info, lolwut, tracking};
use crate::command::Local;
use crate::node::Mode;
use crate::resp::{Args, canonical_integer, write};

/// What becomes of the client after an answer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It goes on.
    Served,
    /// The answer was an error.
    Failed,
    /// It is closed once the answer is written; what it sent behind this request is dropped.
    Close,
    /// It goes on, and there is no reply, not even an empty one.
    Silent,
    /// Not one of ours with these arguments: it is refused as an unknown command.
    Unknown,
}

/// Whether this command may put its client into another mode. It is answered when all requests
/// before it are, and its own reply is in the new mode.
pub fn changes_mode(local: Local) -> bool {
    matches!(local, Local::Hello | Local::Select | Local::Reset)
}

/// Answers a local command: appends exactly one reply to `out`, none if it returns
/// [`Answer::Silent`] or [`Answer::Unknown`]. `facts` is called only where they are needed.
pub fn answer(
    local: Local,
    args: &Args<'_>,
    session: &mut Session,
    facts: impl FnOnce() -> Facts,
    out: &mut Vec<u8>,
) -> Answer {
    match local {
        // The one command whose arity allows more than it takes.
        Local::Ping if args.len() > 2 => {
            return fail(out, "ERR wrong number of arguments for 'ping' command");
        }
        Local::Ping => match args.get(1) {
            None => write::simple(out, "PONG"),
            Some(text) => write::bulk(out, text),
        },
        Local::Echo => write::bulk(out, args.get(1).unwrap_or_default()),
        Local::Quit => {
            write::simple(out, "OK");
            return Answer::Close;
        }
        Local::Select => return select(args, session, facts, out),
        Local::Info => {
            let text = info::text(&facts(), &Totals::default(), args.iter().skip(1));
            write::verbatim(out, session.mode.is_resp3(), &text);
        }
        Local::Hello => return hello(args, session, facts, out),
        Local::Reset => {
            session.mode = Mode::BASE;
            session.name = None;
            session.replies = Replies::On;
            if let Some(told) = &mut session.library {
                told.no_evict = false;
            }
            write::simple(out, "RESET");
        }
        Local::Auth => return auth(args, out),
        Local::ClientId => write::integer(out, session.id as i64),
        Local::ClientGetname => match &session.name {
            Some(name) => write::bulk(out, name),
            None if session.mode.is_resp3() => write::null(out),
            None => write::null_bulk(out),
        },
        Local::ClientSetname => return set_name(args.get(2).unwrap_or_default(), session, out),
        Local::ClientSetinfo => return set_info(args, session, out),
        Local::ClientReply => return connection::reply_mode(args, session, out),
        Local::ClientNoEvict => {
            let answer = connection::switch(args, out, None);
            if answer == Answer::Served {
                // No client is evicted here.
                let is_on = args.get(2).unwrap_or_default().eq_ignore_ascii_case(b"on");
                session.library.get_or_insert_default().no_evict = is_on;
            }
            return answer;
        }
        Local::ClientNoTouch => return connection::switch(args, out, Some(connection::NO_TOUCH)),
        Local::ClientCaching => return tracking::caching(args, session, out),
        Local::ClientGetredir => write::integer(out, tracking::redirect(session)),
        Local::ClientTrackinginfo => tracking::info(session, out),
        Local::ClientCapa | Local::Readonly => write::simple(out, "OK"),
        // There are no users towards clients: everybody is the one that has no password.
        Local::AclWhoami => write::bulk(out, "default"),
        // What a server without replicas says: those of the shards are no matter of its clients.
        Local::Role => {
            write::array_header(out, 3);
            write::bulk(out, "master");
            write::integer(out, 0);
            write::array_header(out, 0);
        }
        Local::Time => connection::time(facts().unix_time, out),
        Local::Lolwut if lolwut::is_wrong(args) => {
            return fail(out, "ERR value is not an integer or out of range");
        }
        Local::Lolwut => {
            let text = lolwut::text(&facts().server_version);
            write::verbatim(out, session.mode.is_resp3(), &text);
        }
        #[allow(unreachable_patterns)] // commands that later issues answer here
        _ => return Answer::Unknown,
    }
    Answer::Served
}

pub(super) fn fail(out: &mut Vec<u8>, text: impl AsRef<[u8]>) -> Answer {
    write::error(out, text);
    Answer::Failed
}

/// A text with a word of the client's in it, byte for byte up to its first zero byte, as C prints it.
pub(super) fn quoting(before: &str, word: &[u8], after: &str) -> Vec<u8> {
    let word = word.split(|&byte| byte == 0).next().unwrap_or_default();
    [before.as_bytes(), word, after.as_bytes()].concat()
}

/// The answer of the cluster's own servers: most know database 0 alone.
fn select(
    args: &Args<'_>,
    session: &mut Session,
    facts: impl FnOnce() -> Facts,
    out: &mut Vec<u8>,
) -> Answer {
    let Some(number) = canonical_integer(args.get(1).unwrap_or_default()) else {
        return fail(out, "ERR value is not an integer or out of range");
    };
    if i32::try_from(number).is_err() {
        let text = "ERR value is out of range, value must between -2147483648 and 2147483647";
        return fail(out, text);
    }
    let databases = if number == 0 { Some(1) } else { facts().databases };
    let database = u16::try_from(number).ok().filter(|&n| n <= Mode::DATABASE_MAX);
    match (databases, database) {
        (None, _) => fail(out, "ERR SELECT is not allowed in cluster mode"),
        (Some(databases), Some(database)) if u64::from(database) < databases => {
            session.mode = session.mode.with_database(database);
            write::simple(out, "OK");
            Answer::Served
        }
        _ => fail(out, "ERR DB index is out of range"),
    }
}

/// No users are set up at the proxy, so every password is one too many, as on a server without
/// a password (its text).
fn auth(args: &Args<'_>, out: &mut Vec<u8>) -> Answer {
    match args.len() {
        2 => fail(
            out,
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        ),
        3 => log_in(args.get(1).unwrap_or_default(), out),
        _ => fail(out, "ERR syntax error"),
    }
}

/// The default user of a server without passwords accepts any; other users do not exist.
fn log_in(user: &[u8], out: &mut Vec<u8>) -> Answer {
    if user == b"default" {
        write::simple(out, "OK");
        Answer::Served
    } else {
        fail(out, WRONG_PASSWORD)
    }
}

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn set_name(name: &[u8], session: &mut Session, out: &mut Vec<u8>) -> Answer {
    if name.len() > NAME_BYTES_MAX {
        return fail(out, "ERR Client names cannot be longer than 1024 bytes.");
    }
    if !printable(name) {
        return fail(
            out,
            "ERR Client names cannot contain spaces, newlines or special characters.",
        );
    }
    session.name = (!name.is_empty()).then(|| name.into());
    write::simple(out, "OK");
    Answer::Served
}

fn set_info(args: &Args<'_>, session: &mut Session, out: &mut Vec<u8>) -> Answer {
    let (option, value) = (args.get(2).unwrap_or_default(), args.get(3).unwrap_or_default());
    let name = match option.to_ascii_uppercase().as_slice() {
        b"LIB-NAME" => "LIB-NAME",
        b"LIB-VER" => "LIB-VER",
        _ => {
            return fail(out, quoting("ERR Unrecognized option '", option, "'"));
        }
    };
    if !printable(value) {
        return fail(
            out,
            format!("ERR {name} cannot contain spaces, newlines or special characters."),
        );
    }
    let library = session.library.get_or_insert_default();
    let field = if name == "LIB-NAME" { &mut library.name } else { &mut library.version };
    *field = (!value.is_empty()).then(|| value[..value.len().min(NAME_BYTES_MAX)].into());
    write::simple(out, "OK");
    Answer::Served
}

/// A server has no bound here; each client's name is kept as long as its connection.
const NAME_BYTES_MAX: usize = 1024;

fn printable(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

/// HELLO is checked whole before anything of it takes effect, as on a server.
fn hello(
    args: &Args<'_>,
    session: &mut Session,
    facts: impl FnOnce() -> Facts,
    out: &mut Vec<u8>,
) -> Answer {
    let mut mode = session.mode;
    if let Some(version) = args.get(1) {
        match canonical_integer(version) {
            Some(version @ (2 | 3)) => mode = mode.with_resp3(version == 3),
            Some(_) => return fail(out, "NOPROTO unsupported protocol version"),
            None => {
                return fail(out, "ERR Protocol version is not an integer or out of range");
            }
        }
    }
    let (mut user, mut name) = (None, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match option.to_ascii_uppercase().as_slice() {
            b"AUTH" if at + 2 < args.len() => {
                user = args.get(at + 1);
                at += 3;
            }
            b"SETNAME" if at + 1 < args.len() => {
                name = args.get(at + 1);
                at += 2;
            }
            _ => {
                return fail(out, quoting("ERR Syntax error in HELLO option '", option, "'"));
            }
        }
    }
    if user.is_some_and(|user| user != b"default") {
        return fail(out, WRONG_PASSWORD);
    }
    if let Some(name) = name {
        let mut reply = Vec::new();
        if set_name(name, session, &mut reply) == Answer::Failed {
            out.extend_from_slice(&reply);
            return Answer::Failed;
        }
    }
    session.mode = mode;
    let facts = facts();
    write::map_header(out, mode.is_resp3(), 7);
    for (field, value) in [
        ("server", "redis"),
        ("version", facts.server_version.as_str()),
        ("mode", "standalone"),
        ("role", "master"),
    ] {
        write::bulk(out, field.as_bytes());
        write::bulk(out, value.as_bytes());
        if field == "version" {
            write::bulk(out, b"proto");
            write::integer(out, if mode.is_resp3() { 3 } else { 2 });
            write::bulk(out, b"id");
            write::integer(out, session.id as i64);
        }
    }
    write::bulk(out, b"modules");
    write::array_header(out, 0);
    Answer::Served
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;
    use crate::session::Manners;

    fn ask(session: &mut Session, local: Local, words: &[&str]) -> (Answer, String) {
        let mut frame = Vec::new();
        let mut spans = Vec::new();
        for word in words {
            let start = frame.len() as u32;
            frame.extend_from_slice(word.as_bytes());
            spans.push(Span { start, end: frame.len() as u32 });
        }
        let facts = || Facts {
            server_version: "7.0.15".into(),
            unix_time: std::time::Duration::from_micros(12_000_345),
            ..Facts::default()
        };
        let mut out = Vec::new();
        let answer = answer(local, &Args::new(&frame, &spans), session, facts, &mut out);
        (answer, String::from_utf8(out).unwrap())
    }

    #[test]
    fn answers_are_a_servers() {
        use Answer::*;
        let mut session = Session::new(0, 42, Manners::default(), 16);
        for (local, words, answer, reply) in [
            (Local::Ping, &["PING"][..], Served, "+PONG\r\n"),
            (Local::Ping, &["PING", "hi"], Served, "$2\r\nhi\r\n"),
            (
                Local::Ping,
                &["PING", "a", "b"],
                Failed,
                "-ERR wrong number of arguments for 'ping' command\r\n",
            ),
            (Local::Echo, &["ECHO", ""], Served, "$0\r\n\r\n"),
            (Local::Quit, &["QUIT"], Close, "+OK\r\n"),
            (Local::Select, &["SELECT", "0"], Served, "+OK\r\n"),
            (
                Local::Select,
                &["SELECT", "x"],
                Failed,
                "-ERR value is not an integer or out of range\r\n",
            ),
            (
                Local::Select,
                &["SELECT", "1"],
                Failed,
                "-ERR SELECT is not allowed in cluster mode\r\n",
            ),
            (
                Local::Select,
                &["SELECT", "99999999999"],
                Failed,
                "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n",
            ),
            (Local::ClientId, &["CLIENT", "ID"], Served, ":42\r\n"),
            (Local::ClientGetname, &["CLIENT", "GETNAME"], Served, "$-1\r\n"),
            (Local::ClientSetname, &["CLIENT", "SETNAME", "me"], Served, "+OK\r\n"),
            (Local::ClientGetname, &["CLIENT", "GETNAME"], Served, "$2\r\nme\r\n"),
            (
                Local::ClientSetname,
                &["CLIENT", "SETNAME", "a b"],
                Failed,
                "-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
            ),
            (Local::ClientSetinfo, &["CLIENT", "SETINFO", "lib-name", "x"], Served, "+OK\r\n"),
            (
                Local::ClientSetinfo,
                &["CLIENT", "SETINFO", "LIB-VER", "1 2"],
                Failed,
                "-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n",
            ),
            (
                Local::ClientSetinfo,
                &["CLIENT", "SETINFO", "X", "1"],
                Failed,
                "-ERR Unrecognized option 'X'\r\n",
            ),
            (Local::Hello, &["HELLO", "4"], Failed, "-NOPROTO unsupported protocol version\r\n"),
            (Local::Reset, &["RESET"], Served, "+RESET\r\n"),
            (Local::ClientGetname, &["CLIENT", "GETNAME"], Served, "$-1\r\n"),
            (
                Local::Hello,
                &["HELLO", "03"],
                Failed,
                "-ERR Protocol version is not an integer or out of range\r\n",
            ),
            (
                Local::Hello,
                &["HELLO", "2", "AUTH", "x"],
                Failed,
                "-ERR Syntax error in HELLO option 'AUTH'\r\n",
            ),
            (
                Local::Auth,
                &["AUTH", "u", "p"],
                Failed,
                "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            ),
            (Local::Auth, &["AUTH", "default", "p"], Served, "+OK\r\n"),
        ] {
            assert_eq!(ask(&mut session, local, words), (answer, reply.to_owned()), "{words:?}");
        }
    }

    #[test]
    fn hello_tells_what_a_client_needs_and_takes_a_name() {
        let mut session = Session::new(0, 42, Manners::default(), 16);
        let (answer, reply) = ask(&mut session, Local::Hello, &["HELLO", "2", "SETNAME", "me"]);
        assert_eq!(answer, Answer::Served);
        assert_eq!(
            reply,
            "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n\
             $5\r\nproto\r\n:2\r\n$2\r\nid\r\n:42\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
             $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n"
        );
        assert_eq!(session.name.as_deref(), Some(&b"me"[..]));
    }

    #[test]
    fn answers_are_in_the_protocol_that_hello_chose() {
        let mut session = Session::new(0, 42, Manners::default(), 16);
        for (local, words, reply) in [
            (Local::Hello, &["HELLO", "3"][..], "%7\r\n"),
            (Local::Hello, &["HELLO"], "%7\r\n"),
            (Local::Info, &["INFO", "nosuch"], "=4\r\ntxt:\r\n"),
            (Local::ClientGetname, &["CLIENT", "GETNAME"], "_\r\n"),
            (Local::Reset, &["RESET"], "+RESET\r\n"),
            (Local::Hello, &["HELLO"], "*14\r\n"),
            (Local::Hello, &["HELLO", "3", "SETNAME", "me"], "%7\r\n"),
            (Local::Hello, &["HELLO", "2"], "*14\r\n"),
            (Local::Info, &["INFO", "nosuch"], "$0\r\n\r\n"),
        ] {
            let (answer, given) = ask(&mut session, local, words);
            assert_eq!(answer, Answer::Served, "{words:?}");
            assert!(given.starts_with(reply), "{words:?}: {given}");
            let proto = if reply.starts_with('%') { ":3\r\n" } else { ":2\r\n" };
            assert!(local != Local::Hello || given.contains(proto), "{words:?}: {given}");
        }
    }

    #[test]
    fn a_refused_hello_changes_nothing() {
        let mut session = Session::new(0, 42, Manners::default(), 16);
        let (answer, _) =
            ask(&mut session, Local::Hello, &["HELLO", "3", "SETNAME", "me", "NONSENSE"]);
        assert_eq!(answer, Answer::Failed);
        assert_eq!((session.name, session.mode), (None, Mode::BASE));
    }
}
