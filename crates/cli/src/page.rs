//! What the pages are made of that this program writes: figures, tables and charts, in one file without scripts that
//! needs no network and works from the disk, in light and dark, on a phone and on paper.
//!
//! Templates and the style sheet lie in `page/`; `askama` escapes whatever is put into them. A chart's geometry is in
//! percent of its plot and its labels are text of the page, so both keep their size on any screen.

mod chart;

use askama::Template;
use chrono::{DateTime, Utc};
use reembed::figures;
use reembed_encoder::error::{Error, ErrorKind, Result};
use serde_json::Value;

pub use chart::{Bar, Mark, Plot, Scale, Tick, area, steps};

/// A page as text: what `page` makes of the JSON document that its figures are taken from. `of` is what it is a page of.
///
/// # Errors
/// `Internal`, when `json` is no JSON or a template fails.
pub fn render<T: Template>(of: &str, json: &str, page: impl FnOnce(&Value) -> T) -> Result<String> {
    let internal = |cause: Box<dyn std::error::Error + Send + Sync>| {
        let message = format!("the page of the {of} cannot be built");
        Error::new(ErrorKind::Internal, message).caused_by(cause)
    };
    let json: Value = serde_json::from_str(json).map_err(|cause| internal(cause.into()))?;
    page(&json).render().map_err(|cause| internal(cause.into()))
}

/// How a number is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A whole number, its thousands apart.
    Count,
    /// A size in bytes, in the unit that fits.
    Bytes,
    /// Three significant digits.
    Measure,
    /// A share of one, as a percentage.
    Percent,
    /// A time in seconds.
    Seconds,
    /// A factor.
    Times,
    /// A tiny difference.
    Scientific,
}

impl Form {
    /// A number in this form.
    pub fn show(self, number: f64) -> String {
        match self {
            Form::Count => figures::count(number.round().max(0.0) as u64),
            Form::Bytes => figures::bytes(number.round().max(0.0) as u64),
            Form::Measure => figures::measure(number),
            Form::Percent => figures::percent(number),
            Form::Seconds => figures::seconds(number),
            Form::Times => format!("{} ×", figures::measure(number)),
            Form::Scientific if number == 0.0 => "0".to_owned(),
            Form::Scientific => format!("{number:.1e}"),
        }
    }
}

/// `2026-11-24T05:53:25Z` as `24 November 2026, 05:53 UTC`; what is no such time stays as it is.
pub fn moment(time: &str) -> String {
    time.parse::<DateTime<Utc>>()
        .map_or(time.to_owned(), |time| time.format("%-d %B %Y, %H:%M UTC").to_string())
}

/// A number of a JSON document on a page, with where it stands there: a test reads the page in a browser and holds
/// every figure against the document.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(
    source = r#"{% if value.is_empty() %}–{% else %}<data value="{{ value }}" data-json="{{ pointer }}">{{ text }}</data>{% endif %}"#,
    ext = "html"
)]
pub struct Figure {
    pointer: String,
    value: String,
    text: String,
}

impl Figure {
    /// The number at a JSON pointer; a dash where there is none.
    pub fn at(document: &Value, pointer: &str, form: Form) -> Figure {
        let number = document.pointer(pointer).filter(|value| value.is_number());
        Figure {
            pointer: pointer.to_owned(),
            value: number.map_or(String::new(), Value::to_string),
            text: number.and_then(Value::as_f64).map_or(String::new(), |number| form.show(number)),
        }
    }
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number.
    Figure(Figure),
    /// A link to a file beside the page.
    Link {
        /// Where it leads.
        to: String,
        /// What it says.
        text: String,
    },
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    fn is_number(&self) -> bool {
        matches!(self, Cell::Figure(_))
    }
}

/// A table: what stands behind a chart, or by itself.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "table.html")]
pub struct Table {
    /// What it is a table of.
    pub caption: String,
    /// The heads of the columns.
    pub heads: Vec<String>,
    /// Rows of cells, each as long as the heads.
    pub rows: Vec<Vec<Cell>>,
    /// Whether it is folded away until it is asked for.
    pub folded: bool,
}

impl Table {
    /// A table that stands open.
    pub fn new(caption: &str, heads: &[&str], rows: Vec<Vec<Cell>>) -> Table {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        Table { caption: caption.to_owned(), heads, rows, folded: false }
    }

    /// The same, folded away.
    #[must_use]
    pub fn folded(self) -> Table {
        Table { folded: true, ..self }
    }

    /// Whether the column at a position holds nothing but numbers, which are set to the right.
    fn is_numeric(&self, column: &usize) -> bool {
        self.rows.iter().all(|row| row.get(*column).is_some_and(Cell::is_number))
    }

    /// Whether it holds no column of numbers: long words may then be broken.
    fn is_words(&self) -> bool {
        !(0..self.heads.len()).any(|column| self.is_numeric(&column))
    }
}

/// Bars of parts that lie side by side, each as long as its share of the whole.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "stacks.html")]
pub struct Stacks {
    /// What is seen, in a sentence, for those who do not see it.
    pub label: String,
    /// The bars, from the top down.
    pub bars: Vec<Stack>,
    /// What the colours mean: class and name.
    pub legend: Vec<(String, String)>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Stack {
    /// Its name, before the bar; may be empty.
    pub name: String,
    /// Its parts, from the left.
    pub parts: Vec<Part>,
    /// What stands behind it.
    pub note: String,
}

/// A part of a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The class of its colour.
    pub class: String,
    /// Where it begins, in percent.
    pub from: f64,
    /// How long it is, in percent.
    pub width: f64,
    /// What it says when it is pointed at.
    pub title: String,
}

impl Stack {
    /// A bar of parts `(class, value, title)`, scaled so that `whole` is all of its length.
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_figure_says_where_its_number_stands_and_a_missing_one_is_a_dash() {
        let document = json!({"rows": {"input": 1200}, "speed": null});
        let figure = Figure::at(&document, "/rows/input", Form::Count);
        let expected = r#"<data value="1200" data-json="/rows/input">1,200</data>"#;
        assert_eq!(figure.to_string(), expected);
        assert_eq!(Figure::at(&document, "/speed", Form::Measure).to_string(), "–");
        assert_eq!(Figure::at(&document, "/nothing", Form::Measure).to_string(), "–");
    }

    #[test]
    fn a_moment_is_a_date_and_a_time_of_day() {
        assert_eq!(moment("2026-11-04T05:53:25Z"), "4 November 2026, 05:53 UTC");
        assert_eq!(moment("yesterday"), "yesterday");
    }

    #[test]
    fn parts_of_a_bar_lie_side_by_side_and_fill_it() {
        let part = |value| ("busy", value, String::new());
        let bar = Stack::new("reader", String::new(), 8.0, &[part(2.0), part(0.0), part(6.0)]);
        let places: Vec<(f64, f64)> =
            bar.parts.iter().map(|part| (part.from, part.width)).collect();
        assert_eq!(places, [(0.0, 25.0), (25.0, 75.0)]);
    }

    #[test]
    fn what_comes_from_outside_cannot_become_markup() {
        let evil = "<script>alert(1)</script>\"'";
        let table = Table::new(
            evil,
            &[evil],
            vec![
                vec![Cell::text(evil)],
                vec![Cell::Link { to: evil.to_owned(), text: evil.to_owned() }],
            ],
        );
        let plot = Plot { label: evil.to_owned(), ..Plot::default() };
        for html in [table.to_string(), plot.to_string()] {
            assert!(!html.contains("<script") && !html.contains("alert(1)\""), "{html}");
        }
    }
}
