//! The AMX instructions on a CPU that lacks them, for tests: there each of them raises an illegal-instruction
//! signal, whose handler decodes it, does what Intel documents, and goes on behind it. So the very machine code of
//! `amx.rs` is run: its addresses, strides, configuration and registers.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: `LDTILECFG`, `TILERELEASE`,
//! `TILEZERO`, `TILELOADD`, `TILESTORED`, `TDPBF16PS`, the exception classes AMX-E1 to AMX-E6, and the encoding of
//! VEX prefix, ModRM and SIB. Denormals are flushed here, as TDPBF16PS does it, and nowhere in the emulation over
//! lanes: that the two agree shows that there are none.
//!
//! What would be an exception on a CPU (tiles not configured or of other shapes than the instruction takes, a
//! register named twice, an encoding that is not known) is one here: the signal is left to its default, which
//! ends the process.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Whether the signal handler is there.
pub fn is_installed() -> bool {
    INSTALLED.load(Ordering::Acquire)
}

/// Puts the signal handler in place, once for the process.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the action is zeroed and then filled in as sigaction(2) asks, with a handler that is made for
        // this signal and SA_SIGINFO.
        let status = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_illegal_instruction as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGILL, &raw const action, ptr::null_mut())
        };
        assert_eq!(status, 0, "sigaction");
        INSTALLED.store(true, Ordering::Release);
    });
}

extern "C" fn on_illegal_instruction(
    _: libc::c_int,
    _: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: with SA_SIGINFO the third argument is the context of the interrupted thread, and what stands at its
    // instruction pointer was fetched as an instruction; of a decoded instruction's operands that is said below.
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
        // SAFETY: restoring the default is always allowed; the instruction then raises the signal again.
        unsafe { libc::signal(libc::SIGILL, libc::SIG_DFL) };
    }
}

const TILES: usize = 8;
const MOST_ROWS: usize = 16;
const MOST_BYTES: usize = 64;

/// The tile state of a thread.
struct State {
    configured: bool,
    rows: [u8; TILES],
    bytes: [u16; TILES],
    data: [[[u8; MOST_BYTES]; MOST_ROWS]; TILES],
}

thread_local! {
    /// Without a destructor and constant at the start, so that a signal handler may use it.
    static STATE: UnsafeCell<State> = const {
        UnsafeCell::new(State {
            configured: false,
            rows: [0; TILES],
            bytes: [0; TILES],
            data: [[[0; MOST_BYTES]; MOST_ROWS]; TILES],
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
    /// Decodes a VEX-coded instruction of the map 0F 38, and says how long it is.
    ///
    /// # Safety
    /// `at` points to an instruction.
    unsafe fn decode(at: *const u8, registers: &[i64; 23]) -> Option<(Self, usize)> {
        // SAFETY: as the caller promises; no byte is read before those in front of it show that it belongs.
        let byte = |index: usize| unsafe { at.add(index).read() };
        if byte(0) != 0xc4 {
            return None;
        }
        let (second, third, opcode, modrm) = (byte(1), byte(2), byte(3), byte(4));
        // R, X and B are stored inverted: here they extend a register's number.
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
        // Memory: a base, with an index where a SIB byte follows, and a displacement of 0, 1 or 4 bytes.
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
            // Its index is a part of the address, not a stride.
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

/// Where the context keeps the general registers, by the numbers that instructions give them.
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

/// Does it; `false` where a CPU would raise an exception.
///
/// # Safety
/// What the instruction reads and writes in memory is as valid as for the CPU.
unsafe fn execute(instruction: Instruction) -> bool {
    STATE.with(|state| {
        // SAFETY: the state is the thread's, and no emulated instruction lies within this function.
        let state = unsafe { &mut *state.get() };
        match instruction {
            // SAFETY: as the caller promises.
            Instruction::LoadConfig { from } => unsafe { state.configure(from) },
            Instruction::Release => {
                state.configured = false;
                true
            }
            Instruction::Zero { tile } => {
                let valid = state.is_usable(tile);
                if valid {
                    state.data[tile] = [[0; MOST_BYTES]; MOST_ROWS];
                }
                valid
            }
            Instruction::Load { tile, from, stride } => {
                let valid = state.is_usable(tile);
                if valid {
                    let mut data = [[0; MOST_BYTES]; MOST_ROWS];
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
                let valid = state.is_usable(tile);
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

impl State {
    /// LDTILECFG with palette 1; every other palette is refused, as reserved bytes are.
    ///
    /// # Safety
    /// 64 bytes can be read at `from`.
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
            let too_large = usize::from(rows) > MOST_ROWS || usize::from(bytes) > MOST_BYTES;
            if too_large || (rows == 0) != (bytes == 0) {
                return false;
            }
            (self.rows[tile], self.bytes[tile]) = (rows, bytes);
        }
        self.data = [[[0; MOST_BYTES]; MOST_ROWS]; TILES];
        self.configured = true;
        true
    }

    fn is_usable(&self, tile: usize) -> bool {
        self.configured && tile < TILES && self.rows[tile] != 0
    }

    fn multiply(&mut self, sums: usize, left: usize, right: usize) -> bool {
        let usable = [sums, left, right].into_iter().all(|tile| self.is_usable(tile));
        if !usable || sums == left || sums == right || left == right {
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
            // SAFETY: the CPU has both.
            unsafe { multiply_fast(sums, &left, &right, shape) };
        } else {
            multiply(sums, &left, &right, shape);
        }
        true
    }
}

type Tile = [[u8; MOST_BYTES]; MOST_ROWS];

/// The same, compiled for a CPU that need not call a function for each multiply-add.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_fast(sums: &mut Tile, left: &Tile, right: &Tile, shape: [u16; 3]) {
    multiply(sums, left, right, shape);
}

/// TDPBF16PS as the manual has it: for each row, pair of k and column, one step of two chains.
#[inline(always)]
fn multiply(sums: &mut Tile, left: &Tile, right: &Tile, [rows, pairs, columns]: [u16; 3]) {
    const COLUMNS: usize = MOST_BYTES / 4;
    let mut weights = [[[0.0; COLUMNS]; 2]; MOST_ROWS];
    for (weights, line) in weights.iter_mut().zip(right) {
        for (half, weights) in weights.iter_mut().enumerate() {
            for (column, weight) in weights.iter_mut().enumerate() {
                *weight = flushed(bf16(line, 2 * column + half));
            }
        }
    }
    for (left, sums) in left.iter().zip(sums).take(rows.into()) {
        let mut chains = [[0.0; COLUMNS]; 2];
        for (pair, weights) in weights.iter().enumerate().take(pairs.into()) {
            for half in 0..2 {
                let factor = flushed(bf16(left, 2 * pair + half));
                for (chain, weight) in chains[half].iter_mut().zip(&weights[half]) {
                    *chain = flushed(factor.mul_add(*weight, *chain));
                }
            }
        }
        for (column, bytes) in
            sums.as_chunks_mut::<4>().0.iter_mut().enumerate().take(columns.into())
        {
            let added = flushed(chains[0][column] + chains[1][column]);
            *bytes = flushed(flushed(f32::from_le_bytes(*bytes)) + added).to_le_bytes();
        }
    }
}

#[inline(always)]
fn bf16(row: &[u8; MOST_BYTES], index: usize) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes([row[2 * index], row[2 * index + 1]])) << 16)
}

/// A denormal as the zero of its sign.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}

/// The opcode table and the addresses, on encodings that an assembler gave.
#[test]
fn instructions_are_decoded_as_they_are_encoded() {
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
            Instruction::Store { tile: 2, to: general(7) as *mut u8, stride: general(2) as isize },
        ),
        // tdpbf16ps tmm1, tmm4, tmm7
        (&[0xc4, 0xe2, 0x42, 0x5c, 0xcc], Instruction::Multiply { sums: 1, left: 4, right: 7 }),
    ];
    for (bytes, expected) in cases {
        let mut padded = [0x90; 16];
        padded[..bytes.len()].copy_from_slice(bytes);
        // SAFETY: 16 bytes are more than any instruction here has.
        let decoded = unsafe { Instruction::decode(padded.as_ptr(), &registers) };
        assert_eq!(decoded, Some((expected, bytes.len())), "{bytes:02x?}");
    }
    // vfmadd231ps ymm0, ymm1, ymm2 and a byte that begins nothing of the kind.
    for bytes in [[0xc4, 0xe2, 0x75, 0xb8, 0xc2], [0x0f, 0x0b, 0x90, 0x90, 0x90]] {
        // SAFETY: neither needs more bytes than there are.
        assert_eq!(unsafe { Instruction::decode(bytes.as_ptr(), &registers) }, None);
    }
}

#[test]
fn what_a_cpu_refuses_is_refused() {
    let state = || State {
        configured: false,
        rows: [0; TILES],
        bytes: [0; TILES],
        data: [[[0; MOST_BYTES]; MOST_ROWS]; TILES],
    };
    let mut config = [0u8; 64];
    config[0] = 1;
    for tile in 0..3 {
        (config[16 + 2 * tile], config[48 + tile]) = (64, 16);
    }
    // SAFETY: the configurations are arrays of 64 bytes.
    let configure =
        |state: &mut State, config: &[u8; 64]| unsafe { state.configure(config.as_ptr()) };
    let mut three = state();
    assert!(!three.multiply(0, 1, 2), "not configured");
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
    // A left factor whose rows are not as long as the right factor has pairs.
    config[16 + 2] = 32;
    let mut narrow = state();
    assert!(configure(&mut narrow, &config));
    assert!(!narrow.multiply(0, 1, 2));
}
