//! Arm MPS2 with the AN505 image (Cortex-M33), whose image a second stage verifies and loads.

use core::cell::Cell;

use critical_section::Mutex;
use hsm_boot::manifest::Name;
use hsm_boot::{Board as Bootable, Layout, Report, Slot};
use hsm_core::Hsm;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::reset::ResetReport;
use static_cell::StaticCell;

use super::bare::{Board, WATCHDOG_US};
use super::mps2::{self, Image};
use crate::ResetReason;
use crate::chip::an505::{self, DEVICES};
use crate::chip::boot_report;
use crate::chip::mapped_nor::{BLOCK, MappedNor};
use crate::chip::mps2::Mps2;
use crate::update::Slots;
use crate::{second_stage, signers};

/// The board's name, also in manifests.
const NAME: &str = "mps2_an505";
/// The address from which the image runs: `__image_start` of the memory map.
const LOAD_ADDRESS: u32 = 0x1000_8000;

/// The records are in the first 2 MiB; then come the boot record and the slots, of 2 MiB each.
/// `qemu/mps2_an505.toml` tells where the first slot is, for a flash that is new.
const LAYOUT: Layout = Layout {
    record: 8 * BLOCK,
    a: Slot { start: 12 * BLOCK, length: 8 * BLOCK, address: LOAD_ADDRESS },
    b: Slot { start: 20 * BLOCK, length: 8 * BLOCK, address: LOAD_ADDRESS },
};

static BOOTABLE: StaticCell<Bootable<'static>> = StaticCell::new();
/// What the second stage has said.
static REPORT: Mutex<Cell<Option<Report>>> = Mutex::new(Cell::new(None));
static HSM: StaticCell<Hsm<Board<Mps2An505>>> = StaticCell::new();

/// Runs the firmware; the entry point of the image.
pub fn run() -> ! {
    // Before memory is protected, which closes its place.
    let report = Report::decode(&boot_report::take());
    critical_section::with(|cs| REPORT.borrow(cs).set(report));
    let cause = report.map_or(ResetReason::OTHER, |report| ResetReason(report.reset as u8));
    mps2::run(&HSM, cause)
}

/// Runs the second stage; the entry point of its image.
pub fn boot() -> ! {
    let mut memory = an505::image_memory();
    let reset = an505::reset_reason();
    match second_stage::load(&mut DEVICES.flash(), bootable(), &mut memory, reset) {
        Ok(()) => {
            // An image that does not come as far as to feed it is given up.
            DEVICES.start_watchdog(WATCHDOG_US);
            memory.start()
        }
        Err(failure) => mps2::refuse::<Mps2An505>(failure),
    }
}

/// Ends the firmware after a failure: nothing but the reason is left in RAM.
pub fn halt(reason: ResetReason) -> ! {
    mps2::halt(reason)
}

/// What is built into both stages.
fn bootable() -> Option<Bootable<'static>> {
    Some(Bootable { name: Name::new(NAME)?, layout: LAYOUT, signers: signers::set()?, trials: 1 })
}

/// This machine.
struct Mps2An505;

impl Image for Mps2An505 {
    const NAME: &'static str = NAME;
    type Update = Slots<MappedNor>;

    fn devices() -> &'static Mps2 {
        &DEVICES
    }

    fn platform(last: ResetReport) -> Board<Self> {
        let (noise, flash) = (mps2::noise::<Self>(), DEVICES.flash());
        match critical_section::with(|cs| REPORT.borrow(cs).get()) {
            Some(report) => {
                let board = bootable().map(|board| &*BOOTABLE.init(board));
                let update = board.and_then(|board| Slots::open(DEVICES.flash(), board, &report));
                let measurement = Measurement(report.measurement);
                Board::verified(noise, flash, mps2::RECORDS, last, measurement, update)
            }
            None => Board::new(noise, flash, mps2::RECORDS, last),
        }
    }
}
