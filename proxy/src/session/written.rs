//! Which shards a client has written to: what WAIT is about.

/// A set of shards, by the base pools of their primaries at the time of writing. Words of bits,
/// because every write notes its shard; two shards of a large cluster may be taken for one another,
/// and then WAIT asks one too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Where something was written to, and [`TOLD`].
    noted: u64,
    /// Where nobody knows whether what was written before is there, because another node was the
    /// primary then; [`GONE`] if it is not known where that would be. Of a shard that was written
    /// to since it does not matter any more: WAIT is about the last write.
    lost: u64,
}

/// Of `lost`: no node is known to be the primary now.
const GONE: u64 = 1 << 63;
/// Of `noted`: something was lost, and WAIT has said so.
const TOLD: u64 = 1 << 62;
const SHARDS: u16 = 62;

impl Written {
    #[inline]
    fn bit(pool: u16) -> u64 {
        1 << (pool % SHARDS)
    }

    fn bits(pools: &[u16]) -> u64 {
        pools.iter().fold(0, |all, &pool| all | Self::bit(pool))
    }

    /// Something is written to the shard of this pool.
    #[inline]
    pub fn note(&mut self, pool: u16) {
        self.noted |= Self::bit(pool);
    }

    /// Something was, or may have been.
    pub fn has(self, pool: u16) -> bool {
        self.noted & Self::bit(pool) != 0
    }

    /// The node of this pool is the primary of its shard no more, or has started anew: nobody knows
    /// whether those that are now (`to`) have what was written there. What was written to them
    /// before this was heard of came later: a redirect had named them.
    pub fn lose(&mut self, pool: u16, to: &[u16]) {
        let bit = Self::bit(pool);
        let was_written = (self.noted | self.lost) & bit != 0;
        self.noted &= !bit;
        self.lost &= !bit;
        if was_written {
            let unknown = if to.is_empty() { GONE } else { 0 };
            self.lost |= unknown | (Self::bits(to) & !self.noted);
        }
    }

    /// What was written to others than the shards of these pools is lost.
    pub fn keep_to(&mut self, pools: &[u16]) {
        let kept = Self::bits(pools) | TOLD;
        if self.noted & !kept != 0 {
            self.noted &= kept;
            self.lost |= GONE;
        }
    }

    /// Whether something may be lost that no WAIT was told of, or all that was written since the
    /// last one may be. Says so again until something new is written.
    pub fn take_loss(&mut self) -> bool {
        if self.lost & !self.noted != 0 {
            *self = Written { noted: TOLD, lost: 0 };
        }
        self.noted == TOLD
    }

    /// All of it is where it is to be.
    pub fn settle(&mut self, waited_for: Written) {
        self.noted &= !(waited_for.noted | TOLD);
        self.lost &= !waited_for.noted;
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
        written.lose(4, &[5]);
        assert!(!written.take_loss());
        written.lose(3, &[3]);
        assert!(written.take_loss() && written.take_loss() && !written.has(70));
        written.note(3);
        assert!(!written.take_loss(), "it is another process's now");
        let waited_for = written;
        written.note(9);
        written.settle(waited_for);
        assert!(written.has(9) && !written.has(3));
        assert!(!written.take_loss());
    }

    #[test]
    fn what_was_written_to_the_next_primary_counts_and_not_what_was_before() {
        for (before, after) in [(true, false), (false, true), (true, true)] {
            let mut written = Written::default();
            written.note(1);
            if before {
                written.note(4);
            }
            written.lose(1, &[4]);
            if after {
                written.note(4);
            }
            assert!(!written.take_loss() && written.has(4) && !written.has(1));
        }
        let mut written = Written::default();
        written.note(1);
        written.lose(1, &[4]);
        written.lose(4, &[5]);
        written.note(4);
        assert!(written.take_loss(), "it is the primary no more");
        written.note(1);
        written.lose(1, &[]);
        written.note(5);
        assert!(written.take_loss(), "nobody knows who is");
    }

    #[test]
    fn what_went_to_no_shard_that_is_there_is_told_once() {
        let mut written = Written::default();
        written.note(3);
        written.keep_to(&[3, 9]);
        assert!(!written.take_loss());
        written.note(4);
        written.keep_to(&[3, 9]);
        assert!(written.take_loss());
        written.note(3);
        written.keep_to(&[3, 9]);
        assert!(!written.take_loss() && written.has(3));
    }
}
