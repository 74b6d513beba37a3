//! Limits that depend on what the cluster's servers say of themselves.

use std::time::Duration;

use crate::discovery::ClusterFacts;

/// What was configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The largest argument of a request, in bytes.
    pub(super) bulk_bytes_max: u32,
}

/// The shortest and the longest deadline that is chosen without being told (failure-masking
/// contract, §4): a failover needs the node timeout, votes and a little luck, twice if the first
/// election fails.
const AUTO_MIN: Duration = Duration::from_secs(20);
const AUTO_MAX: Duration = Duration::from_secs(60);

impl Limits {
    /// How long a request may wait, where nobody chose how long.
    pub(super) fn auto_deadline(facts: &ClusterFacts) -> Duration {
        facts.node_timeout.map_or(AUTO_MAX, |timeout| {
            (timeout.saturating_mul(2) + Duration::from_secs(5)).clamp(AUTO_MIN, AUTO_MAX)
        })
    }

    /// Whether scripts must travel on connections of their own: Valkey before 8.1 writes the line
    /// ends of a script's own words into its errors.
    pub(super) fn scripts_apart(facts: &ClusterFacts) -> bool {
        let version = facts.server_version.as_ref();
        version.is_some_and(|server| server.name == "valkey" && server.release() < [8, 1, 0])
    }

    /// The largest argument that every node takes: a larger one would be answered by closing a
    /// connection that others use.
    pub(super) fn bulk_bytes_max(&self, facts: &ClusterFacts) -> u32 {
        let nodes = facts.bulk_bytes_max.and_then(|max| u32::try_from(max).ok());
        nodes.map_or(self.bulk_bytes_max, |max| max.min(self.bulk_bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_follows_the_node_timeout_within_bounds() {
        for (timeout_s, deadline_s) in
            [(Some(2), 20), (Some(15), 35), (Some(30), 60), (Some(600), 60), (None, 60)]
        {
            let node_timeout = timeout_s.map(Duration::from_secs);
            let facts = ClusterFacts { node_timeout, ..ClusterFacts::default() };
            assert_eq!(Limits::auto_deadline(&facts).as_secs(), deadline_s, "{timeout_s:?}");
        }
    }

    #[test]
    fn the_smallest_bulk_limit_of_all_holds() {
        let limits = Limits { bulk_bytes_max: 1000 };
        for (nodes, max) in [(None, 1000), (Some(500), 500), (Some(u64::MAX), 1000)] {
            let facts = ClusterFacts { bulk_bytes_max: nodes, ..ClusterFacts::default() };
            assert_eq!(limits.bulk_bytes_max(&facts), max);
        }
    }
}
