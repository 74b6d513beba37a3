//! What servers of each version say, and what is made of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::topology::reply::decode_whole;
use crate::topology::samples::{answers, at, frame, id, spelled};

fn ids(digit: char) -> String {
    id(digit).to_string()
}

fn seen(view: &View, digit: char) -> &Seen {
    view.nodes.iter().find(|node| node.id == id(digit)).unwrap()
}

fn dial(view: &View, digit: char) -> String {
    seen(view, digit).dial.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn names(view: &View, digit: char) -> Vec<String> {
    seen(view, digit).names.iter().map(ToString::to_string).collect()
}

fn slots_view(slots: Value) -> View {
    let answers = Answers { slots: Some(frame(slots)), ..Answers::default() };
    View::read(&at("10.0.0.9:7009"), false, &answers).unwrap()
}

/// A server that has the node table but not the map: endpoints of nodes on 6.2.
const NODES_6_2: &str = "
    @a 10.0.0.1:7000@17000 myself,master - 0 1700000000000 1 connected 0-8191 [100->-bbbb]
    @b 10.0.0.2:7001@17001 master - 0 1700000000000 2 connected 8192-16382 16383
    @c 10.0.0.3:7002@17002 slave @a 0 1700000000000 1 connected
    @d 10.0.0.4:7003@17003 slave,fail? @b 0 1700000000000 2 connected
    @e 10.0.0.5:7004@17004 master - 0 1700000000000 0 connected
    @f :0@0 master,noaddr,fail - 0 1700000000000 0 disconnected
    @0 10.0.0.6:7005@17005 handshake - 0 0 0 connected
";

#[test]
fn a_6_2_map_has_nodes_of_three_elements() {
    let mut answers = answers("ok", 6, NODES_6_2);
    answers.my_id = Some(frame(json!(ids('a'))));
    answers.slots = Some(frame(json!([
        [0, 8191, ["10.0.0.1", 7000, ids('a')], ["10.0.0.3", 7002, ids('c')]],
        [8192, 16383, ["10.0.0.2", 7001, ids('b')]],
    ])));
    answers.shards = Some(frame(
        json!({"err": "ERR Unknown subcommand or wrong number of arguments for 'SHARDS'. Try CLUSTER HELP."}),
    ));
    let view = View::read(&at("10.0.0.1:7000"), true, &answers).unwrap();

    assert_eq!((view.myself, view.state, view.current_epoch), (Some(id('a')), State::Ok, 6));
    assert!(view.is_good() && view.epochs_known && view.seed);
    assert_eq!(view.owned.last().map(|o| (o.first.number(), o.owner)), Some((16383, id('b'))));
    let brief = |digit| {
        let node = seen(&view, digit);
        (node.role, node.follows, node.health, node.config_epoch)
    };
    assert_eq!(brief('a'), (Role::Primary, None, Health::Online, 1));
    assert_eq!(brief('c'), (Role::Replica, Some(id('a')), Health::Online, 1));
    assert_eq!(brief('d'), (Role::Replica, Some(id('b')), Health::Suspect, 2));
    assert_eq!(brief('e'), (Role::Primary, None, Health::Online, 0), "it will import slots");
    assert_eq!(dial(&view, 'e'), "10.0.0.5:7004");
    assert_eq!(seen(&view, 'f').dial, None);
    assert!(view.nodes.iter().all(|n| n.id != id('0')), "its id is made up");
}

#[test]
fn a_7_0_map_names_nodes_in_every_form() {
    let metadata = |pairs: &[&str]| json!(pairs);
    // Preferred ip (with a host name beside it), hostname, a hostname that is missing, nothing
    // (null), and a node that does not know its own address yet.
    let view = slots_view(json!([
        [0, 99, ["10.0.0.1", 7000, ids('a'), metadata(&["hostname", "a.example"])]],
        [100, 199, ["b.example", 7001, ids('b'), metadata(&["ip", "10.0.0.2"])]],
        [200, 299, ["?", 7002, ids('c'), metadata(&["ip", "10.0.0.3"])]],
        [300, 399, [null, 7003, ids('d'), metadata(&["ip", "10.0.0.4"])]],
        [400, 499, ["", 7004, ids('e'), metadata(&[])]],
        [500, 599, ["fd00::6", 7005, ids('f'), metadata(&[])]],
        [600, 699, ["?", 7006, ids('0'), metadata(&[])]],
    ]));
    let cases: [(char, &str, &[&str]); 7] = [
        ('a', "10.0.0.1:7000", &["10.0.0.1:7000", "a.example:7000"]),
        ('b', "b.example:7001", &["b.example:7001", "10.0.0.2:7001"]),
        ('c', "10.0.0.3:7002", &["10.0.0.3:7002"]),
        ('d', "10.0.0.9:7003", &["10.0.0.9:7003", "10.0.0.4:7003"]),
        ('e', "10.0.0.9:7004", &["10.0.0.9:7004"]),
        ('f', "[fd00::6]:7005", &["[fd00::6]:7005"]),
        ('0', "", &[]),
    ];
    for (digit, address, forms) in cases {
        assert_eq!(dial(&view, digit), address, "{digit}");
        assert_eq!(names(&view, digit), forms, "{digit}");
    }
    assert!(!view.epochs_known && !view.is_good());
    assert_eq!(view.slots_covered(), 700);
}

#[test]
fn a_9_1_map_has_zones_and_keys_nobody_has_heard_of() {
    let zone = |zone: &str| json!(["availability-zone", zone, "shiny-new-key", "x", "odd"]);
    let mut answers = answers(
        "ok",
        3,
        "
        @a 10.0.0.1:7000@17000,,tls-port=0,shard-id=69bc myself,master - 0 0 1 connected 0-16383
        @b 10.0.0.2:7001@17001,,shard-id=69bc slave @a 0 0 1 connected
        @c 10.0.0.3:7002@17002,,shard-id=69bc slave,fail @a 0 0 1 connected
        @d 10.0.0.4:7003@17003,,shard-id=69bc slave @a 0 0 1 connected
        @e 10.0.0.5:7004@17004,,shard-id=77aa master - 0 0 0 connected
    ",
    );
    answers.slots = Some(frame(json!([[
        0,
        16383,
        ["10.0.0.1", 7000, ids('a'), zone("eu-1a")],
        ["10.0.0.2", 7001, ids('b'), zone("eu-1b")],
    ]])));
    let node = |digit: char, role: &str, health: &str, zone: &str| {
        json!([
            "id",
            ids(digit),
            "port",
            7000 + (digit as u32 - 'a' as u32),
            "ip",
            "10.9.9.9",
            "endpoint",
            "",
            "role",
            role,
            "replication-offset",
            7,
            "health",
            health,
            "availability-zone",
            zone,
            "shiny-new-key",
            ["nested"],
        ])
    };
    answers.shards = Some(frame(json!([
        [
            "id",
            "69bc",
            "shiny",
            1,
            "slots",
            [0, 16383],
            "nodes",
            [
                node('a', "master", "online", "eu-1a"),
                node('b', "replica", "loading", "eu-1b"),
                node('c', "replica", "fail", ""),
                node('d', "replica", "online", "eu-1b"),
            ],
        ],
        ["slots", [], "nodes", [node('e', "master", "online", "eu-1c")], "id", "77aa"],
    ])));
    let view = View::read(&at("10.0.0.1:7000"), false, &answers).unwrap();
    let brief = |digit| (seen(&view, digit).health, seen(&view, digit).zone.as_deref());
    assert_eq!(brief('a'), (Health::Online, Some("eu-1a")));
    assert_eq!(brief('b'), (Health::Loading, Some("eu-1b")));
    assert_eq!(brief('c'), (Health::Failed, None));
    assert_eq!(brief('d'), (Health::Loading, Some("eu-1b")), "SLOTS leaves it out: not caught up");
    assert_eq!(brief('e'), (Health::Online, Some("eu-1c")));
    assert_eq!(dial(&view, 'a'), "10.0.0.1:7000", "SLOTS knows best what is preferred");
    assert_eq!(dial(&view, 'e'), "10.0.0.1:7004", "SHARDS before NODES");
    assert_eq!(names(&view, 'e'), ["10.0.0.5:7004", "10.0.0.1:7004", "10.9.9.9:7004"]);
}

#[test]
fn shards_alone_make_a_map_too() {
    let shards = json!([[
        "slots",
        [0, 99, 200, 299],
        "nodes",
        [
            [
                "id",
                ids('a'),
                "tls-port",
                7443,
                "ip",
                "10.0.0.1",
                "endpoint",
                "?",
                "hostname",
                "",
                "role",
                "master",
                "replication-offset",
                0,
                "health",
                "failed"
            ],
            [
                "id",
                ids('b'),
                "port",
                7001,
                "ip",
                "10.0.0.2",
                "endpoint",
                "b.example",
                "hostname",
                "b.example",
                "role",
                "master",
                "replication-offset",
                0,
                "health",
                "online"
            ],
            ["id", ids('c'), "ip", "10.0.0.3", "role", "replica", "health", "online"],
        ],
    ],]);
    let refused = Some(frame(json!({"err": "NOPERM this user has no permissions"})));
    let answers = Answers {
        my_id: refused.clone(),
        info: refused.clone(),
        slots: refused.clone(),
        nodes: refused,
        shards: Some(frame(shards)),
    };
    let view = View::read(&at("10.0.0.9:7009"), false, &answers).unwrap();
    assert_eq!((view.myself, view.state, view.slots_covered()), (None, State::Unknown, 200));
    assert!(view.owned.iter().all(|o| o.owner == id('b')), "of two primaries the one that is up");
    assert_eq!(dial(&view, 'a'), "10.0.0.1:7443");
    assert_eq!(seen(&view, 'a').health, Health::Failed);
    assert_eq!(names(&view, 'b'), ["b.example:7001", "10.0.0.2:7001"]);
    assert_eq!((dial(&view, 'c'), seen(&view, 'c').follows), (String::new(), Some(id('b'))));
}

#[test]
fn an_empty_address_of_its_own_is_the_one_that_was_asked() {
    let lines = "@a :7000@17000 myself,master - 0 0 0 connected 0-16383";
    let view = View::read(&at("[::1]:7000"), true, &answers("ok", 0, lines)).unwrap();
    assert_eq!((view.myself, dial(&view, 'a')), (Some(id('a')), "[::1]:7000".to_owned()));
}

#[test]
fn a_node_that_knows_owners_of_no_slot_says_so_even_when_slots_came_later() {
    // Between the two answers the node learned of an owner: one moment decides, not a mixture.
    let mut answers = answers("fail", 0, "@a 10.0.0.1:7000@17000 myself,master - 0 0 0 connected");
    answers.slots = Some(frame(json!([[0, 16383, ["10.0.0.2", 7001, ids('b')]]])));
    let view = View::read(&at("10.0.0.1:7000"), true, &answers).unwrap();
    assert_eq!(view.slots_covered(), 0);
}

#[test]
fn views_agree_when_they_name_no_slot_twice() {
    let one = slots_view(json!([[0, 99, ["h", 1, ids('a')]]]));
    let same = slots_view(json!([[0, 49, ["h", 1, ids('a')]], [100, 100, ["h", 2, ids('b')]]]));
    let other = slots_view(json!([[99, 99, ["h", 2, ids('b')]]]));
    assert!(one.agrees_with(&same));
    assert!(!one.agrees_with(&other));
}

#[test]
fn what_a_node_refuses_is_told_apart() {
    let refusing = |text: &str| {
        let error = Some(frame(json!({"err": text})));
        let answers = Answers { my_id: error.clone(), slots: error, ..Answers::default() };
        View::read(&at("h:1"), true, &answers).unwrap_err().to_string()
    };
    let cases = [
        (
            "ERR This instance has cluster support disabled",
            "is not a cluster node; slotway needs cluster mode",
        ),
        (
            "LOADING Valkey is loading the dataset in memory",
            "is not ready: LOADING Valkey is loading the dataset in memory",
        ),
        (
            "NOAUTH Authentication required.",
            "refused to give its map: NOAUTH Authentication required.",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refusing(text), message);
    }
    let long = format!("ERR \u{1b}[31m{}", "x".repeat(5000));
    assert!(refusing(&long).len() < 300 && !refusing(&long).contains('\u{1b}'));
    let nothing = View::read(&at("h:1"), true, &Answers::default());
    assert_eq!(nothing.unwrap_err(), ViewError::Refused("it gave none".into()));
}

#[test]
fn an_answer_without_its_form_makes_no_view() {
    let node = json!(["h", 1, ids('a')]);
    let slots = [
        json!("x"),
        json!([1]),
        json!([[0]]),
        json!([[0, 16384, node]]),
        json!([[5, 4, node]]),
        json!([[-1, 4, node]]),
        json!([[0, 4, ["h", 1]]]),
        json!([[0, 4, ["h", 1, "short"]]]),
        json!([[0, 4, node], [4, 5, node]]),
    ];
    for slots in slots {
        let answers = Answers { slots: Some(frame(slots.clone())), ..Answers::default() };
        let result = View::read(&at("h:1"), true, &answers);
        assert!(matches!(result, Err(ViewError::Malformed { .. })), "{slots}");
    }
    let lines = [
        "x",
        "@a h:1@2 master - 0 0 0",
        "nope h:1@2 master - 0 0 0 connected",
        "@a h:1@2 master - 0 0 x connected",
        "@a h:1@2 master - 0 0 1 connected 5-4",
        "@a h:1@2 master - 0 0 1 connected 16384",
        "@a h:1@2 master - 0 0 1 connected 1-x",
    ];
    for lines in lines {
        let result = View::read(&at("h:1"), true, &answers("ok", 1, lines));
        assert!(matches!(result, Err(ViewError::Malformed { .. })), "{lines}");
    }
    for shards in [json!(1), json!([1]), json!([["nodes", [1]]]), json!([["nodes", [["id", "x"]]]])]
    {
        let answers = Answers { shards: Some(frame(shards.clone())), ..Answers::default() };
        let result = View::read(&at("h:1"), true, &answers);
        assert!(matches!(result, Err(ViewError::Malformed { .. })), "{shards}");
    }
}

/// Values that look like maps in places, so that parsing gets somewhere.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (-2i64..20_000).prop_map(|n| json!(n)),
        prop::sample::select(vec![
            "id", "slots", "nodes", "port", "ip", "endpoint", "role", "?", ""
        ])
        .prop_map(|s| json!(s)),
        Just(json!(ids('a'))),
        Just(json!(ids('b'))),
        "[ -~]{0,8}".prop_map(|s| json!(s)),
        Just(json!({"err": "ERR no"})),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(|v| json!(v)))
}

proptest! {
    #[test]
    fn any_answers_are_read_or_refused_without_a_panic(
        values in prop::collection::vec(prop::option::of(any_value()), 5),
        lines in "(@[ab] [a-z0-9:@,.]{0,12} (master|slave|myself|fail)(,fail\\?)? (-|@a) 0 0 [0-9]{1,2} ok( [0-9-]{1,9}){0,3}\n){0,4}",
    ) {
        let mut answers = values.into_iter().map(|value| value.map(frame));
        let mut next = || answers.next().flatten();
        let answers = Answers { my_id: next(), info: next(), slots: next(), shards: next(), nodes: next() };
        let _ = View::read(&at("h:1"), false, &answers);
        let nodes = Some(frame(json!(spelled(&lines))));
        let _ = View::read(&at("h:1"), false, &Answers { nodes, ..answers });
    }

    #[test]
    fn any_bytes_make_a_view_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(reply) = decode_whole(&bytes) {
            let slots = Answers { slots: Some(reply.clone()), ..Answers::default() };
            let _ = View::read(&at("h:1"), false, &slots);
            let nodes = Answers { nodes: Some(reply), ..Answers::default() };
            let _ = View::read(&at("h:1"), false, &nodes);
        }
    }
}
