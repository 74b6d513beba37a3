//! The texts of refusals against the server's.

use slotway::command::{Refusal, Row, resolve, rows};

use crate::request::Request;
use crate::server::{Client, Reply, Server};

fn assert_refused_alike(client: &mut Client, args: &[Vec<u8>]) {
    let request = Request::new(args);
    let refusal = match resolve(&request.args()) {
        Err(refusal) => refusal,
        Ok(row) => panic!("{} takes {args:?}", row.name),
    };
    let mut ours = Vec::new();
    refusal.write(&request.args(), &mut ours);
    client.send(&request.frame);
    match client.read() {
        Reply::Error(theirs) => assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&theirs),
            "for {args:?}"
        ),
        other => panic!("the server answers {other:?} to {args:?}"),
    }
}

#[test]
fn wrong_uses_are_refused_in_the_server_s_words() {
    let x = |count: usize| "x".repeat(count);
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let cases: Vec<Vec<String>> = vec![
        words("NOPE"),
        words("NOPE a b"),
        words("nope"),
        // Quoted to 128 bytes, over all arguments together.
        vec!["NOPE".into(), x(60), x(60), x(60), x(60)],
        vec!["NOPE".into(), x(124), "y".into(), "z".into()],
        vec!["NOPE".into(), x(125), "y".into()],
        vec!["NOPE".into(), x(126), "yyyy".into()],
        vec!["NOPE".into(), x(127), "y".into()],
        vec!["NOPE".into(), x(128), "y".into()],
        vec!["NOPE".into(), x(100_000), "y".into()],
        vec![x(127)],
        vec![x(128)],
        vec![x(129), "a".into()],
        vec![x(70_000), x(70_000)],
        std::iter::once("NOPE".to_owned()).chain((0..2_000).map(|_| String::new())).collect(),
        // Bytes that are no text, ends that are none, and lines.
        vec!["a\0b".into(), "c\0d".into(), "\0".into()],
        vec!["a\r\nb\r\n".into(), "\nc\rd\n".into()],
        vec!["\t\u{1}\u{7f}é€".into(), "\"'\\".into()],
        vec![String::new()],
        vec![String::new(), String::new()],
        vec!["GET\0".into(), "a".into()],
        vec![" GET".into(), "a".into()],
        words("CONFIG|SET a b"),
        // Arity.
        words("GET"),
        words("gEt a b"),
        words("MSET a"),
        words("CONFIG"),
        words("object encoding"),
        words("CLIENT reply"),
        words("CLIENT RePly ON ON"),
        words("DEBUG"),
        words("COMMAND COUNT 1"),
        // Subcommands.
        words("CONFIG NOPE"),
        words("cOnFiG nope a b"),
        words("XGROUP nope a"),
        words("COMMAND nope"),
        words("CLIENT client|id"),
        vec!["CONFIG".into(), String::new()],
        vec!["CONFIG".into(), x(127)],
        vec!["CONFIG".into(), x(129)],
        vec!["CONFIG".into(), "a\0b".into()],
        vec!["CONFIG".into(), "a\r\nb\r\n".into()],
    ];
    let server = Server::start();
    let mut client = server.connect();
    for case in cases {
        let args: Vec<_> = case.into_iter().map(String::into_bytes).collect();
        assert_refused_alike(&mut client, &args);
    }
    for bytes in [&[0xff, 0xfe, 0x80][..], &[0xc3], &[0x1b, b'[', b'm']] {
        assert_refused_alike(&mut client, &[bytes.to_vec(), bytes.to_vec()]);
    }
}

/// Of every command, what has one argument too few or too many.
#[test]
fn every_command_refuses_a_wrong_count_as_the_server_does() {
    let server = Server::start();
    let mut client = server.connect();
    for row in rows() {
        let words: Vec<Vec<u8>> = row.name.split('|').map(|w| w.as_bytes().to_vec()).collect();
        let known = client.ask(&["COMMAND", "INFO", row.name]).array();
        let [Reply::Array(fields)] = known.as_slice() else { continue };
        if fields[1] != Reply::Integer(row.arity.into()) {
            continue; // looser here: the server says it
        }
        let wanted = usize::from(row.arity.unsigned_abs());
        for count in [wanted - 1, wanted + 1] {
            if count < words.len() || row.takes(count) {
                continue;
            }
            let mut args = words.clone();
            args.resize(count, b"x".to_vec());
            assert_refused_alike(&mut client, &args);
        }
    }
}

/// What is refused although a server has it is refused as if it did not exist: whole.
#[test]
fn a_known_command_can_be_refused_as_unknown() {
    let request = Request::new(&["Client", "REPLY", "off"]);
    let row: &Row = resolve(&request.args()).expect("it is a command");
    assert_eq!(row.name, "client|reply");
    let mut text = Vec::new();
    Refusal::Unknown.write(&request.args(), &mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "ERR unknown command 'Client', with args beginning with: 'REPLY' 'off' "
    );
}
