//! Loopback ports that nobody else uses, also when several test processes look for some at once.

use anyhow::{Result, anyhow};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A loopback port reserved for as long as this lives, whether or not something listens on it: a
/// killed server finds it free when it comes back.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reserved: Vec<Claim>,
}

impl Port {
    /// Reserves a free port.
    ///
    /// # Errors
    /// None was found in a thousand tries.
    pub fn free() -> Result<Port> {
        Port::search(false)
    }

    /// Reserves a free port whose cluster bus port, 10000 above it, is free too.
    ///
    /// # Errors
    /// None was found in a thousand tries.
    pub fn free_with_bus() -> Result<Port> {
        Port::search(true)
    }

    /// Reserves the first free port from `number` on.
    ///
    /// # Errors
    /// There is none up to the last one.
    pub fn first_free_from(number: u16) -> Result<Port> {
        (number..=u16::MAX)
            .find_map(|number| Port::take(number, false))
            .ok_or_else(|| anyhow!("no port from {number} on is free"))
    }

    /// Reserves `number`, and with `bus` the one 10000 above it; `None` when one of them is in use,
    /// reserved or does not exist.
    pub fn take(number: u16, bus: bool) -> Option<Port> {
        let mut reserved = vec![claim_port(number)?];
        if bus {
            reserved.push(claim_port(number.checked_add(BUS)?)?);
        }
        Some(Port { number, _reserved: reserved })
    }

    /// The port.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<port>`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    fn search(bus: bool) -> Result<Port> {
        (0..1000)
            .find_map(|_| Port::take(fastrand::u16(LOWEST..HIGHEST), bus))
            .ok_or_else(|| anyhow!("no free loopback port was found in a thousand tries"))
    }
}

/// A name in this network namespace that one process at a time can hold; the kernel lets go of it
/// when the holder ends, however it ends. It is an abstract Unix socket: no file, nothing stale.
#[derive(Debug)]
pub(crate) struct Claim(#[allow(dead_code, reason = "held, never used")] UnixListener);

impl Claim {
    pub(crate) fn new(name: &str) -> Option<Claim> {
        let address = SocketAddr::from_abstract_name(format!("slotway-testbed/{name}")).ok()?;
        UnixListener::bind_addr(&address).ok().map(Claim)
    }
}

fn claim_port(number: u16) -> Option<Claim> {
    let claim = Claim::new(&format!("port/{number}"))?;
    // On all addresses: somebody may listen on another one than loopback, or on all.
    TcpListener::bind(("0.0.0.0", number)).ok()?;
    TcpListener::bind(("127.0.0.1", number)).ok()?;
    Some(claim)
}

/// The cluster bus listens this far above the client port.
const BUS: u16 = 10000;

// Both the port and its bus port stay below 32768, where Linux begins to hand out ports to outgoing
// connections: otherwise one of those could take the port of a server that is down for a moment.
const LOWEST: u16 = 11000;
const HIGHEST: u16 = 22700;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_again_until_it_is_dropped() {
        let port = Port::free_with_bus().unwrap();
        assert!(Port::take(port.number(), false).is_none());
        assert!(Port::take(port.number() + BUS, false).is_none(), "the bus port is reserved too");
        let number = port.number();
        drop(port);
        assert!(Port::take(number, true).is_some());
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        assert!(Port::take(number, false).is_none());
        assert_ne!(Port::first_free_from(number).unwrap().number(), number);
    }

    #[test]
    fn a_port_without_room_for_its_bus_is_not_given() {
        assert!(Port::take(60000, true).is_none());
    }
}
