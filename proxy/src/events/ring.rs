//! The last events of the process.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::Event;
use super::event::took;
use crate::time::Moment;

/// How many events are kept; the oldest gives way. Some 200 bytes each.
pub const CAPACITY: usize = 1_000;

/// The same thing again within this time after the last time is no event of its own …
const QUIET: Duration = Duration::from_secs(2);

/// … as long as it began no longer ago than this.
const GATHERED_MAX: Duration = Duration::from_secs(60);

/// Among so many of the newest the same thing is looked for.
const LOOKED_AT: usize = 64;

/// The last events. Workers and the process tell, operators read; a lock is taken for each, so
/// what comes in storms has to be counted before it is told.
#[derive(Debug)]
pub struct Events {
    /// The time since 1970.
    now: fn() -> Duration,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    /// When the process began, since 1970. Kept, so that moments of several threads stay in their
    /// order, unless the clock was set.
    began: Duration,
}

/// The clock was set if it is more than this away from where it was.
const CLOCK_SET: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
struct Entry {
    /// When it happened first and last, since 1970.
    first: Duration,
    last: Duration,
    event: Event,
}

/// An event as it is told. Its `Display` is the whole line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When it happened: RFC 3339, UTC, with milliseconds.
    pub at: String,
    /// A sentence.
    pub text: String,
}

impl Events {
    /// Without any event. `now` gives the time since 1970.
    pub fn new(now: fn() -> Duration) -> Events {
        Events { now, ring: Mutex::default() }
    }

    /// Takes note of what happened at this moment. `now`: the present one.
    pub fn record(&self, at: Moment, now: Moment, event: Event) {
        let began = (self.now)().saturating_sub(now.since(Moment::default()));
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.began.abs_diff(began) > CLOCK_SET {
            ring.began = began;
        }
        let at = ring.began + at.since(Moment::default());
        let entries = &mut ring.entries;
        if entries.iter_mut().rev().take(LOOKED_AT).any(|entry| entry.absorb(at, &event)) {
            return;
        }
        if entries.len() == CAPACITY {
            entries.pop_front();
        }
        entries.push_back(Entry { first: at, last: at, event });
    }

    /// The last `count` events, the newest last: on a terminal it ends next to the prompt.
    pub fn recent(&self, count: usize) -> Vec<Told> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = ring.entries.iter().cloned().collect();
        drop(ring);
        // What was counted first is told later than it began.
        entries.sort_by_key(|entry| entry.first);
        let skipped = entries.len().saturating_sub(count);
        entries[skipped..].iter().map(Entry::told).collect()
    }
}

impl Entry {
    fn absorb(&mut self, at: Duration, event: &Event) -> bool {
        let near =
            at + QUIET >= self.first && at <= self.last + QUIET && at <= self.first + GATHERED_MAX;
        if near && self.event.absorb(event) {
            self.first = self.first.min(at);
            self.last = self.last.max(at);
            return true;
        }
        false
    }

    fn told(&self) -> Told {
        // Milliseconds only: it is written without the rest anyway.
        let at = humantime::format_rfc3339_millis(UNIX_EPOCH + self.first).to_string();
        let gathered = self.last - self.first;
        let mut text = self.event.to_string();
        if self.event.is_count() && !gathered.is_zero() {
            text = format!("{text}, within {}", took(gathered));
        }
        Told { at, text }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Place;
    use crate::topology::Endpoint;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// 2026-02-28T23:59:59.999Z.
    const NOW: Duration = Duration::from_millis(1_772_323_199_999);

    fn events() -> Events {
        Events::new(|| NOW)
    }

    /// It happened so long ago, and is told now.
    fn note(events: &Events, ago: Duration, event: Event) {
        let now = Moment::default() + Duration::from_secs(1000);
        let at = now.since(Moment::default() + ago);
        events.record(Moment::default() + at, now, event);
    }

    fn at(port: u16) -> Endpoint {
        Endpoint::new("h", port)
    }

    fn moved(count: u64) -> Event {
        Event::Redirects { kind: "MOVED", from: Some(at(1)), to: Some(at(2)), count }
    }

    fn texts(events: &Events) -> Vec<String> {
        events.recent(usize::MAX).into_iter().map(|told| told.text).collect()
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_line_is_a_time_and_a_sentence() {
        let events = events();
        note(&events, Duration::ZERO, Event::Lost { node: at(1), requests: 1 });
        let lines: Vec<String> = events.recent(50).iter().map(ToString::to_string).collect();
        let line = "2026-02-28T23:59:59.999Z connection to h:1 lost with 1 request under way";
        assert_eq!(lines, [line]);
    }

    #[test]
    fn a_storm_is_one_event_with_a_number() {
        let events = events();
        for ago in (0..100).rev() {
            note(&events, MS * 10 * ago, moved(37));
        }
        assert_eq!(texts(&events), ["3700 MOVED from h:1 to h:2, within 990 ms"]);
        assert!(events.recent(1)[0].at.ends_with("23:59:59.009Z"), "the time of the first");
    }

    #[test]
    fn what_goes_on_for_long_is_told_every_minute() {
        let events = events();
        for ago in (0..150).rev() {
            note(&events, MS * 1000 * ago, moved(1));
        }
        let expected = ["61", "61", "28"].map(|n| format!("{n} MOVED from h:1 to h:2"));
        let texts = texts(&events);
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert!(
            texts.iter().zip(&expected).all(|(text, begin)| text.starts_with(begin)),
            "{texts:?}"
        );
    }

    #[test]
    fn the_same_after_a_pause_or_of_another_node_is_another_event() {
        let events = events();
        let away = |port| Event::Away { node: at(port), why: "its node cannot be reached" };
        note(&events, MS * 5000, away(1));
        note(&events, MS * 4990, away(1));
        note(&events, MS * 4980, away(2));
        note(&events, MS * 2000, away(1));
        let expected = ["h:1 cannot be reached", "h:2 cannot be reached", "h:1 cannot be reached"];
        assert_eq!(texts(&events), expected);
    }

    #[test]
    fn what_several_workers_tell_is_added_up() {
        let events = events();
        let place = || Place::Node(at(1));
        for (requests, longest) in [(3, 100), (5, 400), (2, 300)] {
            let longest = MS * longest;
            let ended = Event::ParkingEnded { place: place(), requests, longest };
            note(&events, Duration::ZERO, ended);
        }
        for after in [90, 70] {
            let (lost, node, after) = (at(1), at(2), MS * after);
            note(&events, MS, Event::FirstSuccess { lost, node, after, waited: after > MS * 80 });
        }
        assert_eq!(
            texts(&events),
            [
                "first success for the slots of h:1 70 ms after its loss, from h:2",
                "nobody waits for h:1 any more: 10 requests did, the oldest 400 ms",
            ],
            "and what was told late stands where it happened",
        );
    }

    #[test]
    fn moments_stay_in_order_and_follow_a_clock_that_is_set() {
        static CLOCK_US: AtomicU64 = AtomicU64::new(0);
        let events = Events::new(|| Duration::from_micros(CLOCK_US.load(Ordering::Relaxed)));
        let record = |clock_us, micros, port| {
            CLOCK_US.store(clock_us, Ordering::Relaxed);
            let now = Moment::from_micros(micros);
            events.record(now, now, Event::CircuitOpened { node: at(port) });
        };
        record(1_000_000_000, 1_000, 1);
        // Read a little too early beside the clock of moments.
        record(999_999_990, 1_010, 2);
        record(3_600_000_000, 1_020, 3);
        let told = events.recent(3);
        let times: Vec<&str> = told.iter().map(|told| &told.at[11..]).collect();
        assert_eq!(times, ["00:16:40.000Z", "00:16:40.000Z", "01:00:00.000Z"]);
        assert!(told[0].text.contains("h:1") && told[1].text.contains("h:2"), "{told:?}");
    }

    #[test]
    fn only_the_last_are_kept_and_the_newest_stands_last() {
        let events = events();
        for port in 0..CAPACITY as u16 + 5 {
            note(&events, Duration::ZERO, Event::CircuitOpened { node: at(port) });
        }
        let told = events.recent(usize::MAX);
        assert_eq!(told.len(), CAPACITY);
        assert!(told[0].text.starts_with("circuit of h:5 opened"), "{}", told[0]);
        let last = events.recent(2);
        assert_eq!(last, told[CAPACITY - 2..]);
        assert!(last[1].text.starts_with("circuit of h:1004 opened"), "{}", last[1]);
        assert_eq!(events.recent(0), []);
    }
}
