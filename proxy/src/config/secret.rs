//! Passwords: kept so that no log line or message can show them, and read from files.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::forms::Form;

/// A password. `Debug` hides it and there is no `Display`; only [`Secret::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// The password itself, for an AUTH command and nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Takes what [`Secret::BYTES_MAX`] allows.
    fn new(bytes: &[u8]) -> Option<Secret> {
        (1..=Secret::BYTES_MAX).contains(&bytes.len()).then(|| Secret(bytes.into()))
    }

    /// Nodes close a connection that announces a longer argument before it is authenticated.
    const BYTES_MAX: usize = 16 * 1024;
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// The form of a password. Its faults never show the value.
pub(super) struct Password;

impl Form for Password {
    type Out = Secret;

    fn word(&self) -> String {
        "PASSWORD".into()
    }

    fn expected(&self) -> String {
        format!("a password of 1 to {} bytes", Secret::BYTES_MAX)
    }

    fn parse(&self, text: &str) -> Option<Secret> {
        Secret::new(text.as_bytes())
    }

    fn fault(&self, text: &str) -> String {
        format!("has {} bytes, but must be {}", text.len(), self.expected())
    }
}

/// Reads the password that is the first line of a file; `\n` and `\r\n` end it.
///
/// The error is the rest of a sentence that begins with the option's name.
pub(super) fn read(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    // One byte more than allowed, and a line's end: enough to see that it is too long.
    let limit = Secret::BYTES_MAX + 3;
    let text = read_at_most(path, limit).map_err(|e| format!("names {shown}, but {e}"))?;
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Secret::new(line)
        .ok_or_else(|| format!("names {shown}, but its first line must be {}", Password.expected()))
}

/// A warning if a file with a password in it can be read by everybody.
pub(super) fn warn_if_exposed(path: &Path) -> Option<String> {
    let mode = path.metadata().ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        let shown = path.display();
        format!("{shown} holds a password and everybody can read it: chmod o-r {shown}")
    })
}

/// The first `limit` bytes of a file.
///
/// The error is the rest of a sentence: "it cannot be read: …".
pub(super) fn read_at_most(path: &Path, limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64).read_to_end(&mut bytes))
        .map_err(|e: io::Error| format!("it cannot be read: {e}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_a_password() {
        let secret = Password.parse("hunter2").expect("a sound password");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[hidden] Some([hidden])");
        assert_eq!(secret.expose(), b"hunter2");
    }

    #[test]
    fn a_fault_hides_a_password() {
        let long = "x".repeat(16 * 1024 + 1);
        assert_eq!(Password.parse(&long), None);
        assert_eq!(
            Password.fault(&long),
            "has 16385 bytes, but must be a password of 1 to 16384 bytes"
        );
    }

    #[test]
    fn the_password_is_the_first_line_without_its_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("password");
        let long = [b'x'; 16 * 1024 + 1];
        let table: [(&[u8], Option<&[u8]>); 9] = [
            (b"secret", Some(b"secret")),
            (b"secret\n", Some(b"secret")),
            (b"secret\r\n", Some(b"secret")),
            (b" se cret \nsecond line\n", Some(b" se cret ")),
            (b"\xff\x00\n", Some(b"\xff\x00")),
            (b"", None),
            (b"\nsecret\n", None),
            (&long[1..], Some(&long[1..])),
            (&long, None),
        ];
        for (content, password) in table {
            std::fs::write(&path, content).expect("the file is written");
            let read = read(&path);
            assert_eq!(read.as_ref().ok().map(Secret::expose), password, "{read:?}");
        }
        let missing = read(&folder.path().join("missing")).expect_err("there is no such file");
        assert!(missing.ends_with("it cannot be read: No such file or directory (os error 2)"));
    }

    #[test]
    fn a_file_that_everybody_can_read_is_warned_about() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("password");
        std::fs::write(&path, "secret").expect("the file is written");
        for (mode, warned) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
            assert_eq!(warn_if_exposed(&path).is_some(), warned, "{mode:o}");
        }
    }
}
