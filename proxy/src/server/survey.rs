//! Answers what clients ask of all nodes: INFO.
//!
//! Who asks while the nodes are being asked waits for the next round, since an answer that is older
//! than its question would not show what the client has just done; all who wait are answered by
//! one round. So a thousand clients that ask at once cost each node a few questions.

use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::facts::Source;
use crate::discovery::{Census, Scope};
use crate::driver::NodesInquiry;
use crate::session::{NodesAsked, Totals};

/// Least time between the beginnings of two rounds.
const BETWEEN: Duration = Duration::from_millis(10);

/// Answers for ever.
pub(super) async fn answer(
    mut asked: mpsc::UnboundedReceiver<NodesInquiry>,
    mut census: Census,
    facts: Source,
) {
    let mut inquiries = Vec::new();
    loop {
        let idle = census.close_idle();
        let idle = async {
            match idle {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            count = asked.recv_many(&mut inquiries, usize::MAX) => if count == 0 { return },
            () = idle => continue,
        }
        let begun = Instant::now();
        let whom = inquiries.iter().map(|inquiry: &NodesInquiry| inquiry.question.nodes).max();
        let scope = match whom {
            Some(NodesAsked::All) => Scope::All,
            _ => Scope::Primaries,
        };
        let totals = Totals::new(census.take(scope).await);
        let facts = facts.facts();
        for inquiry in inquiries.drain(..) {
            let reply = inquiry.question.reply(&facts, &totals);
            inquiry.answer(reply);
        }
        sleep_until(begun + BETWEEN).await;
    }
}
