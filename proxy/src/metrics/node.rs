//! What a worker counts about one node.

use super::declare::cells;

cells! {
    /// What one worker counts about its connections to one node; written by the worker's thread
    /// alone. The label `node` is given at registration.
    pub struct NodeCells {
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
        Counter "slotway_node_resent_total"
            "Requests that were first meant for the node and were sent again, there or elsewhere." {
            resent,
        }
    }
}
