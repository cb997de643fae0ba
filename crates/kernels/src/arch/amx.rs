//! AMX: the tile registers of Intel server CPUs since Sapphire Rapids, and `TDPBF16PS`.
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
//! Four loads of 1 KiB feed four multiplications of 16 cycles, with the sums of the numerics version
//! *bf16* in [`crate::bf16`]. No other code of the process uses a tile register, so their contents
//! survive between the assembly blocks below. [`AmxProducts::new`] configures the tiles of its thread,
//! and dropping it releases them.
//!
//! Tests run this code on any x86-64 Linux: see `amx/emulator.rs`.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod emulator;
#[cfg(test)]
mod tests;

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;

use crate::bf16::products::{Extent, Interleaved, Products};
use crate::bf16::{BLOCK_SIDE, Block, Operand};
use crate::simd::Simd;

/// Proof that tiles can be used: the CPU has them, and Linux saves and permits them. Only [`Amx::request`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amx(());

impl Amx {
    /// Whether the CPU has bf16 tiles and the operating system saves them.
    pub(crate) fn is_available() -> bool {
        if !is_x86_feature_detected!("xsave") {
            return false;
        }
        #[allow(unused_unsafe, reason = "CPUID is an unsafe function in older compilers")]
        // SAFETY: every x86-64 CPU has CPUID. One without leaf 7 returns zeros or the bits of another leaf,
        // which the check of the highest leaf excludes.
        let features = unsafe {
            match __cpuid_count(0, 0).eax {
                0..7 => 0,
                _ => __cpuid_count(7, 0).edx,
            }
        };
        // SAFETY: the feature `xsave` means that the operating system has enabled XGETBV.
        let saved = unsafe { _xgetbv(0) };
        features & FEATURES == FEATURES && saved & TILE_STATE == TILE_STATE
    }

    /// Requests permission to use tiles, for the process and all its threads; `None` if the CPU lacks them.
    ///
    /// # Errors
    /// The errno of `arch_prctl`.
    pub(crate) fn request() -> Option<Result<Self, i64>> {
        #[cfg(any(test, feature = "testing"))]
        if emulator::is_installed() {
            return Some(Ok(Amx(())));
        }
        Self::is_available().then(|| request_permission().map(|()| Amx(())))
    }
}

/// CPUID leaf 7, EDX: AMX-BF16 and AMX-TILE.
const FEATURES: u32 = 1 << 22 | 1 << 24;
/// XCR0: the operating system saves the configuration and the data of tiles.
const TILE_STATE: u64 = 1 << 17 | 1 << 18;

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`, <https://docs.kernel.org/arch/x86/xstate.html>. It is idempotent.
fn request_permission() -> Result<(), i64> {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call accesses no memory of the process; a system call clobbers only RCX and R11.
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
    if result == 0 { Ok(()) } else { Err(-result) }
}

/// The operand of `LDTILECFG`.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// Palette 1, and eight tiles of 16 rows of 64 bytes.
static TILE_CONFIG: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Bytes from a row of a tile of factors to the next.
const ROW_BYTES: usize = 64;

/// Products by the tile registers of this thread: tmm0 to tmm3 hold the sums of a block.
pub(crate) struct AmxProducts {
    /// Whether the caller needs more than 16 rows.
    tall: bool,
    /// The registers belong to the thread, so the type is neither `Send` nor `Sync`.
    _thread_bound: PhantomData<*const ()>,
}

impl AmxProducts {
    /// Configures the tiles of this thread.
    #[inline(always)]
    pub(crate) fn new(_: Amx) -> Self {
        // SAFETY: the token proves that tiles can be used; the configuration is 64 valid bytes.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                config = in(reg) &raw const TILE_CONFIG,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        AmxProducts { tall: true, _thread_bound: PhantomData }
    }

    /// `sums += left · right` for one part of each factor.
    #[inline(always)]
    fn multiply_part(&mut self, left: &Block, right: &Block) {
        // SAFETY: the tiles are configured while `self` lives. Each load reads 16 rows of 64 bytes: the
        // upper half of the 2 KiB of the left factor, and both halves of the right factor.
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
            // SAFETY: as above, with the lower half of the left factor; tmm6 and tmm7 hold the right factor.
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

impl Products for AmxProducts {
    #[inline(always)]
    fn multiply<'a, S: Simd>(
        &mut self,
        simd: S,
        extent: Extent,
        factors: impl Fn(usize) -> [Operand<'a>; 2],
        interleaved: &mut impl Interleaved,
        to: &mut [f32],
        stride: usize,
    ) {
        self.clear(extent.rows);
        for k in 0..extent.blocks() {
            let [left, right] = factors(k);
            self.add(left, right);
            interleaved.advance(simd, 1);
        }
        self.store(to, stride);
    }
}

impl AmxProducts {
    #[inline(always)]
    fn clear(&mut self, rows: usize) {
        self.tall = rows > BLOCK_SIDE / 2;
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
        self.multiply_part(left.high, right.high);
        if let Some(low) = right.low {
            self.multiply_part(left.high, low);
        }
        if let Some(low) = left.low {
            self.multiply_part(low, right.high);
        }
    }

    #[inline(always)]
    fn store(&mut self, to: &mut [f32], stride: usize) {
        assert!(
            stride >= BLOCK_SIDE && to.len() >= (BLOCK_SIDE - 1) * stride + BLOCK_SIDE,
            "the sums hold 32 rows of 32"
        );
        let row = stride * size_of::<f32>();
        // SAFETY: the tiles are configured while `self` lives. Each store writes 16 rows of 16 values: those
        // of the upper half in rows 0 to 15, at columns 0 and 16, of the 32 rows that `to` holds.
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
                    to = in(reg) to[BLOCK_SIDE / 2 * stride..].as_mut_ptr(),
                    row = in(reg) row,
                    options(nostack, preserves_flags),
                );
            }
        }
    }
}

impl Drop for AmxProducts {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the token that made `self` proves that tiles can be used.
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
