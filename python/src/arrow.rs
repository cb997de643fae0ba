//! Arrow data between Python and this package, without a library of Arrow for Python.
//!
//! ```text
//!   capsules   the PyCapsule interface, both ways       c_stream  the C stream that we offer
//!   items      a column of Python objects as an array   column    vectors for Python
//!   table      record batches for Python
//! ```

mod c_stream;
pub mod capsules;
pub mod column;
mod items;
pub mod table;
