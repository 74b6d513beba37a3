//! The keys that we find against those that `COMMAND GETKEYS` finds, for every command.

use slotway::command::{Flags, Keys, Row, key_positions, resolve, row_of, rows};
use slotway::topology::reply::decode_whole;
use slotway::topology::told_commands;

use crate::request::Request;
use crate::server::{Client, Product, Reply, Server};

/// The keys, or `None` if the server says that there are none, or that it cannot tell.
fn server_keys(reply: Reply) -> Option<Vec<Vec<u8>>> {
    match reply {
        Reply::Array(keys) => Some(
            keys.into_iter()
                .map(|key| match key {
                    Reply::Bulk(key) => key,
                    other => panic!("no key: {other:?}"),
                })
                .collect(),
        ),
        Reply::Error(text) => {
            let text = String::from_utf8(text).unwrap();
            assert!(
                [
                    "ERR The command has no key arguments",
                    "ERR Invalid arguments specified for command",
                ]
                .contains(&text.as_str()),
                "{text}"
            );
            None
        }
        other => panic!("{other:?}"),
    }
}

fn our_keys(row: &Row, request: &Request) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    key_positions(row, &request.args(), |index| {
        keys.push(request.args().get(index).expect("positions are below the count").to_vec());
    });
    keys
}

/// Asks for the keys of all these requests in one pipeline and compares each.
fn compare(client: &mut Client, product: (Product, (u8, u8)), requests: &[Vec<Vec<u8>>]) {
    for requests in requests.chunks(500) {
        let mut bytes = Vec::new();
        for args in requests {
            let words = [b"COMMAND".to_vec(), b"GETKEYS".to_vec()];
            bytes.extend(Request::new(&[&words[..], args].concat()).frame);
        }
        client.send(&bytes);
        for args in requests {
            let request = Request::new(args);
            let row =
                resolve(&request.args()).unwrap_or_else(|e| panic!("{:?}: {e:?}", show(args)));
            let mut theirs = server_keys(client.read()).unwrap_or_default();
            let mut ours = our_keys(row, &request);
            if row.flags.contains(Flags::NOT_KEY) {
                assert!(theirs.is_empty(), "{} has keys by now", row.name);
                assert!(!ours.is_empty() || args.len() == 1, "{} is not routed", row.name);
                continue;
            }
            if matches!(row.keys, Keys::Counted { destination: true, .. }) {
                // Counts that only `atoi` understands are listed behind the others.
                theirs.sort();
                ours.sort();
            }
            if row.keys == Keys::GeoStore && !finds_last_target(row, args, product) {
                assert_eq!(show(&ours[..1]), show(&theirs[..1]));
                continue;
            }
            if args.len() == 2 && row.name == "pfmerge" {
                // Servers miss the target of PFMERGE without sources, because its second spec has
                // no room, and run it on any node. We send it to the target's owner.
                theirs = args[1..].to_vec();
            }
            assert_eq!(show(&ours), show(&theirs), "{:?}", show(args));
        }
    }
}

fn show(words: &[Vec<u8>]) -> Vec<String> {
    words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether a server lists the target that GEORADIUS writes to. From Valkey 9.1 on it does; before
/// that it lists the first STORE and the first STOREDIST, looks for them from the place where
/// right options can begin, and writes to the last of both.
fn finds_last_target(row: &Row, args: &[Vec<u8>], (product, version): (Product, (u8, u8))) -> bool {
    if product == Product::Valkey && version >= (9, 1) {
        return true;
    }
    let stores = |arg: &[u8]| {
        let word = arg.split(|b| *b == 0).next().expect("at least one part").to_ascii_lowercase();
        word == b"store" || word == b"storedist"
    };
    let mut targets = args.iter().enumerate().skip(5).filter(|(_, arg)| stores(arg));
    match targets.next() {
        None => true,
        Some((first, _)) => {
            first >= usize::from(row.arity.unsigned_abs()) && targets.next().is_none()
        }
    }
}

/// The rows that this server has too with the same arity, so that it does not refuse the count.
fn shared_rows(client: &mut Client) -> Vec<&'static Row> {
    let rows = rows().filter(|row| !row.is_family());
    rows.filter(|row| match client.ask(&["COMMAND", "INFO", row.name]).array().as_slice() {
        [Reply::Array(fields)] => fields[1] == Reply::Integer(row.arity.into()),
        _ => false,
    })
    .collect()
}

fn bytes(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// Every command, with keys and without, with any count of arguments that it takes: words of all
/// the options that mean keys to some command, counts good and bad, and ordinary keys.
#[test]
fn keys_are_those_that_the_server_finds_in_any_words() {
    const WORDS: &[&str] = &[
        "a",
        "b",
        "{c}d",
        "",
        "STORE",
        "store",
        "StoreDist",
        "STREAMS",
        "streams",
        "KEYS",
        "LIMIT",
        "BY",
        "GET",
        "COUNT",
        "BLOCK",
        "GROUP",
        "COPY",
        "REPLACE",
        "AUTH",
        "AUTH2",
        "WITHCOORD",
        "ALPHA",
        "store\0x",
        "STREAMS\0",
        "KEYS\0y",
        "storex",
        "0",
        "1",
        "2",
        "3",
        "4",
        "-1",
        "01",
        "+2",
        " 2",
        "2a",
        "2\0",
        "99",
        "-0",
        "1.5",
        "4294967297",
        "-4294967295",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "99999999999999999999999",
    ];
    let server = Server::start();
    let product = server.version();
    let mut client = server.connect();
    // Any words at all, but the same ones each time.
    let mut random = fastrand::Rng::with_seed(0x5107);
    let mut requests = Vec::new();
    for row in shared_rows(&mut client) {
        let rounds = match row.keys {
            Keys::None => 5,
            Keys::One(_) => 20,
            Keys::Range { .. } => 60,
            // Refused anyway; its spec and its code answer differently to nonsense.
            Keys::Migrate => 0,
            _ => 3_000,
        };
        for _ in 0..rounds {
            let mut args: Vec<_> =
                row.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
            let least = usize::from(row.arity.unsigned_abs());
            let count = if row.arity < 0 { least + random.usize(..8) } else { least };
            while args.len() < count {
                args.push(random.choice(WORDS).expect("there are words").as_bytes().to_vec());
            }
            // Redis 7.0 does not take GETKEYS of a name alone, which has no keys anyway.
            if args.len() > 1 {
                requests.push(args);
            }
        }
    }
    compare(&mut client, product, &requests);
}

/// Counts from none to too many, for every command that has one, with the right number behind it.
#[test]
fn counted_keys_are_those_that_the_server_finds() {
    let server = Server::start();
    let product = server.version();
    let mut client = server.connect();
    let mut requests = Vec::new();
    for row in shared_rows(&mut client) {
        let Keys::Counted { count, .. } = row.keys else { continue };
        for number in ["0", "1", "2", "3", "7", "8", "100", "-1", "x", "", "2x", "+2", " 3", "03"] {
            for behind in 0..9 {
                let mut args = vec![row.name.as_bytes().to_vec()];
                args.resize(count.into(), b"before".to_vec());
                args.push(number.as_bytes().to_vec());
                args.extend((0..behind).map(|n| format!("behind{n}").into_bytes()));
                if row.takes(args.len()) {
                    requests.push(args);
                }
            }
        }
    }
    assert!(requests.len() > 1_000, "only {}", requests.len());
    compare(&mut client, product, &requests);
}

/// Requests as people write them, for what has code of its own.
#[test]
fn keys_of_the_irregular_commands_are_those_that_the_server_finds() {
    let lines = [
        "SORT l",
        "SORT l STORE d",
        "SORT l BY w_* LIMIT 0 5 GET # GET v_* ASC ALPHA STORE d",
        "SORT l STORE d STORE e",
        "SORT l STORE",
        "SORT l BY STORE d",
        "SORT l LIMIT STORE d e",
        "SORT l GET STORE STORE d",
        "SORT l STORE limit STORE d",
        "SORT_RO l BY nosort GET #",
        "GEORADIUS g 1 2 3 km",
        "GEORADIUS g 1 2 3 km STORE d",
        "GEORADIUS g 1 2 3 km COUNT 5 ASC STOREDIST d",
        "GEORADIUS g 1 2 3 km STORE d STOREDIST e",
        "GEORADIUS g 1 2 3 km STOREDIST d STORE e",
        "GEORADIUS g 1 2 3 km STORE",
        "GEORADIUS g 1 2 3 km STORE STORE d",
        "GEORADIUSBYMEMBER g m 3 km STORE d",
        "GEORADIUSBYMEMBER g m 3 km STORE d STOREDIST e",
        "GEORADIUSBYMEMBER g m 3 STORE d",
        "GEORADIUS_RO g 1 2 3 km",
        "XREAD STREAMS a 0",
        "XREAD COUNT 2 BLOCK 10 STREAMS a b 0 0",
        "XREAD STREAMS a b c 0 0",
        "XREAD STREAMS STREAMS 0",
        "XREAD COUNT STREAMS STREAMS a 0",
        "XREAD COUNT 5 STREAMS",
        "XREAD COUNT 5 STREAMS a",
        "XREAD a b c",
        "XREADGROUP GROUP g c STREAMS a >",
        "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS a b > >",
        "XREADGROUP GROUP STREAMS c STREAMS a >",
        "XREADGROUP GROUP g STREAMS STREAMS a >",
        "MIGRATE h 1 k 0 10",
        "MIGRATE h 1 k 0 10 COPY",
        "MIGRATE h 1 k 0 10 COPY AUTH KEYS",
        "EVAL s 2 a b c",
        "EVAL s 0",
        "EVAL s 0 a",
        "EVALSHA s 1 a",
        "FCALL f 1 a b",
        "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
        "ZUNIONSTORE d 3 a b",
        "ZINTERSTORE d x a",
        "BLMPOP 0 2 a b LEFT",
        "BITOP AND d a b",
        "PFMERGE d",
        "MSET a 1 b 2",
        "MSET a 1 b",
        "OBJECT ENCODING a",
        "XGROUP CREATE s g $ MKSTREAM",
        "MEMORY USAGE k SAMPLES 5",
        "LCS a b LEN",
    ];
    let server = Server::start();
    let product = server.version();
    let mut requests: Vec<_> =
        lines.iter().map(|line| bytes(&line.split(' ').collect::<Vec<_>>())).collect();
    requests.push(bytes(&["MIGRATE", "h", "1", "", "0", "10", "KEYS", "a", "b"]));
    requests.push(bytes(&["MIGRATE", "h", "1", "", "0", "10", "AUTH", "KEYS", "KEYS", "a"]));
    requests.push(bytes(&["MIGRATE", "h", "1", "", "0", "10", "AUTH2", "u", "KEYS", "KEYS", "a"]));
    requests.push(bytes(&["MIGRATE", "h", "1", "", "0", "10", "COPY", "REPLACE", "KEYS", "a"]));
    requests.push(bytes(&["MIGRATE", "h", "1", "k", "0", "10", "KEYS", "a"]));
    requests.push(bytes(&["MIGRATE", "h", "1", "", "0", "10", "KEYS"]));
    if product.0 == Product::Valkey && product.1 >= (9, 1) {
        requests.push(bytes(&["MSETEX", "2", "a", "1", "b", "2", "EX", "10"]));
        requests.push(bytes(&["MSETEX", "2", "a", "1", "b"]));
    }
    compare(&mut server.connect(), product, &requests);
}

/// 6.2 alone has it, and 6.2 is no server at hand: from its source.
#[test]
fn keys_of_stralgo() {
    for (line, keys) in [
        ("STRALGO LCS KEYS a b", "a b"),
        ("STRALGO LCS LEN KEYS a b IDX", "a b"),
        ("STRALGO LCS STRINGS a b", ""),
        ("STRALGO LCS KEYS a", ""),
        ("STRALGO LCS", ""),
    ] {
        let request = Request::new(&line.split(' ').collect::<Vec<_>>());
        let row = resolve(&request.args()).expect("it is a command");
        assert_eq!(show(&our_keys(row, &request)).join(" "), keys, "{line}");
    }
}

/// Were the table to lack a command, it would be learned from what the server tells of it: its keys
/// would be found all the same, or a node would be asked for them.
#[test]
fn keys_that_are_learned_are_those_of_the_table() {
    let server = Server::start();
    let mut client = server.connect();
    let mut random = fastrand::Rng::with_seed(0x1EA2);
    let (mut compared, mut asked) = (0, Vec::new());
    for row in shared_rows(&mut client) {
        let info = client.ask(&["COMMAND", "INFO", row.name]);
        let told = told_commands(&decode_whole(&encode(&info)).expect("a reply"));
        let Some(learned) = row_of(&told[0], "learned".into(), row.id) else { continue };
        if learned.keys == Keys::Asked {
            asked.push(row.name);
            continue;
        }
        for _ in 0..50 {
            let mut args: Vec<_> =
                row.name.split('|').map(|word| word.as_bytes().to_vec()).collect();
            let least = usize::from(row.arity.unsigned_abs());
            let count = if row.arity < 0 { least + random.usize(..6) } else { least };
            while args.len() < count {
                let words = ["a", "b", "{c}d", "STREAMS", "1", "2", "3", "0"];
                args.push(random.choice(words).expect("there are words").into());
            }
            let request = Request::new(&args);
            let (ours, theirs) = (our_keys(row, &request), our_keys(&learned, &request));
            // What is wrong with the arguments is for the server to say, wherever it happens.
            let pfmerge_alone = row.name == "pfmerge" && args.len() == 2;
            if !matches!(row.keys, Keys::Streams { .. }) && !pfmerge_alone {
                assert_eq!(show(&ours), show(&theirs), "{:?}: {:?}", show(&args), learned.keys);
            }
            compared += 1;
        }
    }
    assert!(compared > 100 * 50, "{compared}");
    asked.retain(|name| !["sort", "sort_ro", "migrate"].contains(name));
    assert!(asked.is_empty(), "{asked:?}");
}

fn encode(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Simple(text) => format!("+{text}\r\n").into_bytes(),
        Reply::Integer(number) => format!(":{number}\r\n").into_bytes(),
        Reply::Null => b"$-1\r\n".to_vec(),
        Reply::Error(text) => [b"-", &text[..], b"\r\n"].concat(),
        Reply::Bulk(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        Reply::Array(items) => {
            let header = format!("*{}\r\n", items.len()).into_bytes();
            header.into_iter().chain(items.iter().flat_map(encode)).collect()
        }
    }
}
