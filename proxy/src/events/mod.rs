//! What happened to the cluster and to the way to it, for whoever looks afterwards: losses,
//! parking, failovers, the first success. A bounded ring of the last events, the same for the
//! whole process; what comes in storms is told once, with a number.
//!
//! Nothing here knows the clock: it is handed in when the ring is made.

mod event;
mod map;
mod ring;

pub use event::{Event, Place};
pub use map::map_events;
pub use ring::{CAPACITY, Events, Told};
