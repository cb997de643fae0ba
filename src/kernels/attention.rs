//! Multi-head attention of one sequence: `softmax(Q Kᵀ / √head) V`, head by head.
//!
//! ```text
//!  of one head:   K packed as panels of 16 keys      V packed as panels of 16 columns
//!                        (head, 16)                        (length, 16)
//!                 ┌──────┬──────┬──────┐              ┌──────┬──────┐
//!  query tile ►   │      │      │     0│  scores  ►   │      │      │  ► context
//!  (rows, head)   └──────┴──────┴──────┘  (rows,      │      │      │    (rows, head)
//!                                          length)    └──────┴──────┘
//! ```
//!
//! Both products are the tile of `gemm.rs`. The scores of one tile of queries live in scratch, so scratch
//! grows with the length and never with its square, and stay in L1 from product to softmax to product. The
//! sequence alone decides every bit: there is no padding and no mask.

use super::Isa;
use super::activation::exp2;
use super::gemm::multiply_accumulate;
use super::simd::{Kernel, LANES, MAX_TILE_PANELS, MAX_TILE_ROWS, Simd};

/// How a hidden vector is divided into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Number of heads.
    pub count: usize,
    /// Width of a head.
    pub size: usize,
}

impl Heads {
    /// Width of the hidden vector.
    pub fn width(self) -> usize {
        self.count * self.size
    }
}

/// f32 of scratch that [`attention`] needs for a sequence of `length` tokens.
pub fn attention_scratch(length: usize, heads: Heads) -> usize {
    let padded = length.saturating_add(LANES - 1) / LANES * LANES;
    let columns = heads.size.next_multiple_of(LANES);
    padded.saturating_mul(heads.size + columns + MAX_TILE_ROWS)
}

/// Multi-head attention of one sequence. `qkv` holds, for each token, its query, key and value, each as wide
/// as all heads; `context` gets the concatenated heads. At least [`attention_scratch`] of scratch is needed;
/// what it holds before does not matter.
///
/// # Panics
/// If `qkv` is not three times as long as `context`, or the scratch is too small.
pub fn attention(isa: Isa, qkv: &[f32], heads: Heads, scratch: &mut [f32], context: &mut [f32]) {
    assert_eq!(qkv.len(), 3 * context.len(), "query, key and value for each token");
    let length = context.len() / heads.width().max(1);
    let padded = length.next_multiple_of(LANES);
    let (keys, scratch) = scratch.split_at_mut(padded * heads.size);
    let (values, scratch) = scratch.split_at_mut(length * heads.size.next_multiple_of(LANES));
    let scores = &mut scratch[..padded * MAX_TILE_ROWS];
    isa.run(Attention { qkv, heads, length, padded, keys, values, scores, context });
}

struct Attention<'a> {
    qkv: &'a [f32],
    heads: Heads,
    /// Tokens of the sequence.
    length: usize,
    /// `length` up to whole panels.
    padded: usize,
    /// `(panels, head, 16)`: the keys of one head, 16 at a time.
    keys: &'a mut [f32],
    /// `(panels, length, 16)`: the values of one head, 16 columns at a time.
    values: &'a mut [f32],
    /// `(tile rows, padded)`: the scores of one tile of queries, then their exponentials.
    scores: &'a mut [f32],
    context: &'a mut [f32],
}

impl Kernel for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for head in 0..self.heads.count {
            self.pack_keys(head);
            self.pack_values(simd, head);
            let mut query = 0;
            while query < self.length {
                let rows = (self.length - query).min(S::TILE_ROWS);
                match rows {
                    MAX_TILE_ROWS => self.queries::<S, 8>(simd, head, query),
                    7 => self.queries::<S, 7>(simd, head, query),
                    6 => self.queries::<S, 6>(simd, head, query),
                    5 => self.queries::<S, 5>(simd, head, query),
                    4 => self.queries::<S, 4>(simd, head, query),
                    3 => self.queries::<S, 3>(simd, head, query),
                    2 => self.queries::<S, 2>(simd, head, query),
                    _ => self.queries::<S, 1>(simd, head, query),
                }
                query += rows;
            }
        }
    }
}

impl Attention<'_> {
    /// The part of a token's query (0), key (1) or value (2) that belongs to a head.
    #[inline(always)]
    fn part(&self, token: usize, which: usize, head: usize) -> &[f32] {
        let width = self.heads.width();
        &self.qkv[(3 * token + which) * width + head * self.heads.size..][..self.heads.size]
    }

    #[inline(always)]
    fn pack_keys(&mut self, head: usize) {
        let width = self.heads.width();
        let panels = self.keys.chunks_exact_mut(self.heads.size * LANES);
        for (panel, first) in panels.zip((0..self.length).step_by(LANES)) {
            let count = (self.length - first).min(LANES);
            if count < LANES {
                panel.fill(0.0);
            }
            let lines = panel.as_chunks_mut::<LANES>().0;
            for lane in 0..count {
                let start = (3 * (first + lane) + 1) * width + head * self.heads.size;
                for (line, value) in lines.iter_mut().zip(&self.qkv[start..]) {
                    line[lane] = *value;
                }
            }
        }
    }

    #[inline(always)]
    fn pack_values<S: Simd>(&mut self, simd: S, head: usize) {
        let (width, size) = (self.heads.width(), self.heads.size);
        let panels = self.values.chunks_exact_mut(self.length * LANES);
        for (panel, first) in panels.zip((0..size).step_by(LANES)) {
            let count = (size - first).min(LANES);
            for (token, line) in panel.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let start = (3 * token + 2) * width + head * size + first;
                simd.store(simd.load_partial(&self.qkv[start..start + count]), line);
            }
        }
    }

    /// `R` queries of a head, from their scores to their context.
    #[inline(always)]
    fn queries<S: Simd, const R: usize>(&mut self, simd: S, head: usize, query: usize) {
        let panels = self.padded / LANES;
        let mut panel = 0;
        while panel < panels {
            let together = (panels - panel).min(S::TILE_PANELS);
            match together {
                MAX_TILE_PANELS => self.score::<S, R, 3>(simd, head, query, panel),
                2 => self.score::<S, R, 2>(simd, head, query, panel),
                _ => self.score::<S, R, 1>(simd, head, query, panel),
            }
            panel += together;
        }

        let mut shares = [0.0; R];
        for (scores, share) in self.scores.chunks_exact_mut(self.padded).zip(&mut shares) {
            *share = 1.0 / exponentials(simd, scores, self.length, self.heads.size);
        }

        let panels = self.heads.size.div_ceil(LANES);
        let mut panel = 0;
        while panel < panels {
            let together = (panels - panel).min(S::TILE_PANELS);
            match together {
                MAX_TILE_PANELS => self.mix::<S, R, 3>(simd, head, query, panel, &shares),
                2 => self.mix::<S, R, 2>(simd, head, query, panel, &shares),
                _ => self.mix::<S, R, 1>(simd, head, query, panel, &shares),
            }
            panel += together;
        }
    }

    /// The scores of `R` queries against `P` panels of keys, not yet scaled.
    #[inline(always)]
    fn score<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        head: usize,
        query: usize,
        panel: usize,
    ) {
        let mut queries: [&[f32]; R] = [&[]; R];
        for (r, row) in queries.iter_mut().enumerate() {
            *row = self.part(query + r, 0, head);
        }
        let mut keys: [&[[f32; LANES]]; P] = [&[]; P];
        for (p, lines) in keys.iter_mut().enumerate() {
            *lines = &self.keys.as_chunks().0[(panel + p) * self.heads.size..][..self.heads.size];
        }
        let sums = multiply_accumulate(simd, queries, keys, [[simd.splat(0.0); P]; R]);
        let lines = self.scores.as_chunks_mut().0;
        for (r, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                simd.store(*sum, &mut lines[r * (self.padded / LANES) + panel + p]);
            }
        }
    }

    /// The values of `P` panels, mixed by the exponentials of `R` queries.
    #[inline(always)]
    fn mix<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        head: usize,
        query: usize,
        panel: usize,
        shares: &[f32; R],
    ) {
        let mut exponentials: [&[f32]; R] = [&[]; R];
        for (r, row) in exponentials.iter_mut().enumerate() {
            *row = &self.scores[r * self.padded..][..self.length];
        }
        let mut values: [&[[f32; LANES]]; P] = [&[]; P];
        for (p, lines) in values.iter_mut().enumerate() {
            *lines = &self.values.as_chunks().0[(panel + p) * self.length..][..self.length];
        }
        let sums = multiply_accumulate(simd, exponentials, values, [[simd.splat(0.0); P]; R]);
        for (r, sums) in sums.iter().enumerate() {
            let start = (query + r) * self.heads.width() + head * self.heads.size;
            for (p, sum) in sums.iter().enumerate() {
                let column = (panel + p) * LANES;
                let width = (self.heads.size - column).min(LANES);
                let context = &mut self.context[start + column..][..width];
                simd.store_partial(simd.mul(*sum, simd.splat(shares[r])), context);
            }
        }
    }
}

/// Replaces a row of scores by `exp((score − greatest) / √head)`, with zeros past its length, and returns the
/// sum. Dividing by it is left to the context, which is shorter.
#[inline(always)]
fn exponentials<S: Simd>(simd: S, scores: &mut [f32], length: usize, head: usize) -> f32 {
    scores[length..].fill(f32::NEG_INFINITY);
    let lines = scores.as_chunks_mut::<LANES>().0;
    let mut greatest = simd.splat(f32::NEG_INFINITY);
    for line in &*lines {
        greatest = simd.max(simd.load(line), greatest);
    }
    // Powers of two are cheaper than powers of e, so log2(e) goes into the scale.
    let scale = std::f32::consts::LOG2_E / (head as f32).sqrt();
    let offset = simd.splat(-simd.greatest(greatest) * scale);
    let scale = simd.splat(scale);
    let mut sum = simd.splat(0.0);
    for line in lines {
        let power = exp2(simd, simd.mul_add(simd.load(line), scale, offset));
        simd.store(power, line);
        sum = simd.add(sum, power);
    }
    simd.sum(sum)
}
