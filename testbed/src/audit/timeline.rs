//! One failover as its clients saw it: what it took, and a picture.

use super::history::{History, Op, Outcome};
use super::watch::Seen;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

/// The requests of a run around the death of a primary.
#[derive(Clone, Copy, Debug)]
pub struct Timeline<'a> {
    history: &'a History,
    /// The shard that lost its primary.
    shard: usize,
    /// When it was killed.
    pub killed: Duration,
    /// When another node answered for its slots.
    pub serves: Duration,
    /// When a client of it had an answer again.
    pub first: Duration,
}

impl<'a> Timeline<'a> {
    /// That of the primary of `shard` that was killed at this time.
    ///
    /// # Errors
    /// The shard was not away then, or its clients had no answer after it.
    pub fn new(
        history: &'a History,
        seen: &Seen,
        shard: usize,
        killed: Duration,
    ) -> Result<Timeline<'a>> {
        let outages = seen.outages.get(shard).map(Vec::as_slice).unwrap_or_default();
        let outage = outages.iter().find(|outage| outage.to > killed);
        let serves = outage.context("the shard was never away")?.to;
        let mut timeline = Timeline { history, shard, killed, serves, first: serves };
        let waited = timeline.ops(true).filter(|op| op.outcome.is_acked());
        // What was answered at the moment of death was no success of the heir.
        let back = waited.map(|op| op.replied).filter(|replied| *replied > killed + DYING);
        timeline.first = back.min().context("no client had an answer again")?;
        Ok(timeline)
    }

    /// From the first node's answer to the first success of a client, which may see it before us.
    pub fn late(&self) -> Duration {
        self.first.saturating_sub(self.serves)
    }

    /// The median latency of the clients of all other shards: of what they sent in as long before
    /// the death as the shard was away, and while it was.
    ///
    /// # Errors
    /// Nothing was sent then.
    pub fn untouched_medians(&self) -> Result<[Duration; 2]> {
        let away = self.serves - self.killed;
        let before = self.killed.saturating_sub(away)..self.killed;
        Ok([self.median(before)?, self.median(self.killed..self.serves)?])
    }

    fn median(&self, sent: Range<Duration>) -> Result<Duration> {
        let ops = self.ops(false).filter(|op| sent.contains(&op.sent));
        let mut latencies: Vec<_> = ops.map(Op::latency).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied().context("no requests to compare")
    }

    /// The requests of the clients of this shard, or of all others.
    fn ops(&self, touched: bool) -> impl Iterator<Item = &'a Op> {
        let shard = self.shard;
        let keyed = self.history.ops.iter().filter(|op| op.shard.is_some());
        keyed.filter(move |op| (op.shard == Some(shard)) == touched)
    }

    /// The picture, an SVG document: time from left to right, latency upwards, a dot a request.
    /// `setting` is a line about the circumstances.
    pub fn svg(&self, setting: &str) -> String {
        let shown = self.killed.saturating_sub(MARGIN)..self.serves + MARGIN;
        let plot = Plot { from: shown.start, seconds: (shown.end - shown.start).as_secs_f64() };
        let ops = || self.history.ops.iter().filter(|op| shown.contains(&op.sent));
        let count = |wanted: fn(&Outcome) -> bool| ops().filter(|op| wanted(&op.outcome)).count();
        let unknown = count(|outcome| matches!(outcome, Outcome::Unknown(_)));
        let errors = ops().count() - unknown - count(Outcome::is_acked);
        let away = (self.serves - self.killed).as_secs_f64();
        let late = self.late().as_millis();
        let summary = format!(
            "{} requests: {errors} errors, {unknown} unknown, all others answered",
            grouped(ops().count())
        );

        let mut svg = String::new();
        let mut put = |line: String| {
            svg += &line;
            svg.push('\n');
        };
        put(format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{}" height="{}" role="img" aria-labelledby="title desc">"#,
            WIDTH / 2,
            HEIGHT / 2
        ));
        put(format!(r#"<title id="title">{TITLE}</title>"#));
        put(format!(
            r#"<desc id="desc">Latency of each request over time, on a logarithmic scale. A primary is killed; requests for its shard wait {away:.1} s for its replica to take over, and are answered; the first {late} ms after the replica serves. Requests for other shards take as long as before. {summary}.</desc>"#
        ));
        put(format!("<style>{STYLE}</style>"));
        put(format!(
            r#"<rect x="1" y="1" width="{}" height="{}" rx="16" class="card"/>"#,
            WIDTH - 2,
            HEIGHT - 2
        ));
        let text = |x: i64, y: i64, class: &str, words: &str| {
            format!(r#"<text x="{x}" y="{y}" class="{class}">{words}</text>"#)
        };
        put(text(LEFT, 64, "head", TITLE));
        put(text(LEFT, 104, "note", setting));

        for (latency, name) in TICKS {
            let y = plot.y(latency);
            put(format!(r#"<path d="M{LEFT} {y}H{RIGHT}" class="grid"/>"#));
            put(text(LEFT - 14, y + 8, "tick end", name));
        }
        let first = -(MARGIN.as_secs() as i64);
        for second in first..=(away.floor() as i64 + MARGIN.as_secs() as i64) {
            let x = plot.x(self.killed.as_secs_f64() + second as f64);
            put(format!(r#"<path d="M{x} {BOTTOM}v10" class="axis"/>"#));
            put(text(x, BOTTOM + 38, "tick middle", &format!("{second} s")));
        }
        put(format!(r#"<path d="M{LEFT} {BOTTOM}H{RIGHT}" class="axis"/>"#));

        for (touched, class) in [(false, "other"), (true, "touched")] {
            let acked = self.ops(touched).filter(|op| op.outcome.is_acked());
            put(plot.dots(acked.filter(|op| shown.contains(&op.sent)), class));
        }
        put(plot.dots(ops().filter(|op| !op.outcome.is_acked()), "bad"));

        let marks = [(self.killed, "killed"), (self.serves, "back"), (self.first, "first")];
        for (at, class) in marks {
            let x = plot.x(at.as_secs_f64());
            put(format!(r#"<path d="M{x} {MARKS}V{BOTTOM}" class="mark {class}"/>"#));
        }
        let killed = plot.x(self.killed.as_secs_f64());
        // On the left, where there is room however long the shard was away.
        let back = plot.x(self.serves.as_secs_f64()) - 14;
        put(text(killed + 14, MARKS + 18, "label killed", "kill -9 of the primary"));
        put(text(back, MARKS + 18, "label back end", "a replica serves"));
        let first = format!("{late} ms later (solid line):");
        put(text(back, MARKS + 50, "label back end", &first));
        put(text(back, MARKS + 82, "label back end", "first success behind slotway"));

        let mut key = |x: i64, class: &str, words: &str| {
            let y = BOTTOM + 90;
            put(format!(r#"<path d="M{x} {}h0" class="dots key {class}"/>"#, y - 8));
            put(text(x + 20, y, "note", words));
        };
        key(LEFT + 10, "touched", "the shard that lost its primary");
        key(LEFT + 470, "other", "the other shards");
        if errors + unknown > 0 {
            key(LEFT + 740, "bad", "error or unknown");
        }
        put(text(LEFT, HEIGHT - 36, "sum", &summary));
        svg.push_str("</svg>\n");
        svg
    }
}

/// Where a time and a latency are drawn. Units are half pixels, so that whole numbers, which are
/// short, are fine enough.
struct Plot {
    from: Duration,
    seconds: f64,
}

impl Plot {
    fn x(&self, seconds: f64) -> i64 {
        let share = (seconds - self.from.as_secs_f64()) / self.seconds;
        LEFT + ((RIGHT - LEFT) as f64 * share).round() as i64
    }

    /// Logarithmic, held within the plot.
    fn y(&self, latency: Duration) -> i64 {
        let (low, high) = (TICKS[0].0.as_secs_f64(), TICKS[TICKS.len() - 1].0.as_secs_f64());
        let share = (latency.as_secs_f64().clamp(low, high) / low).ln() / (high / low).ln();
        BOTTOM - ((BOTTOM - TOP) as f64 * share).round() as i64
    }

    /// One path with a point for each place that has a request.
    fn dots<'a>(&self, ops: impl Iterator<Item = &'a Op>, class: &str) -> String {
        let place = |op: &Op| (self.x(op.sent.as_secs_f64()), self.y(op.latency()));
        let places: BTreeSet<(i64, i64)> = ops.map(place).collect();
        let mut path = format!(r#"<path class="dots {class}" d=""#);
        for (x, y) in places {
            write!(path, "M{x} {y}h0").expect("writing into a String cannot fail");
        }
        path + r#""/>"#
    }
}

/// With a comma between thousands.
fn grouped(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1000), number % 1000),
    }
}

/// An answer that is read so long after the death was under way before it.
const DYING: Duration = Duration::from_millis(100);

/// What is shown before the death and after the heir serves.
const MARGIN: Duration = Duration::from_secs(2);

const TITLE: &str = "kill -9 of a primary, as plain clients behind slotway see it";

const WIDTH: i64 = 1720;
const HEIGHT: i64 = 940;
const LEFT: i64 = 130;
const RIGHT: i64 = WIDTH - 50;
const MARKS: i64 = 140;
const TOP: i64 = 180;
const BOTTOM: i64 = HEIGHT - 180;

/// From the lower to the upper end of the axis.
const TICKS: [(Duration, &str); 6] = [
    (Duration::from_micros(100), "0.1 ms"),
    (Duration::from_millis(1), "1 ms"),
    (Duration::from_millis(10), "10 ms"),
    (Duration::from_millis(100), "100 ms"),
    (Duration::from_secs(1), "1 s"),
    (Duration::from_secs(10), "10 s"),
];

/// On a card of its own, so that it reads the same on a light and on a dark page. Colours are told
/// apart by people who do not see red and green apart, too (Okabe and Ito).
const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}\
    .card{fill:#fff;stroke:#d0d7de;stroke-width:2}.head{font-size:36px;font-weight:600}\
    .note{font-size:25px;fill:#57606a}.tick{font-size:23px;fill:#57606a}\
    .label{font-size:25px;font-weight:600}.sum{font-size:25px;font-weight:600}\
    .end{text-anchor:end}.middle{text-anchor:middle}\
    .grid{stroke:#eaeef2;stroke-width:2}.axis{stroke:#8c959f;stroke-width:2;fill:none}\
    .mark{stroke:#007a59;stroke-width:3;stroke-dasharray:10 7}.mark.killed{stroke:#24292f}\
    .mark.first{stroke-width:2;stroke-dasharray:none}\
    .label.back{fill:#007a59}.dots{fill:none;stroke-linecap:round}\
    .other{stroke:#56b4e9;stroke-width:5;stroke-opacity:.45}\
    .touched{stroke:#d55e00;stroke-width:5;stroke-opacity:.6}\
    .bad{stroke:#24292f;stroke-width:13}.key{stroke-width:16;stroke-opacity:1}";

#[cfg(test)]
mod tests {
    use super::super::watch::Outage;
    use super::super::what::What;
    use super::super::wire::Reply;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn op(shard: usize, sent: u32, latency: u32, outcome: Outcome) -> Op {
        let what = What::Get { key: "k".into() };
        let sent = sent * MS;
        Op { client: 0, shard: Some(shard), what, sent, replied: sent + latency * MS, outcome }
    }

    /// Shard 1 is away from 3,000 ms on, and serves again at 5,000 ms.
    fn run() -> (History, Seen) {
        let done = || Outcome::Acked(Reply::Nil);
        let mut ops: Vec<Op> = (1000..7000).map(|sent| op(0, sent, 1, done())).collect();
        ops.extend((1000..3000).map(|sent| op(1, sent, 1, done())));
        ops.push(op(1, 2999, 2, Outcome::Unknown("UNKNOWNRESULT".to_owned())));
        ops.extend((3000..5000).map(|sent| op(1, sent, 5012 - sent, done())));
        let outage = Outage { from: 2990 * MS, to: 5000 * MS };
        let seen = Seen {
            outages: vec![vec![], vec![outage]],
            replaced: vec![],
            slowest: vec![],
            evidence: "".into(),
        };
        (History { ops, ..History::default() }, seen)
    }

    #[test]
    fn the_first_success_is_found_and_others_are_compared() {
        let (mut history, seen) = run();
        for op in history.ops.iter_mut().filter(|op| op.shard == Some(0)) {
            if op.sent >= 3000 * MS && op.sent < 5000 * MS {
                op.replied += 2 * MS;
            }
        }
        let timeline = Timeline::new(&history, &seen, 1, 3000 * MS).unwrap();
        assert_eq!((timeline.serves, timeline.late()), (5000 * MS, 12 * MS));
        assert_eq!(timeline.untouched_medians().unwrap(), [MS, 3 * MS]);
        assert!(Timeline::new(&history, &seen, 0, 3000 * MS).is_err(), "it was never away");
    }

    #[test]
    fn the_picture_says_what_was_seen() {
        let (history, seen) = run();
        let svg = Timeline::new(&history, &seen, 1, 3000 * MS).unwrap().svg("a setting");
        assert!(
            svg.contains(">10,001 requests: 0 errors, 1 unknown, all others answered<"),
            "{svg}"
        );
        assert!(svg.contains(">12 ms later (solid line):<") && svg.contains(">a setting<"));
        assert!(svg.contains("<title") && svg.contains("<desc") && svg.contains("wait 2.0 s"));
        let bad = svg.lines().find(|line| line.contains("dots bad")).unwrap();
        assert_eq!(bad.matches("h0").count(), 1, "{bad}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.len() < 200_000);
    }

    #[test]
    fn an_error_is_counted_as_one() {
        let (mut history, seen) = run();
        history.ops[1500].outcome = Outcome::Refused("CLUSTERDOWN not executed".to_owned());
        let svg = Timeline::new(&history, &seen, 1, 3000 * MS).unwrap().svg("");
        assert!(svg.contains(" 1 errors, 1 unknown"), "{svg}");
    }
}
