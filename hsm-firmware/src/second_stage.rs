//! The second stage of the boot: what `hsm-boot` decides is done here, with the parts of a board.
//!
//! The image is copied to the RAM from which it runs, and measured there once more: what was verified is what
//! runs, whatever the flash says the second time. Only then is the report written and the image started.

use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use hsm_boot::{Board, NoCounter, P256, Refusal, Report, ResetReason};
use sha2::{Digest, Sha256};

use crate::chip::boot_report;
use crate::chip::loaded::ImageMemory;

/// Why nothing was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The signer set that was built in is not one.
    Signers,
    /// No image may be started.
    Refused(Refusal),
    /// The image could not be copied, or its copy is another one.
    Copy,
}

impl Failure {
    /// What the device says of it: a line of text with the number of the reason for each slot, and the end of a
    /// frame.
    pub(crate) fn text(self) -> Vec<u8, 64> {
        let (reason, slots) = match self {
            Self::Signers => ("bad signer set", None),
            Self::Refused(Refusal::Layout) => ("the slots do not fit", None),
            Self::Refused(Refusal::Counter) => ("the rollback counter fails", None),
            Self::Refused(Refusal::NoImage(reasons)) => ("no image", Some(reasons)),
            Self::Copy => ("the image changed", None),
        };
        let mut out = Vec::new();
        // The longest fits.
        let mut put = |bytes: &[u8]| drop(out.extend_from_slice(bytes));
        put(b"\0strongroom-boot: ");
        put(reason.as_bytes());
        if let Some(reasons) = slots {
            for (name, reason) in [(b" A", reasons.a), (b" B", reasons.b)] {
                let number = reason.map_or(0, |reason| reason as u8);
                put(name);
                put(&[b'0'.saturating_add(number / 10), b'0'.saturating_add(number % 10)]);
            }
        }
        put(b"\n\0");
        out
    }
}

/// Verifies, loads and describes the image to start; the caller starts what `memory` has.
///
/// # Errors
/// [`Failure`].
pub(crate) fn load<F: NorFlash>(
    flash: &mut F,
    board: Option<Board<'_>>,
    memory: &mut ImageMemory,
    reset: ResetReason,
) -> Result<(), Failure> {
    let board = board.ok_or(Failure::Signers)?;
    let report = hsm_boot::boot(flash, &board, &P256, &mut NoCounter, reset);
    let report = report.map_err(Failure::Refused)?;
    copy(flash, &board, &report, memory).ok_or(Failure::Copy)?;
    boot_report::put(&report.encode());
    Ok(())
}

fn copy<F: NorFlash>(
    flash: &mut F,
    board: &Board<'_>,
    report: &Report,
    memory: &mut ImageMemory,
) -> Option<()> {
    let room = memory.bytes().get_mut(..report.length as usize)?;
    let start = board.layout.slot(report.slot).start;
    // Flash is read in whole words; what is behind the image's end in its slot is not used.
    let (words, rest) = room.split_at_mut_checked(room.len() / F::READ_SIZE * F::READ_SIZE)?;
    flash.read(start, words).ok()?;
    let mut last = [0; 32];
    let tail = last.get_mut(..F::READ_SIZE)?;
    if !rest.is_empty() {
        flash.read(start.checked_add(u32::try_from(words.len()).ok()?)?, tail).ok()?;
        rest.copy_from_slice(tail.get(..rest.len())?);
    }
    let measured: [u8; 32] = Sha256::digest(&*room).into();
    (measured == report.measurement).then_some(())
}
