//! Products of blocks, and the units that make them.

use half::bf16;

use super::{BF16_PRECISIONS, MaxError, Random, in_every_arithmetic};
use crate::bf16::products::{BlockKernel, Extent, Interleaved, Products};
use crate::bf16::{BLOCK_LEN, BLOCK_SIDE, Block, Operand};
use crate::simd::{LANES, MIN_BF16, Simd, TILE_LEN};
use crate::testing::all_arithmetics;
use crate::{Arithmetic, Bf16Unit, Isa, Precision};

/// The offset in a right factor's block of row `k` and a column.
fn right_offset(k: usize, column: usize) -> usize {
    column / LANES * TILE_LEN + k / 2 * BLOCK_SIDE + column % LANES * 2 + k % 2
}

/// Values of magnitudes up to 2^`spread` and down to the smallest, and some zeros.
fn random_block(random: &mut Random, spread: i32) -> Block {
    [(); BLOCK_LEN].map(|()| {
        let exponent = (random.next() * spread as f32) as i32;
        let value = random.next() * 2f32.powi(exponent);
        let zero = random.next() > 0.9 || value.abs() < MIN_BF16;
        if zero { 0 } else { bf16::from_f32(value).to_bits() }
    })
}

/// A product of an extent.
struct Product<'a> {
    extent: Extent,
    left: &'a [Block],
    right: &'a [Block],
    to: &'a mut [f32; BLOCK_LEN],
}

/// The blocks that were reported.
struct Counted(usize);

impl Interleaved for Counted {
    #[inline(always)]
    fn advance<S: Simd>(&mut self, _: S, blocks: usize) {
        self.0 += blocks;
    }
}

impl BlockKernel for Product<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(self, simd: S, products: &mut P) {
        let factors = |k| {
            let (left, right) = (&self.left[k], &self.right[k]);
            [Operand { high: left, low: None }, Operand { high: right, low: None }]
        };
        let mut multiplied = Counted(0);
        products.multiply(simd, self.extent, factors, &mut multiplied, self.to, BLOCK_SIDE);
        assert_eq!(multiplied.0, self.extent.blocks(), "blocks that were reported");
    }
}

#[test]
fn partial_products_equal_those_of_the_whole() {
    let mut random = Random(12);
    let blocks: Vec<_> = (0..6).map(|_| random_block(&mut random, 10)).collect();
    for precision in [Precision::Bf16, Precision::Bf16Avx512] {
        // From one pair to more blocks than AVX512-BF16 multiplies in one chunk.
        for depth in [1_usize, 2, 31, 32, 33, 64, 255, 300, 600] {
            let count = depth.div_ceil(BLOCK_SIDE);
            let mut left: Vec<_> = (0..count).map(|k| blocks[k % 3]).collect();
            let mut right: Vec<_> = (0..count).map(|k| blocks[3 + k % 3]).collect();
            // The last block is padded with zeros.
            for k in (depth - 1) % BLOCK_SIDE + 1..BLOCK_SIDE {
                for other in 0..BLOCK_SIDE {
                    left[count - 1][other * BLOCK_SIDE + k] = 0;
                    right[count - 1][right_offset(k, other)] = 0;
                }
            }
            let product = |arithmetic: Arithmetic, rows, columns| {
                // NaN outside of the extent shows whether it is read.
                let (mut left, mut right) = (left.clone(), right.clone());
                for block in &mut left {
                    block[rows * BLOCK_SIDE..].fill(bf16::NAN.to_bits());
                }
                for block in &mut right {
                    for (k, column) in
                        (0..BLOCK_SIDE).flat_map(|k| (columns..BLOCK_SIDE).map(move |n| (k, n)))
                    {
                        block[right_offset(k, column)] = bf16::NAN.to_bits();
                    }
                }
                let mut to = [f32::NAN; BLOCK_LEN];
                let extent = Extent { rows, columns, depth };
                arithmetic.run(Product { extent, left: &left, right: &right, to: &mut to });
                to
            };
            let emulated = Arithmetic::new(Isa::portable(), precision, Bf16Unit::EMULATED);
            let whole = product(emulated, BLOCK_SIDE, BLOCK_SIDE);
            for arithmetic in all_arithmetics(precision) {
                for (rows, columns) in
                    [(32, 32), (1, 32), (4, 1), (5, 16), (8, 17), (9, 7), (17, 31), (29, 16)]
                {
                    let part = product(arithmetic, rows, columns);
                    for (at, (part, whole)) in part.iter().zip(whole).enumerate() {
                        let (row, column) = (at / BLOCK_SIDE, at % BLOCK_SIDE);
                        if row < rows && column < columns {
                            assert_eq!(
                                part.to_bits(),
                                whole.to_bits(),
                                "{arithmetic}: {row}, {column} of {rows} × {columns} × {depth}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn block_products_match_reference_with_equal_bits_on_every_unit() {
    let mut random = Random(11);
    for precision in BF16_PRECISIONS {
        let mut errors = MaxError::default();
        for spread in [1, 10, 49] {
            for _ in 0..4 {
                let [a, b, c, d] = [(); 4].map(|()| random_block(&mut random, spread));
                let split = precision == Precision::Bf16x3;
                let left = Operand { high: &a, low: split.then_some(&c) };
                let right = Operand { high: &b, low: split.then_some(&d) };
                let sums = in_every_arithmetic(precision, "a product", |arithmetic| {
                    arithmetic.multiply_blocks(left, right).to_vec()
                });
                for (at, sum) in sums.iter().enumerate() {
                    let (row, column) = (at / BLOCK_SIDE, at % BLOCK_SIDE);
                    let (mut expected, mut magnitude) = (0.0, 0.0);
                    for (left, right) in
                        [(Some(&a), Some(&b)), (Some(&a), right.low), (left.low, Some(&b))]
                    {
                        let (Some(left), Some(right)) = (left, right) else { continue };
                        for k in 0..BLOCK_SIDE {
                            let factors =
                                [left[row * BLOCK_SIDE + k], right[right_offset(k, column)]];
                            let [x, y] = factors.map(|bits| bf16::from_bits(bits).to_f64());
                            expected += 2.0 * x * y;
                            magnitude += (2.0 * x * y).abs();
                        }
                    }
                    let magnitude = f64::max(magnitude, 1e-300);
                    errors.compare(f64::from(*sum) / magnitude, expected / magnitude, || {
                        format!("row {row}, column {column}, factors up to 2^{spread}")
                    });
                }
            }
        }
        errors.assert_at_most(&format!("a product in {precision}, relative to its terms"), 1e-6);
    }
}

#[test]
fn units_of_this_machine_pass_their_self_test() {
    let arithmetics = all_arithmetics(Precision::Bf16);
    let names: Vec<String> = arithmetics.iter().map(ToString::to_string).collect();
    println!("{}", names.join("; "));
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    assert!(names.iter().any(|name| name == "amx"));
    #[cfg(target_arch = "x86_64")]
    {
        let arithmetics = all_arithmetics(Precision::Bf16Avx512);
        let found = arithmetics.iter().any(|arithmetic| arithmetic.to_string() == "avx512-bf16");
        assert_eq!(found, is_x86_feature_detected!("avx512bf16"), "{arithmetics:?}");
    }
}

#[test]
fn detection_finds_the_unit_of_each_precision_alone() {
    for isa in Isa::available() {
        assert_eq!(Bf16Unit::detect(isa, Precision::F32), None);
        for precision in BF16_PRECISIONS {
            if let Some(Ok(unit)) = Bf16Unit::detect(isa, precision) {
                let arithmetic = Arithmetic::new(isa, precision, unit);
                assert_eq!(arithmetic.unit(), unit, "{precision} on {}", isa.name());
            }
        }
    }
}

#[test]
fn a_unit_of_another_precision_is_replaced_by_emulation() {
    for of_unit in BF16_PRECISIONS.into_iter().flat_map(all_arithmetics) {
        for precision in Precision::ALL {
            let arithmetic = Arithmetic::new(of_unit.isa(), precision, of_unit.unit());
            let valid = all_arithmetics(precision);
            assert!(valid.contains(&arithmetic), "{of_unit} for {precision}: {arithmetic}");
        }
    }
}
