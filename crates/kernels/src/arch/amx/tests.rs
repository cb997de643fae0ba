//! The emulator of the instructions against the CPU, where it has AMX.

use super::emulator::{MAX_ROW_BYTES, MAX_ROWS, Tile, is_installed, multiply};
use super::*;
use crate::arch::portable::Portable;
use crate::bf16::BLOCK_LEN;
use crate::bf16::products::NoWork;

/// The factors have arbitrary bits: denormals, infinities and NaN as well.
#[test]
fn emulated_multiply_matches_a_cpu_with_amx() {
    let (false, Some(Ok(amx))) = (is_installed(), Amx::request()) else {
        println!("skipped: this machine has no AMX, or does not permit it");
        return;
    };
    println!("comparing with the AMX of this machine");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..500 {
        // Any bits; finite values; and values so small that most products are denormal.
        let mask = [0xffff, 0xbfff, 0x9fff][round % 3];
        let mut factor = || [(); BLOCK_LEN].map(|()| random() as u16 & mask);
        let (left, right) = (factor(), factor());
        let mut actual = [0.0; BLOCK_LEN];
        let operand = |high| Operand { high, low: None };
        let extent = Extent { rows: 32, columns: 32, depth: 64 };
        AmxProducts::new(amx).multiply(
            Portable,
            extent,
            |_| [operand(&left), operand(&right)],
            &mut NoWork,
            &mut actual,
            32,
        );
        for (row, column) in (0..2).flat_map(|row| (0..2).map(move |column| (row, column))) {
            let mut sums = [[0; MAX_ROW_BYTES]; MAX_ROWS];
            for _ in 0..2 {
                multiply(&mut sums, &tile(&left, row), &tile(&right, column), [16, 16, 16]);
            }
            for (at, expected) in sums.as_flattened().as_chunks().0.iter().enumerate() {
                let expected = f32::from_le_bytes(*expected);
                let actual = actual[(row * 16 + at / 16) * 32 + column * 16 + at % 16];
                let equal = actual.to_bits() == expected.to_bits()
                    || (actual.is_nan() && expected.is_nan());
                assert!(equal, "round {round}: {actual:e} on the CPU, {expected:e} emulated");
            }
        }
    }
}

fn tile(block: &Block, half: usize) -> Tile {
    let mut tile = [[0; MAX_ROW_BYTES]; MAX_ROWS];
    let values = block[half * BLOCK_LEN / 2..].iter();
    for (to, value) in tile.as_flattened_mut().as_chunks_mut().0.iter_mut().zip(values) {
        *to = value.to_le_bytes();
    }
    tile
}
