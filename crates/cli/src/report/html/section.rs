//! A section of the page.

use crate::page::Table;

/// A chart, its content in words, and the numbers behind it.
pub struct Section<C> {
    /// The chart.
    pub chart: C,
    /// What the chart shows, in words.
    pub sentence: String,
    /// The numbers behind the chart.
    pub table: Table,
}
