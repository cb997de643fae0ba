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
//! sequence alone decides every bit. The last panel of keys may have lanes without a key: the sums there begin
//! at −∞ instead of 0, stay there, and become an exponential of 0.

use super::Isa;
use super::activation::exp2;
use super::gemm::{multiply_accumulate, tiles};
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

/// f32 of scratch that [`attend_f32`] needs for a sequence of `length` tokens.
pub fn attend_f32_scratch_len(length: usize, heads: Heads) -> usize {
    let padded = length.saturating_add(LANES - 1) / LANES * LANES;
    let columns = heads.size.next_multiple_of(LANES);
    padded.saturating_mul(heads.size + columns + MAX_TILE_ROWS)
}

/// Multi-head attention of one sequence. `qkv` holds, for each token, its query, key and value, each as wide
/// as all heads; `context` gets the concatenated heads. At least [`attend_f32_scratch_len`] of scratch is needed;
/// what it holds before does not matter.
///
/// # Panics
/// If `qkv` is not three times as long as `context`, or the scratch is too small.
pub fn attend_f32(isa: Isa, qkv: &[f32], heads: Heads, scratch: &mut [f32], context: &mut [f32]) {
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
            self.pack_keys(simd, head);
            self.pack_values(simd, head);
            for tile in tiles(0..self.length, S::TILE_ROWS) {
                match tile.len() {
                    MAX_TILE_ROWS => self.queries::<S, 8>(simd, head, tile.start),
                    7 => self.queries::<S, 7>(simd, head, tile.start),
                    6 => self.queries::<S, 6>(simd, head, tile.start),
                    5 => self.queries::<S, 5>(simd, head, tile.start),
                    4 => self.queries::<S, 4>(simd, head, tile.start),
                    3 => self.queries::<S, 3>(simd, head, tile.start),
                    2 => self.queries::<S, 2>(simd, head, tile.start),
                    _ => self.queries::<S, 1>(simd, head, tile.start),
                }
            }
        }
    }
}

impl Attention<'_> {
    /// Where the part of a token's query (0), key (1) or value (2) that belongs to a head begins.
    #[inline(always)]
    fn start(&self, token: usize, which: usize, head: usize) -> usize {
        (3 * token + which) * self.heads.width() + head * self.heads.size
    }

    /// Transposes the keys of a head, 16 keys by 16 components at a time.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, head: usize) {
        let size = self.heads.size;
        for panel in 0..self.padded / LANES {
            let first = panel * LANES;
            let count = (self.length - first).min(LANES);
            let mut rows: [&[f32]; LANES] = [&[]; LANES];
            for (lane, row) in rows.iter_mut().enumerate() {
                // A lane without a key repeats the last one: its sums begin at −∞, whatever is multiplied.
                let key = self.start(first + lane.min(count - 1), 1, head);
                *row = &self.qkv[key..key + size];
            }
            let lines = &mut self.keys.as_chunks_mut::<LANES>().0[panel * size..][..size];
            let (blocks, rest) = lines.as_chunks_mut::<LANES>();
            for (at, block) in blocks.iter_mut().enumerate() {
                let mut square: [&[f32; LANES]; LANES] = [&[0.0; LANES]; LANES];
                for (row, part) in rows.iter().zip(&mut square) {
                    if let Some(values) = row[at * LANES..].first_chunk() {
                        *part = values;
                    }
                }
                simd.transpose(square, block);
            }
            let done = size - rest.len();
            for (at, line) in rest.iter_mut().enumerate() {
                for (row, value) in rows.iter().zip(line) {
                    *value = row[done + at];
                }
            }
        }
    }

    #[inline(always)]
    fn pack_values<S: Simd>(&mut self, simd: S, head: usize) {
        let size = self.heads.size;
        for (panel, first) in (0..size).step_by(LANES).enumerate() {
            let count = (size - first).min(LANES);
            let lines =
                &mut self.values.as_chunks_mut::<LANES>().0[panel * self.length..][..self.length];
            let mut start = 2 * self.heads.width() + head * size + first;
            for line in lines {
                simd.store(simd.load_partial(&self.qkv[start..start + count]), line);
                start += 3 * self.heads.width();
            }
        }
    }

    /// `R` queries of a head, from their scores to their context.
    #[inline(always)]
    fn queries<S: Simd, const R: usize>(&mut self, simd: S, head: usize, query: usize) {
        let mut greatest = [simd.splat(f32::NEG_INFINITY); R];
        let panels = self.padded / LANES;
        let mut panel = 0;
        while panel < panels {
            let together = (panels - panel).min(S::TILE_PANELS);
            match together {
                MAX_TILE_PANELS => self.score::<S, R, 3>(simd, head, query, panel, &mut greatest),
                2 => self.score::<S, R, 2>(simd, head, query, panel, &mut greatest),
                _ => self.score::<S, R, 1>(simd, head, query, panel, &mut greatest),
            }
            panel += together;
        }

        let shares = self.exponentials::<S, R>(simd, greatest);

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

    /// The scores of `R` queries against `P` panels of keys, not yet scaled, and each lane's greatest so far.
    #[inline(always)]
    fn score<S: Simd, const R: usize, const P: usize>(
        &mut self,
        simd: S,
        head: usize,
        query: usize,
        panel: usize,
        greatest: &mut [S::Lanes; R],
    ) {
        let (size, panels) = (self.heads.size, self.padded / LANES);
        let mut queries: [&[f32]; R] = [&[]; R];
        for (r, row) in queries.iter_mut().enumerate() {
            *row = &self.qkv[self.start(query + r, 0, head)..][..size];
        }
        let mut keys: [&[[f32; LANES]]; P] = [&[]; P];
        for (p, lines) in keys.iter_mut().enumerate() {
            *lines = &self.keys.as_chunks().0[(panel + p) * size..][..size];
        }
        let mut start = [simd.splat(0.0); P];
        if panel + P == panels {
            start[P - 1] = simd.load(&lanes_without_a_key(self.length));
        }
        let sums = multiply_accumulate(simd, queries, keys, [start; R]);
        let lines = self.scores.as_chunks_mut().0;
        for (r, (sums, greatest)) in sums.iter().zip(greatest).enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                *greatest = simd.max(*sum, *greatest);
                simd.store(*sum, &mut lines[r * panels + panel + p]);
            }
        }
    }

    /// Replaces the scores of `R` queries by `exp((score − greatest) / √head)`, and returns one over the sum
    /// of each. Multiplying with it is left to the context, which is shorter.
    #[inline(always)]
    fn exponentials<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        greatest: [S::Lanes; R],
    ) -> [f32; R] {
        // Powers of two are cheaper than powers of e, so log2(e) goes into the scale.
        let scale = std::f32::consts::LOG2_E / (self.heads.size as f32).sqrt();
        let mut offsets = [simd.splat(0.0); R];
        for (offset, greatest) in offsets.iter_mut().zip(greatest) {
            *offset = simd.splat(-simd.greatest(greatest) * scale);
        }
        let scale = simd.splat(scale);
        let panels = self.padded / LANES;
        let mut sums = [simd.splat(0.0); R];
        let rows = self.scores.as_chunks_mut::<LANES>().0.chunks_exact_mut(panels);
        for ((lines, offset), sum) in rows.zip(offsets).zip(&mut sums) {
            for line in lines {
                let power = exp2(simd, simd.mul_add(simd.load(line), scale, offset));
                simd.store(power, line);
                *sum = simd.add(*sum, power);
            }
        }
        let mut shares = [0.0; R];
        for (share, sum) in shares.iter_mut().zip(sums) {
            *share = 1.0 / simd.sum(sum);
        }
        shares
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

/// What the sums of the last panel of keys begin with: 0 for a key, −∞ for a lane past the last one.
#[inline(always)]
fn lanes_without_a_key(length: usize) -> [f32; LANES] {
    let keys = (length - 1) % LANES + 1;
    let mut start = [0.0; LANES];
    for (lane, value) in start.iter_mut().enumerate() {
        *value = if lane < keys { 0.0 } else { f32::NEG_INFINITY };
    }
    start
}
