//! What a client is told when its bytes are not a request, in the words of the servers.

use std::borrow::Cow;

use thiserror::Error;

/// Why a client's bytes are not a request. Each of them ends the connection, because what follows
/// cannot be understood any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// An inline request that does not end in time, or can never end because of a NUL in it.
    #[error("too big inline request")]
    TooBigInline,
    /// A `*` line that does not end in time.
    #[error("too big mbulk count string")]
    TooBigArrayHeader,
    /// A `$` line that does not end in time.
    #[error("too big bulk count string")]
    TooBigBulkHeader,
    /// Not a canonical number, or more arguments than allowed.
    #[error("invalid multibulk length")]
    InvalidArrayLength,
    /// Not a canonical number, negative, or more bytes than allowed.
    #[error("invalid bulk length")]
    InvalidBulkLength,
    /// More than 10 arguments before the password.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedArrayLength,
    /// An argument above 16 KiB before the password.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// Something other than a bulk string inside an array; the byte is its first.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    ExpectedBulk(u8),
    /// An inline request whose quotes do not match.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Something else where a CRLF has to be.
    #[error("invalid CRLF in request")]
    InvalidCrlf,
    /// The first word is `POST` or `Host:`: a browser that somebody points at a Redis port.
    #[error("possible cross-protocol attack")]
    CrossProtocol,
}

impl ProtocolError {
    /// The error as the servers word it, without the leading `-` and the CRLF; `None` if the
    /// connection is to be closed without a word. The byte in `expected '$', got '…'` can be any,
    /// CR and LF among them: [`super::write::error`] makes them blanks, as the servers do.
    pub fn text(&self) -> Option<Cow<'static, [u8]>> {
        let text: &'static [u8] = match self {
            ProtocolError::TooBigInline => b"ERR Protocol error: too big inline request",
            ProtocolError::TooBigArrayHeader => b"ERR Protocol error: too big mbulk count string",
            ProtocolError::TooBigBulkHeader => b"ERR Protocol error: too big bulk count string",
            ProtocolError::InvalidArrayLength => b"ERR Protocol error: invalid multibulk length",
            ProtocolError::InvalidBulkLength => b"ERR Protocol error: invalid bulk length",
            ProtocolError::UnauthenticatedArrayLength => {
                b"ERR Protocol error: unauthenticated multibulk length"
            }
            ProtocolError::UnauthenticatedBulkLength => {
                b"ERR Protocol error: unauthenticated bulk length"
            }
            ProtocolError::ExpectedBulk(got) => {
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[*got, b'\'']);
                return Some(Cow::Owned(text));
            }
            ProtocolError::UnbalancedQuotes => b"ERR Protocol error: unbalanced quotes in request",
            ProtocolError::InvalidCrlf => b"ERR Protocol error: invalid CRLF in request",
            ProtocolError::CrossProtocol => return None,
        };
        Some(Cow::Borrowed(text))
    }
}
