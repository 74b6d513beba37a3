//! What policy refuses and the operator has allowed: each goes where one server's operator would
//! have it.

use super::bench::{Bench, key_of, settings};
use super::gather::with_replica;
use crate::command::{Allowed, Handling, Refusal, Told, learn, rows};
use crate::worker::Settings;

/// Three primaries and a replica, and a client that may do all that can be allowed.
fn operator() -> (Bench, u32) {
    let names = rows().map(|row| row.name).filter(|name| Allowed::knows(name));
    let mut bench = Bench::with(Settings { allowed: Allowed::new(names), ..settings() });
    bench.topology(with_replica(2, 4));
    let client = bench.client();
    (bench, client)
}

/// Which nodes have got this request, each of which answers it so.
fn reached(bench: &mut Bench, request: &str, answer: &str) -> Vec<u16> {
    let ports: Vec<u16> = (1..=4).filter(|&port| bench.at(port) == [request]).collect();
    ports.iter().for_each(|&port| bench.answer(port, answer));
    ports
}

#[test]
fn what_belongs_on_every_node_goes_to_all_of_them() {
    let (mut bench, client) = operator();
    for request in [
        "ACL SETUSER bob on >x +get",
        "ACL DELUSER bob",
        "ACL SAVE",
        "ACL LOAD",
        "CONFIG REWRITE",
        "MODULE LOAD x.so",
        "MODULE LOADEX x.so",
        "MODULE UNLOAD x",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "CLUSTER SAVECONFIG",
        "DEBUG SLEEP 0",
        "DEBUG SET-ACTIVE-EXPIRE 0",
        "ACL LOG RESET",
    ] {
        bench.send(client, request);
        assert_eq!(reached(&mut bench, request, "+OK"), [1, 2, 3, 4], "{request}");
        assert_eq!(bench.got(client), "+OK\r\n", "{request}");
    }
    bench.send(client, "CLUSTER FLUSHSLOT 1");
    assert_eq!(reached(&mut bench, "CLUSTER FLUSHSLOT 1", "+OK"), [1, 2, 3], "it is a write");
    assert_eq!(bench.got(client), "+OK\r\n");
}

#[test]
fn who_has_not_done_it_is_told_and_an_error_of_all_is_theirs() {
    let (mut bench, client) = operator();
    let request = "ACL SETUSER bob on";
    bench.send(client, request);
    bench.answer(2, "-ERR no");
    assert_eq!(reached(&mut bench, request, "+OK"), [1, 3, 4]);
    assert_eq!(
        bench.got(client),
        "-UNKNOWNRESULT partly executed: 3 of 4 nodes applied, 1 not executed: ERR no\r\n"
    );
    bench.send(client, request);
    assert_eq!(reached(&mut bench, request, "-ERR no"), [1, 2, 3, 4]);
    assert_eq!(bench.got(client), "-ERR no\r\n");
}

#[test]
fn what_is_about_a_key_goes_to_its_owner() {
    let (mut bench, client) = operator();
    let (key, other) = (key_of(3, 0), key_of(1, 0));
    for request in [
        format!("DEBUG OBJECT {key}"),
        format!("debug listpack {key} more"),
        format!("DEBUG DIGEST-VALUE {key} {key}"),
        format!("PFDEBUG GETREG {key}"),
    ] {
        bench.send(client, &request);
        assert_eq!(reached(&mut bench, &request, "+OK"), [3], "{request}");
        assert_eq!(bench.got(client), "+OK\r\n", "{request}");
    }
    bench.send(client, &format!("DEBUG DIGEST-VALUE {key} {other}"));
    assert!(bench.got(client).starts_with("-CROSSSLOT "));
    bench.send(client, "DEBUG OBJECT");
    assert_eq!(reached(&mut bench, "DEBUG OBJECT", "-ERR what").len(), 4);
    assert_eq!(bench.got(client), "-ERR what\r\n");
}

#[test]
fn a_transaction_takes_what_is_about_its_keys_alone() {
    let (mut bench, client) = operator();
    let (key, other) = (key_of(3, 0), key_of(1, 0));
    for (request, reply) in [
        (format!("DEBUG OBJECT {key}"), "+QUEUED"),
        (format!("DEBUG DIGEST-VALUE {key} {other}"), "-CROSSSLOT "),
        ("SAVE".to_owned(), "-ERR slotway does not take 'save' inside a transaction: it is not"),
    ] {
        bench.send(client, "MULTI");
        bench.send(client, &request);
        let got = bench.got(client);
        assert!(got.starts_with(&format!("+OK\r\n{reply}")), "{got}");
        bench.send(client, "DISCARD");
        bench.got(client);
    }
}

#[test]
fn the_acl_log_is_that_of_all_nodes() {
    let mut bench = Bench::new();
    bench.topology(with_replica(2, 4));
    let client = bench.client();
    let entry = |age: usize| format!("*2\r\n$11\r\nage-seconds\r\n$1\r\n{age}\r\n");
    bench.send(client, "ACL LOG 3");
    for port in 1..=4 {
        assert_eq!(bench.at(port), ["ACL LOG 3"]);
        let age = usize::from(port);
        bench.answer(port, format!("*2\r\n{}{}", entry(5 - age), entry(9 - age)).trim_end());
    }
    let newest: String = [1, 2, 3].map(entry).concat();
    assert_eq!(bench.got(client), format!("*3\r\n{newest}"));
}

#[test]
fn no_refused_subcommand_makes_its_family_unknown() {
    let mut found = 0;
    for row in rows().filter(|row| row.name.contains('|')) {
        let Handling::Refused(reason) = row.handling else { continue };
        if reason.policy().is_none() {
            let refusal = Refusal::unknown(row);
            assert!(matches!(refusal, Refusal::UnknownSubcommand(_)), "{}", row.name);
            found += 1;
        }
    }
    assert!(found > 0);
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "CLIENT IMPORT-SOURCE ON");
    let expected = "-ERR unknown subcommand 'IMPORT-SOURCE'. Try CLIENT HELP.\r\n";
    assert_eq!(bench.got(client), expected);
    bench.send(client, "PFDEBUG GETREG k");
    let expected = "-ERR slotway does not pass on 'pfdebug': it is for debugging a server, see \
                    allow-commands\r\n";
    assert_eq!(bench.got(client), expected);
}

#[test]
fn a_transaction_says_why_it_does_not_take_what_only_a_node_knows() {
    let flags = ["write", "movablekeys", "module"].map(ToOwned::to_owned).to_vec();
    learn(&[Told { name: "asked.inside".into(), arity: -2, flags, ..Told::default() }]);
    let mut bench = Bench::new();
    let client = bench.client();
    for request in ["MULTI", "ASKED.INSIDE k", "EXEC"] {
        bench.send(client, request);
    }
    let expected = "+OK\r\n-ERR slotway does not take 'asked.inside' inside a transaction: only a \
                    node can tell where its keys are\r\n-EXECABORT Transaction discarded because \
                    of previous errors.\r\n";
    assert_eq!(bench.got(client), expected);
}
