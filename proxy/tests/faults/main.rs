//! The contract's faults (spec/failure-masking.md §7) against real servers, under load, through
//! the running binary: what clients were told is audited against what the servers hold.
//!
//! A short set runs with all tests ([`short`]); `make soak` runs every fault and prints a table.
//!
//! **The founding scenarios**, and where each is proved: in `tests/cluster/founding.rs` with short
//! node timeouts if nothing else is said, and as a [scenario](scenarios) of the soak under load.
//!
//! | what happened | test | in the soak |
//! |---|---|---|
//! | a primary killed, node timeout 10 s, 30 s | – (too long) | [`soak`]: `a_primary_killed_with_a_node_timeout_of_10_s_is_masked`, `…_30_s_…` |
//! | a primary back before its replica is elected, LOADING, then ok | `a_primary_that_is_back_before_the_election_and_loads_its_data_is_waited_for` | `quick_restart` |
//! | a primary gone for good, an ineligible replica, CLUSTER FAILOVER FORCE | `a_primary_gone_for_good_with_an_ineligible_replica_is_waited_for_until_it_is_forced` (no-failover) | `ineligible_replica` (validity factor) |
//! | a replica lost and back | `a_replica_that_is_lost_and_comes_back_is_seen_by_nobody` | `replica_lost` |
//! | SIGINT of a primary, promotion, the old one back as a replica | `a_primary_ended_by_sigint_is_replaced_and_comes_back_as_a_replica` | `interrupted` |
//! | meet, SETSLOT and MIGRATE there and back, forget | `a_node_that_is_met_given_slots_emptied_and_forgotten_is_followed` | `node_comes_and_goes` |
//! | manual failover | [`short`]: `a_manual_failover_is_masked` | `failover`, `failover_force`, `failover_takeover` |
//!
//! **What others get wrong**, in `tests/cluster/others.rs` if nothing else is said:
//!
//! | sentence | test |
//! |---|---|
//! | an error text forged by a script believed | `tests/hostile`: `a_script_can_forge_errors_but_hurts_only_its_own_client` |
//! | requests left at a frozen primary, acknowledged after it was replaced | `what_a_frozen_primary_holds_is_not_acknowledged_once_it_was_replaced`; soak: `long_pause` |
//! | pipelined writes out of order after a network cut | `what_a_cut_network_brings_late_is_not_executed_behind_later_writes`; soak: `resets`, `kill`, `reshard`, `failover_force` with strict order |
//! | never recovering when a primary stays dead | `tests/cluster/faults.rs`: `a_primary_killed_for_good_is_replaced_under_load` |
//! | … or after a shard was stuck for 10 s | `a_shard_that_was_stuck_beyond_every_deadline_serves_its_old_clients_again`; soak: `stuck` |
//! | a crash when two primaries die at once or all nodes restart | `two_primaries_that_die_at_once_and_a_restart_of_all_nodes_are_survived`; soak: `quorum_lost`, `whole_restart` |
//! | not starting when the first seed is dead | `tests/cluster/startup.rs`: `one_seed_that_answers_is_enough`; soak: `first_seed_dead` |
//! | waiting for a cut network to heal although the replica was promoted | `a_cut_network_is_not_waited_for_once_the_replica_was_promoted`; soak: `cut_network_and_failover` |
//! | unaffected shards stalled by the affected one | soak: [`unaffected`], and every scenario with untouched shards |
//! | a blind retry that executes INCR or RPUSH twice | [`short`]: `writes_whose_answers_are_lost_are_not_sent_again`; `tests/scripted_nodes/cuts.rs` |
//! | READONLY from EVAL | `eval_during_a_demotion_never_sees_readonly` |
//! | one reply too many after MULTI meets a dead node | `src/worker/tests/transactions.rs`: `a_loss_at_each_byte_…`; `tests/scripted_nodes/cuts.rs`: `a_transaction_cut_at_any_byte_…`; `tests/cluster/transactions.rs`; every scenario |
//! | a WATCH forgotten with its connection, so that an update is lost | `src/worker/tests/watches_lost.rs`; every scenario |
//!
//! The load of every scenario has clients with state among its clients: blocks (whole or not at all,
//! once, no reply too many), transfers behind WATCH (accounts have what their book says), workers at
//! a queue (delivered once, lost only with what is unknown) and subscribers (never dropped, each
//! publisher's order, missing only what a counted gap explains).
//!
//! The sentences about PUBLISH and SUBSCRIBE are in `tests/pubsub`, those about BLPOP in
//! `tests/blocking`, those about MULTI in `tests/cluster` and `tests/scripted_nodes`; those about
//! MGET and other split commands with theirs.
//!
//! **Where masking ends** (§6): `tests/cluster/bad_luck.rs`, with a real shard that is away;
//! `src/worker/tests` has the same without sockets, and the bounds.

mod retry;
mod scenarios;
mod short;
mod soak;
mod stage;
mod unaffected;
