//! What the machine has to offer: installed programs, and room for open files.

use std::path::PathBuf;

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Finds an installed program on `PATH` or in the folders where Debian puts daemons.
pub fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Raises the limit of open files as far as `wanted` or as allowed; gives what it is now.
/// Children inherit it.
pub fn raise_open_files(wanted: u64) -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    // Above the hard limit only with privileges; without them the hard limit is what there is.
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted.max(hard)).is_ok() {
        return Ok(wanted);
    }
    let reachable = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, reachable, hard)?;
    Ok(reachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        assert!(installed("sh").is_some_and(|path| path.ends_with("sh")));
        assert_eq!(installed("no-such-program"), None);
    }

    #[test]
    fn a_limit_that_is_there_already_is_kept() {
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_open_files(1).unwrap(), soft);
    }
}
