//! Nodes that break the protocol, the connection or their word, played by the test: clients get
//! what is true, and the proxy lives and recovers.

#[path = "scripted_nodes/circles.rs"]
mod circles;
#[path = "scripted_nodes/commands.rs"]
mod commands;
#[path = "scripted_nodes/cuts.rs"]
mod cuts;
#[path = "scripted_nodes/doors.rs"]
mod doors;
#[path = "scripted_nodes/faults.rs"]
mod faults;
#[path = "hostile/measure.rs"]
mod measure;
#[path = "scripted_nodes/play.rs"]
mod play;
