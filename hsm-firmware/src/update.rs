//! Replaces the firmware: the core's view of `hsm-boot`.

use embedded_storage::nor_flash::NorFlash;
use hsm_boot::manifest::Manifest;
use hsm_boot::{Board, Mode, NoCounter, Other, P256, Reason, Report, SlotId, Update, UpdateError};
use hsm_core::platform::FirmwareUpdate;
use hsm_protocol::ErrorCode;
use hsm_protocol::attestation::Measurement;
use hsm_protocol::command::firmware::{FirmwareState, OtherImage, StartMode, UpdateProgress};

/// The slots of a board, of which a second stage has started one.
pub struct Slots<F> {
    flash: F,
    report: Report,
    update: Update<'static, P256>,
    /// Length of the image that is being received, in bytes.
    length: u32,
}

impl<F: NorFlash> Slots<F> {
    /// The slots; `None` if the boot record does not speak of what runs, so that nothing can be replaced.
    #[must_use]
    pub fn open(mut flash: F, board: &'static Board<'static>, report: &Report) -> Option<Self> {
        let update = Update::open(&mut flash, board, P256, report).ok()?;
        let length = update.length().unwrap_or(0);
        Some(Self { flash, report: *report, update, length })
    }

    fn progress(&self, received: u32) -> UpdateProgress {
        UpdateProgress { received, length: self.length }
    }
}

impl<F: NorFlash> FirmwareUpdate for Slots<F> {
    fn state(&self) -> FirmwareState {
        let Report { slot, mode, measurement, security_version, floor, reasons, .. } = self.report;
        let state = self.update.state();
        let refused = match slot {
            SlotId::A => reasons.b,
            SlotId::B => reasons.a,
        };
        // After its confirmation the slot that runs is the active one, and the report is that of before.
        let confirmed = slot == state.active && mode == Mode::Trial;
        FirmwareState {
            slot: slot as u8,
            mode: match mode {
                _ if confirmed => StartMode::Confirmed,
                Mode::Confirmed => StartMode::Confirmed,
                Mode::Trial => StartMode::Trial,
                Mode::Fallback => StartMode::Fallback,
            },
            measurement: Measurement(measurement),
            security_version,
            floor: state.floor.max(floor),
            other: match state.other {
                Other::Empty => OtherImage::Empty,
                Other::Receiving { manifest, .. } => OtherImage::Receiving {
                    manifest,
                    received: self.update.received().unwrap_or(0),
                    length: self.length,
                },
                Other::Staged => OtherImage::Staged,
                Other::Trial { .. } => OtherImage::Trial,
                Other::Failed => OtherImage::Failed,
                Other::Confirmed => OtherImage::Former,
            },
            refused: refused.map_or(0, |reason| reason as u8),
            permitted: None,
        }
    }

    fn announced(&self, manifest: &[u8]) -> Result<Measurement, ErrorCode> {
        let manifest = Manifest::parse(manifest).ok_or(ErrorCode::FIRMWARE_MALFORMED)?;
        Ok(Measurement(manifest.body.measurement))
    }

    fn begin(&mut self, manifest: &[u8]) -> Result<UpdateProgress, ErrorCode> {
        let received = self.update.begin(&mut self.flash, manifest).map_err(code)?;
        self.length = self.update.length().unwrap_or(0);
        Ok(self.progress(received))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<UpdateProgress, ErrorCode> {
        let received = self.update.write(&mut self.flash, offset, bytes).map_err(code)?;
        Ok(self.progress(received))
    }

    fn finish(&mut self) -> Result<Measurement, ErrorCode> {
        self.update.finish(&mut self.flash).map(Measurement).map_err(code)
    }

    fn cancel(&mut self) -> Result<(), ErrorCode> {
        self.update.cancel(&mut self.flash).map_err(code)
    }

    fn confirm(&mut self) -> Result<(), ErrorCode> {
        self.update.confirm(&mut self.flash, &mut NoCounter).map_err(code)
    }
}

fn code(error: UpdateError) -> ErrorCode {
    match error {
        UpdateError::Refused(reason) => match reason {
            Reason::Empty | Reason::Manifest => ErrorCode::FIRMWARE_MALFORMED,
            Reason::Board | Reason::Address => ErrorCode::FIRMWARE_BOARD,
            Reason::UnknownSigner | Reason::Signature | Reason::TooFewSigners => {
                ErrorCode::FIRMWARE_UNSIGNED
            }
            Reason::Rollback => ErrorCode::FIRMWARE_ROLLBACK,
            Reason::Length => ErrorCode::FIRMWARE_TOO_LARGE,
            Reason::Measurement => ErrorCode::FIRMWARE_DAMAGED,
            Reason::Flash | Reason::Record => ErrorCode::UPDATE_FAILED,
            // Reasons of a start, which no update gives.
            Reason::TrialEnded | Reason::NotConfirmed => ErrorCode::INTERNAL,
        },
        UpdateError::Unconfirmed => ErrorCode::UPDATE_UNCONFIRMED,
        UpdateError::NoUpdate => ErrorCode::UPDATE_ABSENT,
        UpdateError::OutOfOrder { .. } | UpdateError::TooLong => ErrorCode::UPDATE_OUT_OF_ORDER,
        UpdateError::Incomplete { .. } => ErrorCode::UPDATE_INCOMPLETE,
        UpdateError::Flash | UpdateError::Record | UpdateError::Counter => ErrorCode::UPDATE_FAILED,
    }
}
