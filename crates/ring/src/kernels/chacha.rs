//! Uniform residues with AVX-512: 16 blocks of the ChaCha20 stream at a time, a lane each, and what is taken of them
//! without leaving the registers.

use std::arch::x86_64::*;

use super::simd::Lanes;
use super::uniform::{DRAWN, mask};
use crate::modulus::Modulus;

/// `expand 32-byte k`: the first words of every block.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

type Blocks = [__m512i; 16];

/// See [`super::uniform::uniform`].
pub(super) fn uniform(m: &Modulus, key: &[u8; 32], out: &mut [u32]) {
    // SAFETY: `available` hands sets with this kernel out only after detecting AVX-512F.
    unsafe { inner(m, key, out) }
}

#[target_feature(enable = "avx512f")]
unsafe fn inner(m: &Modulus, key: &[u8; 32], out: &mut [u32]) {
    let (p, bits) = (_mm512_set1_epi32(m.value() as i32), _mm512_set1_epi32(mask(m) as i32));
    let mut start = [_mm512_setzero_si512(); 16];
    for (i, word) in CONSTANTS.into_iter().enumerate() {
        start[i] = _mm512_set1_epi32(word as i32);
    }
    for (i, word) in key.chunks_exact(4).enumerate() {
        start[4 + i] = _mm512_set1_epi32(i32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    }
    // Words 12 and 13 count blocks; the second stays zero as long as there are less than 2^32.
    start[12] = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let (mut taken, mut left) = ([0u32; DRAWN + 16], out);
    while !left.is_empty() {
        let blocks = in_order(sixteen(&start));
        start[12] = _mm512_add_epi32(start[12], _mm512_set1_epi32(16));
        // In place, while there is room for all.
        let in_place = left.len() >= DRAWN;
        let target = if in_place { left.as_mut_ptr() } else { taken.as_mut_ptr() };
        let mut count = 0;
        for words in blocks {
            let words = _mm512_and_si512(words, bits);
            let below = _mm512_cmplt_epu32_mask(words, p);
            // SAFETY: at most 16 words for each register before this one lie before `count`, so that 16 more are
            // within the `DRAWN` of the target.
            unsafe { _mm512_storeu_si512(target.add(count).cast(), _mm512_maskz_compress_epi32(below, words)) };
            count += below.count_ones() as usize;
        }
        if !in_place {
            count = count.min(left.len());
            left[..count].copy_from_slice(&taken[..count]);
        }
        left = &mut left[count..];
    }
}

/// Four quarter rounds, step by step side by side. Written out: what an index would choose at run time is in memory,
/// and all words must be registers.
macro_rules! quarters {
    ($x:ident; $(($a:literal, $b:literal, $c:literal, $d:literal)),*) => {
        $(
            $x[$a] = _mm512_add_epi32($x[$a], $x[$b]);
            $x[$d] = _mm512_rol_epi32::<16>(_mm512_xor_si512($x[$d], $x[$a]));
        )*
        $(
            $x[$c] = _mm512_add_epi32($x[$c], $x[$d]);
            $x[$b] = _mm512_rol_epi32::<12>(_mm512_xor_si512($x[$b], $x[$c]));
        )*
        $(
            $x[$a] = _mm512_add_epi32($x[$a], $x[$b]);
            $x[$d] = _mm512_rol_epi32::<8>(_mm512_xor_si512($x[$d], $x[$a]));
        )*
        $(
            $x[$c] = _mm512_add_epi32($x[$c], $x[$d]);
            $x[$b] = _mm512_rol_epi32::<7>(_mm512_xor_si512($x[$b], $x[$c]));
        )*
    };
}

/// Sixteen blocks: word `i` of block `j` in lane `j` of register `i`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sixteen(start: &Blocks) -> Blocks {
    let mut x = *start;
    for _ in 0..10 {
        quarters!(x; (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15));
        quarters!(x; (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14));
    }
    for i in 0..16 {
        x[i] = _mm512_add_epi32(x[i], start[i]);
    }
    x
}

/// Transposes: block `j` in register `j`, its words in order.
#[inline]
#[target_feature(enable = "avx512f")]
fn in_order(mut x: Blocks) -> Blocks {
    macro_rules! exchange {
        ($distance:literal) => {
            for i in 0..16 {
                if i & $distance == 0 {
                    // SAFETY: of AVX-512F, which this function is compiled with.
                    (x[i], x[i + $distance]) = unsafe { x[i].exchange::<$distance>(x[i + $distance]) };
                }
            }
        };
    }
    exchange!(1);
    exchange!(2);
    exchange!(4);
    exchange!(8);
    x
}
