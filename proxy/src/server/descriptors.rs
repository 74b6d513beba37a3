//! Each client and each connection to a node is an open file of the process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the limit of open files as far as the process may, and returns how many clients there
/// can be: as many as wanted, or as leave a quarter of the files for nodes and the rest. Without
/// that a crowd of clients would keep slotway from reaching the nodes.
pub(super) fn room_for(clients_wanted: usize) -> usize {
    let clients = match raise() {
        Ok(files) => clients_within(clients_wanted, files),
        Err(error) => {
            warn!(%error, "the limit of open files cannot be read");
            return clients_wanted;
        }
    };
    if clients < clients_wanted {
        warn!(
            "at most {clients} clients are served, not the {clients_wanted} of clients-max: raise \
             the limit of open files (ulimit -Hn, LimitNOFILE=) to {} or more",
            clients_wanted.saturating_mul(4).div_ceil(3)
        );
    }
    clients
}

/// How many files may be open now.
fn raise() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => {
                info!("the limit of open files was raised from {soft} to {hard}");
                return Ok(hard);
            }
            Err(error) => warn!(%error, "the limit of open files stays at {soft}"),
        }
    }
    Ok(soft)
}

fn clients_within(wanted: usize, files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    wanted.min(files - files.div_ceil(4)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_files_is_left_for_the_rest() {
        for (wanted, files, clients) in [
            (10_000, 1_048_576, 10_000),
            (10_000, 13_334, 10_000),
            (10_000, 1_024, 768),
            (100, u64::MAX, 100),
            (100, 0, 1),
        ] {
            assert_eq!(clients_within(wanted, files), clients, "{files}");
        }
    }
}
