//! The policy of `deny.toml` for licences, bans and sources, without cargo-deny. Advisories need
//! its database and are left to it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use toml::Table;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(file: &str) -> Table {
    std::fs::read_to_string(root().join(file)).unwrap().parse().unwrap()
}

fn strings(list: &toml::Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn nothing_banned_is_locked_and_all_comes_from_the_registry() {
    let (policy, lock) = (read("deny.toml"), read("Cargo.lock"));
    let banned: Vec<&str> = policy["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| ban["crate"].as_str().unwrap())
        .collect();
    assert!(["aws-lc-sys", "openssl-sys"].iter().all(|name| banned.contains(name)));
    let registries = strings(&policy["sources"]["allow-registry"]);
    assert_eq!(registries, ["https://github.com/rust-lang/crates.io-index"]);
    let packages = lock["package"].as_array().unwrap();
    assert!(packages.len() > 50, "only {} packages", packages.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains(&name), "{name} is banned");
        // Members of the workspace have no source.
        if let Some(source) = package.get("source").and_then(toml::Value::as_str) {
            let registry = source.strip_prefix("registry+").unwrap_or_default();
            assert!(registries.contains(&registry), "{name} comes from {source}");
        }
    }
}

#[test]
fn every_licence_is_allowed() {
    let policy = read("deny.toml");
    let allowed = strings(&policy["licenses"]["allow"]);
    let packages = packages();
    assert!(packages.len() > 50, "only {} packages", packages.len());
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or("none"));
        assert_eq!(permits(licence, &allowed), Ok(true), "{name}: {licence}");
    }
}

/// The packages that are built on this platform; the manifests of others need not be here.
fn packages() -> Vec<Value> {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&metadata.stderr);
    assert!(metadata.status.success(), "{told}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Whether an SPDX expression can be met by allowed licences alone. The old `A/B` means `A OR B`;
/// an exception (`WITH …`) only takes obligations away.
fn permits(expression: &str, allowed: &[&str]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut terms = Terms { words: &words, allowed };
    let met = terms.any()?;
    if terms.words.is_empty() { Ok(met) } else { Err(format!("what is {:?}?", terms.words)) }
}

struct Terms<'a> {
    words: &'a [&'a str],
    allowed: &'a [&'a str],
}

impl Terms<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        self.words = &self.words[usize::from(is_next)..];
        is_next
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut met = self.all()?;
        while self.take("OR") {
            met |= self.all()?;
        }
        Ok(met)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Ok(met)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let met = self.any()?;
            return if self.take(")") { Ok(met) } else { Err("a ( without )".to_owned()) };
        }
        let (licence, rest) = self.words.split_first().ok_or("nothing")?;
        self.words = rest;
        if self.take("WITH") {
            self.words = self.words.get(1..).ok_or("WITH nothing")?;
        }
        Ok(self.allowed.contains(licence))
    }
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for (expression, expected) in [
        ("MIT", Ok(true)),
        ("GPL-3.0", Ok(false)),
        ("MIT OR GPL-3.0", Ok(true)),
        ("GPL-3.0/MIT", Ok(true)),
        ("MIT AND GPL-3.0", Ok(false)),
        ("MIT AND GPL-3.0 OR Zlib", Ok(true)),
        ("(MIT OR Zlib) AND GPL-3.0", Ok(false)),
        ("Zlib AND (GPL-3.0 OR MIT)", Ok(true)),
        ("Zlib WITH LLVM-exception OR GPL-3.0", Ok(true)),
        ("MIT Zlib", Err(())),
        ("(MIT", Err(())),
        ("", Err(())),
    ] {
        let met = permits(expression, &["MIT", "Zlib"]);
        assert_eq!(met.map_err(|_| ()), expected, "{expression}");
    }
}
