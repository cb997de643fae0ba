//! What happens while a model is found and loaded, for Python's `logging`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use reembed_encoder::model::ModelNotes;
use reembed_encoder::model::source::FetchProgress;

/// The logger of the package.
const LOGGER: &str = "reembed";

/// Lines of work that runs without the GIL. The calling thread hands them on.
#[derive(Default)]
pub struct Log(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    waiting: Vec<(Level, String)>,
    /// The file that is being fetched.
    file: Option<String>,
}

/// The levels of Python's `logging`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug = 10,
    Info = 20,
    Warning = 30,
}

impl Log {
    /// Tells how a model is fetched: each file once.
    pub fn fetch(&self, progress: FetchProgress) {
        let mut lines = self.lock();
        let line = match progress {
            FetchProgress::Trying { origin } => {
                (Level::Debug, format!("looking for the model: {origin}"))
            }
            FetchProgress::Failed { origin, reason } => {
                (Level::Debug, format!("no model from {origin}: {reason}"))
            }
            FetchProgress::Waiting => {
                (Level::Info, "waiting for another process that fetches the model".to_owned())
            }
            FetchProgress::Retrying { origin, reason, pause } => {
                let seconds = pause.as_secs_f64();
                (Level::Warning, format!("{origin}: {reason}; trying again in {seconds} s"))
            }
            FetchProgress::Reading { origin, file, .. } => {
                if lines.file.as_ref() == Some(&file) {
                    return;
                }
                let line = (Level::Info, format!("model from {origin}: {file}"));
                lines.file = Some(file);
                line
            }
        };
        lines.waiting.push(line);
    }

    /// Tells what is not as good as it could be about the precision of a model. That it may need a prompt is no news
    /// to a caller who has `encode_query` and `encode_document`.
    pub fn notes(&self, notes: &ModelNotes) {
        if let Some(warning) = &notes.precision {
            self.lock().waiting.push((Level::Warning, warning.to_string()));
        }
    }

    /// Hands the lines on to Python's `logging`.
    ///
    /// # Errors
    /// What a handler raises.
    pub fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let waiting = std::mem::take(&mut self.lock().waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        let logger = py.import("logging")?.call_method1("getLogger", (LOGGER,))?;
        for (level, line) in waiting {
            // Not as the format: a path may hold a percent sign.
            logger.call_method1("log", (level as i32, "%s", line))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
