//! What a node still says on a connection whose client has left while it was blocked.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::command::holds_element;
use crate::metrics::WorkerCells;

/// How long a node has for closing its side.
const PATIENCE: Duration = Duration::from_secs(1);

/// As many bytes tell an element from none.
const BYTES: usize = 16;

/// Ends our side at once, upon which the node ends the client that is blocked there, and counts it
/// if what it had said by then says that something was taken for that client. What it has taken and
/// not said any more is not seen, by nobody.
pub(super) fn hear_out(mut stream: TcpStream, cells: Arc<WorkerCells>) {
    // It does not wait for anything, and an error means that the connection has ended.
    let _ = Pin::new(&mut stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    tokio::spawn(async move {
        let (mut said, mut len) = ([0; BYTES], 0);
        let listening = async {
            while len < BYTES
                && let Ok(more @ 1..) = stream.read(&mut said[len..]).await
            {
                len += more;
            }
        };
        // If it takes longer, what has come counts.
        let _ = tokio::time::timeout(PATIENCE, listening).await;
        if holds_element(&said[..len]) {
            cells.blocked_answers_late.add(1);
        }
    });
}
