//! One number that one thread writes and others may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter or a gauge with a single writer.
///
/// Writing is a plain load and a plain store (0.3 ns), not an atomic read-modify-write (5 ns and
/// a locked cache line). So only the thread that owns the cell may call [`add`](Self::add),
/// [`sub`](Self::sub) or [`set`](Self::set): of two writers, one would lose counts. Any thread
/// may call [`get`](Self::get); it may see a value that is a moment old, never a torn one.
#[derive(Default, Debug)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds to the number; it wraps after 2^64, which no counter here lives to see.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away from a gauge, stopping at zero: a gauge that was lowered once too often shows
    /// 0, not 18 quintillion.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.get().saturating_sub(n), Ordering::Relaxed);
    }

    /// Replaces the number.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number as it was a moment ago.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_stops_at_zero() {
        let gauge = Cell::default();
        gauge.add(2);
        gauge.sub(3);
        assert_eq!(gauge.get(), 0);
        gauge.set(7);
        gauge.sub(3);
        assert_eq!(gauge.get(), 4);
    }
}
