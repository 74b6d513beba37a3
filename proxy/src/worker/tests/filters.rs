//! Whom CLIENT LIST and CLIENT KILL mean.

use super::bench::Bench;
use super::questions::{SECOND, client, field_of_first, text};

#[test]
fn filters_choose_clients() {
    for (words, expected) in [
        ("", &["1", "2", "3"][..]),
        ("TYPE normal", &["1", "2", "3"]),
        ("type PUBSUB", &[]),
        ("ID 3 1 99", &["1", "3"]),
        ("ID -1", &[]),
        ("ADDR 10.1.1.1:1", &["2"]),
        ("LADDR 10.0.0.9:6379 SKIPME yes", &["2", "3"]),
        ("LADDR 10.0.0.9:1", &[]),
        ("USER default MAXAGE 1", &["1", "2"]),
        ("ID 1 3 TYPE normal", &["1", "3"]),
        ("ID 1 ID 3", &["1", "3"]),
        ("NOT-ID 1 3", &["2"]),
        ("NOT-ID 1 NOT-ID 2 NAME me", &["3"]),
        ("ID 1 2 NOT-ID 1", &["2"]),
        ("NAME me", &["2", "3"]),
        ("NAME x NAME me", &["2", "3"]),
        ("TYPE replica USER default", &[]),
        ("name ME", &[]),
        ("NOT-NAME me", &["1"]),
        ("LIB-NAME lib", &["3"]),
        ("LIB-VER 1.0 LIB-NAME lib", &["3"]),
        ("NOT-LIB-NAME lib", &["1", "2"]),
        ("NOT-LIB-VER 1.0 NOT-ID 1", &["2"]),
        ("FLAGS N", &["1", "2"]),
        ("FLAGS x", &["3"]),
        ("FLAGS xN", &[]),
        ("NOT-FLAGS x", &["1", "2"]),
        ("NOT-FLAGS xN", &["1", "2", "3"]),
        ("IDLE 1", &["2"]),
        ("IDLE 2", &[]),
        ("DB 0", &["1", "2", "3"]),
        ("NOT-DB 0", &[]),
        ("CAPA r", &[]),
        ("NOT-CAPA r", &["1", "2", "3"]),
        ("IP 10.1.1.1", &["1", "2", "3"]),
        ("NOT-IP 10.1.1.1", &[]),
        ("NOT-ADDR 10.1.1.1:1", &["1", "3"]),
        ("NOT-LADDR 10.0.0.9:6379", &[]),
        ("NOT-TYPE pubsub", &["1", "2", "3"]),
        ("NOT-TYPE normal", &[]),
        ("NOT-TYPE primary", &["1", "2", "3"]),
        ("NOT-USER default", &[]),
    ] {
        let mut bench = Bench::new();
        let asker = client(&mut bench, 1);
        let named = client(&mut bench, 2);
        bench.send(named, "CLIENT SETNAME me");
        bench.advance(SECOND);
        let other = client(&mut bench, 3);
        for request in ["NAME me", "INFO LIB-NAME lib", "INFO LIB-VER 1.0"] {
            bench.send(other, &format!("CLIENT SET{request}"));
        }
        bench.send(other, "MULTI");
        bench.send(asker, format!("CLIENT LIST {words}").trim_end());
        bench.answer_question(Vec::new());
        let got = bench.got(asker);
        let ids: Vec<&str> = text(&got).lines().map(field_of_first).collect();
        assert_eq!(ids, expected, "{words}");
    }
}

/// Valkey's texts, whatever the servers are: Redis has few of these filters.
#[test]
fn what_is_no_filter_is_refused_in_a_servers_words() {
    for (words, expected) in [
        ("NAME", "syntax error"),
        ("NOT-SKIPME yes", "syntax error"),
        ("NOT-MAXAGE 1", "syntax error"),
        ("NOT-IDLE 1", "syntax error"),
        ("NOT-ID x", "syntax error"),
        ("NOT-ID 1 x", "syntax error"),
        ("NOT-ID 1 0", "client-id should be greater than 0"),
        ("NOSUCH x", "syntax error"),
        ("FLAGS NnZ", "Unknown flags found in the provided filter: NnZ"),
        ("NOT-FLAGS Q", "Unknown flags found in the NOT-FLAGS filter: Q"),
        ("CAPA redirect", "Unknown capa found in the provided filter: redirect"),
        ("NOT-CAPA x", "Unknown capa found in the NOT-CAPA filter: x"),
        ("IDLE x", "idle is not an integer or out of range"),
        ("IDLE 0", "idle should be greater than 0"),
        ("MAXAGE x", "maxage is not an integer or out of range"),
        ("MAXAGE -1", "maxage should be greater than 0"),
        ("DB x", "DB is not an integer or out of range"),
        ("DB 4294967296", "DB is not an integer or out of range"),
        ("DB 100", "DB number should be between 0 and 99"),
        ("NOT-DB -1", "NOT-DB number should be between 0 and 99"),
        ("NOT-USER x", "No such user 'x'"),
        ("NOT-TYPE x", "Unknown client type 'x'"),
        ("NAME me ID", "syntax error"),
    ] {
        let mut bench = Bench::new();
        let asker = client(&mut bench, 1);
        bench.send(asker, &format!("CLIENT LIST {words}"));
        assert_eq!(bench.got(asker), format!("-ERR {expected}\r\n"), "LIST {words}");
        bench.send(asker, &format!("CLIENT KILL SKIPME yes {words}"));
        assert_eq!(bench.got(asker), format!("-ERR {expected}\r\n"), "KILL {words}");
    }
}
