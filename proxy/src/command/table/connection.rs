//! One client and its connection.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("auth",                 -2, FAST | NOSCRIPT | LOADING | STALE | NO_AUTH | ALLOW_BUSY, NO_KEY, N, local(Local::Auth)),
    row("client",               -2, NO_FLAG,                                                  NO_KEY, N, FAMILY),
    row("client|caching",        3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, N, local(Local::ClientCaching)),
    row("client|capa",          -3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, N, local(Local::ClientCapa)).valkey_only(8, 0),
    row("client|getname",        2, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, R, local(Local::ClientGetname)),
    row("client|getredir",       2, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, R, local(Local::ClientGetredir)),
    row("client|help",           2, LOADING | STALE,                                          NO_KEY, R, ANY_NODE),
    row("client|id",             2, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, R, local(Local::ClientId)),
    row("client|import-source",  3, NOSCRIPT | LOADING | STALE,                               NO_KEY, N, CONNECTION).valkey_only(8, 1),
    row("client|info",           2, NOSCRIPT | LOADING | STALE,                               NO_KEY, R, local(Local::ClientInfo)),
    row("client|kill",          -3, ADMIN | NOSCRIPT | LOADING | STALE,                       NO_KEY, N, local(Local::ClientKill)),
    row("client|list",          -2, ADMIN | NOSCRIPT | LOADING | STALE,                       NO_KEY, R, local(Local::ClientList)),
    row("client|no-evict",       3, ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY,          NO_KEY, N, local(Local::ClientNoEvict)).redis(7, 0),
    row("client|no-touch",       3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, N, local(Local::ClientNoTouch)).redis(7, 2),
    row("client|pause",         -3, ADMIN | NOSCRIPT | LOADING | STALE,                       NO_KEY, N, local(Local::ClientPause)),
    row("client|reply",          3, NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,       NO_KEY, N, local(Local::ClientReply)),
    row("client|setinfo",        4, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, N, local(Local::ClientSetinfo)).redis(7, 2),
    row("client|setname",        3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY,                  NO_KEY, N, local(Local::ClientSetname)),
    row("client|tracking",      -3, NOSCRIPT | LOADING | STALE,                               NO_KEY, N, local(Local::ClientTracking)),
    row("client|trackinginfo",   2, NOSCRIPT | LOADING | STALE,                               NO_KEY, R, local(Local::ClientTrackinginfo)),
    row("client|unblock",       -3, ADMIN | NOSCRIPT | LOADING | STALE,                       NO_KEY, N, local(Local::ClientUnblock)),
    row("client|unpause",        2, ADMIN | NOSCRIPT | LOADING | STALE,                       NO_KEY, N, local(Local::ClientUnpause)),
    row("echo",                  2, FAST | LOADING | STALE,                                   NO_KEY, R, local(Local::Echo)),
    row("hello",                -1, FAST | NOSCRIPT | LOADING | STALE | NO_AUTH | ALLOW_BUSY, NO_KEY, N, local(Local::Hello)),
    row("ping",                 -1, FAST,                                                     NO_KEY, R, local(Local::Ping)),
    row("quit",                 -1, FAST | NOSCRIPT | LOADING | STALE | NO_AUTH | ALLOW_BUSY, NO_KEY, N, local(Local::Quit)),
    row("reset",                 1, FAST | NOSCRIPT | LOADING | STALE | NO_AUTH | ALLOW_BUSY, NO_KEY, N, local(Local::Reset)),
    row("select",                2, FAST | LOADING | STALE | ALLOW_BUSY,                      NO_KEY, N, local(Local::Select)),
];
