//! What tests that run at the same time share.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;

/// Something that takes long to start: the first test that asks makes it, those that ask while it
/// lives get the same, and it goes with the last of them (a plain `static` would never be dropped,
/// and its processes would outlive the tests).
///
/// Whoever shares it uses keys of its own, and counts nothing that others count too.
#[derive(Debug)]
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// What is there, or else what `make` returns.
    ///
    /// # Errors
    ///
    /// Those of `make`; the next who asks tries again.
    pub fn get(&self, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = shared.upgrade() {
            return Ok(shared);
        }
        let made = Arc::new(make()?);
        *shared = Arc::downgrade(&made);
        Ok(made)
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Shared;

    #[test]
    fn it_is_made_once_for_all_at_a_time_and_gone_with_the_last() {
        let shared = Shared::new();
        let (first, second) = (shared.get(|| Ok(1)).unwrap(), shared.get(|| Ok(2)).unwrap());
        assert_eq!((*first, *second), (1, 1));
        drop((first, second));
        assert_eq!(*shared.get(|| Ok(3)).unwrap(), 3);
    }

    #[test]
    fn who_comes_after_a_failure_tries_again() {
        let shared = Shared::new();
        assert!(shared.get(|| anyhow::bail!("no")).is_err());
        assert_eq!(*shared.get(|| Ok(1)).unwrap(), 1);
    }
}
