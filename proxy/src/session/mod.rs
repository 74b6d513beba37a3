//! One client: its requests in order, its replies in the same order, what it may still do, and
//! what slotway answers by itself.

mod clients;
mod cluster;
mod commands;
mod connection;
mod flow;
mod info;
mod local;
mod lolwut;
mod question;
mod state;
mod stateful;
pub mod subscriptions;
mod tracking;
mod transaction;
mod written;

pub use clients::{Filter, Kill, line};
pub use cluster::ClusterQuestion;
pub use commands::{Offer, commands};
pub use connection::{Replies, wrong_count};
pub use flow::{Entry, Flow, MERGED, Misplaced};
pub use info::{Facts, InfoQuestion, NodesAsked, Totals};
pub use local::{Answer, answer, changes_mode};
pub use question::{Address, CommonQuestion, Ends, OwnQuestion, Part, Question, question};
pub use state::{Away, ClientEnd, Closing, Library, Manners, Session, Special, Window};
pub use stateful::{Blocking, OwnConnection, Stateful};
pub use subscriptions::{Hearing, Subscriptions};
pub use tracking::{Invalid, Target, Tracking, Wanted};
pub use transaction::{ABORTED, Transaction, Watch, not_inside};
pub use written::Written;
