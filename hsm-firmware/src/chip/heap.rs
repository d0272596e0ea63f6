//! The global heap, for big-number arithmetic of keys whose size is chosen at run time, RSA, and for
//! what is wrong with a certificate.
//!
//! Every block is wiped when it is freed, so a secret lives no longer than its owner. A block that
//! grows is moved, and its old place wiped. Nothing else of the firmware allocates. When the heap
//! is exhausted the allocation fails, which panics: the arena is sized so that no request gets
//! there, and [`Heap::take_peak`] tells how near the largest came.

use core::alloc::{GlobalAlloc, Layout};
use core::slice;
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;

/// The heap of the image; without memory until [`Heap::start`].
#[global_allocator]
pub static HEAP: Heap = Heap { blocks: LlffHeap::empty(), peak: AtomicUsize::new(0) };

/// A heap that wipes what is freed.
pub struct Heap {
    blocks: LlffHeap,
    /// Most bytes in use at a time, what the allocator adds included. Interrupt handlers do not allocate, so it
    /// needs no compare-and-swap, which some processors lack.
    peak: AtomicUsize,
}

impl Heap {
    /// Gives the heap its memory.
    ///
    /// # Panics
    /// If it has some already.
    pub fn start(&self, arena: &'static mut [u64]) {
        // SAFETY: the arena is memory that nothing else uses from here on.
        unsafe { self.blocks.init(arena.as_mut_ptr().addr(), size_of_val(arena)) }
    }

    /// Most bytes in use at a time since boot or the last call; begins to measure anew.
    pub fn take_peak(&self) -> u32 {
        let peak = self.peak.load(Ordering::Relaxed);
        self.peak.store(self.blocks.used(), Ordering::Relaxed);
        u32::try_from(peak).unwrap_or(u32::MAX)
    }
}

// SAFETY: allocation is the inner heap's. `realloc` is the trait's own, which frees the old block
// through `dealloc` below, and so wipes it.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let block = unsafe { GlobalAlloc::alloc(&self.blocks, layout) };
        let peak = self.peak.load(Ordering::Relaxed).max(self.blocks.used());
        self.peak.store(peak, Ordering::Relaxed);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that the block is allocated, of this layout and unused. The
        // barrier makes the compiler believe that somebody reads the zeros.
        unsafe {
            block.write_bytes(0, layout.size());
            zeroize::optimization_barrier(slice::from_raw_parts(block, layout.size()));
            GlobalAlloc::dealloc(&self.blocks, block, layout);
        }
    }
}
