//! Sockets: listening, dialing, and the options that both sides get.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

/// Clients that may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How long data on a node connection may stay unacknowledged before the kernel resets it: a
/// black hole must not hold requests for the quarter of an hour that is the default.
const NODE_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket, not blocking.
///
/// # Errors
/// If the address is taken or not ours.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sets what a client's connection needs: no delay, and keepalive so that a client that vanished
/// is noticed.
///
/// # Errors
/// If the connection is broken already.
pub fn tune_client(stream: &std::net::TcpStream, keepalive: Duration) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    if !keepalive.is_zero() {
        let probes = TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / 3);
        socket.set_tcp_keepalive(&probes)?;
    }
    Ok(())
}

/// Connects to a node. Names are resolved anew each time; every address is tried until one
/// answers or the time is over.
///
/// # Errors
/// The last address's error, or `TimedOut`, or that the name has no address.
pub async fn dial(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let deadline = Instant::now() + timeout;
    let addresses = timeout_at(deadline, lookup_host((host, port))).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, "resolving the name took too long")
    })??;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout_at(deadline, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                tune_node(&stream)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "connecting took too long"));
            }
        }
    }
    Err(last)
}

fn tune_node(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(NODE_USER_TIMEOUT))?;
    Ok(())
}
