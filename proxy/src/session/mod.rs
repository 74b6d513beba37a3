//! One client: its requests in order, its replies in the same order, what it may still do, and
//! what slotway answers by itself.

mod flow;
mod info;
mod local;
mod state;

pub use flow::{Entry, Flow, Misplaced};
pub use info::Facts;
pub use local::{Answer, answer, changes_mode};
pub use state::{Away, ClientEnd, Closing, Session, Window};
