//! The RAM from which a second stage runs the image that it has loaded.

use core::slice;

use super::cortex_m;

unsafe extern "C" {
    static mut __load_start: u8;
    static mut __load_end: u8;
}

/// The memory, as the second stage's memory map has it. There is one.
pub struct ImageMemory(&'static mut [u8]);

impl ImageMemory {
    /// The memory.
    ///
    /// # Safety
    /// To be called once.
    #[must_use]
    pub unsafe fn take() -> Self {
        let (start, end) = (&raw mut __load_start, &raw mut __load_end);
        // SAFETY: the memory map of the second stage gives these bytes to nothing else, and the caller promises
        // that this is their only reference.
        Self(unsafe { slice::from_raw_parts_mut(start, end.addr() - start.addr()) })
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.0
    }

    /// Starts the image that was loaded to the beginning, whose vectors come first.
    pub fn start(self) -> ! {
        // SAFETY: what is there was verified: an image that is linked to this address.
        unsafe { cortex_m::start_at(self.0.as_ptr().addr()) }
    }
}
