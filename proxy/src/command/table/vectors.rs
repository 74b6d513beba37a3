//! Vector sets, a module that comes with Redis 8.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("vadd",        -1, WRITE | DENYOOM | MODULE, KEY_1, N, ROUTED).redis_only(8, 0),
    row("vcard",       -1, READONLY | FAST | MODULE, KEY_1, R, ROUTED).redis_only(8, 0),
    row("vdim",        -1, READONLY | FAST | MODULE, KEY_1, R, ROUTED).redis_only(8, 0),
    row("vemb",        -1, READONLY | FAST | MODULE, KEY_1, R, ROUTED).redis_only(8, 0),
    row("vgetattr",    -1, READONLY | FAST | MODULE, KEY_1, R, ROUTED).redis_only(8, 0),
    row("vinfo",       -1, READONLY | FAST | MODULE, KEY_1, R, ROUTED).redis_only(8, 0),
    row("vismember",   -1, READONLY | MODULE,        KEY_1, R, ROUTED).redis_only(8, 0),
    row("vlinks",      -1, READONLY | FAST | MODULE, KEY_1, R, ROUTED).redis_only(8, 0),
    row("vrandmember", -1, READONLY | MODULE,        KEY_1, R, ROUTED).redis_only(8, 0),
    row("vrange",      -1, READONLY | MODULE,        KEY_1, R, ROUTED).redis_only(8, 4),
    row("vrem",        -1, WRITE | MODULE,           KEY_1, N, ROUTED).redis_only(8, 0),
    row("vsetattr",    -1, WRITE | FAST | MODULE,    KEY_1, N, ROUTED).redis_only(8, 0),
    row("vsim",        -1, READONLY | MODULE,        KEY_1, R, ROUTED).redis_only(8, 0),
];
