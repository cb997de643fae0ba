//! The vector column: the form of its vectors, how it is built and read, and how vectors are compared.
//!
//! ```text
//!   f32 of the model ─components─► f32 that are kept ─quantize─► elements of the column
//!                                                        ▲
//!                                                     ranges, a file that `reembed calibrate` writes
//!   form      what a column holds: all of the above      rows     reads a column
//!   element   the type of its elements                   expect   what its vectors must be like
//!                                                        compare  two vectors of one form
//! ```

mod compare;
mod components;
mod element;
mod expect;
mod form;
mod quantize;
mod ranges;
mod rows;

pub use compare::{compare, largest_difference};
pub use components::Components;
pub use element::{CHILD, Element};
pub use expect::{Flaw, VectorExpectation};
pub use form::{BuildError, VectorForm, data_type};
pub use ranges::{RangeMeter, Ranges, RangesFile};
pub use rows::{Vector, VectorRows};
