//! The AMX instructions on a CPU that lacks them, for tests. There, each instruction raises SIGILL, and
//! the handler decodes it, executes what Intel documents, and returns behind it. So tests run the machine
//! code of `amx.rs`: its addresses, strides, configuration and registers.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: `LDTILECFG`, `TILERELEASE`,
//! `TILEZERO`, `TILELOADD`, `TILESTORED`, `TDPBF16PS`, the exception classes AMX-E1 to AMX-E6, and the encoding of
//! VEX prefix, ModRM and SIB. Denormals are flushed here, as TDPBF16PS does, and not in the emulation over
//! lanes: equal results of the two show that no denormal arises.
//!
//! An instruction that raises an exception on a CPU (tiles that are not configured or have other shapes, a
//! repeated register, an unknown encoding) raises one here: the handler restores the default action of the
//! signal, which ends the process.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Whether the signal handler is installed.
pub(crate) fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// Installs the signal handler, once for the process.
pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the action is zeroed and then filled in as sigaction(2) requires, with a handler for this
        // signal and SA_SIGINFO.
        let status = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGILL, &raw const action, ptr::null_mut())
        };
        assert_eq!(status, 0, "sigaction failed");
        INSTALLED.store(true, Ordering::Release);
    });
}

extern "C" fn on_illegal_instruction(
    _: libc::c_int,
    _: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the third argument is the context of the interrupted thread, the CPU fetched
    // the bytes at its instruction pointer, and `execute` accesses the memory that the instruction would.
    let done = unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize] as *const u8;
        match Instruction::decode(at, registers) {
            Some((instruction, length)) if execute(instruction) => {
                registers[libc::REG_RIP as usize] += length as i64;
                true
            }
            _ => false,
        }
    };
    if !done {
        // SAFETY: the default action is always valid; the instruction then raises the signal again.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
    }
}

const TILES: usize = 8;
pub(super) const MAX_ROWS: usize = 16;
pub(super) const MAX_ROW_BYTES: usize = 64;

/// The tile registers of a thread.
struct TileState {
    configured: bool,
    rows: [u8; TILES],
    bytes: [u16; TILES],
    data: [[[u8; MAX_ROW_BYTES]; MAX_ROWS]; TILES],
}

thread_local! {
    /// Const-initialised and without a destructor, so that a signal handler can use it.
    static STATE: UnsafeCell<TileState> = const {
        UnsafeCell::new(TileState {
            configured: false,
            rows: [0; TILES],
            bytes: [0; TILES],
            data: [[[0; MAX_ROW_BYTES]; MAX_ROWS]; TILES],
        })
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    LoadConfig {
        from: *const u8,
    },
    Release,
    Zero {
        tile: usize,
    },
    Load {
        tile: usize,
        from: *const u8,
        stride: isize,
    },
    Store {
        tile: usize,
        to: *mut u8,
        stride: isize,
    },
    /// TDPBF16PS.
    Multiply {
        sums: usize,
        left: usize,
        right: usize,
    },
}

impl Instruction {
    /// Decodes a VEX instruction of the map 0F 38; also returns its length in bytes.
    ///
    /// # Safety
    /// `at` points to an instruction.
    unsafe fn decode(at: *const u8, registers: &[i64; 23]) -> Option<(Self, usize)> {
        // SAFETY: as the caller promises; each byte is read only after those before it show that it belongs to
        // the instruction.
        let byte = |index: usize| unsafe { at.add(index).read() };
        if byte(0) != 0xc4 {
            return None;
        }
        let (second, third, opcode, modrm) = (byte(1), byte(2), byte(3), byte(4));
        // R, X and B are stored inverted; each extends the number of a register.
        let extension = |bit: u8| usize::from(second >> bit & 1 == 0) << 3;
        let (map, wide, length) = (second & 0x1f, third >> 7, third >> 2 & 1);
        if map != 2 || wide != 0 || length != 0 {
            return None;
        }
        let prefix = third & 3;
        let vvvv = usize::from(!third >> 3 & 15);
        let mode = modrm >> 6;
        let reg = usize::from(modrm >> 3 & 7) | extension(7);
        let rm = usize::from(modrm & 7);
        let register = |number: usize| registers[GENERAL[number] as usize];

        if mode == 3 {
            let rm = rm | extension(5);
            let instruction = match (opcode, prefix) {
                (0x49, 0) if modrm == 0xc0 && vvvv == 0 => Instruction::Release,
                (0x49, 3) if rm == 0 && vvvv == 0 => Instruction::Zero { tile: reg },
                (0x5c, 2) => Instruction::Multiply { sums: reg, left: rm, right: vvvv },
                _ => return None,
            };
            return Some((instruction, 5));
        }
        // A memory operand: a base, an index if a SIB byte follows, and a displacement of 0, 1 or 4 bytes.
        let (mut next, mut address, mut stride) = (5, 0, 0);
        if rm == 4 {
            let sib = byte(5);
            next += 1;
            let (scale, index, base) =
                (sib >> 6, usize::from(sib >> 3 & 7) | extension(6), usize::from(sib & 7));
            if base == 5 && mode == 0 {
                return None;
            }
            address += register(base | extension(5));
            if index != 4 {
                stride = register(index) << scale;
            }
        } else if rm == 5 && mode == 0 {
            return None;
        } else {
            address += register(rm | extension(5));
        }
        let displacement = match mode {
            1 => i64::from(byte(next) as i8),
            2 => i64::from(i32::from_le_bytes([0, 1, 2, 3].map(|i| byte(next + i)))),
            _ => 0,
        };
        next += [0, 1, 4, 0][usize::from(mode)];
        address += displacement;
        let instruction = match (opcode, prefix) {
            // The index is part of the address here, not a stride.
            (0x49, 0) if reg == 0 && vvvv == 0 => {
                Instruction::LoadConfig { from: (address + stride) as *const u8 }
            }
            (0x4b, 3) if rm == 4 && vvvv == 0 => {
                Instruction::Load { tile: reg, from: address as *const u8, stride: stride as isize }
            }
            (0x4b, 2) if rm == 4 && vvvv == 0 => {
                Instruction::Store { tile: reg, to: address as *mut u8, stride: stride as isize }
            }
            _ => return None,
        };
        Some((instruction, next))
    }
}

/// The index of each general register in the signal context, by its number in an instruction.
const GENERAL: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Executes an instruction; `false` where a CPU raises an exception.
///
/// # Safety
/// The memory operands of the instruction must be valid.
unsafe fn execute(instruction: Instruction) -> bool {
    STATE.with(|state| {
        // SAFETY: the state belongs to the thread, and this function contains no emulated instruction.
        let state = unsafe { &mut *state.get() };
        match instruction {
            // SAFETY: as the caller promises.
            Instruction::LoadConfig { from } => unsafe { state.configure(from) },
            Instruction::Release => {
                state.configured = false;
                true
            }
            Instruction::Zero { tile } => {
                let valid = state.is_valid(tile);
                if valid {
                    state.data[tile] = [[0; MAX_ROW_BYTES]; MAX_ROWS];
                }
                valid
            }
            Instruction::Load { tile, from, stride } => {
                let valid = state.is_valid(tile);
                if valid {
                    let mut data = [[0; MAX_ROW_BYTES]; MAX_ROWS];
                    for (row, to) in data.iter_mut().enumerate().take(state.rows[tile].into()) {
                        // SAFETY: as the caller promises; a row of a tile is at most 64 bytes.
                        unsafe {
                            let from = from.wrapping_offset(row as isize * stride);
                            ptr::copy_nonoverlapping(
                                from,
                                to.as_mut_ptr(),
                                state.bytes[tile].into(),
                            );
                        }
                    }
                    state.data[tile] = data;
                }
                valid
            }
            Instruction::Store { tile, to, stride } => {
                let valid = state.is_valid(tile);
                if valid {
                    let rows = usize::from(state.rows[tile]);
                    for (row, from) in state.data[tile].iter().enumerate().take(rows) {
                        // SAFETY: as the caller promises; a row of a tile is at most 64 bytes.
                        unsafe {
                            let to = to.wrapping_offset(row as isize * stride);
                            ptr::copy_nonoverlapping(from.as_ptr(), to, state.bytes[tile].into());
                        }
                    }
                }
                valid
            }
            Instruction::Multiply { sums, left, right } => state.multiply(sums, left, right),
        }
    })
}

impl TileState {
    /// LDTILECFG; `false` for a palette other than 1 and for reserved bytes that are not zero.
    ///
    /// # Safety
    /// `from` must point to 64 readable bytes.
    unsafe fn configure(&mut self, from: *const u8) -> bool {
        // SAFETY: as the caller promises.
        let config: [u8; 64] = unsafe { from.cast::<[u8; 64]>().read_unaligned() };
        let bytes =
            |tile: usize| u16::from_le_bytes([config[16 + 2 * tile], config[17 + 2 * tile]]);
        let rows = |tile: usize| config[48 + tile];
        let reserved = config[2..16].iter().any(|byte| *byte != 0)
            || (TILES..16).any(|tile| bytes(tile) != 0 || rows(tile) != 0);
        if config[0] != 1 || config[1] != 0 || reserved {
            return false;
        }
        for tile in 0..TILES {
            let (rows, bytes) = (rows(tile), bytes(tile));
            let too_large = usize::from(rows) > MAX_ROWS || usize::from(bytes) > MAX_ROW_BYTES;
            if too_large || (rows == 0) != (bytes == 0) {
                return false;
            }
            (self.rows[tile], self.bytes[tile]) = (rows, bytes);
        }
        self.data = [[[0; MAX_ROW_BYTES]; MAX_ROWS]; TILES];
        self.configured = true;
        true
    }

    fn is_valid(&self, tile: usize) -> bool {
        self.configured && tile < TILES && self.rows[tile] != 0
    }

    fn multiply(&mut self, sums: usize, left: usize, right: usize) -> bool {
        let valid = [sums, left, right].into_iter().all(|tile| self.is_valid(tile));
        if !valid || sums == left || sums == right || left == right {
            return false;
        }
        let fits = self.bytes[left] == 4 * u16::from(self.rows[right])
            && self.rows[sums] == self.rows[left]
            && self.bytes[sums] == self.bytes[right]
            && [sums, left, right].into_iter().all(|tile| self.bytes[tile].is_multiple_of(4));
        if !fits {
            return false;
        }
        let shape =
            [u16::from(self.rows[sums]), u16::from(self.rows[right]), self.bytes[right] / 4];
        let (left, right) = (self.data[left], self.data[right]);
        let sums = &mut self.data[sums];
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has AVX2 and FMA.
            unsafe { multiply_with_fma(sums, &left, &right, shape) };
        } else {
            multiply(sums, &left, &right, shape);
        }
        true
    }
}

pub(super) type Tile = [[u8; MAX_ROW_BYTES]; MAX_ROWS];

/// [`multiply`], compiled with fused multiply-add instructions.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_with_fma(sums: &mut Tile, left: &Tile, right: &Tile, shape: [u16; 3]) {
    multiply(sums, left, right, shape);
}

/// TDPBF16PS as documented: for each row, pair of k and column, a step of two chains.
#[inline(always)]
pub(super) fn multiply(
    sums: &mut Tile,
    left: &Tile,
    right: &Tile,
    [rows, pairs, columns]: [u16; 3],
) {
    const COLUMNS: usize = MAX_ROW_BYTES / 4;
    let mut weights = [[[0.0; COLUMNS]; 2]; MAX_ROWS];
    for (weights, line) in weights.iter_mut().zip(right) {
        for (half, weights) in weights.iter_mut().enumerate() {
            for (column, weight) in weights.iter_mut().enumerate() {
                *weight = flush_denormal(bf16(line, 2 * column + half));
            }
        }
    }
    for (left, sums) in left.iter().zip(sums).take(rows.into()) {
        let mut chains = [[0.0; COLUMNS]; 2];
        for (pair, weights) in weights.iter().enumerate().take(pairs.into()) {
            for half in 0..2 {
                let factor = flush_denormal(bf16(left, 2 * pair + half));
                for (chain, weight) in chains[half].iter_mut().zip(&weights[half]) {
                    *chain = flush_denormal(factor.mul_add(*weight, *chain));
                }
            }
        }
        for (column, bytes) in
            sums.as_chunks_mut::<4>().0.iter_mut().enumerate().take(columns.into())
        {
            let added = flush_denormal(chains[0][column] + chains[1][column]);
            *bytes =
                flush_denormal(flush_denormal(f32::from_le_bytes(*bytes)) + added).to_le_bytes();
        }
    }
}

#[inline(always)]
fn bf16(row: &[u8; MAX_ROW_BYTES], index: usize) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes([row[2 * index], row[2 * index + 1]])) << 16)
}

/// Zero with the sign of `x` if `x` is denormal, else `x`.
#[inline(always)]
fn flush_denormal(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The encodings are the output of an assembler.
    #[test]
    fn instructions_are_decoded() {
        let mut registers = [0i64; 23];
        for (number, place) in GENERAL.into_iter().enumerate() {
            registers[place as usize] = 0x1000 * (number as i64 + 1);
        }
        let general = |number: i64| 0x1000 * (number + 1);
        let load = |tile, from: i64, stride: i64| Instruction::Load {
            tile,
            from: from as *const u8,
            stride: stride as isize,
        };
        let cases: [(&[u8], Instruction); 9] = [
            // ldtilecfg [rax]; ldtilecfg [r9 + 64]
            (
                &[0xc4, 0xe2, 0x78, 0x49, 0x00],
                Instruction::LoadConfig { from: general(0) as *const u8 },
            ),
            (
                &[0xc4, 0xc2, 0x78, 0x49, 0x41, 0x40],
                Instruction::LoadConfig { from: (general(9) + 64) as *const u8 },
            ),
            // tilerelease
            (&[0xc4, 0xe2, 0x78, 0x49, 0xc0], Instruction::Release),
            // tilezero tmm3
            (&[0xc4, 0xe2, 0x7b, 0x49, 0xd8], Instruction::Zero { tile: 3 }),
            // tileloadd tmm4, [rax + rcx*1]
            (&[0xc4, 0xe2, 0x7b, 0x4b, 0x24, 0x08], load(4, general(0), general(1))),
            // tileloadd tmm7, [r8 + r10*2 - 8]
            (&[0xc4, 0x82, 0x7b, 0x4b, 0x7c, 0x50, 0xf8], load(7, general(8) - 8, 2 * general(10))),
            // tileloadd tmm5, [rbx + rsi*1 + 1024]
            (
                &[0xc4, 0xe2, 0x7b, 0x4b, 0xac, 0x33, 0x00, 0x04, 0x00, 0x00],
                load(5, general(3) + 1024, general(6)),
            ),
            // tilestored [rdi + rdx*1], tmm2
            (
                &[0xc4, 0xe2, 0x7a, 0x4b, 0x14, 0x17],
                Instruction::Store {
                    tile: 2,
                    to: general(7) as *mut u8,
                    stride: general(2) as isize,
                },
            ),
            // tdpbf16ps tmm1, tmm4, tmm7
            (&[0xc4, 0xe2, 0x42, 0x5c, 0xcc], Instruction::Multiply { sums: 1, left: 4, right: 7 }),
        ];
        for (bytes, expected) in cases {
            let mut padded = [0x90; 16];
            padded[..bytes.len()].copy_from_slice(bytes);
            // SAFETY: no instruction here has more than 16 bytes.
            let decoded = unsafe { Instruction::decode(padded.as_ptr(), &registers) };
            assert_eq!(decoded, Some((expected, bytes.len())), "{bytes:02x?}");
        }
        // vfmadd231ps ymm0, ymm1, ymm2; ud2
        for bytes in [[0xc4, 0xe2, 0x75, 0xb8, 0xc2], [0x0f, 0x0b, 0x90, 0x90, 0x90]] {
            // SAFETY: the decoder reads at most the five bytes of each.
            assert_eq!(unsafe { Instruction::decode(bytes.as_ptr(), &registers) }, None);
        }
    }

    #[test]
    fn invalid_tile_operations_are_refused() {
        let state = || TileState {
            configured: false,
            rows: [0; TILES],
            bytes: [0; TILES],
            data: [[[0; MAX_ROW_BYTES]; MAX_ROWS]; TILES],
        };
        let mut config = [0u8; 64];
        config[0] = 1;
        for tile in 0..3 {
            (config[16 + 2 * tile], config[48 + tile]) = (64, 16);
        }
        // SAFETY: the configurations are arrays of 64 bytes.
        let configure =
            |state: &mut TileState, config: &[u8; 64]| unsafe { state.configure(config.as_ptr()) };
        let mut three = state();
        assert!(!three.multiply(0, 1, 2), "tiles that are not configured");
        assert!(configure(&mut three, &config));
        assert!(three.multiply(0, 1, 2));
        for (sums, left, right) in [(0, 0, 1), (0, 1, 0), (1, 2, 2), (0, 1, 3), (8, 1, 2)] {
            assert!(!three.multiply(sums, left, right), "{sums}, {left}, {right}");
        }
        for (at, byte) in [(0, 2), (1, 1), (5, 1), (16, 68), (48, 17), (48, 0), (16 + 2 * 9, 64)] {
            let mut wrong = config;
            wrong[at] = byte;
            assert!(!configure(&mut state(), &wrong), "byte {at} is {byte}");
        }
        // The rows of the left factor are shorter than the right factor has pairs.
        config[16 + 2] = 32;
        let mut narrow = state();
        assert!(configure(&mut narrow, &config));
        assert!(!narrow.multiply(0, 1, 2));
    }
}
