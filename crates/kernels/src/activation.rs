//! The activations of the feed-forward layer, and the `exp2` that they share with softmax.
//!
//! GELU: Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>; the two variants are those of
//! `transformers.activations`.

use crate::isa::Isa;
use crate::simd::{Kernel, LANES, Simd};

/// The function between the two feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x · Φ(x), with Φ the normal distribution function: `0.5 x (1 + erf(x / √2))`. HF's `gelu`.
    Gelu,
    /// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`. HF's `gelu_new` and `gelu_pytorch_tanh`.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x / (1 + exp(−x))`. HF's `silu` and `swish`.
    Silu,
    /// `tanh(x)`.
    Tanh,
}

impl Activation {
    /// Replaces each value by the activation of it, within 2e-7 of the exact result (relative above 1).
    pub fn apply(self, isa: Isa, values: &mut [f32]) {
        isa.run(Elementwise { values, activation: self });
    }

    /// [`Activation::apply`] as an epilogue, in memory.
    #[inline(always)]
    pub(crate) fn apply_to_slice<S: Simd>(self, simd: S, values: &mut [f32]) {
        match self {
            Activation::Gelu => map_slice::<S, Gelu>(simd, values),
            Activation::GeluTanh => map_slice::<S, GeluTanh>(simd, values),
            Activation::Relu => map_slice::<S, Relu>(simd, values),
            Activation::Silu => map_slice::<S, Silu>(simd, values),
            Activation::Tanh => map_slice::<S, Tanh>(simd, values),
        }
    }

    /// [`Activation::apply`] as an epilogue, in registers.
    #[inline(always)]
    pub(crate) fn apply_to_lanes<S: Simd>(self, simd: S, x: [S::Lanes; 2]) -> [S::Lanes; 2] {
        match self {
            Activation::Gelu => [Gelu::eval(simd, x[0]), Gelu::eval(simd, x[1])],
            Activation::GeluTanh => [GeluTanh::eval(simd, x[0]), GeluTanh::eval(simd, x[1])],
            Activation::Relu => [Relu::eval(simd, x[0]), Relu::eval(simd, x[1])],
            Activation::Silu => [Silu::eval(simd, x[0]), Silu::eval(simd, x[1])],
            Activation::Tanh => [Tanh::eval(simd, x[0]), Tanh::eval(simd, x[1])],
        }
    }
}

/// A gated linear unit (Shazeer, 2020, <https://arxiv.org/abs/2002.05202>): of each row of `rows`,
/// `(rows, 2 · width)`, its first half through the activation, times its second half. The first half of
/// `rows` then holds the results, `(rows, width)`; the rest is undefined.
///
/// # Panics
/// If the rows are not complete.
pub fn gate_rows(isa: Isa, activation: Activation, width: usize, rows: &mut [f32]) {
    assert!(rows.len().is_multiple_of(2 * width.max(1)), "the rows are complete");
    for index in 0..rows.len() / (2 * width.max(1)) {
        let start = index * 2 * width;
        let (gate, value) = rows[start..start + 2 * width].split_at_mut(width);
        activation.apply(isa, gate);
        for (gate, value) in gate.iter_mut().zip(value) {
            *gate *= *value;
        }
        rows.copy_within(start..start + width, index * width);
    }
}

struct Elementwise<'a> {
    values: &'a mut [f32],
    activation: Activation,
}

impl Kernel for Elementwise<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.activation.apply_to_slice(simd, self.values);
    }
}

/// A function of one value, in lanes.
trait LaneFunction {
    fn eval<S: Simd>(simd: S, x: S::Lanes) -> S::Lanes;
}

#[inline(always)]
fn map_slice<S: Simd, F: LaneFunction>(simd: S, values: &mut [f32]) {
    let (lines, rest) = values.as_chunks_mut::<LANES>();
    for line in lines {
        let x = simd.load(line);
        simd.store(F::eval(simd, x), line);
    }
    if !rest.is_empty() {
        let x = simd.load_partial(rest);
        simd.store_partial(F::eval(simd, x), rest);
    }
}

/// x·Φ(x) = max(x, 0) − |x|·Φ(−|x|), and log2 Φ(−t) is smooth for t ≥ 0: one polynomial and one
/// `exp2`, without a branch, a division or the cancellation of `1 + erf` in the tails.
struct Gelu;

/// p in log2 Φ(−t) = −1 + t·p(t), a minimax fit of t·Φ(−t) over 0 ≤ t ≤ 6 (9e-9), from t⁰ to t⁷.
const LOG2_NORMAL_TAIL: [f32; 8] = [
    -1.151_111,
    -4.591_621_5e-1,
    -5.262_761_2e-2,
    7.245_421_4e-3,
    -2.720_757e-4,
    -1.314_732_4e-4,
    2.805_694_2e-5,
    -1.902_065_7e-6,
];

impl LaneFunction for Gelu {
    #[inline(always)]
    fn eval<S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = LOG2_NORMAL_TAIL;
        let zero = simd.splat(0.0);
        // The tail is zero long before 16. Without the bound, powers of t give infinity − infinity.
        let t = simd.min(simd.splat(16.0), simd.max(simd.sub(zero, x), x));
        let t2 = simd.mul(t, t);
        let low = cubic(simd, [c0, c1, c2, c3], t, t2);
        let high = cubic(simd, [c4, c5, c6, c7], t, t2);
        let p = simd.mul_add(high, simd.mul(t2, t2), low);
        let tail = exp2(simd, simd.mul_add(p, t, simd.splat(-1.0)));
        simd.neg_mul_add(t, tail, simd.max(zero, x))
    }
}

/// 0.5 (1 + tanh(u)) = 1 / (1 + exp(−2u)).
struct GeluTanh;

impl LaneFunction for GeluTanh {
    #[inline(always)]
    fn eval<S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
        /// −2 √(2/π) log2(e), and that times 0.044715.
        const LINEAR: f32 = -2.302_208_2;
        const CUBIC: f32 = -0.102_943_24;
        let slope = simd.mul_add(simd.mul(x, x), simd.splat(CUBIC), simd.splat(LINEAR));
        let exponent = simd.min(simd.splat(126.0), simd.mul(slope, x));
        simd.div(x, simd.add(simd.splat(1.0), exp2(simd, exponent)))
    }
}

/// As [`GeluTanh`], with another exponent.
struct Silu;

impl LaneFunction for Silu {
    #[inline(always)]
    fn eval<S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
        let exponent = simd.mul(simd.splat(-std::f32::consts::LOG2_E), x);
        let power = exp2(simd, simd.min(simd.splat(126.0), exponent));
        simd.div(x, simd.add(simd.splat(1.0), power))
    }
}

/// 1 − 2 / (1 + exp(2x)).
struct Tanh;

impl LaneFunction for Tanh {
    #[inline(always)]
    fn eval<S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
        let exponent = simd.mul(simd.splat(2.0 * std::f32::consts::LOG2_E), x);
        let power = exp2(simd, simd.min(simd.splat(126.0), exponent));
        let one = simd.splat(1.0);
        simd.sub(one, simd.div(simd.splat(2.0), simd.add(one, power)))
    }
}

struct Relu;

impl LaneFunction for Relu {
    #[inline(always)]
    fn eval<S: Simd>(simd: S, x: S::Lanes) -> S::Lanes {
        simd.max(simd.splat(0.0), x)
    }
}

/// p in 2^r = 1 + r·p(r), a minimax fit over |r| ≤ ½ (relative error 2e-9), from r⁰ to r⁵.
const EXP2: [f32; 6] =
    [6.931_472e-1, 2.402_264_8e-1, 5.550_332_4e-2, 9.618_437e-3, 1.339_887_5e-3, 1.535_336_2e-4];

/// 2^y for y < 127.5; 0 for y ≤ −127; NaN for NaN.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, y: S::Lanes) -> S::Lanes {
    /// 1.5 · 2^23: adding it to a small number leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let [c0, c1, c2, c3, c4, c5] = EXP2;
    // The bound is the first operand: `max` returns its second for a NaN.
    let y = simd.max(simd.splat(-127.0), y);
    let rounded = simd.add(y, simd.splat(ROUND));
    let r = simd.sub(y, simd.sub(rounded, simd.splat(ROUND)));
    let r2 = simd.mul(r, r);
    let low = cubic(simd, [c0, c1, c2, c3], r, r2);
    let high = simd.mul_add(simd.splat(c5), r, simd.splat(c4));
    let p = simd.mul_add(high, simd.mul(r2, r2), low);
    simd.add_exponent(simd.mul_add(p, r, simd.splat(1.0)), rounded)
}

/// `c₀ + c₁x + c₂x² + c₃x³` by Estrin's scheme. Horner's rule has one operation less but one long
/// dependency chain, which the CPU cannot overlap with the next vector.
#[inline(always)]
fn cubic<S: Simd>(simd: S, c: [f32; 4], x: S::Lanes, x2: S::Lanes) -> S::Lanes {
    let low = simd.mul_add(simd.splat(c[1]), x, simd.splat(c[0]));
    let high = simd.mul_add(simd.splat(c[3]), x, simd.splat(c[2]));
    simd.mul_add(high, x2, low)
}
