//! Why an image is not taken.

/// Why an image was refused, or why a slot was not started. The numbers are part of the boot report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Reason {
    /// Where the manifest should be, flash is erased.
    Empty = 1,
    /// The manifest is malformed or of an unknown version.
    Manifest = 2,
    /// The image is for another board.
    Board = 3,
    /// A signature is by a signer whom the signer set does not have.
    UnknownSigner = 4,
    /// A signature is not valid.
    Signature = 5,
    /// Fewer distinct signers have signed than the signer set asks for.
    TooFewSigners = 6,
    /// The security version is below the rollback floor.
    Rollback = 7,
    /// The image is longer than the room in the slot.
    Length = 8,
    /// The image runs from another address than that of the slot.
    Address = 9,
    /// The image in flash does not have the measurement that the manifest states.
    Measurement = 10,
    /// Flash could not be read.
    Flash = 11,
    /// The image was started for a trial and was not confirmed.
    TrialEnded = 12,
    /// The slot does not hold an image that may be started: an update is incomplete or has failed.
    NotConfirmed = 13,
    /// The boot record could not be written, without which no trial is started.
    Record = 14,
}

impl Reason {
    const ALL: [Self; 14] = [
        Self::Empty,
        Self::Manifest,
        Self::Board,
        Self::UnknownSigner,
        Self::Signature,
        Self::TooFewSigners,
        Self::Rollback,
        Self::Length,
        Self::Address,
        Self::Measurement,
        Self::Flash,
        Self::TrialEnded,
        Self::NotConfirmed,
        Self::Record,
    ];

    /// The reason with this number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }
}
