//! Charts with two axes. The geometry is in percent of the plot.

use std::fmt::Write as _;

use askama::Template;

/// A chart with two axes.
#[derive(Debug, Clone, Default, PartialEq, Template)]
#[template(path = "plot.html")]
pub struct Plot {
    /// The content in a sentence, for screen readers.
    pub label: String,
    /// The unit of the vertical axis.
    pub unit: String,
    /// The horizontal axis.
    pub x: Scale,
    /// The vertical axis.
    pub y: Scale,
    /// SVG paths of filled areas.
    pub areas: Vec<String>,
    /// SVG paths of lines.
    pub lines: Vec<String>,
    /// Bars.
    pub bars: Vec<Bar>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

/// An axis from 0 to `max`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// The value at its end.
    pub max: f64,
    /// Its labels.
    pub ticks: Vec<Tick>,
}

/// A label on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Its position, in percent.
    pub at: f64,
    /// Its text.
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
    /// The tooltip.
    pub title: String,
}

/// A vertical line.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Its position, in percent.
    pub at: f64,
    /// The tooltip.
    pub title: String,
}

impl Default for Scale {
    fn default() -> Self {
        Scale { max: 1.0, ticks: Vec::new() }
    }
}

impl Scale {
    /// An axis that ends at a round number, at or above `max`, with about `wanted` labels.
    pub fn rounded(max: f64, wanted: usize, text: impl Fn(f64) -> String) -> Scale {
        let step = Step::at_least(max / wanted.max(1) as f64);
        let max = step.times((max / step.times(1.0)).ceil().max(1.0));
        Scale { ticks: ticks(max, step, text), max }
    }

    /// An axis that ends at `max`, with about `wanted` labels at round numbers.
    pub fn exact(max: f64, wanted: usize, text: impl Fn(f64) -> String) -> Scale {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = Step::at_least(max / wanted.max(1) as f64);
        Scale { ticks: ticks(max, step, text), max }
    }

    /// The position of a value, in percent.
    pub fn place(&self, value: f64) -> f64 {
        (100.0 * value / self.max).clamp(0.0, 100.0)
    }
}

fn ticks(max: f64, step: Step, text: impl Fn(f64) -> String) -> Vec<Tick> {
    (0..)
        .map(|number| step.times(f64::from(number)))
        .take_while(|value| *value <= max * (1.0 + 1e-9))
        .map(|value| Tick { at: 100.0 * value / max, text: text(value) })
        .collect()
}

/// The distance of two labels: `factor` times a power of ten.
#[derive(Clone, Copy)]
struct Step {
    factor: f64,
    exponent: i32,
}

impl Step {
    /// 1, 2 or 5 times a power of ten, at or above `min`.
    fn at_least(min: f64) -> Step {
        if !min.is_finite() || min <= 0.0 {
            return Step { factor: 1.0, exponent: 0 };
        }
        let exponent = min.log10().floor() as i32;
        [1.0, 2.0, 5.0]
            .into_iter()
            .map(|factor| Step { factor, exponent })
            .find(|step| step.times(1.0) >= min * (1.0 - 1e-9))
            .unwrap_or(Step { factor: 1.0, exponent: exponent + 1 })
    }

    /// The multiple `count` of the step. Dividing by a power of ten gives 0.6 where multiplying gives
    /// 0.6000000000000001.
    fn times(self, count: f64) -> f64 {
        let power = 10f64.powi(self.exponent.abs());
        match self.exponent < 0 {
            true => count * self.factor / power,
            false => count * self.factor * power,
        }
    }
}

/// The path of a line that keeps each value until the next point, up to `end`.
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

    fn labels(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|tick| tick.text.as_str()).collect()
    }

    #[test]
    fn rounded_axis_ends_at_a_round_label() {
        for (max, end, expected) in [
            (34.6, 40.0, &["0", "10", "20", "30", "40"][..]),
            (100.0, 100.0, &["0", "50", "100"]),
            (101.0, 150.0, &["0", "50", "100", "150"]),
            (0.7, 0.8, &["0", "0.2", "0.4", "0.6", "0.8"]),
            (0.012, 0.015, &["0", "0.005", "0.01", "0.015"]),
            (7e6, 8e6, &["0", "2000000", "4000000", "6000000", "8000000"]),
            (0.0, 1.0, &["0", "1"]),
        ] {
            let scale = Scale::rounded(max, 4, plain);
            assert_eq!((scale.max, &labels(&scale)[..]), (end, expected), "{max}");
            assert_eq!(scale.ticks.first().map(|tick| tick.at), Some(0.0), "{max}");
            assert_eq!(scale.ticks.last().map(|tick| tick.at), Some(100.0), "{max}");
        }
    }

    #[test]
    fn exact_axis_ends_at_its_value() {
        let scale = Scale::exact(34.6, 4, plain);
        assert_eq!((scale.max, &labels(&scale)[..]), (34.6, &["0", "10", "20", "30"][..]));
        assert_eq!(scale.place(34.6), 100.0);
        assert_eq!(scale.place(99.0), 100.0);
    }

    #[test]
    fn line_keeps_its_value_until_the_next_point() {
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
