//! CLIENT PAUSE: until its end, requests are left unread. What was sent before goes on.

use super::Worker;
use crate::command::{self, Flags, Row};
use crate::resp::Args;
use crate::time::Moment;

/// A pause of all clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    until: Moment,
    writes_only: bool,
}

impl Pause {
    /// Whether this request has to wait. What will be refused anyway need not.
    #[inline]
    pub(super) fn holds(self, args: &Args<'_>) -> bool {
        !self.writes_only || command::resolve(args).is_ok_and(may_replicate)
    }

    /// Whether a transaction has to wait.
    pub(super) fn holds_block(self, reads_only: bool) -> bool {
        !self.writes_only || !reads_only
    }
}

/// Whether a replica may hear of it: what a server holds back in a pause of writes.
fn may_replicate(row: &Row) -> bool {
    row.flags.contains(Flags::WRITE)
        || (row.flags.contains(Flags::RUNS_CODE) && !row.flags.contains(Flags::READONLY))
        || matches!(row.name, "pfcount" | "publish" | "spublish")
}

impl Worker {
    /// Pauses, or makes the pause that there is longer and stricter, as a server does.
    pub(super) fn pause(&mut self, until: Moment, writes_only: bool) {
        let before = self.pause.unwrap_or(Pause { until, writes_only });
        self.pause = Some(Pause {
            until: until.max(before.until),
            writes_only: writes_only && before.writes_only,
        });
    }

    /// Ends the pause: who was held goes on.
    pub(super) fn unpause(&mut self) {
        if self.pause.take().is_some() {
            for index in self.clients.indices() {
                self.clients.unblock(index);
            }
        }
    }

    /// When the pause ends.
    pub(super) fn next_pause_event(&self) -> Option<Moment> {
        self.pause.map(|pause| pause.until)
    }

    /// Ends the pause if its time is over.
    pub(super) fn tick_pause(&mut self) {
        if self.pause.is_some_and(|pause| pause.until <= self.now) {
            self.unpause();
        }
    }
}
