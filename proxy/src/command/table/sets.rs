//! Sets.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("sadd",        -3, WRITE | DENYOOM | FAST, KEY_1,            N, ROUTED),
    row("scard",        2, READONLY | FAST,        KEY_1,            R, ROUTED),
    row("sdiff",       -2, READONLY,               keys(1, -1, 1),   R, ROUTED),
    row("sdiffcard",   -3, READONLY | MOVABLEKEYS, counted(1, 2, 1), R, ROUTED).redis_only(8, 10),
    row("sdiffstore",  -3, WRITE | DENYOOM,        keys(1, -1, 1),   N, ROUTED),
    row("sinter",      -2, READONLY,               keys(1, -1, 1),   R, ROUTED),
    row("sintercard",  -3, READONLY | MOVABLEKEYS, counted(1, 2, 1), R, ROUTED).redis(7, 0),
    row("sinterstore", -3, WRITE | DENYOOM,        keys(1, -1, 1),   N, ROUTED),
    row("sismember",    3, READONLY | FAST,        KEY_1,            R, ROUTED),
    row("smembers",     2, READONLY,               KEY_1,            R, ROUTED),
    row("smismember",  -3, READONLY | FAST,        KEY_1,            R, ROUTED),
    row("smove",        4, WRITE | FAST,           keys(1, 2, 1),    N, ROUTED),
    row("spop",        -2, WRITE | FAST,           KEY_1,            N, ROUTED),
    row("srandmember", -2, READONLY,               KEY_1,            R, ROUTED),
    row("srem",        -3, WRITE | FAST,           KEY_1,            N, ROUTED),
    row("sscan",       -3, READONLY,               KEY_1,            R, ROUTED),
    row("sunion",      -2, READONLY,               keys(1, -1, 1),   R, ROUTED),
    row("sunioncard",  -3, READONLY | MOVABLEKEYS, counted(1, 2, 1), R, ROUTED).redis_only(8, 10),
    row("sunionstore", -3, WRITE | DENYOOM,        keys(1, -1, 1),   N, ROUTED),
];
