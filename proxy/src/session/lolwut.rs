//! LOLWUT: what this is, in a picture.

use crate::resp::{Args, canonical_integer};

/// Whether a version is asked for that is no number: a server looks no closer, nor do we.
pub(super) fn is_wrong(args: &Args<'_>) -> bool {
    let asks = args.get(1).is_some_and(|word| word.eq_ignore_ascii_case(b"VERSION"));
    asks && args.get(2).is_some_and(|version| canonical_integer(version).is_none())
}

/// The picture, and below it the version, as a server ends it.
pub(super) fn text(server_version: &str) -> String {
    format!("{PICTURE}\nRedis ver. {server_version}\n")
}

const PICTURE: &str = r"
     o    o    o    o    o    o    o    o    o
      \    \    \    \   |   /    /    /    /
       '----'----'-----. | .----'----'----'
                        \|/
                   ~ one server ~
                        /|\
       .----.----.-----' | '----.----.----.
      /    /    /    /   |   \    \    \    \
    [0]  [2k]  [4k] [6k] [8k] [10k] [12k]  [16383]
";
