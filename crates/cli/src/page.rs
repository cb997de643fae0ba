//! Components of HTML pages: figures, tables and charts. A page is one file without scripts that works offline.
//!
//! docs/decisions/0004 says why askama. It escapes every value; geometry is in percent, so charts fit any screen.

mod chart;
mod figure;
mod stacks;
mod table;

use askama::Template;
use reembed_encoder::error::{Error, ErrorKind, Result};
use serde_json::Value;

pub use chart::{Bar, Mark, Plot, Scale, Tick, area, steps};
pub use figure::{Document, Figure, NumberFormat};
pub use stacks::{Stack, Stacks};
pub use table::{Cell, Table};

/// Renders the page that `page` builds from a JSON document, so that page and document have the same figures.
/// `name` names the page in an error.
///
/// # Errors
/// `Internal`, when `json` is not JSON or a template fails.
pub fn render<T: Template>(
    name: &str,
    json: &str,
    page: impl FnOnce(&Document) -> T,
) -> Result<String> {
    let internal = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Internal, format!("cannot render {name}")).caused_by(cause)
    };
    let json: Value = serde_json::from_str(json).map_err(|cause| internal(cause.into()))?;
    page(&Document::from(json)).render().map_err(|cause| internal(cause.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_escape_markup() {
        let evil = "<script>alert(1)</script>\"'";
        let link = Cell::Link { to: evil.to_owned(), text: evil.to_owned() };
        let table = Table::new(evil, &[evil], vec![vec![Cell::text(evil)], vec![link]]);
        let plot = Plot { label: evil.to_owned(), ..Plot::default() };
        for html in [table.to_string(), plot.to_string()] {
            assert!(!html.contains("<script") && !html.contains("alert(1)\""), "{html}");
        }
    }
}
