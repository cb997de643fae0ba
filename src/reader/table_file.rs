//! An open Parquet file: its identity, and its footer with the places of its columns checked.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use reembed_encoder::error::{Error, ErrorKind, Result};

use crate::file_id::FileId;
use crate::footer::FOOTER_KEY;
use crate::format::chunk::Chunk;
use crate::format::foreign;
use crate::format::metadata::{FooterBytes, FooterFault, Metadata, RowGroup};
use crate::format::pages::{Declared, Fault, PageWalk};

/// An open file with a footer that [`Metadata::check`] has passed.
#[derive(Debug)]
pub struct TableFile {
    path: PathBuf,
    file: File,
    /// The identity of the file when it was opened.
    id: FileId,
    footer: FooterBytes,
    rows: u64,
}

impl TableFile {
    /// Opens a regular file and checks its footer. A pipe is refused, because Parquet is read from
    /// its end.
    ///
    /// # Errors
    /// `Input`, naming the file, and row group and column where it is one of them.
    pub fn open(path: &Path) -> Result<TableFile> {
        let (file, id) = open_regular(path)?;
        let footer = FooterBytes::read(&file, id.size())
            .map_err(|fault| footer_error(path, &file, id.size(), fault))?;
        let metadata = footer.parse().map_err(|error| error.in_file(path))?;
        metadata.check().map_err(|error| error.in_file(path))?;
        let rows = metadata.rows().unsigned_abs();
        Ok(TableFile { path: path.to_owned(), file, id, footer, rows })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file as it was opened.
    pub fn id(&self) -> &FileId {
        &self.id
    }

    /// Number of rows, as the footer declares and its row groups confirm.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.id.size()
    }

    /// The bytes of its footer.
    pub fn footer(&self) -> &FooterBytes {
        &self.footer
    }

    /// The parsed footer.
    ///
    /// # Errors
    /// Those of [`TableFile::open`], which has found none.
    pub fn metadata(&self) -> Result<Metadata<'_>> {
        self.footer.parse().map_err(|error| error.in_file(&self.path))
    }

    /// The `reembed` footer entry; `None` if reembed did not write the file.
    ///
    /// # Errors
    /// As [`TableFile::metadata`].
    pub fn footer_entry(&self) -> Result<Option<String>> {
        Ok(self.metadata()?.key_value(FOOTER_KEY))
    }

    /// Walks over the pages of a leaf in a row group; see [`PageWalk::walk`].
    ///
    /// # Errors
    /// `Input` when they are encrypted, `Data` when they do not fit the footer, naming row group and
    /// column, and those of `each`.
    pub fn walk(
        &self,
        metadata: &Metadata<'_>,
        walk: &mut PageWalk,
        (group, leaf): (&RowGroup<'_>, usize),
        each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let chunk = group.chunk(leaf);
        self.walk_chunk(metadata, walk, (group, leaf, chunk.as_ref()), each)
    }

    /// As [`TableFile::walk`], for a chunk that is parsed already; `None` if it is malformed.
    ///
    /// # Errors
    /// As [`TableFile::walk`].
    pub fn walk_chunk(
        &self,
        metadata: &Metadata<'_>,
        walk: &mut PageWalk,
        (group, leaf, chunk): (&RowGroup<'_>, usize, Option<&Chunk<'_>>),
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let path = metadata.schema.leaves.get(leaf).map_or("", |leaf| leaf.path.as_str());
        let named = |error: Error| {
            error
                .in_file(&self.path)
                .at(format!("row group {}", group.number))
                .at(format!("column `{path}`"))
        };
        let unfit = |message: String| {
            named(Error::new(ErrorKind::Data, message)).advice(
                "write the file again from its source, or leave the column out with `output.drop`",
            )
        };
        let chunk = chunk.ok_or_else(|| unfit("its entry is malformed".to_owned()))?;
        if chunk.is_encrypted() {
            return Err(named(Error::new(ErrorKind::Input, "it is encrypted")));
        }
        let values = chunk.values();
        if !metadata.schema.leaves[leaf].is_repeated && values != group.rows() {
            let rows = group.rows();
            return Err(unfit(format!("it has {values} values for {rows} rows")));
        }
        let range = chunk
            .range(metadata.pages_end())
            .ok_or_else(|| unfit("its bytes are not inside of the file".to_owned()))?;
        let slack = match range.is_empty() {
            true => 0,
            false => metadata.slack().min(metadata.pages_end() - range.end),
        };
        let declared = Declared { range, slack, values, pages_end: metadata.pages_end() };
        let walked = walk.walk(&self.file, &declared, |bytes| each(bytes).map_err(Stop::Other));
        walked.map_err(|stop| match stop {
            Stop::Other(error) => error,
            Stop::Fault(Fault::Io(cause)) => named(read_error(ErrorKind::Data, cause)),
            Stop::Fault(Fault::Malformed(message)) => unfit(message),
        })
    }

    /// Checks that the path still leads to the opened file, and that the file did not change.
    ///
    /// # Errors
    /// `Data`, naming the file and the change.
    pub fn check_unchanged(&self) -> Result<()> {
        let changed = |how: String| {
            Error::new(ErrorKind::Data, format!("the file changed while it was read: {how}"))
                .in_file(&self.path)
                .advice(
                    "run again when no process writes to the file; writers should rename a \
                     finished file into place",
                )
        };
        let compare = |metadata: io::Result<std::fs::Metadata>| {
            let metadata = metadata
                .map_err(|cause| changed("it was deleted or moved".to_owned()).caused_by(cause))?;
            let change = self.id.describe_change(&FileId::from(&metadata));
            change.map_or(Ok(()), |how| Err(changed(how)))
        };
        // Both, because the open file may have changed before another file took its path.
        compare(self.file.metadata())?;
        compare(std::fs::metadata(&self.path))
    }
}

/// Why a walk ended.
enum Stop {
    Fault(Fault),
    Other(Error),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

/// The error of a file that the system could not read, without its place.
pub fn read_error(kind: ErrorKind, cause: io::Error) -> Error {
    const TOO_MANY_OPEN_FILES: [i32; 2] = [24, 23];
    let is_limit = cause.raw_os_error().is_some_and(|number| TOO_MANY_OPEN_FILES.contains(&number));
    let advice = match is_limit {
        true => "raise the limit on open files (`ulimit -n`)",
        false => "check the disk, and that no process writes to the file",
    };
    Error::new(kind, "the file cannot be read").advice(advice).caused_by(cause)
}

fn open_regular(path: &Path) -> Result<(File, FileId)> {
    let refuse = |message: &str| {
        Error::new(ErrorKind::Input, message)
            .in_file(path)
            .advice("name a Parquet file with --input or `input.path`")
    };
    let not_opened = |cause: io::Error| match cause.raw_os_error() {
        Some(24 | 23) => read_error(ErrorKind::Input, cause).in_file(path),
        _ => refuse("the file cannot be opened").caused_by(cause),
    };
    let metadata = std::fs::metadata(path).map_err(not_opened)?;
    if metadata.is_dir() {
        return Err(directory_error(path));
    }
    if !metadata.is_file() {
        return Err(refuse("this is not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(refuse("the file is empty (0 bytes)"));
    }
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, FileId::from(&metadata)))
    });
    opened.map_err(not_opened)
}

fn directory_error(path: &Path) -> Error {
    let names: Vec<std::ffi::OsString> = std::fs::read_dir(path)
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    let names: Vec<&std::ffi::OsStr> = names.iter().map(AsRef::as_ref).collect();
    match foreign::recognise_directory(path, &names) {
        Some(found) => {
            Error::new(ErrorKind::Input, format!("this is {}, not a Parquet file", found.name))
                .in_file(path)
                .advice(found.conversion)
        }
        None => Error::new(ErrorKind::Input, "this is a directory")
            .in_file(path)
            .advice("name a Parquet file with --input or `input.path`"),
    }
}

/// Tells a file that is not Parquet from one that is damaged, encrypted or cannot be read.
fn footer_error(path: &Path, file: &File, length: u64, fault: FooterFault) -> Error {
    let refuse = |message: String| Error::new(ErrorKind::Input, message).in_file(path);
    match fault {
        FooterFault::Io(cause) => read_error(ErrorKind::Input, cause).in_file(path),
        FooterFault::Encrypted => refuse("its footer is encrypted".to_owned())
            .advice("decrypt the file with the tool that wrote it; reembed has no keys"),
        FooterFault::TooLarge(bytes) => refuse(format!("its footer has {bytes} bytes"))
            .advice("check where the file comes from; Parquet writers do not write such footers"),
        FooterFault::Truncated(bytes) => {
            refuse(format!("its footer should have {bytes} bytes, the file has {length}"))
                .advice("check that it was written and copied completely")
        }
        FooterFault::NotParquet => {
            let (head, tail) = ends(file, length);
            match foreign::recognise(path, &head, &tail) {
                Some(found) => refuse(format!("this is {}, not a Parquet file", found.name))
                    .advice(found.conversion),
                None => refuse("this is not a Parquet file".to_owned())
                    .advice("check that it was written and copied completely"),
            }
        }
    }
}

/// The first and the last bytes of a file.
fn ends(file: &File, length: u64) -> (Vec<u8>, Vec<u8>) {
    const BYTES: u64 = 4096;
    let size = length.min(BYTES);
    let mut head = Vec::new();
    // What cannot be read now cannot be recognised; the footer's fault has been told.
    let _ = file.take(size).read_to_end(&mut head);
    let mut tail = vec![0; size as usize];
    if file.read_exact_at(&mut tail, length - size).is_err() {
        tail.clear();
    }
    (head, tail)
}
