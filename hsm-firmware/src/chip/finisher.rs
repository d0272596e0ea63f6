//! Test finisher of QEMU's `virt` machine: resets the emulated machine.

use super::hart;
use super::register::Register;

pub(super) const RESET: u32 = 0x7777;

/// The finisher's one register.
#[derive(Clone, Copy, Debug)]
pub struct Finisher(Register<u32>);

impl Finisher {
    /// The finisher at an address.
    ///
    /// # Safety
    /// `address` must be that of the finisher.
    #[must_use]
    pub const unsafe fn new(address: usize) -> Self {
        // SAFETY: passed on to the caller.
        Self(unsafe { Register::new(address) })
    }

    /// Resets the machine; RAM contents survive, the image is loaded anew.
    pub fn reset(self) -> ! {
        self.0.write(RESET);
        loop {
            hart::sleep();
        }
    }
}
