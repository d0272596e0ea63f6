//! Test finisher of QEMU's `virt` machine: ends or resets the emulator.

use super::hart;
use super::register::Register;

const PASS: u32 = 0x5555;
const FAIL: u32 = 0x3333;
const RESET: u32 = 0x7777;

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
        self.finish(RESET)
    }

    /// Ends the emulator with this exit status, 0 for success.
    pub fn exit(self, status: u16) -> ! {
        self.finish(Self::exit_command(status))
    }

    /// The command that ends the emulator with this exit status.
    pub(super) const fn exit_command(status: u16) -> u32 {
        if status == 0 { PASS } else { (status as u32) << 16 | FAIL }
    }

    fn finish(self, command: u32) -> ! {
        self.0.write(command);
        loop {
            hart::sleep();
        }
    }
}
