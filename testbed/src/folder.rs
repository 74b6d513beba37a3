//! Temporary folders that do not outlive their use, even when the process that made them is killed.

use crate::ports::Claim;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// A new empty folder, removed with all it holds when this is dropped.
///
/// The folder of a killed process stays behind; each new process removes such folders when it
/// makes its first one. A [`Claim`] on the folder's name tells that its maker is alive.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _owned: Claim,
}

impl Folder {
    pub(crate) fn new() -> Result<Folder> {
        static SWEEP: Once = Once::new();
        let root = root();
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        SWEEP.call_once(|| sweep(&root));
        for _ in 0..100 {
            let name = format!("{:08x}", fastrand::u32(..));
            // Claimed before it exists: nobody can take it for a stale one.
            let Some(owned) = claim(&name) else { continue };
            let path = root.join(name);
            if fs::create_dir(&path).is_ok() {
                return Ok(Folder { path, _owned: owned });
            }
        }
        bail!("cannot make a folder in {}", root.display())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A server that is being killed may still write a file: the second try meets an empty folder.
        if fs::remove_dir_all(&self.path).is_err() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Where the folders are: one place for each network namespace, because claims do not reach across
/// (two containers may share a `/tmp`), and for each user.
fn root() -> PathBuf {
    let namespace = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let namespace: String =
        namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    let user = fs::metadata("/proc/self").map_or(0, |me| me.uid());
    std::env::temp_dir().join(format!("slotway-testbed-{user}-{namespace}"))
}

fn claim(name: &str) -> Option<Claim> {
    Claim::new(&format!("folder/{name}"))
}

/// Removes the folders whose makers have gone.
fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        if claim(&entry.file_name().to_string_lossy()).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_handle() {
        let folder = Folder::new().unwrap();
        let path = folder.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn only_folders_without_a_living_maker_are_swept() {
        let living = Folder::new().unwrap();
        let stale = root().join(format!("stale{:08x}", fastrand::u32(..)));
        fs::create_dir_all(stale.join("inside")).unwrap();
        sweep(&root());
        assert!(!stale.exists());
        assert!(living.path().exists());
    }
}
