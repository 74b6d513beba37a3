//! Channels and shard channels.

use super::words::*;
use crate::command::Channels::{Matching, Named, Shard};

#[rustfmt::skip] // one line is one command
pub(super) const ROWS: &[Row] = &[
    row("psubscribe",           -2, PUBSUB | NOSCRIPT | LOADING | STALE,           NO_KEY,         N, subscribe(Matching)),
    row("publish",               3, FAST | PUBSUB | LOADING | STALE,               NO_KEY,         N, publish(Named)),
    row("pubsub",               -2, NO_FLAG,                                       NO_KEY,         N, FAMILY),
    row("pubsub|channels",      -2, PUBSUB | LOADING | STALE,                      NO_KEY,         R, SUBSCRIBERS),
    row("pubsub|help",           2, LOADING | STALE,                               NO_KEY,         R, ANY_NODE),
    row("pubsub|numpat",         2, PUBSUB | LOADING | STALE,                      NO_KEY,         R, SUBSCRIBERS),
    row("pubsub|numsub",        -2, PUBSUB | LOADING | STALE,                      NO_KEY,         R, SUBSCRIBERS),
    row("pubsub|shardchannels", -2, PUBSUB | LOADING | STALE,                      NO_KEY,         R, SUBSCRIBERS).redis(7, 0),
    row("pubsub|shardnumsub",   -2, PUBSUB | LOADING | STALE,                      NO_KEY,         R, SUBSCRIBERS).redis(7, 0),
    row("punsubscribe",         -1, PUBSUB | NOSCRIPT | LOADING | STALE,           NO_KEY,         N, unsubscribe(Matching)),
    row("spublish",              3, FAST | PUBSUB | LOADING | STALE | NOT_KEY,     KEY_1,          N, publish(Shard)).redis(7, 0),
    row("ssubscribe",           -2, PUBSUB | NOSCRIPT | LOADING | STALE | NOT_KEY, keys(1, -1, 1), N, subscribe(Shard)).redis(7, 0),
    row("subscribe",            -2, PUBSUB | NOSCRIPT | LOADING | STALE,           NO_KEY,         N, subscribe(Named)),
    row("sunsubscribe",         -1, PUBSUB | NOSCRIPT | LOADING | STALE | NOT_KEY, keys(1, -1, 1), N, unsubscribe(Shard)).redis(7, 0),
    row("unsubscribe",          -1, PUBSUB | NOSCRIPT | LOADING | STALE,           NO_KEY,         N, unsubscribe(Named)),
];
