//! What is counted once a process: the view of the cluster and the process itself.

use super::declare::cells;

cells! {
    /// What is known of the cluster; written by the task that keeps the topology fresh.
    pub struct ClusterCells {
        Gauge "slotway_cluster_nodes" "Nodes that the topology lists, by role and health." {
            primaries_up (role = "primary", health = "up"),
            primaries_down (role = "primary", health = "down"),
            replicas_up (role = "replica", health = "up"),
            replicas_down (role = "replica", health = "down"),
        }
        Gauge "slotway_cluster_shards" "Shards that own slots." { shards }
        Gauge "slotway_cluster_slots_covered" "Slots that have an owner, of 16384." {
            slots_covered,
        }
        Gauge "slotway_topology_revision" "Number of the topology in use; grows with each change." {
            revision,
        }
        Gauge "slotway_topology_confirmed_timestamp_seconds"
            "When a node last confirmed or changed the topology, in seconds since 1970." {
            confirmed_timestamp_seconds,
        }
        Counter "slotway_topology_refreshes_total" "Times the topology was asked for." {
            refreshes,
        }
        Counter "slotway_topology_refresh_failures_total"
            "Times the topology was asked for and no node gave one." { refresh_failures }
    }
}

cells! {
    /// What concerns the process; written by the thread that runs `main`.
    pub struct ProcessCells {
        Gauge "slotway_start_timestamp_seconds" "When the process began, in seconds since 1970." {
            start_timestamp_seconds,
        }
        Gauge "slotway_draining" "1 from the moment the process was told to end." { draining }
        Counter "slotway_clients_refused_total"
            "Client connections closed at once because too many were open." { clients_refused }
    }
}
