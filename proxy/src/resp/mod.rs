//! What a request and a reply are on the wire: scanning, writing, protocol errors.

mod args;

pub use args::{Args, Span};
