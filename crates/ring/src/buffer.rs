//! Memory of polynomials: aligned, in huge pages where the system has them, and used again.
//!
//! A large buffer is an anonymous map that asks for huge pages. Two things come of it: a fresh buffer costs one page
//! fault for 2 MiB in place of 512, and permuted reads over megabytes stay within the reach of the processor's address
//! translation. Its size is a power of two, so that buffers are often fit to be used again; pages that are never
//! written take no memory. Dropped buffers wait in a pool.

use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

use crate::memory::out_of_memory;

/// Bytes of a huge page, and of the smallest buffer worth a map.
const HUGE_PAGE: usize = 2 << 20;
/// Most bytes held back in the pool, written or not.
const POOL_BYTES: usize = 1 << 30;

static POOL: Mutex<Pool> = Mutex::new(Pool { buffers: Vec::new(), bytes: 0 });

/// A number of words, aligned to 64 bytes.
pub(crate) struct Buffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    Heap(Vec<Line>),
    Map(MmapMut),
}

/// Words as long as a line of the cache, and aligned as one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; WORDS]);

const WORDS: usize = 16;

// SAFETY: zeros are words.
unsafe impl Zeroable for Line {}
// SAFETY: words, and nothing between or behind them: they are as long as the alignment.
unsafe impl Pod for Line {}

impl Memory {
    /// Bytes it has room for.
    fn bytes(&self) -> usize {
        match self {
            Self::Heap(lines) => size_of_val(&lines[..]),
            Self::Map(map) => map.len(),
        }
    }
}

struct Pool {
    buffers: Vec<Memory>,
    bytes: usize,
}

impl Pool {
    /// The smallest buffer that holds so many bytes and is not more than twice as large.
    fn take(&mut self, bytes: usize) -> Option<Memory> {
        let size = |i: usize| self.buffers[i].bytes();
        let fits = (0..self.buffers.len()).filter(|&i| (bytes..=2 * bytes).contains(&size(i)));
        let memory = self.buffers.swap_remove(fits.min_by_key(|&i| size(i))?);
        self.bytes -= memory.bytes();
        Some(memory)
    }

    /// Gives all of them away.
    fn empty(&mut self) -> Vec<Memory> {
        self.bytes = 0;
        std::mem::take(&mut self.buffers)
    }

    /// Keeps a buffer, in place of those that waited longest.
    fn put(&mut self, memory: Memory) {
        self.bytes += memory.bytes();
        self.buffers.push(memory);
        while self.bytes > POOL_BYTES {
            self.bytes -= self.buffers.remove(0).bytes();
        }
    }
}

impl Buffer {
    /// Words with whatever they hold.
    pub(crate) fn scratch(len: usize) -> Self {
        let bytes = size_of::<Line>() * len.div_ceil(WORDS);
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).take(bytes);
        Self { memory: pooled.unwrap_or_else(|| fresh(len)), len }
    }
}

/// Zeroed memory for so many words, or somewhat more; unwinds where there is none ([`out_of_memory`]).
fn fresh(len: usize) -> Memory {
    let bytes = 4 * len;
    if bytes >= HUGE_PAGE {
        let rounded = bytes.checked_next_power_of_two().unwrap_or(bytes);
        // Before it is given up: what the pool holds back, and the rounding, may be what is too much.
        let found = map(rounded).or_else(|_| {
            drop(POOL.lock().unwrap_or_else(PoisonError::into_inner).empty());
            map(rounded).or_else(|_| map(bytes))
        });
        match found {
            Ok(map) => return Memory::Map(map),
            Err(error) if error.kind() == ErrorKind::OutOfMemory => out_of_memory(bytes),
            // Without maps, the heap decides.
            Err(_) => {}
        }
    }
    let (count, mut lines) = (len.div_ceil(WORDS), Vec::new());
    if lines.try_reserve_exact(count).is_err() {
        out_of_memory(bytes);
    }
    lines.resize(count, Line::zeroed());
    Memory::Heap(lines)
}

fn map(bytes: usize) -> std::io::Result<MmapMut> {
    let map = MmapMut::map_anon(bytes)?;
    // Only advice: where there are no huge pages, small ones do.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(map)
}

impl Deref for Buffer {
    type Target = [u32];

    #[inline]
    fn deref(&self) -> &[u32] {
        match &self.memory {
            Memory::Heap(lines) => &bytemuck::cast_slice(lines)[..self.len],
            Memory::Map(map) => &bytemuck::cast_slice(map)[..self.len],
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u32] {
        match &mut self.memory {
            Memory::Heap(lines) => &mut bytemuck::cast_slice_mut(lines)[..self.len],
            Memory::Map(map) => &mut bytemuck::cast_slice_mut(map)[..self.len],
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut out = Self::scratch(self.len);
        out.copy_from_slice(self);
        out
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, Memory::Heap(Vec::new()));
        POOL.lock().unwrap_or_else(PoisonError::into_inner).put(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_length_and_alignment() {
        for len in [1, 1000, HUGE_PAGE / 4, HUGE_PAGE / 4 + 1, 3 * HUGE_PAGE / 4 + 5] {
            for _ in 0..3 {
                let mut buffer = Buffer::scratch(len);
                assert_eq!(buffer.len(), len);
                assert_eq!(buffer.as_ptr() as usize % 64, 0);
                buffer.fill(7);
                let copy = buffer.clone();
                assert_eq!(copy[..], buffer[..]);
            }
        }
    }

    #[test]
    fn pool_keeps_to_its_limit_and_takes_what_fits() {
        let mut pool = Pool { buffers: Vec::new(), bytes: 0 };
        for len in [100, 1 << 20, POOL_BYTES / 8, POOL_BYTES / 8] {
            pool.put(fresh(len));
            assert!(pool.bytes <= POOL_BYTES);
            assert_eq!(pool.bytes, pool.buffers.iter().map(Memory::bytes).sum());
        }
        assert!(pool.take(POOL_BYTES).is_none());
        assert!(pool.take(POOL_BYTES / 2).is_some_and(|m| m.bytes() >= POOL_BYTES / 2));
        assert!(pool.take(17).is_none(), "more than twice as large is a waste");
    }
}
