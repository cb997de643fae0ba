//! Sixteen virtual f32 lanes: the vector that every kernel is written over.
//!
//! Every implementation gives the same bits. All operations here are exact or correctly rounded by
//! IEEE 754, so an implementation that maps each to one instruction per register, without
//! flush-to-zero, estimates or reassociation, gives the same bits as any other.

/// Lanes of a vector, and columns of a panel of packed weights, on every instruction set.
pub(crate) const LANES: usize = 16;

/// bf16 values of an AMX tile: 16 rows of 16 pairs.
pub(crate) const TILE_LEN: usize = 2 * LANES * LANES;

/// 2^-50. Rounding to bf16 flushes smaller magnitudes to zero, so that no product or sum of bf16
/// values is denormal; [`crate::bf16`] has the proof.
pub(crate) const MIN_BF16: f32 = 1.0 / (1u64 << 50) as f32;

/// The upper half of an f32: the bf16 that truncation gives.
pub(crate) const UPPER_HALF: u32 = 0xffff_0000;

/// Code that runs over the lanes of any instruction set.
///
/// `run` and every function that it calls per element must be `#[inline(always)]`: only code that is
/// inlined into the entry point of an instruction set is compiled with its instructions. Closures are
/// allowed only where they are called at a single place, for the same reason.
///
/// A micro-tile of a product is a kernel of its own, which the kernel around it starts with [`Simd::run`]. LLVM
/// then unrolls the loops of each size of micro-tile in a function of its own, before it may inline it. With all
/// sizes in one loop nest, each loop that is unrolled has it analyse the whole nest again.
pub(crate) trait Kernel {
    type Output;

    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set. A value proves that the CPU has it.
pub(crate) trait Simd: Copy {
    /// 16 f32.
    type Lanes: Copy;

    /// MR: rows of the largest micro-tile; at most [`MAX_MICRO_TILE_ROWS`].
    const MICRO_TILE_ROWS: usize;
    /// NR / 16: panels of the largest micro-tile.
    const MICRO_TILE_PANELS: usize;

    /// Rows that the emulation of a bf16 product computes together; the registers hold two chains for each.
    const EMULATED_ROWS: usize;

    /// Enters code that is compiled for this instruction set.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, value: f32) -> Self::Lanes;
    fn load(self, from: &[f32; LANES]) -> Self::Lanes;
    fn store(self, lanes: Self::Lanes, to: &mut [f32; LANES]);
    fn add(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn sub(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn mul(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    fn div(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The maximum of each lane; `b` where either is NaN, as `vmaxps` does.
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The minimum of each lane; `b` where either is NaN, as `vminps` does.
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// `c - a * b`, rounded once.
    fn neg_mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// The first `count` lanes of `a`, then those of `rest`.
    #[inline(always)]
    fn select_first(self, count: usize, a: Self::Lanes, rest: Self::Lanes) -> Self::Lanes {
        let (mut first, mut lanes) = ([0.0; LANES], [0.0; LANES]);
        self.store(a, &mut first);
        self.store(rest, &mut lanes);
        let count = count.min(LANES);
        lanes[..count].copy_from_slice(&first[..count]);
        self.load(&lanes)
    }
    /// Adds the low bits of `exponent`, an integer in the bit pattern of an f32, to the exponent field of `a`.
    fn add_exponent(self, a: Self::Lanes, exponent: Self::Lanes) -> Self::Lanes;

    /// Prefetches a line into L1, where the instruction set can.
    #[inline(always)]
    fn prefetch(self, _line: &[f32]) {}

    /// Rounds each lane to the nearest bf16, ties to even, and keeps it as an f32. Magnitudes below
    /// [`MIN_BF16`] become +0; NaN stays NaN.
    fn round_to_bf16(self, a: Self::Lanes) -> Self::Lanes;
    /// Stores the upper half of each lane: a bf16, if [`Simd::round_to_bf16`] made the lane.
    fn store_upper_halves(self, a: Self::Lanes, to: &mut [u16; LANES]);
    /// Rounds as [`Simd::round_to_bf16`] does, and stores the bf16 values.
    #[inline(always)]
    fn store_bf16(self, a: Self::Lanes, to: &mut [u16; LANES]) {
        self.store_upper_halves(self.round_to_bf16(a), to);
    }

    /// Splits 16 pairs of bf16 into the first and the second value of each.
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Self::Lanes, Self::Lanes);

    /// Interleaves two rows: pair n is value n of `first` and value n of `second`.
    #[inline(always)]
    fn interleave(self, first: &[u16; LANES], second: &[u16; LANES], to: &mut [u16; 2 * LANES]) {
        for (to, pair) in to.as_chunks_mut().0.iter_mut().zip(first.iter().zip(second)) {
            *to = [*pair.0, *pair.1];
        }
    }

    /// Transposes 16 rows of 16 pairs; the two values of a pair stay together.
    #[inline(always)]
    fn transpose_pairs(self, from: &[u16; TILE_LEN], to: &mut [u16; TILE_LEN]) {
        let (from, to) =
            (from.as_chunks::<{ 2 * LANES }>().0, to.as_chunks_mut::<{ 2 * LANES }>().0);
        for (row, from) in from.iter().enumerate() {
            for (pair, to) in to.iter_mut().enumerate() {
                to[2 * row] = from[2 * pair];
                to[2 * row + 1] = from[2 * pair + 1];
            }
        }
    }

    /// Loads at most 16 values; the lanes after them are zeros.
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::Lanes {
        match from.first_chunk() {
            Some(whole) => self.load(whole),
            None => {
                let mut lanes = [0.0; LANES];
                lanes[..from.len()].copy_from_slice(from);
                self.load(&lanes)
            }
        }
    }

    /// Stores the first lanes, at most as many as `to` is long.
    #[inline(always)]
    fn store_partial(self, lanes: Self::Lanes, to: &mut [f32]) {
        match to.first_chunk_mut() {
            Some(whole) => self.store(lanes, whole),
            None => {
                let mut array = [0.0; LANES];
                self.store(lanes, &mut array);
                to.copy_from_slice(&array[..to.len()]);
            }
        }
    }

    /// Transposes 16 rows of 16 values.
    #[inline(always)]
    fn transpose(self, rows: [&[f32; LANES]; LANES], columns: &mut [[f32; LANES]; LANES]) {
        for (row, values) in rows.into_iter().enumerate() {
            for (column, value) in columns.iter_mut().zip(values) {
                column[row] = *value;
            }
        }
    }

    /// The sum of the lanes, by the tree 16 → 8 → 4 → 2 → 1 that adds the upper half to the lower.
    #[inline(always)]
    fn reduce_sum(self, lanes: Self::Lanes) -> f32 {
        let mut array = [0.0; LANES];
        self.store(lanes, &mut array);
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                array[lane] += array[lane + width];
            }
            width /= 2;
        }
        array[0]
    }

    /// The maximum of the lanes. If a lane is NaN, the result may be any lane; callers detect NaN by their sums.
    #[inline(always)]
    fn reduce_max(self, lanes: Self::Lanes) -> f32 {
        let mut array = [0.0; LANES];
        self.store(lanes, &mut array);
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                if array[lane] <= array[lane + width] {
                    array[lane] = array[lane + width];
                }
            }
            width /= 2;
        }
        array[0]
    }
}

/// The largest [`Simd::MICRO_TILE_ROWS`] of any instruction set.
pub(crate) const MAX_MICRO_TILE_ROWS: usize = 8;
