//! RP2350: what is where (data sheet, build of 2025-02; the numbers in brackets are its sections).
//!
//! Registers are accessed here, as on the other boards, and not through `rp235x-hal`, which is made for another
//! target: see [`usb`]. The crates `usb-device` and `usbd-serial` speak USB.
//!
//! The core starts Secure, and everything stays so. Core 1 stays where the boot ROM has it, asleep (5.3).

#[cfg(target_arch = "arm")]
mod clocks;
#[cfg(target_arch = "arm")]
mod flash;
mod led;
#[cfg(target_arch = "arm")]
mod noise;
mod otp;
#[cfg(target_arch = "arm")]
mod usb;

pub use led::Shown;
pub use otp::{KEY_LOCK, KEY_ROW, LOCK_ROW, Locks, chip_number, take_sealing_key};

#[cfg(target_arch = "arm")]
mod devices;
#[cfg(target_arch = "arm")]
pub use devices::{DEVICES, Rp2350, Timer, WATCHDOG};
#[cfg(target_arch = "arm")]
pub use flash::Flash;
#[cfg(target_arch = "arm")]
pub use noise::{NoAnswer, Trng};

/// Aliases of a register that set or clear the bits written (2.1.3).
#[cfg(target_arch = "arm")]
const SET: usize = 0x2000;
#[cfg(target_arch = "arm")]
const CLEAR: usize = 0x3000;

#[cfg(target_arch = "arm")]
fn register(address: usize) -> super::register::Register<u32> {
    // SAFETY: only with addresses of this module and of those below it, which cite the data sheet.
    unsafe { super::register::Register::new(address) }
}
