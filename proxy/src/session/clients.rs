//! Which clients CLIENT LIST and CLIENT KILL mean, and the line that tells of one.

use super::Session;
use super::connection::parse_integer;
use super::local::quoting;
use super::question::Ends;
use crate::command::{self, Channels};
use crate::resp::{Args, write};
use crate::time::Moment;

/// Which clients are meant: those that pass all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these; empty: any.
    ids: Vec<u64>,
    peer: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    /// It is subscribed to something, or to nothing.
    is_subscriber: Option<bool>,
    /// None is: all are clients, and of the default user.
    nobody: bool,
    /// Not this one.
    skip: Option<u64>,
    /// Connected for so many seconds at least.
    age_seconds_min: Option<u64>,
}

const SYNTAX: &str = "ERR syntax error";

impl Filter {
    /// The filter of CLIENT LIST. `asker` is the id of the client that asks.
    ///
    /// # Errors
    /// A server's text. Beside TYPE and ID alone, which every server takes, the filters of
    /// CLIENT KILL are understood in any number, as by Valkey from 8.1 on.
    pub(super) fn of_list(args: &Args<'_>, asker: u64) -> Result<Filter, Vec<u8>> {
        let mut filter = Filter::default();
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let Some(value) = args.get(at + 1) else { return Err(SYNTAX.into()) };
            if option.eq_ignore_ascii_case(b"ID") {
                at += 1;
                while let Some(id) = args.get(at) {
                    match parse_integer(id) {
                        Some(id) => filter.ids.push(u64::try_from(id).unwrap_or(0)),
                        None if filter.ids.is_empty() || at + 1 == args.len() => {
                            return Err("ERR Invalid client ID".into());
                        }
                        None => break,
                    }
                    at += 1;
                }
                continue;
            }
            filter.put(option, value, asker)?;
            at += 2;
        }
        Ok(filter)
    }

    fn put(&mut self, option: &[u8], value: &[u8], asker: u64) -> Result<(), Vec<u8>> {
        let is = |word: &str| option.eq_ignore_ascii_case(word.as_bytes());
        if is("TYPE") {
            match value.to_ascii_lowercase().as_slice() {
                b"normal" => self.is_subscriber = Some(false),
                b"pubsub" => self.is_subscriber = Some(true),
                b"master" | b"replica" | b"slave" => self.nobody = true,
                _ => return Err(quoting("ERR Unknown client type '", value, "'")),
            }
        } else if is("ADDR") {
            self.peer = Some(value.to_vec());
        } else if is("LADDR") {
            self.local = Some(value.to_vec());
        } else if is("USER") {
            if value != b"default" {
                return Err(quoting("ERR No such user '", value, "'"));
            }
        } else if is("SKIPME") {
            self.skip = match value.to_ascii_lowercase().as_slice() {
                b"yes" => Some(asker),
                b"no" => None,
                _ => return Err(SYNTAX.into()),
            };
        } else if is("MAXAGE") {
            let age = parse_integer(value).ok_or("ERR value is not an integer or out of range")?;
            let age = u64::try_from(age).ok().filter(|age| *age > 0);
            self.age_seconds_min = Some(age.ok_or("ERR maxage should be greater than 0")?);
        } else {
            return Err(SYNTAX.into());
        }
        Ok(())
    }

    /// Whether a client is meant. `ends` is called only if the filter asks for an address.
    pub fn takes(&self, session: &Session, now: Moment, ends: impl FnOnce() -> Ends) -> bool {
        if self.nobody
            || self.is_subscriber.is_some_and(|wanted| wanted != (subscribed(session) != [0; 3]))
            || self.skip == Some(session.id)
            || !(self.ids.is_empty() || self.ids.contains(&session.id))
            || self.age_seconds_min.is_some_and(|min| now.since(session.connected).as_secs() < min)
        {
            return false;
        }
        if self.peer.is_none() && self.local.is_none() {
            return true;
        }
        let Ends { peer, local } = ends();
        let is = |wanted: &Option<Vec<u8>>, end: String| {
            wanted.as_ref().is_none_or(|wanted| wanted == end.as_bytes())
        };
        is(&self.peer, peer.to_string()) && is(&self.local, local.to_string())
    }
}

/// CLIENT KILL: whom, and how it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Whom.
    pub filter: Filter,
    /// `CLIENT KILL address`, which is answered by OK.
    old_form: bool,
}

impl Kill {
    /// `asker` is the id of the client that asks.
    ///
    /// # Errors
    /// A server's text.
    pub(super) fn of(args: &Args<'_>, asker: u64) -> Result<Kill, Vec<u8>> {
        if args.len() == 3 {
            let peer = args.get(2).map(<[u8]>::to_vec);
            return Ok(Kill { filter: Filter { peer, ..Filter::default() }, old_form: true });
        }
        let mut filter = Filter { skip: Some(asker), ..Filter::default() };
        for at in (2..args.len()).step_by(2) {
            let option = args.get(at).unwrap_or_default();
            let Some(value) = args.get(at + 1) else { return Err(SYNTAX.into()) };
            if option.eq_ignore_ascii_case(b"ID") {
                let id = parse_integer(value).and_then(|id| u64::try_from(id).ok());
                let id = id.filter(|id| *id > 0);
                filter.ids = vec![id.ok_or("ERR client-id should be greater than 0")?];
            } else {
                filter.put(option, value, asker)?;
            }
        }
        Ok(Kill { filter, old_form: false })
    }

    /// Appends the answer when so many were killed.
    pub(super) fn reply(&self, count: usize, out: &mut Vec<u8>) {
        match (self.old_form, count) {
            (false, _) => write::integer(out, i64::try_from(count).unwrap_or(i64::MAX)),
            (true, 0) => write::error(out, "ERR No such client"),
            (true, _) => write::simple(out, "OK"),
        }
    }
}

/// The line of CLIENT INFO and CLIENT LIST, its end included: the fields of a server, 0 where
/// slotway does not count. `fd` is the client's place in its worker.
pub fn line(session: &Session, place: u32, ends: &Ends, now: Moment) -> String {
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (mut waiting, mut replies) = (0, 0);
    if let Some(flow) = &session.flow {
        waiting = flow.input.len();
        replies = flow.reply_bytes();
    }
    let library = session.library.as_deref();
    let stateful = session.stateful.as_ref();
    let watched = stateful.and_then(|stateful| stateful.watch.as_ref()).map_or(0, |w| w.keys);
    let transaction = stateful.and_then(|stateful| stateful.transaction.as_ref());
    let commands = transaction.map_or(-1, |transaction| transaction.commands() as i64);
    let queued = transaction.map_or(0, |transaction| transaction.queued_bytes());
    let [sub, psub, ssub] = subscribed(session);
    format!(
        "id={} addr={} laddr={} fd={place} name={} age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} \
         multi={commands} watch={watched} qbuf={waiting} qbuf-free=0 argv-mem={} multi-mem={queued} rbs=0 rbp=0 obl={replies} \
         oll=0 omem={replies} tot-mem={} events=r cmd={} user=default redir={} resp={} \
         lib-name={} lib-ver={}\n",
        session.id,
        ends.peer,
        ends.local,
        text(session.name.as_deref()),
        now.since(session.connected).as_secs(),
        now.since(session.active).as_secs(),
        flags(session),
        session.mode.database(),
        session.in_flight_bytes,
        waiting + replies + queued + session.in_flight_bytes,
        session.last_command.map_or("NULL", |id| command::row(id).name),
        super::tracking::redirect(session),
        if session.mode.is_resp3() { 3 } else { 2 },
        text(library.and_then(|library| library.name.as_deref())),
        text(library.and_then(|library| library.version.as_deref())),
    )
}

/// To how many channels, patterns and shard channels a client is subscribed.
fn subscribed(session: &Session) -> [usize; 3] {
    let own = session.stateful.as_ref().map(|stateful| &stateful.subscriptions);
    Channels::ALL.map(|channels| own.map_or(0, |own| own.of(channels).len()))
}

/// What a server shows of what its client does: it is subscribed, or it waits.
fn flags(session: &Session) -> String {
    let mut flags = String::new();
    let in_transaction =
        session.stateful.as_ref().is_some_and(|stateful| stateful.transaction.is_some());
    for (flag, is_so) in
        [('P', subscribed(session) != [0; 3]), ('x', in_transaction), ('b', session.is_blocking())]
    {
        if is_so {
            flags.push(flag);
        }
    }
    flags.extend(session.tracking().map(|tracking| tracking.flags()));
    flags.extend(session.no_evict.then_some('e'));
    if flags.is_empty() { "N".into() } else { flags }
}
