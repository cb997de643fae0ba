//! Decides which rows need the model, and gets the vectors of the others.
//!
//! A text is looked up twice: by [`look_up`] before it is tokenized, and by [`ChunkResolver::resolve`]
//! before its chunk goes through the model, because an earlier chunk may have had the same text. Equal
//! texts therefore go through the model once: see docs/decisions/0011-second-lookup.md. Without a
//! cache this holds within a chunk.

use std::collections::HashMap;

use arrow::array::{Array, LargeStringArray};
use reembed_encoder::batch::{PlannedTexts, RowNames, TokenBatch, strings};
use reembed_encoder::error::{Error, ErrorKind, Result};
use reembed_encoder::inference::{ChunkVectors, EncodedText, Inference, Work, allocate_zeros};
use reembed_encoder::model::tokenizer::tokenize_texts;
use reembed_encoder::task::{ContentKey, ContentKeys};

use super::lazy_inference::LazyInference;
use crate::cache::{CacheView, CacheWriter, Lookup, VectorCache};
use crate::chunk::{
    CachedText, KeyedChunk, KnownVectors, Origin, ResolvedChunk, RowChunk, RowFacts, TokenChunk,
    TokenPart, needs_vector,
};
use crate::config::OnEmpty;
use crate::events::{Event, RowsByOrigin};
use crate::group_digest::GroupDigest;
use crate::published::PublishedVectors;
use crate::vectors::largest_difference;

/// Adds the content keys of the texts to a chunk: `keys` has those of each vector column.
pub fn add_keys(chunk: RowChunk, keys: &[ContentKeys]) -> KeyedChunk {
    let of_column = |(texts, keys): (&LargeStringArray, &ContentKeys)| {
        strings(texts).map(|text| keys.key(text)).collect()
    };
    let keys = chunk.texts.iter().zip(keys).map(of_column).collect();
    KeyedChunk { chunk, keys }
}

/// Where vectors may be known from: the vector cache, and published tables.
pub type Known<'a, 'c> = (Option<&'a VectorCache<'c>>, Option<&'a PublishedVectors>);

/// The texts of a vector column in a chunk.
pub type ColumnTexts<'a, K> = (&'a RowNames, &'a LargeStringArray, K);

/// Samples the reused rows whose vectors are compared with the model: the first reused row in each of
/// several equal parts of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Rows of a part; `None`: no row is sampled.
    part: Option<u64>,
    /// The first row of the next part.
    next: u64,
}

impl Sample {
    /// Samples one of a hundred of `rows` rows: at least one, and at most `most`.
    pub fn new(rows: u64, most: u64) -> Self {
        let wanted = rows.div_ceil(100).min(most);
        let part = (wanted > 0).then(|| rows.div_ceil(wanted).max(1));
        Sample { part, next: 0 }
    }

    /// Whether to sample a reused row. Call it in the order of the rows.
    pub fn takes(&mut self, row: u64) -> bool {
        let Some(part) = self.part.filter(|_| row >= self.next) else { return false };
        self.next = (row / part + 1) * part;
        true
    }
}

/// Decides the origin of each row's vector and gets the cached vectors: the first half of the
/// tokenizer stage. A text whose vector is that of a truncated text goes to the tokenizer if that
/// refuses it (`refuses_long_texts`).
///
/// # Errors
/// `Cache` when the cache cannot be read.
pub fn look_up(
    (rows, texts, keys): ColumnTexts<'_, &[ContentKey]>,
    (mut view, published): (Option<CacheView<'_>>, Option<&PublishedVectors>),
    dim: usize,
    (on_empty, refuses_long_texts): (OnEmpty, bool),
    sample: &mut Sample,
) -> Result<KnownVectors> {
    let mut values = allocate_zeros(texts.len() * dim)?;
    let mut origins = Vec::with_capacity(texts.len());
    let mut damaged = 0;
    let mut first_rows: HashMap<ContentKey, usize> = HashMap::with_capacity(texts.len());
    for (row, (text, key)) in strings(texts).zip(keys).enumerate() {
        if !needs_vector(on_empty, text, rows, row)? {
            origins.push(Origin::Empty);
            continue;
        }
        if let Some(first) = first_rows.get(key) {
            origins.push(Origin::Row(*first));
            continue;
        }
        first_rows.insert(*key, row);
        let found = match &mut view {
            Some(view) => view.find(key, &mut values[row * dim..][..dim])?,
            None => Lookup::Absent,
        };
        origins.push(match found {
            Lookup::Found(cached) if cached.truncated && refuses_long_texts => Origin::Model,
            Lookup::Found(cached) => Origin::Cache(cached),
            Lookup::Absent => Origin::Model,
            Lookup::Damaged => {
                damaged += 1;
                Origin::Model
            }
        });
    }
    let mut known = KnownVectors { origins, values, damaged };
    if let Some(published) = published {
        let refuses = |text: &CachedText| text.truncated && refuses_long_texts;
        find_published(published, keys, dim, false, &mut known, refuses)?;
    }
    for (row, origin) in known.origins.iter_mut().enumerate() {
        if let Origin::Cache(cached) = origin {
            cached.sampled = !cached.of_this_run && sample.takes(rows.position(row));
        }
    }
    Ok(known)
}

/// Looks the texts that need the model up among published vectors.
fn find_published(
    published: &PublishedVectors,
    keys: &[ContentKey],
    dim: usize,
    of_this_run: bool,
    known: &mut KnownVectors,
    is_refused: impl Fn(&CachedText) -> bool,
) -> Result<bool> {
    let needs_model = |row: &usize| known.origins[*row] == Origin::Model;
    let wanted: Vec<usize> = (0..keys.len()).filter(needs_model).collect();
    let texts: Vec<ContentKey> = wanted.iter().map(|row| keys[*row]).collect();
    let mut found_any = false;
    published.find(&texts, dim, of_this_run, |found, vector| {
        let row = wanted[found.at];
        let (tokens, truncated) = found.measure.unwrap_or((0, false));
        let cached = CachedText {
            of_this_run: found.of_this_run,
            is_measured: found.measure.is_some(),
            ..CachedText::measured(tokens, truncated)
        };
        if !is_refused(&cached) {
            known.values[row * dim..][..dim].copy_from_slice(vector);
            known.origins[row] = Origin::Cache(cached);
            found_any = true;
        }
    })?;
    Ok(found_any)
}

/// Tokenizes the texts that go through the model and plans their batches: the second half of the
/// tokenizer stage.
///
/// # Errors
/// As [`tokenize_texts`], and those of the model when it is loaded for the first text.
pub fn tokenize_part(
    inference: &LazyInference<'_>,
    (rows, texts, keys): ColumnTexts<'_, Vec<ContentKey>>,
    mut known: KnownVectors,
) -> Result<TokenPart> {
    let mut wanted = strings(texts)
        .zip(&known.origins)
        .enumerate()
        .filter_map(|(row, (text, origin))| {
            let wanted = match origin {
                Origin::Model => true,
                Origin::Cache(cached) => cached.sampled || !cached.is_measured,
                Origin::Empty | Origin::Row(_) => false,
            };
            wanted.then_some((row, text))
        })
        .peekable();
    let texts = match wanted.peek() {
        // Nothing needs the model, which may not even be loaded.
        None => PlannedTexts::default(),
        Some(_) => {
            let (tokenizer, inference) = inference.get()?;
            let texts = tokenize_texts(tokenizer, rows, keys.len(), wanted, inference.limit())?;
            measure_known(&mut known.origins, texts)
        }
    };
    Ok(TokenPart { keys, known, texts })
}

/// Counts the tokens of texts whose vectors are known and whose tokens are not. They leave the batches.
fn measure_known(origins: &mut [Origin], texts: PlannedTexts) -> PlannedTexts {
    let is_unmeasured =
        |origin: &Origin| matches!(origin, Origin::Cache(cached) if !cached.is_measured);
    if !origins.iter().any(is_unmeasured) {
        return texts;
    }
    let PlannedTexts { batches, truncated } = texts;
    let mut tokens = vec![0u32; origins.len()];
    for batch in &batches {
        for (row, text) in batch.rows().iter().zip(batch.texts()) {
            tokens[*row] =
                tokens[*row].saturating_add(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
    }
    for (row, origin) in origins.iter_mut().enumerate() {
        if let Origin::Cache(cached) = origin
            && !cached.is_measured
        {
            let truncated = truncated.binary_search(&row).is_ok();
            *cached = CachedText { tokens: tokens[row], truncated, is_measured: true, ..*cached };
        }
    }
    PlannedTexts { batches: needed_batches(origins, &batches), truncated }
}

/// The batches without rows whose vectors are known, but for those that are sampled.
fn needed_batches(origins: &[Origin], batches: &[TokenBatch]) -> Vec<TokenBatch> {
    let is_needed = |row: usize| match origins[row] {
        Origin::Cache(cached) => cached.sampled,
        _ => true,
    };
    let needed = batches.iter().map(|batch| batch.filter_rows(is_needed));
    needed.filter(|batch| !batch.is_empty()).collect()
}

/// The inference stage: gets the vectors of every row of a chunk, and stores new ones in the cache.
pub struct ChunkResolver<'a, 'i, 's> {
    /// Those of the vector columns.
    inferences: Vec<&'a LazyInference<'i>>,
    cache: Option<&'a VectorCache<'a>>,
    published: Option<&'a PublishedVectors>,
    /// New vectors until a commit; `None` if the cache is not written.
    writer: Option<&'a mut CacheWriter<'s>>,
    on_event: &'a (dyn Fn(Event) + Sync),
    totals: Totals,
}

/// The sums over all chunks of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those of each vector column.
    pub columns: Vec<ColumnTotals>,
}

/// The sums over all chunks of a vector column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnTotals {
    /// What the model computed.
    pub work: Work,
    /// The origins of the vectors.
    pub origins: RowsByOrigin,
    /// Rows whose text was cut at the model's maximum length.
    pub truncated: u64,
    /// Damaged cache entries.
    pub damaged: u64,
}

impl<'a, 'i, 's> ChunkResolver<'a, 'i, 's> {
    /// A resolver of the vector columns that `inferences` embed. New vectors go to the `writer`.
    pub fn new(
        inferences: Vec<&'a LazyInference<'i>>,
        (cache, published): Known<'a, 'a>,
        writer: Option<&'a mut CacheWriter<'s>>,
        on_event: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        let columns = vec![ColumnTotals::default(); inferences.len()];
        let totals = Totals { columns };
        ChunkResolver { inferences, cache, published, writer, on_event, totals }
    }

    /// Gets the vectors of every row of a chunk, by vector column.
    ///
    /// # Errors
    /// Those of the model; `Cache` when the cache cannot be read or written, or a cached vector differs
    /// from the model's.
    pub fn resolve(&mut self, chunk: TokenChunk) -> Result<ResolvedChunk> {
        let TokenChunk { columns, rows, parts, tokens } = chunk;
        let resolved = tokens.into_iter().enumerate();
        let resolved = resolved.map(|(column, part)| self.resolve_part(column, &rows, part));
        let vectors = resolved.collect::<Result<Vec<_>>>()?;
        Ok(ResolvedChunk { columns, rows, parts, vectors })
    }

    fn resolve_part(
        &mut self,
        column: usize,
        rows: &RowNames,
        part: TokenPart,
    ) -> Result<(ChunkVectors, RowFacts)> {
        let inference = self.inferences[column];
        let TokenPart { keys, mut known, texts } = part;
        let batches = self.look_up_again(inference.dim(), &keys, &mut known, texts.batches)?;
        let dim = inference.dim();
        let KnownVectors { origins, mut values, damaged } = known;
        // The tokens of each row's text, and whether it was truncated.
        let mut measures: Vec<(u64, bool)> = origins.iter().map(measure).collect();
        let (cache, writer) = (self.cache, &mut self.writer);
        let encoder = match batches.is_empty() {
            // The model may not even be loaded.
            true => None,
            false => Some(inference.get()?.1),
        };
        let tolerance = encoder.map_or(0.0, Inference::tolerance);
        let mut consume = |text: EncodedText<'_>| {
            let EncodedText { row, tokens, vector } = text;
            let place = &mut values[row * dim..][..dim];
            if matches!(origins[row], Origin::Cache(_)) {
                let same = compare(rows, row, place, vector, tolerance);
                if let (Err(_), Some(cache)) = (&same, cache) {
                    cache.forget_rebuild()?;
                }
                return same;
            }
            place.copy_from_slice(vector);
            let cut = texts.truncated.binary_search(&row).is_ok();
            measures[row] = (tokens as u64, cut);
            if let Some(writer) = writer {
                writer.insert(keys[row], tokens, cut, vector);
                writer.commit_if_due()?;
            }
            Ok(())
        };
        let work = match encoder {
            Some(encoder) => encoder.embed_each(rows, batches, &mut consume)?,
            None => Work::default(),
        };
        for (row, origin) in origins.iter().enumerate() {
            if let Origin::Row(first) = *origin {
                values.copy_within(first * dim..(first + 1) * dim, row * dim);
                measures[row] = measures[first];
            }
        }
        let origins_of_chunk = count(&origins, &measures);
        let present: Vec<bool> = origins.iter().map(|origin| *origin != Origin::Empty).collect();
        self.report(&origins_of_chunk, &present);
        (self.on_event)(chunk_done(rows, &measures));
        let totals = &mut self.totals.columns[column];
        totals.work.add(&work);
        totals.origins.add(&origins_of_chunk);
        totals.truncated += measures.iter().filter(|(_, cut)| *cut).count() as u64;
        totals.damaged += damaged;
        Ok((ChunkVectors { values, present, work }, RowFacts { keys, measures }))
    }

    /// Counts a row group whose vectors are copied from the existing output. `digests` has what that says
    /// of each vector column.
    pub fn skip(&mut self, digests: &[GroupDigest]) {
        for (totals, group) in self.totals.columns.iter_mut().zip(digests) {
            let reused = group.rows - group.null_rows.min(group.rows);
            totals.origins.reused += reused;
            totals.origins.tokens_saved += group.tokens;
            totals.truncated += group.truncated;
            let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
            if group.null_rows > 0 {
                (self.on_event)(Event::Empty { rows: count(group.null_rows) });
            }
            if reused > 0 {
                (self.on_event)(Event::Known { reused: count(reused), duplicate: 0 });
            }
        }
    }

    /// The sums over all chunks.
    pub fn into_totals(self) -> Totals {
        self.totals
    }

    /// Looks up the texts again whose vectors this run may have computed since the first lookup, and
    /// removes them from the batches.
    fn look_up_again(
        &self,
        dim: usize,
        keys: &[ContentKey],
        known: &mut KnownVectors,
        batches: Vec<TokenBatch>,
    ) -> Result<Vec<TokenBatch>> {
        if batches.is_empty() {
            return Ok(batches);
        }
        let mut found_any = false;
        if let (Some(cache), Some(writer)) = (self.cache, &self.writer) {
            found_any = find_new(cache, writer, dim, keys, known)?;
        }
        // After the cache, which a text may have left for a table.
        if let Some(published) = self.published {
            // One whose tokens are not known would have to be tokenized before.
            let is_refused = |text: &CachedText| !text.is_measured;
            found_any |= find_published(published, keys, dim, true, known, is_refused)?;
        }
        if !found_any {
            return Ok(batches);
        }
        Ok(needed_batches(&known.origins, &batches))
    }

    fn report(&self, origins: &RowsByOrigin, present: &[bool]) {
        let empty = present.iter().filter(|present| !**present).count();
        if empty > 0 {
            (self.on_event)(Event::Empty { rows: empty });
        }
        // Sampled rows were in a batch.
        let reused = (origins.reused - origins.sampled) as usize;
        let duplicate = origins.duplicate as usize;
        if reused + duplicate > 0 {
            (self.on_event)(Event::Known { reused, duplicate });
        }
    }
}

/// Looks texts up among the vectors that this run has cached; returns whether any was found.
fn find_new(
    cache: &VectorCache<'_>,
    writer: &CacheWriter<'_>,
    dim: usize,
    keys: &[ContentKey],
    known: &mut KnownVectors,
) -> Result<bool> {
    let mut view = cache.view()?;
    let mut found_any = false;
    for (row, key) in keys.iter().enumerate() {
        if known.origins[row] != Origin::Model {
            continue;
        }
        let vector = &mut known.values[row * dim..][..dim];
        let found = match writer.find(key, vector) {
            Some(cached) => Some(cached),
            None => match view.find(key, vector)? {
                // The first lookup would have found vectors of earlier runs.
                Lookup::Found(cached) if cached.of_this_run => Some(cached),
                _ => None,
            },
        };
        if let Some(cached) = found {
            known.origins[row] = Origin::Cache(cached);
            found_any = true;
        }
    }
    Ok(found_any)
}

/// The event of a finished chunk.
fn chunk_done(rows: &RowNames, measures: &[(u64, bool)]) -> Event {
    let length =
        |(tokens, _): &(u64, bool)| u32::try_from(*tokens).ok().filter(|tokens| *tokens > 0);
    let cut = measures.iter().enumerate().filter(|(_, (_, cut))| *cut);
    Event::ChunkDone {
        lengths: measures.iter().filter_map(length).collect(),
        truncated: cut.map(|(row, _)| rows.label(row)).collect(),
    }
}

/// The tokens of a cached text, and whether it was truncated; zero for any other text.
fn measure(origin: &Origin) -> (u64, bool) {
    match origin {
        Origin::Cache(cached) => (cached.tokens.into(), cached.truncated),
        _ => (0, false),
    }
}

fn count(origins: &[Origin], measures: &[(u64, bool)]) -> RowsByOrigin {
    let mut sums = RowsByOrigin::default();
    for (origin, (tokens, _)) in origins.iter().zip(measures) {
        // A row with the text of an earlier row of the chunk counts like that row.
        let first = match origin {
            Origin::Row(first) => origins[*first],
            other => *other,
        };
        match first {
            Origin::Empty => {}
            Origin::Cache(cached) if !cached.of_this_run => sums.reused += 1,
            Origin::Model if !matches!(origin, Origin::Row(_)) => sums.encoded += 1,
            _ => sums.duplicate += 1,
        }
        match origin {
            Origin::Cache(cached) if cached.sampled => sums.sampled += 1,
            Origin::Cache(_) | Origin::Row(_) => sums.tokens_saved += tokens,
            Origin::Empty | Origin::Model => {}
        }
    }
    sums
}

/// Compares a cached vector with the one that the model computed now. A tolerance of 0 requires equal
/// bits.
fn compare(
    rows: &RowNames,
    row: usize,
    cached: &[f32],
    computed: &[f32],
    tolerance: f32,
) -> Result<()> {
    let difference = largest_difference(cached, computed);
    let same = match tolerance {
        0.0 => cached.iter().zip(computed).all(|(a, b)| a.to_bits() == b.to_bits()),
        tolerance => difference <= tolerance,
    };
    if same {
        return Ok(());
    }
    let message = format!(
        "its cached vector differs by {difference:e} from the model's; the tolerance is \
         {tolerance:e}"
    );
    Err(Error::new(ErrorKind::Cache, message).at(rows.name(row)).advice(
        "run again with --rebuild, which embeds every row again and replaces the cached vectors",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_takes_the_first_reused_row_of_each_part() {
        let taken = |rows: u64, sample: u64, reused: &dyn Fn(u64) -> bool| -> Vec<u64> {
            let mut choice = Sample::new(rows, sample);
            (0..rows).filter(|row| reused(*row) && choice.takes(*row)).collect()
        };
        assert_eq!(taken(1000, 4, &|_| true), [0, 250, 500, 750]);
        assert_eq!(taken(1000, 4, &|row| row % 100 == 99), [99, 299, 599, 799]);
        assert_eq!(taken(1000, 4, &|row| row == 999), [999]);
        // One of a hundred, and at least one.
        assert_eq!(taken(300, 32, &|_| true), [0, 100, 200]);
        assert_eq!(taken(24, 32, &|_| true), [0]);
        assert_eq!(taken(100_000, 32, &|_| true).len(), 32);
        assert_eq!(taken(1000, 0, &|_| true), [0u64; 0]);
        assert_eq!(taken(0, 4, &|_| true), [0u64; 0]);
    }

    #[test]
    fn rows_are_counted_by_the_origin_of_their_vector() {
        let cached = |of_this_run, sampled| {
            Origin::Cache(CachedText { of_this_run, sampled, ..CachedText::measured(5, false) })
        };
        let origins = [
            Origin::Model,
            Origin::Row(0),
            Origin::Empty,
            cached(false, false),
            Origin::Row(3),
            cached(true, false),
            cached(false, true),
        ];
        let measures =
            [(7, false), (7, false), (0, false), (5, false), (5, false), (5, false), (5, false)];
        let expected =
            RowsByOrigin { encoded: 1, reused: 3, duplicate: 2, sampled: 1, tokens_saved: 22 };
        assert_eq!(count(&origins, &measures), expected);
    }

    #[test]
    fn cached_vector_unlike_the_model_s_is_an_error_of_its_row() {
        let rows = RowNames::new(40, ["a", "b"]);
        let check = |cached: f32, made: f32, tolerance| {
            compare(&rows, 1, &[0.5, cached], &[0.5, made], tolerance)
        };
        let next = f32::from_bits(0.25f32.to_bits() + 1);
        for (cached, made, tolerance, holds) in [
            (0.25, 0.25, 0.0, true),
            (0.25, next, 0.0, false),
            (0.0, -0.0, 0.0, false),
            (0.25, next, 1e-6, true),
            (0.25, 0.2501, 1e-6, false),
            (f32::NAN, 0.25, 1e-6, false),
        ] {
            assert_eq!(check(cached, made, tolerance).is_ok(), holds, "{cached} and {made}");
        }
        let error = check(0.0, 1.0, 0.0).expect_err("they differ");
        assert_eq!(error.kind(), ErrorKind::Cache);
        assert!(error.to_string().starts_with("row 42 (id b): "), "{error}");
        assert!(error.advice_text().is_some_and(|advice| advice.contains("--rebuild")));
    }
}
