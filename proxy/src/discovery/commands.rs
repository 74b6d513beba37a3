//! Learning the commands that the table lacks: each kind of server is asked once for all it has.
//!
//! A kind is a version with a number of commands, which a module changes; so a node with another
//! module is asked as well. In the background: the map does not wait for it.

use std::sync::Arc;

use hashbrown::HashSet;
use tokio::task::JoinSet;

use super::ask::connect;
use super::connection::AskError;
use super::settings::Settings;
use crate::command;
use crate::topology::{Endpoint, told_commands};

/// A version, as its server says it, and how many commands it has.
pub(super) type Kind = (String, u64);

/// Most kinds remembered.
const KINDS_MAX: usize = 256;

/// Most names in the line that tells what was learned.
const NAMES_MAX: usize = 20;

/// Which kinds of servers were asked, and who is being asked.
#[derive(Default)]
pub(super) struct Commands {
    asked: HashSet<Kind>,
    running: JoinSet<Result<(), Kind>>,
}

impl Commands {
    /// Has the node at this endpoint asked, if none of its kind was.
    pub(super) fn ask(&mut self, kind: Kind, endpoint: &Endpoint, settings: &Arc<Settings>) {
        while let Some(ended) = self.running.try_join_next() {
            // It could not be asked: somebody else, next time.
            if let Ok(Err(kind)) = ended {
                self.asked.remove(&kind);
            }
        }
        if self.asked.len() >= KINDS_MAX || !self.asked.insert(kind.clone()) {
            return;
        }
        let (endpoint, settings) = (endpoint.clone(), Arc::clone(settings));
        self.running.spawn(async move {
            match learn_of(&endpoint, &settings).await {
                // A node that does not permit the question will not do so later.
                Ok(()) | Err(AskError::Refused(_)) => Ok(()),
                Err(error) => {
                    tracing::debug!("{endpoint} was asked for its commands and {error}");
                    Err(kind)
                }
            }
        });
    }
}

async fn learn_of(endpoint: &Endpoint, settings: &Settings) -> Result<(), AskError> {
    let mut connection = connect(endpoint, settings).await?;
    let told = told_commands(&connection.commands(settings.reply_timeout).await?);
    let names = command::learn(&told);
    if !names.is_empty() {
        let more = names.len().saturating_sub(NAMES_MAX);
        let shown = names[..names.len() - more].join(", ");
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        tracing::info!("learned {} commands of {endpoint}: {shown}{rest}", names.len());
    }
    Ok(())
}
