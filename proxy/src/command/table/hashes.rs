//! Hashes.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("hdel",         -3, WRITE | FAST,           KEY_1,  N, ROUTED),
    row("hexists",       3, READONLY | FAST,        KEY_1,  R, ROUTED),
    row("hexpire",      -6, WRITE | FAST,           KEY_1,  N, ROUTED).redis(7, 4).valkey(9, 0),
    row("hexpireat",    -6, WRITE | FAST,           KEY_1,  N, ROUTED).redis(7, 4).valkey(9, 0),
    row("hexpiretime",  -5, READONLY | FAST,        KEY_1,  R, ROUTED).redis(7, 4).valkey(9, 0),
    row("hget",          3, READONLY | FAST,        KEY_1,  R, ROUTED),
    row("hgetall",       2, READONLY,               KEY_1,  R, ROUTED),
    row("hgetdel",      -5, WRITE | FAST,           KEY_1,  N, ROUTED).redis(8, 0).valkey(9, 1),
    row("hgetex",       -5, WRITE | FAST,           KEY_1,  N, ROUTED).redis(8, 0).valkey(9, 0),
    row("himport",      -2, NO_FLAG,                NO_KEY, N, CONNECTION).redis_only(8, 10),
    row("hincrby",       4, WRITE | DENYOOM | FAST, KEY_1,  N, ROUTED),
    row("hincrbyfloat",  4, WRITE | DENYOOM | FAST, KEY_1,  N, ROUTED),
    row("hkeys",         2, READONLY,               KEY_1,  R, ROUTED),
    row("hlen",          2, READONLY | FAST,        KEY_1,  R, ROUTED),
    row("hmget",        -3, READONLY | FAST,        KEY_1,  R, ROUTED),
    row("hmset",        -4, WRITE | DENYOOM | FAST, KEY_1,  I, ROUTED),
    row("hpersist",     -5, WRITE | FAST,           KEY_1,  N, ROUTED).redis(7, 4).valkey(9, 0),
    row("hpexpire",     -6, WRITE | FAST,           KEY_1,  N, ROUTED).redis(7, 4).valkey(9, 0),
    row("hpexpireat",   -6, WRITE | FAST,           KEY_1,  N, ROUTED).redis(7, 4).valkey(9, 0),
    row("hpexpiretime", -5, READONLY | FAST,        KEY_1,  R, ROUTED).redis(7, 4).valkey(9, 0),
    row("hpttl",        -5, READONLY | FAST,        KEY_1,  R, ROUTED).redis(7, 4).valkey(9, 0),
    row("hrandfield",   -2, READONLY,               KEY_1,  R, ROUTED),
    row("hscan",        -3, READONLY,               KEY_1,  R, ROUTED),
    row("hset",         -4, WRITE | DENYOOM | FAST, KEY_1,  N, ROUTED),
    row("hsetex",       -6, WRITE | DENYOOM | FAST, KEY_1,  N, ROUTED).redis(8, 0).valkey(9, 0),
    row("hsetnx",        4, WRITE | DENYOOM | FAST, KEY_1,  N, ROUTED),
    row("hstrlen",       3, READONLY | FAST,        KEY_1,  R, ROUTED),
    row("httl",         -5, READONLY | FAST,        KEY_1,  R, ROUTED).redis(7, 4).valkey(9, 0),
    row("hvals",         2, READONLY,               KEY_1,  R, ROUTED),
];
