//! Commands of one type of value.

use super::Line;
use slotway::command::Class::{B, I, N, R};

#[rustfmt::skip] // one line is one form of a command
pub(super) const LINES: &[Line] = &[
    // Strings.
    (N, "append k x"), // twice appends twice
    (N, "decr k"),
    (N, "decrby k x"),
    (N, "delex k"), // deletes under a condition; a second one finds nothing
    (N, "delex k ifeq v"),
    (N, "delifeq k x"), // deletes under a condition; a second one finds nothing
    (R, "digest k"),
    (R, "get k"),
    (N, "getdel k"), // takes
    (N, "getex k"), // flagged write, and its options move the expiry
    (N, "getex k persist"),
    (N, "getex k ex 10"),
    (R, "getrange k x x"),
    (N, "getset k x"), // a second one would answer its own value
    (N, "incr k"),
    (N, "incrby k x"),
    (N, "incrbyfloat k x"),
    (N, "increx k"), // counts
    (R, "lcs a b"),
    (R, "mget k"),
    (I, "mset a 1 b 2"), // as SET
    (N, "msetex 1 k v"), // answers by what was there, and its options move the expiry
    (N, "msetex 1 k v nx"),
    (N, "msetex 1 k v keepttl"),
    (N, "msetnx k x"), // a second one answers 0
    (N, "psetex k x x"), // a second one moves the expiry
    (I, "set k v"), // the same state, the same OK
    (N, "set k v nx"), // a second one answers nil: a lock would be told that somebody else has it
    (N, "set k v xx"),
    (N, "set k v get"), // a second one would answer its own value
    (N, "set k v nx get"),
    (N, "set k v ex 10"), // a second one moves the expiry, as with PX
    (N, "set k v px 10"),
    (N, "set k v exat 9"), // to the same moment, but not plain: the contract's set is as small as can be
    (N, "set k v keepttl"), // keeps what somebody else may have set between
    (N, "set k v ifeq w"), // of Valkey 8.1; a second one compares with its own value
    (N, "setex k x x"), // a second one moves the expiry
    (N, "setnx k x"), // a second one answers 0: a lock would be told that somebody else has it
    (N, "setrange k x x"), // not one of the contract's, though a second one would do no harm
    (R, "stralgo lcs keys a b"),
    (R, "strlen k"),
    (R, "substr k x x"),
    // Hashes.
    (N, "hdel k x"),
    (R, "hexists k x"),
    (N, "hexpire k x x x x"), // relative to now, and tells what it changed
    (N, "hexpire k 1 nx fields 1 f"),
    (N, "hexpireat k x x x x"),
    (R, "hexpiretime k x x x"),
    (R, "hget k x"),
    (R, "hgetall k"),
    (N, "hgetdel k x x x"), // takes
    (N, "hgetex k x x x"), // flagged write, and its options move the expiry
    (N, "hgetex k persist fields 1 f"),
    (N, "himport x"), // state of the connection
    (N, "hincrby k x x"),
    (N, "hincrbyfloat k x x"),
    (R, "hkeys k"),
    (R, "hlen k"),
    (R, "hmget k x"),
    (I, "hmset k f v"), // answers OK, where HSET tells how many were new
    (N, "hpersist k x x x"), // tells what it changed
    (N, "hpexpire k x x x x"),
    (N, "hpexpireat k x x x x"),
    (R, "hpexpiretime k x x x"),
    (R, "hpttl k x x x"),
    (R, "hrandfield k"), // by chance: a second answer is as good
    (R, "hrandfield k -5 withvalues"),
    (R, "hscan k x"), // its cursor is in the request
    (N, "hset k x x"), // tells how many were new
    (N, "hsetex k x x x x"), // moves the expiry
    (N, "hsetex k fnx fields 1 f v"),
    (N, "hsetex k keepttl fields 1 f v"),
    (N, "hsetnx k x x"),
    (R, "hstrlen k x"),
    (R, "httl k x x x"),
    (R, "hvals k"),
    // Lists.
    (B, "blmove k x x x x"), // takes and puts: a second one moves another element
    (B, "blmovem k x x x"), // as BLMOVE
    (B, "blmpop k 1 k x"), // as BLPOP
    (B, "blpop k x"), // `retry-unknown = "blocking"` repeats it: an element in flight is lost either way
    (B, "brpop k x"), // as BLPOP
    (B, "brpoplpush k x x"), // as BLMOVE
    (R, "lindex k x"),
    (N, "linsert k x x x"),
    (R, "llen k"),
    (N, "lmove k x x x"),
    (N, "lmovem k x x x"),
    (N, "lmpop 1 k x"), // takes
    (N, "lpop k"),
    (N, "lpop k 2"),
    (R, "lpos k x"),
    (R, "lpos l v rank -1 count 0"),
    (N, "lpush k x"),
    (N, "lpushx k x"),
    (R, "lrange k x x"),
    (N, "lrem k x x"), // a second one removes more
    (I, "lset l 0 v"), // the same place, the same OK
    (N, "ltrim k x x"), // a second one trims what is left
    (N, "rpop k"),
    (N, "rpoplpush k x"),
    (N, "rpush k x"),
    (N, "rpushx k x"),
    // Sets.
    (N, "sadd k x"), // a second one answers 0
    (R, "scard k"),
    (R, "sdiff k"),
    (R, "sdiffcard 1 k"),
    (N, "sdiffstore k x"),
    (R, "sinter k"),
    (R, "sintercard 1 k"),
    (N, "sinterstore k x"),
    (R, "sismember k x"),
    (R, "smembers k"),
    (R, "smismember k x"),
    (N, "smove k x x"),
    (N, "spop k"),
    (N, "spop k 2"),
    (R, "srandmember k"), // by chance
    (R, "srandmember k -5"),
    (N, "srem k x"),
    (R, "sscan k x"), // its cursor is in the request
    (R, "sunion k"),
    (R, "sunioncard 1 k"),
    (N, "sunionstore k x"),
    // Sorted sets.
    (B, "bzmpop k 1 k x"), // as BLPOP
    (B, "bzpopmax k x"), // as BLPOP
    (B, "bzpopmin k x"), // as BLPOP
    (N, "zadd k x x"), // tells how many were new
    (N, "zadd k nx 1 m"),
    (N, "zadd k xx gt ch 1 m"),
    (N, "zadd k incr 1 m"), // counts
    (R, "zcard k"),
    (R, "zcount k x x"),
    (R, "zdiff 1 k"),
    (N, "zdiffstore k 1 k"),
    (N, "zincrby k x x"),
    (R, "zinter 1 k"),
    (R, "zintercard 1 k"),
    (N, "zinterstore k 1 k"),
    (R, "zlexcount k x x"),
    (N, "zmpop 1 k x"),
    (R, "zmscore k x"),
    (N, "zpopmax k"),
    (N, "zpopmin k"),
    (R, "zrandmember k"), // by chance
    (R, "zrange k x x"),
    (R, "zrange k 0 9 byscore rev limit 0 1"),
    (R, "zrangebylex k x x"),
    (R, "zrangebyscore k x x"),
    (N, "zrangestore k x x x"),
    (R, "zrank k x"),
    (N, "zrem k x"),
    (N, "zremrangebylex k x x"),
    (N, "zremrangebyrank k x x"),
    (N, "zremrangebyscore k x x"),
    (R, "zrevrange k x x"),
    (R, "zrevrangebylex k x x"),
    (R, "zrevrangebyscore k x x"),
    (R, "zrevrank k x"),
    (R, "zscan k x"), // its cursor is in the request
    (R, "zscore k x"),
    (R, "zunion 1 k"),
    (N, "zunionstore k 1 k"),
    // Streams.
    (N, "xack k x x"), // a second one answers 0
    (N, "xackdel k x x x x"),
    (N, "xadd k x x x"), // a second one adds a second entry
    (N, "xadd s 1-1 f v"), // a second one is refused: the ID is not above the last
    (N, "xadd s nomkstream maxlen ~ 9 * f v"),
    (N, "xautoclaim k x x x x"), // as XCLAIM
    (N, "xautoclaim s g c 0 0 justid"),
    (N, "xcfgset k"),
    (N, "xclaim k x x x x"), // takes over, and counts deliveries
    (N, "xclaim s g c 0 1-1 justid"),
    (N, "xdel k x"),
    (N, "xdelex k x x x"),
    (N, "xgroup create k x x"), // a second one is refused with BUSYGROUP
    (N, "xgroup createconsumer k x x"),
    (N, "xgroup delconsumer k x x"),
    (N, "xgroup destroy k x"),
    (R, "xgroup help"),
    (N, "xgroup setid k x x"),
    (R, "xinfo consumers k x"),
    (R, "xinfo groups k"),
    (R, "xinfo help"),
    (R, "xinfo stream k"),
    (R, "xinfo stream s full"),
    (R, "xlen k"),
    (N, "xnack k x"),
    (R, "xpending k x"), // looks only
    (R, "xpending s g idle 9 - + 5"),
    (R, "xrange k x x"),
    (R, "xread streams s 0"), // takes nothing away
    (R, "xread count 1 streams s 0"),
    (R, "xread block 0 streams s 0"), // takes nothing away either
    // `$` is the last entry when it is executed. After a lost reply that is when the replay is, so
    // that what was added between is skipped; but no client was told that it was executed before,
    // and one that was slow on its way skips as much.
    (R, "xread block 0 streams s $"),
    (R, "xread count 1 block 0 streams s t 0 $"),
    (N, "xreadgroup group g c streams s >"), // what it gives is pending then: a second one gives the next
    (N, "xreadgroup group g c noack streams s >"),
    (N, "xreadgroup group g c streams s 0"), // its pending ones again, but makes the consumer and counts
    (B, "xreadgroup group g c block 0 streams s >"),
    (B, "xreadgroup group g c count 1 block 0 noack streams s >"),
    (R, "xrevrange k x x"),
    (N, "xsetid k x"),
    (N, "xtrim k x x"),
    // Bitmaps.
    (R, "bitcount k"),
    (R, "bitcount k 0 1 bit"),
    (N, "bitfield k"), // flagged write
    (N, "bitfield k get u8 0"), // reads only, but no replica takes it
    (N, "bitfield k set u8 0 1"), // answers what was there
    (N, "bitfield k incrby u8 0 1"),
    (R, "bitfield_ro k"),
    (N, "bitop k x x"), // not one of the contract's
    (R, "bitpos k x"),
    (R, "getbit k x"),
    (N, "setbit k x x"),
    // HyperLogLogs.
    (N, "pfadd k"), // tells whether it changed anything
    (R, "pfcount k"), // may write the estimate that it keeps in the value; nobody sees it, and a replica answers it
    (N, "pfdebug s k"), // flagged write: rewrites the value as dense
    (N, "pfmerge k"),
    (N, "pfselftest"),
    // Places.
    (N, "geoadd k x x x"),
    (R, "geodist k x x"),
    (R, "geohash k"),
    (R, "geopos k"),
    (N, "georadius k x x x x"), // flagged write
    (N, "georadius k 1 2 3 km count 1"), // reads only, but no replica takes it
    (N, "georadius k 1 2 3 km store d"),
    (R, "georadius_ro k x x x x"),
    (N, "georadiusbymember k x x x"), // flagged write
    (N, "georadiusbymember k m 3 km storedist d"),
    (R, "georadiusbymember_ro k x x x"),
    (R, "geosearch k x x x x x"),
    (R, "geosearch k frommember m byradius 1 km count 1 any"),
    (N, "geosearchstore k x x x x x x"),
    // Vector sets.
    (N, "vadd k"),
    (R, "vcard k"),
    (R, "vdim k"),
    (R, "vemb k"),
    (R, "vgetattr k"),
    (R, "vinfo k"),
    (R, "vismember k"),
    (R, "vlinks k"),
    (R, "vrandmember k"), // by chance
    (R, "vrange k"),
    (N, "vrem k"),
    (N, "vsetattr k"),
    (R, "vsim k"),
    (R, "vsim k ele e withscores"),
    // Arrays.
    (R, "arcount k"),
    (N, "ardel k"),
    (N, "ardelrange k"),
    (R, "arget k"),
    (R, "argetrange k"),
    (R, "argrep k"),
    (R, "arinfo k"),
    (N, "arinsert k"),
    (R, "arlastitems k"),
    (R, "arlen k"),
    (R, "armget k"),
    (N, "armset k"),
    (R, "arnext k"),
    (R, "arop k"),
    (N, "arring k"),
    (R, "arscan k"),
    (N, "arseek k"), // moves the array's own cursor
    (N, "arset k"),
];
