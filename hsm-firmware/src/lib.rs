//! Strongroom HSM firmware: boards, drivers and non-volatile storage.
//!
//! | module | subject |
//! |---|---|
//! | [`board`] | one file for each board: what the core's platform is made of there |
//! | [`chip`] | registers, the only place for `unsafe` |
//! | [`nv`] | power-cut-safe records on NOR flash |
//! | `second_stage` | verifies the image that the slots hold, loads it, and starts it |
//! | `update` | replaces the image over the line |
//! | `rounds` | what takes the place of a watchdog where a board has none |
//! | [`serve`] | main loop between the lines and the core |
#![no_std]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(any(test, feature = "host"))]
extern crate std;

/// The entry points of an image: what the start-up code and the trap entries call. `$start` is the board's function
/// that never returns: `run` of the firmware, `boot` of a second stage.
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! entry {
    ($board:ident, $start:ident) => {
        // SAFETY: the start-up code calls the one function of this name, once, and never returns to Rust.
        #[unsafe(no_mangle)]
        extern "C" fn main() -> ! {
            $crate::board::$board::$start()
        }

        // SAFETY: the trap entries go to the one function of this name when the processor reports a fault
        // or the watchdog has waited in vain, and say which with a number of `ResetReason`.
        #[unsafe(no_mangle)]
        extern "C" fn halt(reason: u8) -> ! {
            $crate::board::$board::halt($crate::ResetReason(reason))
        }

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            $crate::board::$board::halt($crate::ResetReason::PANIC)
        }
    };
}

pub use hsm_protocol::reset::ResetReason;

pub mod board;
pub mod chip;
pub mod nv;
#[cfg(any(test, target_arch = "riscv32", feature = "rp2040", feature = "rp2350"))]
pub mod rounds;
#[cfg(all(target_os = "none", feature = "verified-boot"))]
mod second_stage;
pub mod serve;
#[cfg(feature = "verified-boot")]
mod signers;
#[cfg(feature = "verified-boot")]
pub mod update;
