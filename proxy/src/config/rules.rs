//! What must hold between options, once each of them is sound by itself.

use std::collections::HashSet;
use std::mem::discriminant;

use super::declaration::Origin;
use super::forms::size;
use super::{Chosen, Config, Findings, Listener, secret};
use crate::node::Patience;

/// Checks the rules and fetches what options refer to.
pub(super) fn apply(config: &mut Config, chosen: &Chosen, findings: &mut Findings) {
    for rule in AT_MOST {
        rule.check(config, chosen, findings);
    }
    enough_node_connections(config, chosen, findings);
    announced_once(config, chosen, findings);
    listeners(config, chosen, findings);
    node_password(config, chosen, findings);
}

/// What is missing to run, in sentences. A file may leave it to flags and the environment, so
/// that `check` only mentions it.
pub(super) fn missing(config: &Config) -> Vec<String> {
    let mut missing = Vec::new();
    if config.seeds.is_empty() {
        missing.push(
            "no seeds are given, so the cluster cannot be found: name a node or more, for example \
             --seeds 127.0.0.1:7000 (or SLOTWAY_SEEDS, or seeds in the file)"
                .to_owned(),
        );
    }
    if config.node_user.is_some() && config.node_password.is_none() {
        missing.push(
            "node-user is given without a password: give node-password-file or \
             SLOTWAY_NODE_PASSWORD too"
                .to_owned(),
        );
    }
    missing
}

/// One option bounds another.
struct AtMost {
    low: &'static str,
    high: &'static str,
    values: fn(&Config) -> [usize; 2],
    shown: fn(usize) -> String,
    why: &'static str,
}

const AT_MOST: &[AtMost] = &[
    AtMost {
        low: "large-request",
        high: "bulk-max",
        values: |c| [c.large_request, c.bulk_max],
        shown: size,
        why: "no argument would ever be large",
    },
    AtMost {
        low: "bulk-max",
        high: "large-requests-max-bytes",
        values: |c| [c.bulk_max, c.large_requests_max_bytes],
        shown: size,
        why: "the largest argument would never be read",
    },
    AtMost {
        low: "large-reply",
        high: "client-output-max",
        values: |c| [c.large_reply, c.client_output_max],
        shown: size,
        why: "a reply just below large-reply would close its client",
    },
];

impl AtMost {
    fn check(&self, config: &Config, chosen: &Chosen, findings: &mut Findings) {
        let [low, high] = (self.values)(config);
        if low <= high {
            return;
        }
        let AtMost { low: low_name, high: high_name, shown, why, .. } = self;
        let [low, high] = [low, high].map(shown);
        // Told where the later of the two was given: that one brought the trouble.
        findings.problems.push(if chosen.origin(low_name) >= chosen.origin(high_name) {
            let (subject, other) = (chosen.subject(low_name), chosen.mention(high_name));
            format!("{subject} is {low}, but must be at most {other}, which is {high}: else {why}")
        } else {
            let (subject, other) = (chosen.subject(high_name), chosen.mention(low_name));
            format!("{subject} is {high}, but must be at least {other}, which is {low}: else {why}")
        });
    }
}

/// With fewer, a worker could never send a large request, or the bound would not hold.
fn enough_node_connections(config: &Config, chosen: &Chosen, findings: &mut Findings) {
    let (workers, max) = (config.workers, config.node_connections_max);
    let needed = 2 * workers + 1;
    if max >= needed {
        return;
    }
    let [subject, other] = if chosen.origin("workers") > chosen.origin("node-connections-max") {
        [chosen.subject("workers"), chosen.mention("node-connections-max")]
    } else {
        [chosen.subject("node-connections-max"), chosen.mention("workers")]
    };
    findings.problems.push(format!(
        "{subject} does not fit {other}: {workers} workers need {needed} connections to each node \
         and may have {max}; each has one that its clients share and one for large values, and \
         the process has one for the cluster's map"
    ));
}

fn announced_once(config: &Config, chosen: &Chosen, findings: &mut Findings) {
    for (index, mapping) in config.address_map.iter().enumerate() {
        let announced = &mapping.announced;
        if config.address_map[..index].iter().any(|earlier| earlier.announced == *announced) {
            let subject = chosen.subject("address-map");
            findings.problems.push(format!("{subject} maps {announced} more than once"));
        }
    }
}

/// Each is bound once, and a request carries the number of its deadline in a byte.
fn listeners(config: &Config, chosen: &Chosen, findings: &mut Findings) {
    let subject = chosen.subject("listen");
    let mut seen = HashSet::new();
    for Listener { at, .. } in &config.listen {
        if at.port != 0 && !seen.insert(at) {
            findings.problems.push(format!("{subject} names {at} more than once"));
        }
    }
    let deadlines = config.listen.iter().map(|listener| listener.options(config).mask_deadline);
    let (different, max) = (deadlines.collect::<HashSet<_>>().len(), Patience::CHOSEN_MAX);
    if different > max {
        findings.problems.push(format!(
            "{subject} has {different} different values of mask-deadline, but at most {max} can be \
             told apart"
        ));
    }
}

/// The password is given as such or by its file: of the two, the one that was given in the way
/// that takes precedence.
fn node_password(config: &mut Config, chosen: &Chosen, findings: &mut Findings) {
    let [from_file, direct] = ["node-password-file", "node-password"].map(|o| chosen.origin(o));
    if config.node_password.is_some() && matches!(direct, Origin::File { .. }) {
        findings.warnings.extend(secret::warn_if_exposed(&chosen.file));
    }
    let Some(path) = &config.node_password_file else { return };
    if config.node_password.is_some() {
        if discriminant(&from_file) == discriminant(&direct) {
            let subject = chosen.subject("node-password");
            let problem = format!("{subject} is given beside node-password-file: give one of them");
            findings.problems.push(problem);
            return;
        }
        if from_file < direct {
            return;
        }
    }
    findings.warnings.extend(secret::warn_if_exposed(path));
    match secret::read(path) {
        Ok(password) => config.node_password = Some(password),
        Err(why) => {
            findings.problems.push(format!("{} {why}", chosen.subject("node-password-file")));
        }
    }
}
