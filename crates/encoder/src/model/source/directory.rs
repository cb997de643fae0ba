//! A local directory as a source of files.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::fetcher::{FileSource, OpenFile};
use super::reason::Reason;

/// A local directory.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Directory(path.to_owned())
    }
}

impl FileSource for Directory {
    fn open(&mut self, file: &str) -> Result<Option<OpenFile<'_>>, Reason> {
        let failed = |error: io::Error| Reason::from_io(file, &error);
        let path = self.0.join(file);
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {
                let opened = File::open(&path).map_err(failed)?;
                Ok(Some(OpenFile { body: Box::new(opened), length: Some(found.len()) }))
            }
            Ok(_) => Err(format!("{file}: not a regular file").into()),
            Err(e) if e.kind() == ErrorKind::NotFound && self.0.is_dir() => Ok(None),
            Err(e) if e.kind() == ErrorKind::NotFound => Err("the directory does not exist".into()),
            Err(e) => Err(failed(e)),
        }
    }
}
