//! Where a command goes and what its answer means: pure functions, no state.

mod doubt;
mod merge;
mod outcome;
mod plan;
mod scan;
mod split;
mod transaction;
mod verdict;

pub use doubt::{Question, agrees, question};
pub use merge::{Merge, Surprise, elements, merge, merge_of, number, tells_of_running, values};
pub use outcome::{Outcome, Rejection, outcome_of_error};
pub use plan::{Plan, anyway, plan, plan_queued};
pub use scan::{After, Cursor, Holdings, Stretch, slot_of_pattern, write_page};
pub use split::{NoSplit, PartWriter, SlotKeys, Split, split};
pub use transaction::{AfterBlock, after_block, outcome_of_exec};
pub use verdict::{GiveUp, Place, Situation, Verdict, verdict};
