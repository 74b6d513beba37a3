//! LOLWUT: what this is, in a picture.

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
