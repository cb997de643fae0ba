//! Every kernel over tiles against its naive twin, and against itself: emulated on each instruction set, and on the
//! tile registers, which are those of the CPU or of the emulator (`amx/emulator.rs`).

use half::bf16;

use super::*;
use crate::activations::Values;
use crate::simd::{LEAST_BF16, TILE};
use crate::tests::{Random, Worst, on_all, wide};
use crate::{
    Activation, Activations, AlignedBuffer, Arena, Bf16Unit, BufferLayout, BufferSize, Dense,
    Input, Isa, LayerNorm, Precision, Residual, attend, attend_scratch_size,
    testing::reference as naive,
};

const TILES: [Precision; 3] = [Precision::Bf16, Precision::Bf16x3, Precision::Bf16Avx512];

/// How far a value is from what it was before it was rounded, relative to it: half of the last place.
fn rounding(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2f64.powi(-24),
        Precision::Bf16 | Precision::Bf16Avx512 => 2f64.powi(-8),
        Precision::Bf16x3 => 2f64.powi(-16),
    }
}

/// A value as the precision keeps it.
fn kept(precision: Precision, x: f32) -> f64 {
    let high = bf16::from_f32(x).to_f32();
    match precision {
        Precision::F32 => f64::from(x),
        Precision::Bf16 | Precision::Bf16Avx512 => f64::from(high),
        Precision::Bf16x3 => f64::from(high) + f64::from(bf16::from_f32(x - high).to_f32()),
    }
}

fn all_kept(precision: Precision, values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| kept(precision, *x)).collect()
}

/// Runs `kernel` in every way that this machine can compute the precision, demands equal bits, and returns them.
fn in_every_way(
    precision: Precision,
    what: &str,
    kernel: impl Fn(Arithmetic) -> Vec<f32>,
) -> Vec<f32> {
    let expected = kernel(Arithmetic::new(Isa::portable(), precision, Bf16Unit::EMULATED));
    for with in Arithmetic::every_way(precision) {
        for (at, (x, y)) in kernel(with).iter().zip(&expected).enumerate() {
            let equal = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            assert!(equal, "{what}: value {at} is {x:e} on {with} and {y:e} on portable");
        }
    }
    expected
}

/// Memory for one matrix, full of what would be noticed.
struct Memory(AlignedBuffer, AlignedBuffer<u16>);

impl Memory {
    fn of(room: BufferSize) -> Self {
        let mut floats = AlignedBuffer::zeroed(room.floats).expect("it is small");
        let mut halves = AlignedBuffer::zeroed(room.halves).expect("it is small");
        floats.fill(f32::NAN);
        halves.fill(0x7fc0);
        Memory(floats, halves)
    }

    fn arena(&mut self) -> Arena<'_> {
        Arena { floats: &mut self.0, halves: &mut self.1 }
    }
}

struct Fill<'a> {
    values: &'a [f32],
    heads: Heads,
    tiles: Tiles<'a>,
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for (row, values) in self.values.chunks(self.heads.width()).enumerate() {
            let mut padded = vec![0.0; self.heads.padded_width()];
            for (column, value) in values.iter().enumerate() {
                padded[self.heads.padded_column(column)] = *value;
            }
            for (block, values) in padded.chunks(SIDE).enumerate() {
                let (first, second) = values.split_at(LANES);
                let values = [simd.load_partial(first), simd.load_partial(second)];
                self.tiles.store(simd, row, block, values);
            }
        }
    }
}

fn fill(with: Arithmetic, values: &[f32], heads: Heads, to: &mut Activations) {
    match &mut to.0 {
        Values::Rows { values: rows, .. } => rows.copy_from_slice(values),
        Values::Tiles(tiles) => with.isa().run(Fill { values, heads, tiles: tiles.reborrow() }),
    }
}

/// The values of a matrix, row-major; those between the heads have to be zeros.
fn read(from: &Activations, heads: Heads) -> Vec<f32> {
    let tiles = match &from.0 {
        Values::Rows { values, .. } => return values.to_vec(),
        Values::Tiles(tiles) => tiles.as_ref(),
    };
    let value = |row: usize, column: usize| {
        let first = tiles.layout.row(row, column / SIDE) + column % SIDE;
        let part = |at: usize| f32::from_bits(u32::from(tiles.data[at]) << 16);
        part(first) + if tiles.is_split() { part(first + tiles.layout.low()) } else { 0.0 }
    };
    let mut values = Vec::new();
    for row in 0..tiles.rows() {
        values.extend((0..heads.width()).map(|column| value(row, heads.padded_column(column))));
        let between = (0..heads.padded_width()).filter(|at| at % padded(heads.size) >= heads.size);
        assert!(between.into_iter().all(|column| value(row, column) == 0.0), "row {row}");
    }
    values
}

struct Nearest<'a>(&'a mut [f32]);

impl Kernel for Nearest<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for values in self.0.as_chunks_mut::<LANES>().0 {
            let nearest = simd.nearest_bf16(simd.load(values));
            let mut upper = [0; LANES];
            simd.store_upper(nearest, &mut upper);
            let mut pairs = [0; SIDE];
            for (pair, upper) in pairs.as_chunks_mut::<2>().0.iter_mut().zip(upper) {
                *pair = [upper, !upper];
            }
            // The one half of the pairs is what was stored, the other its complement.
            let (first, second) = simd.load_pairs(&pairs);
            let (mut lanes, mut complements) = ([0.0; LANES], [0.0; LANES]);
            simd.store(nearest, &mut lanes);
            simd.store(second, &mut complements);
            for (lane, complement) in lanes.iter().zip(complements) {
                assert_eq!(lane.to_bits() ^ 0xffff_0000, complement.to_bits());
            }
            simd.store(first, values);
        }
    }
}

/// Every upper half of an f32, with lower halves that round down, up, and to even.
fn values_to_round() -> Vec<f32> {
    let low = [0, 1, 0x7fff, 0x8000, 0x8001, 0xc000, 0xffff, 0x1234];
    (0..=u16::MAX)
        .flat_map(|high| low.map(|low| f32::from_bits(u32::from(high) << 16 | low)))
        .collect()
}

#[test]
fn rounding_is_that_of_half_but_for_what_is_smaller_than_two_to_the_minus_50() {
    let inputs = values_to_round();
    let outputs = on_all("bf16", |isa| {
        let mut values = inputs.clone();
        isa.run(Nearest(&mut values));
        values
    });
    for (x, y) in inputs.iter().zip(outputs) {
        let expected = if x.abs() < LEAST_BF16 { 0.0 } else { bf16::from_f32(*x).to_f32() };
        let equal = y.to_bits() == expected.to_bits() || (y.is_nan() && expected.is_nan());
        assert!(equal, "{x:e} ({:08x}) gives {y:e}, expected {expected:e}", x.to_bits());
    }
}

#[test]
fn transposing_is_the_same_everywhere() {
    struct Transpose<'a>(&'a [u16; TILE], &'a mut [u16; TILE]);
    impl Kernel for Transpose<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            simd.transpose_pairs(self.0, self.1);
        }
    }
    let mut from = [0; TILE];
    from.iter_mut().enumerate().for_each(|(at, value)| *value = at as u16);
    for isa in Isa::available() {
        let mut to = [0; TILE];
        isa.run(Transpose(&from, &mut to));
        for (at, value) in to.iter().enumerate() {
            let (row, pair, half) = (at / SIDE, at % SIDE / 2, at % 2);
            assert_eq!(usize::from(*value), pair * SIDE + 2 * row + half, "{}", isa.name());
        }
    }
}

#[test]
fn a_unit_rounds_as_the_lanes_do() {
    let inputs = values_to_round();
    let mut nearest = inputs.clone();
    Isa::portable().run(Nearest(&mut nearest));
    let expected: Vec<u32> = nearest.iter().map(|value| value.to_bits() >> 16).collect();
    for precision in TILES {
        for with in Arithmetic::every_way(precision) {
            let mut found = vec![0; inputs.len()];
            for (values, to) in inputs.as_chunks().0.iter().zip(found.as_chunks_mut().0) {
                round(with, values, to);
            }
            let mut pairs =
                inputs.iter().zip(found.iter().map(|bits| u32::from(*bits)).zip(&expected));
            let wrong = pairs.find(|(_, (found, expected))| found != *expected);
            assert!(wrong.is_none(), "{with}: {wrong:x?}");
        }
    }
}

#[test]
fn lanes_that_are_cut_and_rows_that_are_paired_are_the_same_everywhere() {
    struct Both<'a>(usize, &'a [u16; SIDE], &'a mut [f32; LANES], &'a mut [u16; SIDE]);
    impl Kernel for Both<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let lanes = simd.first_lanes(self.0, simd.splat(1.0), simd.splat(f32::NEG_INFINITY));
            simd.store(lanes, self.2);
            let [first, second] = self.1.as_chunks::<LANES>().0 else {
                unreachable!("a row is two")
            };
            simd.pair(first, second, self.3);
        }
    }
    let mut rows = [0; SIDE];
    rows.iter_mut().enumerate().for_each(|(at, value)| *value = 0x8000 + at as u16);
    for isa in Isa::available() {
        for count in 0..=LANES + 1 {
            let (mut lanes, mut pairs) = ([0.0; LANES], [0; SIDE]);
            isa.run(Both(count, &rows, &mut lanes, &mut pairs));
            for (at, lane) in lanes.iter().enumerate() {
                let expected = if at < count { 1.0 } else { f32::NEG_INFINITY };
                assert_eq!(*lane, expected, "lane {at} of {count}, {}", isa.name());
            }
            for (at, value) in pairs.iter().enumerate() {
                assert_eq!(*value, rows[at % 2 * LANES + at / 2], "{}", isa.name());
            }
        }
    }
}

/// A bf16 that is none.
const NAN: u16 = 0x7fc0;

/// A product of which a part is wanted.
struct Part<'a> {
    wanted: Extent,
    left: &'a [[u16; SQUARE]],
    right: &'a [[u16; SQUARE]],
    to: &'a mut [f32; SQUARE],
}

impl TileKernel for Part<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(self, simd: S, products: &mut P) {
        let factors = |k| {
            let (left, right) = (&self.left[k], &self.right[k]);
            [Operand { high: left, low: None }, Operand { high: right, low: None }]
        };
        let mut told = 0;
        products.product(simd, self.wanted, factors, |_, squares| told += squares, self.to, SIDE);
        assert_eq!(told, self.wanted.squares(), "squares that were told of");
    }
}

#[test]
fn a_part_of_a_product_is_what_the_whole_has_there() {
    let mut random = Random(12);
    let squares: Vec<_> = (0..6).map(|_| factors(&mut random, 10)).collect();
    for precision in [Precision::Bf16, Precision::Bf16Avx512] {
        // From one pair to more squares than are multiplied in one turn.
        for depth in [1_usize, 2, 31, 32, 33, 64, 255, 300, 600] {
            // What follows the depth in the last square is zeros.
            let count = depth.div_ceil(SIDE);
            let mut left: Vec<_> = (0..count).map(|k| squares[k % 3]).collect();
            let mut right: Vec<_> = (0..count).map(|k| squares[3 + k % 3]).collect();
            for k in depth % SIDE..if depth % SIDE == 0 { 0 } else { SIDE } {
                for other in 0..SIDE {
                    left[count - 1][other * SIDE + k] = 0;
                    let place = other / LANES * TILE + k / 2 * SIDE;
                    right[count - 1][place + other % LANES * 2 + k % 2] = 0;
                }
            }
            let product = |with, rows, columns| {
                // What is not wanted is not looked at: there is no number.
                let (mut left, mut right) = (left.clone(), right.clone());
                for square in &mut left {
                    square[rows * SIDE..].fill(NAN);
                }
                for (at, value) in right.iter_mut().flatten().enumerate() {
                    if at % SQUARE / TILE * LANES + at % SIDE / 2 >= columns {
                        *value = NAN;
                    }
                }
                let mut to = [f32::NAN; SQUARE];
                let wanted = Extent { rows, columns, depth };
                run(with, Part { wanted, left: &left, right: &right, to: &mut to });
                to
            };
            let emulated = Arithmetic::new(Isa::portable(), precision, Bf16Unit::EMULATED);
            let whole = product(emulated, SIDE, SIDE);
            for with in Arithmetic::every_way(precision) {
                for (rows, columns) in
                    [(32, 32), (1, 32), (4, 1), (5, 16), (8, 17), (9, 7), (17, 31), (29, 16)]
                {
                    let part = product(with, rows, columns);
                    for (at, (part, whole)) in part.iter().zip(whole).enumerate() {
                        let (row, column) = (at / SIDE, at % SIDE);
                        if row < rows && column < columns {
                            let equal = part.to_bits() == whole.to_bits();
                            assert!(
                                equal,
                                "{with}: {row}, {column} of {rows} × {columns} × {depth}"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Factors of all magnitudes that there are, with zeros among them.
fn factors(random: &mut Random, spread: i32) -> [u16; SQUARE] {
    [(); SQUARE].map(|()| {
        let exponent = (random.next() * spread as f32) as i32;
        let value = random.next() * 2f32.powi(exponent);
        let zero = random.next() > 0.9 || value.abs() < LEAST_BF16;
        if zero { 0 } else { bf16::from_f32(value).to_bits() }
    })
}

#[test]
fn a_product_of_squares_is_that_of_the_tile_registers_to_the_bit() {
    let mut random = Random(11);
    for precision in TILES {
        let mut worst = Worst::default();
        for spread in [1, 10, 49] {
            for _ in 0..4 {
                let [a, b, c, d] = [(); 4].map(|()| factors(&mut random, spread));
                let split = precision == Precision::Bf16x3;
                let left = Operand { high: &a, low: split.then_some(&c) };
                let right = Operand { high: &b, low: split.then_some(&d) };
                let sums = in_every_way(precision, "a product", |with| {
                    let mut sums = [0.0; SQUARE];
                    multiply(with, left, right, &mut sums);
                    sums.to_vec()
                });
                for (at, sum) in sums.iter().enumerate() {
                    let (row, column) = (at / SIDE, at % SIDE);
                    let (mut twin, mut size) = (0.0, 0.0);
                    for (left, right) in
                        [(Some(&a), Some(&b)), (Some(&a), right.low), (left.low, Some(&b))]
                    {
                        let (Some(left), Some(right)) = (left, right) else { continue };
                        for k in 0..SIDE {
                            let place = column / LANES * TILE + k / 2 * SIDE;
                            let weight = right[place + column % LANES * 2 + k % 2];
                            let factor = bf16::from_bits(left[row * SIDE + k]).to_f64();
                            let term = 2.0 * factor * bf16::from_bits(weight).to_f64();
                            twin += term;
                            size += term.abs();
                        }
                    }
                    let size = f64::max(size, 1e-300);
                    worst.see(f64::from(*sum) / size, twin / size, || {
                        format!("row {row}, column {column}, factors up to 2^{spread}")
                    });
                }
            }
        }
        worst.check(&format!("a product in {precision}, of its terms' size"), 1e-6);
    }
}

/// Divisions of vectors whose sizes are multiples of nothing, and those that models have.
const WIDTHS: [(Heads, Heads); 6] = [
    (Heads { count: 1, size: 5 }, Heads { count: 1, size: 17 }),
    (Heads { count: 3, size: 24 }, Heads { count: 1, size: 72 }),
    (Heads { count: 1, size: 72 }, Heads { count: 9, size: 24 }),
    (Heads { count: 2, size: 64 }, Heads { count: 1, size: 128 }),
    (Heads { count: 1, size: 149 }, Heads { count: 1, size: 40 }),
    (Heads { count: 12, size: 32 }, Heads { count: 1, size: 96 }),
];

const ROWS: [usize; 8] = [1, 2, 15, 16, 17, 31, 33, 65];

/// An input of the layer, in the form of the precision.
fn with_input<T>(
    with: Arithmetic,
    values: &[f32],
    heads: Heads,
    use_it: impl FnOnce(Input) -> T,
) -> T {
    let form = BufferLayout::for_linear(with.precision(), values.len() / heads.width(), heads);
    let mut memory = Memory::of(form.size());
    let mut input = form.take(&mut memory.arena());
    fill(with, values, heads, &mut input);
    use_it(input.as_input())
}

#[test]
fn a_layer_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(12);
    for precision in Precision::ALL {
        let mut worst = Worst::default();
        for (inputs, outputs) in WIDTHS {
            let (weight, bias) =
                (random.values(inputs.width() * outputs.width()), random.values(outputs.width()));
            for rows in ROWS {
                let input = random.values(rows * inputs.width());
                let activation = (rows % 2 == 1).then_some(Activation::Gelu);
                let output = in_every_way(precision, "a layer", |with| {
                    let layer = Dense::pack(with, inputs, outputs, &[(&weight, &bias)]);
                    let layer = layer.expect("it is small");
                    let form = BufferLayout::for_linear(precision, rows, outputs);
                    let mut memory = Memory::of(form.size());
                    let mut output = form.take(&mut memory.arena());
                    with_input(with, &input, inputs, |input| {
                        layer.activate(with, input, activation, &mut output);
                    });
                    read(&output, outputs)
                });
                let (input, weight) = (all_kept(precision, &input), all_kept(precision, &weight));
                let twin = naive::linear(&input, &weight, &wide(&bias));
                for (at, (x, y)) in output.iter().zip(twin).enumerate() {
                    let y = activation.map_or(y, |activation| naive::activation(activation, y));
                    let scale = y.abs() + (inputs.width() as f64).sqrt() * 0.01;
                    worst.see(f64::from(*x) / scale, y / scale, || {
                        format!("output {at} of {rows} rows of {inputs:?} to {outputs:?}")
                    });
                }
            }
        }
        // The output is rounded; what the low parts' product would add, and the order of the sums, is less.
        worst.check(&format!("a layer in {precision}"), 1.01 * rounding(precision) + 3e-4);
    }
}

#[test]
fn a_layer_onto_the_residual_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(13);
    for precision in Precision::ALL {
        let mut worst = Worst::default();
        for (inputs, outputs) in WIDTHS {
            let width = outputs.width();
            let single = Heads::single(width);
            let (weight, bias) = (random.values(inputs.width() * width), random.values(width));
            let (norm_weight, norm_bias) = (random.values(width), random.values(width));
            let norm = LayerNorm::new(&norm_weight, &norm_bias, 1e-12).expect("it is small");
            for rows in ROWS {
                let (input, before) =
                    (random.values(rows * inputs.width()), random.values(rows * width));
                let hidden = in_every_way(precision, "onto the residual", |with| {
                    let layer = Dense::pack(with, inputs, single, &[(&weight, &bias)]);
                    let layer = layer.expect("it is small");
                    let mut memory = Memory::of(Residual::size(precision, rows, width));
                    let mut hidden = Residual::take(precision, rows, width, &mut memory.arena());
                    hidden.values.copy_from_slice(&before);
                    let mut projected = vec![f32::NAN; rows * width];
                    with_input(with, &input, inputs, |input| {
                        layer.add_and_normalize(with, input, &norm, &mut projected, &mut hidden);
                    });
                    if let Some(rounded) = &mut hidden.rounded {
                        let rounded = read(&Activations(Values::Tiles(rounded.reborrow())), single);
                        for (value, rounded) in hidden.values.iter().zip(rounded) {
                            assert_eq!(kept(precision, *value) as f32, rounded, "{precision}");
                        }
                    }
                    hidden.values.to_vec()
                });
                let (input, weight) = (all_kept(precision, &input), all_kept(precision, &weight));
                let mut twin = naive::linear(&input, &weight, &wide(&bias));
                twin.iter_mut().zip(&before).for_each(|(sum, before)| *sum += f64::from(*before));
                naive::layer_norm(&mut twin, &wide(&norm_weight), &wide(&norm_bias), 1e-12);
                for (at, (x, y)) in hidden.iter().zip(twin).enumerate() {
                    worst.see(f64::from(*x), y, || {
                        format!("value {at} of {rows} rows of {inputs:?} to {width}")
                    });
                }
            }
        }
        worst.check(&format!("onto the residual in {precision}"), 2e-5);
    }
}

#[test]
fn attention_is_its_twin_and_the_same_bits_everywhere() {
    let mut random = Random(14);
    for (precision, most) in [
        (Precision::F32, 3e-6),
        (Precision::Bf16, 2e-2),
        (Precision::Bf16x3, 5e-5),
        (Precision::Bf16Avx512, 2e-2),
    ] {
        let mut worst = Worst::default();
        for (count, size) in [(3, 32), (2, 64), (3, 24), (2, 8), (1, 17)] {
            let heads = Heads { count, size };
            let width = heads.width();
            let three = Heads { count: 3 * count, size };
            // The sequence begins in the middle of a square, and others follow, without a number in them.
            for (before, length, after) in
                [(0, 1, 0), (3, 2, 5), (0, 15, 0), (7, 16, 1), (40, 33, 0), (1, 70, 9)]
            {
                let total = before + length + after;
                let mut qkv: Vec<f32> =
                    random.values(total * 3 * width).iter().map(|x| x * 2.0).collect();
                qkv[..before * 3 * width].fill(f32::NAN);
                qkv[(before + length) * 3 * width..].fill(f32::NAN);
                let context = in_every_way(precision, "attention", |with| {
                    let form = BufferLayout::for_attention(precision, total, three);
                    let mut memory = Memory::of(form.size());
                    let mut activations = form.take(&mut memory.arena());
                    fill(with, &qkv, three, &mut activations);
                    let mut scratch = Memory::of(attend_scratch_size(precision, length, heads));
                    let form = BufferLayout::for_linear(precision, total, heads);
                    let mut memory = Memory::of(form.size());
                    let mut context = form.take(&mut memory.arena());
                    fill(with, &vec![0.0; total * width], heads, &mut context);
                    let tokens = before..before + length;
                    let mut scratch = scratch.arena();
                    attend(with, &activations, heads, tokens, &mut scratch, &mut context);
                    read(&context, heads)
                });
                let untouched = context[..before * width].iter();
                let untouched = untouched.chain(&context[(before + length) * width..]);
                assert!(untouched.into_iter().all(|x| *x == 0.0), "another sequence was written");
                let part = |which: usize| -> Vec<f64> {
                    let rows = qkv.chunks(3 * width).skip(before).take(length);
                    rows.flat_map(|row| all_kept(precision, &row[which * width..][..width]))
                        .collect()
                };
                let twin = naive::attention(&part(0), &part(1), &part(2), heads);
                let context = &context[before * width..(before + length) * width];
                for (at, (x, y)) in context.iter().zip(twin).enumerate() {
                    worst.see(f64::from(*x), y, || {
                        format!("value {at} of {length} tokens, {heads:?}")
                    });
                }
            }
        }
        worst.check(&format!("attention in {precision}"), most);
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_row_and_is_not_lost() {
    let mut random = Random(15);
    let (inputs, outputs, rows) = (Heads::single(40), Heads::single(50), 20);
    let (weight, bias) = (random.values(40 * 50), random.values(50));
    let norm = LayerNorm::new(&random.values(50), &random.values(50), 1e-12).expect("small");
    for precision in Precision::ALL {
        for (poison, at) in [(f32::NAN, 7), (f32::INFINITY, 16)] {
            let mut input = random.values(rows * 40);
            input[at * 40 + 3] = poison;
            let hidden = in_every_way(precision, "a poisoned row", |with| {
                let layer = Dense::pack(with, inputs, outputs, &[(&weight, &bias)]);
                let mut memory = Memory::of(Residual::size(precision, rows, 50));
                let mut hidden = Residual::take(precision, rows, 50, &mut memory.arena());
                hidden.values.fill(0.5);
                with_input(with, &input, inputs, |input| {
                    let mut projected = vec![0.0; rows * 50];
                    layer.expect("small").add_and_normalize(
                        with,
                        input,
                        &norm,
                        &mut projected,
                        &mut hidden,
                    );
                });
                hidden.values.to_vec()
            });
            for (row, values) in hidden.chunks(50).enumerate() {
                let finite = values.iter().all(|x| x.is_finite());
                assert_eq!(finite, row != at, "row {row} in {precision}, {poison} in row {at}");
            }
        }
    }
}

#[test]
fn tiles_pass_the_test_that_they_have_to_pass_at_load() {
    let ways = Arithmetic::every_way(Precision::Bf16);
    println!("{}", ways.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    assert!(ways.iter().any(|with| with.to_string() == "amx"));
    #[cfg(target_arch = "x86_64")]
    {
        let ways = Arithmetic::every_way(Precision::Bf16Avx512);
        let tried = ways.iter().any(|with| with.to_string() == "avx512-bf16");
        assert_eq!(tried, is_x86_feature_detected!("avx512bf16"), "{ways:?}");
    }
}

#[test]
fn a_unit_that_makes_other_products_is_left_out() {
    for of in TILES {
        for way in Arithmetic::every_way(of) {
            for precision in Precision::ALL {
                let with = Arithmetic::new(way.isa(), precision, way.tile_unit());
                let ways = Arithmetic::every_way(precision);
                assert!(ways.contains(&with), "{way} for {precision}: {with}");
            }
        }
    }
}
