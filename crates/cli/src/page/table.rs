//! Tables of a page.

use askama::Template;

use super::figure::{Document, Figure, NumberFormat};

/// A table: the numbers of a chart, or a table of its own.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "table.html")]
pub struct Table {
    /// The caption.
    pub caption: String,
    /// The column headers.
    pub heads: Vec<String>,
    /// Rows of cells, one for each header.
    pub rows: Vec<Vec<Cell>>,
    /// Whether the reader must click to see it.
    pub folded: bool,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Figure(Figure),
    /// A link to a file beside the page.
    Link {
        /// The path.
        to: String,
        /// The text of the link.
        text: String,
    },
}

impl Cell {
    /// A cell of text.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    fn is_number(&self) -> bool {
        matches!(self, Cell::Figure(_))
    }
}

impl Document {
    /// The number at a JSON pointer as a cell of a table.
    pub fn cell(&self, pointer: &str, format: NumberFormat) -> Cell {
        Cell::Figure(self.figure(pointer, format))
    }
}

impl Table {
    /// A table that is not folded.
    pub fn new(caption: &str, heads: &[&str], rows: Vec<Vec<Cell>>) -> Table {
        let heads = heads.iter().map(|head| (*head).to_owned()).collect();
        Table { caption: caption.to_owned(), heads, rows, folded: false }
    }

    /// The same, folded.
    #[must_use]
    pub fn folded(self) -> Table {
        Table { folded: true, ..self }
    }

    /// Whether a column has numbers only, which are aligned right.
    fn is_numeric(&self, column: &usize) -> bool {
        self.rows.iter().all(|row| row.get(*column).is_some_and(Cell::is_number))
    }

    /// Whether no column is numeric; long words may then wrap.
    fn is_words(&self) -> bool {
        !(0..self.heads.len()).any(|column| self.is_numeric(&column))
    }
}
