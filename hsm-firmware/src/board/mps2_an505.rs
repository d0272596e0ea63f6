//! Arm MPS2 with the AN505 image (Cortex-M33).

use hsm_core::Hsm;
use static_cell::StaticCell;

use super::bare::Board;
use super::mps2::{self, Image};
use crate::ResetReason;
use crate::chip::an505::DEVICES;
use crate::chip::mps2::Mps2;

static HSM: StaticCell<Hsm<Board<Mps2An505>>> = StaticCell::new();

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    mps2::run(&HSM)
}

/// Ends the firmware after a failure: nothing but the reason is left in RAM.
pub fn halt(reason: ResetReason) -> ! {
    mps2::halt(reason)
}

/// This machine.
struct Mps2An505;

impl Image for Mps2An505 {
    const NAME: &'static str = "mps2_an505";

    fn devices() -> &'static Mps2 {
        &DEVICES
    }
}
