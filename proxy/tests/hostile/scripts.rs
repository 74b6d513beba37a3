//! Clients' Lua: it runs in the nodes and can return nearly anything.

use std::io::ErrorKind;
use std::net::TcpListener;

use testbed::key_slot;

use super::innocents::Innocents;
use super::stage::{Stage, array, name, until_answered};

#[test]
fn a_script_can_forge_errors_but_hurts_only_its_own_client() {
    let stage = Stage::new(|proxy| proxy.args(["--mask-deadline", "2s"]));
    let innocents = Innocents::start(&stage);
    let key = stage.key(0, "hostile");
    let slot = key_slot(&key);
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = stranger.local_addr().unwrap().port();
    for text in [
        format!("MOVED {slot} 127.0.0.1:{port}"),
        format!("ASK {slot} 127.0.0.1:{port}"),
        format!("MOVED {slot} :{port}"),
        format!("MOVED {} 127.0.0.1:{port}", slot + 1),
        "CLUSTERDOWN The cluster is down".to_owned(),
        "CLUSTERDOWN Hash slot not served".to_owned(),
        "READONLY You can't write against a read only replica.".to_owned(),
        "NOAUTH Authentication required.".to_owned(),
        "TRYAGAIN x".to_owned(),
        "LOADING x".to_owned(),
        "MASTERDOWN x".to_owned(),
        "WRONGPASS x".to_owned(),
    ] {
        let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply(\"{text}\")");
        let counter = stage.key(0, "forged");
        let got = stage.until_answered(&array(&["EVAL", &script, "1", &counter]));
        assert!(got.starts_with(format!("-{text}").as_bytes()), "{}", got.escape_ascii());
        // It ran once.
        let ran = stage.until_answered(&array(&["GETDEL", &counter]));
        assert_eq!(ran, b"$1\r\n1\r\n", "{text}");
        innocents.next_hundred(&text);
    }
    // To a known node it is believed; the others of the slot find their way all the same.
    let other = stage.cluster.shard(1).primary().unwrap().addr();
    for kind in ["MOVED", "ASK"] {
        let script = format!("return redis.error_reply('{kind} {slot} {other}')");
        let got = stage.until_answered(&array(&["EVAL", &script, "1", &key]));
        assert!(got.starts_with(b"-"), "{}", got.escape_ascii());
        innocents.next_hundred(kind);
    }
    let dialed = stranger.accept().unwrap_err();
    assert_eq!(dialed.kind(), ErrorKind::WouldBlock, "nobody has dialed the stranger");
    innocents.end();
}

#[test]
fn what_a_script_returns_is_one_reply_to_the_byte() {
    let stage = Stage::new(|proxy| proxy);
    let innocents = Innocents::start(&stage);
    let key = stage.key(0, "hostile");
    let node = stage.cluster.shard(0).primary().unwrap().addr();
    for script in [
        "return {ok='a\\r\\n+b\\r\\n:1'}",
        "return {err='a\\r\\n+b\\r\\n:1'}",
        "return redis.status_reply('x\\r\\n$1\\r\\ny')",
        "return redis.error_reply('ERR x\\r\\n-y')",
        "return 'a\\r\\n+b'",
        "redis.setresp(3) return {double=1.5}",
        "redis.setresp(3) return {big_number='1\\r\\n2'}",
        "redis.setresp(3) return {map={a=1}}",
        "redis.setresp(3) return {verbatim_string={format='txt',string='a\\r\\n'}}",
        "return {1,{2,{3,{false}}}}",
        "local t = {} for i = 1, 1000 do t = {t} end return t",
        "local t = {} for i = 1, 100000 do t = {t} end return t",
        "return redis.call('SELECT', '1')",
        "return redis.call('READONLY')",
        "return redis.call('ASKING')",
        "return redis.call('SUBSCRIBE', 'c')",
        "return redis.call('CLIENT', 'REPLY', 'OFF')",
        "return redis.call('QUIT')",
        "return redis.call('MULTI')",
        "error({err='MOVED 1 x'})",
        "error('MOVED 1 x')",
        "local i = 0 while i < 10000000 do i = i + 1 end return i",
        "return ('x'):rep(1500000)",
    ] {
        let request = array(&["EVAL", script, "1", &key]);
        let theirs = until_answered(&node, &request);
        let ours = stage.until_answered(&request);
        assert!(ours == theirs, "{script}: {} and not {}", name(&ours), name(&theirs));
        innocents.next_hundred(script);
    }
    innocents.end();
}
