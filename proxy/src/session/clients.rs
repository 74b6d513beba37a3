//! Which clients CLIENT LIST and CLIENT KILL mean, and the line that tells of one.

use std::cell::LazyCell;

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
    /// Each option's word in upper case, and what a client is by it: has to be, or must not be if
    /// the word begins with NOT.
    traits: Vec<(Vec<u8>, Trait)>,
    /// Not this one.
    skip: Option<u64>,
    /// Connected for so many seconds at least.
    age_seconds_min: Option<u64>,
    /// Without a request for so many seconds at least.
    idle_seconds_min: Option<u64>,
}

/// What a client is or is not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trait {
    /// It has one of these ids.
    Ids(Vec<u64>),
    Peer(Vec<u8>),
    Local(Vec<u8>),
    Ip(Vec<u8>),
    Name(Vec<u8>),
    LibraryName(Vec<u8>),
    LibraryVersion(Vec<u8>),
    /// It has all of these flags.
    Flags(Vec<u8>),
    Database(u16),
    /// It is subscribed to something, or to nothing.
    Subscriber(bool),
    /// Everybody is a client and of the default user; nobody follows redirects.
    Anyone(bool),
}

/// Of the asking request: what its filter may mean.
pub(super) struct Asker<F> {
    /// Its client's id.
    pub(super) id: u64,
    /// How many databases there are.
    pub(super) databases: F,
}

const SYNTAX: &str = "ERR syntax error";

/// The flags that some server shows.
const FLAGS: &[u8] = b"ABEIMNOPRSTUbcdeirtux";

impl Filter {
    /// The filter of CLIENT LIST.
    ///
    /// # Errors
    /// A server's text. All filters are understood, in any number, as by Valkey from 9.0 on;
    /// Redis has TYPE and ID alone.
    pub(super) fn of_list(
        args: &Args<'_>,
        asker: &Asker<impl Fn() -> u64>,
    ) -> Result<Filter, Vec<u8>> {
        let mut filter = Filter::default();
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let Some(value) = args.get(at + 1) else { return Err(SYNTAX.into()) };
            if option.eq_ignore_ascii_case(b"ID") {
                let mut ids = Vec::new();
                at += 1;
                while let Some(id) = args.get(at) {
                    match parse_integer(id) {
                        Some(id) => ids.push(u64::try_from(id).unwrap_or(0)),
                        None if ids.is_empty() || at + 1 == args.len() => {
                            return Err("ERR Invalid client ID".into());
                        }
                        None => break,
                    }
                    at += 1;
                }
                filter.add_ids(b"ID", ids);
            } else {
                at = filter.take(args, at, option, value, asker)?;
            }
        }
        Ok(filter)
    }

    /// Takes the option that stands here. Returns where the next one stands.
    fn take(
        &mut self,
        args: &Args<'_>,
        at: usize,
        option: &[u8],
        value: &[u8],
        asker: &Asker<impl Fn() -> u64>,
    ) -> Result<usize, Vec<u8>> {
        if option.eq_ignore_ascii_case(b"NOT-ID") {
            let (ids, next) = ids(args, at + 1, SYNTAX)?;
            self.add_ids(b"NOT-ID", ids);
            return Ok(next);
        }
        self.put(option, value, asker)?;
        Ok(at + 2)
    }

    fn add_ids(&mut self, option: &[u8], more: Vec<u64>) {
        let known = self.traits.iter_mut().find(|(known, _)| known == option);
        match known {
            Some((_, Trait::Ids(ids))) => ids.extend(more),
            _ => self.traits.push((option.to_vec(), Trait::Ids(more))),
        }
    }

    fn put(
        &mut self,
        option: &[u8],
        value: &[u8],
        asker: &Asker<impl Fn() -> u64>,
    ) -> Result<(), Vec<u8>> {
        let option = option.to_ascii_uppercase();
        let (wanted, word) = match option.strip_prefix(b"NOT-") {
            Some(word) => (false, word),
            None => (true, &option[..]),
        };
        let text = || value.to_vec();
        let known = match word {
            b"TYPE" => match value.to_ascii_lowercase().as_slice() {
                b"normal" => Trait::Subscriber(false),
                b"pubsub" => Trait::Subscriber(true),
                b"master" | b"primary" | b"replica" | b"slave" => Trait::Anyone(false),
                _ => return Err(quoting("ERR Unknown client type '", value, "'")),
            },
            b"ADDR" => Trait::Peer(text()),
            b"LADDR" => Trait::Local(text()),
            b"IP" => Trait::Ip(text()),
            b"NAME" => Trait::Name(text()),
            b"LIB-NAME" => Trait::LibraryName(text()),
            b"LIB-VER" => Trait::LibraryVersion(text()),
            b"USER" if value == b"default" => Trait::Anyone(true),
            b"USER" => return Err(quoting("ERR No such user '", value, "'")),
            b"FLAGS" if value.iter().all(|flag| FLAGS.contains(flag)) => Trait::Flags(text()),
            b"CAPA" if value.iter().all(|&capa| capa == b'r') => Trait::Anyone(value.is_empty()),
            b"FLAGS" | b"CAPA" => {
                let what = if word == b"FLAGS" { "flags" } else { "capa" };
                let of = if wanted { "provided".into() } else { String::from_utf8_lossy(&option) };
                let before = format!("ERR Unknown {what} found in the {of} filter: ");
                return Err(quoting(&before, value, ""));
            }
            b"DB" => {
                let of = String::from_utf8_lossy(&option);
                let number = parse_integer(value).and_then(|number| i32::try_from(number).ok());
                let number = number.ok_or(format!("ERR {of} is not an integer or out of range"))?;
                let databases = (asker.databases)();
                let within = |number: &u16| u64::from(*number) < databases;
                let number = u16::try_from(number).ok().filter(within).ok_or_else(|| {
                    format!("ERR {of} number should be between 0 and {}", databases - 1)
                })?;
                Trait::Database(number)
            }
            b"SKIPME" if wanted => {
                self.skip = match value.to_ascii_lowercase().as_slice() {
                    b"yes" => Some(asker.id),
                    b"no" => None,
                    _ => return Err(SYNTAX.into()),
                };
                return Ok(());
            }
            b"MAXAGE" if wanted => {
                self.age_seconds_min = Some(seconds("maxage", value)?);
                return Ok(());
            }
            b"IDLE" if wanted => {
                self.idle_seconds_min = Some(seconds("idle", value)?);
                return Ok(());
            }
            _ => return Err(SYNTAX.into()),
        };
        // The last one counts.
        self.traits.retain(|(known, _)| *known != option);
        self.traits.push((option, known));
        Ok(())
    }

    /// Whether a client is meant. `ends` is called only if the filter asks for an address.
    pub fn takes(&self, session: &Session, now: Moment, ends: impl FnOnce() -> Ends) -> bool {
        let ends = LazyCell::new(ends);
        let at_least = |min: Option<u64>, since: Moment| {
            min.is_none_or(|min| now.since(since).as_secs() >= min)
        };
        self.skip != Some(session.id)
            && at_least(self.age_seconds_min, session.connected)
            && at_least(self.idle_seconds_min, session.active)
            && self
                .traits
                .iter()
                .all(|(option, of)| of.is_of(session, &ends) != option.starts_with(b"NOT-"))
    }
}

impl Trait {
    fn is_of<F: FnOnce() -> Ends>(&self, session: &Session, ends: &LazyCell<Ends, F>) -> bool {
        let library = session.library.as_deref();
        let is = |wanted: &[u8], own: Option<&[u8]>| own == Some(wanted);
        match self {
            Trait::Ids(ids) => ids.contains(&session.id),
            Trait::Peer(wanted) => ends.peer.to_string().as_bytes() == wanted,
            Trait::Local(wanted) => ends.local.to_string().as_bytes() == wanted,
            Trait::Ip(wanted) => ends.peer.host.as_bytes() == wanted,
            Trait::Name(wanted) => is(wanted, session.name.as_deref()),
            Trait::LibraryName(wanted) => is(wanted, library.and_then(|own| own.name.as_deref())),
            Trait::LibraryVersion(wanted) => {
                is(wanted, library.and_then(|own| own.version.as_deref()))
            }
            Trait::Flags(wanted) => {
                let own = flags(session);
                wanted.iter().all(|flag| own.as_bytes().contains(flag))
            }
            Trait::Database(wanted) => session.mode.database() == *wanted,
            Trait::Subscriber(wanted) => (subscribed(session) != [0; 3]) == *wanted,
            Trait::Anyone(is_so) => *is_so,
        }
    }
}

/// The ids that stand from here on, and where the next option stands. `no_number` is the error if
/// there is none.
fn ids(args: &Args<'_>, start: usize, no_number: &str) -> Result<(Vec<u64>, usize), Vec<u8>> {
    let mut ids = Vec::new();
    while let Some(id) = args.get(start + ids.len()).and_then(parse_integer) {
        let id = u64::try_from(id).ok().filter(|id| *id > 0);
        ids.push(id.ok_or("ERR client-id should be greater than 0")?);
    }
    let next = start + ids.len();
    if ids.is_empty() { Err(no_number.into()) } else { Ok((ids, next)) }
}

/// At least one second.
fn seconds(name: &str, value: &[u8]) -> Result<u64, Vec<u8>> {
    let number = parse_integer(value);
    let number = number.ok_or_else(|| format!("ERR {name} is not an integer or out of range"))?;
    let number = u64::try_from(number).ok().filter(|number| *number > 0);
    Ok(number.ok_or_else(|| format!("ERR {name} should be greater than 0"))?)
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
    /// # Errors
    /// A server's text.
    pub(super) fn of(args: &Args<'_>, asker: &Asker<impl Fn() -> u64>) -> Result<Kill, Vec<u8>> {
        if args.len() == 3 {
            let peer = Trait::Peer(args.get(2).unwrap_or_default().to_vec());
            let filter = Filter { traits: vec![(b"ADDR".to_vec(), peer)], ..Filter::default() };
            return Ok(Kill { filter, old_form: true });
        }
        let mut filter = Filter { skip: Some(asker.id), ..Filter::default() };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let Some(value) = args.get(at + 1) else { return Err(SYNTAX.into()) };
            if option.eq_ignore_ascii_case(b"ID") {
                let (ids, next) = ids(args, at + 1, "ERR client-id should be greater than 0")?;
                filter.add_ids(b"ID", ids);
                at = next;
            } else {
                at = filter.take(args, at, option, value, asker)?;
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
    flags.extend(session.library.as_ref().is_some_and(|told| told.no_evict).then_some('e'));
    if flags.is_empty() { "N".into() } else { flags }
}
