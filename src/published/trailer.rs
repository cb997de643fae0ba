//! The end of a file of this module: what it holds, as JSON, the length of that, and the magic bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// The bytes that end a file, and say what it is.
pub type Magic = [u8; 8];

/// Bytes behind the JSON: its length as u32, little-endian, and the magic bytes.
const END: u64 = 12;

/// Writes a trailer.
///
/// # Errors
/// When the file cannot be written.
pub fn write(file: &mut impl Write, trailer: &impl Serialize, magic: &Magic) -> io::Result<()> {
    let json = serde_json::to_vec(trailer)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    for bytes in [&json[..], &length.to_le_bytes(), magic] {
        file.write_all(bytes)?;
    }
    Ok(())
}

/// Reads the trailer of a file; returns it with its place. `None` if it is damaged, longer than `longest`, or of another
/// kind of file.
pub fn read<T: for<'de> Deserialize<'de>>(
    file: &mut File,
    magic: &Magic,
    longest: u32,
) -> Option<(u64, T)> {
    let length = file.metadata().ok()?.len();
    let mut end = [0; END as usize];
    file.seek(SeekFrom::End(-(END as i64))).ok()?;
    file.read_exact(&mut end).ok()?;
    let (size, found) = end.split_first_chunk::<4>()?;
    let size = u32::from_le_bytes(*size);
    if found != magic || size > longest {
        return None;
    }
    let at = length.checked_sub(END + u64::from(size))?;
    let mut json = vec![0; size as usize];
    file.read_exact_at(&mut json, at).ok()?;
    Some((at, serde_json::from_slice(&json).ok()?))
}
