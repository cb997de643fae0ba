//! Failpoints of the tests, from the environment variable `REEMBED_FAILPOINTS`.

use reembed::{Error, ErrorKind, Result};

/// Turns on the failpoints that the variable names, separated by commas.
///
/// # Errors
/// `Config`, for an unknown name.
pub fn turn_on_from_environment() -> Result<()> {
    let names = std::env::var("REEMBED_FAILPOINTS").unwrap_or_default();
    let mut names = names.split(',').filter(|name| !name.is_empty());
    match names.find(|name| !reembed::failpoints::turn_on(name)) {
        Some(unknown) => {
            let message = format!("REEMBED_FAILPOINTS: unknown failpoint {unknown:?}");
            Err(Error::new(ErrorKind::Config, message))
        }
        None => Ok(()),
    }
}
