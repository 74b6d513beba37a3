//! What one worker counts.

use std::time::Duration;

use super::declare::cells;
use super::latency::Latency;
use super::{Cell, Cells};

/// How a request ended, as its client saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered with a reply that is not an error.
    Ok,
    /// A node answered with an error that was passed on (`WRONGTYPE`, `OOM`, …).
    ServerError,
    /// Ours: no node executed it (`CLUSTERDOWN not executed: …`).
    NotExecuted,
    /// Ours: it may have been executed (`UNKNOWNRESULT …`).
    Unknown,
    /// Ours: a bound was reached (`OVERLOADED not executed: …`).
    Overloaded,
    /// Ours, before it got a place to go: unknown command, wrong arity, `CROSSSLOT`.
    Refused,
    /// The client left before its answer came.
    Dropped,
}

impl Outcome {
    /// How many there are.
    pub const COUNT: usize = Outcome::ALL.len();

    /// Each of them, in the order of their numbers.
    pub const ALL: [Outcome; 7] = [
        Outcome::Ok,
        Outcome::ServerError,
        Outcome::NotExecuted,
        Outcome::Unknown,
        Outcome::Overloaded,
        Outcome::Refused,
        Outcome::Dropped,
    ];

    /// The value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ServerError => "server_error",
            Outcome::NotExecuted => "not_executed",
            Outcome::Unknown => "unknown",
            Outcome::Overloaded => "overloaded",
            Outcome::Refused => "refused",
            Outcome::Dropped => "dropped",
        }
    }
}

cells! {
    /// What one worker counts; written by its thread alone, read by whoever renders
    /// [`Registry`](super::Registry).
    pub struct WorkerCells with { commands: Commands, latency: Latency, parked_oldest_us: Cell } {
        Gauge "slotway_clients" "Client connections that are open." { clients }
        Counter "slotway_clients_accepted_total" "Client connections that were accepted." {
            clients_total,
        }
        Counter "slotway_clients_closed_total" "Client connections that ended, by reason." {
            /// End of file or a reset from the client.
            clients_closed_by_client (reason = "client"),
            /// After the reply to QUIT.
            clients_closed_quit (reason = "quit"),
            /// After the reply to bytes that are not a request.
            clients_closed_protocol_error (reason = "protocol_error"),
            /// It did not read its replies and what waited for it reached a bound.
            clients_closed_slow (reason = "slow"),
            /// By CLIENT KILL.
            clients_closed_killed (reason = "killed"),
            /// The process drains.
            clients_closed_drain (reason = "drain"),
            /// Another error of the socket.
            clients_closed_error (reason = "error"),
        }
        Counter "slotway_client_protocol_errors_total"
            "Requests that were not RESP; each closes its connection." { protocol_errors }
        Counter "slotway_client_received_bytes_total" "Bytes read from clients." {
            client_bytes_in,
        }
        Counter "slotway_client_sent_bytes_total" "Bytes written to clients." { client_bytes_out }
        Counter "slotway_node_received_bytes_total" "Bytes read from nodes." { node_bytes_in }
        Counter "slotway_node_sent_bytes_total" "Bytes written to nodes." { node_bytes_out }
        Counter "slotway_turns_total"
            "Turns of the workers: read all that is ready, then write each side once." {
            /// At least one a second also when nothing happens: `/livez` watches it.
            turns,
        }
        Counter "slotway_client_paused_total"
            "Times a client was not read for a while because its replies piled up." {
            output_paused,
        }
        Gauge "slotway_parked_requests" "Requests that wait for a shard to come back." {
            parked_requests,
        }
        Gauge "slotway_parked_bytes" "Bytes of the requests that wait for a shard to come back." {
            parked_bytes,
        }
        Gauge "slotway_circuits_open"
            "Nodes away for longer than a whole deadline: requests for them wait circuit-wait." {
            circuits_open,
        }
        Counter "slotway_park_refused_total"
            "Requests refused because too many were waiting already." { park_refused }
        Counter "slotway_redirects_total"
            "Replies of nodes that sent a request elsewhere or made it wait, by kind." {
            redirects_moved (kind = "moved"),
            redirects_ask (kind = "ask"),
            redirects_tryagain (kind = "tryagain"),
            redirects_clusterdown (kind = "clusterdown"),
            redirects_loading (kind = "loading"),
            redirects_masterdown (kind = "masterdown"),
            redirects_readonly (kind = "readonly"),
        }
        Counter "slotway_replays_total"
            "Requests that were sent again, by what was known of the attempt before." {
            /// The node cannot have seen the whole of it.
            replays_not_sent (reason = "not_sent"),
            // The node answered that it did not execute it, by what it said.
            replays_moved (reason = "moved"),
            replays_ask (reason = "ask"),
            replays_tryagain (reason = "tryagain"),
            replays_clusterdown (reason = "clusterdown"),
            replays_loading (reason = "loading"),
            replays_masterdown (reason = "masterdown"),
            replays_readonly (reason = "readonly"),
            replays_noauth (reason = "noauth"),
            /// It did not have the script, which was loaded there first.
            replays_noscript (reason = "noscript"),
            /// It may have been executed, and only reads.
            replays_read_replayed (reason = "read_replayed"),
            /// It may have been executed, and `retry-unknown` says to send it all the same.
            replays_unknown (reason = "unknown"),
        }
        Counter "slotway_unknown_results_total"
            "Requests whose reply was lost and that could not be sent again." { unknown_results }
        Counter "slotway_suspects_total"
            "Times a node answered nothing at all while requests waited for it." { suspects }
        Counter "slotway_fences_total"
            "New node connections before which what was left of lost ones had to be killed." {
            fences_done (result = "done"),
            /// The node did not permit CLIENT KILL.
            fences_refused (result = "refused"),
        }
        Counter "slotway_merge_surprises_total"
            "Requests of several parts whose replies were of a kind that no server gives." {
            merge_surprises,
        }
        Counter "slotway_transactions_total" "Transactions that ended, by how their client ended them." {
            /// EXEC: sent to a node.
            transactions_executed (end = "exec"),
            /// EXEC, after a command was refused.
            transactions_aborted (end = "abort"),
            /// DISCARD.
            transactions_discarded (end = "discard"),
            /// EXEC, answered with null: what was watched was changed, or slotway could not tell
            /// whether it was.
            transactions_null (end = "null"),
        }
        Gauge "slotway_blocked_clients" "Clients that wait in BLPOP, WAIT and their kin." {
            blocked_clients,
        }
        Counter "slotway_blocked_answers_late_total"
            "Replies to BLPOP and its kin that are known to have come when their client had left: what they hold nobody gets." {
            blocked_answers_late,
        }
        Counter "slotway_transactions_refused_total"
            "Commands refused because their transaction would have been too large." {
            transactions_refused,
        }
        Gauge "slotway_transaction_bytes" "Bytes of commands that wait for their EXEC." {
            transaction_bytes,
        }
        Counter "slotway_large_requests_total"
            "Requests above the size that gets a connection of its own." { large_requests }
        Counter "slotway_large_replies_total"
            "Replies above the size that makes a connection its client's own." { large_replies }
        Counter "slotway_pushes_swallowed_total"
            "Messages of nodes that answer no request and were dropped." { pushes_swallowed }
        Gauge "slotway_subscriptions"
            "Channels, patterns and shard channels that clients are subscribed to." { subscriptions }
        Counter "slotway_subscriptions_refused_total"
            "Requests refused because their client would have had too many subscriptions." {
            subscriptions_refused,
        }
        Counter "slotway_pubsub_messages_total"
            "Messages of nodes that clients were subscribed to." { pubsub_messages }
        Counter "slotway_pubsub_deliveries_total"
            "Messages to clients: each of those once for each client." { pubsub_deliveries }
        Counter "slotway_pubsub_gaps_total"
            "Times a subscription was lost at its node before it was made at another one: what was published meanwhile is lost." {
            pubsub_gaps,
        }
        Counter "slotway_pubsub_dropped_total"
            "Messages of nodes that were larger than client-output-max and were dropped." {
            pubsub_dropped,
        }
        Gauge "slotway_tracking_clients" "Clients that cache (CLIENT TRACKING)." {
            tracking_clients,
        }
        Gauge "slotway_tracking_keys" "Keys that are remembered because clients cache them." {
            tracking_keys,
        }
        Counter "slotway_invalidations_total"
            "Times a client that caches was told that something is no longer good, by reason." {
            /// It was written, has expired or was evicted.
            invalidations_written (reason = "written"),
            /// A node says that all its keys are gone.
            invalidations_flushed (reason = "flushed"),
            /// The connection that watches a node was lost.
            invalidations_connection_lost (reason = "connection_lost"),
            /// A slot has another owner.
            invalidations_owner_changed (reason = "owner_changed"),
            /// It was read from a node that is not watched yet.
            invalidations_not_watched (reason = "not_watched"),
            /// No more keys are remembered: tracking-max-bytes.
            invalidations_table_full (reason = "table_full"),
        }
        Counter "slotway_stale_replies_dropped_total"
            "Replies whose client had left before they came." { stale_replies_dropped }
    }
}

impl WorkerCells {
    /// Cells at zero, with a row for each of this many commands.
    pub fn new(commands: usize) -> WorkerCells {
        WorkerCells { commands: Commands::new(commands), ..WorkerCells::default() }
    }

    /// Counts a request that got its answer. `command` is the row of the command table, any
    /// number outside of it stands for a name that is not in the table. Two cache lines, no
    /// branch but the bounds check (3 ns, where a labelled macro takes 66 to 120).
    #[inline]
    pub fn request_done(&self, command: usize, outcome: Outcome, latency_us: u64) {
        let row = self.commands.rows.get(command).unwrap_or(&self.commands.unknown);
        row.outcomes[outcome as usize].add(1);
        row.latency_us_sum.add(latency_us);
        self.latency.record(latency_us);
    }

    /// How long the oldest of the requests that wait now has been waiting: zero if none does.
    pub fn set_parked_oldest(&self, waited: Duration) {
        self.parked_oldest_us.set(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
    }

    /// What [`WorkerCells::set_parked_oldest`] was told, in microseconds.
    pub(crate) fn parked_oldest_us(&self) -> u64 {
        self.parked_oldest_us.get()
    }

    /// Each command that was seen, by its row; `None` for all names without one.
    pub(super) fn commands(&self) -> impl Iterator<Item = (Option<usize>, &CommandCells)> {
        let known = self.commands.rows.iter().enumerate().map(|(i, row)| (Some(i), row));
        known
            .chain(std::iter::once((None, &self.commands.unknown)))
            .filter(|(_, row)| row.requests() > 0)
    }

    /// How many requests got their answer.
    pub(super) fn requests(&self) -> u64 {
        self.commands().map(|(_, row)| row.requests()).sum()
    }

    /// How long requests took.
    pub(super) fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Adds what a worker that has ended counted. Rows that are not here go to "unknown".
    pub(super) fn absorb_ended(&self, ended: &WorkerCells) {
        self.absorb(ended);
        self.latency.absorb(&ended.latency);
        for (command, theirs) in ended.commands() {
            let row = command.and_then(|i| self.commands.rows.get(i));
            row.unwrap_or(&self.commands.unknown).absorb(theirs);
        }
    }
}

/// The rows of the command table, and one for all other names: what clients make up must not
/// make series.
#[derive(Default, Debug)]
struct Commands {
    rows: Box<[CommandCells]>,
    unknown: CommandCells,
}

impl Commands {
    fn new(rows: usize) -> Commands {
        let rows = (0..rows).map(|_| CommandCells::default()).collect();
        Commands { rows, unknown: CommandCells::default() }
    }
}

/// What is counted for each command: one cache line, shared with no other worker.
#[derive(Default, Debug)]
#[repr(align(64))]
pub(super) struct CommandCells {
    outcomes: [Cell; Outcome::COUNT],
    latency_us_sum: Cell,
}

const _: () = assert!(size_of::<CommandCells>() == 64);

impl CommandCells {
    /// Requests by how they ended.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.outcomes[outcome as usize].get()))
    }

    /// Requests, however they ended.
    pub(super) fn requests(&self) -> u64 {
        self.outcomes.iter().map(Cell::get).sum()
    }

    /// The sum of what they took.
    pub(super) fn latency_us_sum(&self) -> u64 {
        self.latency_us_sum.get()
    }

    fn absorb(&self, other: &CommandCells) {
        for (mine, theirs) in self.outcomes.iter().zip(&other.outcomes) {
            mine.add(theirs.get());
        }
        self.latency_us_sum.add(other.latency_us_sum.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_numbered_as_they_are_listed() {
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number, "{outcome:?}");
        }
    }

    #[test]
    fn names_without_a_row_share_one() {
        let cells = WorkerCells::new(2);
        cells.request_done(1, Outcome::Ok, 10);
        cells.request_done(2, Outcome::Refused, 20);
        cells.request_done(usize::MAX, Outcome::Refused, 30);
        let seen: Vec<_> =
            cells.commands().map(|(c, row)| (c, row.requests(), row.latency_us_sum())).collect();
        assert_eq!(seen, [(Some(1), 1, 10), (None, 2, 50)]);
    }

    #[test]
    fn an_ended_worker_leaves_its_counts_and_not_its_gauges() {
        let (kept, ended) = (WorkerCells::new(1), WorkerCells::new(3));
        ended.clients.set(5);
        ended.clients_total.set(6);
        ended.request_done(0, Outcome::Ok, 1);
        ended.request_done(2, Outcome::Ok, 2);
        kept.absorb_ended(&ended);
        kept.absorb_ended(&ended);
        assert_eq!((kept.clients.get(), kept.clients_total.get()), (0, 12));
        assert_eq!(kept.requests(), 4);
        assert_eq!(kept.latency.counts()[0], 4);
    }
}
