//! What clients of a shard that is away cost slotway, its nodes and the clients of other shards;
//! and a failover as clients see it, drawn.

mod calm;
mod crowd;
mod neighbour;
