//! Which word counts when nodes disagree.

use proptest::prelude::*;

use super::*;
use crate::topology::samples::{at, id, view};
use crate::topology::{Change, Health};

fn merged(previous: &Topology, views: &[View]) -> Topology {
    let result = merge(previous, views, &AddressMap::default(), SeedsAsked::Some);
    result.topology.unwrap_or_else(|| previous.clone())
}

fn learned(nodes: &str) -> Topology {
    merged(&Topology::empty(), &[view("10.0.0.1:7000", "ok", 9, nodes)])
}

fn owner(topology: &Topology, slot: u16) -> Option<char> {
    let node = topology.node(topology.primary_of(Slot::new(slot)?)?);
    node.id.as_str().chars().next()
}

/// Two shards of a primary and a replica: a (epoch 1) with c, b (epoch 2) with d.
const BEFORE: &str = "
    @a 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-8191
    @b 10.0.0.2:7001@17001 master - 0 0 2 connected 8192-16383
    @c 10.0.0.3:7002@17002 slave @a 0 0 1 connected
    @d 10.0.0.4:7003@17003 slave @b 0 0 2 connected
";
/// The same after c was promoted with epoch 9.
const AFTER: &str = "
    @a 10.0.0.1:7000@17000 slave @c 0 0 9 connected
    @b 10.0.0.2:7001@17001 myself,master - 0 0 2 connected 8192-16383
    @c 10.0.0.3:7002@17002 master - 0 0 9 connected 0-8191
    @d 10.0.0.4:7003@17003 slave @b 0 0 2 connected
";

#[test]
fn the_highest_config_epoch_owns_the_range() {
    let old = view("10.0.0.1:7000", "ok", 9, BEFORE);
    let new = view("10.0.0.2:7001", "ok", 9, AFTER);
    for views in [[old.clone(), new.clone()], [new, old]] {
        let topology = merged(&learned(BEFORE), &views);
        assert_eq!((owner(&topology, 0), owner(&topology, 8192)), (Some('c'), Some('b')));
        assert_eq!(topology.epoch_of(Slot::new(0).unwrap()), 9);
        let demoted = topology.node(topology.node_by_id(&id('a')).unwrap());
        assert_eq!((demoted.role, demoted.follows), (Role::Replica, Some(id('c'))));
        let shard = topology.shard(topology.shard_of(Slot::new(0).unwrap()).unwrap());
        assert_eq!(shard.replicas.len(), 1);
    }
}

#[test]
fn a_slot_never_goes_back_to_an_older_epoch() {
    let after = learned(AFTER);
    let stale = view("10.0.0.1:7000", "ok", 8, BEFORE);
    let result = merge(&after, &[stale], &AddressMap::default(), SeedsAsked::All);
    assert!(!result.replaced && result.foreign.is_empty());
    let topology = result.topology.unwrap();
    assert!(after.diff(&topology).is_empty(), "all that changed is who is known to be behind");
    assert_eq!((owner(&topology, 0), topology.epoch_of(Slot::new(0).unwrap())), (Some('c'), 9));
    assert_eq!(after.shards().collect::<Vec<_>>(), topology.shards().collect::<Vec<_>>());
}

#[test]
fn who_has_not_shown_the_newest_epochs_is_behind() {
    // The view of the node with this digit.
    let by = |digit, nodes: &str| View { myself: Some(id(digit)), ..view("h:1", "ok", 9, nodes) };
    let behind = |topology: &Topology| -> String {
        let nodes = topology.nodes().filter(|(_, node)| node.behind);
        nodes.filter_map(|(_, node)| node.id.as_str().chars().next()).collect()
    };
    let map = merged(&Topology::empty(), &[by('a', BEFORE)]);
    assert_eq!(behind(&map), "", "nothing is known against the others");
    let map = merged(&map, &[by('c', AFTER)]);
    assert_eq!(behind(&map), "abd", "it may be new to all who were not asked");
    let map = merged(&map, &[by('b', AFTER), by('d', BEFORE)]);
    assert_eq!(behind(&map), "ad");
    assert_eq!(behind(&merged(&map, &[by('c', AFTER)])), "ad", "until they are asked again");
    let both = merged(&map, &[by('a', BEFORE), by('d', AFTER)]);
    assert_eq!((behind(&both).as_str(), owner(&both, 0)), ("a", Some('c')));
    let slot = |number| Slot::new(number).unwrap();
    assert!(both.is_behind(&id('a'), slot(0)) && !both.is_behind(&id('b'), slot(0)));
    assert!(!map.is_behind(&id('c'), slot(0)) && !map.is_behind(&id('e'), slot(0)));

    let map = merged(&map, &[by('a', &AFTER.replace(" 9 connected", " 10 connected"))]);
    assert_eq!(behind(&map), "bcd");
    assert!(map.is_behind(&id('b'), slot(0)));
    assert!(!map.is_behind(&id('b'), slot(8192)), "of what it owns it knows the epoch");
}

#[test]
fn a_view_of_a_cluster_that_is_down_loses_against_any_other() {
    // The minority side was made to take over by hand, with a higher epoch than the majority's.
    let minority = BEFORE.replace("0 0 1 connected", "0 0 12 connected");
    let down = view("10.0.0.1:7000", "fail", 12, &minority);
    let up = view("10.0.0.2:7001", "ok", 9, AFTER);
    let topology = merged(&Topology::empty(), &[down.clone(), up]);
    assert_eq!((owner(&topology, 0), topology.state), (Some('c'), State::Ok));
    let topology = merged(&Topology::empty(), &[down]);
    assert_eq!((owner(&topology, 0), topology.state), (Some('a'), State::Fail), "better than none");
}

#[test]
fn equal_epochs_that_contradict_each_other_change_nothing() {
    let one = view("10.0.0.1:7000", "ok", 9, BEFORE);
    let other = view("10.0.0.2:7001", "ok", 9, &AFTER.replace(" 9 connected", " 1 connected"));
    for views in [[one.clone(), other.clone()], [other.clone(), one]] {
        assert_eq!(owner(&merged(&learned(BEFORE), &views), 0), Some('a'));
    }
    let topology = merged(&learned(BEFORE), &[other]);
    assert_eq!(owner(&topology, 0), Some('c'), "alone it is the newer word");
}

#[test]
fn a_slot_is_given_up_only_by_a_view_as_new_as_the_map() {
    let vacated = BEFORE.replace("8192-16383", "8193-16383");
    let topology = merged(&learned(BEFORE), &[view("10.0.0.1:7000", "ok", 8, &vacated)]);
    assert_eq!(owner(&topology, 8192), Some('b'));
    let topology = merged(&learned(BEFORE), &[view("10.0.0.1:7000", "ok", 9, &vacated)]);
    assert_eq!((owner(&topology, 8192), topology.is_complete()), (None, false));
    let other = view("10.0.0.2:7001", "ok", 9, BEFORE);
    let topology = merged(&learned(BEFORE), &[view("10.0.0.1:7000", "ok", 9, &vacated), other]);
    assert_eq!(owner(&topology, 8192), Some('b'), "somebody still knows an owner");
}

/// As a cluster comes to be: each node starts with an epoch of its own, and some become replicas.
#[test]
fn a_primary_that_becomes_the_replica_of_one_with_a_lower_epoch_is_a_replica() {
    let apart = BEFORE
        .replace("slave @a 0 0 1", "master - 0 0 3")
        .replace("slave @b 0 0 2", "master - 0 0 4");
    let map = learned(&apart);
    let role = |map: &Topology, digit| map.node(map.node_by_id(&id(digit)).unwrap()).role;
    assert_eq!([role(&map, 'c'), role(&map, 'd')], [Role::Primary; 2]);
    // Who has not heard of it yet says so: it is put right by the next.
    let half = apart.replace("master - 0 0 3", "slave @a 0 0 1");
    let map = merged(&map, &[view("10.0.0.1:7000", "ok", 9, &half)]);
    assert_eq!([role(&map, 'c'), role(&map, 'd')], [Role::Replica, Role::Primary]);
    let map = merged(&map, &[view("10.0.0.2:7001", "ok", 9, BEFORE)]);
    assert_eq!([role(&map, 'c'), role(&map, 'd')], [Role::Replica; 2]);
    assert!(map.shards().all(|(_, shard)| shard.replicas.len() == 1));
    // But what is older than the map does not make a replica of a primary again.
    for epoch in [8, 9] {
        let stale = merged(&learned(AFTER), &[view("10.0.0.2:7001", "ok", epoch, BEFORE)]);
        assert_eq!([role(&stale, 'a'), role(&stale, 'c')], [Role::Replica, Role::Primary]);
    }
}

#[test]
fn an_owner_that_a_stale_view_does_not_know_stays_a_node() {
    let stale = "@a 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-8191";
    let topology = merged(&learned(BEFORE), &[view("10.0.0.1:7000", "ok", 3, stale)]);
    assert_eq!(owner(&topology, 16383), Some('b'));
    assert!(topology.node_by_id(&id('d')).is_none(), "a replica that nobody lists is gone");
}

#[test]
fn without_epochs_the_newest_word_counts() {
    let mut view = view("10.0.0.2:7001", "ok", 0, &AFTER.replace(" 9 connected", " 0 connected"));
    view.epochs_known = false;
    let topology = merged(&learned(BEFORE), &[view]);
    assert_eq!(owner(&topology, 0), Some('c'));
}

#[test]
fn another_cluster_is_set_aside_unless_every_seed_shows_it() {
    let other = "@e 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-16383";
    let before = learned(BEFORE);
    let none = AddressMap::default();
    let foreign = view("10.0.0.1:7000", "ok", 1, other);

    let result = merge(&before, std::slice::from_ref(&foreign), &none, SeedsAsked::Some);
    assert!(result.topology.is_none() && !result.replaced);
    assert_eq!(result.foreign, [at("10.0.0.1:7000")]);

    let old_seed = view("10.0.0.2:7001", "ok", 9, BEFORE);
    let result = merge(&before, &[foreign.clone(), old_seed.clone()], &none, SeedsAsked::All);
    assert!(result.topology.is_none() && !result.replaced);
    assert_eq!(result.foreign, [at("10.0.0.1:7000")]);

    let old_node = View { seed: false, ..old_seed };
    let result = merge(&before, &[old_node, foreign], &none, SeedsAsked::All);
    let topology = result.topology.unwrap();
    assert!(result.replaced);
    assert_eq!((owner(&topology, 0), topology.nodes().len()), (Some('e'), 1));
    assert_eq!((topology.current_epoch, topology.revision), (1, before.revision + 1));
}

#[test]
fn a_node_that_was_reset_and_stands_alone_replaces_nothing() {
    let alone = "@e 10.0.0.1:7000@17000 myself,master - 0 0 0 connected";
    let foreign = view("10.0.0.1:7000", "fail", 0, alone);
    let result = merge(&learned(BEFORE), &[foreign], &AddressMap::default(), SeedsAsked::All);
    assert!(result.topology.is_none() && !result.replaced);
}

#[test]
fn of_two_clusters_among_the_seeds_the_serving_one_is_taken() {
    let alone = view("10.0.0.9:7009", "fail", 0, "@e :7009@17009 myself,master - 0 0 0 connected");
    let views = [alone, view("10.0.0.1:7000", "ok", 9, BEFORE)];
    let result = merge(&Topology::empty(), &views, &AddressMap::default(), SeedsAsked::Some);
    assert_eq!(result.foreign, [at("10.0.0.9:7009")]);
    assert_eq!(result.topology.unwrap().nodes().len(), 4);
}

#[test]
fn the_address_map_decides_where_to_dial_and_both_forms_stay_known() {
    let map: AddressMap = "10.0.0.1:7000=127.0.0.1:17000,10.0.0.2=127.0.0.2".parse().unwrap();
    let views = [view("127.0.0.1:17000", "ok", 9, BEFORE)];
    let topology = merge(&Topology::empty(), &views, &map, SeedsAsked::Some).topology.unwrap();
    let cases = [
        ('a', "127.0.0.1:17000", "10.0.0.1"),
        ('b', "127.0.0.2:7001", "10.0.0.2"),
        ('c', "10.0.0.3:7002", "10.0.0.3"),
    ];
    for (digit, reached, announced) in cases {
        let index = topology.node_by_id(&id(digit)).unwrap();
        let node = topology.node(index);
        assert_eq!(node.endpoint, at(reached));
        let port = at(reached).port % 10_000;
        assert_eq!(topology.node_by_endpoint(announced, port), Some(index), "{digit} announced");
        let (host, port) = (&node.endpoint.host, node.endpoint.port);
        assert_eq!(topology.node_by_endpoint(host, port), Some(index), "{digit} reached");
    }
}

#[test]
fn nodes_that_differ_in_what_they_prefer_do_not_make_addresses_flap() {
    let by_ip = view("10.0.0.1:7000", "ok", 9, BEFORE);
    let mut by_name = by_ip.clone();
    for node in &mut by_name.nodes {
        let name = Endpoint::new("node.example", node.names[0].port);
        node.names.push(name.clone());
        node.dial = Some(name);
    }
    let topology = merged(&Topology::empty(), std::slice::from_ref(&by_name));
    let dialled = |topology: &Topology| {
        let nodes = topology.nodes().map(|(_, n)| n.endpoint.to_string());
        nodes.collect::<Vec<_>>()
    };
    assert_eq!(dialled(&topology)[0], "node.example:7000");
    let both = merged(&topology, &[by_ip.clone(), by_name]);
    assert_eq!(dialled(&both), dialled(&topology));
    let neither = merged(&topology, &[by_ip]);
    assert_eq!(dialled(&neither)[0], "10.0.0.1:7000", "nobody names it so any more");
}

#[test]
fn a_node_that_has_lost_its_address_is_still_dialled_at_the_last_one() {
    let lost = BEFORE.replace("10.0.0.2:7001@17001 master", ":0@0 master,noaddr");
    let topology = merged(&learned(BEFORE), &[view("10.0.0.1:7000", "ok", 9, &lost)]);
    let node = topology.node(topology.node_by_id(&id('b')).unwrap());
    assert_eq!((node.endpoint.clone(), owner(&topology, 8192)), (at("10.0.0.2:7001"), Some('b')));
}

#[test]
fn health_is_the_word_of_the_best_view() {
    let failing = BEFORE.replace("7003@17003 slave", "7003@17003 slave,fail");
    let down = view("10.0.0.1:7000", "fail", 9, &failing);
    let up = view("10.0.0.2:7001", "ok", 9, BEFORE);
    let health = |views: &[View]| {
        let topology = merged(&Topology::empty(), views);
        topology.node(topology.node_by_id(&id('d')).unwrap()).health
    };
    assert_eq!(health(&[down.clone(), up]), Health::Online);
    assert_eq!(health(&[down]), Health::Failed);
}

#[test]
fn the_same_word_twice_is_no_new_revision() {
    let first = learned(BEFORE);
    assert_eq!(first.revision, 1);
    let again = [view("10.0.0.2:7001", "ok", 9, BEFORE), view("10.0.0.1:7000", "ok", 9, BEFORE)];
    let result = merge(&first, &again, &AddressMap::default(), SeedsAsked::All);
    assert!(result.topology.is_none(), "{:?}", first.diff(&result.topology.unwrap()));
    let none = merge(&first, &[], &AddressMap::default(), SeedsAsked::All);
    assert!(none.topology.is_none());
}

#[test]
fn a_failover_between_two_views_is_told_as_one() {
    let changes = learned(BEFORE).diff(&learned(AFTER));
    let owners = changes.iter().filter(|change| matches!(change, Change::Owner { .. })).count();
    assert_eq!((owners, changes.len()), (1, 3), "{changes:?}");
}

/// A view of up to four primaries with any epochs and cuts, each slot owned or not.
fn any_view() -> impl Strategy<Value = View> {
    let primaries = prop::collection::vec((0u64..20, prop::bool::weighted(0.9)), 4);
    (primaries, prop::collection::vec(0u16..4, 8), any::<bool>(), 0u64..20).prop_map(
        |(primaries, owners, ok, epoch)| {
            let mut lines = String::new();
            for (at, (config_epoch, owns)) in primaries.iter().enumerate() {
                let digit = char::from(b'a' + at as u8);
                lines.push_str(&format!(
                    "@{digit} 10.0.0.1:{}@1 master - 0 0 {config_epoch} connected",
                    7000 + at
                ));
                for (range, owner) in owners.iter().enumerate() {
                    if usize::from(*owner) == at && *owns {
                        lines.push_str(&format!(" {}-{}", range * 2048, range * 2048 + 2047));
                    }
                }
                lines.push('\n');
            }
            view("10.0.0.1:7000", if ok { "ok" } else { "fail" }, epoch, &lines)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn epochs_of_owned_slots_only_grow(rounds in prop::collection::vec(prop::collection::vec(any_view(), 1..4), 1..5)) {
        let mut topology = Topology::empty();
        for views in rounds {
            let next = merged(&topology, &views);
            for slot in (0..).map_while(Slot::new).step_by(2048) {
                if next.shard_of(slot).is_some() && topology.shard_of(slot).is_some() {
                    prop_assert!(next.epoch_of(slot) >= topology.epoch_of(slot));
                }
            }
            prop_assert!(next.revision >= topology.revision);
            topology = next;
        }
    }

    #[test]
    fn the_order_of_the_views_decides_nothing_but_ties(mut views in prop::collection::vec(any_view(), 1..4)) {
        // With epochs that differ from view to view there are no ties.
        for (at, view) in views.iter_mut().enumerate() {
            for node in &mut view.nodes {
                node.config_epoch = node.config_epoch * 8 + at as u64;
            }
            view.current_epoch = 100 + at as u64;
        }
        let forwards = merged(&Topology::empty(), &views);
        views.reverse();
        let backwards = merged(&Topology::empty(), &views);
        for slot in (0..).map_while(Slot::new).step_by(2048) {
            let owner = |t: &Topology| t.primary_of(slot).map(|n| t.node(n).id);
            prop_assert_eq!(owner(&forwards), owner(&backwards));
        }
    }
}
