//! Measures the ranges of components on a sample of rows, for vectors that count steps of them.

use reembed_encoder::batch::strings;
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::Inference;
use reembed_encoder::memory;
use reembed_encoder::model::Model;
use reembed_encoder::model::tokenizer::tokenize_texts;

use crate::chunk::needs_vector;
use crate::config::CalibrationConfig;
use crate::pipeline::Splitter;
use crate::reader::Reader;
use crate::vectors::{Components, RangeMeter, RangesFile};

/// Embeds `sample` rows, spread evenly from the first to the last, and returns the least and greatest
/// value of each component. Rows without a vector are left out.
///
/// An encoder that is batch-invariant gives equal ranges on every run.
///
/// # Errors
/// Those of a run up to the inference stage; `Config` when the model cannot have the components that
/// the configuration asks for; `Data` when no row of the sample has a text.
pub fn calibrate(
    config: &CalibrationConfig,
    reader: &Reader,
    model: &Model,
    sample: u64,
) -> Result<RangesFile> {
    let components = Components::new(config.values, &model.facts)?;
    let settings =
        model.batch_settings(config.batch.requested, config.batch.memory_limit, memory::read());
    let inference =
        Inference::new(model.encoder.as_ref(), settings.limit, settings.budget, &|_| ());
    let mut meter = RangeMeter::new(components.kept());
    let mut picks = Picks::new(reader.rows(), sample);
    let mut scaled = Vec::new();
    let splitter = Splitter::new(&config.text, &model.tokenizer, config.input.chunk_rows);
    // A row may have several texts, one after the other.
    let mut picked = None;
    let chunks = reader.chunks().map(|chunk| match &splitter {
        Some(splitter) => splitter.split(&chunk?),
        None => Ok(vec![chunk?]),
    });
    let chunks = chunks.flat_map(|chunks| match chunks {
        Ok(chunks) => chunks.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    });
    for chunk in chunks {
        let chunk = chunk?;
        let mut texts = Vec::new();
        for (row, text) in strings(chunk.first_texts()).enumerate() {
            let position = chunk.rows.position(row);
            if picks.takes(position) {
                picked = Some(position);
            }
            if picked == Some(position) && needs_vector(config.on_empty, text, &chunk.rows, row)? {
                texts.push((row, text));
            }
        }
        let count = chunk.len();
        let texts = tokenize_texts(&model.tokenizer, &chunk.rows, count, texts, inference.limit())?;
        inference.embed_each(&chunk.rows, texts.batches, &mut |text| {
            meter.add(components.of(text.vector, &mut scaled));
            Ok(())
        })?;
    }
    if meter.rows() == 0 {
        return Err(Error::new(ErrorKind::Data, "no row of the sample has a text to embed")
            .in_file(&config.input.path)
            .advice("name an input with texts, or take a larger --sample"));
    }
    reader.check_unchanged()?;
    Ok(meter.finish(&model.facts.identity, &components))
}

/// Numbers of rows, spread evenly from the first row to the last.
struct Picks {
    rows: u64,
    sample: u64,
    taken: u64,
}

impl Picks {
    fn new(rows: u64, sample: u64) -> Picks {
        Picks { rows, sample: sample.min(rows), taken: 0 }
    }

    /// Whether a row is one of them. Call it in the order of the rows.
    fn takes(&mut self, row: u64) -> bool {
        let is_next = self.taken < self.sample && row == self.next();
        self.taken += u64::from(is_next);
        is_next
    }

    fn next(&self) -> u64 {
        let last = u128::from(self.rows.saturating_sub(1));
        let steps = u128::from(self.sample.saturating_sub(1).max(1));
        u64::try_from(u128::from(self.taken) * last / steps).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_is_spread_from_the_first_row_to_the_last() {
        let picked = |rows: u64, sample: u64| -> Vec<u64> {
            let mut picks = Picks::new(rows, sample);
            (0..rows).filter(|row| picks.takes(*row)).collect()
        };
        assert_eq!(picked(100, 4), [0, 33, 66, 99]);
        assert_eq!(picked(10, 3), [0, 4, 9]);
        assert_eq!(picked(3, 10_000), [0, 1, 2]);
        assert_eq!(picked(5, 5), [0, 1, 2, 3, 4]);
        assert_eq!(picked(7, 1), [0]);
        assert_eq!(picked(0, 3), [0u64; 0]);
        assert_eq!(picked(100_003, 10_000).len(), 10_000);
    }
}
