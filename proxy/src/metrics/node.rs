//! What a worker counts about one node.

use std::time::Duration;

use super::declare::cells;
use super::{Cell, Cells};

cells! {
    /// What one worker counts about its connections to one node; written by the worker's thread
    /// alone. The label `node` is given at registration.
    pub struct NodeCells with { recoveries: Cell, recovery_us_sum: Cell } {
        Gauge "slotway_node_connections" "Connections to the node that are open." { connections }
        Gauge "slotway_node_in_flight_requests"
            "Requests that were sent to the node and not answered yet." { in_flight }
        Counter "slotway_node_requests_total"
            "Requests that were sent to the node, each attempt counted." { requests_total }
        Counter "slotway_node_dials_total" "Attempts to connect to the node." { dials }
        Counter "slotway_node_dial_failures_total"
            "Attempts to connect to the node that failed, its refusal to let us in included." {
            dial_failures,
        }
        Counter "slotway_node_connections_lost_total"
            "Connections to the node that ended although nobody here closed them." { lost }
        Counter "slotway_node_redirects_total"
            "Requests that the node sent elsewhere or made wait, by kind." {
            moved (kind = "moved"),
            ask (kind = "ask"),
            tryagain (kind = "tryagain"),
        }
        Gauge "slotway_node_circuits_open"
            "Workers whose requests for the node wait circuit-wait: it was away for too long." {
            circuits_open,
        }
        Counter "slotway_node_resent_total"
            "Requests that were first meant for the node and were sent again, there or elsewhere." {
            resent,
        }
    }
}

impl NodeCells {
    /// Slots that nobody served were served again, by this node, so long after their loss.
    pub fn recovered(&self, after: Duration) {
        self.recoveries.add(1);
        self.recovery_us_sum.add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }

    /// How often that was, and the sum of what it took in microseconds.
    pub(super) fn recoveries(&self) -> (u64, u64) {
        (self.recoveries.get(), self.recovery_us_sum.get())
    }

    /// Adds what was counted about a node that is gone.
    pub(super) fn absorb_departed(&self, departed: &NodeCells) {
        self.absorb(departed);
        self.recoveries.add(departed.recoveries.get());
        self.recovery_us_sum.add(departed.recovery_us_sum.get());
    }
}
