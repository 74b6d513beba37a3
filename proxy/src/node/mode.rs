//! What a client and the node connections that serve it have in common.

/// The protocol of the replies and the number of the database: both are states of a connection at
/// a node, so clients that differ in one of them cannot share connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode(u16);

/// RESP3; the other bits are the number of the database.
const RESP3: u16 = 1 << 15;

impl Mode {
    /// What every connection begins in: RESP2, database 0. Nearly all clients stay there.
    pub const BASE: Mode = Mode(0);

    /// Databases with larger numbers cannot be chosen.
    pub const DATABASE_MAX: u16 = RESP3 - 1;

    /// Whether this is [`Mode::BASE`].
    #[inline]
    pub fn is_base(self) -> bool {
        self == Mode::BASE
    }

    /// Replies are in RESP3; otherwise in RESP2.
    #[inline]
    pub fn is_resp3(self) -> bool {
        self.0 & RESP3 != 0
    }

    /// The number of the database.
    pub fn database(self) -> u16 {
        self.0 & !RESP3
    }

    /// The same database by another protocol.
    #[must_use]
    pub fn with_resp3(self, resp3: bool) -> Mode {
        Mode(self.database() | if resp3 { RESP3 } else { 0 })
    }

    /// Another database by the same protocol. At most [`Mode::DATABASE_MAX`].
    #[must_use]
    pub fn with_database(self, database: u16) -> Mode {
        Mode((self.0 & RESP3) | database.min(Mode::DATABASE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_and_database_are_chosen_apart() {
        let mode = Mode::BASE.with_database(7).with_resp3(true);
        assert!(mode.is_resp3() && mode.database() == 7 && !mode.is_base());
        assert_eq!(mode.with_resp3(false).with_database(0), Mode::BASE);
        assert_eq!(mode.with_database(Mode::DATABASE_MAX).database(), Mode::DATABASE_MAX);
        assert!(mode.with_database(0).is_resp3());
    }
}
