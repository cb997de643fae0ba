//! f32 multi-head attention of one sequence, head by head: `softmax(Q Kᵀ / √head) V`.
//!
//! ```text
//!  of one head:   K packed in panels of 16 keys      V packed in panels of 16 columns
//!                        (head, 16)                        (length, 16)
//!                 ┌──────┬──────┬──────┐              ┌──────┬──────┐
//!  micro-tile ►   │      │      │     0│  scores  ►   │      │      │  ► context
//!  of queries     └──────┴──────┴──────┘  (rows,      │      │      │    (rows, head)
//!  (rows, head)                            length)    └──────┴──────┘
//! ```
//!
//! Vaswani et al., <https://arxiv.org/abs/1706.03762>. Both products use the micro-kernel. Scratch holds
//! the scores of one micro-tile of queries, which stay in L1 from product to softmax to product; so it
//! grows with the length and not with its square. No bit depends on other sequences. Lanes of the last
//! panel without a key start their sums at −∞ instead of 0, and their exponential is 0.
//!
//! Where queries see a window of the keys, each block of [`QUERY_BLOCK`] queries reads the panels of its
//! window. A key that a query does not see has the exponential 0, which changes no sum, so the bits do not
//! depend on the blocks.

use std::ops::Range;

use crate::activation::exp2;
use crate::f32::micro_kernel::multiply_accumulate;
use crate::heads::{AttentionHeads, Heads, Projection};
use crate::isa::Isa;
use crate::micro_tiles::{micro_tiles, with_constant};
use crate::score_bias::ScoreBias;
use crate::simd::{Kernel, LANES, MAX_MICRO_TILE_ROWS, Simd};

/// f32 values of scratch that [`attend_f32`] needs for a sequence of `length` tokens.
pub fn attend_f32_scratch_len(length: usize, heads: Heads) -> usize {
    let padded = length.saturating_add(LANES - 1) / LANES * LANES;
    let columns = heads.size.next_multiple_of(LANES);
    padded.saturating_mul(heads.size + columns + MAX_MICRO_TILE_ROWS)
}

/// Queries that read the same panels of keys where queries see a window: a multiple of every MR.
const QUERY_BLOCK: usize = 24;

/// Multi-head attention of one sequence. `qkv`, `(tokens, heads.qkv().width())`, holds the query, key and
/// value of each token; `context`, `(tokens, heads.queries.width())`, receives the concatenated heads. `bias`
/// is added to the scores. `scratch` has at least [`attend_f32_scratch_len`] values for the query heads, and
/// what it holds before does not matter.
///
/// # Panics
/// If `qkv` and `context` do not have the same number of whole rows, or if `scratch` is too small.
pub fn attend_f32(
    isa: Isa,
    qkv: &[f32],
    heads: AttentionHeads,
    bias: Option<&ScoreBias>,
    scratch: &mut [f32],
    context: &mut [f32],
) {
    let Heads { size, .. } = heads.queries;
    let length = context.len() / heads.queries.width().max(1);
    assert_eq!(context.len(), length * heads.queries.width(), "the rows are complete");
    assert_eq!(
        qkv.len(),
        length * heads.qkv().width(),
        "each token has a query, a key and a value"
    );
    let padded = length.next_multiple_of(LANES);
    let (keys, scratch) = scratch.split_at_mut(padded * size);
    let (values, scratch) = scratch.split_at_mut(length * size.next_multiple_of(LANES));
    let scores = &mut scratch[..padded * MAX_MICRO_TILE_ROWS];
    let panels = 0..padded / LANES;
    isa.run(F32Attention {
        qkv,
        heads,
        bias,
        length,
        padded,
        panels,
        keys,
        values,
        scores,
        context,
    });
}

struct F32Attention<'a> {
    qkv: &'a [f32],
    heads: AttentionHeads,
    bias: Option<&'a ScoreBias>,
    /// Tokens of the sequence.
    length: usize,
    /// `length`, padded to whole panels.
    padded: usize,
    /// The panels of keys that the present queries see.
    panels: Range<usize>,
    /// `(panels, head, 16)`: the keys of one head.
    keys: &'a mut [f32],
    /// `(panels, length, 16)`: the values of one head.
    values: &'a mut [f32],
    /// `(MR, padded)`: the scores of one micro-tile of queries, then their exponentials.
    scores: &'a mut [f32],
    context: &'a mut [f32],
}

impl Kernel for F32Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let window = self.bias.filter(|bias| bias.is_window());
        let together = window.map_or(self.length.max(1), |_| QUERY_BLOCK);
        for head in 0..self.heads.queries.count {
            if head % self.heads.group() == 0 {
                self.pack_keys(simd, head);
                self.pack_values(simd, head);
            }
            for first in (0..self.length).step_by(together) {
                let queries = first..self.length.min(first + together);
                if let Some(window) = window {
                    let keys = window.keys_seen_by(queries.clone(), self.length);
                    self.panels = keys.start / LANES..keys.end.div_ceil(LANES);
                }
                self.attend_block(simd, head, queries);
            }
        }
    }
}

impl F32Attention<'_> {
    /// The offset in `qkv` of a token's query, or of the key or value that a query head reads.
    #[inline(always)]
    fn offset(&self, token: usize, projection: Projection, head: usize) -> usize {
        let heads = token * self.heads.qkv().count + self.heads.position(projection, head);
        heads * self.heads.queries.size
    }

    /// A range of queries of a head, micro-tile by micro-tile.
    #[inline(always)]
    fn attend_block<S: Simd>(&mut self, simd: S, head: usize, queries: Range<usize>) {
        for micro_tile in micro_tiles(queries, S::MICRO_TILE_ROWS) {
            // No kernel of its own, which would compile faster: whole int16 runs are 1 to 2 % slower with it.
            with_constant!(micro_tile.len(), S::MICRO_TILE_ROWS, R => {
                self.attend_queries::<S, R>(simd, head, micro_tile.start)
            });
        }
    }

    /// Transposes the keys of a head, 16 keys by 16 components at a time.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, head: usize) {
        let size = self.heads.queries.size;
        for panel in 0..self.padded / LANES {
            let first = panel * LANES;
            let count = (self.length - first).min(LANES);
            let mut rows: [&[f32]; LANES] = [&[]; LANES];
            for (lane, row) in rows.iter_mut().enumerate() {
                // A lane without a key repeats the last key: its sums start at −∞ and stay there.
                let key = self.offset(first + lane.min(count - 1), Projection::Key, head);
                *row = &self.qkv[key..key + size];
            }
            let lines = &mut self.keys.as_chunks_mut::<LANES>().0[panel * size..][..size];
            let (blocks, rest) = lines.as_chunks_mut::<LANES>();
            for (at, block) in blocks.iter_mut().enumerate() {
                let mut from: [&[f32; LANES]; LANES] = [&[0.0; LANES]; LANES];
                for (row, part) in rows.iter().zip(&mut from) {
                    if let Some(values) = row[at * LANES..].first_chunk() {
                        *part = values;
                    }
                }
                simd.transpose(from, block);
            }
            let done = size - rest.len();
            for (at, line) in rest.iter_mut().enumerate() {
                for (row, value) in rows.iter().zip(line) {
                    *value = row[done + at];
                }
            }
        }
    }

    /// Copies the values of a head, 16 columns at a time.
    #[inline(always)]
    fn pack_values<S: Simd>(&mut self, simd: S, head: usize) {
        let size = self.heads.queries.size;
        for (panel, first) in (0..size).step_by(LANES).enumerate() {
            let count = (size - first).min(LANES);
            let mut start = self.offset(0, Projection::Value, head) + first;
            let lines =
                &mut self.values.as_chunks_mut::<LANES>().0[panel * self.length..][..self.length];
            for line in lines {
                simd.store(simd.load_partial(&self.qkv[start..start + count]), line);
                start += self.heads.qkv().width();
            }
        }
    }

    /// `R` queries of a head, from the scores to the context.
    #[inline(always)]
    fn attend_queries<S: Simd, const R: usize>(&mut self, simd: S, head: usize, query: usize) {
        let mut maxima = [simd.splat(f32::NEG_INFINITY); R];
        let Range { start: mut panel, end: panels } = self.panels;
        while panel < panels {
            let together = (panels - panel).min(S::MICRO_TILE_PANELS);
            with_constant!(together, S::MICRO_TILE_PANELS, P => {
                self.multiply_keys::<S, R, P>(simd, head, query, panel, &mut maxima)
            });
            panel += together;
        }

        let inverse_sums = self.exponentiate::<S, R>(simd, maxima);

        let panels = self.heads.queries.size.div_ceil(LANES);
        let mut panel = 0;
        while panel < panels {
            let together = (panels - panel).min(S::MICRO_TILE_PANELS);
            with_constant!(together, S::MICRO_TILE_PANELS, P => {
                self.multiply_values::<S, R, P>(simd, head, query, panel, &inverse_sums)
            });
            panel += together;
        }
    }

    /// The scores of `R` queries with `P` panels of keys, unscaled unless there is a bias. Updates the
    /// maximum of each lane.
    #[inline(always)]
    fn multiply_keys<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        head: usize,
        query: usize,
        panel: usize,
        maxima: &mut [S::Lanes; R],
    ) {
        let (size, panels) = (self.heads.queries.size, self.padded / LANES);
        let mut queries: [&[f32]; R] = [&[]; R];
        for (r, row) in queries.iter_mut().enumerate() {
            *row = &self.qkv[self.offset(query + r, Projection::Query, head)..][..size];
        }
        let mut keys: [&[[f32; LANES]]; P] = [&[]; P];
        for (p, lines) in keys.iter_mut().enumerate() {
            *lines = &self.keys.as_chunks().0[(panel + p) * size..][..size];
        }
        let mut start = [simd.splat(0.0); P];
        if panel + P == panels {
            start[P - 1] = simd.load(&first_sums_of_last_panel(self.length));
        }
        let mut sums = multiply_accumulate(simd, queries, keys, [start; R]);
        if let Some(bias) = self.bias {
            let scale = simd.splat(self.heads.scale());
            for (r, sums) in sums.iter_mut().enumerate() {
                for (p, sum) in sums.iter_mut().enumerate() {
                    let line = bias.line(head, query + r, (panel + p) * LANES);
                    *sum = simd.mul_add(*sum, scale, simd.load(line));
                }
            }
        }
        let lines = self.scores.as_chunks_mut().0;
        for (r, (sums, maximum)) in sums.iter().zip(maxima).enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                *maximum = simd.max(*sum, *maximum);
                simd.store(*sum, &mut lines[r * panels + panel + p]);
            }
        }
    }

    /// Replaces the scores of `R` queries by `exp((score − maximum) / √divisor)`, and returns the inverse of the
    /// sum of each query. The context, which is shorter than the scores, is multiplied by it.
    #[inline(always)]
    fn exponentiate<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        maxima: [S::Lanes; R],
    ) -> [f32; R] {
        let scale = self.bias.map_or(self.heads.scale(), |_| 1.0);
        let mut offsets = [simd.splat(0.0); R];
        for (offset, maximum) in offsets.iter_mut().zip(maxima) {
            *offset = simd.splat(-simd.reduce_max(maximum) * scale);
        }
        let scale = simd.splat(scale);
        let panels = self.padded / LANES;
        let mut sums = [simd.splat(0.0); R];
        let rows = self.scores.as_chunks_mut::<LANES>().0.chunks_exact_mut(panels);
        for ((lines, offset), sum) in rows.zip(offsets).zip(&mut sums) {
            for line in &mut lines[self.panels.clone()] {
                let power = exp2(simd, simd.mul_add(simd.load(line), scale, offset));
                simd.store(power, line);
                *sum = simd.add(*sum, power);
            }
        }
        let mut inverse_sums = [0.0; R];
        for (inverse, sum) in inverse_sums.iter_mut().zip(sums) {
            *inverse = 1.0 / simd.reduce_sum(sum);
        }
        inverse_sums
    }

    /// The context of `R` queries in `P` panels of values: their mean, weighted by the exponentials.
    #[inline(always)]
    fn multiply_values<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        head: usize,
        query: usize,
        panel: usize,
        inverse_sums: &[f32; R],
    ) {
        let keys = self.panels.start * LANES..self.length.min(self.panels.end * LANES);
        let mut exponentials: [&[f32]; R] = [&[]; R];
        for (r, row) in exponentials.iter_mut().enumerate() {
            *row = &self.scores[r * self.padded..][keys.clone()];
        }
        let mut values: [&[[f32; LANES]]; P] = [&[]; P];
        for (p, lines) in values.iter_mut().enumerate() {
            *lines = &self.values.as_chunks().0[(panel + p) * self.length..][keys.clone()];
        }
        let sums = multiply_accumulate(simd, exponentials, values, [[simd.splat(0.0); P]; R]);
        for (r, sums) in sums.iter().enumerate() {
            let Heads { size, .. } = self.heads.queries;
            let start = (query + r) * self.heads.queries.width() + head * size;
            for (p, sum) in sums.iter().enumerate() {
                let column = (panel + p) * LANES;
                let width = (size - column).min(LANES);
                let context = &mut self.context[start + column..][..width];
                simd.store_partial(simd.mul(*sum, simd.splat(inverse_sums[r])), context);
            }
        }
    }
}

/// The start of the sums in the last panel of keys: 0 for a key, −∞ for a lane without one.
#[inline(always)]
fn first_sums_of_last_panel(length: usize) -> [f32; LANES] {
    let keys = (length - 1) % LANES + 1;
    let mut start = [0.0; LANES];
    for (lane, value) in start.iter_mut().enumerate() {
        *value = if lane < keys { 0.0 } else { f32::NEG_INFINITY };
    }
    start
}
