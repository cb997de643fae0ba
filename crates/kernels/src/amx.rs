//! AMX: the tile registers of Intel's server CPUs since Sapphire Rapids, and `TDPBF16PS`.
//!
//! ```text
//!                 tmm6 ◄── k, columns 0–15    tmm7 ◄── k, columns 16–31
//!   rows 0–15         ┌──────────┐                ┌──────────┐
//!   tmm4 ◄──          │  tmm0    │                │  tmm1    │
//!                     └──────────┘                └──────────┘
//!   rows 16–31        ┌──────────┐                ┌──────────┐
//!   tmm5 ◄──          │  tmm2    │                │  tmm3    │      sums, f32, 16 × 16 each
//!                     └──────────┘                └──────────┘
//! ```
//!
//! Four loads of 1 KiB feed four multiplications of 16 cycles. What a multiplication computes is the numerics
//! version in [`super::tiles`]. No other code of the program touches a tile register, so what is in them stays
//! there between the blocks of assembly below; [`AmxSums`] configures them when it is made and releases them when
//! it is dropped, on one thread.
//!
//! A machine without AMX cannot run this, but its tests can: see `amx/emulator.rs`. And a machine with AMX is asked
//! before it is believed: [`Amx::ready`] compares products with those of the emulation.

#[cfg(any(test, feature = "testing"))]
mod emulator;

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;

use super::Bf16Unit;
use super::avx512::Avx512;
use super::avx512bf16::Avx512Bf16;
use super::precision::UnitError;
use super::simd::Simd;
use super::tiles::products::{Extent, Products};
use super::tiles::{Operand, SIDE, SQUARE, self_test};

/// Proof that tiles may be used: the CPU has them, the kernel saves and permits them, and their products are
/// right. [`Amx::ready`] alone makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amx {
    /// What rounds to bf16 beside the tiles.
    rounding: Option<Avx512Bf16>,
}

impl Amx {
    /// Whether the CPU has tiles of bf16 and the kernel saves them.
    pub(crate) fn is_there() -> bool {
        if !is_x86_feature_detected!("xsave") {
            return false;
        }
        #[allow(unused_unsafe, reason = "asking the CPU is safe in newer compilers only")]
        // SAFETY: every x86-64 CPU answers CPUID, and one without a leaf answers zeros or another leaf's bits,
        // which the highest leaf excludes.
        let features = unsafe {
            match __cpuid_count(0, 0).eax {
                0..7 => 0,
                _ => __cpuid_count(7, 0).edx,
            }
        };
        // SAFETY: the feature `xsave` means that the kernel has enabled XGETBV.
        let saved = unsafe { _xgetbv(0) };
        features & FEATURES == FEATURES && saved & TILE_STATE == TILE_STATE
    }

    /// Asks the kernel for the tiles, for this process and every thread of it, and tests them.
    pub(crate) fn ready() -> Result<Self, UnitError> {
        request_permission()?;
        let amx = Amx { rounding: Avx512Bf16::ready().and_then(Result::ok) };
        self_test::check(Bf16Unit::amx(amx)).map(|()| amx)
    }

    /// Lanes that round to bf16 by an instruction, where the CPU has it.
    #[inline(always)]
    pub(crate) fn lanes(self) -> Option<Avx512<true>> {
        self.rounding.map(Avx512Bf16::lanes)
    }

    /// Sums in the tile registers of this thread.
    #[inline(always)]
    pub(crate) fn products(self) -> AmxSums {
        AmxSums::configured(self)
    }
}

/// CPUID leaf 7, EDX: AMX-BF16 and AMX-TILE.
const FEATURES: u32 = 1 << 22 | 1 << 24;
/// XCR0: the kernel saves the tiles' configuration and their data.
const TILE_STATE: u64 = 1 << 17 | 1 << 18;

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`: <https://docs.kernel.org/arch/x86/xstate.html>. Asking again is
/// allowed.
fn request_permission() -> Result<(), UnitError> {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XTILEDATA: i64 = 18;
    #[cfg(any(test, feature = "testing"))]
    if emulator::is_installed() {
        return Ok(());
    }
    let result: i64;
    // SAFETY: the call reads and writes no memory of ours; a system call clobbers RCX and R11 alone.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result == 0 { Ok(()) } else { Err(UnitError::NotPermitted(-result)) }
}

/// Palette 1, and eight tiles of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

static TILE_CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Bytes from a row of a tile of factors to the next.
const ROW_BYTES: usize = 64;

/// The sums of a block in tmm0 to tmm3 of this thread.
pub(crate) struct AmxSums {
    /// Whether more than 16 rows are wanted.
    tall: bool,
    /// The registers are the thread's.
    _of_this_thread: PhantomData<*const ()>,
}

impl AmxSums {
    #[inline(always)]
    fn configured(_: Amx) -> Self {
        // SAFETY: the token proves that tiles may be used; the configuration is 64 valid bytes.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                config = in(reg) &raw const TILE_CONFIG,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        AmxSums { tall: true, _of_this_thread: PhantomData }
    }

    /// `sums += left · right` for one part of each factor.
    #[inline(always)]
    fn multiply(&mut self, left: &[u16; SQUARE], right: &[u16; SQUARE]) {
        // SAFETY: the tiles are configured while `self` lives; each load reads 16 rows of 64 bytes: the upper half of
        // the left factor's 2 KiB, and both halves of the right one's.
        unsafe {
            asm!(
                "tileloadd tmm4, [{left} + {row}*1]",
                "tileloadd tmm6, [{right} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{right} + {row}*1 + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                left = in(reg) left.as_ptr(),
                right = in(reg) right.as_ptr(),
                row = in(reg) ROW_BYTES,
                out("tmm0") _, out("tmm1") _,
                out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        if self.tall {
            // SAFETY: as above, with the lower half of the left factor; tmm6 and tmm7 hold the right one.
            unsafe {
                asm!(
                    "tileloadd tmm5, [{left} + {row}*1 + 1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    left = in(reg) left.as_ptr(),
                    row = in(reg) ROW_BYTES,
                    out("tmm2") _, out("tmm3") _, out("tmm5") _,
                    options(nostack, preserves_flags, readonly),
                );
            }
        }
    }
}

impl Products for AmxSums {
    #[inline(always)]
    fn product<'a, S: Simd>(
        &mut self,
        simd: S,
        wanted: Extent,
        factors: impl Fn(usize) -> [Operand<'a>; 2],
        mut between: impl FnMut(S, usize),
        to: &mut [f32],
        stride: usize,
    ) {
        self.clear(wanted.rows);
        for k in 0..wanted.squares() {
            let [left, right] = factors(k);
            self.add(left, right);
            between(simd, 1);
        }
        self.store(to, stride);
    }
}

impl AmxSums {
    #[inline(always)]
    fn clear(&mut self, rows: usize) {
        self.tall = rows > SIDE / 2;
        // SAFETY: the tiles are configured while `self` lives.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }

    #[inline(always)]
    fn add(&mut self, left: Operand, right: Operand) {
        self.multiply(left.high, right.high);
        if let Some(low) = right.low {
            self.multiply(left.high, low);
        }
        if let Some(low) = left.low {
            self.multiply(low, right.high);
        }
    }

    #[inline(always)]
    fn store(&mut self, to: &mut [f32], stride: usize) {
        assert!(stride >= SIDE && to.len() >= (SIDE - 1) * stride + SIDE, "room for 32 rows");
        let row = stride * size_of::<f32>();
        // SAFETY: the tiles are configured while `self` lives; each store writes 16 rows of 16 values, the two
        // of the upper half in rows 0 to 15, at columns 0 and 16, of the 32 rows that there is room for.
        unsafe {
            asm!(
                "tilestored [{to} + {row}*1], tmm0",
                "tilestored [{to} + {row}*1 + 64], tmm1",
                to = in(reg) to.as_mut_ptr(),
                row = in(reg) row,
                options(nostack, preserves_flags),
            );
        }
        if self.tall {
            // SAFETY: as above, in rows 16 to 31.
            unsafe {
                asm!(
                    "tilestored [{to} + {row}*1], tmm2",
                    "tilestored [{to} + {row}*1 + 64], tmm3",
                    to = in(reg) to[SIDE / 2 * stride..].as_mut_ptr(),
                    row = in(reg) row,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}

impl Drop for AmxSums {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the token that made `self` proves that tiles may be used.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, nomem),
            );
        }
    }
}

/// The tiles of this machine, or those of the emulator where it has none, or its kernel permits none: beside lanes that
/// round by an instruction, where the CPU has it, and beside those that do not.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn for_tests() -> Vec<Bf16Unit> {
    let found = Amx::is_there().then(Amx::ready);
    if matches!(found, None | Some(Err(UnitError::NotPermitted(_)))) {
        emulator::install();
    }
    let amx = Amx::ready().expect("tiles that multiply as documented");
    vec![Bf16Unit::amx(amx), Bf16Unit::amx(Amx { rounding: None })]
}
