//! CLIENT TRACKING: what a client that caches wants to be told, in a server's own words.

use std::collections::BTreeSet;

use super::local::{fail, quoting};
use super::{Answer, Session};
use crate::node::ClientKey;
use crate::resp::{Args, write};

/// What a client has chosen, while it tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Of which keys it is told.
    pub scope: Scope,
    /// It does not want to be told of what it does itself.
    pub noloop: bool,
    /// Who is told in its place.
    pub redirect: Option<Target>,
    /// The one who was to be told has gone.
    pub broken: bool,
    /// CLIENT CACHING was said: the next request is tracked (OPTIN), or is not (OPTOUT).
    pub caching: bool,
}

/// Of which keys a client is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that it has read.
    #[default]
    Read,
    /// Those that it has read right behind CLIENT CACHING YES.
    OptIn,
    /// Those that it has read, but for what it read right behind CLIENT CACHING NO.
    OptOut,
    /// All that begin with one of these.
    Broadcast(BTreeSet<Box<[u8]>>),
}

/// Another client of this process, perhaps of another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its `CLIENT ID`.
    pub id: u64,
    /// Its place in the table of its worker, whichever that is.
    pub client: ClientKey,
}

impl Tracking {
    /// Whether what is read now is tracked.
    pub fn takes_reads(&self) -> bool {
        match self.scope {
            Scope::Read => true,
            Scope::OptIn => self.caching,
            Scope::OptOut => !self.caching,
            Scope::Broadcast(_) => false,
        }
    }

    /// The prefixes of which everything is told; empty if it is not told by prefix.
    pub fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        let prefixes = match &self.scope {
            Scope::Broadcast(prefixes) => Some(prefixes),
            _ => None,
        };
        prefixes.into_iter().flatten().map(|prefix| &**prefix)
    }

    /// Whether everything that happens to this key is told.
    pub fn covers(&self, key: &[u8]) -> bool {
        self.prefixes().any(|prefix| key.starts_with(prefix))
    }

    /// What CLIENT LIST says of it, each a letter.
    pub fn flags(&self) -> String {
        let bcast = matches!(self.scope, Scope::Broadcast(_));
        let flags = [(true, 't'), (self.broken, 'R'), (bcast, 'B')];
        flags.into_iter().filter_map(|(is_so, letter)| is_so.then_some(letter)).collect()
    }
}

/// What CLIENT TRACKING asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Not whether: only with whom.
    on: Option<bool>,
    bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    prefixes: Vec<Box<[u8]>>,
    /// The client that is to be told, which has to be there before anything else is looked at.
    pub redirect: Option<i64>,
    /// What is wrong behind that.
    wrong: Option<String>,
}

pub(super) const NO_TARGET: &str = "ERR The client ID you want redirect to does not exist";
const SYNTAX: &str = "ERR syntax error";

/// Prefixes of one client: each is compared with the others when it comes, and with every key that
/// is written.
const PREFIXES_MAX: usize = 1000;

impl Wanted {
    /// Reads CLIENT TRACKING as a server does, from left to right: who is to be told is looked up
    /// where it stands, so a mistake behind it is found after that.
    pub fn of(args: &Args<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        let mut at = 3;
        while let Some(option) = args.get(at) {
            let value = args.get(at + 1);
            at += 1;
            match (option.to_ascii_lowercase().as_slice(), value) {
                (b"redirect", Some(_)) if wanted.redirect.is_some() => {
                    let text = "ERR A client can only redirect to a single other client";
                    wanted.wrong = Some(text.into());
                }
                (b"redirect", Some(id)) => {
                    at += 1;
                    match crate::resp::canonical_integer(id) {
                        Some(id) => wanted.redirect = Some(id),
                        None => {
                            let text = "ERR value is not an integer or out of range";
                            wanted.wrong = Some(text.into());
                        }
                    }
                }
                (b"bcast", _) => wanted.bcast = true,
                (b"optin", _) => wanted.optin = true,
                (b"optout", _) => wanted.optout = true,
                (b"noloop", _) => wanted.noloop = true,
                (b"prefix", Some(prefix)) => {
                    at += 1;
                    wanted.prefixes.push(prefix.into());
                }
                _ => wanted.wrong = Some(SYNTAX.into()),
            }
            if wanted.wrong.is_some() {
                break;
            }
        }
        wanted.on = match args.get(2).unwrap_or_default().to_ascii_lowercase().as_slice() {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => None,
        };
        wanted
    }

    /// Does what is asked for, or says what is wrong with it. `target` is who is to be told: there
    /// if [`Wanted::redirect`] names one and it was found.
    ///
    /// # Errors
    /// A server's text; nothing has changed then.
    pub fn apply(self, now: &mut Option<Tracking>, target: Option<Target>) -> Result<(), Vec<u8>> {
        if self.redirect.is_some() && target.is_none() {
            return Err(NO_TARGET.into());
        }
        if let Some(wrong) = self.wrong {
            return Err(wrong.into());
        }
        match self.on {
            None => return Err(SYNTAX.into()),
            Some(false) => *now = None,
            Some(true) => {
                let scope = self.scope(now.as_ref())?;
                let caching = now.as_ref().is_some_and(|now| now.caching);
                let noloop = self.noloop;
                let on = Tracking { scope, noloop, redirect: target, broken: false, caching };
                *now = Some(on);
            }
        }
        Ok(())
    }

    fn scope(&self, now: Option<&Tracking>) -> Result<Scope, Vec<u8>> {
        if !self.bcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        let now = now.map(|now| &now.scope);
        if now.is_some_and(|now| matches!(now, Scope::Broadcast(_)) != self.bcast) {
            return Err(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this \
                        client, and then re-enabling it with a different mode."
                    .into(),
            );
        }
        if self.bcast && (self.optin || self.optout) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.optin && self.optout {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        if (self.optin && now == Some(&Scope::OptOut))
            || (self.optout && now == Some(&Scope::OptIn))
        {
            return Err("ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for \
                        this client, and then re-enabling it with a different mode."
                .into());
        }
        Ok(match (self.bcast, self.optin, self.optout) {
            (true, ..) => Scope::Broadcast(self.prefixes(now)?),
            (_, true, _) => Scope::OptIn,
            (_, _, true) => Scope::OptOut,
            _ => Scope::Read,
        })
    }

    /// The prefixes there are and the new ones; none overlaps with another.
    fn prefixes(&self, now: Option<&Scope>) -> Result<BTreeSet<Box<[u8]>>, Vec<u8>> {
        let mut all = match now {
            Some(Scope::Broadcast(prefixes)) => prefixes.clone(),
            _ => BTreeSet::new(),
        };
        if all.len() + self.prefixes.len() > PREFIXES_MAX {
            let text = "OVERLOADED not executed: a client tracks at most";
            return Err(format!("{text} {PREFIXES_MAX} prefixes").into());
        }
        let overlaps = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
        for (at, prefix) in self.prefixes.iter().enumerate() {
            let there = all.iter().find(|other| overlaps(prefix, other));
            let new = || self.prefixes[at + 1..].iter().find(|other| overlaps(prefix, other));
            let (which, other) = match (there, new()) {
                (Some(other), _) => ("an existing prefix", other),
                (None, Some(other)) => ("another provided prefix", other),
                (None, None) => continue,
            };
            let before = quoting("ERR Prefix '", prefix, &format!("' overlaps with {which} '"));
            let end = "'. Prefixes for a single client must not overlap.";
            return Err([before, quoting("", other, end)].concat());
        }
        all.extend(self.prefixes.iter().cloned());
        if self.prefixes.is_empty() {
            all.insert(Box::default());
        }
        Ok(all)
    }
}

impl Session {
    /// What this client tracks, if it does.
    pub fn tracking(&self) -> Option<&Tracking> {
        self.stateful.as_ref()?.tracking.as_ref()
    }

    /// Whether it takes messages of channels in RESP2.
    pub fn is_subscribed(&self) -> bool {
        self.stateful.as_ref().is_some_and(|stateful| stateful.subscriptions.total() > 0)
    }
}

/// CLIENT CACHING
pub(super) fn caching(args: &Args<'_>, session: &mut Session, out: &mut Vec<u8>) -> Answer {
    let Some(tracking) = session.stateful.as_mut().and_then(|all| all.tracking.as_mut()) else {
        return fail(
            out,
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with \
             OPTIN or OPTOUT mode enabled",
        );
    };
    let (scope, only) = match args.get(2).unwrap_or_default().to_ascii_lowercase().as_slice() {
        b"yes" => (Scope::OptIn, "YES is only valid when tracking is enabled in OPTIN mode."),
        b"no" => (Scope::OptOut, "NO is only valid when tracking is enabled in OPTOUT mode."),
        _ => return fail(out, SYNTAX),
    };
    if tracking.scope != scope {
        return fail(out, format!("ERR CLIENT CACHING {only}"));
    }
    tracking.caching = true;
    write::simple(out, "OK");
    Answer::Served
}

/// CLIENT GETREDIR
pub(super) fn redirect(session: &Session) -> i64 {
    match session.tracking() {
        None => -1,
        Some(tracking) => tracking.redirect.map_or(0, |target| target.id as i64),
    }
}

/// CLIENT TRACKINGINFO
pub(super) fn info(session: &Session, out: &mut Vec<u8>) {
    let resp3 = session.mode.is_resp3();
    let tracking = session.tracking();
    let mut flags = vec![if tracking.is_some() { "on" } else { "off" }];
    if let Some(tracking) = tracking {
        flags.extend(match tracking.scope {
            Scope::Read => None,
            Scope::OptIn => Some("optin"),
            Scope::OptOut => Some("optout"),
            Scope::Broadcast(_) => Some("bcast"),
        });
        flags.extend(match (tracking.caching, &tracking.scope) {
            (true, Scope::OptIn) => Some("caching-yes"),
            (true, Scope::OptOut) => Some("caching-no"),
            _ => None,
        });
        flags.extend(tracking.noloop.then_some("noloop"));
        flags.extend(tracking.broken.then_some("broken_redirect"));
    }
    write::map_header(out, resp3, 3);
    write::bulk(out, "flags");
    write::set_header(out, resp3, flags.len());
    for flag in flags {
        write::bulk(out, flag);
    }
    write::bulk(out, "redirect");
    write::integer(out, redirect(session));
    write::bulk(out, "prefixes");
    let prefixes: Vec<&[u8]> = tracking.iter().flat_map(|tracking| tracking.prefixes()).collect();
    write::array_header(out, prefixes.len());
    for prefix in prefixes {
        write::bulk(out, prefix);
    }
}

/// What a client is told: that its copies of these keys, or of all, are no longer good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// These, as an array.
    Keys(Vec<u8>),
    /// All that it has.
    All,
}

impl Invalid {
    /// One key.
    pub fn key(key: &[u8]) -> Invalid {
        Invalid::keys(1, |out| write::bulk(out, key))
    }

    /// So many keys, which `each` appends as bulk strings.
    pub fn keys(count: usize, each: impl FnOnce(&mut Vec<u8>)) -> Invalid {
        let mut keys = Vec::new();
        write::array_header(&mut keys, count);
        each(&mut keys);
        Invalid::Keys(keys)
    }

    /// Appends it as it is told to a client: a push in RESP3; in RESP2 a message of a channel,
    /// which only a subscriber understands.
    pub fn write(&self, resp3: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(if resp3 {
            b">2\r\n$10\r\ninvalidate\r\n"
        } else {
            b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
        });
        match self {
            Invalid::Keys(keys) => out.extend_from_slice(keys),
            Invalid::All if resp3 => write::null(out),
            Invalid::All => write::null_bulk(out),
        }
    }
}
