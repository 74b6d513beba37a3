//! A request as the scanner would find it.

use slotway::resp::{Args, Span};

/// A canonical array of bulk strings, and where its arguments are.
pub(crate) struct Request {
    pub(crate) frame: Vec<u8>,
    spans: Vec<Span>,
}

impl Request {
    pub(crate) fn new<A: AsRef<[u8]>>(args: &[A]) -> Request {
        let mut frame = format!("*{}\r\n", args.len()).into_bytes();
        let mut spans = Vec::new();
        for arg in args {
            let arg = arg.as_ref();
            frame.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            let start = frame.len() as u32;
            frame.extend_from_slice(arg);
            spans.push(Span { start, end: frame.len() as u32 });
            frame.extend_from_slice(b"\r\n");
        }
        Request { frame, spans }
    }

    pub(crate) fn args(&self) -> Args<'_> {
        Args::new(&self.frame, &self.spans)
    }
}
