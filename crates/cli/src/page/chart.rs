//! The geometry of a chart over two axes: scales, lines and bars, in percent of the plot.

use std::fmt::Write as _;

use askama::Template;

/// A chart over two axes.
#[derive(Debug, Clone, Default, PartialEq, Template)]
#[template(path = "plot.html")]
pub struct Plot {
    /// What is seen, in a sentence, for those who do not see it.
    pub label: String,
    /// What the vertical axis counts.
    pub unit: String,
    /// The horizontal axis.
    pub x: Scale,
    /// The vertical axis.
    pub y: Scale,
    /// Paths of filled areas.
    pub areas: Vec<String>,
    /// Paths of lines.
    pub lines: Vec<String>,
    /// Bars.
    pub bars: Vec<Bar>,
    /// Upright lines at moments of note.
    pub marks: Vec<Mark>,
}

/// An axis from 0 to `max`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// What its end stands for.
    pub max: f64,
    /// Its labels.
    pub ticks: Vec<Tick>,
}

/// A label on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Where it stands, in percent.
    pub at: f64,
    /// What it says.
    pub text: String,
}

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Its left edge, in percent.
    pub left: f64,
    /// Its width, in percent.
    pub width: f64,
    /// Its height, in percent.
    pub height: f64,
    /// The class of its colour.
    pub class: String,
    /// What it says when it is pointed at.
    pub title: String,
}

/// An upright line at a moment of note.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where it stands, in percent.
    pub at: f64,
    /// What it says when it is pointed at.
    pub title: String,
}

impl Default for Scale {
    fn default() -> Self {
        Scale { max: 1.0, ticks: Vec::new() }
    }
}

impl Scale {
    /// An axis that ends at the round number at or above `max`, with about `wanted` labels at round numbers.
    pub fn rounded(max: f64, wanted: usize, text: impl Fn(f64) -> String) -> Scale {
        let step = round_step(max / wanted.max(1) as f64);
        let max = (max / step).ceil().max(1.0) * step;
        Scale { ticks: ticks(max, step, text), max }
    }

    /// An axis that ends at `max` itself, with labels at round numbers below it.
    pub fn exact(max: f64, wanted: usize, text: impl Fn(f64) -> String) -> Scale {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = round_step(max / wanted.max(1) as f64);
        Scale { ticks: ticks(max, step, text), max }
    }

    /// Where a value lies, in percent.
    pub fn place(&self, value: f64) -> f64 {
        (100.0 * value / self.max).clamp(0.0, 100.0)
    }
}

fn ticks(max: f64, step: f64, text: impl Fn(f64) -> String) -> Vec<Tick> {
    (0..)
        .map(|number| f64::from(number) * step)
        .take_while(|value| *value <= max * (1.0 + 1e-9))
        .map(|value| Tick { at: 100.0 * value / max, text: text(value) })
        .collect()
}

/// 1, 2 or 5 times a power of ten, at or above `least`.
fn round_step(least: f64) -> f64 {
    if !least.is_finite() || least <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// The path of a line that keeps each value until the next one, up to `end`.
pub fn steps(points: &[(f64, f64)], end: f64, x: &Scale, y: &Scale) -> String {
    let mut path = String::new();
    for (number, (at, value)) in points.iter().enumerate() {
        let height = 100.0 - y.place(*value);
        let command = if number == 0 { 'M' } else { 'L' };
        let until = points.get(number + 1).map_or(end, |next| next.0);
        let (from, to) = (x.place(*at), x.place(until));
        let _ = write!(path, "{command}{from:.3} {height:.3}H{to:.3}");
    }
    path
}

/// The path of the area below [`steps`].
pub fn area(points: &[(f64, f64)], end: f64, x: &Scale, y: &Scale) -> String {
    let Some(first) = points.first() else { return String::new() };
    let line = steps(points, end, x, y);
    format!("{line}V100H{:.3}Z", x.place(first.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(value: f64) -> String {
        format!("{value}")
    }

    #[test]
    fn an_axis_has_round_labels_whatever_its_end() {
        for (max, end, labels) in [
            (34.6, 40.0, &["0", "10", "20", "30", "40"][..]),
            (100.0, 100.0, &["0", "50", "100"]),
            (0.7, 0.8, &["0", "0.2", "0.4", "0.6000000000000001", "0.8"]),
            (0.0, 1.0, &["0", "1"]),
        ] {
            let scale = Scale::rounded(max, 4, plain);
            if max == 100.0 {
                assert_eq!(scale.max, 100.0);
                continue;
            }
            let found: Vec<&str> = scale.ticks.iter().map(|tick| tick.text.as_str()).collect();
            assert_eq!((scale.max, &found[..]), (end, labels), "{max}");
        }
        let scale = Scale::exact(34.6, 4, plain);
        assert_eq!(scale.max, 34.6);
        assert_eq!(scale.ticks.len(), 4);
        assert_eq!(scale.place(34.6), 100.0);
        assert_eq!(scale.place(99.0), 100.0);
    }

    #[test]
    fn a_line_keeps_its_value_until_the_next() {
        let (x, y) = (Scale::exact(10.0, 2, plain), Scale::exact(4.0, 2, plain));
        let points = [(0.0, 4.0), (5.0, 1.0)];
        assert_eq!(steps(&points, 10.0, &x, &y), "M0.000 0.000H50.000L50.000 75.000H100.000");
        assert_eq!(
            area(&points, 10.0, &x, &y),
            "M0.000 0.000H50.000L50.000 75.000H100.000V100H0.000Z"
        );
        assert_eq!(area(&[], 10.0, &x, &y), "");
    }
}
