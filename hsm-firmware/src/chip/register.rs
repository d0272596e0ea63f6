//! Memory-mapped registers.

use core::ptr;

/// A memory-mapped register of type `T` (`u8` or `u32` here).
#[derive(Clone, Copy, Debug)]
pub struct Register<T>(usize, core::marker::PhantomData<T>);

/// The low and the high half of a value that takes two registers.
#[must_use]
#[allow(clippy::cast_possible_truncation)] // that is the purpose
pub const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

impl<T: Copy> Register<T> {
    /// The register at an address.
    ///
    /// # Safety
    /// `address` must be aligned for `T` and be that of a device register of this width, which may
    /// be read and written at any time without an effect on memory that Rust owns, but for memory
    /// that the caller hands to the device on purpose.
    #[must_use]
    pub const unsafe fn new(address: usize) -> Self {
        Self(address, core::marker::PhantomData)
    }

    /// Reads the register.
    #[must_use]
    pub fn read(self) -> T {
        // SAFETY: `new` was promised a readable device register at this address.
        unsafe { ptr::with_exposed_provenance::<T>(self.0).read_volatile() }
    }

    /// Writes the register.
    pub fn write(self, value: T) {
        // SAFETY: `new` was promised a writable device register at this address.
        unsafe { ptr::with_exposed_provenance_mut::<T>(self.0).write_volatile(value) }
    }
}
