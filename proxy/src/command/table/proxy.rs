//! What no server knows: the operator's command of the proxy itself.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("proxy",          -2, LOADING | STALE, NO_KEY, N, FAMILY).ours(),
    row("proxy|events",   -2, LOADING | STALE, NO_KEY, R, local(Local::Proxy)).ours(),
    row("proxy|explain",  -3, LOADING | STALE, NO_KEY, R, local(Local::Proxy)).ours(),
    row("proxy|help",      2, LOADING | STALE, NO_KEY, R, local(Local::Proxy)).ours(),
    row("proxy|info",     -2, LOADING | STALE, NO_KEY, R, local(Local::Proxy)).ours(),
    row("proxy|topology", -2, LOADING | STALE, NO_KEY, R, local(Local::Proxy)).ours(),
];
