//! What nodes send on the connections on which a worker is subscribed, and how a message gets to
//! all clients that are subscribed to it.

use super::echoes::{Echo, LAG};
use crate::command::Channels;
use crate::node::Stream;
use crate::resp::reply::Kind;
use crate::worker::Worker;

/// How the channels of keyspace notifications begin, as far as both kinds do.
pub(super) const NOTIFICATIONS: &[u8] = b"__key";

/// One frame: what it is, and the two words that follow.
struct Frame<'a> {
    kind: &'a [u8],
    name: &'a [u8],
    /// What stands behind the name, if it is a text.
    second: &'a [u8],
}

impl Worker {
    /// Something came on such a connection.
    pub(in crate::worker) fn upstream_frame(&mut self, index: u32, kind: Kind, frame: &[u8]) {
        let Some(pool) = self.heard_upstream(index) else { return };
        if kind == Kind::Error {
            return self.upstream_error(index, pool, frame);
        }
        if frame.first() == Some(&b'+') {
            return self.upstream_pong(index, pool); // nothing is subscribed to there
        }
        use Channels::{Matching, Named, Shard};
        let Some(Frame { kind, name, second }) = read(frame) else {
            return self.bad_node(index, "it sends what is no message");
        };
        match kind {
            b"message" => self.message(pool, Named, name, name, frame),
            b"pmessage" => self.message(pool, Matching, name, second, frame),
            b"smessage" => self.message(pool, Shard, name, name, frame),
            b"pong" => self.upstream_pong(index, pool),
            b"subscribe" | b"psubscribe" | b"ssubscribe" => self.upstream_began(index, pool, name),
            b"unsubscribe" => self.upstream_ended(index, pool, Named, name),
            b"punsubscribe" => self.upstream_ended(index, pool, Matching, name),
            b"sunsubscribe" => self.upstream_ended(index, pool, Shard, name),
            _ => self.bad_node(index, "it sends what is no message"),
        }
    }

    /// A message is announced that is larger than most replies. It is gathered all the same,
    /// because many may get it; one that nobody could take is dropped.
    pub(in crate::worker) fn large_message(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let announced = connection.partial.len() as u64 + connection.scanner.missing_bytes();
        if announced > self.settings.output_max as u64 {
            connection.stream = Stream::Discarding;
            connection.partial = Vec::new();
            self.cells.pubsub_dropped.add(1);
        }
    }

    /// A message: to all clients that are subscribed to `name`.
    fn message(
        &mut self,
        pool: u16,
        channels: Channels,
        name: &[u8],
        channel: &[u8],
        frame: &[u8],
    ) {
        let Some(id) = self.pubsub.find(channels, name) else { return };
        let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { return };
        let from_all = subject.everywhere && is_notification(channel);
        let confirmed =
            subject.sources.iter().any(|source| source.pool == pool && source.confirmed);
        let is_heard = if from_all { confirmed } else { subject.heard_at() == Some(pool) };
        let hands_over = !from_all && subject.handover.is_some();
        let is_heard_too = confirmed && hands_over;
        if !(is_heard || is_heard_too) {
            return;
        }
        let now = self.now;
        if is_heard && subject.handover.as_mut().is_some_and(|handover| handover.take(frame)) {
            self.pubsub.kept_bytes -= frame.len();
            return self.send_out(id, frame); // both have told it now
        }
        let echo = if from_all { Some(Echo::OfMany(now.before(LAG))) } else { subject.echo(now) };
        if echo.is_some_and(|echo| self.pubsub.echoes.is_echo(id, frame, pool, echo)) {
            return;
        }
        if is_heard {
            self.pass_on(id, pool, frame);
        } else {
            self.keep_for_handover(id, frame);
        }
    }

    /// A message of this node goes to all clients. Another node may tell the same.
    pub(super) fn pass_on(&mut self, id: u32, pool: u16, frame: &[u8]) {
        self.pubsub.echoes.note(id, frame, pool, self.now);
        self.send_out(id, frame);
    }

    fn send_out(&mut self, id: u32, frame: &[u8]) {
        let Some(subject) = self.pubsub.subjects.get(id as usize) else { return };
        // The same but for its first byte in both protocols; made when first needed.
        let mut push = Vec::new();
        for &client in &subject.clients {
            self.clients.interject(client, frame, &mut push);
        }
        self.cells.pubsub_messages.add(1);
        self.cells.pubsub_deliveries.add(subject.clients.len() as u64);
    }
}

/// Whether messages of this channel stay at the node where they arise.
fn is_notification(channel: &[u8]) -> bool {
    channel.starts_with(b"__keyspace@") || channel.starts_with(b"__keyevent@")
}

/// Reads the first words of an array of texts.
fn read(frame: &[u8]) -> Option<Frame<'_>> {
    let mut rest = frame.strip_prefix(b"*")?;
    let line = memchr::memchr(b'\n', rest)?;
    rest = &rest[line + 1..];
    let kind = word(&mut rest)?;
    let name = word(&mut rest)?;
    Some(Frame { kind, name, second: word(&mut rest).unwrap_or_default() })
}

/// Takes a bulk string off; a null is an empty one.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let line = memchr::memchr(b'\n', rest)?;
    let digits = rest[..line].strip_prefix(b"$")?.trim_ascii_end();
    let behind = &rest[line + 1..];
    if digits == b"-1" {
        *rest = behind;
        return Some(b"");
    }
    let len: usize = str::from_utf8(digits).ok()?.parse().ok()?;
    let word = behind.get(..len)?;
    *rest = behind.get(len + 2..)?;
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_and_nothing_else() {
        let frame = read(b"*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$0\r\n\r\n").unwrap();
        assert_eq!(
            (frame.kind, frame.name, frame.second),
            (&b"pmessage"[..], &b"a*"[..], &b"ab"[..])
        );
        let frame = read(b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n").unwrap();
        assert_eq!(
            (frame.kind, frame.name, frame.second),
            (&b"unsubscribe"[..], &b""[..], &b""[..])
        );
        for text in ["*", "*3\r\n", ":1\r\n", "*2\r\n$4\r\npong\r\n$9\r\nx\r\n", "*1\r\n$-9\r\n"] {
            assert!(read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
