//! HyperLogLogs, which are strings that estimate how many.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("pfadd",      -2, WRITE | DENYOOM | FAST,  KEY_1,          N, ROUTED),
    row("pfcount",    -2, READONLY,                keys(1, -1, 1), R, ROUTED),
    row("pfdebug",     3, WRITE | DENYOOM | ADMIN, KEY_2,          N, DEBUGGING),
    row("pfmerge",    -2, WRITE | DENYOOM,         keys(1, -1, 1), N, ROUTED),
    row("pfselftest",  1, ADMIN,                   NO_KEY,         N, OF_NODES),
];
