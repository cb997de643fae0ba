//! Multi-head attention of one sequence over tiles: `softmax(Q Kᵀ / √head) V`, head by head.
//!
//! ```text
//!  of one head, from the rows that the projection gave (64 bytes for each token and 32 columns):
//!
//!    Q  as it lies             a square begins at any token
//!    K  16 keys at a time,     pairs of columns become the rows: what was 16 × 16 pairs is transposed
//!    V  2 tokens at a time,    a pair of tokens for each column
//!
//!  32 queries:  scores = Q Kᵀ  (f32, in L1)  ►  softmax, rounded  ►  context = P V  ►  / sum, rounded
//! ```
//!
//! Keys past the sequence's end have a score of −∞ and weigh nothing; values past it are zeros. The sums of the
//! exponentials are made before these are rounded. Scratch grows with the length and not with its square.

use std::ops::Range;

use super::products::{Extent, Products};
use super::{Layout, Operand, SIDE, SQUARE, Squares, TileKernel, Tiles, TilesRef, padded};
use crate::activation::exp2;
use crate::simd::{LANES, Simd, TILE};
use crate::{BufferSize, Heads};

/// What the attention of a sequence of `length` tokens needs.
pub(crate) fn attention_room(length: usize, heads: Heads, split: bool) -> BufferSize {
    let parts = if split { 2 } else { 1 };
    let rows = padded(length);
    // Keys and values of a head, and the weights of 32 queries.
    let halves = 2usize.saturating_mul(padded(heads.size)).saturating_add(SIDE);
    BufferSize {
        floats: rows.saturating_mul(SIDE),
        halves: rows.saturating_mul(halves).saturating_mul(parts),
    }
}

/// Attention of the tokens of one sequence.
pub(crate) struct TileAttention<'a> {
    /// Query, key and value of all tokens, each of whose heads begins with a column block.
    qkv: TilesRef<'a>,
    heads: Heads,
    /// The tokens of the sequence.
    tokens: Range<usize>,
    split: bool,
    /// `(blocks of keys, blocks of the head)` squares.
    keys: &'a mut [u16],
    /// `(blocks of the head, blocks of tokens)` squares.
    values: &'a mut [u16],
    /// `(32, padded length)`: the scores of 32 queries.
    scores: &'a mut [f32],
    /// The same as weights.
    weights: Tiles<'a>,
    context: Tiles<'a>,
}

impl<'a> TileAttention<'a> {
    pub fn new(
        qkv: TilesRef<'a>,
        heads: Heads,
        tokens: Range<usize>,
        scratch: (&'a mut [f32], &'a mut [u16]),
        context: Tiles<'a>,
    ) -> Self {
        let split = qkv.is_split();
        assert_eq!(qkv.blocks() * SIDE, 3 * heads.padded_width(), "query, key and value");
        assert_eq!(context.as_ref().blocks() * SIDE, heads.padded_width(), "all heads");
        assert!(tokens.end <= qkv.rows() && tokens.end <= context.rows(), "the tokens are there");
        let rows = padded(tokens.len());
        let parts = if split { 2 } else { 1 };
        let (scores, _) = scratch.0.split_at_mut(rows * SIDE);
        let (keys, rest) = scratch.1.split_at_mut(rows * padded(heads.size) * parts);
        let (values, weights) = rest.split_at_mut(rows * padded(heads.size) * parts);
        let weights = Tiles::new(weights, Layout::squares(rows / SIDE, split), SIDE);
        TileAttention { qkv, heads, tokens, split, keys, values, scores, weights, context }
    }

    fn parts(&self) -> usize {
        if self.split { 2 } else { 1 }
    }

    /// Column blocks of a head.
    fn head_blocks(&self) -> usize {
        padded(self.heads.size) / SIDE
    }

    /// Blocks of 32 tokens.
    fn token_blocks(&self) -> usize {
        padded(self.tokens.len()) / SIDE
    }

    /// The column block of a query (0), key (1) or value (2).
    fn block(&self, which: usize, head: usize, block: usize) -> usize {
        (which * self.heads.count + head) * self.head_blocks() + block
    }

    /// Keys past the sequence's end are whatever is there: nobody asks for their scores.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, head: usize) {
        let parts = self.parts();
        for tokens in 0..self.token_blocks() {
            let there = self.tokens.len() - tokens * SIDE;
            for block in 0..self.head_blocks() {
                let first = self.tokens.start + tokens * SIDE;
                let square = self.qkv.square(first, self.block(1, head, block));
                let number = tokens * self.head_blocks() + block;
                let squares = &mut self.keys[number * parts * SQUARE..];
                for (rows, square) in square.parts().zip(squares.chunks_exact_mut(SQUARE)) {
                    let tiles = rows.as_chunks::<TILE>().0.iter().take(there.div_ceil(LANES));
                    for (from, to) in tiles.zip(square.as_chunks_mut::<TILE>().0) {
                        simd.transpose_pairs(from, to);
                    }
                }
            }
        }
    }

    /// Values past the sequence's end are zeros: a weight of zero does not make one of what is not a number.
    #[inline(always)]
    fn pack_values<S: Simd>(&mut self, simd: S, head: usize) {
        let parts = self.parts();
        for block in 0..self.head_blocks() {
            for tokens in 0..self.token_blocks() {
                let there = (self.tokens.len() - tokens * SIDE).min(SIDE);
                let first = self.tokens.start + tokens * SIDE;
                let square = self.qkv.square(first, self.block(2, head, block));
                let number = block * self.token_blocks() + tokens;
                let squares = &mut self.values[number * parts * SQUARE..];
                for (rows, square) in square.parts().zip(squares.chunks_exact_mut(SQUARE)) {
                    if there == SIDE {
                        pair_rows(simd, rows, square);
                    } else {
                        let mut filled = [0; SQUARE];
                        filled[..there * SIDE].copy_from_slice(&rows[..there * SIDE]);
                        pair_rows(simd, &filled, square);
                    }
                }
            }
        }
    }

    /// The context of 32 queries of a head, or of as many as are left.
    #[inline(always)]
    fn queries<S: Simd, P: Products>(
        &mut self,
        simd: S,
        products: &mut P,
        head: usize,
        first: usize,
    ) {
        let length = self.tokens.len();
        let rows = (length - first).min(SIDE);
        let (head_blocks, token_blocks) = (self.head_blocks(), self.token_blocks());
        let stride = token_blocks * SIDE;
        let queries = self.block(0, head, 0);

        for keys in 0..token_blocks {
            let columns = (length - keys * SIDE).min(SIDE);
            let wanted = Extent { rows, columns, depth: head_blocks * SIDE };
            let factors = |block| {
                let query = self.qkv.square(self.tokens.start + first, queries + block);
                [query, Operand::of(self.keys, keys * head_blocks + block, self.split)]
            };
            let scores = &mut self.scores[keys * SIDE..];
            products.product(simd, wanted, factors, |_, _| {}, scores, stride);
        }

        let shares = self.softmax(simd, rows);

        let mut mixed = [0.0; SQUARE];
        for block in 0..head_blocks {
            let weights = self.weights.as_ref().squares(0);
            let values = Squares::of(self.values, block, token_blocks, self.split);
            let wanted = Extent { rows, columns: SIDE, depth: length };
            let factors = |k| [weights.get(k), values.get(k)];
            products.product(simd, wanted, factors, |_, _| {}, &mut mixed, SIDE);
            for (row, mixed) in mixed.as_chunks::<SIDE>().0.iter().enumerate().take(rows) {
                let (mixed, share) = (mixed.as_chunks::<LANES>().0, simd.splat(shares[row]));
                let values =
                    [simd.mul(simd.load(&mixed[0]), share), simd.mul(simd.load(&mixed[1]), share)];
                let token = self.tokens.start + first + row;
                self.context.store(simd, token, head * head_blocks + block, values);
            }
        }
    }

    /// Makes weights of the scores of so many queries, `exp((score − greatest) / √head)`, rounded, and returns what
    /// their sums before they were have to be divided by. That is left to the context, which is shorter.
    ///
    /// Each step is taken for all queries before the next: a row's greatest score, or its sum, is a long chain of short
    /// instructions, and the CPU fills the wait with the next row's.
    #[inline(always)]
    fn softmax<S: Simd>(&mut self, simd: S, rows: usize) -> [f32; SIDE] {
        let length = self.tokens.len();
        let lines = self.token_blocks() * 2;
        let scores = &self.scores.as_chunks::<LANES>().0[..rows * lines];
        let scores = scores.chunks_exact(lines).map(|lines| Scores { lines, length });
        // Powers of two are cheaper than powers of e, so log2(e) goes into the scale.
        let scale = std::f32::consts::LOG2_E / (self.heads.size as f32).sqrt();

        let mut offsets = [0.0; SIDE];
        for (scores, offset) in scores.clone().zip(&mut offsets) {
            *offset = -simd.greatest(scores.greatest(simd)) * scale;
        }
        let mut sums = [simd.splat(0.0); SIDE];
        for (row, (scores, sum)) in scores.zip(&mut sums).enumerate() {
            let (scale, offset) = (simd.splat(scale), simd.splat(offsets[row]));
            *sum = scores.exponentials(simd, scale, offset, row, &mut self.weights);
        }
        let mut shares = [0.0; SIDE];
        for (share, sum) in shares.iter_mut().zip(sums).take(rows) {
            *share = 1.0 / simd.sum(sum);
        }
        shares
    }
}

/// The scores of a query.
#[derive(Clone, Copy)]
struct Scores<'a> {
    lines: &'a [[f32; LANES]],
    /// Keys that there are.
    length: usize,
}

impl Scores<'_> {
    /// Keys past the sequence's end have a score of −∞.
    #[inline(always)]
    fn line<S: Simd>(self, simd: S, line: usize) -> S::Lanes {
        let scores = simd.load(&self.lines[line]);
        match self.length - line * LANES {
            there @ 0..LANES => simd.first_lanes(there, scores, simd.splat(f32::NEG_INFINITY)),
            _ => scores,
        }
    }

    /// The greatest of each lane.
    #[inline(always)]
    fn greatest<S: Simd>(self, simd: S) -> S::Lanes {
        let mut greatest = simd.splat(f32::NEG_INFINITY);
        for line in 0..self.length.div_ceil(LANES) {
            greatest = simd.max(self.line(simd, line), greatest);
        }
        greatest
    }

    /// Writes `2^(scale · score + offset)` and returns the sum of each lane.
    #[inline(always)]
    fn exponentials<S: Simd>(
        self,
        simd: S,
        scale: S::Lanes,
        offset: S::Lanes,
        row: usize,
        weights: &mut Tiles,
    ) -> S::Lanes {
        let mut sum = simd.splat(0.0);
        let lines = self.length.div_ceil(LANES);
        for block in 0..lines.div_ceil(2) {
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

impl TileKernel for TileAttention<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(mut self, simd: S, products: &mut P) {
        for head in 0..self.heads.count {
            self.pack_keys(simd, head);
            self.pack_values(simd, head);
            for first in (0..self.tokens.len()).step_by(SIDE) {
                self.queries(simd, products, head, first);
            }
        }
    }
}

/// Two rows become one of pairs: the rows of 32 values, the pairs in two tiles of 16 columns.
#[inline(always)]
fn pair_rows<S: Simd>(simd: S, rows: &[u16; SQUARE], square: &mut [u16]) {
    let (first, second) = square.split_at_mut(TILE);
    let lines = first.as_chunks_mut().0.iter_mut().zip(second.as_chunks_mut().0);
    for (two, lines) in rows.as_chunks::<{ 2 * SIDE }>().0.iter().zip(lines) {
        let [first, second, third, fourth] = two.as_chunks::<LANES>().0 else {
            unreachable!("two rows are four times 16 values")
        };
        simd.pair(first, third, lines.0);
        simd.pair(second, fourth, lines.1);
    }
}
