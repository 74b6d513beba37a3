//! Which shards a client has written to: what WAIT is about.

/// A set of shards, by the base pools of their primaries at the time of writing. One word, because
/// every write notes its shard; two shards of a large cluster may be taken for one another, and
/// then WAIT asks one too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written(u64);

/// A shard's primary has changed since something was written to it.
const LOST: u64 = 1 << 63;
/// So it was, and WAIT has said so.
const TOLD: u64 = 1 << 62;
const SHARDS: u16 = 62;

impl Written {
    #[inline]
    fn bit(pool: u16) -> u64 {
        1 << (pool % SHARDS)
    }

    /// Something is written to the shard of this pool.
    #[inline]
    pub fn note(&mut self, pool: u16) {
        self.0 |= Self::bit(pool);
    }

    /// Something was, or may have been.
    pub fn has(self, pool: u16) -> bool {
        self.0 & Self::bit(pool) != 0
    }

    /// All of it was to the shards of these pools.
    pub fn is_within(self, pools: &[u16]) -> bool {
        let all = pools.iter().fold(LOST | TOLD, |all, &pool| all | Self::bit(pool));
        self.0 & !all == 0
    }

    /// To any of them.
    pub fn any(self) -> bool {
        self.0 & !(LOST | TOLD) != 0
    }

    /// Another node is the primary of this pool's shard: nobody knows whether it has what was
    /// written there.
    pub fn lose(&mut self, pool: u16) {
        if self.has(pool) {
            self.0 = (self.0 & !Self::bit(pool)) | LOST;
        }
    }

    /// Whether something may be lost that no WAIT was told of, or all that was written since the
    /// last one may be. Says so again until something new is written.
    pub fn take_loss(&mut self) -> bool {
        if self.0 & LOST != 0 {
            self.0 = TOLD;
        }
        self.0 & TOLD != 0 && !self.any()
    }

    /// All of it is where it is to be.
    pub fn settle(&mut self, waited_for: Written) {
        self.0 &= !(waited_for.0 | TOLD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_until_something_new_is_written() {
        let mut written = Written::default();
        written.note(3);
        written.note(70);
        assert!(written.has(3) && written.has(70) && !written.has(4));
        written.lose(4);
        assert!(!written.take_loss());
        written.lose(3);
        assert!(written.take_loss() && written.take_loss() && !written.any());
        written.note(3);
        assert!(!written.take_loss(), "it is another primary's now");
        let waited_for = written;
        written.note(9);
        written.settle(waited_for);
        assert!(written.has(9) && !written.has(3));
        assert!(written.is_within(&[3, 9]) && !written.is_within(&[3]));
        assert!(!written.take_loss());
    }
}
