//! Messages about requests that are under way.

use super::{Entry, Flow};

/// What follows one reply beyond this is told in general instead of one by one.
const FOLLOW_BYTES_MAX: usize = 4096;

impl Flow {
    /// The number that the next request gets.
    #[inline]
    pub fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.ring.len() as u32)
    }

    /// Whether the reply of this request is not in the output yet, or not whole. Of a request of
    /// long ago, or of another client that had this flow, it may say so wrongly.
    pub fn is_open(&self, number: u32) -> bool {
        (number.wrapping_sub(self.first) as usize) < self.ring.len()
    }

    /// Adds a message that waits for no reply, though it never goes out inside one. Returns
    /// whether bytes were added to the output.
    pub fn interrupt(&mut self, message: &[u8]) -> bool {
        if matches!(self.ring.front(), Some(Entry::Large { .. })) {
            self.put_behind(self.first, |aside| aside.push(message));
            return false;
        }
        self.out.extend_from_slice(message);
        true
    }

    /// Has a message go out right behind the reply of this request, which is open: not twice in a
    /// row, and if there are many, `all` in place of those that come.
    pub fn follow(&mut self, number: u32, message: &[u8], all: &[u8]) {
        self.put_behind(number, |aside| {
            // Compared whole: what keys and channels are called may look like a message.
            if aside.tells_all || aside.bytes[aside.last..] == *message {
                return;
            }
            let is_much = aside.bytes.len() + message.len() > FOLLOW_BYTES_MAX;
            let message = if is_much { all } else { message };
            aside.tells_all = message == all;
            aside.push(message);
        });
    }

    fn put_behind(&mut self, number: u32, put: impl FnOnce(&mut Aside)) {
        let place = |number: u32| number.wrapping_sub(self.first);
        let at = self.asides.partition_point(|aside| place(aside.number) < place(number));
        if self.asides.get(at).is_none_or(|aside| aside.number != number) {
            self.asides.insert(at, Aside::behind(number));
        }
        if let Some(aside) = self.asides.get_mut(at) {
            let before = aside.bytes.len();
            put(aside);
            self.aside_bytes += aside.bytes.len() - before;
        }
    }
}

/// What goes out right behind one reply.
#[derive(Debug)]
pub(super) struct Aside {
    /// The number of its request.
    pub(super) number: u32,
    pub(super) bytes: Vec<u8>,
    /// Where the last message in `bytes` begins.
    last: usize,
    /// One of them says all that those of [`Flow::follow`] could.
    tells_all: bool,
}

impl Aside {
    /// Nothing yet, behind the reply of this request.
    pub(super) fn behind(number: u32) -> Aside {
        Aside { number, bytes: Vec::new(), last: 0, tells_all: false }
    }

    /// One more message.
    pub(super) fn push(&mut self, message: &[u8]) {
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_reply_goes_out_right_behind_it() {
        let mut flow = Flow::default();
        let (a, b, c) = (flow.push(), flow.push(), flow.push());
        assert!(flow.is_open(a) && flow.is_open(c) && !flow.is_open(flow.next_number()));
        flow.follow(c, b"!c", b"*");
        flow.follow(b, b"!b", b"*");
        flow.follow(b, b"!b", b"*");
        flow.settle(b, b"b").unwrap();
        flow.follow(b, b"!x", b"*");
        assert!(flow.interrupt(b"-"), "it does not wait");
        flow.settle(a, b"a").unwrap();
        assert_eq!(flow.output(), b"-ab!b!x");
        assert!(!flow.is_open(b) && flow.is_open(c));
        flow.settle(c, b"c").unwrap();
        assert_eq!(flow.output(), b"-ab!b!xc!c");
        assert_eq!(flow.reply_bytes(), flow.output().len());
    }

    #[test]
    fn many_that_follow_one_reply_become_one_that_says_all() {
        let mut flow = Flow::default();
        let a = flow.push();
        for n in 0..1_000_000 {
            flow.follow(a, format!("key {n:07};").as_bytes(), b"everything");
        }
        assert!(flow.reply_bytes() < FOLLOW_BYTES_MAX + 100);
        flow.settle(a, b"a").unwrap();
        assert!(flow.output().ends_with(b"everything"));
    }

    #[test]
    fn a_message_is_not_left_out_because_another_one_quotes_it() {
        let mut flow = Flow::default();
        let a = flow.push();
        flow.follow(a, b">quote:!k;", b"*");
        flow.follow(a, b"!k;", b"*");
        flow.begin_large(a, 1).unwrap();
        assert!(!flow.interject(b"news:*"));
        flow.follow(a, b"!l;", b"*");
        flow.pass(b"a");
        flow.end_large();
        assert_eq!(flow.output(), b"a>quote:!k;!k;news:*!l;");
    }

    #[test]
    fn nothing_goes_out_inside_a_large_reply() {
        let mut flow = Flow::default();
        let (a, b) = (flow.push(), flow.push());
        flow.begin_large(a, 1).unwrap();
        flow.pass(b"a1");
        flow.settle(b, b"b").unwrap();
        assert!(!flow.interrupt(b"!"));
        flow.pass(b"a2");
        flow.end_large();
        assert_eq!(flow.output(), b"a1a2!b");
    }
}
