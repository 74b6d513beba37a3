//! Where a run took place: machine, versions, and how busy it was.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::targets::Kind;

/// Facts about the machine and the programs, each with its name.
#[derive(Debug)]
pub struct Environment {
    /// In the order of the report.
    pub facts: Vec<(&'static str, String)>,
}

impl Environment {
    /// Looks around; what cannot be found out is said so.
    pub fn look(kinds: &[Kind], slotway: &Path) -> Self {
        // As the testbed chooses it.
        let server = std::env::var("SLOTWAY_TEST_SERVER").ok().filter(|path| !path.is_empty());
        let server = server.unwrap_or_else(|| "redis-server".to_owned());
        let mut facts = vec![
            ("date", said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("commit", said_by("git", &["describe", "--always", "--dirty"])),
            ("processor", processor()),
            ("cores", thread::available_parallelism().map_or(unknown(), |count| count.to_string())),
            ("kernel", said_by("uname", &["-sr"])),
            ("load average at start", load_average()),
            ("servers", said_by(&server, &["--version"])),
        ];
        for kind in kinds {
            let flag = match kind {
                Kind::Direct | Kind::SlotwayTwo | Kind::SlotwayStrict => continue,
                Kind::Nutcracker => "-V",
                Kind::Haproxy => "-v",
                Kind::Slotway => "--version",
            };
            if let Ok(Some(program)) = kind.program(slotway) {
                facts.push((kind.name(), said_by(&program.to_string_lossy(), &[flag])));
            }
        }
        Environment { facts }
    }
}

/// The first line a program prints, on either output: nutcracker uses the second.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return unknown() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().find(|line| !line.trim().is_empty()).map_or(unknown(), |line| line.trim().into())
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or(unknown(), |(_, name)| name.to_owned())
}

fn load_average() -> String {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split_whitespace().next().map_or(unknown(), str::to_owned)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_on_either_output_counts() {
        assert_eq!(said_by("sh", &["-c", "echo; echo one; echo two"]), "one");
        assert_eq!(said_by("sh", &["-c", "echo three >&2"]), "three");
        assert_eq!(said_by("/nowhere/program", &[]), "unknown");
    }
}
