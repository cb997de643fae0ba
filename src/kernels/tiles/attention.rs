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

use super::sums::Sums;
use super::{Layout, Operand, SIDE, SQUARE, Squares, TileKernel, Tiles, TilesRef, padded};
use crate::kernels::activation::exp2;
use crate::kernels::simd::{LANES, Simd, TILE};
use crate::kernels::{Heads, Room};

/// What the attention of a sequence of `length` tokens needs.
pub(in crate::kernels) fn attention_room(length: usize, heads: Heads, split: bool) -> Room {
    let parts = if split { 2 } else { 1 };
    let rows = padded(length);
    // Keys and values of a head, and the weights of 32 queries.
    let halves = 2usize.saturating_mul(padded(heads.size)).saturating_add(SIDE);
    Room {
        floats: rows.saturating_mul(SIDE),
        halves: rows.saturating_mul(halves).saturating_mul(parts),
    }
}

/// Attention of the tokens of one sequence.
pub(in crate::kernels) struct TileAttention<'a> {
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

    /// 32 tokens of a column block, those past the sequence's end as zeros, one part after the other.
    #[inline(always)]
    fn tokens_of(&self, first: usize, block: usize, to: &mut [[u16; SQUARE]; 2]) {
        let square = self.qkv.square(self.tokens.start + first, block);
        let there = (self.tokens.len() - first).min(SIDE) * SIDE;
        for (part, to) in [Some(square.high), square.low].into_iter().flatten().zip(to) {
            to[..there].copy_from_slice(&part[..there]);
            to[there..].fill(0);
        }
    }

    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, head: usize) {
        let parts = self.parts();
        let mut rows = [[0; SQUARE]; 2];
        for tokens in 0..self.token_blocks() {
            for block in 0..self.head_blocks() {
                self.tokens_of(tokens * SIDE, self.block(1, head, block), &mut rows);
                let number = tokens * self.head_blocks() + block;
                let squares = &mut self.keys[number * parts * SQUARE..];
                for (rows, square) in rows.iter().zip(squares.chunks_exact_mut(SQUARE)).take(parts)
                {
                    let tiles = rows.as_chunks::<TILE>().0.iter();
                    for (from, to) in tiles.zip(square.as_chunks_mut::<TILE>().0) {
                        simd.transpose_pairs(from, to);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn pack_values(&mut self, head: usize) {
        let parts = self.parts();
        let mut rows = [[0; SQUARE]; 2];
        for block in 0..self.head_blocks() {
            for tokens in 0..self.token_blocks() {
                self.tokens_of(tokens * SIDE, self.block(2, head, block), &mut rows);
                let number = block * self.token_blocks() + tokens;
                let squares = &mut self.values[number * parts * SQUARE..];
                for (rows, square) in rows.iter().zip(squares.chunks_exact_mut(SQUARE)).take(parts)
                {
                    pair_rows(rows, square);
                }
            }
        }
    }

    /// The context of 32 queries of a head, or of as many as are left.
    #[inline(always)]
    fn queries<S: Simd, T: Sums>(&mut self, simd: S, sums: &mut T, head: usize, first: usize) {
        let rows = (self.tokens.len() - first).min(SIDE);
        let (head_blocks, token_blocks) = (self.head_blocks(), self.token_blocks());
        let stride = token_blocks * SIDE;

        for keys in 0..token_blocks {
            sums.clear(rows);
            for block in 0..head_blocks {
                let query = self.qkv.square(self.tokens.start + first, self.block(0, head, block));
                let key = Operand::of(self.keys, keys * head_blocks + block, self.split);
                sums.add(simd, query, key);
            }
            sums.store(&mut self.scores[keys * SIDE..], stride);
        }

        let mut shares = [0.0; SIDE];
        for (row, share) in shares.iter_mut().enumerate().take(rows) {
            let scores = &mut self.scores[row * stride..][..stride];
            scores[self.tokens.len()..].fill(f32::NEG_INFINITY);
            *share = 1.0 / softmax(simd, scores, self.heads.size, &mut self.weights, row);
        }

        let mut mixed = [0.0; SQUARE];
        for block in 0..head_blocks {
            sums.clear(rows);
            let weights = self.weights.as_ref().squares(0);
            sums.add_all(simd, weights, Squares::of(self.values, block, token_blocks, self.split));
            sums.store(&mut mixed, SIDE);
            for (row, mixed) in mixed.as_chunks::<SIDE>().0.iter().enumerate().take(rows) {
                let (mixed, share) = (mixed.as_chunks::<LANES>().0, simd.splat(shares[row]));
                let values =
                    [simd.mul(simd.load(&mixed[0]), share), simd.mul(simd.load(&mixed[1]), share)];
                let token = self.tokens.start + first + row;
                self.context.store(simd, token, head * head_blocks + block, values);
            }
        }
    }
}

impl TileKernel for TileAttention<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Sums>(mut self, simd: S, sums: &mut T) {
        for head in 0..self.heads.count {
            self.pack_keys(simd, head);
            self.pack_values(head);
            for first in (0..self.tokens.len()).step_by(SIDE) {
                self.queries(simd, sums, head, first);
            }
        }
    }
}

/// Two rows become one of pairs: the rows of 32 values, the pairs in two tiles of 16 columns.
#[inline(always)]
fn pair_rows(rows: &[u16; SQUARE], square: &mut [u16]) {
    let (tiles, _) = square.as_chunks_mut::<TILE>();
    for (tile, to) in tiles.iter_mut().enumerate() {
        let pairs = rows.as_chunks::<{ 2 * SIDE }>().0.iter();
        for (two, line) in pairs.zip(to.as_chunks_mut::<SIDE>().0) {
            let (first, second) = two.split_at(SIDE);
            let columns = first[tile * LANES..].iter().zip(&second[tile * LANES..]);
            for (pair, (first, second)) in line.as_chunks_mut::<2>().0.iter_mut().zip(columns) {
                *pair = [*first, *second];
            }
        }
    }
}

/// Makes weights of a row of scores, `exp((score − greatest) / √head)`, rounded, and returns their sum before they
/// were. Dividing by it is left to the context, which is shorter.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &[f32], head: usize, weights: &mut Tiles, row: usize) -> f32 {
    let (lines, _) = scores.as_chunks::<LANES>();
    let mut greatest = simd.splat(f32::NEG_INFINITY);
    for line in lines {
        greatest = simd.max(simd.load(line), greatest);
    }
    // Powers of two are cheaper than powers of e, so log2(e) goes into the scale.
    let scale = std::f32::consts::LOG2_E / (head as f32).sqrt();
    let offset = simd.splat(-simd.greatest(greatest) * scale);
    let scale = simd.splat(scale);
    let mut sum = simd.splat(0.0);
    for (block, lines) in lines.as_chunks::<2>().0.iter().enumerate() {
        let first = exp2(simd, simd.mul_add(simd.load(&lines[0]), scale, offset));
        let second = exp2(simd, simd.mul_add(simd.load(&lines[1]), scale, offset));
        sum = simd.add(simd.add(sum, first), second);
        weights.store(simd, row, block, [first, second]);
    }
    simd.sum(sum)
}
