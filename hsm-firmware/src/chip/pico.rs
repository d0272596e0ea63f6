//! What RP2040 and RP2350 have in common: the timer, the watchdog, and a flash that is programmed in pages.

pub mod flash;
mod pages;
#[cfg(target_arch = "arm")]
pub mod timer;
#[cfg(target_arch = "arm")]
pub mod watchdog;
