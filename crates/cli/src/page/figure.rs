//! Numbers on a page, each with its place in the JSON document that it comes from.

use askama::Template;
use reembed::figures;
use serde_json::Value;

/// How a number is displayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// A whole number with thousands separators.
    Count,
    /// A size in bytes, in a suitable unit.
    Bytes,
    /// Three significant digits.
    Measure,
    /// A fraction as a percentage.
    Percent,
    /// A time in seconds.
    Seconds,
    /// A factor.
    Times,
    /// A small difference.
    Scientific,
}

impl NumberFormat {
    /// Formats a number.
    pub fn format(self, number: f64) -> String {
        match self {
            NumberFormat::Count => figures::count(number.round().max(0.0) as u64),
            NumberFormat::Bytes => figures::bytes(number.round().max(0.0) as u64),
            NumberFormat::Measure => figures::measure(number),
            NumberFormat::Percent => figures::percent(number),
            NumberFormat::Seconds => figures::seconds(number),
            NumberFormat::Times => format!("{} ×", figures::measure(number)),
            NumberFormat::Scientific if number == 0.0 => "0".to_owned(),
            NumberFormat::Scientific => format!("{number:.1e}"),
        }
    }
}

/// A number on a page. A test compares every figure with the JSON document at its pointer.
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

/// The JSON document that the figures of a page come from.
pub struct Document(Value);

impl From<Value> for Document {
    fn from(json: Value) -> Document {
        Document(json)
    }
}

impl Document {
    /// The number at a JSON pointer; a dash if there is none.
    pub fn figure(&self, pointer: &str, format: NumberFormat) -> Figure {
        let number = self.0.pointer(pointer).filter(|value| value.is_number());
        Figure {
            pointer: pointer.to_owned(),
            value: number.map_or(String::new(), Value::to_string),
            text: number.and_then(Value::as_f64).map_or(String::new(), |n| format.format(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figure_has_its_pointer_and_a_missing_one_is_a_dash() {
        let document = Document::from(json!({"rows": {"input": 1200}, "speed": null}));
        let html = |pointer, format| document.figure(pointer, format).to_string();
        let expected = r#"<data value="1200" data-json="/rows/input">1,200</data>"#;
        assert_eq!(html("/rows/input", NumberFormat::Count), expected);
        assert_eq!(html("/speed", NumberFormat::Measure), "–");
        assert_eq!(html("/nothing", NumberFormat::Measure), "–");
    }
}
