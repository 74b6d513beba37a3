//! The audit is itself audited: it finds what broken doubles do, and nothing where all is well.

use anyhow::{Result, ensure};
use std::sync::Arc;
use std::time::Duration;
use testbed::audit::{
    Double, Fault, Final, Finding, Kind, Load, Lost, Mix, Report, Rules, Watch, check, even_shards,
    evidence_options,
};
use testbed::{Cluster, FailoverKind, Standalone, redis};

/// Enough that a fault of every eighth request of any command strikes several times.
const TIME: Duration = Duration::from_millis(500);

fn quick() -> Mix {
    Mix {
        walk_every: Duration::from_millis(4),
        list_every: Duration::from_millis(4),
        pipeline_every: Duration::from_millis(20),
        group_every: Duration::from_millis(4),
        ..Mix::default()
    }
}

/// Runs the load through a double; returns how often it struck and what was found.
fn audit(fault: Fault, command: &'static str) -> Result<(usize, Vec<Finding>)> {
    let server = Standalone::start()?;
    let double = Double::start(&server.addr(), fault, command)?;
    let load = Load::start(&double.addr(), &even_shards(3), &quick())?;
    load.run_for(TIME);
    let history = load.finish(Duration::from_secs(10));
    let end = Final::read(&history, |_| Ok(server.addr()))?;
    let report = Report::new(command, &history, &end, &Lost::default(), &Rules::default(), None);
    ensure!(report.acked > 1000, "too few operations to mean anything:\n{report}");
    Ok((double.done(), check(&history, &end, &Lost::default(), &Rules::default())))
}

/// Holds a double to be found, and to be found for what it does alone.
fn is_found(fault: Fault, command: &'static str, kinds: &[Kind]) -> Result<()> {
    let (struck, findings) = audit(fault, command)?;
    ensure!(struck > 0, "{fault:?} of {command} never struck");
    ensure!(
        findings.iter().any(|finding| finding.kind == kinds[0]),
        "{fault:?} of {command} struck {struck} times and was not found: {findings:#?}"
    );
    let other = findings.iter().find(|finding| !kinds.contains(&finding.kind));
    ensure!(other.is_none(), "{fault:?} of {command} was taken for something else: {other:?}");
    Ok(())
}

#[test]
fn an_honest_double_is_not_blamed() -> Result<()> {
    let (_, findings) = audit(Fault::None, "SET")?;
    ensure!(findings.is_empty(), "{findings:#?}");
    Ok(())
}

#[test]
fn a_lost_write_is_found() -> Result<()> {
    // What comes after it counts from where it did not get: a reply seems to be another's too.
    let kinds = [Kind::Lost, Kind::Mixed];
    for command in ["INCR", "INCRBY", "EVAL", "RPUSH", "SADD", "APPEND"] {
        is_found(Fault::Lose, command, &kinds)?;
    }
    for command in ["SET", "MSET"] {
        is_found(Fault::Lose, command, &[Kind::Stale, Kind::Lost])?;
    }
    Ok(())
}

#[test]
fn a_repeated_write_is_found() -> Result<()> {
    // The one after it is answered a length that is one too many.
    let kinds = [Kind::Repeated, Kind::Mixed];
    for command in ["INCR", "INCRBY", "EVAL", "RPUSH", "APPEND"] {
        is_found(Fault::Repeat, command, &kinds)?;
    }
    Ok(())
}

#[test]
fn replies_swapped_between_connections_are_found() -> Result<()> {
    for command in ["INCR", "EVAL", "RPUSH", "APPEND", "PING", "EVAL_RO"] {
        is_found(Fault::Swap, command, &[Kind::Mixed])?;
    }
    // A transfer of what another account has.
    is_found(Fault::Swap, "GET", &[Kind::Mixed, Kind::Unbalanced])?;
    Ok(())
}

#[test]
fn requests_done_in_the_wrong_order_are_found() -> Result<()> {
    is_found(Fault::Reorder, "RPUSH", &[Kind::Reordered])
}

#[test]
fn a_read_of_the_past_is_found() -> Result<()> {
    // No account can be without a balance.
    is_found(Fault::Age, "GET", &[Kind::Stale, Kind::Mixed])
}

#[test]
fn a_refusal_that_is_a_lie_is_found() -> Result<()> {
    let kinds = [Kind::RefusedButDone, Kind::Refused, Kind::Mixed];
    for command in ["INCR", "RPUSH", "SADD", "APPEND"] {
        is_found(Fault::Deny, command, &kinds)?;
    }
    is_found(Fault::Deny, "SET", &[Kind::RefusedButDone, Kind::Refused])
}

#[test]
fn a_block_done_twice_or_by_half_or_not_at_all_is_found() -> Result<()> {
    let done_otherwise = [Kind::Mixed, Kind::Unbalanced, Kind::Lost, Kind::Torn];
    let kinds = |first| [&[first][..], &done_otherwise].concat();
    // The second time nobody watches.
    let repeated = [kinds(Kind::Repeated), vec![Kind::RefusedButDone]].concat();
    is_found(Fault::Repeat, "EXEC", &repeated)?;
    is_found(Fault::Halve, "EXEC", &kinds(Kind::Torn))?;
    is_found(Fault::Halve, "EXEC", &kinds(Kind::Unbalanced))?;
    is_found(Fault::Lose, "EXEC", &kinds(Kind::Lost))?;
    is_found(Fault::Deny, "EXEC", &[Kind::RefusedButDone, Kind::Refused, Kind::Mixed])
}

#[test]
fn a_reply_too_many_after_a_block_is_found() -> Result<()> {
    let kinds = [Kind::Mixed, Kind::Stale, Kind::Torn, Kind::Unbalanced, Kind::Repeated];
    is_found(Fault::Shift, "EXEC", &kinds)
}

#[test]
fn a_watch_that_watches_nothing_is_found() -> Result<()> {
    is_found(Fault::Lose, "WATCH", &[Kind::Unbalanced])
}

#[test]
fn an_element_that_is_delivered_twice_or_lost_is_found() -> Result<()> {
    is_found(Fault::Repeat, "BLPOP", &[Kind::Repeated, Kind::Reordered])?;
    is_found(Fault::Lose, "BLPOP", &[Kind::Lost])?;
    is_found(Fault::Swap, "BLPOP", &[Kind::Mixed, Kind::Lost, Kind::Reordered])
}

#[test]
fn a_message_that_is_lost_or_doubled_or_late_is_found_and_so_is_a_dropped_subscriber() -> Result<()>
{
    is_found(Fault::Lose, "message", &[Kind::Lost])?;
    is_found(Fault::Repeat, "message", &[Kind::Repeated])?;
    // The last one waits for one behind it in vain.
    is_found(Fault::Reorder, "message", &[Kind::Reordered, Kind::Lost])?;
    is_found(Fault::Close, "message", &[Kind::Closed, Kind::Lost])?;
    for command in ["PUBLISH", "SPUBLISH"] {
        is_found(Fault::Lose, command, &[Kind::Lost])?;
        is_found(Fault::Repeat, command, &[Kind::Repeated])?;
        is_found(Fault::Deny, command, &[Kind::RefusedButDone, Kind::Refused])?;
    }
    Ok(())
}

/// A primary goes on alone, its replica takes over without its last writes: files tell that it was
/// the servers who lost them.
#[test]
fn what_servers_lose_is_told_from_what_others_lose() -> Result<()> {
    let mut builder = Cluster::builder().primaries(1).replicas(1);
    for (name, value) in evidence_options() {
        builder = builder.config(name, value);
    }
    let cluster = Arc::new(builder.start()?);
    let (primary, replica) = (cluster.shard(0).primary()?, cluster.shard(0).replica()?);
    let load = Load::start(&primary.addr(), &even_shards(1), &quick())?;
    let watch = Watch::start(&cluster, &even_shards(1), load.began())?;
    load.run_for(TIME / 2);
    cluster.freeze(&replica)?;
    primary.query::<()>(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("replica"))?;
    load.run_for(TIME / 2);
    let history = load.finish(Duration::from_secs(10));
    cluster.kill(&primary)?;
    cluster.thaw(&replica)?;
    cluster.failover(&replica, FailoverKind::Takeover)?;
    cluster.wait_ok(Duration::from_secs(30))?;
    let seen = watch.finish()?;

    let end = Final::read(&history, |_| Ok(replica.addr()))?;
    let owners = [replica.port().to_string()].into();
    let evidence = Lost::read(&seen.evidence, &owners, &end)?;
    let lost = Lost { replaced: seen.replaced.clone(), ..evidence.clone() };
    ensure!(lost.tokens.len() > 50 && !lost.counts.is_empty(), "it lost too little: {lost:?}");
    let findings = check(&history, &end, &lost, &Rules::default());
    ensure!(findings.is_empty(), "{findings:#?}");

    let blamed = |lost: &Lost, kind: Kind| {
        let findings = check(&history, &end, lost, &Rules::default());
        findings.iter().any(|finding| finding.kind == kind)
    };
    ensure!(blamed(&Lost::default(), Kind::Lost), "without the files nobody is excused");
    ensure!(blamed(&evidence, Kind::LateAck), "nor is a primary that was not replaced");
    Ok(())
}
