//! AVX2 and AVX-512 registers, and the kernel sets made of them.

use std::arch::{asm, x86_64::*};

use super::grouped::GroupedMatrix;
use super::integers::IntegerMatrix;
use super::set::{Kernels, KeyProduct, QuotientTerm, WideNtt};
use super::simd::{self, Lanes};
use super::{ifma, integers_simd, transform};
use crate::modulus::Modulus;
use crate::roots::{LastLevel, Narrow};

/// `vpmuldq` and `vpmuludq`: 64-bit products of the even lanes.
///
/// To the compiler the intrinsics are an extension of the operands and a 64-bit product. It finds the one instruction
/// again only where all sit in the same block: a constant whose extension is hoisted out of a loop ends as three
/// products and several shifts inside it.
macro_rules! mul_even {
    ($name:ident, $instruction:literal, $register:ident: $type:ty, $features:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(a: $type, b: $type) -> $type {
            let product;
            // SAFETY: one instruction of the named feature, from registers to a register.
            unsafe {
                asm!(concat!($instruction, " {}, {}, {}"), out($register) product, in($register) a, in($register) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            product
        }
    };
}
mul_even!(mul_even_256, "vpmuldq", ymm_reg: __m256i, "avx2");
mul_even!(mul_even_512, "vpmuldq", zmm_reg: __m512i, "avx512f");
mul_even!(mul_even_unsigned_256, "vpmuludq", ymm_reg: __m256i, "avx2");
mul_even!(mul_even_unsigned_512, "vpmuludq", zmm_reg: __m512i, "avx512f");

/// Sixteen lane numbers, computed when compiled.
macro_rules! lanes {
    (|$i:ident| $lane:expr) => {{
        const TABLE: [u32; 16] = {
            let mut table = [0; 16];
            let mut $i = 0usize;
            while $i < 16 {
                table[$i] = ($lane) as u32;
                $i += 1;
            }
            table
        };
        _mm512_loadu_si512(TABLE.as_ptr().cast())
    }};
}

/// Methods of [`Lanes`]: each a handful of instructions of one set.
macro_rules! methods {
    ($(fn $name:ident $(<const $number:ident: usize>)? ($($argument:tt)*) $(-> $result:ty)? { $($body:tt)* })*) => {$(
        #[inline(always)]
        unsafe fn $name $(<const $number: usize>)? ($($argument)*) $(-> $result)? {
            // SAFETY: the trait's callers vouch for the instructions, and for LANES words at the address of loads and
            // stores, which are unaligned forms; a prefetch reads nothing.
            unsafe { $($body)* }
        }
    )*};
}

// SAFETY: `load` and `store` touch the 8 words of the register.
unsafe impl Lanes for __m256i {
    const LANES: usize = 8;
    const TILE: usize = 4;

    methods! {
        fn load(p: *const u32) -> Self {
            _mm256_loadu_si256(p.cast())
        }
        fn store(self, p: *mut u32) {
            _mm256_storeu_si256(p.cast(), self)
        }
        fn splat(x: u32) -> Self {
            _mm256_set1_epi32(x as i32)
        }
        fn add32(self, o: Self) -> Self {
            _mm256_add_epi32(self, o)
        }
        fn sub32(self, o: Self) -> Self {
            _mm256_sub_epi32(self, o)
        }
        fn min32(self, o: Self) -> Self {
            _mm256_min_epu32(self, o)
        }
        fn mul_even(self, o: Self) -> Self {
            mul_even_256(self, o)
        }
        fn mul_even_unsigned(self, o: Self) -> Self {
            mul_even_unsigned_256(self, o)
        }
        fn mul_low(self, o: Self) -> Self {
            _mm256_mullo_epi32(self, o)
        }
        fn add64(self, o: Self) -> Self {
            _mm256_add_epi64(self, o)
        }
        fn sub64(self, o: Self) -> Self {
            _mm256_sub_epi64(self, o)
        }
        fn shift_down64(self, by: u32) -> Self {
            _mm256_srl_epi64(self, _mm_cvtsi32_si128(by as i32))
        }
        fn splat64(x: i64) -> Self {
            _mm256_set1_epi64x(x)
        }
        fn prefetch(p: *const u32) {
            _mm_prefetch::<_MM_HINT_T0>(p.cast())
        }
        fn odd(self) -> Self {
            _mm256_srli_epi64::<32>(self)
        }
        fn join_high(even: Self, odd: Self) -> Self {
            _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd)
        }
        fn permute(self, index: Self) -> Self {
            _mm256_permutevar8x32_epi32(self, index)
        }
        fn repeat<const COUNT: usize>(self) -> Self {
            match COUNT {
                1 => self,
                2 => self.permute(_mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)),
                _ => self.permute(_mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)),
            }
        }
        fn exchange<const DISTANCE: usize>(self, o: Self) -> (Self, Self) {
            match DISTANCE {
                1 => (
                    _mm256_blend_epi32::<0b1010_1010>(self, _mm256_slli_epi64::<32>(o)),
                    _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(self), o),
                ),
                2 => (_mm256_unpacklo_epi64(self, o), _mm256_unpackhi_epi64(self, o)),
                _ => (_mm256_permute2x128_si256::<0x20>(self, o), _mm256_permute2x128_si256::<0x31>(self, o)),
            }
        }
        fn interleave(even: Self, odd: Self) -> (Self, Self) {
            _mm256_unpacklo_epi32(even, odd).exchange::<4>(_mm256_unpackhi_epi32(even, odd))
        }
        fn deinterleave(low: Self, high: Self) -> (Self, Self) {
            // Of each register the even lanes, then the odd ones; then like halves together.
            let index = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
            low.permute(index).exchange::<4>(high.permute(index))
        }
    }
}

// SAFETY: `load` and `store` touch the 16 words of the register.
unsafe impl Lanes for __m512i {
    const LANES: usize = 16;
    const TILE: usize = 8;

    methods! {
        fn load(p: *const u32) -> Self {
            _mm512_loadu_si512(p.cast())
        }
        fn store(self, p: *mut u32) {
            _mm512_storeu_si512(p.cast(), self)
        }
        fn splat(x: u32) -> Self {
            _mm512_set1_epi32(x as i32)
        }
        fn add32(self, o: Self) -> Self {
            _mm512_add_epi32(self, o)
        }
        fn sub32(self, o: Self) -> Self {
            _mm512_sub_epi32(self, o)
        }
        fn min32(self, o: Self) -> Self {
            _mm512_min_epu32(self, o)
        }
        fn mul_even(self, o: Self) -> Self {
            mul_even_512(self, o)
        }
        fn mul_even_unsigned(self, o: Self) -> Self {
            mul_even_unsigned_512(self, o)
        }
        fn mul_low(self, o: Self) -> Self {
            _mm512_mullo_epi32(self, o)
        }
        fn add64(self, o: Self) -> Self {
            _mm512_add_epi64(self, o)
        }
        fn sub64(self, o: Self) -> Self {
            _mm512_sub_epi64(self, o)
        }
        fn shift_down64(self, by: u32) -> Self {
            _mm512_srl_epi64(self, _mm_cvtsi32_si128(by as i32))
        }
        fn splat64(x: i64) -> Self {
            _mm512_set1_epi64(x)
        }
        fn prefetch(p: *const u32) {
            _mm_prefetch::<_MM_HINT_T0>(p.cast())
        }
        fn odd(self) -> Self {
            _mm512_srli_epi64::<32>(self)
        }
        fn join_high(even: Self, odd: Self) -> Self {
            // One masked shuffle instead of a shift and a blend.
            _mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even)
        }
        fn permute(self, index: Self) -> Self {
            _mm512_permutexvar_epi32(index, self)
        }
        fn repeat<const COUNT: usize>(self) -> Self {
            match COUNT {
                1 => self,
                2 => self.permute(lanes!(|i| i / 2)),
                4 => self.permute(lanes!(|i| i / 4)),
                _ => self.permute(lanes!(|i| i / 8)),
            }
        }
        fn exchange<const DISTANCE: usize>(self, o: Self) -> (Self, Self) {
            // Lane numbers from 16 are the other register's: lane i of the first result is lane i or, in the second
            // half of each block, lane i - DISTANCE of the other.
            let (low, high) = match DISTANCE {
                1 => (lanes!(|i| i + (i & 1) * 15), lanes!(|i| i + 1 + (i & 1) * 15)),
                2 => (lanes!(|i| i + (i >> 1 & 1) * 14), lanes!(|i| i + 2 + (i >> 1 & 1) * 14)),
                4 => (lanes!(|i| i + (i >> 2 & 1) * 12), lanes!(|i| i + 4 + (i >> 2 & 1) * 12)),
                _ => (lanes!(|i| i + (i >> 3) * 8), lanes!(|i| i + 8 + (i >> 3) * 8)),
            };
            (_mm512_permutex2var_epi32(self, low, o), _mm512_permutex2var_epi32(self, high, o))
        }
        fn interleave(even: Self, odd: Self) -> (Self, Self) {
            (
                _mm512_permutex2var_epi32(even, lanes!(|i| i / 2 + (i & 1) * 16), odd),
                _mm512_permutex2var_epi32(even, lanes!(|i| i / 2 + 8 + (i & 1) * 16), odd),
            )
        }
        fn deinterleave(low: Self, high: Self) -> (Self, Self) {
            (
                _mm512_permutex2var_epi32(low, lanes!(|i| 2 * i), high),
                _mm512_permutex2var_epi32(low, lanes!(|i| 2 * i + 1), high),
            )
        }
    }
}

/// One safe entry point: a generic kernel on one register type, compiled with its features.
macro_rules! entry {
    ($features:literal, $register:ty, $module:ident::$kernel:ident($($arg:ident: $type:ty),*)) => {
        pub(super) fn $kernel($($arg: $type),*) {
            #[target_feature(enable = $features)]
            unsafe fn inner($($arg: $type),*) {
                // SAFETY: compiled with, and called only with, the register's features.
                unsafe { $module::$kernel::<$register>($($arg),*) }
            }
            // SAFETY: `available` hands this set out only after detecting the features.
            unsafe { inner($($arg),*) }
        }
    };
}

/// The set of entry points of one register type.
macro_rules! kernel_set {
    ($module:ident, $register:ty, $features:literal, $uniform:path) => {
        mod $module {
            use super::*;

            entry!($features, $register, simd::add(m: &Modulus, a: &mut [u32], b: &[u32]));
            entry!($features, $register, simd::sub(m: &Modulus, a: &mut [u32], b: &[u32]));
            entry!($features, $register, simd::mul(m: &Modulus, out: &mut [u32], a: &[u32], b: &[u32]));
            entry!($features, $register, simd::mul_const(m: &Modulus, a: &mut [u32], c: u32));
            entry!($features, $register, simd::mul_const_add(m: &Modulus, a: &mut [u32], b: &[u32], c: u32));
            entry!($features, $register, simd::sub_mul_const(m: &Modulus, a: &mut [u32], b: &[u32], c: u32));
            entry!($features, $register, simd::scale_centre(m: &Modulus, out: &mut [i32], a: &[u32], c: u32));
            entry!($features, $register, simd::square(m: &Modulus, out: [&mut [u32]; 3], c: [&[u32]; 2]));
            entry!($features, $register, simd::permute(source: &[u32], out: &mut [u32], a: &[u32]));
            entry!($features, $register,
                simd::rotate_product_centred(p: &KeyProduct<'_>, a: &mut [i32], b: &mut [i32]));
            entry!($features, $register,
                simd::rotate_product(p: &KeyProduct<'_>, add: bool, a: &mut [u32], b: &mut [u32]));
            entry!($features, $register, simd::matmul(r: &[Modulus], w: &[i32], i: &[&[i32]], o: &mut [&mut [u32]]));
            entry!($features, $register, integers_simd::multiply_integers(
                m: &Modulus, w: &IntegerMatrix, i: &[&[u32]], o: &mut [&mut [u32]]));
            entry!($features, $register, integers_simd::multiply_grouped(
                m: &Modulus, w: &GroupedMatrix, i: &[&[u32]], o: &mut [&mut [u32]]));
            entry!($features, $register, simd::quotient(t: &[QuotientTerm], y: &[&[i32]], out: &mut [i32]));
            entry!($features, $register, transform::ntt_forward(m: &Modulus, r: &Narrow, v: &mut [u32]));
            entry!($features, $register, transform::ntt_inverse(m: &Modulus, r: &Narrow, l: &LastLevel, v: &mut [u32]));

            pub(super) const SET: Kernels = Kernels {
                name: stringify!($module),
                add,
                sub,
                mul,
                mul_const,
                mul_const_add,
                sub_mul_const,
                scale_centre,
                square,
                permute,
                rotate_product_centred,
                rotate_product,
                matmul,
                multiply_integers,
                multiply_grouped,
                quotient,
                uniform: $uniform,
                ntt_forward,
                ntt_inverse,
                wide_ntt: None,
            };
            pub(super) static KERNELS: Kernels = SET;
        }
    };
}

kernel_set!(avx2, __m256i, "avx2", super::super::uniform::uniform);
kernel_set!(avx512, __m512i, "avx512f", super::super::chacha::uniform);

/// The AVX-512 set of processors with 52-bit products, which serve transforms and matrices of integers.
static AVX512_IFMA: Kernels = Kernels {
    name: "avx512ifma",
    multiply_integers: integers_simd::multiply_integers_wide,
    multiply_grouped: integers_simd::multiply_grouped_wide,
    wide_ntt: Some(WideNtt { forward: ifma::forward, inverse: ifma::inverse }),
    ..avx512::SET
};

/// The sets this processor has, slower first.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2").then_some(&avx2::KERNELS);
    let avx512 = is_x86_feature_detected!("avx512f").then_some(&avx512::KERNELS);
    let ifma = avx512.is_some() && is_x86_feature_detected!("avx512ifma");
    avx2.into_iter().chain(avx512).chain(ifma.then_some(&AVX512_IFMA))
}
