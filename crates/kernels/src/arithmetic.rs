//! The arithmetic of a model: a precision, an instruction set, and the unit that makes the products.
//!
//! A CPU's bf16 unit is tested before it is used: [`Bf16Unit::detect`] compares its products and its
//! rounding with the emulation.

use std::fmt;
use std::marker::PhantomData;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::arch::amx::{Amx, AmxProducts};
#[cfg(target_arch = "x86_64")]
use crate::arch::avx512::Avx512Bf16;
#[cfg(target_arch = "x86_64")]
use crate::arch::avx512bf16::DotProducts;
use crate::bf16::products::{
    Accumulation, BlockKernel, EmulatedProducts, Extent, NoWork, OneChain, Products, TwoChains,
};
use crate::bf16::{BLOCK_LEN, BLOCK_SIDE, Block, Operand};
use crate::integer::unit::IntegerUnit;
use crate::isa::{Isa, IsaName};
use crate::precision::{NumberFormat, Precision};
use crate::simd::{Kernel, LANES, MIN_BF16, Simd};

/// The unit that multiplies blocks of bf16: AMX, AVX512-BF16, or their emulation over lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bf16Unit(Unit);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Emulated,
    /// With lanes that round to bf16 by an instruction, where the CPU has it.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(Amx, Option<Avx512Bf16>),
    #[cfg(target_arch = "x86_64")]
    Dot(Avx512Bf16),
}

impl Bf16Unit {
    /// The emulation over the lanes of any instruction set: the bits of the unit, at the speed of f32 or less.
    pub const EMULATED: Bf16Unit = Bf16Unit(Unit::Emulated);

    /// The unit of `isa` that makes the products of `precision`; `None` if it has none.
    ///
    /// The call runs the self-test. For AMX it also requests the permission of the operating system, which
    /// holds for the process and all its threads, and makes Linux reserve memory for the tiles of each thread.
    ///
    /// # Errors
    /// If Linux does not permit the unit, or if the unit fails its self-test.
    pub fn detect(isa: Isa, precision: Precision) -> Option<Result<Self, UnitError>> {
        Some(Unit::request(isa, precision)?.and_then(|unit| Bf16Unit(unit).tested()))
    }

    /// AMX with and without lanes that round by an instruction. If this machine has no AMX or does not permit
    /// it, this installs the emulator of its instructions for the process.
    #[cfg(all(any(test, feature = "testing"), target_arch = "x86_64", target_os = "linux"))]
    #[expect(clippy::expect_used, reason = "for tests: a unit that fails its self-test ends them")]
    pub(crate) fn amx_for_tests() -> [Self; 2] {
        if !matches!(Amx::request(), Some(Ok(_))) {
            crate::arch::amx::emulator::install();
        }
        let Some(Ok(amx)) = Amx::request() else { unreachable!("the emulator permits AMX") };
        [rounding_lanes(), None].map(|lanes| {
            Bf16Unit(Unit::Amx(amx, lanes)).tested().expect("AMX passes its self-test")
        })
    }

    /// Whether it makes the products of a precision, bit by bit.
    fn supports(self, precision: Precision) -> bool {
        self.0.name().is_none_or(|name| precision.unit_name() == Some(name))
    }

    /// Compares products and rounding with the emulation, in each precision that the unit supports.
    fn tested(self) -> Result<Self, UnitError> {
        let factors = self_test_factors();
        let [first, second, third, fourth] = &factors;
        let passes = |precision: &Precision| {
            let split = precision.format() == NumberFormat::Bf16 { split: true };
            let left = Operand { high: first, low: split.then_some(third) };
            let right = Operand { high: second, low: split.then_some(fourth) };
            let [actual, expected] = [self, Bf16Unit::EMULATED].map(|unit| {
                let arithmetic = Arithmetic::new(Isa::portable(), *precision, unit);
                let sums = arithmetic.multiply_blocks(left, right);
                (sums.map(f32::to_bits), arithmetic.round(&SELF_TEST_VALUES))
            });
            actual == expected
        };
        let mut precisions =
            Precision::ALL.into_iter().filter(|precision| self.supports(*precision));
        match precisions.find(|precision| !passes(precision)) {
            None => Ok(self),
            Some(precision) => Err(UnitError::SelfTestFailed(precision)),
        }
    }
}

impl Unit {
    /// The unit of an instruction set that makes the products of a precision, before its self-test.
    fn request(isa: Isa, precision: Precision) -> Option<Result<Self, UnitError>> {
        match (precision, isa.name()) {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            (Precision::Bf16 | Precision::Bf16x3, IsaName::Amx) => {
                let amx = Amx::request()?.map_err(UnitError::NotPermitted);
                Some(amx.map(|amx| Unit::Amx(amx, rounding_lanes())))
            }
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16Avx512, IsaName::Amx | IsaName::Avx512) => {
                Some(Ok(Unit::Dot(Avx512Bf16::detect()?)))
            }
            (
                _,
                IsaName::Amx | IsaName::Avx512 | IsaName::Avx2 | IsaName::Neon | IsaName::Portable,
            ) => None,
        }
    }

    /// Its name as in [`Precision::unit_name`]; `None` for the emulation, which every precision has.
    fn name(self) -> Option<&'static str> {
        match self {
            Unit::Emulated => None,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx(..) => Precision::Bf16.unit_name(),
            #[cfg(target_arch = "x86_64")]
            Unit::Dot(_) => Precision::Bf16Avx512.unit_name(),
        }
    }
}

/// Lanes that round to bf16 by an instruction, if the CPU has them and they pass the self-test.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn rounding_lanes() -> Option<Avx512Bf16> {
    Avx512Bf16::detect().filter(|lanes| Bf16Unit(Unit::Dot(*lanes)).tested().is_ok())
}

/// Why a bf16 unit of the CPU is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitError {
    /// Linux does not permit AMX; the errno of `arch_prctl`.
    NotPermitted(i64),
    /// The unit of the precision multiplies or rounds differently from its documentation.
    SelfTestFailed(Precision),
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnitError::NotPermitted(errno) => write!(
                f,
                "Linux does not permit AMX: arch_prctl(ARCH_REQ_XCOMP_PERM) failed with errno {errno}"
            ),
            UnitError::SelfTestFailed(precision) => {
                write!(f, "{} failed its self-test", precision.unit_name().unwrap_or("the CPU"))
            }
        }
    }
}

impl std::error::Error for UnitError {}

/// A precision on an instruction set: the numeric environment of every kernel of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    isa: Isa,
    precision: Precision,
    unit: Bf16Unit,
    integers: IntegerUnit,
}

impl Arithmetic {
    /// f32 products.
    pub fn f32(isa: Isa) -> Self {
        Arithmetic::new(isa, Precision::F32, Bf16Unit::EMULATED)
    }

    /// Any precision. A unit that does not make the products of `precision` is replaced by the emulation.
    pub fn new(isa: Isa, precision: Precision, unit: Bf16Unit) -> Self {
        let unit = if unit.supports(precision) { unit } else { Bf16Unit::EMULATED };
        Arithmetic { isa, precision, unit, integers: IntegerUnit::of(isa) }
    }

    /// The instruction set of everything except the bf16 products. Beside a bf16 unit, kernels may run on
    /// lanes of AVX-512 that round by an instruction, with the same bits.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// The number format of the factors.
    pub fn precision(self) -> Precision {
        self.precision
    }

    /// Whether its instructions multiply integers of 8 bits faster than those of 16, as VNNI does.
    pub fn multiplies_bytes_faster(self) -> bool {
        self.integers.has_dot_products_of_bytes()
    }

    /// The instructions that multiply integers.
    pub(crate) fn integers(self) -> IntegerUnit {
        self.integers
    }

    /// The same with other instructions that multiply integers.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_integers(self, integers: IntegerUnit) -> Self {
        Arithmetic { integers, ..self }
    }

    #[cfg(test)]
    pub(crate) fn unit(self) -> Bf16Unit {
        self.unit
    }

    /// Runs a kernel with the lanes and the products of this arithmetic.
    pub(crate) fn run<K: BlockKernel>(self, kernel: K) {
        match self.unit.0 {
            Unit::Emulated => match self.precision {
                Precision::Bf16Avx512 => self.isa.run(OnEmulation::<_, OneChain>::new(kernel)),
                _ => self.isa.run(OnEmulation::<_, TwoChains>::new(kernel)),
            },
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx(amx, rounding) => match rounding {
                Some(lanes) => lanes.run(OnAmx(kernel, amx)),
                None => self.isa.run(OnAmx(kernel, amx)),
            },
            #[cfg(target_arch = "x86_64")]
            Unit::Dot(lanes) => lanes.run(OnDots(kernel, lanes)),
        }
    }

    /// Twice the product of two blocks: a product of the factors `[left left]` and `[right right]`.
    pub(crate) fn multiply_blocks(self, left: Operand, right: Operand) -> [f32; BLOCK_LEN] {
        let mut sums = [0.0; BLOCK_LEN];
        self.run(MultiplyBlocks { left, right, to: &mut sums });
        sums
    }

    /// Rounds 16 values to bf16, with the lanes that run beside the unit.
    pub(crate) fn round(self, values: &[f32; LANES]) -> [u16; LANES] {
        let mut rounded = [0; LANES];
        self.run(RoundLanes { values, to: &mut rounded });
        rounded
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (precision, lanes) = (self.precision, self.isa.lanes());
        match self.unit.0 {
            _ if precision == Precision::F32 => f.write_str(lanes.as_str()),
            _ if matches!(precision.format(), NumberFormat::Integer(_)) => self.integers.fmt(f),
            Unit::Emulated => write!(f, "{lanes}, {precision} emulated"),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Amx(..) => f.write_str("amx"),
            #[cfg(target_arch = "x86_64")]
            Unit::Dot(_) => f.write_str("avx512-bf16"),
        }
    }
}

/// Gives a kernel the emulated products.
struct OnEmulation<K, A>(K, PhantomData<A>);

impl<K, A> OnEmulation<K, A> {
    fn new(kernel: K) -> Self {
        OnEmulation(kernel, PhantomData)
    }
}

impl<K: BlockKernel, A: Accumulation> Kernel for OnEmulation<K, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, &mut EmulatedProducts::<A>::new());
    }
}

/// Gives a kernel the products of AMX.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
struct OnAmx<K>(K, Amx);

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl<K: BlockKernel> Kernel for OnAmx<K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, &mut AmxProducts::new(self.1));
    }
}

/// Gives a kernel the products of AVX512-BF16.
#[cfg(target_arch = "x86_64")]
struct OnDots<K>(K, Avx512Bf16);

#[cfg(target_arch = "x86_64")]
impl<K: BlockKernel> Kernel for OnDots<K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, &mut DotProducts(self.1));
    }
}

struct MultiplyBlocks<'a> {
    left: Operand<'a>,
    right: Operand<'a>,
    to: &'a mut [f32; BLOCK_LEN],
}

impl BlockKernel for MultiplyBlocks<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(self, simd: S, products: &mut P) {
        let extent = Extent { rows: BLOCK_SIDE, columns: BLOCK_SIDE, depth: 2 * BLOCK_SIDE };
        let factors = |_| [self.left, self.right];
        products.multiply(simd, extent, factors, &mut NoWork, self.to, BLOCK_SIDE);
    }
}

struct RoundLanes<'a> {
    values: &'a [f32; LANES],
    to: &'a mut [u16; LANES],
}

impl BlockKernel for RoundLanes<'_> {
    #[inline(always)]
    fn run<S: Simd, P: Products>(self, simd: S, _: &mut P) {
        simd.store_bf16(simd.load(self.values), self.to);
    }
}

/// Zeros, values at and beside the limit of flushing, ties in both directions and their neighbours, the
/// maximum, infinity and NaN.
const SELF_TEST_VALUES: [f32; LANES] = [
    0.0,
    -0.0,
    1.0e-40,
    MIN_BF16,
    -MIN_BF16,
    f32::from_bits(MIN_BF16.to_bits() - 1),
    f32::from_bits(0x3f80_8000),
    f32::from_bits(0x3f81_8000),
    f32::from_bits(0x3f80_8001),
    f32::from_bits(0xbf81_7fff),
    f32::from_bits(0x3fff_ffff),
    f32::MAX,
    f32::NEG_INFINITY,
    f32::from_bits(0x7f80_0001),
    f32::from_bits(0xffff_ffff),
    f32::from_bits(0x7fc0_8000),
];

/// Four blocks with magnitudes from 2^-50 to 2^13, both signs and some zeros.
fn self_test_factors() -> [Block; 4] {
    let mut state = 0x9e37_79b9_u32;
    [(); 4].map(|()| {
        [(); BLOCK_LEN].map(|()| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (sign, exponent, mantissa) = (state >> 31, state >> 24 & 63, state >> 16 & 0x7f);
            if exponent == 63 { 0 } else { (sign << 15 | (exponent + 77) << 7 | mantissa) as u16 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_test_factors_distinguish_the_orders_of_the_units() {
        let [first, second, ..] = &self_test_factors();
        let [left, right] = [first, second].map(|high| Operand { high, low: None });
        let [amx, avx512] = [Precision::Bf16, Precision::Bf16Avx512].map(|precision| {
            let emulated = Arithmetic::new(Isa::portable(), precision, Bf16Unit::EMULATED);
            emulated.multiply_blocks(left, right)
        });
        let different = amx.iter().zip(&avx512).filter(|(x, y)| x.to_bits() != y.to_bits());
        assert!(different.count() > BLOCK_LEN / 4);
    }

    #[test]
    fn errors_name_the_unit_and_the_cause() {
        let refused = UnitError::NotPermitted(22).to_string();
        assert!(refused.contains("AMX") && refused.contains("errno 22"), "{refused}");
        for (precision, unit) in
            [(Precision::Bf16x3, "AMX"), (Precision::Bf16Avx512, "AVX512-BF16")]
        {
            let message = UnitError::SelfTestFailed(precision).to_string();
            assert_eq!(message, format!("{unit} failed its self-test"));
        }
    }
}
