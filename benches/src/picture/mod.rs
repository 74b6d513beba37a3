//! The picture of a run: small bar charts, a column a load, a row a figure, and one of memory.

mod chart;

use std::fmt::Write;

use crate::cell::Cell;
use crate::idle::Memory;
use crate::loads::{IDLE_CONNECTIONS, LOADS};
use crate::results::{Results, Spread};
use crate::targets::Kind;

use chart::{Bar, draw, rectangle, text};

const MARGIN: f64 = 16.0;
const HEAD: f64 = 64.0;
/// Height of a row's heading above its charts.
const HEADING: f64 = 26.0;

const STYLE: &str = "text{font-family:sans-serif;fill:#222}\
    .head{font-size:18px;font-weight:bold}.heading{font-size:13px;font-weight:bold}\
    .legend{font-size:12px}.title{font-size:11px;text-anchor:middle}\
    .tick{font-size:9px;text-anchor:end;fill:#555}.value{font-size:9px;text-anchor:middle}\
    .axis{stroke:#333}.grid{stroke:#ddd}.whisker{stroke:#222;stroke-width:1.5}";

/// A figure of a measurement.
type Figure<C> = fn(&C) -> Option<f64>;

/// One row of charts over the loads: heading, the solid part of a bar, and the whole bar.
const ROWS: [(&str, Figure<Cell>, Figure<Cell>); 3] = [
    (
        "CPU per request, µs: proxy (solid) and the nodes behind it (pale)",
        |cell| Some(cell.proxy_us.unwrap_or(0.0)),
        |cell| Some(cell.proxy_and_nodes_us()),
    ),
    ("Requests per second", |cell| Some(cell.per_second()), |cell| Some(cell.per_second())),
    (
        "Latency, µs: median (solid) and 99th percentile (pale)",
        |c| Some(c.p50_us),
        |c| Some(c.p99_us),
    ),
];

/// The charts of memory: title and figure.
const MEMORY: [(&str, Figure<Memory>); 4] = [
    ("open and idle, B/connection", |memory| Some(memory.per_idle_connection())),
    ("used once, B/connection", |memory| Some(memory.per_used_connection())),
    ("at start, MiB", |memory| Some(memory.start.total_bytes as f64 / (1 << 20) as f64)),
    ("kept 10 s after closing, MiB", |memory| Some(memory.kept_after_closing() / (1 << 20) as f64)),
];

/// The picture as an SVG document.
pub fn render(results: &Results) -> String {
    let width = 2.0 * MARGIN + chart::WIDTH * LOADS.len() as f64;
    let rows = ROWS.len() + 1;
    let height = HEAD + rows as f64 * (HEADING + chart::HEIGHT) + MARGIN;
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{STYLE}</style>"#
    )
    .expect("writing into a String cannot fail");
    rectangle(&mut svg, (0.0, 0.0), (width, height), "#ffffff", 1.0);
    text(&mut svg, (MARGIN, 26.0), "head", "slotway beside its peers");
    legend(&mut svg);

    let mut y = HEAD;
    for (heading, solid, whole) in ROWS {
        text(&mut svg, (MARGIN, y + 16.0), "heading", heading);
        for (column, load) in LOADS.iter().enumerate() {
            let bars = bars(|kind, which| match which {
                Part::Solid => results.spread(load.name, kind, solid),
                Part::Whole => results.spread(load.name, kind, whole),
            });
            draw(&mut svg, place(column, y), load.title, &bars);
        }
        y += HEADING + chart::HEIGHT;
    }
    let heading = format!("Resident memory of the proxy with {IDLE_CONNECTIONS} connections");
    text(&mut svg, (MARGIN, y + 16.0), "heading", &heading);
    for (column, (title, figure)) in MEMORY.into_iter().enumerate() {
        let of = |kind| Spread::of(results.memory(kind).filter_map(|(_, it)| figure(it)).collect());
        draw(&mut svg, place(column, y), title, &bars(|kind, _| of(kind)));
    }
    svg.push_str("</svg>\n");
    svg
}

fn place(column: usize, y: f64) -> (f64, f64) {
    (MARGIN + column as f64 * chart::WIDTH, y + HEADING)
}

enum Part {
    Solid,
    Whole,
}

/// A bar for each target that has the figure.
fn bars(figure: impl Fn(Kind, Part) -> Option<Spread>) -> Vec<Bar> {
    let bar = |kind: Kind| {
        let (solid, whole) = (figure(kind, Part::Solid)?.median, figure(kind, Part::Whole)?);
        Some(Bar { colour: colour(kind), solid, whole })
    };
    Kind::ALL.into_iter().filter_map(bar).collect()
}

fn legend(svg: &mut String) {
    let mut x = MARGIN;
    for kind in Kind::ALL {
        rectangle(svg, (x, 38.0), (12.0, 12.0), colour(kind), 1.0);
        text(svg, (x + 17.0, 48.0), "legend", kind.name());
        x += 110.0;
    }
    text(svg, (x, 48.0), "legend", "bars: medians of the rounds; lines: smallest to largest");
}

/// Told apart by people who do not see red and green apart, too (Okabe and Ito).
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "#999999",
        Kind::Nutcracker => "#e69f00",
        Kind::Haproxy => "#56b4e9",
        Kind::Slotway => "#009e73",
        Kind::SlotwayTwo => "#0072b2",
        Kind::SlotwayStrict => "#cc79a7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::cell;

    #[test]
    fn a_picture_has_a_bar_for_each_target_and_no_chart_without() {
        let mut results = Results::default();
        results.add_cell("c50", Kind::Nutcracker, 1, cell(100_000, 10.0, 10.0));
        results.add_cell("c50", Kind::Slotway, 1, cell(123_456, 8.0, 10.0));
        let svg = render(&results);
        // A solid and a pale part in each of three charts, and the legend.
        assert_eq!(svg.matches(colour(Kind::Slotway)).count(), 7, "{svg}");
        assert_eq!(svg.matches(colour(Kind::Haproxy)).count(), 1, "{svg}");
        assert_eq!(svg.matches("50 connections, GET<").count(), 3, "{svg}");
        assert!(!svg.contains("1,000 connections") && svg.contains(">123k<"), "{svg}");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
