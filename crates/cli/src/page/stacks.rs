//! Stacked bars: parts side by side, each as long as its share of the whole.

use askama::Template;

/// Stacked bars with a legend.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "stacks.html")]
pub struct Stacks {
    /// The content in a sentence, for screen readers.
    pub label: String,
    /// The bars, from top to bottom.
    pub bars: Vec<Stack>,
    /// Class and name of each colour.
    pub legend: Vec<(String, String)>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// The text before the bar; may be empty.
    pub name: String,
    /// Its parts, from left to right.
    pub parts: Vec<Part>,
    /// The text after the bar.
    pub note: String,
}

/// A part of a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The class of its colour.
    pub class: String,
    /// Its left edge, in percent.
    pub from: f64,
    /// Its width, in percent.
    pub width: f64,
    /// The tooltip.
    pub title: String,
}

impl Stack {
    /// A bar of parts `(class, value, title)`, scaled so that `whole` is the full length.
    pub fn new(name: &str, note: String, whole: f64, parts: &[(&str, f64, String)]) -> Stack {
        let mut from = 0.0;
        let part = |(class, value, title): &(&str, f64, String)| {
            let width = 100.0 * value / whole.max(f64::MIN_POSITIVE);
            from += width;
            Part { class: (*class).to_owned(), from: from - width, width, title: title.clone() }
        };
        let parts = parts.iter().filter(|(_, value, _)| *value > 0.0).map(part).collect();
        Stack { name: name.to_owned(), parts, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_side_by_side_and_fill_the_bar() {
        let part = |value| ("busy", value, String::new());
        let bar = Stack::new("reader", String::new(), 8.0, &[part(2.0), part(0.0), part(6.0)]);
        let edges: Vec<(f64, f64)> = bar.parts.iter().map(|part| (part.from, part.width)).collect();
        assert_eq!(edges, [(0.0, 25.0), (25.0, 75.0)]);
    }
}
