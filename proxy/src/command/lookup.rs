//! From a request's first words to its row.

use super::learned;
use super::refusal::Refusal;
use super::row::Row;
use super::table::{self, ROWS};
use crate::resp::Args;

/// The row of the command that a request names, in any case; of a family, the subcommand's. The
/// number of arguments is right for what is returned.
///
/// On the hot path of every request: 5 ns of CPU for GET, SET or HGETALL, 9 ns for a name of more
/// than eight bytes, 24 ns for CLIENT SETINFO (release build, over 64 requests in turn).
///
/// # Errors
/// What a server says of a command that it does not know, or of too few or too many arguments.
#[inline(always)]
pub fn resolve(args: &Args<'_>) -> Result<&'static Row, Refusal> {
    let Some(row) = find(args.name()) else { return learned::resolve(args) };
    let row = if row.is_family() { member(row, args)? } else { row };
    if row.takes(args.len()) { Ok(row) } else { Err(Refusal::WrongArity(row)) }
}

/// The row of the subcommand that follows, or the family's own if none does.
#[inline(never)]
pub(super) fn member(family: &'static Row, args: &Args<'_>) -> Result<&'static Row, Refusal> {
    let Some(word) = args.get(1) else { return Ok(family) };
    let start = family.name.len() + 1;
    let mut members = family.subcommands().iter();
    members
        .find(|row| row.name.as_bytes()[start..].eq_ignore_ascii_case(word))
        .or_else(|| learned::member(family, word))
        .ok_or(Refusal::UnknownSubcommand(family))
}

/// The row of a command's name. The name is compared as words of eight bytes, in lower case, with
/// those in an open hash table that is built when this is compiled.
#[inline(always)]
fn find(name: &[u8]) -> Option<&'static Row> {
    // Nearly every name is one word: compared apart, it takes half the time of a longer one.
    if name.len() <= 8 {
        let word = lower(load(name));
        search(mix([word, 0, 0]), |entry| {
            entry.words[0] == word && usize::from(entry.len) == name.len()
        })
    } else {
        find_long(name)
    }
}

#[inline(never)]
fn find_long(name: &[u8]) -> Option<&'static Row> {
    let words = spell(name)?;
    search(mix(words), |entry| entry.words == words && usize::from(entry.len) == name.len())
}

/// Looks from a place on for an entry that is the one, up to the first empty one.
#[inline(always)]
fn search(mut place: usize, is_it: impl Fn(&Entry) -> bool) -> Option<&'static Row> {
    loop {
        let entry = &INDEX[place];
        if entry.len == 0 {
            return None;
        }
        if is_it(entry) {
            return Some(&ROWS[usize::from(entry.row)]);
        }
        place = (place + 1) % INDEX.len();
    }
}

/// A name in lower case as three words; `None` if it is longer than any command's name.
const fn spell(name: &[u8]) -> Option<[u64; 3]> {
    match name.len() {
        0..=8 => Some([lower(load(name)), 0, 0]),
        9..=16 => {
            let (first, second) = name.split_at(8);
            Some([lower(load(first)), lower(load(second)), 0])
        }
        17..=24 => {
            let (first, rest) = name.split_at(8);
            let (second, third) = rest.split_at(8);
            Some([lower(load(first)), lower(load(second)), lower(load(third))])
        }
        _ => None,
    }
}

/// Where in the index the search for a name begins.
#[inline]
const fn mix([a, b, c]: [u64; 3]) -> usize {
    let mixed = (a ^ b.rotate_left(21) ^ c.rotate_left(42)).wrapping_mul(MULTIPLIER);
    (mixed >> (u64::BITS - INDEX_BITS)) as usize
}

/// Up to eight bytes as a number, the first one lowest, without a loop: two loads that overlap.
#[inline(always)]
const fn load(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let Some(word) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let high = u32::from_le_bytes(*high) as u64;
        return u32::from_le_bytes(*low) as u64 | high << ((len - 4) * 8);
    }
    match *bytes {
        [a] => a as u64,
        [a, b] => u16::from_le_bytes([a, b]) as u64,
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]) as u64,
        _ => 0,
    }
}

/// ASCII letters of a word in lower case, all eight bytes at once: bit 7 of a byte is made to say
/// whether it is a letter in upper case, and moved to where the case is.
#[inline(always)]
const fn lower(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low_bits = word & (ONES * 0x7F);
    let from_a = low_bits + ONES * (0x80 - b'A' as u64);
    let above_z = low_bits + ONES * (0x7F - b'Z' as u64);
    let upper = (from_a ^ above_z) & !word & (ONES * 0x80);
    word | upper >> 2
}

/// One place of the index.
#[derive(Clone, Copy)]
struct Entry {
    words: [u64; 3],
    row: u16,
    /// Of the name, which may end in zero bytes to the words only; 0 in an empty place.
    len: u8,
}

/// Chosen so that no name is farther than two places from where its search begins, and none of
/// the common ones is displaced at all; a test holds it to that. If a new row breaks it, try random
/// odd numbers: one in some thousands will do.
const MULTIPLIER: u64 = 0x5B24_E033_DBA0_B43B;

/// 1,024 places for some 300 names: 32 KiB, of which a client's few commands touch a few lines.
const INDEX_BITS: u32 = 10;

static INDEX: [Entry; 1 << INDEX_BITS] = index();

const fn index() -> [Entry; 1 << INDEX_BITS] {
    let mut index = [Entry { words: [0; 3], row: 0, len: 0 }; 1 << INDEX_BITS];
    let mut row = 0;
    while row < table::COUNT {
        let name = table::ROWS[row].name.as_bytes();
        if !names_a_subcommand(name) {
            let Some(words) = spell(name) else { panic!("longer than an index entry") };
            let mut place = mix(words);
            while index[place].len != 0 {
                place = (place + 1) % index.len();
            }
            index[place] = Entry { words, row: row as u16, len: name.len() as u8 };
        }
        row += 1;
    }
    index
}

const fn names_a_subcommand(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        if name[i] == b'|' {
            return true;
        }
        i += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::rows;
    use proptest::prelude::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for row in rows().filter(|row| !row.name.contains('|')) {
            let mixed: String = row
                .name
                .char_indices()
                .map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c })
                .collect();
            for name in [row.name, &row.name.to_ascii_uppercase(), &mixed] {
                assert_eq!(find(name.as_bytes()).map(|r| r.name), Some(row.name));
            }
        }
    }

    #[test]
    fn searches_are_short_and_those_of_common_commands_are_one_look() {
        for (place, entry) in INDEX.iter().enumerate().filter(|(_, entry)| entry.len > 0) {
            let distance = (place + INDEX.len() - mix(entry.words)) % INDEX.len();
            let name = ROWS[usize::from(entry.row)].name;
            assert!(distance <= 2, "{name} is {distance} places away");
            let common = "get set del mget mset incr decr incrby expire pexpire ttl pttl exists \
                hget hset hdel hmget hmset hgetall hincrby lpush rpush lrange llen lpop rpop sadd \
                srem sismember smembers scard zadd zrem zrange zrangebyscore zscore zincrby zcard \
                eval evalsha setex setnx getex append type ping xadd xread publish fcall";
            if common.split_whitespace().any(|c| c == name) {
                assert_eq!(distance, 0, "{name} is displaced");
            }
        }
    }

    #[test]
    fn what_only_resembles_a_name_is_not_found() {
        for name in ["", "ge", "gett", "get\0", "\0get", "g\u{5}t", "set ", "sort\x7fro", "GE\u{1}"]
        {
            assert!(find(name.as_bytes()).is_none(), "{name:?}");
        }
        assert!(find(&[b'a'; 1000]).is_none());
        assert!(find(b"GET").is_some() && find(b"sort_RO").is_some());
    }

    proptest! {
        #[test]
        fn lower_is_what_the_library_does(bytes: [u8; 8]) {
            prop_assert_eq!(lower(u64::from_le_bytes(bytes)).to_le_bytes(), bytes.map(|b| b.to_ascii_lowercase()));
        }

        #[test]
        fn load_is_little_endian(bytes in proptest::collection::vec(any::<u8>(), 0..=8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(&bytes);
            prop_assert_eq!(load(&bytes), u64::from_le_bytes(padded));
        }

        #[test]
        fn find_is_comparison_with_every_name(name in "[a-zA-Z_]{0,10}") {
            let slow = rows().find(|r| r.name.eq_ignore_ascii_case(&name));
            prop_assert_eq!(find(name.as_bytes()).map(|r| r.name), slow.map(|r| r.name));
        }
    }
}
