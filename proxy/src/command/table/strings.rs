//! Strings.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("append",       3, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("decr",         2, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("decrby",       3, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("delex",       -2, WRITE | FAST,                  KEY_1,            N, ROUTED).redis_only(8, 4),
    row("delifeq",      3, WRITE | FAST,                  KEY_1,            N, ROUTED).valkey_only(9, 0),
    row("digest",       2, READONLY | FAST,               KEY_1,            R, ROUTED).redis_only(8, 4),
    row("get",          2, READONLY | FAST,               KEY_1,            R, ROUTED),
    row("getdel",       2, WRITE | FAST,                  KEY_1,            N, ROUTED),
    row("getex",       -2, WRITE | FAST,                  KEY_1,            N, ROUTED),
    row("getrange",     4, READONLY,                      KEY_1,            R, ROUTED),
    row("getset",       3, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("incr",         2, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("incrby",       3, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("incrbyfloat",  3, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("increx",      -2, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED).redis_only(8, 8),
    row("lcs",         -3, READONLY,                      keys(1, 2, 1),    R, ROUTED).redis(7, 0),
    row("mget",        -2, READONLY | FAST,               keys(1, -1, 1),   R, ROUTED).policy(Request::MultiShard, Response::Default),
    row("mset",        -3, WRITE | DENYOOM,               keys(1, -1, 2),   I, ROUTED).policy(Request::MultiShard, Response::AllSucceeded),
    row("msetex",      -4, WRITE | DENYOOM | MOVABLEKEYS, counted(1, 2, 2), N, ROUTED).policy(Request::MultiShard, Response::AggMin).redis(8, 4).valkey(9, 1),
    row("msetnx",      -3, WRITE | DENYOOM,               keys(1, -1, 2),   N, ROUTED),
    row("psetex",       4, WRITE | DENYOOM,               KEY_1,            N, ROUTED),
    row("set",         -3, WRITE | DENYOOM,               KEY_1,            I, ROUTED).longer_than(3, N),
    row("setex",        4, WRITE | DENYOOM,               KEY_1,            N, ROUTED),
    row("setnx",        3, WRITE | DENYOOM | FAST,        KEY_1,            N, ROUTED),
    row("setrange",     4, WRITE | DENYOOM,               KEY_1,            N, ROUTED),
    row("stralgo",     -2, READONLY | MOVABLEKEYS,        Keys::Stralgo,    R, ROUTED).redis_only_before(7, 0),
    row("strlen",       2, READONLY | FAST,               KEY_1,            R, ROUTED),
    row("substr",       4, READONLY,                      KEY_1,            R, ROUTED),
];
