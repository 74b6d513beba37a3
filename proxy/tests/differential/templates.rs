//! What is asked, by family.

use std::sync::OnceLock;

use testbed::ServerVersion;

/// Whether the server under test is not asked this.
pub(crate) fn is_left_out(template: &str) -> bool {
    static VERSION: OnceLock<ServerVersion> = OnceLock::new();
    let version = VERSION.get_or_init(|| ServerVersion::of_default_server().expect("a server"));
    // Redis 8.0.2 dies of it now and then, in `freeClient` below `functionsLibCtxClearCurrent`.
    let dies = !version.valkey && (version.major, version.minor) == (8, 0);
    template == "FUNCTION FLUSH" && dies
}

// Nothing is SET with a time in the past: when servers count it no more is their own affair.
type Family = (&'static str, &'static [&'static str]);

#[rustfmt::skip] // several templates a line: this is a table
pub(crate) const TEMPLATES: &[Family] = &[
    ("strings", &[
        "SET <str> <val> [NX|XX] [GET] [EX <ttl>|PX <ttl>|EXAT (4102444800|0|-5)|PXAT (4102444800000|0|-5)|KEEPTTL]",
        "SET <num> (1|5|-3|10.5)", "GET <str>", "GET <num>", "GETDEL <str>", "GETSET <str> <val>",
        "GETEX <str> [EX <ttl>|PX <ttl>|EXAT <time>|PERSIST]", "SETNX <str> <val>",
        "SETEX <str> <ttl> <val>", "PSETEX <str> <ttl> <val>", "APPEND <str> <val>", "STRLEN <str>",
        "INCR <num>", "DECR <num>", "INCRBY <num> <int>", "DECRBY <num> <int>",
        "INCRBYFLOAT <num> <float>", "GETRANGE <str> <index> <index>", "SUBSTR <str> <index> <index>",
        "SETRANGE <str> <offset> <val>", "LCS <str> <str> [LEN|IDX] [WITHMATCHLEN] [MINMATCHLEN <count>]",
        "MSETNX (<str> <val>)*",
    ]),
    ("many keys", &[
        "~MGET <str>*", "~MGET <str>* <any>* <str>*", "~MSET (<str> <val>)*",
        "~MSET (<str> <val>)* (<str> <val>)*", "~DEL <any>*", "~UNLINK <any>* <any>*",
        "~EXISTS <any>* <any>*", "~TOUCH <any>*", "MGET <str>*", "MSET (<str> <val>)*", "DEL <any>*",
        "DBSIZE", "SCAN 0 [MATCH <pattern>] [COUNT 1000] [TYPE (string|list|nosuch)]", "KEYS <pattern>", "KEYS *", "RANDOMKEY", "MSET (<num> <int>)*",
        "FLUSHALL [ASYNC|SYNC]", "FLUSHDB [ASYNC|SYNC]",
    ]),
    ("any key", &[
        "TYPE <any>", "TTL <any>", "PTTL <any>", "EXPIRETIME <any>", "PEXPIRETIME <any>",
        "EXPIRE <any> <ttl> [NX|XX|GT|LT]", "PEXPIRE <any> <ttl> [NX|XX|GT|LT]",
        "EXPIREAT <any> <time> [NX|XX|GT|LT]", "PEXPIREAT <any> <time>", "PERSIST <any>",
        "RENAME <any> <any>", "RENAMENX <any> <any>", "COPY <any> <any> [REPLACE] [DB 0]",
        "COPY <any> <any> DB 1", "MOVE <any> (1|0|99|x)", "OBJECT (ENCODING|REFCOUNT|IDLETIME|FREQ) <any>",
        "OBJECT NOSUCH <any>", "DUMP <any>", "MEMORY USAGE <any> [SAMPLES <count>]", "EXISTS <any>",
        "DEL <any>", "RESTORE <any> 0 <payload> [REPLACE] [IDLETIME 5|FREQ 3]",
        "RESTORE <any> (4102444800000|0|-5) <payload> ABSTTL", "RESTORE <any> 0 <val>",
        "SORT (<list>|<ints>) [LIMIT <index> <count>] [ASC|DESC] [ALPHA] [STORE <list>]",
        "SORT_RO (<list>|<set>) [DESC] ALPHA", "SORT <ints> BY w_* GET # [DESC]", "TOUCH <any>",
    ]),
    ("hashes", &[
        "HSET <hash> (<field> <val>)*", "HSET <hash> (<field> <val>)* (<member> <val>)*",
        "HMSET <hash> (<field> <val>)*", "HGET <hash> <field>", "HMGET <hash> <field>*",
        "HGETALL <hash>", "HKEYS <hash>", "HVALS <hash>", "HLEN <hash>", "HDEL <hash> <field>*",
        "HEXISTS <hash> <field>", "HSETNX <hash> <field> <val>", "HSTRLEN <hash> <field>",
        "HINCRBY <hash> <field> <int>", "HINCRBYFLOAT <hash> <field> <float>",
        "HRANDFIELD <hash> [<count>|-5] [WITHVALUES]", "HSCAN <hash> 0 [MATCH <pattern>] [COUNT 1000]",
    ]),
    // Unknown to some servers: then it is so in the same words.
    ("newer", &[
        "HEXPIRE <hash> <ttl> [NX|XX] FIELDS 1 <field>", "HPERSIST <hash> FIELDS 1 <field>",
        "HTTL <hash> FIELDS 2 <field> <field>", "HGETEX <hash> [EX <ttl>|PERSIST] FIELDS 1 <field>",
        "HSETEX <hash> [FNX|FXX] [EX <ttl>] FIELDS 1 <field> <val>", "HGETDEL <hash> FIELDS 1 <field>",
        "HSET <hash> (<field> <val>)*", "HGETALL <hash>", "SET <str> <val> IFEQ <val>", "DELIFEQ <str> <val>",
        "~MSETEX 2 <str> <val> <str> <val> [EX <ttl>]", "MSETEX <n:str> <val>", "MSETEX 1 <str> <val> [NX|XX]",
        "~MGET <str>*", "XREAD STREAMS <stream> +", "SCRIPT SHOW <sha>", "GET <str>",
    ]),
    ("lists", &[
        "LPUSH <list> <val>*", "RPUSH <list> <val>*", "RPUSH <list> <number>*", "LPUSHX <list> <val>",
        "RPUSHX <list> <val>*", "LPOP <list> [<count>]", "RPOP <list> [<count>]", "LLEN <list>",
        "LRANGE <list> <index> <index>", "LRANGE <list> 0 -1", "LINDEX <list> <index>",
        "LSET <list> <index> <val>", "LINSERT <list> (BEFORE|AFTER) <val> <val>",
        "LREM <list> <index> <val>", "LTRIM <list> <index> <index>",
        "LPOS <list> <val> [RANK (1|-1|2|0)] [COUNT <count>] [MAXLEN <count>]",
        "LMOVE <list> <list> (LEFT|RIGHT) (LEFT|RIGHT)", "RPOPLPUSH <list> <list>",
        "LMPOP <n:list> (LEFT|RIGHT) [COUNT (1|2|5)]",
    ]),
    ("sets", &[
        "SADD <set> <member>*", "SADD <set> <member>* <val>", "SADD <ints> <number>* <number>*",
        "SREM <set> <member>*", "SMEMBERS <set>", "SMEMBERS <ints>", "SISMEMBER <set> <member>",
        "SMISMEMBER <set> <member>*", "SCARD <set>", "SPOP <set> [<count>]",
        "SRANDMEMBER <set> [<count>|-4]", "SMOVE <set> <set> <member>", "SUNION <set>*",
        "SINTER <set> <set>", "SDIFF <set> <set>", "SUNIONSTORE <set> <set>*",
        "SINTERSTORE <set> <set>*", "SDIFFSTORE <set> <set>*", "SINTERCARD <n:set> [LIMIT <count>]",
        "SSCAN <set> 0 [MATCH <pattern>] [COUNT 1000]", "SUNION <ints>*", "SDIFF <ints> <ints>",
    ]),
    ("sorted sets", &[
        "ZADD <zset> (<score> <member>)*", "ZADD <zset> [NX|XX] [GT|LT] [CH] (<score> <member>)*",
        "ZADD <zset> INCR <score> <member>", "ZINCRBY <zset> <float> <member>", "ZSCORE <zset> <member>",
        "ZMSCORE <zset> <member>*", "ZCARD <zset>", "ZRANK <zset> <member>", "ZREVRANK <zset> <member>",
        "ZREM <zset> <member>*", "ZCOUNT <zset> <scores> <scores>", "ZLEXCOUNT <zset> <lex> <lex>",
        "ZRANGE <zset> <index> <index> [REV] [WITHSCORES]", "ZRANGE <zset> 0 -1 WITHSCORES",
        "ZRANGE <zset> <scores> <scores> BYSCORE [REV] [LIMIT <index> <count>] [WITHSCORES]",
        "ZRANGE <zset> <lex> <lex> BYLEX [REV] [LIMIT <index> <count>]",
        "ZREVRANGE <zset> <index> <index> [WITHSCORES]",
        "ZRANGEBYSCORE <zset> <scores> <scores> [WITHSCORES] [LIMIT <index> <count>]",
        "ZREVRANGEBYSCORE <zset> <scores> <scores>", "ZRANGEBYLEX <zset> <lex> <lex>",
        "ZREVRANGEBYLEX <zset> <lex> <lex>", "ZRANGESTORE <zset> <zset> <index> <index>",
        "ZREMRANGEBYRANK <zset> <index> <index>", "ZREMRANGEBYSCORE <zset> <scores> <scores>",
        "ZREMRANGEBYLEX <zset> <lex> <lex>", "ZPOPMIN <zset> [<count>]", "ZPOPMAX <zset> [<count>]",
        "ZMPOP <n:zset> (MIN|MAX) [COUNT (1|3)]", "ZRANDMEMBER <zset> [<count>|-3] [WITHSCORES]",
        "ZUNION <n:zset> [AGGREGATE (SUM|MIN|MAX)] [WITHSCORES]", "ZINTER <n:zset> [WITHSCORES]",
        "ZDIFF <n:zset> [WITHSCORES]", "ZINTERCARD <n:zset> [LIMIT <count>]",
        "ZUNIONSTORE <zset> 2 <zset> <zset> [WEIGHTS 2 <float>] [AGGREGATE (MIN|MAX)]",
        "ZINTERSTORE <zset> <n:zset>", "ZDIFFSTORE <zset> <n:zset>",
        "ZSCAN <zset> 0 [MATCH <pattern>] [COUNT 1000]", "ZUNION 2 <zset> <set>",
    ]),
    ("streams", &[
        "XADD <stream> [NOMKSTREAM] [MAXLEN [=|~] <count>|MINID <id>] <id> (<field> <val>)*",
        "XADD <stream> * (<field> <val>)*", "XADD <stream> 20-* f v", "XLEN <stream>",
        "XRANGE <stream> <ids> <ids> [COUNT <count>]", "XREVRANGE <stream> <ids> <ids>",
        "XRANGE <stream> - +", "XDEL <stream> <id>*", "XTRIM <stream> (MAXLEN <count>|MINID <id>)",
        "XREAD [COUNT <count>] STREAMS <stream> <id>", "XREAD STREAMS <stream> <stream> 0 <id>",
        "XGROUP CREATE <stream> <group> (0|$) [MKSTREAM]", "XGROUP DESTROY <stream> <group>",
        "XGROUP SETID <stream> <group> <id>", "XGROUP CREATECONSUMER <stream> <group> <consumer>",
        "XGROUP DELCONSUMER <stream> <group> <consumer>", "XGROUP NOSUCH <stream>",
        "XREADGROUP GROUP <group> <consumer> [COUNT <count>] [NOACK] STREAMS <stream> (>|0)",
        "XREADGROUP GROUP <group> <consumer> STREAMS <stream> <stream> > >",
        "XACK <stream> <group> <id>*", "XPENDING <stream> <group>",
        "XPENDING <stream> <group> - + 10 [<consumer>]", "XCLAIM <stream> <group> <consumer> 0 <id>* [JUSTID]",
        "XAUTOCLAIM <stream> <group> <consumer> 0 0 [COUNT 2] [JUSTID]", "XSETID <stream> <id>",
        "XINFO (STREAM|GROUPS) <stream>", "XINFO CONSUMERS <stream> <group>", "XINFO STREAM <stream> FULL",
    ]),
    ("geo", &[
        "GEOADD <geo> [NX|XX] [CH] (<lon> <lat> <place>)*", "GEOADD <geo> (<lon> <lat> <place>)*",
        "GEODIST <geo> <place> <place> [m|km|ft|mi|xx]", "GEOHASH <geo> <place>*", "GEOPOS <geo> <place>*",
        "GEOSEARCH <geo> FROMLONLAT <lon> <lat> BYRADIUS 5000 km [ASC|DESC] [WITHCOORD] [WITHDIST] [WITHHASH]",
        "GEOSEARCH <geo> FROMMEMBER <place> BYBOX 4000 4000 km ASC [COUNT 2]",
        "GEOSEARCHSTORE <geo> <geo> FROMLONLAT <lon> <lat> BYRADIUS 9000 km [STOREDIST]",
        "GEORADIUS <geo> <lon> <lat> 3000 km ASC [WITHDIST] [STORE <geo>]",
        "GEORADIUSBYMEMBER <geo> <place> 3000 km DESC [STOREDIST <geo>]",
        "GEORADIUS_RO <geo> <lon> <lat> 3000 km ASC WITHCOORD", "ZRANGE <geo> 0 -1 WITHSCORES",
    ]),
    ("bits", &[
        "SETBIT <bits> <offset> <bit>", "SETBIT <bits> <offset> 1", "GETBIT <bits> <offset>",
        "BITCOUNT <bits> [<index> <index> [BYTE|BIT]]", "BITPOS <bits> <bit> [<index> [<index> [BYTE|BIT]]]",
        "BITOP (AND|OR|XOR) <bits> <bits>*", "BITOP NOT <bits> <bits>", "GET <bits>",
        "BITFIELD <bits> [GET <enc> <offset>] [OVERFLOW (WRAP|SAT|FAIL)] (SET <enc> <offset> <int>|INCRBY <enc> <offset> <int>)",
        "BITFIELD_RO <bits> (GET <enc> <offset>)*",
    ]),
    ("hyperloglog", &[
        "PFADD <hll> <member>*", "PFADD <hll> <number>* <number>*", "PFCOUNT <hll>*", "PFCOUNT <hll>",
        "PFMERGE <hll> <hll>*", "GET <hll>", "STRLEN <hll>",
    ]),
    ("scripts", &[
        "EVAL <text> 1 <str> <val>", "EVAL <text> <n:str> <val> <val>", "EVAL <text> 1 <list> <val>",
        // No EVALSHA: in a pipeline a script that is sent behind it may be known by then, where one
        // server says NOSCRIPT (tests/cluster/scripts.rs has what becomes of that).
        "EVAL <text> 0 <val>", "EVAL_RO <text> 1 <str> <val>", 
        "EVAL <text> (-1|99|abc|1.5) a", "SCRIPT LOAD <text>",
        "SCRIPT EXISTS <sha> <sha>", "SCRIPT FLUSH [SYNC|NOSUCH]", "GET <str>", "LRANGE <list> 0 -1",
        "FUNCTION LOAD [REPLACE] <text>", "FCALL put 1 <str> <val>", "FCALL_RO look 1 <str>",
        "FCALL look 0", "FCALL nosuch 1 <str>", "FUNCTION DELETE (lib|nosuch)",
        "FUNCTION LIST [LIBRARYNAME l*] [WITHCODE]", "FUNCTION FLUSH", "SCRIPT NOSUCH",
    ]),
    ("connection", &[
        "PING [<val>]", "ECHO <val>", "HELLO [2|3|4]", "SELECT (0|1|99|x)", "CLIENT GETNAME",
        "CLIENT SETNAME (me|<val>)", "RESET", "NOSUCH <val>*", "GET", "CLIENT NOSUCH", "OBJECT HELP",
        "SET <str> <val>", "CLIENT ID", "SWAPDB 0 1",
    ]),
];

pub(crate) const SCRIPTS: &[&str] = &[
    "return KEYS",
    "return {KEYS[1], ARGV[1], ARGV[2]}",
    "return redis.call('GET', KEYS[1])",
    "return redis.call('SET', KEYS[1], ARGV[1])",
    "return redis.pcall('INCR', KEYS[1])",
    "return redis.call('RPUSH', KEYS[1], ARGV[1], 7)",
    "redis.call('SET', KEYS[1], 'written'); return redis.call('LPOP', KEYS[1])",
    "redis.setresp(3); return redis.call('LRANGE', KEYS[1], 0, -1)",
    "redis.setresp(3); return {true, false, redis.call('GET', KEYS[1])}",
    "return {1, 2, {3, 'a', {}}, 'x', false, 'not reached by RESP2'}",
    "return {1.9, -1.9, '1.9', 1e10}",
    "return {ok='FINE'}",
    "return {err='MINE own words'}",
    "return redis.error_reply('My error')",
    "return redis.status_reply('STATUS')",
    "return {double=3.5}",
    "return {map={a=1}}",
    "return {set={a=true}}",
    "return {big_number='123456789012345678901234567890'}",
    "return {verbatim_string={format='txt', string='x'}}",
    "return nosuch",
    "return redis.call('NOSUCH')",
    "return redis.call('GET')",
    "return redis.call()",
    "this is no Lua",
    "error('raised')",
    "error({err='RAISED table'})",
    "return string.rep('x', 20000)",
    "return cjson.encode({a={1,2}}) .. redis.sha1hex('')",
    "#!lua flags=no-writes\nreturn redis.call('SET', KEYS[1], 'v')",
    "#!lua flags=nosuch\nreturn 1",
    "return redis.call('MSET', KEYS[1], ARGV[1], KEYS[2], ARGV[2])",
    "#!lua name=lib\nredis.register_function('put', function(k, a) return redis.call('SET', k[1], a[1]) end)\n\
     redis.register_function{function_name='look', callback=function(k) return redis.call('GET', k[1]) end, flags={'no-writes'}}",
    "#!lua name=\nreturn 1",
];
