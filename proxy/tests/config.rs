//! The option table and what it makes: flags, variables, keys, help, `conf/slotway.toml`; which
//! source wins; passwords. What is said about wrong ones: `config_refusals.rs`.

mod options_fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use options_fixture::{Env, Folder, load, refuse, run, run_exactly};
use slotway::config::{Config, Invocation, options, reference};
use slotway::session::Manners;

/// For each option two values, both unlike its default and unlike each other.
const SAMPLES: &[(&str, &str, &str)] = &[
    ("seeds", "a:1,b:2", "[::1]:7000"),
    ("address-map", "a:1=b:2", "c:3=d:4,e:5=f:6"),
    ("node-user", "alice", "bob"),
    ("node-password-file", "PASSWORD_FILE_1", "PASSWORD_FILE_2"),
    ("node-password", "hunter2", "hunter3"),
    ("refresh-period", "500ms", "1m 5s"),
    ("startup-timeout", "30s", "1h"),
    ("connect-timeout", "10ms", "60s"),
    ("node-connections-max", "65", "10000"),
    ("node-idle-timeout", "1s", "1day"),
    ("listen", "0.0.0.0:0", "[::]:6379?mask-deadline=0,localhost:6380?cross-slot=strict"),
    ("clients-max", "1", "1000000"),
    ("client-requests-max", "1", "65535"),
    ("client-order", "strict", ""),
    ("cross-slot", "strict", ""),
    ("client-output-max", "1MiB", "64GiB"),
    ("client-subscriptions-max", "17", "18"),
    ("arguments-max", "16", "2147483647"),
    ("bulk-max", "1MiB", "1073741824"),
    ("announce", "a:1,b:2", "[::1]:7000"),
    ("allow-commands", "debug,migrate", "cluster,config|rewrite"),
    ("tcp-keepalive", "off", "1s"),
    ("retry-unknown", "idempotent", "both"),
    ("circuit-wait", "0s", "1h"),
    ("mask-deadline", "0", "30s"),
    ("park-max-requests", "0", "7"),
    ("park-max-bytes", "0", "1TiB"),
    ("script-cache-max", "0", "1MiB"),
    ("tracking-max-bytes", "1MiB", "64KiB"),
    ("large-request", "16KiB", "2MB"),
    ("large-requests-max-bytes", "512MiB", "1TiB"),
    ("large-reply", "16384", "64MiB"),
    ("large-stall", "100ms", "1h"),
    ("workers", "7", "31"),
    ("second-look", "true", ""),
    ("admin", "127.0.0.1:9121", "[::]:0"),
    ("log-level", "debug", "info,slotway::discovery=trace"),
    ("log-format", "json", ""),
    ("drain-timeout", "0", "1h"),
    ("config", "OTHER_FILE_1", "OTHER_FILE_2"),
];

#[test]
fn every_option_is_reached_by_its_flag_its_variable_and_its_key() {
    let folder = Folder::new();
    for row in options() {
        let name = row.name.as_str();
        // What a run needs beside this option.
        let seeds = Some(("SLOTWAY_SEEDS", "default:1")).filter(|_| name != "seeds");
        let password = Some(("SLOTWAY_NODE_PASSWORD", "p")).filter(|_| name == "node-user");
        let env: Vec<_> = seeds.into_iter().chain(password).collect();
        let default = if name == "seeds" { Config::default() } else { run_exactly(&[], &env) };

        let mut reached = vec![default];
        for sample in samples(&folder, name) {
            let by_variable = run_exactly(&[], &[&env[..], &[(&row.variable, &sample)]].concat());
            if row.has_flag() {
                let by_flag = run_exactly(&[&format!("--{name}={sample}")], &env);
                assert_eq!(by_flag, by_variable, "--{name}={sample}");
            }
            if row.has_key() {
                let file = folder.write("one.toml", &line(name, &sample));
                let by_key = Config { config: None, ..run_exactly(&["--config", &file], &env) };
                assert_eq!(by_key, by_variable, "{name} = {sample}");
            }
            assert!(!reached.contains(&by_variable), "{name} = {sample} changes nothing");
            reached.push(by_variable);
        }
        assert!(row.has_flag() || row.has_key(), "{name}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_over_a_key_over_the_default() {
    let folder = Folder::new();
    let content = "drain-timeout = '1s'\nclients-max = 11\nlisten = ['f:1', 'f:2']";
    let file = folder.write("all.toml", content);
    let variable = ("SLOTWAY_DRAIN_TIMEOUT", "2s");
    let table: [(&[&str], Env<'_>, u64); 8] = [
        (&[], &[], 10),
        (&["--config", &file], &[], 1),
        (&[], &[("SLOTWAY_CONFIG", &file)], 1),
        (&[], &[variable], 2),
        (&["--config", &file], &[variable], 2),
        (&["--config", &file], &[("SLOTWAY_DRAIN_TIMEOUT", "")], 1),
        (&["--drain-timeout", "3s"], &[variable], 3),
        (&["--config", &file, "--drain-timeout", "3s"], &[variable], 3),
    ];
    for (args, env, seconds) in table {
        let config = run(args, env);
        assert_eq!(config.drain_timeout, Duration::from_secs(seconds), "{args:?} {env:?}");
        assert_eq!(config.clients_max, if config.config.is_some() { 11 } else { 10_000 });
    }

    // A list is replaced as a whole; pieces of it add up only among flags.
    let config = run(&["--config", &file, "--listen", "a:1,b:2", "--listen", "c:3"], &[]);
    assert_eq!(format!("{:?}", config.listen), "[a:1, b:2, c:3]");
    // An empty flag takes back what others say.
    assert_eq!(run(&["--admin", ""], &[("SLOTWAY_ADMIN", "a:1")]).admin, None);
    // The file that is named with precedence is the one that is read.
    let config = run(&["--config", &file], &[("SLOTWAY_CONFIG", "/nowhere")]);
    assert_eq!(config.clients_max, 11);
}

#[test]
fn a_listener_has_what_it_says_and_otherwise_what_the_process_has() {
    let listen = "a:1,b:1?cross-slot=strict&mask-deadline=5s&client-order=pipelined,\
                  c:1?mask-deadline=auto, d:1?mask-deadline=0, e:1?mask-deadline=5s";
    let told = |args: &[&str]| {
        let config = run(&[&["--listen", listen], args].concat(), &[]);
        let settings = slotway::config::settings(&config).expect("no file is read");
        let deadlines = settings.worker.deadlines;
        let told = settings.listen.iter().map(|listen| {
            let Manners { split, strict_order, patience } = listen.manners;
            let chosen = patience.number().map(|_| deadlines.of(patience).as_secs());
            (listen.host.clone() + &listen.port.to_string(), split, strict_order, chosen)
        });
        (told.collect::<Vec<_>>(), deadlines.chosen.len())
    };
    let at = |at: &str| at.to_owned();
    assert_eq!(
        told(&[]),
        (
            vec![
                (at("a1"), true, false, None),
                (at("b1"), false, false, Some(5)),
                (at("c1"), true, false, None),
                (at("d1"), true, false, Some(0)),
                (at("e1"), true, false, Some(5)),
            ],
            2
        )
    );
    let process = ["--cross-slot=strict", "--client-order=strict", "--mask-deadline=7s"];
    assert_eq!(
        told(&process),
        (
            vec![
                (at("a1"), false, true, Some(7)),
                (at("b1"), false, false, Some(5)),
                (at("c1"), false, true, None),
                (at("d1"), false, true, Some(0)),
                (at("e1"), false, true, Some(5)),
            ],
            3
        )
    );
}

#[test]
fn values_of_a_file_may_have_their_natural_types() {
    let folder = Folder::new();
    let table = [
        ("clients-max = 1_000", "clients-max = '1000'"),
        ("clients-max = 0x10", "clients-max = '16'"),
        ("bulk-max = 1073741824", "bulk-max = '1GiB'"),
        ("second-look = true", "second-look = 'true'"),
        ("listen = ['a:1', 'b:2']", "listen = 'a:1, b:2'"),
        ("listen = ['a:1?cross-slot=strict', 'b:2']", "listen = 'a:1?cross-slot=strict,b:2'"),
        ("\"clients-max\" = 7", "clients-max = '''7'''"),
    ];
    for (natural, text) in table {
        let [natural, text] = [natural, text].map(|content| {
            let file = folder.write("types.toml", content);
            run(&["--config", &file], &[])
        });
        assert_eq!(natural, text);
        assert_ne!(natural, Config { config: natural.config.clone(), ..run(&[], &[]) });
    }
}

#[test]
fn a_bare_switch_means_true() {
    assert!(run(&["--second-look"], &[]).second_look);
    assert!(!run(&["--second-look=false"], &[("SLOTWAY_SECOND_LOOK", "true")]).second_look);
}

#[test]
fn the_password_comes_from_the_source_that_takes_precedence() {
    let folder = Folder::new();
    let secret = folder.private("password", "from-file\n");
    let in_file = |key: &str, value: &str| folder.private("p.toml", &line(key, value));
    let flag = ["--node-password-file", &secret];
    let password = |args: &[&str], env: Env<'_>| {
        let password = run(args, env).node_password.expect("a password is given");
        String::from_utf8(password.expose().to_vec()).expect("the samples are text")
    };

    assert_eq!(password(&flag, &[]), "from-file");
    assert_eq!(password(&flag, &[("SLOTWAY_NODE_PASSWORD", "direct")]), "from-file");
    let config = in_file("node-password-file", &secret);
    assert_eq!(password(&["--config", &config], &[]), "from-file");
    assert_eq!(password(&["--config", &config], &[("SLOTWAY_NODE_PASSWORD", "direct")]), "direct");
    let config = in_file("node-password", "in-config");
    assert_eq!(password(&["--config", &config], &[]), "in-config");
    assert_eq!(password(&["--config", &config, flag[0], flag[1]], &[]), "from-file");
    let both = folder.private("both.toml", "node-password = 'x'\nnode-password-file = ''");
    assert_eq!(password(&["--config", &both], &[]), "x");
}

#[test]
fn a_password_is_never_shown() {
    let folder = Folder::new();
    let shown = |args: &[&str], env: Env<'_>| {
        let args = [&["--seeds", "a:1"], args].concat();
        format!("{:?}", load(&args, env))
    };
    let sound = folder.write("s.toml", "node-password = 'hunter2'");
    let beside = folder.write("p.toml", "node-password = 'hunter2'\nworkers = 99");
    let unclosed = folder.write("u.toml", "node-password = 'hunter2");
    let bare = folder.write("b.toml", "node-password = hunter2");
    let list = folder.write("l.toml", "node-password = ['hunter2']");
    let long = folder.write("long.toml", &line("node-password", &"hunter2".repeat(4000)));
    let secret = folder.write("secret", "hunter2");
    for text in [
        shown(&[], &[("SLOTWAY_NODE_PASSWORD", "hunter2")]),
        shown(&["--node-password-file", &secret], &[]),
        shown(&["--node-password=hunter2"], &[]),
        shown(&["--node-password", "hunter2"], &[]),
        shown(&["--config", &sound], &[]),
        shown(&["--config", &beside], &[]),
        shown(&["--config", &unclosed], &[]),
        shown(&["--config", &bare], &[]),
        shown(&["--config", &list], &[]),
        shown(&["--config", &long], &[]),
    ] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_everybody_can_read_and_holds_a_password_is_warned_about() {
    let folder = Folder::new();
    let warned = |args: &[&str]| match load(&[&["--seeds", "a:1"], args].concat(), &[]) {
        Ok(Invocation::Run { warnings, .. }) => warnings,
        other => panic!("{other:?}"),
    };
    let sentence =
        |open: &str| format!("{open} holds a password and everybody can read it: chmod o-r {open}");
    let open = folder.write("open", "secret");
    assert_eq!(warned(&["--node-password-file", &open]), [sentence(&open)]);
    let open = folder.write("open.toml", "node-password = 'secret'");
    assert_eq!(warned(&["--config", &open]), [sentence(&open)]);

    let none: [&str; 0] = [];
    assert_eq!(warned(&["--node-password-file", &folder.private("closed", "secret")]), none);
    let closed = folder.private("closed.toml", "node-password = 'secret'");
    assert_eq!(warned(&["--config", &closed]), none);
}

#[test]
fn help_lists_every_option_with_its_default() {
    for flag in ["--help", "-h"] {
        let Ok(Invocation::Print(help)) = load(&[flag], &[]) else { panic!("no help") };
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for row in options() {
            let name =
                if row.has_flag() { format!("--{}", row.name) } else { row.variable.clone() };
            let listed = help.lines().any(|line| {
                let rest = line.trim_start().strip_prefix(&name);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '[']))
            });
            assert!(listed, "{name} is not in the help:\n{help}");
            let mut sentence = row.help.clone();
            if !row.default.is_empty() {
                sentence += &format!(" [default: {}]", row.default);
            }
            assert!(words.contains(&sentence), "{sentence} is not in the help:\n{help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

#[test]
fn version_is_the_crates() {
    let Ok(Invocation::Print(text)) = load(&["--version"], &[]) else { panic!("no version") };
    assert_eq!(text, concat!("slotway ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn conf_slotway_toml_is_up_to_date() {
    let path = conf();
    if std::env::var_os("SLOTWAY_UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("it lies in conf/")).expect("conf/ is there");
        fs::write(&path, reference()).expect("conf/slotway.toml is written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == reference(),
        "conf/slotway.toml is not what the table of options makes. Update it by:\n    \
         SLOTWAY_UPDATE=1 cargo test -p slotway --test config"
    );
}

/// On the text itself: the file may just be rewritten by the test above.
#[test]
fn what_conf_slotway_toml_says_is_valid_and_the_defaults() {
    let text = reference();
    for row in options().iter().filter(|row| row.has_key()) {
        let keys = text.lines().filter(|line| line.starts_with(&format!("{} = ", row.name)));
        assert_eq!(keys.count(), 1, "{}", row.name);
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");

    let folder = Folder::new();
    let path = folder.write("slotway.toml", &text);
    match load(&["check", "--config", &path], &[]) {
        Ok(Invocation::Check { verdict, warnings }) => {
            assert_eq!(verdict, format!("{path} is valid"));
            assert!(matches!(&warnings[..], [one] if one.starts_with("no seeds")), "{warnings:?}");
        }
        other => panic!("{other:?}"),
    }
    let config = Config { config: None, ..run(&["--config", &path], &[]) };
    assert_eq!(config, run(&[], &[]));
}

#[test]
fn without_any_source_every_option_is_at_its_default() {
    let expected = Config { seeds: run(&[], &[]).seeds, ..Config::default() };
    assert_eq!(run(&[], &[]), expected);
}

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/slotway.toml")
}

/// The samples of an option; the files that they name are made.
fn samples(folder: &Folder, name: &str) -> Vec<String> {
    let sample = SAMPLES.iter().find(|sample| sample.0 == name);
    let (_, first, second) = sample.unwrap_or_else(|| panic!("{name} needs a row in SAMPLES"));
    let samples = [first, second].into_iter().filter(|sample| !sample.is_empty());
    let resolve = |sample: &&str| match name {
        "node-password-file" => folder.write(sample, sample),
        "config" => folder.write(sample, ""),
        _ => (*sample).to_string(),
    };
    samples.map(resolve).collect()
}

/// A line of a file that gives one option.
fn line(key: &str, value: &str) -> String {
    format!("{key} = '{value}'")
}

#[test]
fn the_password_given_twice_in_the_same_way_is_refused() {
    let folder = Folder::new();
    let secret = folder.private("password", "from-file\n");
    let both =
        [("SLOTWAY_NODE_PASSWORD", "direct"), ("SLOTWAY_NODE_PASSWORD_FILE", secret.as_str())];
    assert_eq!(
        refuse(&["--seeds", "a:1"], &both),
        "error: SLOTWAY_NODE_PASSWORD is given beside node-password-file: give one of them"
    );
}
