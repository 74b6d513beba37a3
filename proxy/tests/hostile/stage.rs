//! A real cluster with a proxy before it, where the hostile tests play.

use testbed::{Cluster, Peer, Proxy, ProxyBuilder};

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) proxy: Proxy,
}

impl Stage {
    pub(crate) fn new(settings: impl FnOnce(ProxyBuilder) -> ProxyBuilder) -> Stage {
        let cluster = Cluster::builder().primaries(3).replicas(0).start().unwrap();
        let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway"));
        let proxy = settings(proxy).start().unwrap();
        Stage { cluster, proxy }
    }

    /// A key that lives beside those of the innocents of this shard: in the same slot.
    pub(crate) fn key(&self, shard: usize, name: &str) -> String {
        self.cluster.shard(shard).key(name).unwrap()
    }

    /// Sends `bytes` and returns all that comes until the proxy closes.
    pub(crate) fn until_closed(&self, bytes: &[u8]) -> Vec<u8> {
        until_closed(&self.proxy.addr(), bytes)
    }

    /// Sends `bytes` and returns what comes for them; the connection serves on.
    pub(crate) fn until_answered(&self, bytes: &[u8]) -> Vec<u8> {
        until_answered(&self.proxy.addr(), bytes)
    }
}

pub(crate) fn until_closed(addr: &str, bytes: &[u8]) -> Vec<u8> {
    let mut peer = Peer::connect(addr).unwrap();
    // It may be closed before all is written.
    let _ = peer.send(bytes);
    peer.read_to_end().unwrap_or_else(|e| panic!("{}: {e:#}", name(bytes)))
}

pub(crate) fn until_answered(addr: &str, bytes: &[u8]) -> Vec<u8> {
    let mut peer = Peer::connect(addr).unwrap();
    peer.send(bytes).unwrap();
    peer.send_command(&["ECHO", "the end"]).unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"$7\r\nthe end\r\n") {
        got.extend(peer.read_exact(1).unwrap_or_else(|e| {
            panic!("{}: {e:#} after {}", name(bytes), got.escape_ascii());
        }));
    }
    got.truncate(got.len() - 13);
    got
}

/// Bytes as they are shown when something is wrong with them.
pub(crate) fn name(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(80)].escape_ascii().to_string()
}

/// A request as an array.
pub(crate) fn array<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.as_ref().len()).bytes());
        bytes.extend_from_slice(arg.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
