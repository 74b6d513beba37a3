//! Commands of keys of any type, and all that are about no value.

use super::Line;
use slotway::command::Class::{B, I, N, R, T};

#[rustfmt::skip] // one line is one form of a command
pub(super) const LINES: &[Line] = &[
    // Keys of any type.
    (N, "copy a b"), // a second one answers 0
    (N, "copy a b replace"), // copies anew what was written to the source between
    (N, "del k"), // a second one answers 0: a lock would be told that somebody else has it
    (R, "dump k"),
    (R, "exists k"),
    (N, "expire k x"), // relative to now
    (N, "expire k 1 nx"), // a second one answers 0
    (N, "expire k 1 xx"),
    (N, "expire k 1 gt"), // a second one answers 0
    (N, "expire k 1 lt"),
    (N, "expireat k x"), // not one of the contract's: with a time gone by it deletes, and a second one answers 0
    (R, "expiretime k"),
    (R, "keys x"), // flagged readonly
    (N, "migrate k x x x x"), // moves keys to another server
    (N, "move k x"), // a second one answers 0
    (R, "object encoding k"),
    (R, "object freq k"), // looks without touching
    (R, "object help"),
    (R, "object idletime k"), // looks without touching
    (R, "object refcount k"),
    (N, "persist k"), // a second one answers 0
    (N, "pexpire k x"),
    (N, "pexpire k 1 nx"),
    (N, "pexpireat k x"),
    (R, "pexpiretime k"),
    (R, "pttl k"),
    (R, "randomkey"), // by chance
    (N, "rename k x"), // a second one finds no source
    (N, "renamenx k x"),
    (N, "restore k x x"), // a second one is refused with BUSYKEY
    (N, "restore k 0 v replace"), // an expiry that is relative would move
    (R, "scan x"), // its cursor is in the request
    (R, "scan 0 match a* count 9 type string"),
    (N, "sort k"), // flagged write
    (N, "sort k by nosort get #"), // reads only, but no replica takes it
    (N, "sort k store d"),
    (R, "sort_ro k"),
    (I, "touch a b"), // flagged readonly, but renews what the eviction goes by
    (I, "touch a"),
    (R, "ttl k"),
    (R, "type k"),
    (N, "unlink k"), // as DEL
    (B, "wait x x"), // about the writes of its own connection
    (B, "waitaof x x x"), // as WAIT
    // Scripts and functions.
    (N, "eval k 1 k"), // whatever the script says of itself (`#!lua flags=no-writes`)
    (N, "eval s 0"),
    (R, "eval_ro k 1 k"), // the server lets it write nothing
    (R, "eval_ro s 0"),
    (N, "evalsha k 1 k"), // as EVAL
    (R, "evalsha_ro k 1 k"), // as EVAL_RO
    (N, "fcall k 1 k"), // whatever the function says of itself
    (R, "fcall_ro k 1 k"), // as EVAL_RO
    (N, "function delete x"),
    (R, "function dump"),
    (N, "function flush"),
    (R, "function help"),
    (N, "function kill"),
    (R, "function list"),
    (N, "function load x"), // a second one is refused: the library is there
    (N, "function restore x"),
    (R, "function stats"), // a report
    (N, "script debug x"), // state of the connection
    (R, "script exists x"),
    (N, "script flush"),
    (N, "script flush async"),
    (R, "script help"),
    (N, "script kill"),
    (N, "script load x"), // a second one would do no harm, but fills the cache; not one of the contract's
    (R, "script show x"),
    // Channels.
    (N, "psubscribe x"),
    (N, "publish x x"), // a second one is a second message
    (R, "pubsub channels"),
    (R, "pubsub help"),
    (R, "pubsub numpat"),
    (R, "pubsub numsub"),
    (R, "pubsub shardchannels"),
    (R, "pubsub shardnumsub"),
    (N, "punsubscribe"),
    (N, "spublish k x"), // a second one is a second message
    (N, "ssubscribe k"),
    (N, "subscribe x"),
    (N, "sunsubscribe k"),
    (N, "unsubscribe"),
    // Transactions.
    (T, "discard"),
    (T, "exec"),
    (T, "multi"),
    (T, "unwatch"),
    (T, "watch k"), // its EXEC decides
    // The connection.
    (N, "auth x"), // state of the connection
    (N, "client caching x"),
    (N, "client capa x"),
    (R, "client getname"),
    (R, "client getredir"),
    (R, "client help"),
    (R, "client id"),
    (N, "client import-source x"),
    (R, "client info"),
    (N, "client kill x"), // a second one may find another client there
    (N, "client kill id 7"),
    (R, "client list"),
    (N, "client no-evict x"),
    (N, "client no-touch x"),
    (N, "client pause x"),
    (N, "client reply x"),
    (N, "client setinfo x x"),
    (N, "client setname x"),
    (N, "client tracking x"),
    (R, "client trackinginfo"),
    (N, "client unblock x"),
    (N, "client unpause"),
    (R, "echo x"),
    (N, "hello"), // state of the connection
    (R, "ping"),
    (R, "ping x"),
    (N, "quit"), // ends the connection
    (N, "reset"), // state of the connection
    (N, "select x"), // state of the connection
    // The server.
    (R, "acl cat"),
    (N, "acl deluser x"),
    (R, "acl dryrun x x"),
    (R, "acl genpass"), // by chance
    (R, "acl getuser x"),
    (R, "acl help"),
    (R, "acl list"),
    (N, "acl load"),
    (R, "acl log"), // ACL LOG RESET is the same row
    (N, "acl log 5"),
    (N, "acl log reset"),
    (N, "acl save"),
    (N, "acl setuser x"),
    (R, "acl users"),
    (R, "acl whoami"),
    (N, "backup x"),
    (N, "bgrewriteaof"),
    (N, "bgsave"),
    (R, "command"),
    (R, "command count"),
    (R, "command docs"),
    (R, "command getkeys get k"),
    (R, "command getkeysandflags get k"),
    (R, "command help"),
    (R, "command info"),
    (R, "command list"),
    (R, "commandlog get x x"),
    (R, "commandlog help"),
    (R, "commandlog len x"),
    (N, "commandlog reset x"),
    (R, "config get x"),
    (R, "config help"),
    (N, "config resetstat"),
    (N, "config rewrite"),
    (N, "config set x x"),
    (R, "dbsize"),
    (N, "debug x"), // many things, some of which crash a server
    (N, "failover"),
    (N, "flushall"), // a second one takes what was written between; so would every late one
    (N, "flushall async"),
    (N, "flushdb"), // as FLUSHALL
    (N, "hotkeys x"), // starts and stops a collection
    (R, "info"), // a report
    (R, "info all"),
    (R, "lastsave"),
    (R, "latency doctor"),
    (R, "latency graph x"),
    (R, "latency help"),
    (R, "latency histogram"),
    (R, "latency history x"),
    (R, "latency latest"),
    (N, "latency reset"), // tells how many there were
    (R, "lolwut"), // by chance
    (R, "memory doctor"),
    (R, "memory help"),
    (R, "memory malloc-stats"),
    (N, "memory purge"),
    (R, "memory stats"),
    (R, "memory usage k"), // looks without touching
    (R, "memory usage k samples 5"),
    (R, "module help"),
    (R, "module list"),
    (N, "module load x"),
    (N, "module loadex x"),
    (N, "module unload x"),
    (N, "monitor"), // state of the connection
    (N, "psync x x"),
    (N, "replconf"),
    (N, "replicaof x x"),
    (N, "restore-asking k x x"),
    (R, "role"),
    (N, "save"),
    (N, "shutdown"),
    (N, "slaveof x x"),
    (R, "slowlog get"),
    (R, "slowlog help"),
    (R, "slowlog len"),
    (N, "slowlog reset"),
    (N, "swapdb x x"), // a second one swaps back
    (N, "sync"),
    (R, "time"), // the time of its answer
    // The cluster.
    (N, "asking"), // state of the connection
    (N, "cluster addslots x"),
    (N, "cluster addslotsrange x x"),
    (N, "cluster bumpepoch"),
    (N, "cluster cancelslotmigrations"),
    (R, "cluster count-failure-reports x"),
    (R, "cluster countkeysinslot x"),
    (N, "cluster delslots x"),
    (N, "cluster delslotsrange x x"),
    (N, "cluster failover"), // a second one fails over again
    (N, "cluster flushslot x"),
    (N, "cluster flushslots"),
    (N, "cluster forget x"),
    (R, "cluster getkeysinslot x x"),
    (R, "cluster getslotmigrations"),
    (R, "cluster help"),
    (R, "cluster info"),
    (R, "cluster keyslot x"),
    (R, "cluster links"),
    (N, "cluster meet x x"),
    (N, "cluster migrateslots x x"),
    (N, "cluster migration x x"),
    (R, "cluster myid"),
    (R, "cluster myshardid"),
    (R, "cluster nodes"),
    (R, "cluster replicas x"),
    (N, "cluster replicate x"),
    (N, "cluster reset"),
    (N, "cluster saveconfig"),
    (N, "cluster set-config-epoch x"),
    (N, "cluster setslot x x"),
    (R, "cluster shards"),
    (R, "cluster slaves x"),
    (R, "cluster slot-stats x x"),
    (R, "cluster slots"),
    (N, "cluster syncslots x"),
    (R, "clusterscan k"), // its cursor is in the request
    (N, "readonly"), // state of the connection
    (N, "readwrite"), // state of the connection
    // The proxy.
    (R, "proxy events"),
    (R, "proxy explain x"),
    (R, "proxy help"),
    (R, "proxy info"),
    (R, "proxy topology"),
];
