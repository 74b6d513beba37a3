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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::command::CommandId;

    /// What is counted of what a node says after our side has ended.
    async fn counted(said: &[&[u8]]) -> u64 {
        let cells = Arc::new(WorkerCells::new(CommandId::COUNT));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut node, _) = listener.accept().await.unwrap();
        hear_out(ours, Arc::clone(&cells));
        assert_eq!(node.read(&mut [0]).await.unwrap(), 0, "our side ends at once");
        for piece in said {
            node.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(node);
        // Who listens has the other half of the count of owners.
        while Arc::strong_count(&cells) > 1 {
            tokio::task::yield_now().await;
        }
        cells.blocked_answers_late.get()
    }

    #[tokio::test]
    async fn an_element_that_a_node_took_for_who_has_left_is_counted() {
        assert_eq!(counted(&[b"*2\r\n$1\r\nq\r\n$1\r\nv\r\n"]).await, 1);
        assert_eq!(counted(&[b"+OK\r", b"\n*2\r\n$1\r\nq"]).await, 1, "behind ASKING, in pieces");
        for nothing in [&b""[..], b"*-1\r\n", b"-UNBLOCKED x\r\n"] {
            assert_eq!(counted(&[nothing]).await, 0, "{}", nothing.escape_ascii());
        }
    }
}
