//! The heap: where it has no more, the process ends as it does for any other thing that is missing.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use mimalloc::MiMalloc;

use crate::BAD_INPUT;

/// [`MiMalloc`], but that what it cannot give ends the process with one line and exit code 2, not with an abort. There
/// is nobody to hand an error to: most allocations, also those of libraries, have no error.
pub struct Allocator;

// SAFETY: all of it is `MiMalloc`'s, which is one; what differs is that null is never returned.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        given(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout.
        given(unsafe { MiMalloc.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's memory, layout and size.
        given(unsafe { MiMalloc.realloc(at, layout, size) }, size)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's memory and layout.
        unsafe { MiMalloc.dealloc(at, layout) }
    }
}

#[inline]
fn given(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        exhausted(bytes);
    }
    memory
}

/// Says so, allocating nothing, and ends the process. Of several threads the first does.
#[cold]
fn exhausted(bytes: usize) -> ! {
    static ENDING: AtomicBool = AtomicBool::new(false);
    while ENDING.swap(true, Ordering::SeqCst) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let mut line = [0u8; 160];
    let mut rest = &mut line[..];
    // Long enough for every number.
    let _ = writeln!(rest, "umbra: out of memory: {bytes} bytes more are not to be had; free some, or raise the limit");
    let left = rest.len();
    let _ = std::io::stderr().write_all(&line[..line.len() - left]);
    end()
}

/// Runs nothing that might want memory.
#[cfg(unix)]
fn end() -> ! {
    // SAFETY: ends the process whatever its state.
    unsafe { nix::libc::_exit(BAD_INPUT.into()) }
}

#[cfg(not(unix))]
fn end() -> ! {
    std::process::exit(BAD_INPUT.into())
}
