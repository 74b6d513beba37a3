//! Arrays, a type of Redis 8.8.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("arcount",     -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("ardel",       -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
    row("ardelrange",  -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
    row("arget",       -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("argetrange",  -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("argrep",      -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("arinfo",      -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("arinsert",    -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
    row("arlastitems", -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("arlen",       -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("armget",      -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("armset",      -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
    row("arnext",      -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("arop",        -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("arring",      -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
    row("arscan",      -2, READONLY, KEY_1, R, ROUTED).redis_only(8, 8),
    row("arseek",      -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
    row("arset",       -2, WRITE,    KEY_1, N, ROUTED).redis_only(8, 8),
];
