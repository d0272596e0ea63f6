//! The firmware image in memory, for its integrity test.

use core::slice;

unsafe extern "C" {
    static __image_start: u8;
    static __image_end: u8;
}

/// Code and constants as loaded.
#[must_use]
pub fn bytes() -> &'static [u8] {
    let start = &raw const __image_start;
    let end = &raw const __image_end;
    // SAFETY: the linker puts code and constants, which nothing writes to, between these symbols.
    unsafe { slice::from_raw_parts(start, end.addr() - start.addr()) }
}
