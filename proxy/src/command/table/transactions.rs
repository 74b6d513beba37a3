//! MULTI to EXEC, and WATCH.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("discard",  1, FAST | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,            NO_KEY,         T, TRANSACTION),
    row("exec",     1, NOSCRIPT | LOADING | STALE | SKIP_COMMANDLOG,              NO_KEY,         T, TRANSACTION),
    row("multi",    1, FAST | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY, NO_KEY,         T, TRANSACTION),
    row("unwatch",  1, FAST | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,            NO_KEY,         T, TRANSACTION),
    row("watch",   -2, FAST | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY, keys(1, -1, 1), T, TRANSACTION),
];
