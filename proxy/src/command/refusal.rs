//! What a server says of a request that it cannot even begin with.

use super::handling::Reason;
use super::row::Row;
use super::table;
use crate::resp::Args;

/// Why a request is no command.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// No such command, or one that is not offered.
    Unknown,
    /// Too few or too many arguments for this one.
    WrongArity(&'static Row),
    /// The family is known, its second word is not.
    UnknownSubcommand(&'static Row),
    /// slotway does not pass it on, by policy.
    NotPassedOn(&'static Row, Reason),
}

impl Refusal {
    /// What a server says that does not have this command or subcommand.
    #[cold]
    pub fn unknown(row: &'static Row) -> Refusal {
        let is_its_family = |family: &&Row| family.subcommands().iter().any(|m| m.id == row.id);
        table::rows().find(is_its_family).map_or(Refusal::Unknown, Refusal::UnknownSubcommand)
    }

    /// Appends the server's text, to the byte (ours where policy refuses): without the leading `-` and the CRLF. At most some
    /// 400 bytes, however long the arguments are. `args` must be what was refused.
    pub fn write(&self, args: &Args<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Refusal::Unknown => write_unknown(args, out),
            Refusal::WrongArity(row) => {
                // EXEC's own refusals say what they mean for the transaction.
                out.extend_from_slice(match row.name {
                    "exec" => b"EXECABORT Transaction discarded because of: ".as_slice(),
                    _ => b"ERR ".as_slice(),
                });
                out.extend_from_slice(b"wrong number of arguments for '");
                out.extend_from_slice(row.name.as_bytes());
                out.extend_from_slice(b"' command");
            }
            Refusal::UnknownSubcommand(family) => {
                out.extend_from_slice(b"ERR unknown subcommand '");
                out.extend_from_slice(printed(args.get(1).unwrap_or_default(), LIMIT));
                out.extend_from_slice(b"'. Try ");
                out.extend(family.name.bytes().map(|b| b.to_ascii_uppercase()));
                out.extend_from_slice(b" HELP.");
            }
            Refusal::NotPassedOn(row, reason) => {
                out.extend_from_slice(b"ERR slotway does not pass on '");
                out.extend_from_slice(row.name.as_bytes());
                out.extend_from_slice(b"': ");
                out.extend_from_slice(reason.policy().unwrap_or_default().as_bytes());
                if reason.can_be_allowed() {
                    out.extend_from_slice(b", see allow-commands");
                }
            }
        }
        // The reply is one line. Other bytes stay as they are, whatever they mean.
        for byte in &mut out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
}

fn write_unknown(args: &Args<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ERR unknown command '");
    out.extend_from_slice(printed(args.name(), LIMIT));
    out.extend_from_slice(b"', with args beginning with: ");
    let start = out.len();
    for arg in args.iter().skip(1) {
        let written = out.len() - start;
        if written >= LIMIT {
            break;
        }
        out.push(b'\'');
        out.extend_from_slice(printed(arg, LIMIT - written));
        out.extend_from_slice(b"' ");
    }
}

/// A server quotes no more of a word than this, and begins no other argument beyond it.
const LIMIT: usize = 128;

/// What C's `%.*s` prints of an argument: up to the first zero byte, and no more than `limit`.
fn printed(arg: &[u8], limit: usize) -> &[u8] {
    let arg = &arg[..arg.len().min(limit)];
    &arg[..memchr::memchr(0, arg).unwrap_or(arg.len())]
}
