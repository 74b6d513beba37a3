//! Hostile clients against the running program and a real cluster: what they send, and how they
//! come, stall and leave, is nobody else's concern (failure-masking contract, §1.7 and §5).

#[path = "hostile/fuzz.rs"]
mod fuzz;
#[path = "hostile/innocents.rs"]
mod innocents;
#[path = "hostile/inputs.rs"]
mod inputs;
#[path = "hostile/leaving.rs"]
mod leaving;
#[path = "hostile/lines.rs"]
mod lines;
#[path = "hostile/measure.rs"]
mod measure;
#[path = "hostile/scripts.rs"]
mod scripts;
#[path = "hostile/stage.rs"]
mod stage;
