//! Paths with wildcards: `in/**/*.parquet`, `in/dt=2026-11-*/`.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use reembed_encoder::error::{Error, ErrorKind, Result};

/// A path with wildcards.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The directory before the first wildcard; empty: the current one.
    pub root: PathBuf,
    /// What is below it, from the outside in.
    pub parts: Vec<Part>,
}

/// A part of a path between two separators.
#[derive(Debug, Clone)]
pub enum Part {
    /// This name.
    Name(OsString),
    /// Names with wildcards.
    Wildcard(Box<Wildcard>),
    /// `**`: any number of directories.
    AnyDepth,
}

/// Names with wildcards.
#[derive(Debug, Clone)]
pub struct Wildcard {
    matcher: GlobMatcher,
    /// Whether the pattern itself begins with a dot or an underscore.
    takes_hidden: bool,
}

/// Whether readers of datasets skip a file or directory of this name.
pub fn is_hidden(name: &OsStr) -> bool {
    [b".", b"_"].iter().any(|first| name.as_encoded_bytes().starts_with(*first))
}

/// Whether a path has a wildcard.
pub fn has_wildcard(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte))
}

impl Pattern {
    /// Parses a path with wildcards.
    ///
    /// # Errors
    /// `Config`, when a wildcard is not one or the path is not UTF-8.
    pub fn parse(path: &Path) -> Result<Pattern> {
        let wrong = |message: String| {
            Error::new(ErrorKind::Config, format!("the pattern {path:?} {message}"))
                .advice("write it as `in/**/*.parquet`; * ? [a-z] {a,b} and ** are wildcards")
        };
        let (mut root, mut parts) = (PathBuf::new(), Vec::new());
        for component in path.components() {
            let name = component.as_os_str();
            if parts.is_empty() && !has_wildcard(Path::new(name)) {
                root.push(component);
                continue;
            }
            parts.push(match (component, name.to_str()) {
                (_, Some("**")) => Part::AnyDepth,
                (Component::Normal(_), Some(text)) if has_wildcard(Path::new(name)) => {
                    let glob = GlobBuilder::new(text).literal_separator(true).build();
                    let glob =
                        glob.map_err(|cause| wrong(format!("is wrong: {}", cause.kind())))?;
                    let takes_hidden = is_hidden(name);
                    Part::Wildcard(Box::new(Wildcard {
                        matcher: glob.compile_matcher(),
                        takes_hidden,
                    }))
                }
                (Component::Normal(_), None) if has_wildcard(Path::new(name)) => {
                    return Err(wrong("is not UTF-8".to_owned()));
                }
                (Component::Normal(_), _) => Part::Name(name.to_owned()),
                _ => return Err(wrong("leads upwards after a wildcard".to_owned())),
            });
        }
        Ok(Pattern { root, parts })
    }

    /// Whether it may take files below a directory, which is given by its path below the root.
    pub fn may_lead_into(&self, directory: &Path) -> bool {
        let names: Vec<&OsStr> = directory.iter().collect();
        may_lead(&self.parts, &names)
    }
}

fn may_lead(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([], _) | (_, []) | ([Part::AnyDepth, ..], _) => true,
        ([Part::Name(part), parts @ ..], [name, names @ ..]) => {
            part == name && may_lead(parts, names)
        }
        ([Part::Wildcard(part), parts @ ..], [name, names @ ..]) => {
            part.takes(name) && may_lead(parts, names)
        }
    }
}

impl Wildcard {
    /// Whether it takes a name.
    pub fn takes(&self, name: &OsStr) -> bool {
        (self.takes_hidden || !is_hidden(name)) && self.matcher.is_match(Path::new(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_directory_before_the_first_wildcard() {
        for (path, root, parts) in [
            ("in/**/*.parquet", "in", 2),
            ("in/dt=2026-11-*/", "in", 1),
            ("*.parquet", "", 1),
            ("/data/in/x/[ab]/t.parquet", "/data/in/x", 2),
            ("./in/{a,b}.parquet", "./in", 1),
        ] {
            let pattern = Pattern::parse(Path::new(path)).expect(path);
            assert_eq!(
                (pattern.root.as_path(), pattern.parts.len()),
                (Path::new(root), parts),
                "{path}"
            );
        }
        for wrong in ["in/[a", "in/*/../x", "in/{a"] {
            let error = Pattern::parse(Path::new(wrong)).expect_err(wrong);
            assert_eq!(error.kind(), ErrorKind::Config, "{wrong}");
        }
    }

    #[test]
    fn directories_that_a_pattern_may_reach_are_told_from_the_others() {
        for (pattern, directory, expected) in [
            ("in/*.parquet", "out", false),
            ("in/*.parquet", "x.parquet", true),
            ("in/*", "out", true),
            ("in/*/*.parquet", "out", true),
            ("in/*/*.parquet", "a/b", false),
            ("in/**/*.parquet", "a/b", true),
            ("in/dt=*/x", "out", false),
            ("in/dt=*/x", "dt=1", true),
            ("in/dt=*/x", "dt=1/x/y", true),
            ("in/dt=*/x", "dt=1/y", false),
        ] {
            let pattern = Pattern::parse(Path::new(pattern)).expect(pattern);
            let found = pattern.may_lead_into(Path::new(directory));
            assert_eq!(found, expected, "{pattern:?} and {directory}");
        }
    }

    #[test]
    fn wildcards_take_no_hidden_names_unless_they_say_so() {
        for (pattern, name, expected) in [
            ("*", "a.parquet", true),
            ("*", ".a", false),
            ("*", "_a", false),
            ("_*", "_a", true),
            (".*", ".a", true),
            ("dt=2026-11-*", "dt=2026-11-07", true),
            ("dt=2026-11-*", "dt=2026-12-07", false),
            ("[!a]?", "bc", true),
            ("{a,b}.parquet", "b.parquet", true),
            ("*.parquet", "a.PARQUET", false),
        ] {
            let pattern = Pattern::parse(Path::new(pattern)).expect(pattern);
            let Some(Part::Wildcard(wildcard)) = pattern.parts.first() else {
                panic!("a wildcard")
            };
            assert_eq!(wildcard.takes(OsStr::new(name)), expected, "{name}");
        }
    }
}
