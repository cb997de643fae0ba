//! bf16 multi-head attention of one sequence, head by head: `softmax(Q Kᵀ / √head) V`.
//!
//! ```text
//!  of one head, from the rows of the projection (64 bytes for each token and 32 columns):
//!
//!    Q  in place               a block starts at any token
//!    K  16 keys at a time,     16 × 16 pairs of columns are transposed
//!    V  2 tokens at a time,    interleaved to a pair of tokens for each column
//!
//!  32 queries:  scores = Q Kᵀ  (f32, in L1)  ►  softmax, rounded  ►  context = P V  ►  / sum, rounded
//! ```
//!
//! Keys past the end of the sequence have a score of −∞ and a weight of 0; values past it are zeros. The
//! exponentials are summed before they are rounded. Scratch grows with the length and not with its square.
//! Where queries see a window of the keys, 32 queries read the blocks of their window only; the products of
//! the others would add zeros.

use std::ops::Range;

use crate::activation::exp2;
use crate::bf16::products::{BlockKernel, Extent, NoWork, Products};
use crate::bf16::{
    BLOCK_LEN, BLOCK_SIDE, Block, BlockLayout, BlockMatrix, BlockMatrixRef, Operand, Panel,
    pad_to_block, parts,
};
use crate::buffer::{Arena, BufferSize};
use crate::heads::{AttentionHeads, Heads, Projection};
use crate::score_bias::ScoreBias;
use crate::simd::{LANES, Simd, TILE_LEN};

/// The scratch that [`Bf16Attention`] needs for a sequence of `length` tokens.
pub(crate) fn attend_bf16_scratch_size(length: usize, heads: Heads, split: bool) -> BufferSize {
    let rows = pad_to_block(length);
    // For each token, a key and a value of a head, and the weights of 32 queries.
    let halves = 2usize.saturating_mul(pad_to_block(heads.size)).saturating_add(BLOCK_SIDE);
    BufferSize {
        floats: rows.saturating_mul(BLOCK_SIDE),
        halves: rows.saturating_mul(halves).saturating_mul(parts(split)),
    }
}

/// Attention of the tokens of one sequence.
pub(crate) struct Bf16Attention<'a> {
    /// Query, key and value of all tokens. Each head starts with a column block.
    qkv: BlockMatrixRef<'a>,
    heads: AttentionHeads,
    bias: Option<&'a ScoreBias>,
    /// The tokens of the sequence.
    tokens: Range<usize>,
    split: bool,
    /// `(token blocks, head blocks)` blocks.
    keys: &'a mut [u16],
    /// `(head blocks, token blocks)` blocks.
    values: &'a mut [u16],
    /// `(32, padded length)`: the scores of 32 queries.
    scores: &'a mut [f32],
    /// The exponentials of the scores, rounded.
    weights: BlockMatrix<'a>,
    context: BlockMatrix<'a>,
}

impl<'a> Bf16Attention<'a> {
    pub fn new(
        qkv: BlockMatrixRef<'a>,
        heads: AttentionHeads,
        bias: Option<&'a ScoreBias>,
        tokens: Range<usize>,
        scratch: Arena<'a>,
        context: BlockMatrix<'a>,
    ) -> Self {
        let split = qkv.is_split();
        assert_eq!(
            qkv.column_blocks() * BLOCK_SIDE,
            heads.qkv().padded_width(),
            "the input holds query, key and value"
        );
        assert_eq!(
            context.as_ref().column_blocks() * BLOCK_SIDE,
            heads.queries.padded_width(),
            "the context holds all heads"
        );
        assert!(tokens.end <= qkv.rows() && tokens.end <= context.rows(), "the tokens exist");
        let rows = pad_to_block(tokens.len());
        let head_len = rows * pad_to_block(heads.queries.size) * parts(split);
        let (scores, _) = scratch.floats.split_at_mut(rows * BLOCK_SIDE);
        let (keys, rest) = scratch.halves.split_at_mut(head_len);
        let (values, weights) = rest.split_at_mut(head_len);
        let layout = BlockLayout::for_linear(rows / BLOCK_SIDE, split);
        let weights = BlockMatrix::new(weights, layout, BLOCK_SIDE);
        Bf16Attention { qkv, heads, bias, tokens, split, keys, values, scores, weights, context }
    }

    /// Column blocks of a head.
    fn head_blocks(&self) -> usize {
        pad_to_block(self.heads.queries.size) / BLOCK_SIDE
    }

    /// Blocks of 32 tokens.
    fn token_blocks(&self) -> usize {
        pad_to_block(self.tokens.len()) / BLOCK_SIDE
    }

    /// The column block of a query, or of the key or value that a query head reads: block `block` of it.
    fn column_block(&self, projection: Projection, head: usize, block: usize) -> usize {
        self.heads.position(projection, head) * self.head_blocks() + block
    }

    /// Transposes the keys of a head. Keys past the end of the sequence are undefined; their scores are not read.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, head: usize) {
        let parts = parts(self.split);
        for tokens in 0..self.token_blocks() {
            let left = self.tokens.len() - tokens * BLOCK_SIDE;
            for block in 0..self.head_blocks() {
                let first = self.tokens.start + tokens * BLOCK_SIDE;
                let key = self.qkv.block(first, self.column_block(Projection::Key, head, block));
                let index = tokens * self.head_blocks() + block;
                let blocks = &mut self.keys[index * parts * BLOCK_LEN..];
                for (from, to) in key.parts().zip(blocks.chunks_exact_mut(BLOCK_LEN)) {
                    let tiles = from.as_chunks::<TILE_LEN>().0.iter().take(left.div_ceil(LANES));
                    for (from, to) in tiles.zip(to.as_chunks_mut::<TILE_LEN>().0) {
                        simd.transpose_pairs(from, to);
                    }
                }
            }
        }
    }

    /// Interleaves the values of a head. Values past the end of the sequence are zeros, since a weight of 0
    /// times NaN is NaN.
    #[inline(always)]
    fn pack_values<S: Simd>(&mut self, simd: S, head: usize) {
        let parts = parts(self.split);
        for block in 0..self.head_blocks() {
            for tokens in 0..self.token_blocks() {
                let count = (self.tokens.len() - tokens * BLOCK_SIDE).min(BLOCK_SIDE);
                let first = self.tokens.start + tokens * BLOCK_SIDE;
                let value =
                    self.qkv.block(first, self.column_block(Projection::Value, head, block));
                let index = block * self.token_blocks() + tokens;
                let blocks = &mut self.values[index * parts * BLOCK_LEN..];
                for (from, to) in value.parts().zip(blocks.chunks_exact_mut(BLOCK_LEN)) {
                    if count == BLOCK_SIDE {
                        interleave_rows(simd, from, to);
                    } else {
                        let mut filled = [0; BLOCK_LEN];
                        filled[..count * BLOCK_SIDE].copy_from_slice(&from[..count * BLOCK_SIDE]);
                        interleave_rows(simd, &filled, to);
                    }
                }
            }
        }
    }

    /// The context of a head for the next 32 queries, or for those that remain.
    #[inline(always)]
    fn attend_queries<S: Simd, P: Products>(
        &mut self,
        simd: S,
        products: &mut P,
        head: usize,
        first: usize,
    ) {
        let length = self.tokens.len();
        let rows = (length - first).min(BLOCK_SIDE);
        let (head_blocks, token_blocks) = (self.head_blocks(), self.token_blocks());
        let stride = token_blocks * BLOCK_SIDE;
        let seen =
            self.bias.map_or(0..length, |bias| bias.keys_seen_by(first..first + rows, length));
        let seen = seen.start / BLOCK_SIDE..seen.end.div_ceil(BLOCK_SIDE);
        let queries = self.column_block(Projection::Query, head, 0);

        for keys in seen.clone() {
            let columns = (length - keys * BLOCK_SIDE).min(BLOCK_SIDE);
            let extent = Extent { rows, columns, depth: head_blocks * BLOCK_SIDE };
            let factors = |block| {
                let query = self.qkv.block(self.tokens.start + first, queries + block);
                [query, Operand::from_blocks(self.keys, keys * head_blocks + block, self.split)]
            };
            let scores = &mut self.scores[keys * BLOCK_SIDE..];
            products.multiply(simd, extent, factors, &mut NoWork, scores, stride);
        }

        if let Some(bias) = self.bias {
            let scale = simd.splat(self.heads.scale());
            let scores = self.scores.as_chunks_mut::<LANES>().0.chunks_exact_mut(2 * token_blocks);
            for (row, lines) in scores.enumerate().take(rows) {
                let seen = 2 * seen.start..2 * seen.end;
                for (number, line) in seen.clone().zip(&mut lines[seen]) {
                    let added = simd.load(bias.line(head, first + row, number * LANES));
                    simd.store(simd.mul_add(simd.load(line), scale, added), line);
                }
            }
        }
        let inverse_sums = self.softmax(simd, rows, &seen);

        let mut sums = [0.0; BLOCK_LEN];
        for block in 0..head_blocks {
            let weights = self.weights.as_ref().panel(0);
            let values = Panel::new(self.values, block, token_blocks, self.split);
            let depth = length.min(seen.end * BLOCK_SIDE) - seen.start * BLOCK_SIDE;
            let extent = Extent { rows, columns: BLOCK_SIDE, depth };
            let factors = |k| [weights.block(seen.start + k), values.block(seen.start + k)];
            products.multiply(simd, extent, factors, &mut NoWork, &mut sums, BLOCK_SIDE);
            for (row, sums) in sums.as_chunks::<BLOCK_SIDE>().0.iter().enumerate().take(rows) {
                let (sums, inverse) = (sums.as_chunks::<LANES>().0, simd.splat(inverse_sums[row]));
                let values = [
                    simd.mul(simd.load(&sums[0]), inverse),
                    simd.mul(simd.load(&sums[1]), inverse),
                ];
                let token = self.tokens.start + first + row;
                self.context.store(simd, token, head * head_blocks + block, values);
            }
        }
    }

    /// Writes the weights of `rows` queries for the `seen` blocks of keys, `exp((score − maximum) / √divisor)`,
    /// rounded, and returns the inverse of the sum of each query before rounding. The context, which is
    /// shorter, is multiplied by it.
    ///
    /// Each step runs for all queries before the next step. The maximum and the sum of a query are long
    /// dependency chains, which the CPU overlaps with those of the next query.
    #[inline(always)]
    fn softmax<S: Simd>(&mut self, simd: S, rows: usize, seen: &Range<usize>) -> [f32; BLOCK_SIDE] {
        let length = self.tokens.len();
        let lines = self.token_blocks() * 2;
        let scores = &self.scores.as_chunks::<LANES>().0[..rows * lines];
        let seen = || 2 * seen.start..length.div_ceil(LANES).min(2 * seen.end);
        let scores = scores.chunks_exact(lines).map(|lines| Scores { lines, length, seen: seen() });
        let scale = self.bias.map_or(self.heads.scale(), |_| 1.0);

        let mut offsets = [0.0; BLOCK_SIDE];
        for (scores, offset) in scores.clone().zip(&mut offsets) {
            *offset = -simd.reduce_max(scores.max(simd)) * scale;
        }
        let mut sums = [simd.splat(0.0); BLOCK_SIDE];
        for (row, (scores, sum)) in scores.zip(&mut sums).enumerate() {
            let (scale, offset) = (simd.splat(scale), simd.splat(offsets[row]));
            *sum = scores.exponentiate(simd, scale, offset, row, &mut self.weights);
        }
        let mut inverse_sums = [0.0; BLOCK_SIDE];
        for (inverse, sum) in inverse_sums.iter_mut().zip(sums).take(rows) {
            *inverse = 1.0 / simd.reduce_sum(sum);
        }
        inverse_sums
    }
}

/// The scores of a query.
#[derive(Clone)]
struct Scores<'a> {
    lines: &'a [[f32; LANES]],
    /// Keys of the sequence.
    length: usize,
    /// The lines that the query sees.
    seen: Range<usize>,
}

impl Scores<'_> {
    /// 16 scores. Keys past the end of the sequence have a score of −∞.
    #[inline(always)]
    fn line<S: Simd>(&self, simd: S, line: usize) -> S::Lanes {
        let scores = simd.load(&self.lines[line]);
        match self.length - line * LANES {
            keys @ 0..LANES => simd.select_first(keys, scores, simd.splat(f32::NEG_INFINITY)),
            _ => scores,
        }
    }

    /// The maximum of each lane.
    #[inline(always)]
    fn max<S: Simd>(&self, simd: S) -> S::Lanes {
        let mut maximum = simd.splat(f32::NEG_INFINITY);
        for line in self.seen.clone() {
            maximum = simd.max(self.line(simd, line), maximum);
        }
        maximum
    }

    /// Writes `2^(scale · score + offset)` and returns the sum of each lane.
    #[inline(always)]
    fn exponentiate<S: Simd>(
        self,
        simd: S,
        scale: S::Lanes,
        offset: S::Lanes,
        row: usize,
        weights: &mut BlockMatrix,
    ) -> S::Lanes {
        let mut sum = simd.splat(0.0);
        let lines = self.seen.end;
        for block in self.seen.start / 2..lines.div_ceil(2) {
            let score = self.line(simd, 2 * block);
            let first = exp2(simd, simd.mul_add(score, scale, offset));
            sum = simd.add(sum, first);
            let mut second = simd.splat(0.0);
            if 2 * block + 1 < lines {
                let score = self.line(simd, 2 * block + 1);
                second = exp2(simd, simd.mul_add(score, scale, offset));
                sum = simd.add(sum, second);
            }
            weights.store(simd, row, block, [first, second]);
        }
        sum
    }
}

impl BlockKernel for Bf16Attention<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(mut self, simd: S, products: &mut P) {
        for head in 0..self.heads.queries.count {
            if head % self.heads.group() == 0 {
                self.pack_keys(simd, head);
                self.pack_values(simd, head);
            }
            for first in (0..self.tokens.len()).step_by(BLOCK_SIDE) {
                self.attend_queries(simd, products, head, first);
            }
        }
    }
}

/// Interleaves each two rows of 32 values to two lines of 16 pairs, one in each tile of the block.
#[inline(always)]
fn interleave_rows<S: Simd>(simd: S, from: &Block, to: &mut [u16]) {
    let (first, second) = to.split_at_mut(TILE_LEN);
    let lines = first.as_chunks_mut().0.iter_mut().zip(second.as_chunks_mut().0);
    for (two, lines) in from.as_chunks::<{ 2 * BLOCK_SIDE }>().0.iter().zip(lines) {
        let [first, second, third, fourth] = two.as_chunks::<LANES>().0 else {
            unreachable!("two rows are 4 × 16 values")
        };
        simd.interleave(first, third, lines.0);
        simd.interleave(second, fourth, lines.1);
    }
}
