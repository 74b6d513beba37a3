//! One small bar chart as SVG: an axis from zero, a bar a target, its spread as a whisker.

use std::fmt::Write;

use crate::results::Spread;

/// Outer size of a chart, its title and axis included.
pub(super) const WIDTH: f64 = 190.0;
/// See [`WIDTH`].
pub(super) const HEIGHT: f64 = 170.0;

const LEFT: f64 = 40.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 10.0;
const TICKS: usize = 4;

/// A bar of one target.
#[derive(Debug)]
pub(super) struct Bar {
    /// Colour of the lower part.
    pub colour: &'static str,
    /// The lower part, drawn solid.
    pub solid: f64,
    /// The whole, drawn pale above the solid part; its spread is the whisker.
    pub whole: Spread,
}

/// A chart at a place, without anything if there are no bars.
pub(super) fn draw(svg: &mut String, (x, y): (f64, f64), title: &str, bars: &[Bar]) {
    let Some(largest) = bars.iter().map(|bar| bar.whole.max).max_by(f64::total_cmp) else { return };
    let top = axis_end(largest);
    let plot_height = HEIGHT - TOP - BOTTOM;
    let at = |figure: f64| y + TOP + plot_height * (1.0 - figure.max(0.0) / top);
    let (left, right) = (x + LEFT, x + WIDTH - 8.0);

    text(svg, (x + WIDTH / 2.0, y + 14.0), "title", title);
    for tick in 0..=TICKS {
        let figure = top * tick as f64 / TICKS as f64;
        let height = at(figure);
        line(svg, (left, height), (right, height), if tick == 0 { "axis" } else { "grid" });
        text(svg, (left - 4.0, height + 3.0), "tick", &short(figure));
    }
    let step = (right - left) / bars.len() as f64;
    for (index, bar) in bars.iter().enumerate() {
        let middle = left + step * (index as f64 + 0.5);
        let width = (step * 0.7).min(26.0);
        let (whole, solid) = (at(bar.whole.median), at(bar.solid));
        rectangle(svg, (middle - width / 2.0, whole), (width, at(0.0) - whole), bar.colour, 0.4);
        rectangle(svg, (middle - width / 2.0, solid), (width, at(0.0) - solid), bar.colour, 1.0);
        line(svg, (middle, at(bar.whole.min)), (middle, at(bar.whole.max)), "whisker");
        text(svg, (middle, at(bar.whole.max) - 3.0), "value", &short(bar.whole.median));
    }
}

/// Text at a place; the class says how it is set.
pub(super) fn text(svg: &mut String, (x, y): (f64, f64), class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{words}</text>"#)
        .expect(TO_MEMORY);
}

/// A filled rectangle.
pub(super) fn rectangle(
    svg: &mut String,
    (x, y): (f64, f64),
    (width, height): (f64, f64),
    colour: &str,
    opacity: f64,
) {
    writeln!(
        svg,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}" opacity="{opacity}"/>"#
    )
    .expect(TO_MEMORY);
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
    writeln!(svg, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#)
        .expect(TO_MEMORY);
}

const TO_MEMORY: &str = "writing into a String cannot fail";

/// The end of an axis that shows `largest`: a round number not far above it, with room for a label.
fn axis_end(largest: f64) -> f64 {
    let wanted = largest * 1.1;
    if wanted <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(wanted.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * magnitude >= wanted);
    step.unwrap_or(10.0) * magnitude
}

/// A figure in at most five characters or so.
fn short(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 => format!("{:.2}M", figure / 1e6),
        size if size >= 1e5 => format!("{:.0}k", figure / 1e3),
        size if size >= 1e4 => format!("{:.1}k", figure / 1e3),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_above_what_they_show() {
        for largest in [0.02, 0.5, 0.9, 1.0, 7.0, 9.9, 123.0, 98_000.0, 1_234_567.0] {
            let end = axis_end(largest);
            assert!(end >= largest * 1.1 && end <= largest * 1.8, "{largest}: {end}");
        }
        assert_eq!(axis_end(0.0), 1.0);
        assert_eq!(axis_end(-5.0), 1.0);
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 0.456, 45.67, 456.7, 45_678.0, 456_789.0, 4_567_890.0].map(short);
        assert_eq!(shown, ["0", "0.46", "45.7", "457", "45.7k", "457k", "4.57M"]);
    }
}
