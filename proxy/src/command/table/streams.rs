//! Streams.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("xack",                  -4, WRITE | FAST,                      KEY_1,      N, ROUTED),
    row("xackdel",               -6, WRITE | FAST,                      KEY_1,      N, ROUTED).redis_only(8, 2),
    row("xadd",                  -5, WRITE | DENYOOM | FAST,            KEY_1,      N, ROUTED),
    row("xautoclaim",            -6, WRITE | FAST,                      KEY_1,      N, ROUTED),
    row("xcfgset",               -2, WRITE | FAST,                      KEY_1,      N, ROUTED).redis_only(8, 6),
    row("xclaim",                -6, WRITE | FAST,                      KEY_1,      N, ROUTED),
    row("xdel",                  -3, WRITE | FAST,                      KEY_1,      N, ROUTED),
    row("xdelex",                -5, WRITE | FAST,                      KEY_1,      N, ROUTED).redis_only(8, 2),
    row("xgroup",                -2, NO_FLAG,                           NO_KEY,     N, FAMILY),
    row("xgroup|create",         -5, WRITE | DENYOOM,                   KEY_2,      N, ROUTED),
    row("xgroup|createconsumer",  5, WRITE | DENYOOM,                   KEY_2,      N, ROUTED),
    row("xgroup|delconsumer",     5, WRITE,                             KEY_2,      N, ROUTED),
    row("xgroup|destroy",         4, WRITE,                             KEY_2,      N, ROUTED),
    row("xgroup|help",            2, LOADING | STALE,                   NO_KEY,     R, ANY_NODE),
    row("xgroup|setid",          -5, WRITE,                             KEY_2,      N, ROUTED),
    row("xinfo",                 -2, NO_FLAG,                           NO_KEY,     N, FAMILY),
    row("xinfo|consumers",        4, READONLY,                          KEY_2,      R, ROUTED),
    row("xinfo|groups",           3, READONLY,                          KEY_2,      R, ROUTED),
    row("xinfo|help",             2, LOADING | STALE,                   NO_KEY,     R, ANY_NODE),
    row("xinfo|stream",          -3, READONLY,                          KEY_2,      R, ROUTED),
    row("xlen",                   2, READONLY | FAST,                   KEY_1,      R, ROUTED),
    row("xnack",                 -3, WRITE | FAST,                      KEY_1,      N, ROUTED).redis_only(8, 8),
    row("xpending",              -3, READONLY,                          KEY_1,      R, ROUTED),
    row("xrange",                -4, READONLY,                          KEY_1,      R, ROUTED),
    row("xread",                 -4, READONLY | BLOCKING | MOVABLEKEYS, streams(1), R, ROUTED).with_block(R),
    row("xreadgroup",            -7, WRITE | BLOCKING | MOVABLEKEYS,    streams(4), N, ROUTED).with_block(B),
    row("xrevrange",             -4, READONLY,                          KEY_1,      R, ROUTED),
    row("xsetid",                -3, WRITE | DENYOOM | FAST,            KEY_1,      N, ROUTED),
    row("xtrim",                 -4, WRITE,                             KEY_1,      N, ROUTED),
];
