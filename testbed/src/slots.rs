//! The slot of a key, and a key for a slot: written apart from the proxy's own, so that a test
//! does not judge it by itself.

use std::sync::LazyLock;

/// How many slots a cluster has.
pub const SLOTS: u16 = 16384;

/// The slot of `key`: CRC16 (XMODEM) of its hash tag, or of all of it when it has none.
pub fn key_slot(key: impl AsRef<[u8]>) -> u16 {
    let key = key.as_ref();
    let hashed = match key.iter().position(|&b| b == b'{') {
        Some(open) => match key[open + 1..].iter().position(|&b| b == b'}') {
            Some(length) if length > 0 => &key[open + 1..open + 1 + length],
            _ => key,
        },
        None => key,
    };
    let mut crc = 0_u16;
    for &byte in hashed {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

/// A key of `slot` that ends in `name`: `{<tag>}name`; the same one for the same arguments.
///
/// # Panics
/// `slot` is not below [`SLOTS`].
pub fn key_in_slot(slot: u16, name: &str) -> String {
    assert!(slot < SLOTS, "there is no slot {slot}");
    static TAGS: LazyLock<Vec<u32>> = LazyLock::new(tags);
    format!("{{{}}}{name}", TAGS[usize::from(slot)])
}

/// The smallest number of each slot.
fn tags() -> Vec<u32> {
    let (mut tags, mut missing) = (vec![u32::MAX; usize::from(SLOTS)], usize::from(SLOTS));
    // About one number in 16384 hits a slot, so a few hundred thousand hit all of them.
    for number in 0.. {
        let tag = &mut tags[usize::from(key_slot(number.to_string()))];
        if *tag == u32::MAX {
            *tag = number;
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_servers_give() {
        // From CLUSTER KEYSLOT of live servers.
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("{}{a}", 13650),
            ("x{}y", 16116),
            ("a{b}c{d}", 3300),
            ("b", 3300),
            ("a", 15495),
            ("123456789", 12739),
        ] {
            assert_eq!(key_slot(key), slot, "{key}");
        }
    }

    #[test]
    fn a_key_can_be_had_for_a_slot() {
        for slot in [0, 1, 5460, 5461, 12182, 16383] {
            assert_eq!(key_slot(key_in_slot(slot, "x")), slot);
        }
        assert_ne!(key_in_slot(5, "x"), key_in_slot(5, "y"));
    }
}
