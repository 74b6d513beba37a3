//! Wrong uses, one by one: what slotway says is what the server says.

use anyhow::{Result, ensure};

use super::differs::{not_asked, same_but_for};
use super::play::Stage;
use super::wire::{Client, Reply, Request, show, words};

/// Sessions, each on fresh connections in both protocols. Behind `≠` stands how slotway's reply
/// begins where it is its own: refused by policy, or for now.
#[rustfmt::skip] // a table
const SESSIONS: &[&[&str]] = &[
    &["NOSUCH", "nosuch a b", "GETT k", "GE k", "get|x k", "CLIENT|ID", "config|get maxmemory", "GET", "GET a b", "SET k"],
    &["nosuch aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb cccccccccccc ddddddddd",
      "nosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuchnosuch a"],
    // Options that are none, numbers that are none.
    &["SET k v EX", "SET k v EX 0", "SET k v EX x", "SET k v PX -1", "SET k v NX XX", "SET k v EX 100 PX 100", "SET k v KEEPTTL EX 100",
      "SET k v NOSUCH", "GETEX k EX", "GETEX k NOSUCH", "SETEX k 0 v", "EXPIRE k x", "EXPIRE k 100 NX XX", "EXPIRE k 100 GT LT", "EXPIRE k 9223372036854775807",
      "INCRBY k x", "INCRBY k 9223372036854775808", "INCRBYFLOAT k x", "DECRBY k -9223372036854775808", "SETRANGE k -1 v", "SETRANGE k 9999999999 v",
      "GETRANGE k x y", "SETBIT k -1 1", "SETBIT k 4294967296 1", "SETBIT k 1 2", "BITCOUNT k 1", "BITCOUNT k 1 2 NOSUCH", "BITPOS k 2", "BITOP NOSUCH d{t} k{t}",
      "BITOP NOT d{t} k{t} k{t}", "BITFIELD k GET u64 0", "BITFIELD k OVERFLOW NOSUCH", "BITFIELD k SET", "BITFIELD_RO k SET u8 0 1", "LCS k k IDX LEN", "LCS k k NOSUCH"],
    &["LPOP k x", "LPOP k -1", "LPOS k v RANK 0", "LPOS k v COUNT -1", "LPOS k v NOSUCH", "LINSERT k NEAR a b", "LMOVE a{t} b{t} UP DOWN", "LMPOP 0 k LEFT",
      "LMPOP x k LEFT", "LMPOP 1 k", "LMPOP 1 k UP", "LMPOP 1 k LEFT COUNT 0", "LSET nosuch 0 v", "LRANGE k a b", "LTRIM k a b", "LINDEX k x",
      "SPOP k -1", "SPOP k x", "SRANDMEMBER k x", "SINTERCARD 0 k", "SINTERCARD 2 k", "SINTERCARD 1 k LIMIT -1", "SINTERCARD 1 k NOSUCH",
      "HSET k f", "HMSET k f", "HINCRBY k f x", "HINCRBYFLOAT k f x", "HRANDFIELD k x", "HRANDFIELD k 1 NOSUCH", "HSCAN k x", "HSCAN k 0 COUNT 0", "HSCAN k 0 NOSUCH"],
    &["ZADD k x m", "ZADD k nan m", "ZADD k NX XX 1 m", "ZADD k GT LT 1 m", "ZADD k INCR 1 m 2 n", "ZADD k 1", "ZADD k NX 1 m 2", "ZINCRBY k x m", "ZRANGE k 0 1 BYSCORE BYLEX",
      "ZRANGE k 0 1 LIMIT 0 1", "ZRANGE k a b", "ZRANGE k a b BYLEX", "ZRANGE k x y BYSCORE", "ZRANGE k 0 1 NOSUCH", "ZRANGE k 0 1 BYLEX WITHSCORES", "ZCOUNT k x y", "ZLEXCOUNT k a b",
      "ZPOPMIN k -1", "ZMPOP 0 k MIN", "ZMPOP 1 k NOSUCH", "ZUNION 0 k", "ZUNION 2 k", "ZUNION x k", "ZUNION 1 k WEIGHTS x", "ZUNION 1 k WEIGHTS", "ZUNION 1 k AGGREGATE NOSUCH",
      "ZUNIONSTORE d{t} 1 s{t} WITHSCORES", "ZDIFF 1 k WEIGHTS 1", "ZINTERCARD 1 k LIMIT x", "ZRANDMEMBER k 1 NOSUCH", "ZRANGESTORE d{t} s{t} x y", "ZSCAN k 0 COUNT x"],
    &["XADD k", "XADD k * f", "XADD k x f v", "XADD k 0-0 f v", "XADD k MAXLEN x * f v", "XADD k NOSUCH * f v", "XADD k MAXLEN ~ 1 LIMIT x * f v", "XRANGE k x y", "XRANGE k - + COUNT x", "XREAD STREAMS a{t} b{t} 0",
      "XREAD COUNT x STREAMS k 0", "XREAD STREAMS k", "XREAD NOSUCH k 0", "XREAD STREAMS k >", "XREADGROUP GROUP g c STREAMS k", "XREADGROUP STREAMS k 0 0 0", "XREADGROUP GROUP g c STREAMS nosuch >", "XGROUP CREATE k g 0",
      "XGROUP CREATE k g", "XGROUP NOSUCH k g", "XGROUP HELP", "XINFO STREAM nosuch", "XINFO NOSUCH k", "XINFO STREAM k NOSUCH", "XPENDING k g", "XPENDING k g - +", "XCLAIM k g c x 0-1", "XAUTOCLAIM k g c x 0",
      "XSETID k x", "XTRIM k NOSUCH 1", "XTRIM k MAXLEN", "XDEL k x", "XACK k g x"],
    &["GEOADD k 200 0 m", "GEOADD k x y m", "GEOADD k 1 2", "GEOADD k NX XX 1 1 m", "GEODIST k a b yards", "GEOSEARCH k FROMLONLAT 1 1", "GEOSEARCH k BYRADIUS 1 km", "GEOSEARCH k FROMLONLAT 1 1 BYRADIUS -1 km",
      "GEOSEARCH k FROMLONLAT 1 1 BYRADIUS 1 km ANY", "GEOSEARCH k FROMMEMBER nosuch BYRADIUS 1 km", "GEORADIUS k 1 1 1 yards", "GEORADIUS k 1 1 x km", "GEORADIUS k{t} 1 1 1 km WITHDIST STORE d{t}", "GEORADIUS_RO k 1 1 1 km STORE d",
      "PFCOUNT", "PFADD", "PFMERGE", "PFDEBUG NOSUCH k ≠ -ERR slotway does not pass on 'pfdebug'", "PFSELFTEST x", "SORT k LIMIT 0", "SORT k NOSUCH", "SORT_RO k STORE d", "COPY a{t} b{t} NOSUCH", "COPY a{t} a{t}", "COPY a{t} b{t} DB x",
      "RENAME nosuch{t} a{t}", "OBJECT ENCODING nosuch", "OBJECT NOSUCH", "OBJECT FREQ nosuch", "OBJECT", "OBJECT HELP", "OBJECT HELP a", "MEMORY USAGE nosuch", "MEMORY USAGE k SAMPLES -1", "MEMORY USAGE k NOSUCH", "MEMORY NOSUCH", "MEMORY",
      "MEMORY HELP", "DUMP nosuch", "RESTORE k 0 nosuch", "RESTORE k -1 x", "RESTORE k 0 x IDLETIME -1", "RESTORE k 0 x FREQ 256", "MSET a", "MSET a 1 b", "MSETNX a{t} 1 b{t}", "MGET", "DEL", "KEYS", "DBSIZE x", "FLUSHALL NOSUCH", "FLUSHDB SYNC ASYNC", "RANDOMKEY x"],
    // Values of other types.
    &["SET s v", "LPUSH l 1", "SADD e 1", "HSET h f v", "ZADD z 1 m", "XADD x 1-1 f v", "INCR l", "APPEND l x", "GET l", "LPUSH s 1", "LRANGE e 0 -1", "SADD s 1", "SMEMBERS h", "HGET s f", "HGETALL z", "ZADD s 1 m", "ZRANGE x 0 -1",
      "ZSCORE h f", "XADD s 1-1 f v", "XLEN l", "XRANGE h - +", "PFADD s 1", "PFCOUNT l", "SETBIT l 0 1", "GEOADD s 1 1 m", "GEOPOS l m", "BITCOUNT h", "INCR s", "INCRBYFLOAT s 1", "HINCRBY h f 1", "SORT h", "LCS l l", "GETRANGE z 0 1", "SETRANGE e 0 a", "STRLEN x", "GETDEL h", "GETSET l v", "GETEX e",
      "MGET s l e h z x nosuch", "SUNION s s", "ZUNION 1 l", "LMPOP 1 s LEFT", "ZMPOP 1 s MIN", "XREAD STREAMS s 0", "XGROUP CREATE s g 0", "XINFO STREAM s"],
    // HELLO, AUTH, and what a client says of itself.
    &["HELLO 1", "HELLO 4", "HELLO x", "HELLO 3.0", "HELLO 03", "HELLO -1", "HELLO 2 NOSUCH", "HELLO 2 AUTH", "HELLO 2 AUTH a", "HELLO 2 AUTH a b", "HELLO 3 SETNAME", "HELLO 3 SETNAME \x01", "HELLO 3 AUTH a b SETNAME n", "CLIENT GETNAME", "HELLO 3 \x7fé\0x",
      "AUTH", "AUTH x", "AUTH a b", "AUTH default x", "AUTH a b c", "PING", "PING a", "PING a b", "ECHO", "ECHO a b", "SELECT", "SELECT x", "SELECT 1.5", "SELECT 0 0", "SELECT 99999999999999999999", "RESET x", "QUIT x"],
    &["CLIENT", "CLIENT NOSUCH", "CLIENT NOSUCH a b", "CLIENT HELP", "CLIENT HELP a", "CLIENT ID x", "CLIENT GETNAME x", "CLIENT SETNAME", "CLIENT SETNAME a b", "CLIENT SETNAME \x01", "CLIENT SETNAME é", "CLIENT REPLY", "CLIENT REPLY NOSUCH", "CLIENT KILL", "CLIENT KILL nosuch",
      "CLIENT KILL ID 0", "CLIENT KILL ID -1", "CLIENT KILL ID 1234567", "CLIENT KILL TYPE nosuch", "CLIENT KILL USER nosuch", "CLIENT KILL ADDR 1.2.3.4:5", "CLIENT KILL LADDR 1.2.3.4:5", "CLIENT KILL SKIPME maybe", "CLIENT KILL NOSUCH x", "CLIENT KILL ID 1 ADDR", "CLIENT LIST NOSUCH", "CLIENT LIST TYPE", "CLIENT LIST TYPE nosuch",
      "CLIENT LIST ID", "CLIENT LIST ID 123456789", "CLIENT INFO x", "CLIENT NO-EVICT", "CLIENT NO-EVICT maybe", "CLIENT PAUSE", "CLIENT PAUSE x", "CLIENT PAUSE -1", "CLIENT PAUSE 1 NOSUCH", "CLIENT UNPAUSE x", "CLIENT UNBLOCK", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 123456 NOSUCH", "CLIENT UNBLOCK 123456",
      "CLIENT TRACKING", "CLIENT TRACKING maybe", "CLIENT TRACKING OFF", "CLIENT CACHING", "CLIENT CACHING YES", "CLIENT CACHING maybe", "CLIENT GETREDIR", "CLIENT GETREDIR x", "CLIENT TRACKINGINFO", "CLIENT TRACKINGINFO x"],
    &["COMMAND NOSUCH", "COMMAND NOSUCH x", "COMMAND HELP", "COMMAND COUNT x", "COMMAND INFO nosuch",  "COMMAND INFO nosuch config|nosuch", "COMMAND GETKEYS", "COMMAND GETKEYS GET", "COMMAND GETKEYS GET k", "COMMAND GETKEYS PING", "COMMAND GETKEYS NOSUCH a", "COMMAND GETKEYS EVAL x 1 a", "COMMAND GETKEYS EVAL x 9 a",
      "COMMAND GETKEYSANDFLAGS SET k v", "COMMAND GETKEYSANDFLAGS NOSUCH", "COMMAND LIST x", "COMMAND LIST FILTERBY", "COMMAND LIST FILTERBY NOSUCH x", "COMMAND LIST FILTERBY PATTERN nosuch", "COMMAND LIST FILTERBY MODULE nosuch", "COMMAND LIST FILTERBY ACLCAT nosuch", "COMMAND LIST FILTERBY PATTERN x y", "COMMAND DOCS nosuch"],
    &["CONFIG", "CONFIG NOSUCH", "CONFIG HELP", "CONFIG GET", "CONFIG GET nosuch", "CONFIG GET maxmemory-samples", "CONFIG SET", "CONFIG SET a", "CONFIG SET nosuch 1", "CONFIG SET maxmemory-samples x", "CONFIG SET maxmemory-samples 5 maxmemory-samples 6", "CONFIG SET maxmemory-samples 5 x", "CONFIG SET port nosuch", "CONFIG SET databases 3",
      "CONFIG RESETSTAT x", "CONFIG RESETSTAT", "CONFIG REWRITE x", "SLOWLOG", "SLOWLOG NOSUCH", "SLOWLOG HELP", "SLOWLOG GET x", "SLOWLOG GET -2", "SLOWLOG GET 1 2", "SLOWLOG RESET x", "SLOWLOG LEN x", "SLOWLOG RESET", "LATENCY NOSUCH", "LATENCY HELP", "LATENCY HISTORY nosuch", "LATENCY HISTORY", "LATENCY RESET nosuch",
      "LATENCY GRAPH nosuch", "LATENCY LATEST x", "LATENCY LATEST", "MODULE NOSUCH", "MODULE HELP", "ACL", "ACL NOSUCH", "ACL HELP", "ACL WHOAMI x", "ACL CAT nosuch", "ACL CAT hyperloglog", "ACL GETUSER nosuch", "ACL GENPASS x", "ACL GENPASS 0", "ACL LOG x", "ACL DRYRUN nosuch get k", "ACL DRYRUN default nosuch", "ACL DRYRUN default get", "ACL USERS", "ACL USERS x"],
    &["SCRIPT", "SCRIPT NOSUCH", "SCRIPT HELP", "SCRIPT LOAD", "SCRIPT LOAD nosuch(", "SCRIPT EXISTS", "SCRIPT EXISTS x", "SCRIPT FLUSH NOSUCH", "SCRIPT FLUSH ASYNC x", "SCRIPT KILL x", "SCRIPT KILL", "EVAL", "EVAL x", "EVAL x 1", "EVAL x -1", "EVAL x x", "EVAL nosuch( 0", "EVALSHA x 0", "EVALSHA ffffffffffffffffffffffffffffffffffffffff 0",
      "EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 k", "EVAL_RO return{redis.call('SET',KEYS[1],1)} 1 k", "FCALL", "FCALL nosuch", "FCALL nosuch 0", "FCALL nosuch x", "FCALL nosuch 2 a", "FCALL_RO nosuch 1 k", "FUNCTION", "FUNCTION NOSUCH", "FUNCTION HELP", "FUNCTION LOAD", "FUNCTION LOAD x", "FUNCTION LOAD NOSUCH x", "FUNCTION LOAD REPLACE",
      "FUNCTION DELETE nosuch", "FUNCTION DELETE", "FUNCTION LIST NOSUCH", "FUNCTION LIST LIBRARYNAME", "FUNCTION LIST WITHCODE WITHCODE", "FUNCTION RESTORE nosuch", "FUNCTION RESTORE x NOSUCH", "FUNCTION FLUSH NOSUCH", "FUNCTION KILL x", "FUNCTION KILL", "FUNCTION STATS x"],
    &["INFO nosuch", "TIME x", "LOLWUT VERSION x", "LOLWUT VERSION 5.5", "LASTSAVE x", "ROLE x", "WAIT", "SWAPDB 0", "SWAPDB x y ≠ -ERR SWAPDB is not allowed", "SCAN", "SCAN x", "SCAN 0 COUNT 0", "SCAN 0 COUNT x", "SCAN 0 NOSUCH", "SCAN 0 MATCH", "MOVE k", "DEBUG", "SHUTDOWN a b c d ≠ -ERR slotway does not pass on 'shutdown'", "SAVE x", "REPLICAOF", "FAILOVER NOSUCH ≠ -ERR slotway does not pass on 'failover'", "MIGRATE a", "CLUSTER", "MONITOR x", "SUBSCRIBE", "PSUBSCRIBE", "PUBLISH", "PUBSUB", "PUBSUB NOSUCH", "PUBSUB HELP", "BLPOP", "BLPOP k", "XREAD BLOCK x STREAMS k 0"],
    // Transactions.
    &["MULTI x", "EXEC", "EXEC x", "DISCARD", "DISCARD x", "WATCH", "UNWATCH", "UNWATCH x", "MULTI", "EXEC", "MULTI", "DISCARD", "EXEC", "MULTI", "MULTI", "EXEC", "EXEC", "MULTI", "MULTI x", "EXEC", "MULTI", "WATCH k", "EXEC", "MULTI", "WATCH", "EXEC",
      "MULTI", "EXEC x", "EXEC", "MULTI", "NOSUCH a", "SET k v", "EXEC", "GET k", "MULTI", "GET", "DISCARD", "DISCARD", "MULTI", "CLIENT NOSUCH", "EXEC", "MULTI", "UNWATCH", "PING", "PING a b", "ECHO", "EXEC", "WATCH k", "SET k v", "MULTI", "SET k w", "EXEC", "GET k", "WATCH k",
      "SET k x", "UNWATCH", "MULTI", "SET k y", "EXEC", "WATCH k", "SET k x", "MULTI", "NOSUCH", "EXEC", "MULTI", "EXEC", "WATCH k", "SET k z", "MULTI", "DISCARD", "MULTI", "GET k", "EXEC", "MULTI", "INCR k", "LPUSH k a", "GET k", "BLPOP {k}b 0", "EXEC", "WATCH k", "MULTI", "EXEC",
      "WATCH nosuch", "SET nosuch v", "MULTI", "EXEC", "WATCH k", "DEL k", "SET k z", "multi", "get k", "exec", "MULTI", "INCR n", "INCR n", "EVAL return{redis.call('INCR',KEYS[1])} 1 n", "EXEC", "MULTI", "EVALSHA ffffffffffffffffffffffffffffffffffffffff 1 n", "INCR n", "EXEC"],
];

#[test]
fn wrong_uses_get_the_words_of_a_server() -> Result<()> {
    let stage = Stage::start()?;
    let mut wrong = Vec::new();
    for hello in ["HELLO 2", "HELLO 3"] {
        for session in SESSIONS {
            let (mut server, mut slotway) = stage.fresh_clients(hello)?;
            for line in *session {
                match line.split_once(" ≠ ") {
                    None => compare(&words(line), &mut server, &mut slotway, &mut wrong)?,
                    Some((line, begins)) => {
                        let reply = slotway.ask(&words(line))?.to_string();
                        ensure!(reply.replace('\\', "").starts_with(begins), "{line}: {reply}");
                    }
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// Bytes that no word of a line can have, wherever slotway looks at a word itself or quotes it.
#[test]
fn odd_bytes_get_the_words_of_a_server() -> Result<()> {
    let long = [b'x'].repeat(200);
    let words_of_a_kind: [&[u8]; 12] = [
        b"",
        b"\r\n+OK",
        b"\n",
        b"x\0y",
        b"\0",
        b"\xff\xfe",
        b"a b",
        b" 1",
        b"'\"",
        b"%s%n\\",
        b"-",
        &long,
    ];
    let stage = Stage::start()?;
    let mut wrong = Vec::new();
    for hello in ["HELLO 2", "HELLO 3"] {
        let (mut server, mut slotway) = stage.fresh_clients(hello)?;
        for template in ODD {
            for odd in words_of_a_kind {
                let mut request = words(template);
                for word in request.iter_mut().filter(|word| word.as_slice() == b"?") {
                    *word = odd.to_vec();
                }
                compare(&request, &mut server, &mut slotway, &mut wrong)?;
            }
        }
    }
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// `?` is the odd word.
#[rustfmt::skip] // a table
const ODD: &[&str] = &[
    "?", "? a", "? ?", "NOSUCH ?", "NOSUCH ? ?", "GET ? ?", "CLIENT ?", "CLIENT ? a", "COMMAND ?", "CONFIG ?", "CONFIG ? a b", "SCRIPT ?", "FUNCTION ?", "OBJECT ?", "OBJECT ? k", "MEMORY ?", "LATENCY ?",
    "SLOWLOG ?", "ACL ?", "XGROUP ?", "XINFO ? k", "PUBSUB ?", "MODULE ?", "SELECT ?", "HELLO ?", "HELLO 2 ?", "HELLO 2 SETNAME ?", "HELLO 2 AUTH ? ?", "AUTH ?", "AUTH ? ?", "PING ?", "ECHO ?", "RESET ?", "TIME ?",
    "CLIENT SETNAME ?", "CLIENT GETNAME", "CLIENT KILL ?", "CLIENT KILL ID ?", "CLIENT KILL ADDR ?", "CLIENT KILL TYPE ?", "CLIENT KILL ? x", "CLIENT LIST ?", "CLIENT LIST TYPE ?", "CLIENT LIST ID ?", "CLIENT PAUSE ?", "CLIENT PAUSE 0 ?",
    "CLIENT UNBLOCK ?", "CLIENT UNBLOCK 1 ?", "CLIENT REPLY ?", "CLIENT NO-EVICT ?", "CLIENT TRACKING ?", "CLIENT CACHING ?", "CLIENT SETINFO LIB-NAME ?", "COMMAND INFO ?", "COMMAND LIST FILTERBY ? x",
    "COMMAND LIST FILTERBY PATTERN ?", "COMMAND LIST FILTERBY ACLCAT ?", "COMMAND GETKEYS ? a", "COMMAND GETKEYS GET ?", "COMMAND DOCS ?", "CONFIG GET ?", "CONFIG SET ? 1", "CONFIG SET maxmemory-samples ?",
    "SCRIPT FLUSH ?", "SCRIPT EXISTS ?", "FLUSHALL ?", "FLUSHDB ?", "DBSIZE ?", "RANDOMKEY ?", "KEYS ?", "SCAN ?", "SCAN 0 ? 1", "SCAN 0 COUNT ?", "SCAN 0 TYPE ?", "SCAN 0 MATCH ?", "SLOWLOG GET ?", "LATENCY RESET ?", "LATENCY HISTORY ?",
    "EVAL return ? k", "EVAL return{1} ?", "EVALSHA ? 0", "FCALL ? 0", "ZUNION ? k", "LMPOP ? k LEFT", "SINTERCARD ? k", "XREAD COUNT ? STREAMS k 0", "XREAD STREAMS k ?", "GET ?", "SET ? ?", "MGET ? ?", "MSET ? ? k", "DEL ? ?", "EXISTS ?", "SORT k ?",
    "GEORADIUS k 1 1 1 ?", "MEMORY USAGE k ?", "MEMORY USAGE k SAMPLES ?", "ACL CAT ?", "ACL GENPASS ?", "ACL DRYRUN ? get k", "ACL GETUSER ?", "INFO ?",
];

/// For every command and subcommand that the server has.
#[test]
fn wrong_numbers_of_arguments_get_the_words_of_a_server() -> Result<()> {
    let stage = Stage::start()?;
    let (mut server, mut slotway) = stage.fresh_clients("HELLO 2")?;
    let all = server.ask(&words("COMMAND"))?;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for command in &all.items {
        let members = command.items.get(9).map_or(&[][..], |members| &members.items);
        for record in std::iter::once(command).chain(members) {
            let name = String::from_utf8_lossy(&record.items[0].body).replace('|', " ");
            let arity = record.items[1].number().unwrap_or(0);
            let (least, most) =
                (arity.unsigned_abs() as usize, (arity > 0).then_some(arity as usize));
            let mut counts = vec![least.saturating_sub(1)];
            counts.extend(most.map(|most| most + 1));
            for count in counts {
                let mut request = words(&name);
                if count < request.len() || NARROWER.contains(&name.as_str()) {
                    continue;
                }
                request.resize(count, b"1".to_vec());
                asked += 1;
                compare(&request, &mut server, &mut slotway, &mut wrong)?;
            }
        }
        if !members.is_empty() {
            let name = String::from_utf8_lossy(&command.items[0].body).into_owned();
            for line in
                [format!("{name} NOSUCH"), format!("{name} nosuch a b"), format!("{name} HELP x")]
            {
                compare(&words(&line), &mut server, &mut slotway, &mut wrong)?;
            }
        }
    }
    ensure!(asked > 300, "{asked} commands");
    ensure!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

/// They take more arguments at other servers, and are refused by policy in any number.
const NARROWER: &[&str] = &["cluster replicate", "script debug"];

fn compare(
    request: &Request,
    server: &mut Client,
    slotway: &mut Client,
    wrong: &mut Vec<String>,
) -> Result<()> {
    let (expected, reply): (Reply, Reply) = (server.ask(request)?, slotway.ask(request)?);
    if reply != expected
        && same_but_for(request, &expected, &reply).is_none()
        && not_asked(request, &reply, server)?.is_none()
    {
        wrong.push(format!("{}\n  one server: {expected}\n  slotway:    {reply}", show(request)));
    }
    Ok(())
}
