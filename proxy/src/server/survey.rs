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
use crate::discovery::Census;
use crate::driver::NodesInquiry;
use crate::session::{InfoQuestion, NodesAsked, Totals};

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
        let totals = Totals::new(census.take(whom.unwrap_or(NodesAsked::Primaries)).await);
        let facts = facts.facts();
        // A crowd asks the same.
        let mut made: Option<(InfoQuestion, Vec<u8>)> = None;
        for inquiry in inquiries.drain(..) {
            let question = &inquiry.question;
            if made.as_ref().is_none_or(|(other, _)| other != question) {
                made = Some((question.clone(), question.reply(&facts, &totals)));
            }
            if let Some((_, reply)) = &made {
                inquiry.answer(reply.clone());
            }
        }
        sleep_until(begun + BETWEEN).await;
    }
}
