//! Bitmaps, which are strings seen as bits.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("bitcount",    -2, READONLY,        KEY_1,          R, ROUTED),
    row("bitfield",    -2, WRITE | DENYOOM, KEY_1,          N, ROUTED),
    row("bitfield_ro", -2, READONLY | FAST, KEY_1,          R, ROUTED),
    row("bitop",       -4, WRITE | DENYOOM, keys(2, -1, 1), N, ROUTED),
    row("bitpos",      -3, READONLY,        KEY_1,          R, ROUTED),
    row("getbit",       3, READONLY | FAST, KEY_1,          R, ROUTED),
    row("setbit",       4, WRITE | DENYOOM, KEY_1,          N, ROUTED),
];
