//! What commands mean: one table, one row a command.
//!
//! [`resolve`] finds the row of a request, or the refusal that a server would give. Everything
//! else is read from the row: where its keys are ([`key_positions`], [`slot`]), whether a lost
//! reply may be asked for again ([`class`], [`repeatable`]), whether it holds up its connection ([`blocks`]),
//! and what the proxy does with it ([`Handling`]).
//!
//! # The table
//!
//! `table/` holds every command and subcommand of Redis 6.2 to 8.10 and Valkey 7.2 to 9.1, a file
//! a group. It was written once from the merged `COMMAND` and `COMMAND DOCS` replies of Redis
//! 7.0.15, 8.0.2 and Valkey 8.0.1, 8.1.1, 9.1.2, and then reviewed by hand; class and handling
//! come from no server. Where versions differ the row is the union: the loosest arity (a stricter
//! server says no by itself) and every flag that any of them sets. Rows that none of the five has
//! (Redis 8.2 and later, and 6.2's STRALGO) are from documentation, with an arity as loose as the
//! place of their keys allows.
//!
//! `tests/command_live` keeps it true: it compares each row and the keys it finds with the
//! server at hand (`SLOTWAY_TEST_SERVER`, or the `redis-server` on PATH). What a newer server
//! adds fails that test by name, and is [learned](learn) meanwhile, as modules' commands are. The review of the classes, form by form with its reasons, is
//! `tests/class_review`.

mod allowed;
mod blocking;
mod class;
mod flags;
mod handling;
mod keys;
mod learned;
mod lookup;
mod policy;
mod refusal;
mod row;
mod script;
mod specs;
mod table;

pub use allowed::Allowed;
pub use blocking::{Timeout, holds_element, timeout, with_time_left};
pub use class::{Class, RetryUnknown, blocks, class, repeatable};
pub use flags::Flags;
pub use handling::{Channels, Handling, Local, Reason};
pub use keys::{Keys, KeysInSlots, key_positions, slot};
pub use learned::{ROWS_MAX, Told, learn, learned, row_of};
pub use lookup::resolve;
pub use policy::{RequestPolicy, ResponsePolicy};
pub use refusal::Refusal;
pub use row::{CommandId, Row, Since, Version};
pub use script::{Script, names_script, script};
pub use specs::{Begin, Find, KeySpec};
pub use table::{EXEC, row, rows};
