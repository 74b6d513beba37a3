//! What is said about a wrong configuration: the place, the option, the value and the bound.

mod options_fixture;

use std::fs;

use options_fixture::{Env, Folder, load, refuse};
use slotway::config::Invocation;

#[test]
fn a_bad_file_is_told_line_by_line() {
    let table = [
        ("workers = 65", "F:1: workers is \"65\", but must be auto or a whole number from 1 to 64"),
        (
            "# comment\n\nworkers = 0\nbulk-max = '3GiB'\nrefresh-period = 10",
            "F:3: workers is \"0\", but must be auto or a whole number from 1 to 64\n\
             F:4: bulk-max is \"3GiB\", but must be a size from 16KiB to 2GiB\n\
             F:5: refresh-period is \"10\", but must be a duration from 100ms to 1h, with its unit",
        ),
        (
            "workers = 0\nlarge_request = 1\n\nxyz = 2\nclients-max = 0",
            "F:1: workers is \"0\", but must be auto or a whole number from 1 to 64\n\
             F:2: large_request is not an option, did you mean large-request?\n\
             F:4: xyz is not an option\n\
             F:5: clients-max is \"0\", but must be a whole number from 1 to 1000000",
        ),
        (
            "[listen]\nport = 1",
            "F:1: listen is of type table, but must be a list of 1 to 1000, each host:port \
             ([host]:port for IPv6) with a port from 0 to 65535, its own options behind a question \
             mark",
        ),
        (
            "listen = ['a:1',\n 'b?cross-slot=strict']",
            "F:1: listen has the item \"b?cross-slot=strict\", but each must be host:port \
             ([host]:port for IPv6) with a port from 0 to 65535, its own options behind a question \
             mark",
        ),
        (
            "\nlisten = ['a:1', 'b:2?mask-deadline=5s&cros-slot=strict', 'c?']",
            "F:2: listen has the item \"b:2?mask-deadline=5s&cros-slot=strict\": \"cros-slot\" is not \
             an option of a listener, did you mean cross-slot?",
        ),
        (
            "listen = 'a:1?workers=1'",
            "F:1: listen has the item \"a:1?workers=1\": \"workers\" is not an option of a listener, \
             those are client-order, cross-slot, mask-deadline",
        ),
        (
            "listen = 'a:1?'",
            "F:1: listen has the item \"a:1?\": \"\" is not an option of a listener, those are \
             client-order, cross-slot, mask-deadline",
        ),
        (
            "listen = 'a:1?mask-deadline=5'",
            "F:1: listen has the item \"a:1?mask-deadline=5\": mask-deadline is \"5\", but must be \
             auto or a duration from 0s to 1h, with its unit",
        ),
        (
            "listen = 'a:1?client-order'",
            "F:1: listen has the item \"a:1?client-order\": client-order is \"\", but must be \
             pipelined or strict",
        ),
        (
            "listen = 'a:1?cross-slot=split&cross-slot=split'",
            "F:1: listen has the item \"a:1?cross-slot=split&cross-slot=split\": cross-slot is given \
             twice",
        ),
        (
            "listen = ['a:1', 'a:0', 'a:0', 'a:1?cross-slot=split']",
            "F:1: listen names a:1 more than once",
        ),
        (
            "workers = [1]",
            "F:1: workers is of type array, but must be auto or a whole number from 1 to 64",
        ),
        (
            "drain-timeout = 1.5",
            "F:1: drain-timeout is of type float, but must be a duration from 0s to 1h, with its unit",
        ),
        (
            "seeds = ['a:1',\n 'b']",
            "F:1: seeds has the item \"b\", but each must be host:port ([host]:port for IPv6) with \
             a port from 1 to 65535",
        ),
        ("listen = []", "F:1: listen has 0 items, but must have 1 to 1000"),
        ("config = 'x'", "F:1: config cannot stand in the file: give --config or SLOTWAY_CONFIG"),
        ("second-look = 1", "F:1: second-look is \"1\", but must be true or false"),
        ("log-format = 'xml'", "F:1: log-format is \"xml\", but must be text or json"),
        (
            "log-level = 'inof'",
            "F:1: log-level is \"inof\", but must be off, error, warn, info, debug, trace or \
             directives like info,slotway::discovery=debug",
        ),
        (
            "node-user = 'a b'",
            "F:1: node-user is \"a b\", but must be a name without spaces of at most 1024 bytes",
        ),
        (
            "address-map = ['a:1']",
            "F:1: address-map has the item \"a:1\", but each must be announced=reachable, both \
             host:port ([host]:port for IPv6)",
        ),
        ("address-map = ['a:1=b:1', 'a:1=c:1']", "F:1: address-map maps a:1 more than once"),
        ("workers = 1\nworkers = 2", "F:2: duplicate key"),
        (
            "workers = 1\nbulk-max = 512MiB\n",
            "F:2: string values must be quoted, expected literal string",
        ),
        (
            "workers = \n\nfoo",
            "F:1: string values must be quoted, expected literal string\n\
             F:3: key with no value, expected `=`",
        ),
    ];
    let folder = Folder::new();
    for (content, expected) in table {
        let file = folder.write("bad.toml", content);
        let refusal = refuse(&["check", "--config", &file], &[("SLOTWAY_SEEDS", "a:1")]);
        let expected: Vec<_> = expected.lines().map(|line| format!("error: {line}")).collect();
        assert_eq!(refusal.replace(&file, "F"), expected.join("\n"), "{content}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let folder = Folder::new();
    let env = [("SLOTWAY_SEEDS", "a:1")];
    let missing = folder.path("missing.toml");
    assert_eq!(
        refuse(&["--config", &missing], &env),
        format!(
            "error: {missing} is to be the configuration, but it cannot be read: No such file or \
             directory (os error 2)"
        )
    );
    let binary = folder.path("binary.toml");
    fs::write(&binary, b"workers = 1\n# \xff").expect("the file is written");
    assert_eq!(
        refuse(&["check", "--config", &binary], &env),
        format!("error: {binary}:2: this is not UTF-8 text")
    );
    let huge = folder.write("huge.toml", &"# 234567\n".repeat(1 << 17));
    assert_eq!(
        refuse(&["check", "--config", &huge], &env),
        format!("error: {huge} is larger than 1048576 bytes")
    );
}

#[test]
fn a_file_nested_beyond_reason_is_refused() {
    let folder = Folder::new();
    for content in ["seeds = ".to_owned() + &"[".repeat(500_000), "a.".repeat(200_000) + "b = 1"] {
        let deep = folder.write("deep.toml", &content);
        assert!(refuse(&["check", "--config", &deep], &[]).starts_with("error: "));
    }
}

#[test]
fn a_wrong_value_is_told_by_the_name_it_was_given_by() {
    let long = "x".repeat(16_385);
    let clients = "but must be a whole number from 1 to 1000000";
    let table: [(&[&str], Env<'_>, String); 6] = [
        (&["--clients-max", "0"], &[], format!("--clients-max is \"0\", {clients}")),
        (&["--clients-max", "-1"], &[], format!("--clients-max is \"-1\", {clients}")),
        (&["--clients-max="], &[], format!("--clients-max is \"\", {clients}")),
        (
            &[],
            &[("SLOTWAY_CLIENTS_MAX", "many")],
            format!("SLOTWAY_CLIENTS_MAX is \"many\", {clients}"),
        ),
        (
            &[],
            &[("SLOTWAY_NODE_PASSWORD", &long)],
            "SLOTWAY_NODE_PASSWORD has 16385 bytes, but must be a password of 1 to 16384 bytes"
                .to_owned(),
        ),
        (
            &["--seeds", "::1:7000"],
            &[],
            "--seeds has the item \"::1:7000\", but each must be host:port ([host]:port for IPv6) \
             with a port from 1 to 65535"
                .to_owned(),
        ),
    ];
    for (args, env, expected) in table {
        let args = [&["--seeds", "a:1"], args].concat();
        assert_eq!(refuse(&args, env), format!("error: {expected}"));
    }
}

#[test]
fn a_wrong_value_is_told_even_where_a_sound_one_wins() {
    let env = [("SLOTWAY_SEEDS", "a:1"), ("SLOTWAY_WORKERS", "0")];
    assert_eq!(
        refuse(&["--workers", "1"], &env),
        "error: SLOTWAY_WORKERS is \"0\", but must be auto or a whole number from 1 to 64"
    );
}

#[test]
fn options_that_contradict_each_other_are_told_where_the_later_was_given() {
    let folder = Folder::new();
    let file = folder.write("c.toml", "bulk-max = '1MiB'\n\nlarge-request = '2MiB'");
    let table: [(&[&str], Env<'_>, &str); 6] = [
        (
            &["--config", &file],
            &[],
            "F:3: large-request is 2MiB, but must be at most bulk-max in F:1, which is 1MiB: else \
             no argument would ever be large",
        ),
        (
            &["--config", &file],
            &[("SLOTWAY_BULK_MAX", "64KiB")],
            "SLOTWAY_BULK_MAX is 64KiB, but must be at least large-request in F:3, which is 2MiB: \
             else no argument would ever be large",
        ),
        (
            &["--large-request", "1GiB"],
            &[],
            "--large-request is 1GiB, but must be at most the default of bulk-max, which is \
             512MiB: else no argument would ever be large",
        ),
        (
            &["--large-requests-max-bytes", "1MiB"],
            &[],
            "--large-requests-max-bytes is 1MiB, but must be at least the default of bulk-max, \
             which is 512MiB: else the largest argument would never be read",
        ),
        (
            &["--client-output-max", "64KiB"],
            &[("SLOTWAY_LARGE_REPLY", "65537")],
            "--client-output-max is 64KiB, but must be at least SLOTWAY_LARGE_REPLY, which is \
             65537: else a reply just below large-reply would close its client",
        ),
        (
            &["--workers", "4", "--node-connections-max", "8"],
            &[],
            "--node-connections-max does not fit --workers: 4 workers need 9 connections to each \
             node and may have 8; each has one that its clients share and one for large values, \
             and the process has one for the cluster's map",
        ),
    ];
    for (args, env, expected) in table {
        let refusal = refuse(&[&["--seeds", "a:1"], args].concat(), env);
        assert_eq!(refusal.replace(&file, "F"), format!("error: {expected}"));
    }
}

#[test]
fn listeners_have_at_most_as_many_deadlines_as_can_be_told_apart() {
    let all: Vec<_> = (1..=255).map(|n| format!("a:{n}?mask-deadline={n}s")).collect();
    let args = |count: usize| ["--seeds=a:1".to_owned(), "--listen".into(), all[..count].join(",")];
    let given = args(255);
    assert_eq!(
        refuse(&given.each_ref().map(String::as_str), &[]),
        "error: --listen has 255 different values of mask-deadline, but at most 254 can be told apart"
    );
    let given = args(254);
    assert!(load(&given.each_ref().map(String::as_str), &[]).is_ok());
}

#[test]
fn what_is_missing_to_run_is_told_in_plain_words_and_only_mentioned_by_check() {
    let folder = Folder::new();
    let file = folder.write("empty.toml", "");
    let seeds = "no seeds are given, so the cluster cannot be found: name a node or more, for \
                 example --seeds 127.0.0.1:7000 (or SLOTWAY_SEEDS, or seeds in the file)";
    let password = "node-user is given without a password: give node-password-file or \
                    SLOTWAY_NODE_PASSWORD too";
    let args = ["--config", &file, "--node-user", "alice"];
    assert_eq!(refuse(&args, &[]), format!("error: {seeds}\nerror: {password}"));
    match load(&[&["check"], &args[..]].concat(), &[]) {
        Ok(Invocation::Check { verdict, warnings }) => {
            assert_eq!(verdict, format!("{file} is valid"));
            assert_eq!(warnings, [seeds, password]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(refuse(&["check"], &[]), "error: check needs a file to check: give --config FILE");
}

#[test]
fn a_variable_that_no_option_owns_is_a_warning() {
    let table: [(&str, &[&str]); 9] = [
        ("SLOTWAY_SEED", &["SLOTWAY_SEED is not an option, did you mean SLOTWAY_SEEDS?"]),
        ("SLOTWAY_QXZ", &["SLOTWAY_QXZ is not an option"]),
        ("SLOTWAY_TEST_SERVER", &[]),
        ("SLOTWAY_BIN", &[]),
        ("SLOTWAY_UPDATE", &[]),
        ("SLOTWAY_SERVICE_HOST", &[]),
        ("SLOTWAY_PORT_6379_TCP_ADDR", &[]),
        ("slotway_seeds", &[]),
        ("PATH", &[]),
    ];
    for (variable, expected) in table {
        match load(&["--seeds", "a:1"], &[(variable, "x")]) {
            Ok(Invocation::Run { warnings, .. }) => assert_eq!(warnings, expected, "{variable}"),
            other => panic!("{other:?}"),
        }
    }
    // It is told beside the problem that it explains, too.
    assert!(refuse(&[], &[("SLOTWAY_SEED", "a:1")]).ends_with("did you mean SLOTWAY_SEEDS?"));
}

#[test]
fn a_flag_that_does_not_exist_is_told_with_the_one_that_does() {
    let refusal = refuse(&["--node-pasword-file", "x"], &[]);
    assert!(refusal.starts_with("error: unexpected argument '--node-pasword-file' found"));
    assert!(refusal.contains("a similar argument exists: '--node-password-file'"), "{refusal}");
    assert_eq!(
        refuse(&["--node-password", "x"], &[]),
        "error: there is no flag --node-password, since everybody on the machine sees flags in \
         `ps`: use SLOTWAY_NODE_PASSWORD or --node-password-file"
    );
    let refusal = refuse(&["--workers", "1", "--workers", "2"], &[]);
    assert!(refusal.contains("cannot be used multiple times"), "{refusal}");
}
