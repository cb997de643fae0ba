//! Where the value of a setting came from, and which value overrides which.

use std::fmt;
use std::path::PathBuf;

use super::words::Preset;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default.
    Default,
    /// The default that `output.for` sets.
    Preset(Preset),
    /// What another setting makes necessary.
    Implied {
        /// That setting.
        by: &'static str,
    },
    /// The configuration file and the line.
    File(PathBuf, usize),
    /// An `[[embedding]]` block of the configuration file, and the line.
    Block(PathBuf, usize),
    /// The environment variable with this name.
    Variable(String),
    /// The command line flag with this name.
    Flag(&'static str),
}

impl Origin {
    /// The number of the layer; a higher one overrides a lower one.
    pub(super) fn layer(&self) -> u8 {
        match self {
            Origin::Default | Origin::Preset(_) | Origin::Implied { .. } => 0,
            Origin::File(..) => 1,
            Origin::Block(..) => 2,
            Origin::Variable(_) => 3,
            Origin::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Preset(preset) => write!(f, "for {}", preset.as_str()),
            Origin::Implied { by } => write!(f, "default with {by}"),
            Origin::File(path, line) | Origin::Block(path, line) => {
                write!(f, "{}:{line}", path.display())
            }
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}
