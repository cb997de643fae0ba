//! Sixteen virtual f32 lanes: the vector that every kernel is written over.
//!
//! An implementation must give the same bits as every other one. All operations here are exact or correctly
//! rounded by IEEE 754, so that holds by itself as long as an implementation maps each to one instruction
//! per register, and adds no flush-to-zero, estimate or reassociation.

/// Lanes of a vector. Panels of packed weights are as wide, on every instruction set.
pub(crate) const LANES: usize = 16;

/// bf16 of a tile: 16 rows of 16 pairs.
pub(crate) const TILE: usize = 2 * LANES * LANES;

/// 2^-50. Smaller values become zero on their way to bf16, so that no product or sum of bf16 can be denormal;
/// see [`super::tiles`].
pub(crate) const LEAST_BF16: f32 = 1.0 / (1u64 << 50) as f32;

/// The upper half of a lane: a bf16 as the f32 that it is.
pub(crate) const UPPER: u32 = 0xffff_0000;

/// Code that runs over the lanes of any instruction set.
///
/// `run` and all that it calls per element must be `#[inline(always)]`: only what is inlined into the entry
/// point of the instruction set is compiled with its instructions. No closures there, for the same reason, but
/// for one that is called at a single place, as what goes on between two squares of a product is.
pub(crate) trait Kernel {
    type Output;

    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set. A value is the proof that the CPU has it.
pub(crate) trait Simd: Copy {
    /// 16 f32.
    type Lanes: Copy;

    /// Rows of the largest tile of a matrix product; at most [`MAX_TILE_ROWS`].
    const TILE_ROWS: usize;
    /// Panels of 16 columns of that tile; at most [`MAX_TILE_PANELS`].
    const TILE_PANELS: usize;

    /// Rows that the emulation of a tile product computes together: two chains each have to fit in the registers.
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
    /// The greater; `b` where either is NaN, as `vmaxps` has it.
    fn max(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// The smaller; `b` where either is NaN, as `vminps` has it.
    fn min(self, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// `c - a * b`, rounded once.
    fn neg_mul_add(self, a: Self::Lanes, b: Self::Lanes, c: Self::Lanes) -> Self::Lanes;
    /// The first lanes of `a`, and `rest` in the others.
    #[inline(always)]
    fn first_lanes(self, count: usize, a: Self::Lanes, rest: Self::Lanes) -> Self::Lanes {
        let (mut first, mut lanes) = ([0.0; LANES], [0.0; LANES]);
        self.store(a, &mut first);
        self.store(rest, &mut lanes);
        let count = count.min(LANES);
        lanes[..count].copy_from_slice(&first[..count]);
        self.load(&lanes)
    }
    /// Adds the low bits of `exponent`, an integer in the f32's bit pattern, to the exponent field of `a`.
    fn add_exponent(self, a: Self::Lanes, exponent: Self::Lanes) -> Self::Lanes;

    /// Brings what is read soon into the cache, where the CPU can be asked to.
    #[inline(always)]
    fn prefetch(self, _soon: &[f32]) {}

    /// The nearest bf16 of each lane, as the f32 that it is: ties go to the even one, what is smaller than
    /// [`LEAST_BF16`] becomes +0, and NaN stays NaN.
    fn nearest_bf16(self, a: Self::Lanes) -> Self::Lanes;
    /// Stores the upper half of each lane, which is the bf16 where [`Simd::nearest_bf16`] made it.
    fn store_upper(self, a: Self::Lanes, to: &mut [u16; LANES]);
    /// Rounds as [`Simd::nearest_bf16`] and stores.
    #[inline(always)]
    fn store_bf16(self, a: Self::Lanes, to: &mut [u16; LANES]) {
        self.store_upper(self.nearest_bf16(a), to);
    }

    /// Of 16 pairs of bf16, the first of each and the second of each.
    fn load_pairs(self, from: &[u16; 2 * LANES]) -> (Self::Lanes, Self::Lanes);

    /// Pairs the values of two rows: first with first, second with second.
    #[inline(always)]
    fn pair(self, first: &[u16; LANES], second: &[u16; LANES], to: &mut [u16; 2 * LANES]) {
        for (to, pair) in to.as_chunks_mut().0.iter_mut().zip(first.iter().zip(second)) {
            *to = [*pair.0, *pair.1];
        }
    }

    /// Transposes 16 rows of 16 pairs: the pairs stay together.
    #[inline(always)]
    fn transpose_pairs(self, from: &[u16; TILE], to: &mut [u16; TILE]) {
        let (from, to) =
            (from.as_chunks::<{ 2 * LANES }>().0, to.as_chunks_mut::<{ 2 * LANES }>().0);
        for (row, from) in from.iter().enumerate() {
            for (pair, to) in to.iter_mut().enumerate() {
                to[2 * row] = from[2 * pair];
                to[2 * row + 1] = from[2 * pair + 1];
            }
        }
    }

    /// The first lanes from `from`, zeros after it; at most 16 are read.
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

    /// As many of the first lanes as `to` has room for.
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

    /// Writes the columns of 16 rows as lines.
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
    fn sum(self, lanes: Self::Lanes) -> f32 {
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

    /// The greatest lane. With a NaN among them it may be any of them: nothing but the sums may tell of it.
    #[inline(always)]
    fn greatest(self, lanes: Self::Lanes) -> f32 {
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

/// Most rows of a tile on any instruction set.
pub(crate) const MAX_TILE_ROWS: usize = 8;
/// Most panels of a tile on any instruction set.
pub(crate) const MAX_TILE_PANELS: usize = 3;
