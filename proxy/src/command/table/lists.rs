//! Lists.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("blmove",      6, WRITE | DENYOOM | BLOCKING,     keys(1, 2, 1),    B, ROUTED).timeout_last(),
    row("blmovem",    -5, WRITE | DENYOOM | BLOCKING,     keys(1, 2, 1),    B, ROUTED).redis_only(8, 10),
    row("blmpop",     -5, WRITE | BLOCKING | MOVABLEKEYS, counted(2, 3, 1), B, ROUTED).timeout_first().redis(7, 0),
    row("blpop",      -3, WRITE | BLOCKING,               keys(1, -2, 1),   B, ROUTED).timeout_last(),
    row("brpop",      -3, WRITE | BLOCKING,               keys(1, -2, 1),   B, ROUTED).timeout_last(),
    row("brpoplpush",  4, WRITE | DENYOOM | BLOCKING,     keys(1, 2, 1),    B, ROUTED).timeout_last(),
    row("lindex",      3, READONLY,                       KEY_1,            R, ROUTED),
    row("linsert",     5, WRITE | DENYOOM,                KEY_1,            N, ROUTED),
    row("llen",        2, READONLY | FAST,                KEY_1,            R, ROUTED),
    row("lmove",       5, WRITE | DENYOOM,                keys(1, 2, 1),    N, ROUTED),
    row("lmovem",     -5, WRITE | DENYOOM,                keys(1, 2, 1),    N, ROUTED).redis_only(8, 10),
    row("lmpop",      -4, WRITE | MOVABLEKEYS,            counted(1, 2, 1), N, ROUTED).redis(7, 0),
    row("lpop",       -2, WRITE | FAST,                   KEY_1,            N, ROUTED),
    row("lpos",       -3, READONLY,                       KEY_1,            R, ROUTED),
    row("lpush",      -3, WRITE | DENYOOM | FAST,         KEY_1,            N, ROUTED),
    row("lpushx",     -3, WRITE | DENYOOM | FAST,         KEY_1,            N, ROUTED),
    row("lrange",      4, READONLY,                       KEY_1,            R, ROUTED),
    row("lrem",        4, WRITE,                          KEY_1,            N, ROUTED),
    row("lset",        4, WRITE | DENYOOM,                KEY_1,            I, ROUTED),
    row("ltrim",       4, WRITE,                          KEY_1,            N, ROUTED),
    row("rpop",       -2, WRITE | FAST,                   KEY_1,            N, ROUTED),
    row("rpoplpush",   3, WRITE | DENYOOM,                keys(1, 2, 1),    N, ROUTED),
    row("rpush",      -3, WRITE | DENYOOM | FAST,         KEY_1,            N, ROUTED),
    row("rpushx",     -3, WRITE | DENYOOM | FAST,         KEY_1,            N, ROUTED),
];
