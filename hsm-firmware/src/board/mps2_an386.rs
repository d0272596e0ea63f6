//! Arm MPS2 with the AN386 image (Cortex-M4).

use hsm_core::Hsm;
use static_cell::StaticCell;

use super::bare::Board;
use super::mps2::{self, Image};
use super::no_update::NoUpdate;
use crate::ResetReason;
use crate::chip::an386::DEVICES;
use crate::chip::mps2::Mps2;

static HSM: StaticCell<Hsm<Board<Mps2An386>>> = StaticCell::new();

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    mps2::run(&HSM, ResetReason::OTHER)
}

/// Ends the firmware after a failure: nothing but the reason is left in RAM.
pub fn halt(reason: ResetReason) -> ! {
    mps2::halt(reason)
}

/// This machine.
struct Mps2An386;

impl Image for Mps2An386 {
    const NAME: &'static str = "mps2_an386";
    type Update = NoUpdate;

    fn devices() -> &'static Mps2 {
        &DEVICES
    }
}
