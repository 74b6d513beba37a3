//! Our refusals against those of a real server: the same bytes, the same words, the same closing.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use slotway::resp::request::{Frame, Limits, ProtocolError, Scanner, canonical_inline};
use slotway::resp::{Args, write};

#[test]
fn a_server_refuses_what_we_refuse_in_the_same_words() {
    let Some(server) = Server::start() else { return };
    for input in inputs() {
        let ours = answer(&input, &Limits { arguments_max: i32::MAX as u32, ..Limits::default() });
        server.expect(&input, &ours);
    }
}

#[test]
fn a_server_knows_the_same_limits_for_strangers() {
    let Some(server) = Server::start() else { return };
    server.expect(b"CONFIG SET requirepass secret\r\n", &Answer::open(b"+OK\r\n"));
    let limits = Limits { authenticated: false, ..Limits::default() };
    for input in ["*11\r\n", "*12\r\n$", "*1\r\n$16385\r\n", "*10\r\n$99999\r\n"] {
        let ours = answer(input.as_bytes(), &limits);
        assert!(ours.closed, "{input}");
        server.expect(input.as_bytes(), &ours);
    }
    // What is within the limits is read: the answer comes from the command, not from the protocol.
    let long = format!("*2\r\n$4\r\nECHO\r\n$16384\r\n{}\r\n", "x".repeat(16384));
    let many = format!("*10\r\n$4\r\nMGET\r\n{}", "$1\r\nx\r\n".repeat(9));
    for input in [long, many] {
        let answer = Answer::open(b"-NOAUTH Authentication required.\r\n+OK\r\n");
        server.expect(format!("{input}AUTH secret\r\n").as_bytes(), &answer);
    }
}

#[test]
fn where_servers_differ_we_are_as_the_strictest() {
    let Some(server) = Server::start() else { return };
    for (input, lenient) in [
        // Before Valkey 9.1 (and the last fixes of older lines) nobody looks at what ends a bulk.
        ("*1\r\n$4\r\nPINGxx", "+PONG\r\n"),
        ("*1\r\n$4\r\nPING\n\n", "+PONG\r\n"),
        ("*1\rx$4\r\nPING\r\n", "+PONG\r\n"),
        // Valkey 9.1 lets a word go on after a closing quote, and closes one before the end of the
        // line that a backslash stands before.
        ("ECHO \"a\"b\r\n", "$2\r\nab\r\n"),
        ("ECHO 'a''b'\r\n", "$2\r\nab\r\n"),
        ("ECHO '\\'\r\n", "$1\r\n\\\r\n"),
        ("ECHO \"\\\"\r\n", "$1\r\n\\\r\n"),
    ] {
        let ours = answer(input.as_bytes(), &Limits::default());
        assert!(ours.closed, "{input:?}");
        let theirs = server.ask(input.as_bytes(), false);
        assert!(theirs == ours || theirs == Answer::open(lenient.as_bytes()), "{theirs:?}");
    }
}

/// Every rule of the protocol that a server answers, from both sides where there are two.
fn inputs() -> Vec<Vec<u8>> {
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    let mut add = |input: &[u8]| inputs.push(input.to_vec());
    // Counts and lengths.
    for number in [
        "",
        "+1",
        "01",
        "00",
        "-0",
        "-",
        "--1",
        "abc",
        "1 ",
        " 1",
        "1x",
        "0x1",
        "1.0",
        "1\n",
        "99999999999999999999",
        "-99999999999999999999",
        "9223372036854775808",
        "-9223372036854775809",
    ] {
        add(format!("*{number}\r\n").as_bytes());
        add(format!("*1\r\n${number}\r\n").as_bytes());
    }
    for input in [
        "*2147483648\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$536870913\r\n",
        "*2\r\n$4\r\nECHO\r\n$-1\r\n",
        // A LF alone ends nothing: these are one line.
        "*1\n$4\r\n",
        "*1\r\n$4\nPING\r\n",
        "*1\n\r\n",
        // Nothing is asked for.
        "*0\r\n",
        "*-1\r\n",
        "*-10\r\n",
        "*-9223372036854775808\r\n",
        "\r\n",
        "\n",
        " \t\x0b\x0c \r\n",
        "*1\r\n$4\r\nPING\r\n",
        "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
        "*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n*1\r\n$4\r\nping\r\nPING\n",
        // Something else than a bulk string.
        "*1\r\nPING\r\n",
        "*1\r\n+4\r\n",
        "*1\r\n:4\r\n",
        "*1\r\n*1\r\n",
        "*1\r\n\r\n",
        "*1\r\n\n\r\n",
        "*1\r\n \r\n",
        "*2\r\n$4\r\nECHO\r\nx\r\n",
        // HTTP.
        "POST / HTTP/1.1\r\n",
        "post\n",
        "Host: example.com\r\n",
        "hOsT:\n",
        "\"post\" x\n",
        "\"post\\x00x\"\n",
        "*1\r\n$4\r\nPOST\r\n",
        "*2\r\n$5\r\nHost:\r\n$1\r\nx\r\n",
        "*1\r\n$6\r\npost\0x\r\n",
        // Requests before a bad one are answered.
        "PING\r\nPING\r\n*x\r\n",
    ] {
        add(input.as_bytes());
    }
    add(b"*1\r\n\xff\r\n");
    add(b"*1\r\n\x80\r\n");
    // Inline words.
    for words in [
        "a",
        "\"a b\"",
        "'a b'",
        "\"\"",
        "''",
        "a\"b c\"",
        "a'b c'",
        "\"\\x41\\xfF\\x0\\xg1\"",
        "\"\\n\\r\\t\\b\\a\\\\\\\"\\q\"",
        "'\\'\\n\\\\x'",
        "'\\x41'",
        "\"a'b\"",
        "'a\"b'",
        "a\\n",
        "  \t a \t ",
        "a\x0bb",
        "a\x0cb",
        "\x0ba",
        "\u{e9}",
        "'a'\t",
        "\"a\"\r",
        "a\r",
        "\"",
        "'",
        "\"a",
        "'a",
        "a\"",
        "\"a\\",
        "\"\\x4",
        "a\"b",
        "\"a\" \"",
    ] {
        add(format!("ECHO {words}\r\n").as_bytes());
        add(format!("ECHO {words}\n").as_bytes());
    }
    // Lines that are too long, and the longest that are not.
    let ones = |count| "1".repeat(count);
    add(ones(65537).as_bytes());
    add(format!("\0\r\n{}", ones(65537)).as_bytes());
    for start in ["*", "*1\r\n$", "*1\r\nX"] {
        add(format!("{start}{}", ones(65536)).as_bytes());
        add(format!("{start}{}\r\n", ones(65535)).as_bytes());
    }
    add(format!("ECHO {}\r\n", ones(65000)).as_bytes());
    inputs
}

/// What comes back for some bytes.
#[derive(Debug, PartialEq)]
struct Answer {
    /// The replies and the error.
    bytes: String,
    /// Whether the connection was closed after it.
    closed: bool,
}

impl Answer {
    fn open(bytes: &[u8]) -> Answer {
        Answer { bytes: bytes.escape_ascii().to_string(), closed: false }
    }
}

/// Our answer: the scanner and a server that knows PING and ECHO.
fn answer(input: &[u8], limits: &Limits) -> Answer {
    let (mut scanner, mut spans, mut inline) = (Scanner::default(), Vec::new(), Vec::new());
    let (mut out, mut rest) = (Vec::new(), input);
    let refused = loop {
        let (used, request) = match scanner.scan(rest, limits, &mut spans) {
            Frame::Partial => {
                assert!(rest.is_empty(), "a server would wait: {}", input.escape_ascii());
                break None;
            }
            Frame::Refused(error) => break Some(error),
            Frame::Nothing { len } => (len, None),
            Frame::Request { len } => (len, Some(Args::new(&rest[..len], &spans))),
            Frame::Inline { len } => {
                match canonical_inline(&rest[..len], &mut inline, &mut spans) {
                    Ok(()) => (len, Some(Args::new(&inline, &spans))),
                    Err(error) => break Some(error),
                }
            }
        };
        match request.map(|request| (request.name().to_ascii_uppercase(), request)) {
            None => {}
            Some((name, _)) if name == b"PING" => write::simple(&mut out, "PONG"),
            Some((name, request)) if name == b"ECHO" && request.len() == 2 => {
                write::bulk(&mut out, request.get(1).expect("two arguments"));
            }
            Some((_, request)) => panic!("not in this game: {request:?}"),
        }
        rest = &rest[used..];
    };
    if let Some(text) = refused.as_ref().and_then(ProtocolError::text) {
        write::error(&mut out, text);
    }
    Answer { bytes: out.escape_ascii().to_string(), closed: refused.is_some() }
}

/// A standalone server in a folder of its own, on a socket in that folder: no port to fight for.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
    /// Kept open: a server that logs into a closed pipe would die of it.
    _log: BufReader<std::process::ChildStdout>,
}

impl Server {
    /// Starts one and waits until it says that it is ready. Without a server on this machine the
    /// test is skipped, with a message.
    fn start() -> Option<Server> {
        let program = std::env::var_os("SLOTWAY_TEST_SERVER").unwrap_or("redis-server".into());
        let folder = tempfile::tempdir().expect("a folder for the server");
        let spawned = Command::new(&program)
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .arg("--dir")
            .arg(folder.path())
            .arg("--unixsocket")
            .arg(socket(&folder))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                eprintln!("skipped: no server ({}): {error}", program.display());
                return None;
            }
            Err(error) => panic!("{}: {error}", program.display()),
        };
        let mut log = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = String::new();
        while !lines.contains("eady to accept connections") {
            let read = log.read_line(&mut lines).expect("a log of text");
            assert!(read > 0, "the server ended: {lines}");
        }
        Some(Server { child, folder, _log: log })
    }

    /// Asserts that the server answers `input` as we do.
    fn expect(&self, input: &[u8], ours: &Answer) {
        let theirs = self.ask(input, ours.closed);
        assert_eq!(&theirs, ours, "{}", shown(input));
    }

    /// Sends `input` on a new connection and reads until the server closes it. Unless that is what
    /// it is expected to do, a command follows whose answer is like no other and ends the reading.
    fn ask(&self, input: &[u8], will_close: bool) -> Answer {
        // Inline, because Valkey 8 takes an array that comes with a blank line for inline words.
        const LAST: &[u8] = b"ECHO still-there!\r\n";
        const LAST_ANSWER: &[u8] = b"$12\r\nstill-there!\r\n";
        let mut stream = UnixStream::connect(socket(&self.folder)).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a duration that is not 0");
        // It may close while we write: what it said before can still be read.
        let last = if will_close { b"" } else { LAST };
        let _ = stream.write_all(input).and_then(|()| stream.write_all(last));
        let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        let closed = loop {
            match stream.read(&mut chunk) {
                Ok(0) => break true,
                Ok(read) => bytes.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
                Err(error) => panic!("{error} after {}: {}", shown(input), shown(&bytes)),
            }
            if let Some(length) = bytes.len().checked_sub(LAST_ANSWER.len())
                && bytes.ends_with(LAST_ANSWER)
            {
                bytes.truncate(length);
                break false;
            }
        };
        Answer { bytes: bytes.escape_ascii().to_string(), closed }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How long a server may take for an answer or for closing: reached only when a test fails.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// The start of some bytes, for a message.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(80)].escape_ascii().to_string()
}

fn socket(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("socket")
}
