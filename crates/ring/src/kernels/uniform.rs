//! Uniform residues from a key: the words of its ChaCha20 stream, cut to the modulus' number of bits, of which those
//! below the modulus are taken in order.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use crate::modulus::Modulus;

/// Words drawn at a time: 16 blocks of the stream.
pub(super) const DRAWN: usize = 256;

/// The bits of a word that a residue is drawn from.
pub(super) fn mask(m: &Modulus) -> u32 {
    u32::MAX >> m.value().leading_zeros()
}

/// The reference; the library has its own vector instructions.
pub(super) fn uniform(m: &Modulus, key: &[u8; 32], out: &mut [u32]) {
    let (p, mask) = (m.value(), mask(m));
    let mut rng = ChaCha20Rng::from_seed(*key);
    let (mut words, mut taken) = ([0u32; DRAWN], [0u32; DRAWN]);
    let mut left = out;
    while !left.is_empty() {
        rng.fill_bytes(bytemuck::bytes_of_mut(&mut words));
        let mut count = 0;
        // Without a branch on what is drawn: a word that is not taken is written over.
        for word in words {
            let x = u32::from_le(word) & mask;
            taken[count] = x;
            count += usize::from(x < p);
        }
        let count = count.min(left.len());
        let (now, later) = left.split_at_mut(count);
        now.copy_from_slice(&taken[..count]);
        left = later;
    }
}
