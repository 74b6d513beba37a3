//! Waiting for a condition with a deadline. What else sleeps in this crate keeps a pace and waits
//! for nothing: that of a load, of looks at a cluster, of a link that is cut.

use anyhow::{Result, anyhow};
use std::thread;
use std::time::{Duration, Instant};

/// Calls `attempt` until it returns `Ok`, at most for `deadline`; `what` completes the sentence
/// "waited 5s for …". At least one attempt is made.
///
/// # Errors
/// The last error of `attempt`, with `what` and `deadline` as its context.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        // The time is taken before the attempt: an attempt that ends late still counts.
        let late = Instant::now() >= end;
        match attempt() {
            Ok(value) => return Ok(value),
            Err(reason) if late => {
                return Err(reason.context(format!("waited {deadline:?} for {what}")));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Calls `condition` until it is true, at most for `deadline`; `what` as in [`wait_for`].
///
/// # Errors
/// The condition did not become true in time.
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    wait_for(what, deadline, || if condition() { Ok(()) } else { Err(anyhow!("it is not so yet")) })
}

/// Between two looks: short against every event of a cluster (its own timer ticks at 100 ms), long
/// enough that waiting costs next to no CPU.
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_reported_with_what_was_awaited() {
        let mut attempts = 0;
        let error = wait_for::<()>("rain", Duration::from_millis(30), || {
            attempts += 1;
            Err(anyhow!("dry for the {attempts}th time"))
        })
        .unwrap_err();
        assert!(attempts >= 2, "{attempts}");
        let text = format!("{error:#}");
        assert_eq!(text, format!("waited 30ms for rain: dry for the {attempts}th time"));
    }

    #[test]
    fn one_attempt_is_made_without_any_time() {
        assert!(wait_until("now", Duration::ZERO, || true).is_ok());
        assert!(wait_until("never", Duration::ZERO, || false).is_err());
    }
}
