//! What a request and a reply are on the wire: scanning, writing, protocol errors.

mod args;
mod inline;
mod number;
mod protocol_error;
pub mod reply;
pub mod request;
pub mod write;

pub use args::{Args, Span};
pub use number::canonical as canonical_integer;
