//! Places on the earth, kept in sorted sets.

use super::words::*;

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("geoadd",               -5, WRITE | DENYOOM,               KEY_1,          N, ROUTED),
    row("geodist",              -4, READONLY,                      KEY_1,          R, ROUTED),
    row("geohash",              -2, READONLY,                      KEY_1,          R, ROUTED),
    row("geopos",               -2, READONLY,                      KEY_1,          R, ROUTED),
    row("georadius",            -6, WRITE | DENYOOM | MOVABLEKEYS, Keys::GeoStore, N, ROUTED),
    row("georadius_ro",         -6, READONLY,                      KEY_1,          R, ROUTED),
    row("georadiusbymember",    -5, WRITE | DENYOOM | MOVABLEKEYS, Keys::GeoStore, N, ROUTED),
    row("georadiusbymember_ro", -5, READONLY,                      KEY_1,          R, ROUTED),
    row("geosearch",            -7, READONLY,                      KEY_1,          R, ROUTED),
    row("geosearchstore",       -8, WRITE | DENYOOM,               keys(1, 2, 1),  N, ROUTED),
];
