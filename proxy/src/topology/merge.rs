//! From what several nodes say to what we believe.
//!
//! The rules (contract §5, "two views of the map disagree"):
//! - the owner of a slot is the one that claims it with the highest config epoch;
//! - a view from a node that thinks the cluster is down counts only where no other has a say;
//! - a slot never goes back to an older epoch than it was learned at;
//! - a node whose last view knew an older epoch of any slot is behind: its redirects teach nothing
//!   (one bit a node is enough, because the owner of a slot is never behind there);
//! - a view that shares no node with the map speaks of another cluster and is set aside, except
//!   that all reachable seeds speaking so means that the cluster was replaced.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::{AddressMap, Draft, Endpoint, Node, NodeId, Role, Seen, State, Topology, View};
use crate::slot::Slot;

/// What came out of merging views into a map.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The new map, one revision later; `None` when the views change nothing.
    pub topology: Option<Topology>,
    /// The old map was dropped, because the cluster was replaced. Worth a warning.
    pub replaced: bool,
    /// The addresses whose views were set aside: they speak of another cluster.
    pub foreign: Vec<Endpoint>,
}

/// Whether the views at hand are all that the seeds had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedsAsked {
    /// Each seed was asked, and has answered or failed.
    All,
    /// Some were not asked, or may still answer.
    Some,
}

/// Merges views into the previous map.
pub fn merge(previous: &Topology, views: &[View], map: &AddressMap, seeds: SeedsAsked) -> Merged {
    let known: HashSet<NodeId> = previous.nodes().map(|(_, node)| node.id).collect();
    let (mut accepted, mut foreign) = related(known, views.iter().collect());
    let replaced = seeds == SeedsAsked::All && is_replaced(previous, &accepted, &foreign);
    let empty = Topology::empty();
    let base = if replaced || previous.is_empty() { &empty } else { previous };
    if base.is_empty() {
        // Nothing to go by: the cluster of the best view is ours.
        let candidates = if replaced { foreign } else { views.iter().collect() };
        let best = candidates.iter().min_by_key(|view| (!view.seed, rank(view)));
        let ids = best.map(|view| ids(view).collect()).unwrap_or_default();
        (accepted, foreign) = related(ids, candidates);
    }
    accepted.sort_by_key(|view| rank(view));

    let owners = owners(base, &accepted);
    let mut nodes = nodes(base, &accepted, &owners, map);
    let all = || (0..).map_while(Slot::new).zip(&owners);
    let news = all().any(|(slot, owner)| owner.is_some_and(|(_, e)| e > base.epoch_of(slot)));
    for node in &mut nodes {
        node.behind = match accepted.iter().find(|view| view.myself == Some(node.id)) {
            Some(view) => is_older(view, &owners),
            // It was not asked: what is new may be new to it.
            None => {
                let before = base.node_by_id(&node.id).map(|index| base.node(index));
                before.is_some_and(|before| before.behind || news)
            }
        };
    }
    let state = accepted.first().map_or(base.state, |best| best.state);
    let current_epoch =
        accepted.iter().map(|view| view.current_epoch).fold(base.current_epoch, u64::max);
    let revision = previous.revision + 1;
    let topology = Draft { revision, state, current_epoch, nodes, owners }.finish();
    let changed = !accepted.is_empty() && !topology.same_content(previous);
    Merged {
        topology: changed.then_some(topology),
        replaced,
        foreign: foreign.iter().map(|view| view.asked.clone()).collect(),
    }
}

/// The better a view, the lower: nodes that think the cluster serves, then newer ones.
fn rank(view: &View) -> impl Ord + use<> {
    (view.state == State::Fail, std::cmp::Reverse(view.current_epoch))
}

fn ids(view: &View) -> impl Iterator<Item = NodeId> {
    view.nodes.iter().map(|node| node.id)
}

/// The config epoch of each node that a view lists.
fn epochs(view: &View) -> BTreeMap<NodeId, u64> {
    view.nodes.iter().map(|node| (node.id, node.config_epoch)).collect()
}

/// Parts the views into those that share a node with `known`, directly or through another of
/// them, and those that do not.
fn related(mut known: HashSet<NodeId>, mut rest: Vec<&View>) -> (Vec<&View>, Vec<&View>) {
    let mut accepted = Vec::new();
    loop {
        let (more, others): (Vec<&View>, Vec<&View>) =
            rest.into_iter().partition(|view| ids(view).any(|id| known.contains(&id)));
        if more.is_empty() {
            return (accepted, others);
        }
        known.extend(more.iter().flat_map(|view| ids(view)));
        accepted.extend(more);
        rest = others;
    }
}

/// Whether every seed that answers shows only nodes never seen before, and at least one of them
/// shows a cluster that holds slots: a node that was reset and stands alone replaces nothing.
fn is_replaced(previous: &Topology, accepted: &[&View], foreign: &[&View]) -> bool {
    let known_seed = accepted.iter().any(|view| view.seed);
    let new_cluster = foreign.iter().any(|view| view.seed && !view.owned.is_empty());
    !previous.is_empty() && !known_seed && new_cluster
}

/// Who claims a slot, and how strongly.
#[derive(Clone, Copy)]
struct Claim {
    owner: NodeId,
    epoch: u64,
    /// Comes from a node that does not think the cluster is down.
    healthy: bool,
    /// Another one claims it just as strongly.
    tied_with: Option<NodeId>,
}

/// Owner and epoch of every slot. `views` has the best first.
fn owners(base: &Topology, views: &[&View]) -> Vec<Option<(NodeId, u64)>> {
    let mut claims: Vec<Option<Claim>> = vec![None; Slot::COUNT];
    for view in views {
        let epochs = epochs(view);
        let healthy = view.state != State::Fail;
        for range in &view.owned {
            let told = epochs.get(&range.owner).copied().filter(|_| view.epochs_known);
            for slot in (range.first.number()..=range.last.number()).filter_map(Slot::new) {
                // Where epochs are not told, the newest word counts: as new as what is known.
                let epoch = told.unwrap_or_else(|| base.epoch_of(slot));
                let claim = Claim { owner: range.owner, epoch, healthy, tied_with: None };
                let held = &mut claims[slot.index()];
                *held = Some(held.map_or(claim, |held| stronger(held, claim)));
            }
        }
    }
    // Only views as new as the map may say that a slot has no owner any more.
    let newest = views.iter().map(|view| view.current_epoch).max();
    let may_vacate = newest.is_some_and(|epoch| epoch >= base.current_epoch);
    let decide = |(slot, claim): (Slot, Option<Claim>)| {
        let before = base.primary_of(slot).map(|n| (base.node(n).id, base.epoch_of(slot)));
        match (claim, before) {
            (None, before) => before.filter(|_| !may_vacate),
            (Some(claim), Some((owner, epoch)))
                if claim.epoch < epoch || claim.tied_with == Some(owner) =>
            {
                Some((owner, epoch))
            }
            (Some(claim), _) => Some((claim.owner, claim.epoch)),
        }
    };
    (0..).map_while(Slot::new).zip(claims).map(decide).collect()
}

/// Whether a view knows an older epoch of any slot than was settled on.
fn is_older(view: &View, owners: &[Option<(NodeId, u64)>]) -> bool {
    let epochs = epochs(view);
    view.epochs_known
        && view.owned.iter().any(|range| {
            let told = epochs.get(&range.owner).copied().unwrap_or(0);
            let settled = &owners[range.first.index()..=range.last.index()];
            settled.iter().flatten().any(|(_, epoch)| told < *epoch)
        })
}

/// The stronger of two claims; the earlier one where neither is, since it comes from the better
/// view.
fn stronger(held: Claim, other: Claim) -> Claim {
    match (other.healthy, other.epoch).cmp(&(held.healthy, held.epoch)) {
        std::cmp::Ordering::Greater => other,
        std::cmp::Ordering::Equal if other.owner != held.owner => {
            Claim { tied_with: Some(other.owner), ..held }
        }
        _ => held,
    }
}

/// All nodes that the views list, and owners that they miss. `views` has the best first.
fn nodes(
    base: &Topology,
    views: &[&View],
    owners: &[Option<(NodeId, u64)>],
    map: &AddressMap,
) -> Vec<Node> {
    let mut sightings: BTreeMap<NodeId, Vec<&Seen>> = BTreeMap::new();
    for view in views {
        for seen in &view.nodes {
            sightings.entry(seen.id).or_default().push(seen);
        }
    }
    let before = |id: &NodeId| base.node_by_id(id).map(|n| base.node(n));
    let owning: HashSet<NodeId> = owners.iter().flatten().map(|(owner, _)| *owner).collect();
    let is_fresh =
        |view: &&&View| view.current_epoch >= base.current_epoch && !is_older(view, owners);
    let fresh: HashSet<NodeId> = views.iter().filter(is_fresh).flat_map(|view| ids(view)).collect();
    let node = |(id, seen): (&NodeId, &Vec<&Seen>)| {
        node(seen, before(id), owning.contains(id) || !fresh.contains(id), map)
    };
    let mut nodes: Vec<Node> = sightings.iter().filter_map(node).collect();
    let missing = owning.iter().filter(|owner| !sightings.contains_key(*owner));
    nodes.extend(missing.filter_map(before).cloned());
    nodes
}

/// One node, out of all that was said of it; the best view's word first in `sightings`. `None`
/// when nobody has ever had an address of it. `is_grown` says that its epoch can only have grown.
fn node(
    sightings: &[&Seen],
    before: Option<&Node>,
    is_grown: bool,
    map: &AddressMap,
) -> Option<Node> {
    let best = sightings.first()?;
    // The newest word on its role: a promotion comes with a higher epoch.
    let mut newest = (best.role, best.follows, best.config_epoch);
    for seen in &sightings[1..] {
        if seen.config_epoch > newest.2 {
            newest = (seen.role, seen.follows, seen.config_epoch);
        }
    }
    // A replica is listed with the epoch of its primary, which may be lower than its own was.
    if let Some(before) = before.filter(|before| is_grown && before.config_epoch > newest.2) {
        newest = (before.role, before.follows, before.config_epoch);
    }
    let (endpoint, announced) = addresses(sightings, before, map)?;
    Some(Node {
        id: best.id,
        endpoint,
        announced,
        role: newest.0,
        follows: newest.1.filter(|_| newest.0 == Role::Replica),
        health: best.health,
        zone: sightings.iter().find_map(|seen| seen.zone.clone()),
        config_epoch: newest.2,
        behind: false, // known once all owners are
        shard: None,
    })
}

/// Where to dial a node, and every form it may be named by.
///
/// An address that is dialled already is kept while anybody still names the node by it: nodes
/// that differ in what they prefer would otherwise make every connection start anew whenever
/// another one was asked.
fn addresses(
    sightings: &[&Seen],
    before: Option<&Node>,
    map: &AddressMap,
) -> Option<(Endpoint, Vec<Endpoint>)> {
    let mut names: Vec<&Endpoint> = Vec::new();
    let preferred = sightings.iter().filter_map(|seen| seen.dial.as_ref());
    for name in preferred.chain(sightings.iter().flat_map(|seen| &seen.names)) {
        if names.len() < Seen::NAMES_MAX && !names.contains(&name) {
            names.push(name);
        }
    }
    let mapped: Vec<Endpoint> = names.iter().filter_map(|name| map.get(name)).collect();
    let mut announced: Vec<Endpoint> = names.into_iter().cloned().collect();
    let reachable = if mapped.is_empty() { &announced } else { &mapped };
    let kept = before.map(|before| &before.endpoint).filter(|kept| reachable.contains(kept));
    let Some(endpoint) = kept.or(reachable.first()).cloned() else {
        return before.map(|before| (before.endpoint.clone(), before.announced.clone()));
    };
    announced.extend(mapped);
    announced.sort_unstable();
    announced.dedup();
    Some((endpoint, announced))
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
