//! The file in which a server of a cluster keeps what it knows of the others.

use std::collections::HashMap;
use std::path::Path;
use std::{fs, io};

/// Its name in the server's folder.
pub(crate) const NODES_CONF: &str = "nodes.conf";

const SHARD_ID: &str = "shard-id=";

/// Gives replicas the shard of their primary. For some seconds after a cluster was made a node may
/// have heard of another one, and a server that ends then does not start again ("corrupted cluster
/// config file": Valkey 8.1.1, on a busy machine once in a few tries).
pub(crate) fn mend(folder: &Path) -> io::Result<()> {
    let file = folder.join(NODES_CONF);
    match fs::read_to_string(&file) {
        Ok(text) => fs::write(&file, with_shards_of_primaries(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // it was never in one
        Err(error) => Err(error),
    }
}

fn with_shards_of_primaries(text: &str) -> String {
    let shard = |line: &str| -> Option<String> {
        let about = line.split(' ').nth(1)?;
        about.split(',').find(|part| part.starts_with(SHARD_ID)).map(str::to_owned)
    };
    let shards: HashMap<&str, String> =
        text.lines().filter_map(|line| Some((line.split(' ').next()?, shard(line)?))).collect();
    let mended = text.split_inclusive('\n').map(|line| {
        let primary = line.split(' ').nth(3).unwrap_or_default();
        match (shard(line), shards.get(primary)) {
            (Some(own), Some(of_primary)) => line.replacen(&own, of_primary, 1),
            _ => line.to_owned(),
        }
    });
    mended.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_in_the_shard_of_its_primary() {
        let text = |shard: &str| {
            format!(
                "aa 127.0.0.1:1@2,,tls-port=0,shard-id=11 myself,master - 0 0 1 connected 0-16383\n\
                 bb 127.0.0.1:3@4,,tls-port=0,shard-id={shard} slave aa 0 1 1 connected\n\
                 cc 127.0.0.1:5@6,,tls-port=0,shard-id=33 slave dd 0 1 1 connected\n\
                 ee 127.0.0.1:7@8 slave aa 0 1 1 connected\n\
                 vars currentEpoch 6 lastVoteEpoch 0\n"
            )
        };
        assert_eq!(with_shards_of_primaries(&text("22")), text("11"));
        assert_eq!(with_shards_of_primaries(&text("11")), text("11"));
        assert_eq!(with_shards_of_primaries(""), "");
    }
}
