//! The operator's table from addresses that nodes announce to addresses that can be reached.

use std::str::FromStr;

use hashbrown::HashMap;
use thiserror::Error;

use super::endpoint::{is_host, without_brackets};
use super::{Endpoint, EndpointError};

/// Announced address → reachable one, for clusters behind NAT or in containers.
///
/// An entry is `host:port=host:port`, or `host=host`, which keeps the port. The first kind wins
/// where both fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressMap {
    endpoints: HashMap<Endpoint, Endpoint>,
    hosts: HashMap<String, String>,
}

impl AddressMap {
    /// The map of these entries. Errors name the entry that is wrong, or that contradicts an
    /// earlier one.
    pub fn parse<'a>(
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<AddressMap, AddressMapError> {
        let mut map = AddressMap::default();
        for entry in entries {
            map.add(entry.trim())?;
        }
        Ok(map)
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty() && self.hosts.is_empty()
    }

    /// Where an announced endpoint is reached, or `None` when no entry speaks of it.
    pub fn get(&self, announced: &Endpoint) -> Option<Endpoint> {
        if let Some(reachable) = self.endpoints.get(announced) {
            return Some(reachable.clone());
        }
        let host = self.hosts.get(&*announced.host)?;
        Some(Endpoint::new(host.as_str(), announced.port))
    }

    fn add(&mut self, entry: &str) -> Result<(), AddressMapError> {
        let (announced, reachable) =
            entry.split_once('=').ok_or_else(|| AddressMapError::Form(entry.to_owned()))?;
        // `::1=::2` is two hosts, though `::1` could also be read as host `:` and port 1: an
        // IPv6 address with a port is told from one without by its brackets.
        let earlier = match (plain_host(announced), plain_host(reachable)) {
            (Some(from), Some(to)) => {
                let earlier = self.hosts.insert(from.to_owned(), to.to_owned());
                earlier.is_some_and(|earlier| earlier != to)
            }
            (None, None) => {
                let to: Endpoint = reachable.parse()?;
                let earlier = self.endpoints.insert(announced.parse()?, to.clone());
                earlier.is_some_and(|earlier| earlier != to)
            }
            _ => return Err(AddressMapError::Form(entry.to_owned())),
        };
        if earlier { Err(AddressMapError::Twice(announced.to_owned())) } else { Ok(()) }
    }
}

impl FromStr for AddressMap {
    type Err = AddressMapError;

    /// Entries separated by commas; an empty text is an empty map.
    fn from_str(text: &str) -> Result<AddressMap, AddressMapError> {
        AddressMap::parse(text.split(',').filter(|entry| !entry.trim().is_empty()))
    }
}

/// Why an entry of an address map cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressMapError {
    /// Neither of the two forms.
    #[error("`{0}` is neither host:port=host:port nor host=host")]
    Form(String),
    /// One side is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Two entries send one address to two places.
    #[error("`{0}` is mapped to two different addresses")]
    Twice(String),
}

/// A host without a port: no colon at all, an IPv6 address, or a bracketed one.
fn plain_host(text: &str) -> Option<&str> {
    let host = without_brackets(text);
    let is_plain = !host.contains(':') || host.parse::<std::net::Ipv6Addr>().is_ok();
    (is_plain && is_host(host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_entry_wins_over_one_for_the_host() {
        let map: AddressMap = "10.0.0.1=192.0.2.1, 10.0.0.1:7001=127.0.0.1:17001, fd00::1=::1,\
                               [fd00::1]:7005=[::1]:17005"
            .parse()
            .unwrap();
        let cases = [
            ("10.0.0.1:7000", Some("192.0.2.1:7000")),
            ("10.0.0.1:7001", Some("127.0.0.1:17001")),
            ("[fd00::1]:7000", Some("[::1]:7000")),
            ("[fd00::1]:7005", Some("[::1]:17005")),
            ("10.0.0.2:7000", None),
        ];
        for (announced, reachable) in cases {
            let reachable = reachable.map(|r| r.parse().unwrap());
            assert_eq!(map.get(&announced.parse().unwrap()), reachable, "{announced}");
        }
        assert_eq!("".parse(), Ok(AddressMap::default()));
    }

    #[test]
    fn a_wrong_entry_is_named() {
        let cases = [
            ("a", "`a` is neither host:port=host:port nor host=host"),
            ("a=b:1", "`a=b:1` is neither host:port=host:port nor host=host"),
            ("a:1=b:x", "`b:x` is not an address of the form host:port"),
            ("a=b,a=c", "`a` is mapped to two different addresses"),
            ("=", "`` is not an address of the form host:port"),
        ];
        for (text, message) in cases {
            let error = text.parse::<AddressMap>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
