//! The table of options: each is declared here and nowhere else.
//!
//! To add one, add a row (see `declaration.rs` for how it reads), then run
//! `SLOTWAY_UPDATE=1 cargo test -p slotway --test config` to bring `conf/slotway.toml` up to date.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::address::{Address, HostPort, Mapped, Mapping};
use super::declaration::{Row, Way, declare_options};
use super::forms::*;
use super::listener::{Listener, Listens};
use super::logging::{Directives, LogFormat};
use super::parts::{ClientOrder, CrossSlot, RETRY_UNKNOWN};
use super::secret::{Password, Secret};
use crate::command::RetryUnknown;

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(24 * 3600);

const KIB: usize = 1 << 10;
const GIB: usize = 1 << 30;

declare_options! {
    "The cluster" {
        /// Nodes of the cluster from which its map is learned, for example
        /// `10.0.0.1:6379,10.0.0.2:6379`. One that answers is enough; names are resolved again at
        /// each dial. Required.
        seeds: Vec<HostPort> = "", List { of: Address::TO_DIAL, at_least: 0 };

        /// What to dial instead of an address that the nodes announce, where NAT or containers
        /// hide it, for example `172.17.0.2:6379=10.0.0.1:7000`.
        address_map: Vec<Mapping> = "", List { of: Mapped, at_least: 0 };

        /// The ACL user that slotway is towards the nodes. Empty: the default user.
        node_user: Option<String> = "", Optional(Word { bytes_max: 1024 });

        /// A file whose first line is the password towards the nodes. Only slotway's user should
        /// be able to read it.
        node_password_file: Option<PathBuf> = "", Optional(File);

        /// The password towards the nodes. It has no flag, since everybody on the machine sees
        /// flags in `ps`.
        node_password: Option<Secret> = "", Optional(Password), not as Flag;

        /// How often the map is looked up anew, with jitter. Redirects and lost nodes lead to a
        /// look at once, whatever this says.
        refresh_period: Duration = "10s", Time(ms(100)..=HOUR);

        /// How long to wait at start for a seed that answers before giving up.
        startup_timeout: Option<Duration> = "never", Or("never", Time(ms(100)..=DAY));

        /// How long a connection to a node may take to open.
        connect_timeout: Duration = "1s", Time(ms(10)..=secs(60));

        /// Most connections of this process to each node, over all workers and purposes.
        node_connections_max: usize = "256", Count(1..=10_000);

        /// How long a connection to a node beyond the first may be idle before it is closed.
        node_idle_timeout: Duration = "60s", Time(ms(100)..=DAY);
    }

    "Clients" {
        /// Where clients connect. Port 0: any free port, which the log names. Each may have
        /// `client-order`, `cross-slot` and `mask-deadline` of its own, which hold for who connects
        /// there, for example `127.0.0.1:6380?cross-slot=strict&mask-deadline=5s`.
        listen: Vec<Listener> = "127.0.0.1:6379", List { of: Listens, at_least: 1 };

        /// Most clients at once; who comes later is told so and closed.
        clients_max: usize = "10000", Count(1..=1_000_000);

        /// Most requests of one client that are under way at once. When there are so many, its
        /// socket is not read until one is answered.
        client_requests_max: usize = "1024", Count(1..=65_535);

        /// What a client may send behind a write that is not answered. "pipelined": anything, as
        /// on a server; when a connection to a node is lost, what was on it may be lost in part.
        /// "strict": nothing but reads to the same slot, so that a client's writes to a slot are
        /// executed in the order in which it sent them, whatever fails; it costs pipelines of
        /// writes to one slot a round trip each.
        client_order: ClientOrder = "pipelined", Choice(&[("pipelined", ClientOrder::Pipelined), ("strict", ClientOrder::Strict)]);

        /// What becomes of MGET, MSET, DEL, UNLINK, EXISTS, TOUCH and MSETEX whose keys are in
        /// several slots. "split": each slot gets its part, all at once, and the replies become
        /// one; that is not atomic. "strict": a cluster's own answer, CROSSSLOT.
        cross_slot: CrossSlot = "split", Choice(&[("split", CrossSlot::Split), ("strict", CrossSlot::Strict)]);

        /// Most reply bytes that may wait for one client. One that does not read its replies is
        /// closed above this. Also the most that the parts of one MGET over several slots may come
        /// to, and half of what those of all such requests of one client may: above it the request
        /// is answered with OVERLOADED.
        client_output_max: usize = "64MiB", Size(64 * KIB..=64 * GIB);

        /// Most channels, patterns and shard channels together that one client may be subscribed
        /// to. A SUBSCRIBE above it is refused whole.
        client_subscriptions_max: usize = "100000", Count(0..=100_000_000);

        /// Most arguments of one request; one with more is a protocol error.
        arguments_max: usize = "1048576", Count(16..=2_147_483_647);

        /// The largest argument of a request; a larger one is a protocol error. Not above the
        /// nodes' `proto-max-bulk-len`, since a node closes the connection over it.
        bulk_max: usize = "512MiB", Size(16 * KIB..=2 * GIB);

        /// The addresses at which cluster clients find slotway, for example
        /// `10.0.0.5:6379,10.0.0.6:6379`: `CLUSTER SLOTS` and its like name them as the owners of
        /// equal shares of the slots. Give every slotway the same list. Empty: each names the
        /// address that the client connected to, as the owner of all slots.
        announce: Vec<HostPort> = "", List { of: Address::TO_DIAL, at_least: 0 };

        /// Commands that are passed on although they are refused by default, for example
        /// `debug,migrate,config|rewrite`; `cluster` stands for all of its subcommands. One with
        /// keys goes to their owner, one that belongs on every node to all of them, any other to
        /// any primary.
        allow_commands: Vec<String> = "", List { of: Allowable, at_least: 0 };

        /// How long a connection, to a client or to a node, is silent before TCP probes it.
        tcp_keepalive: Option<Duration> = "300s", Or("off", Time(secs(1)..=secs(9 * 3600)));
    }

    "Masking of failures" {
        /// How long a request that no node has executed is kept and tried again, from the moment
        /// it was read, before it is answered with an error. 0: errors are passed on at once.
        /// `auto`: twice the cluster's `cluster-node-timeout` and 5s, at least 20s, at most 60s.
        mask_deadline: Option<Duration> = "auto", Or("auto", Time(Duration::ZERO..=HOUR));

        /// What is sent again although it may have been executed, because its reply was lost; its
        /// client gets UNKNOWNRESULT otherwise. "off": only what reads. "idempotent": also plain
        /// SET, MSET, HMSET, LSET and TOUCH. Then, if v1 is written twice and somebody else writes
        /// v2 between, others see v1, v2, v1, and the v2 that was acknowledged is gone.
        /// "blocking": also BLPOP, BRPOP, BLMPOP, BZPOPMIN, BZPOPMAX and BZMPOP; an element whose
        /// reply was lost stays lost. "both": both.
        retry_unknown: RetryUnknown = "off", Choice(RETRY_UNKNOWN);

        /// How long a request waits for a shard that has been away for longer than a whole `auto`
        /// deadline already. One success, and requests wait their full time again. Also how long
        /// what only asks all nodes (SLOWLOG, LATENCY, PUBSUB) waits for one that cannot be reached.
        circuit_wait: Duration = "1s", Time(Duration::ZERO..=HOUR);

        /// Most requests that wait for a shard to come back. Above it the newest is refused.
        park_max_requests: usize = "100000", Count(0..=100_000_000);

        /// Most bytes of requests that wait for a shard to come back. Above it the newest is
        /// refused.
        park_max_bytes: usize = "256MiB", Size(0..=1024 * GIB);

        /// Most bytes of keys that clients with CLIENT TRACKING have read (each with about 64 bytes
        /// beside it). Above it some keys are told to be invalid, as by a server at its
        /// tracking-table-max-keys. Not with BCAST: then nothing is remembered.
        tracking_max_bytes: usize = "64MiB", Size(64 * KIB..=1024 * GIB);

        /// Most bytes of scripts that are remembered from EVAL and SCRIPT LOAD, those that were not
        /// used for the longest time going first: a node that does not know the script of an
        /// EVALSHA gets it from there. Scripts above 256 KiB are not remembered. 0: none are.
        script_cache_max: usize = "16MiB", Size(0..=16 * GIB);
    }

    "Large values" {
        /// A request from this size on is sent to its node on a connection of its own, so that
        /// others need not wait behind it.
        large_request: usize = "1MiB", Size(16 * KIB..=2 * GIB);

        /// Most bytes of large requests held at once, over all clients. At it, no further large
        /// request is read until one is answered.
        large_requests_max_bytes: usize = "1GiB", Size(64 * KIB..=1024 * GIB);

        /// A reply from this size on flows straight to its client, on a connection that nobody
        /// else uses from then on, instead of being gathered first.
        large_reply: usize = "1MiB", Size(16 * KIB..=2 * GIB);

        /// How long a client that does not read its large reply may hold up replies queued behind
        /// it before it is closed.
        large_stall: Duration = "10s", Time(ms(100)..=HOUR);
    }

    "The process" {
        /// Threads that serve clients. `auto`: the cores it may use, at most 4.
        workers: usize = "auto", Cores { auto_max: 4, range: 1..=64 };

        /// Whether a worker looks once more for ready sockets before it writes. It gathers larger
        /// writes where cores are contended, and costs a system call where they are not.
        second_look: bool = "false", Switch;

        /// Where `/metrics`, `/livez` and `/readyz` are served by HTTP, for example
        /// `127.0.0.1:9121`. Empty: nowhere.
        admin: Option<HostPort> = "", Optional(Address::TO_LISTEN);

        /// The least severe messages that are logged.
        log_level: String = "info", Directives;

        /// How messages are logged: lines for people or JSON for machines.
        log_format: LogFormat = "text", Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

        /// How long, after SIGTERM or SIGINT, what was promised to clients may take to finish. Who
        /// still waits then is told which of its requests were not executed and which may have been.
        drain_timeout: Duration = "10s", Time(Duration::ZERO..=HOUR);

        /// The file to read options from, in TOML; `conf/slotway.toml` shows all of them.
        config: Option<PathBuf> = "", Optional(File), not as File;
    }
}

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

const fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}
