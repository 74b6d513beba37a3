//! `docker-compose.yml` as docker compose reads it: merge keys and variables resolved.

use std::path::Path;

use yaml_rust2::yaml::Hash;
use yaml_rust2::{Yaml, YamlLoader};

/// The whole file, with every variable at its default.
pub(crate) fn load(path: &Path) -> Yaml {
    let text = std::fs::read_to_string(path).unwrap();
    let mut documents = YamlLoader::load_from_str(&text).unwrap();
    assert_eq!(documents.len(), 1);
    resolve(documents.remove(0))
}

/// A list of strings.
pub(crate) fn strings(list: &Yaml) -> Vec<&str> {
    let items = list.as_vec().unwrap_or_else(|| panic!("not a list: {list:?}"));
    items
        .iter()
        .map(|item| item.as_str().unwrap_or_else(|| panic!("no string: {item:?}")))
        .collect()
}

/// The names in a map.
pub(crate) fn names(map: &Yaml) -> Vec<&str> {
    let map = map.as_hash().unwrap_or_else(|| panic!("not a map: {map:?}"));
    map.keys().map(|key| key.as_str().unwrap()).collect()
}

fn resolve(value: Yaml) -> Yaml {
    match value {
        Yaml::String(text) => Yaml::String(interpolate(&text)),
        Yaml::Array(items) => Yaml::Array(items.into_iter().map(resolve).collect()),
        Yaml::Hash(map) => Yaml::Hash(merge(map)),
        other => other,
    }
}

/// What stands under `<<` comes first, so that what stands beside it wins.
fn merge(mut map: Hash) -> Hash {
    let mut merged = match map.remove(&Yaml::String("<<".into())).map(resolve) {
        None => Hash::new(),
        Some(Yaml::Hash(inherited)) => inherited,
        Some(other) => panic!("cannot merge {other:?}"),
    };
    for (key, value) in map {
        merged.insert(key, resolve(value));
    }
    merged
}

/// `$$` is a dollar, `${NAME:-default}` its default; anything else with a dollar is a mistake.
fn interpolate(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(behind) = rest.strip_prefix('$') {
            result.push('$');
            rest = behind;
        } else {
            let variable = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (variable, behind) = variable.unwrap_or_else(|| panic!("a lone $ in {text:?}"));
            let (_, default) = variable.split_once(":-").expect("a variable without a default");
            result.push_str(default);
            rest = behind;
        }
    }
    result + rest
}
