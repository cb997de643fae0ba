//! The extension module `reembed._reembed`: what the Python sources in `python/reembed` are built on.
//!
//! The encoder does the work. What is here: texts are read where Python or an Arrow library holds them (`texts`,
//! `arrow`), the work runs beside the calling thread, which looks for Ctrl-C (`work`), and errors become exceptions
//! (`errors`). Arguments and
//! defaults are the business of the Python sources.

mod arrow;
mod errors;
mod model;
mod texts;
mod work;

use pyo3::prelude::*;

/// The native part of the package `reembed`. Its names may change in any version.
#[pymodule(gil_used = false)]
fn _reembed(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("ERROR_KINDS", errors::kinds())?;
    module.add_class::<arrow::table::ArrowTable>()?;
    module.add_class::<arrow::column::VectorColumn>()?;
    module.add_function(wrap_pyfunction!(model::needed_columns, module)?)?;
    module.add_class::<model::Model>()
}
