//! How many are subscribed. A node counts one subscriber for each worker that is subscribed there;
//! here those of this process are taken off again, and their clients put in their place. Another
//! slotway's workers stay one each: how many clients are behind them is not known here.

use std::collections::BTreeSet;

use crate::command::{self, Channels, Row};
use crate::metrics::Outcome;
use crate::resp::{Args, write};
use crate::routing::{Merge, number, values};
use crate::session::wrong_count;
use crate::slot::Slot;
use crate::worker::gather::How;
use crate::worker::requests::Step;
use crate::worker::{NO_POOL, Worker};

/// What is asked of nodes.
#[derive(Debug)]
pub(in crate::worker) enum Question {
    /// A message is published; how many receive it?
    Publish { channels: Channels, channel: Box<[u8]>, slot: Slot },
    /// Which channels have subscribers? Asked of all nodes, as the rest.
    Names,
    /// How many subscribers has each of these?
    Subscribers { channels: Channels, names: Vec<Box<[u8]>> },
    /// How many patterns have subscribers?
    Patterns,
}

impl Worker {
    /// PUBLISH and SPUBLISH, while clients of this process are subscribed to anything.
    pub(in crate::worker) fn publish(
        &mut self,
        index: u32,
        row: &'static Row,
        channels: Channels,
        slot: Slot,
        args: &Args<'_>,
    ) -> Step {
        let channel = args.get(1).unwrap_or_default().into();
        let how = How::Count(Question::Publish { channels, channel, slot });
        let (class, slots) = (command::class(row, args), [Some(slot)]);
        let Some(gather) =
            self.begin_gather(index, row, class, args, Merge::Any, how, slots.into_iter())
        else {
            return Step::Later;
        };
        self.send_part(gather, 0, Some(slot), NO_POOL, args.frame());
        Step::Taken
    }

    /// PUBSUB and what asks about subscribers.
    pub(in crate::worker) fn ask_subscribers(
        &mut self,
        index: u32,
        row: &'static Row,
        args: &Args<'_>,
    ) -> Step {
        let channels = if row.name.contains("shard") { Channels::Shard } else { Channels::Named };
        let question = if row.name.ends_with("channels") {
            if args.len() > 3 {
                self.cells.request_done(row.id.index(), Outcome::Refused, 0);
                let text = wrong_count(args);
                self.answer(index, |out| write::error(out, text));
                return Step::Taken;
            }
            Question::Names
        } else if row.name.ends_with("numpat") {
            Question::Patterns
        } else {
            let names = args.iter().skip(2).map(Into::into).collect();
            Question::Subscribers { channels, names }
        };
        self.ask_all_nodes(index, row, args, Merge::Any, How::Count(question))
    }

    /// What nodes were asked about subscribers is answered: makes the one reply of it.
    pub(in crate::worker) fn count_subscribers(&mut self, index: u32) {
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return };
        let How::Count(question) = &gather.how else { return };
        let Some(replies) = gather.all_well() else { return };
        let audience = &self.settings.audience;
        let replies: Vec<&[u8]> = replies.map(|(.., reply)| reply).collect();
        let sum = || replies.iter().map(|reply| number(reply).unwrap_or_default()).sum::<i64>();
        let mut out = Vec::new();
        match question {
            Question::Publish { channels, channel, slot } => {
                let owner = self.pools.get(usize::from(self.routes[slot.index()]));
                let Some(owner) = owner else { return };
                let count = audience.receivers(*channels, channel, owner.id);
                write::integer(&mut out, instead(sum(), count.upstream, count.clients));
            }
            Question::Patterns => {
                let count = audience.patterns();
                write::integer(&mut out, instead(sum(), count.upstream, count.clients));
            }
            Question::Names => {
                let names = replies.iter().flat_map(|reply| values(reply).unwrap_or_default());
                let names: BTreeSet<&[u8]> = names.collect();
                write::array_header(&mut out, names.len());
                names.into_iter().for_each(|name| out.extend_from_slice(name));
            }
            Question::Subscribers { channels, names } => {
                let told: Vec<Vec<&[u8]>> =
                    replies.iter().map(|reply| values(reply).unwrap_or_default()).collect();
                write::array_header(&mut out, names.len() * 2);
                for (at, name) in names.iter().enumerate() {
                    let counts = told.iter().filter_map(|told| number(told.get(2 * at + 1)?).ok());
                    let count = audience.subscribers(*channels, name);
                    write::bulk(&mut out, name);
                    write::integer(&mut out, instead(counts.sum(), count.upstream, count.clients));
                }
            }
        }
        gather.put(out, Outcome::Ok);
    }
}

/// What nodes have counted, with clients in the place of the workers that are among it.
fn instead(counted: i64, workers: usize, clients: usize) -> i64 {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    (counted - number(workers)).max(0).saturating_add(number(clients))
}
