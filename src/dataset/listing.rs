//! The tables of a dataset: files below its root, each once, in the order of their paths.
//!
//! A directory is searched for Parquet files to any depth; names that begin with a dot or an underscore are
//! skipped, as readers of datasets skip them. Everything is looked at before anything is done.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use super::pattern::{Part, Pattern, has_wildcard, is_hidden};
use crate::file_id::FileId;
use crate::hidden_names::directory_of;
use crate::publish;

/// The endings of the names of Parquet files, without regard to case.
const ENDINGS: [&str; 3] = [".parquet", ".parq", ".pq"];

/// Most links that lead to directories within one path.
const MAX_DEPTH: usize = 64;

/// The tables of a dataset.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The directory below which they lie.
    pub root: PathBuf,
    /// The tables by their paths, in order.
    pub tables: Vec<ListedTable>,
    /// Files in the directories that are not tables by their names.
    pub other_files: u64,
    /// The directories that were searched to any depth.
    searched: Vec<PathBuf>,
    /// The patterns that were searched for.
    patterns: Vec<Pattern>,
    /// Every directory that was read.
    directories: HashSet<(u64, u64)>,
}

/// A table of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTable {
    /// Its path below the root.
    pub below: PathBuf,
    /// The file at the time of the listing.
    pub id: FileId,
}

impl ListedTable {
    /// Its path.
    pub fn path(&self, root: &Path) -> PathBuf {
        root.join(&self.below)
    }
}

impl Listing {
    /// Lists the tables that `paths` name: files, directories and patterns. The root is `root`, or what the
    /// only path says.
    ///
    /// # Errors
    /// `Input`, naming the path that cannot be read or is no table; `Config`, if the root is not known.
    pub fn of(paths: &[PathBuf], root: Option<&Path>) -> Result<Listing> {
        let mut found = Search::default();
        let mut roots = HashSet::new();
        for path in paths {
            roots.insert(clean(&found.add(path)?));
        }
        let root = match (root, roots.len()) {
            (Some(root), _) => root.to_owned(),
            (None, 1) => roots.into_iter().next().unwrap_or_default(),
            (None, _) => {
                let message = "the files that are read lie in several directories";
                return Err(Error::new(ErrorKind::Config, message).advice(
                    "set `dataset.root` (--root) to the directory below which outputs lie as their inputs do",
                ));
            }
        };
        found.into_listing(root)
    }

    /// Whether this directory was read, be it by a link.
    pub fn has_read(&self, directory: &Path) -> bool {
        fs::metadata(directory).is_ok_and(|found| self.directories.contains(&id_of(&found)))
    }

    /// Whether the next listing may take files that are put into this directory.
    pub fn may_take_from(&self, directory: &Path) -> bool {
        let directory = publish::resolve(directory);
        let below = |root: &Path| directory.strip_prefix(publish::resolve(&clean(root))).ok();
        self.searched.iter().any(|searched| below(searched).is_some())
            || self.patterns.iter().any(|pattern| {
                below(&pattern.root).is_some_and(|below| pattern.may_lead_into(below))
            })
    }
}

/// What was found so far.
#[derive(Default)]
struct Search {
    files: Vec<(PathBuf, FileId)>,
    other_files: u64,
    searched: Vec<PathBuf>,
    patterns: Vec<Pattern>,
    directories: HashSet<(u64, u64)>,
}

impl Search {
    /// Adds what a path names, and returns the root that it has alone.
    fn add(&mut self, path: &Path) -> Result<PathBuf> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                self.directory(path, &mut vec![id_of(&found)])?;
                self.searched.push(path.to_owned());
                Ok(path.to_owned())
            }
            Ok(found) => {
                self.file(path, &found)?;
                Ok(directory_of(path).to_owned())
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && has_wildcard(path) => {
                let pattern = Pattern::parse(path)?;
                let before = self.files.len();
                let root = match pattern.root.as_os_str().is_empty() {
                    true => PathBuf::from("."),
                    false => pattern.root.clone(),
                };
                self.matching(&root, &pattern.parts, 0)?;
                if self.files.len() == before {
                    return Err(Error::new(ErrorKind::Input, format!("nothing matches {path:?}"))
                        .advice("check the pattern; in a shell, write it in quotes"));
                }
                self.patterns.push(pattern);
                Ok(root)
            }
            Err(cause) => Err(unreadable(path, cause)),
        }
    }

    /// Adds a file that was named or matched.
    fn file(&mut self, path: &Path, found: &Metadata) -> Result<()> {
        if !found.is_file() {
            return Err(Error::new(ErrorKind::Input, "this is not a regular file")
                .in_file(path)
                .advice("name files, directories and patterns alone"));
        }
        self.files.push((path.to_owned(), FileId::from(found)));
        Ok(())
    }

    /// Adds the Parquet files below a directory. `above` has the directories that lead to it.
    fn directory(&mut self, directory: &Path, above: &mut Vec<(u64, u64)>) -> Result<()> {
        for name in self.names_in(directory)?.into_iter().filter(|name| !is_hidden(name)) {
            let path = directory.join(&name);
            let found = match fs::metadata(&path) {
                Ok(found) => found,
                // A link that leads nowhere is a fault only in the place of a table.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && !is_table_name(&name) => {
                    self.other_files += 1;
                    continue;
                }
                Err(cause) => return Err(unreadable(&path, cause)),
            };
            if found.is_dir() {
                self.below(&path, &found, above)?;
            } else if is_table_name(&name) {
                self.file(&path, &found)?;
            } else {
                self.other_files += 1;
            }
        }
        Ok(())
    }

    /// Adds the Parquet files below a directory, unless a link leads back to it.
    fn below(&mut self, path: &Path, found: &Metadata, above: &mut Vec<(u64, u64)>) -> Result<()> {
        if above.contains(&id_of(found)) || above.len() > MAX_DEPTH {
            return Err(Error::new(ErrorKind::Input, "a link leads back to a directory above it")
                .in_file(path)
                .advice("remove the link, or name the directories below one by one"));
        }
        above.push(id_of(found));
        self.directory(path, above)?;
        above.pop();
        Ok(())
    }

    /// Adds what matches the parts of a pattern below a directory.
    fn matching(&mut self, at: &Path, parts: &[Part], depth: usize) -> Result<()> {
        let Some((part, rest)) = parts.split_first() else {
            let found = fs::metadata(at).map_err(|cause| unreadable(at, cause))?;
            return match found.is_dir() {
                true => self.directory(at, &mut vec![id_of(&found)]),
                false => self.file(at, &found),
            };
        };
        let is_directory = |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_dir());
        match part {
            Part::Name(name) => {
                let path = at.join(name);
                if path.symlink_metadata().is_ok() && (rest.is_empty() || is_directory(&path)) {
                    self.matching(&path, rest, depth)?;
                }
            }
            Part::Wildcard(wildcard) => {
                for name in self.names_in(at)?.into_iter().filter(|name| wildcard.takes(name)) {
                    let path = at.join(&name);
                    if rest.is_empty() || is_directory(&path) {
                        self.matching(&path, rest, depth)?;
                    }
                }
            }
            Part::AnyDepth => {
                if depth > MAX_DEPTH {
                    return Err(Error::new(ErrorKind::Input, "directories are nested too deeply")
                        .in_file(at)
                        .advice("check whether a link leads back to a directory above it"));
                }
                // `**` alone takes everything below; before other parts, they may be at any depth.
                if rest.is_empty() {
                    return self.matching(at, rest, depth);
                }
                self.matching(at, rest, depth)?;
                for name in self.names_in(at)?.into_iter().filter(|name| !is_hidden(name)) {
                    let path = at.join(&name);
                    if is_directory(&path) {
                        self.matching(&path, parts, depth + 1)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The names in a directory, in order.
    fn names_in(&mut self, directory: &Path) -> Result<Vec<OsString>> {
        let failed = |cause| unreadable(directory, cause);
        self.directories.insert(id_of(&fs::metadata(directory).map_err(failed)?));
        let entries = fs::read_dir(directory).map_err(failed)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        names.sort();
        Ok(names)
    }

    /// The listing below a root.
    fn into_listing(mut self, root: PathBuf) -> Result<Listing> {
        let mut tables: BTreeMap<OsString, (PathBuf, ListedTable)> = BTreeMap::new();
        for (path, id) in std::mem::take(&mut self.files) {
            let below = below_root(&path, &root)?;
            let table = ListedTable { below: below.clone(), id };
            match tables.insert(below.into_os_string(), (path.clone(), table)) {
                // A pattern may take a file twice.
                Some((other, found)) if !found.id.is_same_file(&id) => {
                    let message = format!("{other:?} and {path:?} would have the same output");
                    return Err(Error::new(ErrorKind::Input, message).advice(
                        "name each table once; set `dataset.root` (--root) to a directory above both",
                    ));
                }
                _ => {}
            }
        }
        if tables.is_empty() {
            let others = match self.other_files {
                0 => String::new(),
                1 => ", only 1 other file".to_owned(),
                count => format!(", only {count} other files"),
            };
            let message = format!("there is no Parquet file here{others}");
            return Err(Error::new(ErrorKind::Input, message).in_file(root).advice(
                "name a directory with files that end in .parquet, or files by a pattern",
            ));
        }
        let tables = tables.into_values().map(|(_, table)| table).collect();
        let Search { other_files, searched, patterns, directories, .. } = self;
        Ok(Listing { root, tables, other_files, searched, patterns, directories })
    }
}

/// Whether a name is that of a Parquet file.
fn is_table_name(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    ENDINGS.iter().any(|ending| {
        let start = name.len().saturating_sub(ending.len());
        start > 0 && name[start..].eq_ignore_ascii_case(ending.as_bytes())
    })
}

/// A path without parts that lead nowhere.
fn clean(path: &Path) -> PathBuf {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let path: PathBuf = parts.collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

/// The path of a file below the root.
fn below_root(path: &Path, root: &Path) -> Result<PathBuf> {
    let is_plain = |below: &Path| {
        let mut parts = below.components();
        parts.all(|part| matches!(part, Component::Normal(_))) && below.file_name().is_some()
    };
    let (file, root_given) = (clean(path), clean(root));
    let lexical = match root_given.as_os_str() == "." {
        true => Some(file.as_path()),
        false => file.strip_prefix(&root_given).ok(),
    };
    if let Some(below) = lexical.filter(|below| is_plain(below)) {
        return Ok(below.to_owned());
    }
    // One of the two may be relative, or have a link or `..`.
    let real = || -> io::Result<PathBuf> {
        let directory = fs::canonicalize(directory_of(path))?;
        let root = fs::canonicalize(root)?;
        let below = directory.strip_prefix(root).map_err(io::Error::other)?;
        Ok(below.join(path.file_name().unwrap_or_default()))
    };
    real().map_err(|cause| {
        let message = format!("it does not lie below the root {}", root.display());
        Error::new(ErrorKind::Input, message)
            .in_file(path)
            .advice("set `dataset.root` (--root) to a directory above every table")
            .caused_by(cause)
    })
}

fn id_of(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

fn unreadable(path: &Path, cause: io::Error) -> Error {
    let message = match cause.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory",
        _ => "it cannot be read",
    };
    Error::new(ErrorKind::Input, message)
        .in_file(path)
        .advice("check the path and its permissions")
        .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with these files.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, "x").expect("a file");
        }
        directory
    }

    fn listed(directory: &Path, paths: &[&str], root: Option<&str>) -> Result<Vec<String>> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| directory.join(path)).collect();
        let root = root.map(|root| directory.join(root));
        let listing = Listing::of(&paths, root.as_deref())?;
        Ok(listing.tables.iter().map(|table| table.below.to_string_lossy().into_owned()).collect())
    }

    const FILES: [&str; 9] = [
        "in/b.parquet",
        "in/a/c.PARQUET",
        "in/a/d.pq",
        "in/a/notes.txt",
        "in/_SUCCESS",
        "in/_reembed/x.parquet",
        "in/.hidden/x.parquet",
        "in/dt=2026-11-01/e.parquet",
        "in/dt=2026-12-01/f.parquet",
    ];

    /// The tables of [`FILES`] that a whole directory has.
    const ALL: [&str; 5] = [
        "a/c.PARQUET",
        "a/d.pq",
        "b.parquet",
        "dt=2026-11-01/e.parquet",
        "dt=2026-12-01/f.parquet",
    ];

    #[test]
    fn directories_and_patterns_take_what_readers_of_datasets_take() {
        let directory = tree(&FILES);
        for (paths, root, expected) in [
            (&["in"][..], None, &ALL[..]),
            (
                &["in/**/*.parquet"],
                None,
                &["b.parquet", "dt=2026-11-01/e.parquet", "dt=2026-12-01/f.parquet"],
            ),
            (&["in/dt=2026-11-*/"], None, &["dt=2026-11-01/e.parquet"]),
            (&["in/*"], None, &ALL),
            (&["in/*.parquet"], None, &["b.parquet"]),
            (&["in/*/*.txt"], None, &["a/notes.txt"]),
            (&["in/b.parquet", "in/a/d.pq"], Some("in"), &["a/d.pq", "b.parquet"]),
            (&["in/a/d.pq", "in/a/./c.PARQUET"], None, &["c.PARQUET", "d.pq"]),
            (&["in/b.parquet", "in/../in/b.parquet"], Some("in"), &["b.parquet"]),
            (&["in/**"], None, &ALL),
        ] {
            let found = listed(directory.path(), paths, root);
            let found = found.unwrap_or_else(|error| panic!("{paths:?}: {error}"));
            assert_eq!(found, expected, "{paths:?}");
        }
    }

    #[test]
    fn what_cannot_be_listed_is_told_at_once() {
        let directory = tree(&FILES);
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("empty")).expect("a directory");
        fs::create_dir_all(at("circle/x")).expect("directories");
        symlink("..", at("circle/x/up")).expect("a link");
        fs::create_dir(at("broken")).expect("a directory");
        symlink("nowhere", at("broken/a.parquet")).expect("a link");
        fs::create_dir(at("odd")).expect("a directory");
        fs::create_dir(at("odd/a.parquet")).expect("a directory with the name of a table");
        for (paths, root, expected) in [
            (&["none"][..], None, "no such file"),
            (&["empty"], None, "no Parquet file here"),
            (&["in/a/*.none"], None, "nothing matches"),
            (&["circle"], None, "leads back"),
            (&["circle/**/*.parquet"], None, "nested too deeply"),
            (&["broken"], None, "no such file"),
            (&["odd"], None, "no Parquet file here"),
            (&["in/b.parquet", "in/a/d.pq"], None, "several directories"),
            (&["in/b.parquet"], Some("empty"), "does not lie below"),
        ] {
            let error = listed(directory.path(), paths, root).expect_err("it is refused");
            assert!(error.to_string().contains(expected), "{paths:?}: {error}");
            assert!(error.advice_text().is_some(), "{paths:?}");
        }
    }

    #[test]
    fn names_of_all_kinds_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let names: Vec<&[u8]> =
            vec![b"a b.parquet", b"a#b=%.parquet", b"line\nbreak.parquet", b"\xff.parquet"];
        for name in &names {
            fs::write(directory.path().join(OsStr::from_bytes(name)), "x").expect("a file");
        }
        let listing = Listing::of(&[directory.path().to_owned()], None).expect("a listing");
        let found: Vec<&[u8]> =
            listing.tables.iter().map(|table| table.below.as_os_str().as_bytes()).collect();
        assert_eq!(found, names);
    }
}
