//! Joins segments: their entries in one order.

use std::io;

use super::segment::{Entries, Entry};

/// The entries of several segments in the order of their keys, with the numbers of the index.
pub struct Joined<'a> {
    inputs: Vec<(Entries, &'a [u32], Option<Entry>)>,
}

impl<'a> Joined<'a> {
    /// Those of these segments: the entries of each, and the numbers of its sources in the index.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn new(inputs: Vec<(Entries, &'a [u32])>) -> io::Result<Joined<'a>> {
        let mut joined = Joined { inputs: Vec::with_capacity(inputs.len()) };
        for (mut entries, sources) in inputs {
            let next = next_of(&mut entries, sources)?;
            joined.inputs.push((entries, sources, next));
        }
        Ok(joined)
    }
}

fn next_of(entries: &mut Entries, sources: &[u32]) -> io::Result<Option<Entry>> {
    loop {
        let Some(entry) = entries.next().transpose()? else { return Ok(None) };
        if let Some(source) = sources.get(entry.source as usize) {
            return Ok(Some(Entry { source: *source, ..entry }));
        }
    }
}

impl Iterator for Joined<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        let waiting = self.inputs.iter_mut().filter(|(_, _, next)| next.is_some());
        let (entries, sources, next) = waiting.min_by_key(|(_, _, next)| *next)?;
        let entry = next.take()?;
        match next_of(entries, sources) {
            Ok(following) => *next = following,
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(entry))
    }
}
