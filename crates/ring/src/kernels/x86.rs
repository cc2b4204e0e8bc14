//! AVX2 and AVX-512 registers, and the kernel sets made of them.

use super::simd::{self, Lanes};
use super::{Kernels, KeyProduct};
use crate::Modulus;
use std::arch::{asm, x86_64::*};

/// `vpmuldq`: signed 64-bit products of the even lanes.
///
/// To the compiler the intrinsic is a sign extension and a 64-bit product. It finds the one
/// instruction again only where both sit in the same block: a constant whose extension is hoisted
/// out of a loop ends as three products and several shifts inside it.
macro_rules! mul_even {
    ($name:ident, $register:ident: $type:ty, $features:literal) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $name(a: $type, b: $type) -> $type {
            let product;
            // SAFETY: one instruction of the named feature, from registers to a register.
            unsafe {
                asm!("vpmuldq {}, {}, {}", out($register) product, in($register) a, in($register) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
            product
        }
    };
}
mul_even!(mul_even_256, ymm_reg: __m256i, "avx2");
mul_even!(mul_even_512, zmm_reg: __m512i, "avx512f");

// SAFETY (both implementations): each method is a handful of intrinsics of the named instruction
// set, which the trait's callers vouch for; loads and stores are unaligned forms of LANES words.
unsafe impl Lanes for __m256i {
    const LANES: usize = 8;
    const TILE: usize = 4;
    #[inline(always)]
    unsafe fn load(p: *const u32) -> Self {
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u32) {
        unsafe { _mm256_storeu_si256(p.cast(), self) }
    }
    #[inline(always)]
    unsafe fn splat(x: u32) -> Self {
        unsafe { _mm256_set1_epi32(x as i32) }
    }
    #[inline(always)]
    unsafe fn add32(self, o: Self) -> Self {
        unsafe { _mm256_add_epi32(self, o) }
    }
    #[inline(always)]
    unsafe fn sub32(self, o: Self) -> Self {
        unsafe { _mm256_sub_epi32(self, o) }
    }
    #[inline(always)]
    unsafe fn min32(self, o: Self) -> Self {
        unsafe { _mm256_min_epu32(self, o) }
    }
    #[inline(always)]
    unsafe fn mul_even(self, o: Self) -> Self {
        unsafe { mul_even_256(self, o) }
    }
    #[inline(always)]
    unsafe fn add64(self, o: Self) -> Self {
        unsafe { _mm256_add_epi64(self, o) }
    }
    #[inline(always)]
    unsafe fn sub64(self, o: Self) -> Self {
        unsafe { _mm256_sub_epi64(self, o) }
    }
    #[inline(always)]
    unsafe fn odd(self) -> Self {
        unsafe { _mm256_srli_epi64::<32>(self) }
    }
    #[inline(always)]
    unsafe fn join_high(even: Self, odd: Self) -> Self {
        unsafe { _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd) }
    }
    #[inline(always)]
    unsafe fn permute(self, index: Self) -> Self {
        unsafe { _mm256_permutevar8x32_epi32(self, index) }
    }
}

unsafe impl Lanes for __m512i {
    const LANES: usize = 16;
    const TILE: usize = 8;
    #[inline(always)]
    unsafe fn load(p: *const u32) -> Self {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut u32) {
        unsafe { _mm512_storeu_si512(p.cast(), self) }
    }
    #[inline(always)]
    unsafe fn splat(x: u32) -> Self {
        unsafe { _mm512_set1_epi32(x as i32) }
    }
    #[inline(always)]
    unsafe fn add32(self, o: Self) -> Self {
        unsafe { _mm512_add_epi32(self, o) }
    }
    #[inline(always)]
    unsafe fn sub32(self, o: Self) -> Self {
        unsafe { _mm512_sub_epi32(self, o) }
    }
    #[inline(always)]
    unsafe fn min32(self, o: Self) -> Self {
        unsafe { _mm512_min_epu32(self, o) }
    }
    #[inline(always)]
    unsafe fn mul_even(self, o: Self) -> Self {
        unsafe { mul_even_512(self, o) }
    }
    #[inline(always)]
    unsafe fn add64(self, o: Self) -> Self {
        unsafe { _mm512_add_epi64(self, o) }
    }
    #[inline(always)]
    unsafe fn sub64(self, o: Self) -> Self {
        unsafe { _mm512_sub_epi64(self, o) }
    }
    #[inline(always)]
    unsafe fn odd(self) -> Self {
        unsafe { _mm512_srli_epi64::<32>(self) }
    }
    #[inline(always)]
    unsafe fn join_high(even: Self, odd: Self) -> Self {
        // One masked shuffle instead of a shift and a blend.
        unsafe { _mm512_mask_shuffle_epi32::<0b11_11_01_01>(odd, 0x5555, even) }
    }
    #[inline(always)]
    unsafe fn permute(self, index: Self) -> Self {
        unsafe { _mm512_permutexvar_epi32(index, self) }
    }
}

/// One safe entry point: a generic kernel on one register type, compiled with its features.
macro_rules! entry {
    ($features:literal, $register:ty, $kernel:ident($($arg:ident: $type:ty),*)) => {
        pub(super) fn $kernel($($arg: $type),*) {
            #[target_feature(enable = $features)]
            unsafe fn inner($($arg: $type),*) {
                // SAFETY: compiled with, and called only with, the register's features.
                unsafe { simd::$kernel::<$register>($($arg),*) }
            }
            // SAFETY: `available` hands this set out only after detecting the features.
            unsafe { inner($($arg),*) }
        }
    };
}

/// The set of entry points of one register type.
macro_rules! kernel_set {
    ($module:ident, $register:ty, $features:literal) => {
        mod $module {
            use super::*;

            entry!($features, $register, add(m: &Modulus, a: &mut [u32], b: &[u32]));
            entry!($features, $register, sub(m: &Modulus, a: &mut [u32], b: &[u32]));
            entry!($features, $register, mul(m: &Modulus, out: &mut [u32], a: &[u32], b: &[u32]));
            entry!($features, $register, mul_const(m: &Modulus, a: &mut [u32], c: u32));
            entry!($features, $register, mul_const_add(m: &Modulus, a: &mut [u32], b: &[u32], c: u32));
            entry!($features, $register, sub_mul_const(m: &Modulus, a: &mut [u32], b: &[u32], c: u32));
            entry!($features, $register, scale_centre(m: &Modulus, out: &mut [i32], a: &[u32], c: u32));
            entry!($features, $register, square(m: &Modulus, out: [&mut [u32]; 3], c: [&[u32]; 2]));
            entry!($features, $register, permute(source: &[u32], out: &mut [u32], a: &[u32]));
            entry!($features, $register, rotate_product_centred(p: &KeyProduct<'_>, a: &mut [i32], b: &mut [i32]));
            entry!($features, $register, rotate_product_add(p: &KeyProduct<'_>, a: &mut [u32], b: &mut [u32]));
            entry!($features, $register, matmul(r: &[Modulus], w: &[i32], i: &[&[i32]], o: &mut [&mut [u32]]));

            pub(super) static KERNELS: Kernels = Kernels {
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
                rotate_product_add,
                matmul,
            };
        }
    };
}

kernel_set!(avx2, __m256i, "avx2");
kernel_set!(avx512, __m512i, "avx512f");

/// The sets this processor has, slower first.
pub(super) fn available() -> impl Iterator<Item = &'static Kernels> {
    let avx2 = is_x86_feature_detected!("avx2").then_some(&avx2::KERNELS);
    let avx512 = is_x86_feature_detected!("avx512f").then_some(&avx512::KERNELS);
    avx2.into_iter().chain(avx512)
}
