//! Lua scripts and functions.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("eval",             -3, NOSCRIPT | STALE | MOVABLEKEYS | NO_MANDATORY_KEYS | SKIP_MONITOR | RUNS_CODE,            counted(2, 3, 1), N, ROUTED),
    row("eval_ro",          -3, READONLY | NOSCRIPT | STALE | MOVABLEKEYS | NO_MANDATORY_KEYS | SKIP_MONITOR | RUNS_CODE, counted(2, 3, 1), R, ROUTED).redis(7, 0),
    row("evalsha",          -3, NOSCRIPT | STALE | MOVABLEKEYS | NO_MANDATORY_KEYS | SKIP_MONITOR | RUNS_CODE,            counted(2, 3, 1), N, ROUTED),
    row("evalsha_ro",       -3, READONLY | NOSCRIPT | STALE | MOVABLEKEYS | NO_MANDATORY_KEYS | SKIP_MONITOR | RUNS_CODE, counted(2, 3, 1), R, ROUTED).redis(7, 0),
    row("fcall",            -3, NOSCRIPT | STALE | MOVABLEKEYS | NO_MANDATORY_KEYS | SKIP_MONITOR | RUNS_CODE,            counted(2, 3, 1), N, ROUTED).redis(7, 0),
    row("fcall_ro",         -3, READONLY | NOSCRIPT | STALE | MOVABLEKEYS | NO_MANDATORY_KEYS | SKIP_MONITOR | RUNS_CODE, counted(2, 3, 1), R, ROUTED).redis(7, 0),
    row("function",         -2, NO_FLAG,                                                                                  NO_KEY,           N, FAMILY).redis(7, 0),
    row("function|delete",   3, WRITE | NOSCRIPT,                                                                         NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::AllSucceeded).redis(7, 0),
    row("function|dump",     2, NOSCRIPT,                                                                                 NO_KEY,           R, ANY_NODE).redis(7, 0),
    row("function|flush",   -2, WRITE | NOSCRIPT,                                                                         NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::AllSucceeded).redis(7, 0),
    row("function|help",     2, LOADING | STALE,                                                                          NO_KEY,           R, ANY_NODE).redis(7, 0),
    row("function|kill",     2, NOSCRIPT | ALLOW_BUSY,                                                                    NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::OneSucceeded).redis(7, 0),
    row("function|list",    -2, NOSCRIPT,                                                                                 NO_KEY,           R, ANY_NODE).redis(7, 0),
    row("function|load",    -3, WRITE | DENYOOM | NOSCRIPT,                                                               NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::AllSucceeded).redis(7, 0),
    row("function|restore", -3, WRITE | DENYOOM | NOSCRIPT,                                                               NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::AllSucceeded).redis(7, 0),
    row("function|stats",    2, NOSCRIPT | ALLOW_BUSY,                                                                    NO_KEY,           R, SHARDS).policy(Request::AllShards, Response::Running).redis(7, 0),
    row("script",           -2, NO_FLAG,                                                                                  NO_KEY,           N, FAMILY),
    row("script|debug",     -3, NOSCRIPT,                                                                                 NO_KEY,           N, TAKES_OVER),
    row("script|exists",    -3, NOSCRIPT | STALE,                                                                         NO_KEY,           R, SHARDS).policy(Request::AllShards, Response::AggLogicalAnd),
    row("script|flush",     -2, NOSCRIPT | STALE,                                                                         NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::AllSucceeded),
    row("script|help",       2, LOADING | STALE,                                                                          NO_KEY,           R, ANY_NODE),
    row("script|kill",       2, NOSCRIPT | ALLOW_BUSY,                                                                    NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::OneSucceeded),
    row("script|load",       3, NOSCRIPT | STALE,                                                                         NO_KEY,           N, SHARDS).policy(Request::AllShards, Response::AllSucceeded),
    row("script|show",       3, NOSCRIPT | STALE,                                                                         NO_KEY,           R, ANY_NODE).valkey_only(8, 0),
];
