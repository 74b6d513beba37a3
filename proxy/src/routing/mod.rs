//! Where a command goes and what its answer means: pure functions, no state.

mod outcome;
mod plan;
mod verdict;

pub use outcome::{Outcome, Rejection, outcome_of_error};
pub use plan::{Plan, plan};
pub use verdict::{GiveUp, Place, Situation, Verdict, verdict};
